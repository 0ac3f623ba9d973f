#include "train/optim.h"

#include <stdlib.h>
#include <string.h>

static double decay_of(const struct param *p, const struct recipe *r)
{
    bool norm = p->kind == PARAM_GAMMA || p->kind == PARAM_BETA;

    if (norm && !r->decay_norm)
        return 0;
    if (p->kind == PARAM_BIAS && !r->decay_bias)
        return 0;
    return r->weight_decay;
}

/* Arena order is the reverse of construction. */
static void decay_ranges(struct optim *o, const struct recipe *r)
{
    const struct params *ps = o->ps;
    struct optim_range *last = NULL;
    int i;

    o->range = xcalloc((size_t)ps->n + 1, sizeof *o->range);
    for (i = ps->n - 1; i >= 0; i--) {
        const struct param *p = &ps->p[i];
        double decay = decay_of(p, r);

        if (p->frozen) {
            last = NULL;
            continue;
        }
        if (!last || last->decay != decay) {
            last = &o->range[o->n++];
            last->begin = p->offset;
            last->decay = decay;
        }
        last->end = p->offset + p->count;
    }
}

/* What of the ranges is in the pieces of this rank; both ascend. */
static void cut_ranges(struct optim *o)
{
    const struct sharding *s = o->shard;
    struct optim_range *cut = xcalloc((size_t)(o->n + s->n) + 1, sizeof *cut);
    int i = 0, k = 0, n = 0;

    while (i < o->n && k < s->n) {
        const struct optim_range *g = &o->range[i];
        const struct sharding_piece *p = &s->piece[k];
        int64_t begin = g->begin > p->begin ? g->begin : p->begin;
        int64_t end = g->end < p->end ? g->end : p->end;

        if (begin < end)
            cut[n++] = (struct optim_range){begin, end,
                                            p->at + begin - p->begin, g->decay};
        if (g->end < p->end)
            i++;
        else
            k++;
    }
    free(o->range);
    o->range = cut;
    o->n = n;
}

int optim_init(struct optim *o, const struct sharding *s,
               const struct recipe *r)
{
    memset(o, 0, sizeof *o);
    o->ps = s->ps;
    o->shard = s;
    o->momentum = r->momentum;
    o->nesterov = r->nesterov;
    decay_ranges(o, r);
    cut_ranges(o);
    return sharding_alloc(s, &o->m);
}

void optim_release(struct optim *o)
{
    if (o->m)
        engine_free(o->ps->e, o->m);
    free(o->range);
    memset(o, 0, sizeof *o);
}

int optim_step(struct optim *o, double lr, double gmul)
{
    struct params *ps = o->ps;
    size_t size = dtype_size(ps->pt);
    int i;

    for (i = 0; i < o->n; i++) {
        const struct optim_range *g = &o->range[i];
        size_t at = (size_t)g->begin * size;
        struct kern_sgd a = {.w = (char *)ps->w + at,
                             .m = (char *)o->m + (size_t)g->at * size,
                             .g = (const char *)ps->g + at,
                             .n = g->end - g->begin,
                             .lr = lr,
                             .mu = o->momentum,
                             .wd = g->decay,
                             .gmul = gmul,
                             .nesterov = o->nesterov,
                             .pt = ps->pt};

        if (engine_run(ps->e, KERN_SGD, &a) < 0)
            return err_wrap("optimizer");
    }
    ps->version++;
    return 0;
}
