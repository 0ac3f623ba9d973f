#include "ring/guard.h"

#include "ring/gcm.h"
#include "util/le.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(CRYPT_KEY == GCM_KEY && GUARD_TAG == GCM_TAG, "sizes");

struct guard {
    const struct gcm_kind *kind;
    struct gcm *gcm;
    bool encrypts;
    uint64_t count;
    unsigned char key[CRYPT_KEY];
};

static void set_key(struct guard *g)
{
    crypt_next(g->key);
    g->kind->key(g->gcm, g->key);
}

struct guard *guard_new(const unsigned char key[CRYPT_KEY], bool encrypts,
                        bool opens)
{
    struct guard *g = xcalloc(1, sizeof(*g));

    g->kind = gcm_intel();
    if (!g->kind)
        g->kind = &gcm_libcrypto;
    g->gcm = g->kind->make(opens);
    g->encrypts = encrypts;
    memcpy(g->key, key, CRYPT_KEY);
    set_key(g);
    return g;
}

void guard_free(struct guard *g)
{
    if (!g)
        return;
    g->kind->free(g->gcm);
    crypt_forget(g, sizeof(*g));
    free(g);
}

void guard_begin(struct guard *g, const void *head, size_t n)
{
    unsigned char nonce[GCM_NONCE] = {0};

    if (g->count && g->count % GUARD_MESSAGES == 0)
        set_key(g);
    le_put(nonce + GCM_NONCE - 8, g->count++, 8);
    g->kind->begin(g->gcm, nonce);
    g->kind->aad(g->gcm, head, n);
}

void guard_add(struct guard *g, const void *data, void *out, size_t n)
{
    if (g->encrypts)
        g->kind->text(g->gcm, out, data, n);
    else
        g->kind->aad(g->gcm, data, n);
}

void guard_end(struct guard *g, unsigned char tag[GUARD_TAG])
{
    g->kind->tag(g->gcm, tag);
}

int guard_check(struct guard *g, const unsigned char tag[GUARD_TAG])
{
    if (!g->kind->check(g->gcm, tag))
        return err_set(ERR_PEER, "data: forged or changed");
    return 0;
}
