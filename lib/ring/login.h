/*
 * login.h - the first bytes of every TCP connection: who is there, and does he
 * know the key.
 *
 * Both sides send at once:
 *	hello, 100 bytes (little-endian): "ARNG", u16 major, u16 minor, u8 role
 *	(0 dials, 1 accepts), u8 how data are protected, u16 purpose (0 control,
 *	1 + lane for data), u32 rank, u32 world, 16 B job, 32 B public key, 32 B
 *	nonce
 *	proof, 32 bytes, see crypt.h
 * Nothing else is read before the proof is right; nothing is allocated for what
 * the peer says; the whole has a deadline. Who is refused is not told why.
 *
 * The core is without input and output, for tests: login_take gets what came,
 * login_rest says what is to be sent. login_step does both on a socket that
 * does not block.
 */
#ifndef RING_LOGIN_H
#define RING_LOGIN_H

#include "ring/crypt.h"
#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOGIN_MAJOR 3
#define LOGIN_MINOR 0
#define LOGIN_HELLO 100
#define LOGIN_BYTES (LOGIN_HELLO + CRYPT_KEY)

struct login_id {
    uint32_t rank, world;
    uint16_t purpose;
    uint8_t protect;
    unsigned char job[16];
};

struct login {
    int fd;
    bool dial, connecting;
    int64_t deadline; /* of clock_ms() */
    const unsigned char *shared;
    struct login_id mine, peer; /* peer: true once the login is done */
    unsigned char secret[CRYPT_KEY], hash[CRYPT_KEY];
    unsigned char tx[CRYPT_KEY], rx[CRYPT_KEY]; /* once done */
    unsigned char in[LOGIN_BYTES], out[LOGIN_BYTES];
    size_t have, ready, sent;
};

/* The descriptor belongs to the login from now on; shared is lent. */
void login_begin(struct login *l, int fd, bool dial,
                 const unsigned char shared[CRYPT_KEY],
                 const struct login_id *mine, int64_t deadline);
/* Close, and forget the secrets. A caller that keeps the socket takes fd and
 * the keys and sets fd to -1 first. */
void login_end(struct login *l);

/*
 * 1: the peer is who it says; 0: more is to come; -1: refused. ERR_NOPERM for a
 * wrong key, ERR_CONFIG for another version, ERR_PEER when it is no ring, is
 * closed or late.
 */
int login_take(struct login *l, const void *p, size_t n) MUST_CHECK;
/* Bytes to send now. */
size_t login_rest(const struct login *l, const unsigned char **p);
/* As much as can be done now; as login_take. */
int login_step(struct login *l) MUST_CHECK;
short login_events(const struct login *l); /* for poll */

#endif
