#include "train/optim.h"

#include <math.h>
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

static size_t stats_bytes(const struct optim *o)
{
    return 4 * (size_t)(o->n + 1) * sizeof *o->stats;
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
        o->factor = xcalloc((size_t)o->n_layers, sizeof *o->factor);
        if (engine_alloc(o->ps->e, stats_bytes(o), &p) < 0)
            return err_wrap("optimizer");
        o->stats = p;
    }
    return sharding_alloc(s, &o->m);
}

void optim_release(struct optim *o)
{
    if (o->m)
        engine_free(o->ps->e, o->m);
    if (o->stats)
        engine_free(o->ps->e, o->stats);
    free(o->factor);
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

/* Squares of the norms of weights and gradients, [n_layers][2], of all ranks. */
static int norms(struct optim *o, double *sum)
{
    size_t bytes = stats_bytes(o);
    double *v = xmalloc(bytes);
    int i, r;

    r = engine_fill(o->ps->e, o->stats, 0, bytes);
    for (i = 0; i < o->n && !r; i++) {
        const struct optim_range *g = &o->range[i];

        if (g->layer < 0)
            continue;
        r = square(o, g, o->ps->w, o->stats + (ptrdiff_t)4 * i);
        if (!r)
            r = square(o, g, o->ps->sum, o->stats + (ptrdiff_t)4 * i + 2);
    }
    if (!r)
        r = engine_download(o->ps->e, v, o->stats, bytes);
    for (i = 0; i < o->n && !r; i++) {
        int layer = o->range[i].layer;

        if (layer < 0)
            continue;
        sum[2 * layer] += v[4 * i];
        sum[2 * layer + 1] += v[4 * i + 2];
    }
    free(v);
    if (!r && o->shard->on)
        r = comm_reduce(o->shard->comm, COMM_SUM, sum, 2 * o->n_layers);
    return r;
}

static int factors(struct optim *o, double gmul)
{
    double *sum = xcalloc(2 * (size_t)o->n_layers + 1, sizeof *sum), w, g;
    int i, r = norms(o, sum);

    for (i = 0; i < o->n && !r; i++) {
        int layer = o->range[i].layer;

        if (layer < 0)
            continue;
        w = sqrt(sum[2 * layer]);
        g = sqrt(sum[2 * layer + 1]) * gmul;
        o->factor[layer] = w > 0 && g > 0
                               ? o->eta * w / (g + o->range[i].decay * w + 1e-8)
                               : 1;
    }
    free(sum);
    return r;
}

int optim_step(struct optim *o, double lr, double gmul)
{
    struct params *ps = o->ps;
    size_t size = dtype_size(ps->pt);
    int i;

    if (o->n_layers && factors(o, gmul) < 0)
        return err_wrap("optimizer");
    for (i = 0; i < o->n; i++) {
        const struct optim_range *g = &o->range[i];
        size_t at = (size_t)g->begin * size;
        double factor = g->layer < 0 ? 1 : o->factor[g->layer];
        struct kern_sgd a = {.w = (char *)ps->w + at,
                             .m = (char *)o->m + (size_t)g->at * size,
                             .g = (const char *)ps->sum + at,
                             .n = g->end - g->begin,
                             .lr = lr,
                             .mu = o->momentum,
                             .wd = g->decay * factor,
                             .gmul = gmul * factor,
                             .nesterov = o->nesterov,
                             .pt = ps->pt};

        if (engine_run(ps->e, KERN_SGD, &a) < 0)
            return err_wrap("optimizer");
    }
    ps->version++;
    return 0;
}
