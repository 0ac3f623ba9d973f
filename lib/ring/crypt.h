/*
 * crypt.h - the secrets of a run: key file, login, sealed messages, tags.
 *
 * All ranks of a run that leaves its host share 32 random bytes, kept in a file
 * that only its owner can read. From them and from fresh secrets of both ends
 * each connection gets two keys of its own, one for each direction:
 *
 *	h = BLAKE2b-256(key = shared; hello of the dialler || of the acceptor)
 *	z = X25519(own secret, public part of the peer)
 *	K = BLAKE2b-512(key = shared; z || h || "allreduce-ring 2")
 *	first half of K: dialler -> acceptor, second half: the other way
 *	proof of a side = BLAKE2b-256(key = its sending key; h || role || rank)
 *
 * Fresh nonces and secrets in the hello make a recorded login worthless; role
 * and rank in the proof let nobody send back what it got. With the shared key
 * learnt later, what was recorded stays closed.
 *
 * Messages of the control plane are sealed by XChaCha20-Poly1305 streams, which
 * tell a message that is missing, repeated or changed. What protects data is in
 * guard.h. Here all is libsodium's.
 */
#ifndef RING_CRYPT_H
#define RING_CRYPT_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRYPT_KEY 32
#define CRYPT_NONCE 32
#define CRYPT_HEAD 24  /* first bytes of a sealed stream */
#define CRYPT_EXTRA 17 /* a sealed message is longer by this */
#define CRYPT_STATE 64 /* room for the state of a stream */

/* Make a key file of mode 0600; one that is there stays (ERR_CANTCREAT). */
int crypt_keygen(const char *path) MUST_CHECK;
/* Read one. ERR_NOPERM if others can read it or it is another user's. */
int crypt_load(const char *path, unsigned char key[CRYPT_KEY]) MUST_CHECK;
void crypt_random(void *p, size_t n);
void crypt_forget(void *p, size_t n);
/* 16 bytes of BLAKE2b: an identity made of a name. */
void crypt_id(const char *name, unsigned char id[16]);

/* ---- login */

void crypt_pair(unsigned char secret[CRYPT_KEY], unsigned char pub[CRYPT_KEY]);

struct crypt_login {
    const unsigned char *shared;                 /* [CRYPT_KEY] */
    const unsigned char *secret, *peer;          /* own secret, peer's public */
    const unsigned char *dial_hello, *acc_hello; /* of n_hello bytes each */
    size_t n_hello;
    bool dial; /* this side is the dialler */
};
/* Keys of both directions; hash is h. ERR_NOPERM for a worthless public key. */
int crypt_keys(const struct crypt_login *l, unsigned char tx[CRYPT_KEY],
               unsigned char rx[CRYPT_KEY],
               unsigned char hash[CRYPT_KEY]) MUST_CHECK;
/* The proof of the side that sends with that key. */
void crypt_proof(const unsigned char key[CRYPT_KEY],
                 const unsigned char hash[CRYPT_KEY], bool dial, uint32_t rank,
                 unsigned char proof[CRYPT_KEY]);
bool crypt_equal(const void *a, const void *b, size_t n); /* constant time */
/* The key after this one, from which this one cannot be had:
 * BLAKE2b-256(key = key; "next"). */
void crypt_next(unsigned char key[CRYPT_KEY]);

/* ---- sealed streams of messages */

struct crypt_stream {
    _Alignas(16) unsigned char state[CRYPT_STATE];
};
void crypt_push_begin(struct crypt_stream *c,
                      const unsigned char key[CRYPT_KEY],
                      unsigned char head[CRYPT_HEAD]);
int crypt_pull_begin(struct crypt_stream *c, const unsigned char key[CRYPT_KEY],
                     const unsigned char head[CRYPT_HEAD]) MUST_CHECK;
/* n bytes to n + CRYPT_EXTRA, and back (n is the sealed length). */
void crypt_push(struct crypt_stream *c, const void *plain, size_t n,
                unsigned char *sealed);
int crypt_pull(struct crypt_stream *c, const unsigned char *sealed, size_t n,
               void *plain) MUST_CHECK;

#endif
