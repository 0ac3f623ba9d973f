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
void optim_init(struct optim *o, struct params *ps, const struct recipe *r)
{
    struct optim_range *last = NULL;
    int i;

    memset(o, 0, sizeof *o);
    o->ps = ps;
    o->momentum = r->momentum;
    o->nesterov = r->nesterov;
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

void optim_release(struct optim *o)
{
    free(o->range);
    o->range = NULL;
    o->n = 0;
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
                             .m = (char *)ps->m + at,
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
