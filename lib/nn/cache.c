#include "nn/cache.h"

#include "nn/lower.h"

#include <stdlib.h>

/* A classifier has two (train, predict) and perhaps a short last batch of each;
 * a detector with its many canvases will want more. */
#define CACHE_PLANS 8

struct plan_cache {
    int n;
    struct plan *plan[CACHE_PLANS];
    uint64_t clock;
};

void cache_free(struct plan_cache *c)
{
    int i;

    if (!c)
        return;
    for (i = 0; i < c->n; i++)
        plan_free(c->plan[i]);
    free(c);
}

static bool key_equal(const struct plan_key *a, const struct plan_key *b)
{
    return a->n == b->n && a->h == b->h && a->w == b->w &&
           a->compute == b->compute && a->train == b->train;
}

static void evict(struct plan_cache *c)
{
    int i, oldest = 0;

    for (i = 1; i < c->n; i++)
        if (c->plan[i]->used < c->plan[oldest]->used)
            oldest = i;
    plan_free(c->plan[oldest]);
    c->plan[oldest] = c->plan[--c->n];
}

int graph_plan(struct graph *g, struct engine *e, const struct plan_key *key,
               struct plan **plan)
{
    struct plan_cache *c;
    struct plan *p;
    int i;

    *plan = NULL;
    if (!g->cache)
        g->cache = xcalloc(1, sizeof *g->cache);
    c = g->cache;
    for (i = 0; i < c->n; i++)
        if (c->plan[i]->e == e && key_equal(&c->plan[i]->key, key)) {
            c->plan[i]->used = ++c->clock;
            *plan = c->plan[i];
            return 0;
        }
    if (!g->ps->w || (key->train && !g->ps->g))
        BUG("a plan before its parameters have memory");
    g->ps->planned |= key->train;
    p = plan_new(g, e, key);
    if (!p)
        return -1;
    if (c->n == CACHE_PLANS)
        evict(c);
    while (plan_alloc(p) < 0) {
        if (err_code() != ERR_SYSTEM || c->n == 0) {
            plan_free(p);
            return -1;
        }
        evict(c); /* shapes of the past make room */
    }
    p->used = ++c->clock;
    c->plan[c->n++] = p;
    *plan = p;
    return 0;
}

int graph_cost(struct graph *g, struct engine *e, const struct plan_key *key,
               struct plan_cost *cost)
{
    struct plan *p = plan_new(g, e, key);

    if (!p)
        return -1;
    plan_cost(p, cost);
    plan_free(p);
    return 0;
}
