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
static void make_ranges(struct optim *o, const struct recipe *r)
{
    const struct params *ps = o->ps;
    struct optim_range *last = NULL;
    int i;

    o->range = xcalloc((size_t)ps->n + 1, sizeof *o->range);
    for (i = ps->n - 1; i >= 0; i--) {
        const struct param *p = &ps->p[i];
        double decay = decay_of(p, r);
        bool own =
            o->eta > 0 && (p->kind == PARAM_CONV || p->kind == PARAM_LINEAR);

        if (p->frozen) {
            last = NULL;
            continue;
        }
        if (!last || last->decay != decay || last->layer >= 0 || own) {
            last = &o->range[o->n++];
            last->begin = p->offset;
            last->decay = decay;
            last->layer = own ? o->n_layers++ : -1;
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
            cut[n++] = (struct optim_range){
                begin, end, p->at + begin - p->begin, g->decay, g->layer};
        if (g->end < p->end)
            i++;
        else
            k++;
    }
    free(o->range);
    o->range = cut;
    o->n = n;
}

static size_t norms_bytes(const struct optim *o)
{
    return 6 * (size_t)o->n_layers * sizeof *o->norms;
}

int optim_init(struct optim *o, const struct sharding *s,
               const struct recipe *r)
{
    void *p;

    memset(o, 0, sizeof *o);
    o->ps = s->ps;
    o->shard = s;
    o->momentum = r->momentum;
    o->nesterov = r->nesterov;
    o->eta = r->optimizer == OPTIMIZER_LARS ? r->lars_eta : 0;
    make_ranges(o, r);
    cut_ranges(o);
    if (o->n_layers) {
        o->sums = xmalloc(norms_bytes(o));
        if (engine_alloc(o->ps->e, norms_bytes(o), &p) < 0)
            return err_wrap("optimizer");
        o->norms = p;
    }
    return sharding_alloc(s, &o->m);
}

void optim_release(struct optim *o)
{
    if (o->m)
        engine_free(o->ps->e, o->m);
    if (o->norms)
        engine_free(o->ps->e, o->norms);
    free(o->sums);
    free(o->range);
    memset(o, 0, sizeof *o);
}

/* ---- LARS */

static int square(struct optim *o, const struct optim_range *g,
                  const void *arena, double *stats)
{
    enum dtype pt = o->ps->pt;
    struct kern_grad_check a = {
        .stats = stats, .n = g->end - g->begin, .pt = pt};

    a.g = (const char *)arena + (size_t)g->begin * dtype_size(pt);
    return engine_run(o->ps->e, KERN_GRAD_CHECK, &a);
}

/* Squares of the norms of weights and gradients, of all ranks. */
static int norms(struct optim *o)
{
    struct engine *e = o->ps->e;
    size_t bytes = norms_bytes(o);
    int i;

    if (engine_fill(e, o->norms, 0, bytes) < 0)
        return -1;
    for (i = 0; i < o->n; i++) {
        const struct optim_range *g = &o->range[i];
        double *to = o->norms + 6 * (ptrdiff_t)g->layer;

        if (g->layer >= 0 && (square(o, g, o->ps->w, to) < 0 ||
                              square(o, g, o->ps->sum, to + 3) < 0))
            return -1;
    }
    if (!o->shard->on)
        return 0;
    if (engine_download(e, o->sums, o->norms, bytes) < 0 ||
        comm_reduce(o->shard->comm, COMM_SUM, o->sums, 6 * o->n_layers) < 0)
        return -1;
    return engine_upload(e, o->norms, o->sums, bytes);
}

int optim_step(struct optim *o, const struct kern_state *state)
{
    struct params *ps = o->ps;
    size_t size = dtype_size(ps->pt);
    int i;

    if (o->n_layers && norms(o) < 0)
        return err_wrap("optimizer");
    for (i = 0; i < o->n; i++) {
        const struct optim_range *g = &o->range[i];
        size_t at = (size_t)g->begin * size;
        struct kern_sgd a = {.w = (char *)ps->w + at,
                             .m = (char *)o->m + (size_t)g->at * size,
                             .g = (const char *)ps->sum + at,
                             .n = g->end - g->begin,
                             .mu = o->momentum,
                             .wd = g->decay,
                             .nesterov = o->nesterov,
                             .pt = ps->pt,
                             .state = state,
                             .eta = o->eta};

        if (g->layer >= 0)
            a.norms = o->norms + 6 * (ptrdiff_t)g->layer;
        if (engine_run(ps->e, KERN_SGD, &a) < 0)
            return err_wrap("optimizer");
    }
    return 0;
}
