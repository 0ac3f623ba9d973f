/*
 * gcm.h - AES-256-GCM (NIST SP 800-38D), by whom it is fastest: the two ways to
 * compute what guard.c sends. Both make the same bytes.
 *
 *	gcm_libcrypto	on every processor
 *	gcm_wide()	by the instructions for 64 bytes, VAES and VPCLMULQDQ with
 *			AVX-512, where they are: a tag is then made as fast as
 *			memory is read. libcrypto 3.0 knows those for 16 bytes.
 *
 * Neither has branches or addresses that depend on keys or data.
 *
 *	g = k->make(opens);
 *	k->key(g, key);				as often as wanted
 *	k->begin(g, nonce);			a message
 *	k->aad(g, p, n);			its additional data, in pieces
 *	k->text(g, to, from, n);		its text, in pieces; to may be from
 *	k->tag(g, tag) or k->check(g, tag)	sender, receiver (opens)
 *	k->free(g);				forgets the key
 */
#ifndef RING_GCM_H
#define RING_GCM_H

#include <stdbool.h>
#include <stddef.h>

#define GCM_KEY 32
#define GCM_NONCE 12
#define GCM_TAG 16

struct gcm; /* private to each kind */

struct gcm_kind {
    struct gcm *(*make)(bool opens);
    void (*free)(struct gcm *g);
    void (*key)(struct gcm *g, const unsigned char key[GCM_KEY]);
    void (*begin)(struct gcm *g, const unsigned char nonce[GCM_NONCE]);
    void (*aad)(struct gcm *g, const void *p, size_t n);
    void (*text)(struct gcm *g, void *to, const void *from, size_t n);
    void (*tag)(struct gcm *g, unsigned char tag[GCM_TAG]);
    bool (*check)(struct gcm *g, const unsigned char tag[GCM_TAG]);
};

extern const struct gcm_kind gcm_libcrypto;
/* NULL where build or processor have them not. */
const struct gcm_kind *gcm_wide(void);

#endif
