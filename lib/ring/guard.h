/*
 * guard.h - one direction of a connection that carries data: messages that cannot
 * be changed, forged, repeated or left out, and with PROTECT_AEAD not read.
 *
 * Each message is one of AES-256-GCM (NIST SP 800-38D). Its additional data are
 * the head and, unless data are encrypted, the data, which is GMAC. Tags have 128
 * bits. The nonce is the number of the message in its direction, so it is never
 * used twice with a key, and what is repeated, left out or swapped has a wrong
 * tag. No key is used for more than GUARD_MESSAGES: of at most 4 MiB each they are
 * 2^38 blocks, and with the messages of 128 KiB that are sent 2^33, which tells an
 * encrypted stream from noise with a chance of 2^-63 (RFC 8446, 5.5, wants 2^-57);
 * a tag that is wrong ends the run, so there is one try at forging. The next key
 * is made of the last (crypt_next), which is forgotten: who learns it cannot read
 * what was sent before. The first is made so of the key of the login.
 *
 * Computed by libraries (gcm.h), in constant time.
 *
 *	guard_begin(g, head, n)         the next message, both sides
 *	guard_add(g, data, out, n)      its data, in pieces of any size, in order
 *	guard_end(g, tag)               sender, or
 *	guard_check(g, tag)             receiver: nothing is true before
 */
#ifndef RING_GUARD_H
#define RING_GUARD_H

#include "ring/crypt.h"
#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>

#define GUARD_TAG 16
#define GUARD_MESSAGES (1 << 20) /* with one key */

struct guard; /* private */

/* encrypts: the data, too; opens: for the receiver. */
struct guard *guard_new(const unsigned char key[CRYPT_KEY], bool encrypts,
                        bool opens);
void guard_free(struct guard *g); /* forgets the key; NULL is nothing */
void guard_begin(struct guard *g, const void *head, size_t n);
/* data go to out, encrypted or decrypted, which may be data; where only tags are
 * made out is not used. */
void guard_add(struct guard *g, const void *data, void *out, size_t n);
void guard_end(struct guard *g, unsigned char tag[GUARD_TAG]);
/* ERR_PEER if the tag is not that of the message. */
int guard_check(struct guard *g, const unsigned char tag[GUARD_TAG]) MUST_CHECK;

#endif
