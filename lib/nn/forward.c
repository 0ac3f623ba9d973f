/*
 * Steps to forward instructions. Which forms of convolutions are used at level C
 * of gpu-engine 2.5 is decided in fused.c before. Folded norms in evaluation would
 * belong here.
 */
#include "nn/lower.h"

/* ---- values that are read, and where results go */

/* Value v of a step, now read. */
static struct val *reading(struct plan *p, int v)
{
    p->val[v].left--;
    return &p->val[v];
}

/*
 * Nobody reads value v any more, and no gradient needs it: not that of another
 * reader (a convolution keeps its input), nor that of its maker (a relu keeps
 * its output).
 */
static bool free_to_overwrite(const struct plan *p, int v)
{
    const struct node *nd = &p->g->node[v];
    const struct step *s;

    if (p->val[v].left > 0 || nd->op == OP_INPUT)
        return false;
    if (!p->key.train)
        return true;
    if (p->val[v].readers > 1 || p->g->recompute)
        return false;
    s = lower_maker(p, v);
    return s && (s->relu < 0 || s->pool >= 0) &&
           p->g->node[s->node].op != OP_RELU;
}

/* The buffer of the step's result: that of value over if it may go. */
static int result(struct plan *p, const struct step *s, int over)
{
    struct val *v = &p->val[s->out];

    if (over >= 0 && p->val[over].dt == v->dt && free_to_overwrite(p, over))
        v->buf = p->val[over].buf;
    else
        v->buf = lower_buf(p, val_bytes(v));
    return v->buf;
}

/* ---- one operation each */

static int forward_source(struct plan *p, struct step *s)
{
    const struct node *nd = &p->g->node[s->node];
    struct val *v = &p->val[s->out];
    struct ins *i;
    int input, k, y;

    if (nd->op == OP_INPUT) {
        v->buf = lower_buf_kept(p, val_bytes(v));
        return 0;
    }
    input = lower_buf_kept(p, (size_t)shape_count(v->s));
    y = result(p, s, -1);
    s->index = input; /* plan_input finds it here */
    i = lower_kernel(p, KERN_IMAGE);
    lower_ref(p, i, &i->u.image.x, input);
    lower_ref(p, i, &i->u.image.y, y);
    i->u.image.rows = shape_rows(v->s);
    i->u.image.c = (int)v->s.c;
    i->u.image.cy = (int)v->pitch;
    i->u.image.dt = v->dt;
    for (k = 0; k < 4; k++) {
        i->u.image.mul[k] = nd->mul[k];
        i->u.image.add[k] = nd->add[k];
    }
    return 0;
}

/* y += bias where the engine has no such epilogue: an apply with scale 1. */
static void add_bias(struct plan *p, const struct node *nd, struct val *v)
{
    struct ins *i;

    if (p->ones == BUF_NONE)
        p->ones = lower_buf_kept(p, 0);
    if (nd->c > p->ones_n) {
        p->ones_n = (int)nd->c;
        p->buf[p->ones].bytes = (size_t)nd->c * dtype_size(p->pt);
    }
    i = lower_kernel(p, KERN_NORM_APPLY);
    lower_ref(p, i, &i->u.apply.x, v->buf);
    lower_ref(p, i, &i->u.apply.y, v->buf);
    lower_ref(p, i, &i->u.apply.scale, p->ones);
    i->u.apply.bias = param_w(p->g->ps, nd->bias);
    i->u.apply.rows = shape_rows(v->s);
    i->u.apply.c = v->s.c;
    i->u.apply.dt = v->dt;
    i->u.apply.pt = p->pt;
}

/* CONV and LINEAR: the richest form the engine has for bias and out dtype. */
static int forward_conv(struct plan *p, struct step *s)
{
    const struct node *nd = &p->g->node[s->node];
    struct val *v = &p->val[s->out];
    const struct val *x = fused_input(p, s);
    struct conv_desc d = fused_desc(p, s, CONV_FORWARD);
    bool bias = nd->bias >= 0;
    struct ins *i;
    int y = result(p, s, -1), out = y;

    reading(p, nd->in[0]);
    d.out = v->dt;
    if (bias) {
        d.epi = EPI_BIAS;
        if (!engine_conv_available(p->e, &d))
            d.epi = EPI_NONE;
    }
    if (d.out != d.dtype && !engine_conv_available(p->e, &d)) {
        d.epi = EPI_NONE;
        d.out = d.dtype;
        out = lower_buf(p, (size_t)shape_count(v->s) * dtype_size(d.out));
    }
    i = lower_conv(p, &d, nd->weight);
    if (!i)
        return err_wrap("%s", node_name(nd));
    lower_ref(p, i, &i->u.conv.x, x->buf);
    lower_ref(p, i, &i->u.conv.out, out);
    fused_prologue(p, i, s);
    if (d.epi == EPI_STATS) {
        const int *vec = p->step[s->stats_of[0]].vec[s->stats_of[1]];

        lower_ref(p, i, &i->u.conv.sum, vec[NV_S1]);
        lower_ref(p, i, &i->u.conv.sumsq, vec[NV_S2]);
    }
    if (d.epi == EPI_BIAS)
        i->u.conv.bias = param_w(p->g->ps, nd->bias);
    if (out != y) {
        i = lower_kernel(p, KERN_CAST);
        lower_ref(p, i, &i->u.cast.x, out);
        lower_ref(p, i, &i->u.cast.y, y);
        i->u.cast.n = shape_count(v->s);
        i->u.cast.from = d.out;
        i->u.cast.to = v->dt;
    }
    if (bias && d.epi != EPI_BIAS)
        add_bias(p, nd, v);
    return 0;
}

/* Scale and bias of one norm, from the batch or from the running statistics;
 * sums: a convolution has left the sums of the values. */
static void norm_scale(struct plan *p, int node, const int *vec, bool sums)
{
    const struct node *nd = &p->g->node[node];
    const struct val *x = &p->val[nd->in[0]];
    const struct params *ps = p->g->ps;
    bool train = p->key.train;
    struct ins *i;

    if (train && !sums) {
        i = lower_kernel(p, KERN_NORM_STATS);
        lower_ref(p, i, &i->u.stats.x, x->buf);
        lower_ref(p, i, &i->u.stats.mean, vec[NV_MEAN]);
        lower_ref(p, i, &i->u.stats.var, vec[NV_VAR]);
        i->u.stats.rows = shape_rows(x->s);
        i->u.stats.c = nd->c;
        i->u.stats.dt = x->dt;
        i->u.stats.pt = p->pt;
        i->u.stats.wide = p->wide;
    }
    i = lower_kernel(p, KERN_NORM_FINAL);
    i->u.final.mean = param_buffer(ps, nd->mean);
    i->u.final.var = param_buffer(ps, nd->var);
    if (train) {
        i->u.final.running_mean = param_buffer(ps, nd->mean);
        i->u.final.running_var = param_buffer(ps, nd->var);
        if (sums) {
            lower_ref(p, i, &i->u.final.sum, vec[NV_S1]);
            lower_ref(p, i, &i->u.final.sumsq, vec[NV_S2]);
            lower_ref(p, i, &i->u.final.batch_mean, vec[NV_MEAN]);
        } else {
            lower_ref(p, i, &i->u.final.mean, vec[NV_MEAN]);
            lower_ref(p, i, &i->u.final.var, vec[NV_VAR]);
        }
        lower_ref(p, i, &i->u.final.invstd, vec[NV_INVSTD]);
    }
    lower_ref(p, i, &i->u.final.scale, vec[NV_SCALE]);
    lower_ref(p, i, &i->u.final.bias, vec[NV_BIAS]);
    i->u.final.gamma = param_w(ps, nd->weight);
    i->u.final.beta = param_w(ps, nd->bias);
    i->u.final.rows = shape_rows(x->s);
    i->u.final.c = nd->c;
    i->u.final.eps = nd->eps;
    i->u.final.momentum = nd->momentum;
    i->u.final.pt = p->pt;
    i->u.final.wide = p->wide;
}

static int forward_norm(struct plan *p, struct step *s)
{
    const struct graph *g = p->g;
    int xi = g->node[s->node].in[0], r = BUF_NONE, y;
    const struct val *x = reading(p, xi);
    struct ins *i;

    norm_scale(p, s->node, s->vec[0], s->from_sums[0]);
    if (s->inside)
        return 0;
    if (s->norm2 >= 0) {
        norm_scale(p, s->norm2, s->vec[1], s->from_sums[1]);
        r = reading(p, g->node[s->norm2].in[0])->buf;
    } else if (s->residual >= 0) {
        r = reading(p, s->residual)->buf;
    }
    if (s->pool >= 0 && p->key.train && g->node[s->node].needs_grad)
        s->index = lower_buf(p, (size_t)shape_count(p->val[s->out].s));
    /* in training x is wanted again by the gradient */
    y = result(p, s, p->key.train || s->pool >= 0 ? -1 : xi);
    i = lower_kernel(p, KERN_NORM_APPLY);
    lower_ref(p, i, &i->u.apply.x, x->buf);
    lower_ref(p, i, &i->u.apply.y, y);
    lower_ref(p, i, &i->u.apply.scale, s->vec[0][NV_SCALE]);
    lower_ref(p, i, &i->u.apply.bias, s->vec[0][NV_BIAS]);
    lower_ref(p, i, &i->u.apply.r, r);
    if (s->norm2 >= 0) {
        lower_ref(p, i, &i->u.apply.rscale, s->vec[1][NV_SCALE]);
        lower_ref(p, i, &i->u.apply.rbias, s->vec[1][NV_BIAS]);
    }
    lower_pool(p, i, &i->u.apply.pool, s);
    i->u.apply.rows = shape_rows(x->s);
    i->u.apply.c = x->s.c;
    i->u.apply.wide = p->wide;
    i->u.apply.relu = s->relu >= 0;
    i->u.apply.dt = x->dt;
    i->u.apply.pt = p->pt;
    return 0;
}

static int forward_relu(struct plan *p, struct step *s)
{
    int xi = p->g->node[s->node].in[0];
    const struct val *x = reading(p, xi);
    int y = result(p, s, xi);
    struct ins *i = lower_kernel(p, KERN_RELU);

    lower_ref(p, i, &i->u.relu.x, x->buf);
    lower_ref(p, i, &i->u.relu.y, y);
    i->u.relu.n = shape_count(x->s);
    i->u.relu.dt = x->dt;
    return 0;
}

static int forward_add(struct plan *p, struct step *s)
{
    const struct node *nd = &p->g->node[s->node];
    const struct val *a = reading(p, nd->in[0]), *b = reading(p, nd->in[1]);
    int over = free_to_overwrite(p, nd->in[0]) ? nd->in[0] : nd->in[1];
    int y = result(p, s, over);
    struct ins *i = lower_kernel(p, KERN_ADD);

    lower_ref(p, i, &i->u.add.a, a->buf);
    lower_ref(p, i, &i->u.add.b, b->buf);
    lower_ref(p, i, &i->u.add.y, y);
    i->u.add.n = shape_count(a->s);
    i->u.add.dt = a->dt;
    return 0;
}

static int forward_maxpool(struct plan *p, struct step *s)
{
    const struct node *nd = &p->g->node[s->node];
    const struct val *x = reading(p, nd->in[0]);
    int y = result(p, s, -1);
    struct ins *i;

    if (p->key.train && p->g->node[nd->in[0]].needs_grad)
        s->index = lower_buf(p, (size_t)shape_count(p->val[s->out].s));
    i = lower_kernel(p, KERN_MAXPOOL);
    lower_ref(p, i, &i->u.maxpool.x, x->buf);
    lower_ref(p, i, &i->u.maxpool.y, y);
    lower_ref(p, i, &i->u.maxpool.index, s->index);
    i->u.maxpool.n = x->s.n;
    i->u.maxpool.h = x->s.h;
    i->u.maxpool.w = x->s.w;
    i->u.maxpool.c = x->s.c;
    i->u.maxpool.r = nd->r;
    i->u.maxpool.stride = nd->stride;
    i->u.maxpool.pad = nd->pad;
    i->u.maxpool.dt = x->dt;
    return 0;
}

static int forward_avgpool(struct plan *p, struct step *s)
{
    const struct val *x = reading(p, p->g->node[s->node].in[0]);
    int y = result(p, s, -1);
    struct ins *i = lower_kernel(p, KERN_AVGPOOL);

    lower_ref(p, i, &i->u.avgpool.x, x->buf);
    lower_ref(p, i, &i->u.avgpool.y, y);
    i->u.avgpool.n = x->s.n;
    i->u.avgpool.hw = x->s.h * x->s.w;
    i->u.avgpool.c = x->s.c;
    i->u.avgpool.dt = x->dt;
    return 0;
}

static int (*const forward[OP_N])(struct plan *p, struct step *s) = {
    [OP_INPUT] = forward_source,    [OP_IMAGE] = forward_source,
    [OP_CONV] = forward_conv,       [OP_LINEAR] = forward_conv,
    [OP_NORM] = forward_norm,       [OP_RELU] = forward_relu,
    [OP_ADD] = forward_add,         [OP_MAXPOOL] = forward_maxpool,
    [OP_AVGPOOL] = forward_avgpool,
};

int lower_forward(struct plan *p)
{
    int i, j;

    for (i = 0; i < p->n_steps; i++) {
        j = p->n_ins;
        if (forward[p->g->node[p->step[i].node].op](p, &p->step[i]) < 0)
            return -1;
        for (; j < p->n_ins; j++)
            p->ins[j].step = i;
    }
    p->n_forward = p->n_ins;
    return 0;
}
