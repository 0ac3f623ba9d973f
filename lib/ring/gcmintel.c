/* AES-256-GCM of libipsec_mb, Intel's library of ciphers: GMAC where a message is
 * all additional data, which is the same tag. */
#include "ring/gcm.h"

#if __has_include(<intel-ipsec-mb.h>)

#    include "ring/crypt.h"
#    include "util/err.h"

#    include <intel-ipsec-mb.h>
#    include <pthread.h>
#    include <stdlib.h>
#    include <string.h>

struct gcm {
    struct gcm_key_data key;
    struct gcm_context_data message;
    enum {
        HEAD, /* additional data is kept: what follows decides */
        MAC,  /* of additional data alone */
        TEXT
    } state;
    bool opens;
    unsigned char nonce[GCM_NONCE], head[GCM_HEAD];
    size_t kept;
};

/* Functions for this processor, found once; NULL: none. */
static IMB_MGR *best;

static void find(void)
{
    IMB_ARCH arch;

    best = alloc_mb_mgr(0);
    if (best)
        init_mb_mgr_auto(best, &arch);
    if (best && imb_get_errno(best) != 0) { /* it tests itself */
        free_mb_mgr(best);
        best = NULL;
    }
}

static struct gcm *mb_make(bool opens)
{
    struct gcm *g = aligned_alloc(_Alignof(struct gcm), sizeof(*g));

    if (!g)
        BUG("no memory for a key");
    memset(g, 0, sizeof(*g));
    g->opens = opens;
    return g;
}

static void mb_free(struct gcm *g)
{
    crypt_forget(g, sizeof(*g));
    free(g);
}

static void mb_key(struct gcm *g, const unsigned char key[GCM_KEY])
{
    IMB_AES256_GCM_PRE(best, key, &g->key);
}

static void mb_begin(struct gcm *g, const unsigned char nonce[GCM_NONCE])
{
    memcpy(g->nonce, nonce, GCM_NONCE);
    g->kept = 0;
    g->state = HEAD;
}

static void begin_mac(struct gcm *g)
{
    IMB_AES256_GMAC_INIT(best, &g->key, &g->message, g->nonce, GCM_NONCE);
    if (g->kept > 0)
        IMB_AES256_GMAC_UPDATE(best, &g->key, &g->message, g->head, g->kept);
    g->state = MAC;
}

static void mb_aad(struct gcm *g, const void *p, size_t n)
{
    if (g->state == TEXT)
        BUG("additional data after text");
    if (g->state == HEAD && n <= GCM_HEAD - g->kept) {
        memcpy(g->head + g->kept, p, n);
        g->kept += n;
        return;
    }
    if (g->state == HEAD)
        begin_mac(g);
    IMB_AES256_GMAC_UPDATE(best, &g->key, &g->message, p, n);
}

static void mb_text(struct gcm *g, void *to, const void *from, size_t n)
{
    if (g->state == MAC)
        BUG("text after more than %d bytes of additional data", GCM_HEAD);
    if (g->state == HEAD) {
        IMB_AES256_GCM_INIT(best, &g->key, &g->message, g->nonce, g->head,
                            g->kept);
        g->state = TEXT;
    }
    if (g->opens)
        IMB_AES256_GCM_DEC_UPDATE(best, &g->key, &g->message, to, from, n);
    else
        IMB_AES256_GCM_ENC_UPDATE(best, &g->key, &g->message, to, from, n);
}

static void mb_tag(struct gcm *g, unsigned char tag[GCM_TAG])
{
    if (g->state == HEAD)
        begin_mac(g);
    if (g->state == MAC)
        IMB_AES256_GMAC_FINALIZE(best, &g->key, &g->message, tag, GCM_TAG);
    else if (g->opens)
        IMB_AES256_GCM_DEC_FINALIZE(best, &g->key, &g->message, tag, GCM_TAG);
    else
        IMB_AES256_GCM_ENC_FINALIZE(best, &g->key, &g->message, tag, GCM_TAG);
}

static bool mb_check(struct gcm *g, const unsigned char tag[GCM_TAG])
{
    unsigned char want[GCM_TAG];

    mb_tag(g, want);
    return crypt_equal(want, tag, sizeof(want));
}

static const struct gcm_kind intel = {mb_make, mb_free, mb_key, mb_begin,
                                      mb_aad,  mb_text, mb_tag, mb_check};

const struct gcm_kind *gcm_intel(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, find);
    return best ? &intel : NULL;
}

#else

const struct gcm_kind *gcm_intel(void)
{
    return NULL;
}

#endif
