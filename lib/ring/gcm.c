/* AES-256-GCM of libcrypto. */
#include "ring/gcm.h"

#include "util/err.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (1 << 30) /* libcrypto counts in int */

struct gcm {
    EVP_CIPHER_CTX *ctx;
    bool opens;
};

static void must(int ok, const char *what)
{
    if (ok != 1)
        BUG("libcrypto: AES-256-GCM: %s", what);
}

static struct gcm *lib_make(bool opens)
{
    struct gcm *g = xcalloc(1, sizeof(*g));

    /* Nothing is torn down at exit under the threads that still send; and no
     * file of the machine chooses another implementation. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_NO_LOAD_CONFIG,
                        NULL);
    g->ctx = EVP_CIPHER_CTX_new();
    must(g->ctx != NULL, "memory");
    g->opens = opens;
    return g;
}

static void lib_free(struct gcm *g)
{
    EVP_CIPHER_CTX_free(g->ctx);
    free(g);
}

static void lib_key(struct gcm *g, const unsigned char key[GCM_KEY])
{
    must(EVP_CipherInit_ex(g->ctx, EVP_aes_256_gcm(), NULL, key, NULL,
                           !g->opens),
         "key");
}

static void lib_begin(struct gcm *g, const unsigned char nonce[GCM_NONCE])
{
    must(EVP_CipherInit_ex(g->ctx, NULL, NULL, NULL, nonce, -1), "nonce");
}

/* to: NULL for additional data */
static void lib_text(struct gcm *g, void *to, const void *from, size_t n)
{
    const unsigned char *in = from;
    unsigned char *out = to;
    int made;

    while (n > 0) {
        size_t m = n < PIECE ? n : PIECE;
        must(EVP_CipherUpdate(g->ctx, out, &made, in, (int)m), "update");
        in += m;
        out = out ? out + m : NULL;
        n -= m;
    }
}

static void lib_aad(struct gcm *g, const void *p, size_t n)
{
    lib_text(g, NULL, p, n);
}

static void lib_tag(struct gcm *g, unsigned char tag[GCM_TAG])
{
    unsigned char none[GCM_TAG];
    int n;

    must(EVP_CipherFinal_ex(g->ctx, none, &n), "end");
    must(EVP_CIPHER_CTX_ctrl(g->ctx, EVP_CTRL_AEAD_GET_TAG, GCM_TAG, tag),
         "tag");
}

static bool lib_check(struct gcm *g, const unsigned char tag[GCM_TAG])
{
    unsigned char none[GCM_TAG], want[GCM_TAG];
    int n;

    memcpy(want, tag, sizeof(want));
    must(EVP_CIPHER_CTX_ctrl(g->ctx, EVP_CTRL_AEAD_SET_TAG, GCM_TAG, want),
         "tag");
    return EVP_CipherFinal_ex(g->ctx, none, &n) == 1;
}

const struct gcm_kind gcm_libcrypto = {lib_make, lib_free, lib_key, lib_begin,
                                       lib_aad,  lib_text, lib_tag, lib_check};
