#include "ring/crypt.h"

#include "util/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(CRYPT_KEY == crypto_scalarmult_BYTES &&
                   CRYPT_KEY >= crypto_generichash_KEYBYTES_MIN &&
                   CRYPT_KEY <= crypto_generichash_KEYBYTES_MAX,
               "sizes of libsodium");
_Static_assert(
    CRYPT_HEAD == crypto_secretstream_xchacha20poly1305_HEADERBYTES &&
        CRYPT_EXTRA == crypto_secretstream_xchacha20poly1305_ABYTES &&
        CRYPT_STATE >= sizeof(crypto_secretstream_xchacha20poly1305_state),
    "sizes of libsodium's streams");

static void start_library(void)
{
    /* May be called many times and by many threads. */
    if (sodium_init() < 0)
        BUG("libsodium cannot start");
}

/* ---- key file */

int crypt_keygen(const char *path)
{
    unsigned char key[CRYPT_KEY];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), r;

    if (fd < 0)
        return err_sys(ERR_CANTCREAT, "%s", path);
    crypt_random(key, sizeof(key));
    if (fchmod(fd, 0600) < 0)
        r = err_sys(ERR_CANTCREAT, "%s: mode", path);
    else if ((r = fd_write(fd, key, sizeof(key), FD_FOREVER)) < 0)
        err_wrap("%s", path);
    crypt_forget(key, sizeof(key));
    if (r == 0 && fsync(fd) < 0)
        r = err_sys(ERR_IO, "%s: flush", path);
    close(fd);
    if (r < 0)
        unlink(path);
    return r;
}

int crypt_load(const char *path, unsigned char key[CRYPT_KEY])
{
    unsigned char more;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), r = -1;

    if (fd < 0)
        return err_sys(ERR_NOINPUT, "key file \"%s\"", path);
    if (fstat(fd, &st) < 0)
        err_sys(ERR_IO, "key file \"%s\"", path);
    else if (!S_ISREG(st.st_mode))
        err_set(ERR_DATA, "key file \"%s\": not a file", path);
    else if (st.st_uid != geteuid())
        err_set(ERR_NOPERM, "key file \"%s\": belongs to user %u, not %u", path,
                (unsigned)st.st_uid, (unsigned)geteuid());
    else if (st.st_mode & 077)
        err_set(ERR_NOPERM,
                "key file \"%s\": mode %04o: others can read it; chmod 600",
                path, (unsigned)(st.st_mode & 07777));
    else if (st.st_size != CRYPT_KEY ||
             fd_read(fd, key, CRYPT_KEY, FD_FOREVER) != 1 ||
             fd_read(fd, &more, 1, FD_FOREVER) != 0)
        err_set(ERR_DATA,
                "key file \"%s\": %lld bytes, not %d: make one with "
                "allreduce-ring keygen",
                path, (long long)st.st_size, CRYPT_KEY);
    else
        r = 0;
    close(fd);
    return r;
}

void crypt_random(void *p, size_t n)
{
    start_library();
    randombytes_buf(p, n);
}

void crypt_forget(void *p, size_t n)
{
    sodium_memzero(p, n);
}

void crypt_id(const char *name, unsigned char id[16])
{
    crypto_generichash(id, 16, (const unsigned char *)name, strlen(name), NULL,
                       0);
}

/* ---- login */

void crypt_pair(unsigned char secret[CRYPT_KEY], unsigned char pub[CRYPT_KEY])
{
    start_library();
    crypto_box_keypair(pub, secret);
}

int crypt_keys(const struct crypt_login *l, unsigned char tx[CRYPT_KEY],
               unsigned char rx[CRYPT_KEY], unsigned char hash[CRYPT_KEY])
{
    static const unsigned char label[] = "allreduce-ring 2";
    crypto_generichash_state s;
    unsigned char z[CRYPT_KEY], both[2 * CRYPT_KEY];

    start_library();
    crypto_generichash_init(&s, l->shared, CRYPT_KEY, CRYPT_KEY);
    crypto_generichash_update(&s, l->dial_hello, l->n_hello);
    crypto_generichash_update(&s, l->acc_hello, l->n_hello);
    crypto_generichash_final(&s, hash, CRYPT_KEY);
    /* Refuses a result of zeros. */
    if (crypto_scalarmult(z, l->secret, l->peer) != 0)
        return err_set(ERR_NOPERM, "login: a public key of low order");
    crypto_generichash_init(&s, l->shared, CRYPT_KEY, sizeof(both));
    crypto_generichash_update(&s, z, sizeof(z));
    crypto_generichash_update(&s, hash, CRYPT_KEY);
    crypto_generichash_update(&s, label, sizeof(label) - 1);
    crypto_generichash_final(&s, both, sizeof(both));
    memcpy(l->dial ? tx : rx, both, CRYPT_KEY);
    memcpy(l->dial ? rx : tx, both + CRYPT_KEY, CRYPT_KEY);
    crypt_forget(z, sizeof(z));
    crypt_forget(both, sizeof(both));
    return 0;
}

void crypt_proof(const unsigned char key[CRYPT_KEY],
                 const unsigned char hash[CRYPT_KEY], bool dial, uint32_t rank,
                 unsigned char proof[CRYPT_KEY])
{
    unsigned char text[CRYPT_KEY + 5];

    memcpy(text, hash, CRYPT_KEY);
    text[CRYPT_KEY] = dial ? 0 : 1;
    for (int i = 0; i < 4; i++)
        text[CRYPT_KEY + 1 + i] = (unsigned char)(rank >> (8 * i));
    crypto_generichash(proof, CRYPT_KEY, text, sizeof(text), key, CRYPT_KEY);
}

void crypt_next(unsigned char key[CRYPT_KEY])
{
    static const unsigned char label[] = "next";
    unsigned char next[CRYPT_KEY];

    crypto_generichash(next, CRYPT_KEY, label, sizeof(label) - 1, key,
                       CRYPT_KEY);
    memcpy(key, next, CRYPT_KEY);
    crypt_forget(next, sizeof(next));
}

bool crypt_equal(const void *a, const void *b, size_t n)
{
    return sodium_memcmp(a, b, n) == 0;
}

/* ---- streams */

static crypto_secretstream_xchacha20poly1305_state *
state_of(struct crypt_stream *c)
{
    return (crypto_secretstream_xchacha20poly1305_state *)(void *)c->state;
}

void crypt_push_begin(struct crypt_stream *c,
                      const unsigned char key[CRYPT_KEY],
                      unsigned char head[CRYPT_HEAD])
{
    start_library();
    crypto_secretstream_xchacha20poly1305_init_push(state_of(c), head, key);
}

int crypt_pull_begin(struct crypt_stream *c, const unsigned char key[CRYPT_KEY],
                     const unsigned char head[CRYPT_HEAD])
{
    start_library();
    if (crypto_secretstream_xchacha20poly1305_init_pull(state_of(c), head,
                                                        key) != 0)
        return err_set(ERR_PEER, "sealed stream: bad beginning");
    return 0;
}

void crypt_push(struct crypt_stream *c, const void *plain, size_t n,
                unsigned char *sealed)
{
    crypto_secretstream_xchacha20poly1305_push(state_of(c), sealed, NULL, plain,
                                               n, NULL, 0, 0);
}

int crypt_pull(struct crypt_stream *c, const unsigned char *sealed, size_t n,
               void *plain)
{
    unsigned char tag;

    if (n < CRYPT_EXTRA ||
        crypto_secretstream_xchacha20poly1305_pull(
            state_of(c), plain, NULL, &tag, sealed, n, NULL, 0) != 0)
        return err_set(ERR_PEER, "sealed message: forged, changed or repeated");
    return 0;
}
