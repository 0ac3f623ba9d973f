#include "ring/guard.h"

#include "util/le.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define NONCE 12
#define PIECE (1 << 30) /* libcrypto counts in int */

struct guard {
    EVP_CIPHER_CTX *gcm;
    bool encrypts, opens;
    uint64_t count;
    unsigned char key[CRYPT_KEY];
};

static void must(int ok, const char *what)
{
    if (ok != 1)
        BUG("libcrypto: AES-256-GCM: %s", what);
}

static void set_key(struct guard *g)
{
    crypt_next(g->key);
    must(EVP_CipherInit_ex(g->gcm, EVP_aes_256_gcm(), NULL, g->key, NULL,
                           !g->opens),
         "key");
}

struct guard *guard_new(const unsigned char key[CRYPT_KEY], bool encrypts,
                        bool opens)
{
    struct guard *g = xcalloc(1, sizeof(*g));

    /* Nothing is torn down at exit under the threads that still send; and no
     * file of the machine chooses another implementation. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_NO_LOAD_CONFIG,
                        NULL);
    g->gcm = EVP_CIPHER_CTX_new();
    must(g->gcm != NULL, "memory");
    g->encrypts = encrypts;
    g->opens = opens;
    memcpy(g->key, key, CRYPT_KEY);
    set_key(g);
    return g;
}

void guard_free(struct guard *g)
{
    if (!g)
        return;
    EVP_CIPHER_CTX_free(g->gcm);
    crypt_forget(g, sizeof(*g));
    free(g);
}

static void update(struct guard *g, void *out, const void *p, size_t n)
{
    const unsigned char *in = p;
    unsigned char *to = out;
    int made;

    while (n > 0) {
        size_t m = n < PIECE ? n : PIECE;
        must(EVP_CipherUpdate(g->gcm, to, &made, in, (int)m), "update");
        in += m;
        to = to ? to + m : NULL;
        n -= m;
    }
}

void guard_begin(struct guard *g, const void *head, size_t n)
{
    unsigned char nonce[NONCE] = {0};

    if (g->count && g->count % GUARD_MESSAGES == 0)
        set_key(g);
    le_put(nonce + NONCE - 8, g->count++, 8);
    must(EVP_CipherInit_ex(g->gcm, NULL, NULL, NULL, nonce, -1), "nonce");
    update(g, NULL, head, n);
}

void guard_add(struct guard *g, const void *data, void *out, size_t n)
{
    update(g, g->encrypts ? out : NULL, data, n);
}

void guard_end(struct guard *g, unsigned char tag[GUARD_TAG])
{
    unsigned char none[GUARD_TAG];
    int n;

    must(EVP_CipherFinal_ex(g->gcm, none, &n), "end");
    must(EVP_CIPHER_CTX_ctrl(g->gcm, EVP_CTRL_AEAD_GET_TAG, GUARD_TAG, tag),
         "tag");
}

int guard_check(struct guard *g, const unsigned char tag[GUARD_TAG])
{
    unsigned char none[GUARD_TAG], want[GUARD_TAG];
    int n;

    memcpy(want, tag, sizeof(want));
    must(EVP_CIPHER_CTX_ctrl(g->gcm, EVP_CTRL_AEAD_SET_TAG, GUARD_TAG, want),
         "tag");
    if (EVP_CipherFinal_ex(g->gcm, none, &n) != 1)
        return err_set(ERR_PEER, "data: forged or changed");
    return 0;
}
