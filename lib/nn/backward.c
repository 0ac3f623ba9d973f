/*
 * Steps, last first, to backward instructions. Invariants: when a step's turn
 * comes, all readers of its value have given their contributions; a step whose
 * value got none, or needs none, emits nothing.
 */
#include "nn/lower.h"

#include <limits.h>
#include <stdlib.h>

/* The gradient of a value: g0 [+ g1], buffers. */
struct grads {
    int g0, g1;
};

/* May this buffer of a gradient that was just taken be written over? */
static bool mine(const struct plan *p, struct grads g)
{
    return p->buf[g.g0].held == 0 && g.g0 != g.g1;
}

static struct grads take(struct plan *p, int v)
{
    struct val *val = &p->val[v];
    struct grads g = {val->n_grad > 0 ? val->grad[0] : BUF_NONE,
                      val->n_grad > 1 ? val->grad[1] : BUF_NONE};

    if (g.g0 != BUF_NONE)
        p->buf[g.g0].held--;
    if (g.g1 != BUF_NONE)
        p->buf[g.g1].held--;
    val->n_grad = 0;
    return g;
}

/* The gradient of v in one buffer. */
static int take_one(struct plan *p, int v)
{
    struct grads g = take(p, v);
    struct ins *i;
    int y;

    if (g.g1 == BUF_NONE)
        return g.g0;
    y = mine(p, g) ? g.g0 : lower_buf(p, val_bytes(&p->val[v]));
    i = lower_kernel(p, KERN_ADD);
    lower_ref(p, i, &i->u.add.a, g.g0);
    lower_ref(p, i, &i->u.add.b, g.g1);
    lower_ref(p, i, &i->u.add.y, y);
    i->u.add.n = shape_count(p->val[v].s);
    i->u.add.dt = p->val[v].dt;
    return y;
}

/* One more contribution to the gradient of v; a third joins the first two. */
static void give(struct plan *p, int v, int buf)
{
    struct val *val = &p->val[v];

    if (!p->g->node[v].needs_grad)
        return;
    if (val->n_grad == 2) {
        val->grad[0] = take_one(p, v);
        p->buf[val->grad[0]].held++;
        val->n_grad = 1;
    }
    val->grad[val->n_grad++] = buf;
    p->buf[buf].held++;
}

static bool wanted(const struct plan *p, int v)
{
    return p->g->node[v].needs_grad;
}

static bool learns(const struct plan *p, int param)
{
    return param >= 0 && !p->g->ps->p[param].frozen;
}

/* Where the gradient of a parameter goes, noted in the instruction; NULL if it
 * is frozen. */
static void *param_grad(struct plan *p, struct ins *i, int param)
{
    if (!learns(p, param))
        return NULL;
    i->grad[i->grad[0] >= 0 ? 1 : 0] = param;
    return param_g(p->g->ps, param);
}

/* ---- one operation each; the value's gradient is there and wanted */

static int back_source(struct plan *p, struct step *s)
{
    (void)p;
    (void)s; /* input gradients: at the end */
    return 0;
}

static void back_bias(struct plan *p, const struct node *nd,
                      const struct val *v, int dy)
{
    struct ins *i;

    if (!learns(p, nd->bias))
        return;
    i = lower_kernel(p, KERN_COLSUM);
    lower_ref(p, i, &i->u.colsum.x, dy);
    i->u.colsum.out = param_grad(p, i, nd->bias);
    i->u.colsum.rows = shape_rows(v->s);
    i->u.colsum.c = v->s.c;
    i->u.colsum.dt = v->dt;
    i->u.colsum.pt = p->pt;
    i->u.colsum.accumulate = true;
}

/* dgrad of step s, with the last contribution to the gradient of its input: what
 * comes out is the gradient behind the relu of that norm's step, and its sums. */
static int back_through_norm(struct plan *p, const struct step *s,
                             struct step *norm, const struct conv_desc *d,
                             int dy)
{
    const struct graph *g = p->g;
    int add = d->add ? take_one(p, norm->out) : BUF_NONE, dz, k, node;
    struct ins *i;

    dz = lower_buf(p, val_bytes(&p->val[norm->out]));
    i = lower_conv(p, d, g->node[s->node].weight);
    if (!i)
        return err_wrap("%s", node_name(&g->node[s->node]));
    lower_ref(p, i, &i->u.conv.dy, dy);
    lower_ref(p, i, &i->u.conv.out, dz);
    lower_ref(p, i, &i->u.conv.add, add);
    if (d->residual)
        lower_ref(p, i, &i->u.conv.residual, p->val[norm->residual].buf);
    for (k = 0; k < conv_norms(d); k++) {
        node = k ? norm->norm2 : norm->node;
        lower_ref(p, i, &i->u.conv.bn[k].x, p->val[g->node[node].in[0]].buf);
        lower_ref(p, i, &i->u.conv.bn[k].mean, norm->vec[k][NV_MEAN]);
        lower_ref(p, i, &i->u.conv.bn[k].invstd, norm->vec[k][NV_INVSTD]);
        i->u.conv.bn[k].gamma = param_w(g->ps, g->node[node].weight);
        i->u.conv.bn[k].beta = param_w(g->ps, g->node[node].bias);
        lower_ref(p, i, &i->u.conv.bn[k].dbeta, norm->vec[k][NV_S1]);
        lower_ref(p, i, &i->u.conv.bn[k].dgamma, norm->vec[k][NV_S2]);
    }
    norm->summed = true;
    give(p, norm->out, dz);
    return 0;
}

/* CONV and LINEAR. */
static int back_conv(struct plan *p, struct step *s)
{
    const struct node *nd = &p->g->node[s->node];
    const struct val *v = &p->val[s->out], *x = &p->val[nd->in[0]];
    struct conv_desc d;
    struct step *norm;
    struct ins *i;
    int dy = take_one(p, s->out), cast, dx;

    back_bias(p, nd, v, dy);
    if (v->dt != x->dt) { /* logits: the products are in the compute dtype */
        cast = lower_buf(p, (size_t)shape_count(v->s) * dtype_size(x->dt));
        i = lower_kernel(p, KERN_CAST);
        lower_ref(p, i, &i->u.cast.x, dy);
        lower_ref(p, i, &i->u.cast.y, cast);
        i->u.cast.n = shape_count(v->s);
        i->u.cast.from = v->dt;
        i->u.cast.to = x->dt;
        dy = cast;
    }
    if (learns(p, nd->weight)) {
        d = fused_desc(p, s, CONV_WGRAD);
        i = lower_conv(p, &d, -1);
        if (!i)
            return err_wrap("%s", node_name(nd));
        lower_ref(p, i, &i->u.conv.x, fused_input(p, s)->buf);
        lower_ref(p, i, &i->u.conv.dy, dy);
        fused_prologue(p, i, s);
        i->u.conv.out = param_grad(p, i, nd->weight);
        i->u.conv.accumulate = true;
    }
    if (!wanted(p, nd->in[0]))
        return 0;
    norm = fused_dgrad(p, s, &d);
    if (norm)
        return back_through_norm(p, s, norm, &d, dy);
    dx = lower_buf(p, val_bytes(x));
    i = lower_conv(p, &d, nd->weight);
    if (!i)
        return err_wrap("%s", node_name(nd));
    lower_ref(p, i, &i->u.conv.dy, dy);
    lower_ref(p, i, &i->u.conv.out, dx);
    give(p, nd->in[0], dx);
    return 0;
}

/* The sums of a step's norms over dz; saves dz if it is given a buffer. Where the
 * relu let it through is seen by the values that are read anyway, if there are no
 * others in it. */
static void norm_sums(struct plan *p, const struct step *s, struct grads g,
                      int dz)
{
    const struct graph *gr = p->g;
    const struct val *x = &p->val[gr->node[s->node].in[0]];
    struct ins *i = lower_kernel(p, KERN_NORM_GRAD_SUMS);

    lower_ref(p, i, &i->u.sums.dy0, g.g0);
    lower_ref(p, i, &i->u.sums.dy1, g.g1);
    if (s->relu >= 0 && s->residual >= 0)
        lower_ref(p, i, &i->u.sums.y, p->val[s->out].buf);
    if (s->relu >= 0 && s->residual < 0) {
        lower_ref(p, i, &i->u.sums.scale, s->vec[0][NV_SCALE]);
        lower_ref(p, i, &i->u.sums.bias, s->vec[0][NV_BIAS]);
    }
    lower_ref(p, i, &i->u.sums.x, x->buf);
    lower_ref(p, i, &i->u.sums.mean, s->vec[0][NV_MEAN]);
    lower_ref(p, i, &i->u.sums.invstd, s->vec[0][NV_INVSTD]);
    lower_ref(p, i, &i->u.sums.s1, s->vec[0][NV_S1]);
    lower_ref(p, i, &i->u.sums.s2, s->vec[0][NV_S2]);
    if (s->norm2 >= 0) {
        lower_ref(p, i, &i->u.sums.rx, p->val[gr->node[s->norm2].in[0]].buf);
        lower_ref(p, i, &i->u.sums.rmean, s->vec[1][NV_MEAN]);
        lower_ref(p, i, &i->u.sums.rinvstd, s->vec[1][NV_INVSTD]);
        lower_ref(p, i, &i->u.sums.rs2, s->vec[1][NV_S2]);
        if (s->relu >= 0) {
            lower_ref(p, i, &i->u.sums.rscale, s->vec[1][NV_SCALE]);
            lower_ref(p, i, &i->u.sums.rbias, s->vec[1][NV_BIAS]);
        }
    }
    lower_ref(p, i, &i->u.sums.dz, dz);
    lower_pool(p, i, &i->u.sums.pool, s);
    i->u.sums.rows = shape_rows(x->s);
    i->u.sums.c = x->s.c;
    i->u.sums.dt = x->dt;
    i->u.sums.pt = p->pt;
    i->u.sums.wide = p->wide;
}

/*
 * Parameter gradients and dx of norm `which` of a step, from g (masked by y if
 * mask) to dx.
 */
static void norm_one(struct plan *p, const struct step *s, int which,
                     struct grads g, bool mask)
{
    int node = which ? s->norm2 : s->node, dx;
    const struct node *nd = &p->g->node[node];
    const int *vec = s->vec[which];
    const struct val *x = &p->val[nd->in[0]];
    struct ins *i = lower_kernel(p, KERN_NORM_GRAD_FINAL);

    lower_ref(p, i, &i->u.grad_final.s1, s->vec[0][NV_S1]);
    lower_ref(p, i, &i->u.grad_final.s2, vec[NV_S2]);
    lower_ref(p, i, &i->u.grad_final.mean, vec[NV_MEAN]);
    lower_ref(p, i, &i->u.grad_final.invstd, vec[NV_INVSTD]);
    lower_ref(p, i, &i->u.grad_final.a, vec[NV_A]);
    lower_ref(p, i, &i->u.grad_final.b, vec[NV_B]);
    lower_ref(p, i, &i->u.grad_final.k, vec[NV_K]);
    i->u.grad_final.gamma = param_w(p->g->ps, nd->weight);
    i->u.grad_final.dgamma = param_grad(p, i, nd->weight);
    i->u.grad_final.dbeta = param_grad(p, i, nd->bias);
    i->u.grad_final.rows = shape_rows(x->s);
    i->u.grad_final.c = nd->c;
    i->u.grad_final.pt = p->pt;
    i->u.grad_final.wide = p->wide;
    if (!wanted(p, nd->in[0]))
        return;
    dx = mine(p, g) ? g.g0 : lower_buf(p, val_bytes(x));
    i = lower_kernel(p, KERN_NORM_GRAD_APPLY);
    lower_ref(p, i, &i->u.grad_apply.dy0, g.g0);
    lower_ref(p, i, &i->u.grad_apply.dy1, g.g1);
    if (mask && s->add >= 0)
        lower_ref(p, i, &i->u.grad_apply.y, p->val[s->out].buf);
    if (mask && s->add < 0) {
        lower_ref(p, i, &i->u.grad_apply.scale, vec[NV_SCALE]);
        lower_ref(p, i, &i->u.grad_apply.bias, vec[NV_BIAS]);
    }
    lower_ref(p, i, &i->u.grad_apply.x, x->buf);
    lower_ref(p, i, &i->u.grad_apply.a, vec[NV_A]);
    lower_ref(p, i, &i->u.grad_apply.b, vec[NV_B]);
    lower_ref(p, i, &i->u.grad_apply.k, vec[NV_K]);
    lower_ref(p, i, &i->u.grad_apply.dx, dx);
    i->u.grad_apply.rows = shape_rows(x->s);
    i->u.grad_apply.c = nd->c;
    i->u.grad_apply.dt = x->dt;
    i->u.grad_apply.pt = p->pt;
    i->u.grad_apply.wide = p->wide;
    give(p, nd->in[0], dx);
}

/*
 * norm [+ add] [+ relu] [+ pool]. With an add, dz (the gradient of the sum) is the
 * contribution to the residual as it is, or what the second norm reads; with a
 * pool it is what is collected from behind it; so it is saved by the pass that
 * sums. Without one, it is made again from dy.
 */
static int back_norm(struct plan *p, struct step *s)
{
    struct grads g = take(p, s->out);
    bool mask = s->relu >= 0, first = wanted(p, s->node);
    bool second = s->norm2 >= 0 && wanted(p, s->norm2);
    bool pass = s->residual >= 0 && wanted(p, s->residual);
    int dz = BUF_NONE;

    if (s->summed)
        mask = false;
    if ((second || pass) && (mask || g.g1 != BUF_NONE))
        dz = mine(p, g) ? g.g0 : lower_buf(p, val_bytes(&p->val[s->out]));
    if (s->pool >= 0)
        dz = lower_buf(p, val_bytes(&p->val[s->node]));
    if (!s->summed)
        norm_sums(p, s, g, dz);
    if (dz != BUF_NONE) {
        g = (struct grads){dz, BUF_NONE};
        mask = false;
    }
    if (pass)
        give(p, s->residual, g.g0);
    if (second) {
        p->buf[g.g0].held++; /* the first one has to leave it */
        if (first)
            norm_one(p, s, 0, g, mask);
        p->buf[g.g0].held--;
        norm_one(p, s, 1, g, mask);
    } else if (first) {
        norm_one(p, s, 0, g, mask);
    }
    return 0;
}

static int back_relu(struct plan *p, struct step *s)
{
    int xi = p->g->node[s->node].in[0];
    const struct val *v = &p->val[s->out];
    struct grads g = take(p, s->out);
    int dx = lower_buf(p, val_bytes(v));
    struct ins *i = lower_kernel(p, KERN_RELU_GRAD);

    lower_ref(p, i, &i->u.relu_grad.y, v->buf);
    lower_ref(p, i, &i->u.relu_grad.dy0, g.g0);
    lower_ref(p, i, &i->u.relu_grad.dy1, g.g1);
    lower_ref(p, i, &i->u.relu_grad.dx, dx);
    i->u.relu_grad.n = shape_count(v->s);
    i->u.relu_grad.dt = v->dt;
    give(p, xi, dx);
    return 0;
}

static int back_add(struct plan *p, struct step *s)
{
    const struct node *nd = &p->g->node[s->node];
    int g = take_one(p, s->out);

    p->buf[g].held++; /* both get the same buffer */
    give(p, nd->in[0], g);
    give(p, nd->in[1], g);
    p->buf[g].held--;
    return 0;
}

static int back_maxpool(struct plan *p, struct step *s)
{
    const struct node *nd = &p->g->node[s->node];
    const struct val *x = &p->val[nd->in[0]];
    struct grads g = take(p, s->out);
    int dx;
    struct ins *i;

    if (!wanted(p, nd->in[0]))
        return 0;
    dx = lower_buf(p, val_bytes(x));
    i = lower_kernel(p, KERN_MAXPOOL_GRAD);
    lower_ref(p, i, &i->u.maxpool_grad.dy0, g.g0);
    lower_ref(p, i, &i->u.maxpool_grad.dy1, g.g1);
    lower_ref(p, i, &i->u.maxpool_grad.index, s->index);
    lower_ref(p, i, &i->u.maxpool_grad.dx, dx);
    i->u.maxpool_grad.n = x->s.n;
    i->u.maxpool_grad.h = x->s.h;
    i->u.maxpool_grad.w = x->s.w;
    i->u.maxpool_grad.c = x->s.c;
    i->u.maxpool_grad.r = nd->r;
    i->u.maxpool_grad.stride = nd->stride;
    i->u.maxpool_grad.pad = nd->pad;
    i->u.maxpool_grad.dt = x->dt;
    give(p, nd->in[0], dx);
    return 0;
}

static int back_avgpool(struct plan *p, struct step *s)
{
    int xi = p->g->node[s->node].in[0];
    const struct val *x = &p->val[xi];
    struct grads g = take(p, s->out);
    int dx = lower_buf(p, val_bytes(x));
    struct ins *i = lower_kernel(p, KERN_AVGPOOL_GRAD);

    lower_ref(p, i, &i->u.avgpool_grad.dy0, g.g0);
    lower_ref(p, i, &i->u.avgpool_grad.dy1, g.g1);
    lower_ref(p, i, &i->u.avgpool_grad.dx, dx);
    i->u.avgpool_grad.n = x->s.n;
    i->u.avgpool_grad.hw = x->s.h * x->s.w;
    i->u.avgpool_grad.c = x->s.c;
    i->u.avgpool_grad.dt = x->dt;
    give(p, xi, dx);
    return 0;
}

static int (*const backward[OP_N])(struct plan *p, struct step *s) = {
    [OP_INPUT] = back_source,    [OP_IMAGE] = back_source,
    [OP_CONV] = back_conv,       [OP_LINEAR] = back_conv,
    [OP_NORM] = back_norm,       [OP_RELU] = back_relu,
    [OP_ADD] = back_add,         [OP_MAXPOOL] = back_maxpool,
    [OP_AVGPOOL] = back_avgpool,
};

/* ---- the ends */

/* Buffers that the caller writes between forward and backward. */
static void seed_outputs(struct plan *p)
{
    const struct graph *g = p->g;
    int k, b;

    for (k = 0; k < g->n_outputs; k++) {
        b = lower_buf(p, val_bytes(&p->val[g->output[k]]));
        p->buf[b].first = p->n_forward - 1;
        p->buf[b].last = p->n_forward;
        p->out_grad[k] = b;
        give(p, g->output[k], b);
    }
}

/* Input gradients stay; of one that nobody reached it is zero. */
static void keep_inputs(struct plan *p)
{
    const struct graph *g = p->g;
    struct ins *i;
    int k, v, b;

    for (k = 0; k < g->n_inputs; k++) {
        v = g->input[k];
        if (g->node[v].op != OP_INPUT || !g->node[v].needs_grad)
            continue;
        b = take_one(p, v);
        if (b == BUF_NONE) {
            b = lower_buf(p, val_bytes(&p->val[v]));
            i = lower_kernel(p, KERN_N);
            i->kind = INS_ZERO;
            i->zero_bytes = p->buf[b].bytes;
            lower_ref(p, i, &i->zero, b);
        }
        p->buf[b].last = INT_MAX;
        p->buf[b].held++;
        p->in_grad[k] = b;
    }
}

/* How much of the gradient arena is final behind each instruction. */
static void note_ready(struct plan *p)
{
    const struct params *ps = p->g->ps;
    int *final = xcalloc((size_t)ps->n + 1, sizeof *final);
    int i, j, at = ps->n - 1;
    int64_t end = 0;

    for (i = 0; i < ps->n; i++)
        final[i] = -1;
    for (i = p->n_forward; i < p->n_ins; i++)
        for (j = 0; j < 2; j++)
            if (p->ins[i].grad[j] >= 0)
                final[p->ins[i].grad[j]] = i;
    for (i = p->n_forward - 1; i < p->n_ins; i++) {
        int64_t before = end;

        for (; at >= 0 && final[at] <= i; at--)
            end = at > 0 ? ps->p[at - 1].offset : ps->total;
        if (i < p->n_forward)
            p->ready = end;
        else if (end > before)
            p->ins[i].ready = end;
    }
    free(final);
}

/* The step has had its turn: its readings owe nothing any more. */
static void settle(struct plan *p, const struct step *s)
{
    const struct node *nd = &p->g->node[s->node];
    int j;

    for (j = 0; j < nd->n_in; j++)
        p->val[nd->in[j]].owed--;
    if (s->norm2 >= 0)
        p->val[p->g->node[s->norm2].in[0]].owed--;
    if (s->residual >= 0)
        p->val[s->residual].owed--;
}

int lower_backward(struct plan *p)
{
    int i, j;

    for (i = 0; i < p->g->n; i++)
        p->val[i].owed = p->val[i].readers;
    for (i = 0; i < p->g->n_outputs; i++)
        p->val[p->g->output[i]].owed--;
    seed_outputs(p);
    for (i = p->n_steps - 1; i >= 0; settle(p, &p->step[i--])) {
        struct step *s = &p->step[i];

        if (!wanted(p, s->out) || p->val[s->out].n_grad == 0)
            continue;
        recompute_emit(p, i);
        j = p->n_ins;
        if (backward[p->g->node[s->node].op](p, s) < 0)
            return -1;
        for (; j < p->n_ins; j++)
            p->ins[j].step = i;
    }
    keep_inputs(p);
    note_ready(p);
    return 0;
}
