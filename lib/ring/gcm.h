/*
 * gcm.h - AES-256-GCM (NIST SP 800-38D), by whom it is fastest: two libraries do
 * what guard.c sends. Both make the same bytes, in constant time.
 *
 *	gcm_libcrypto	on every processor
 *	gcm_intel()	libipsec_mb, where it was built in: VAES and VPCLMULQDQ on
 *			64 bytes, so that a tag is made as fast as memory is read;
 *			libcrypto 3.0 knows those for 16 bytes
 *
 * Text follows at most GCM_HEAD bytes of additional data; without text there may
 * be any number of them.
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
#define GCM_HEAD 256

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
/* NULL where it is not. */
const struct gcm_kind *gcm_intel(void);

#endif
