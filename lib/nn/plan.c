#include "nn/lower.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct plan *plan_new(struct graph *g, struct engine *e,
                      const struct plan_key *key)
{
    struct plan *p = xcalloc(1, sizeof *p);
    int i;

    p->g = g;
    p->e = e;
    p->key = *key;
    p->pt = key->compute == DT_F64 ? DT_F64 : DT_F32;
    p->wide = engine_wide_norms(e, key->compute);
    if (g->ps->w && g->ps->pt != p->pt)
        BUG("a plan in %s with parameters in %s", dtype_name(key->compute),
            dtype_name(g->ps->pt));
    for (i = 0; i < 8; i++)
        p->out_grad[i] = p->in_grad[i] = BUF_NONE;
    if (engine_precision(e, key->compute) < 0 || plan_lower(p) < 0) {
        plan_free(p);
        return NULL;
    }
    p->arena_bytes = arena_place(p->buf, p->n_bufs);
    return p;
}

void plan_free(struct plan *p)
{
    int i;

    if (!p)
        return;
    for (i = 0; i < p->n_convs; i++)
        if (p->conv[i].plan)
            engine_conv_free(p->e, p->conv[i].plan);
    if (p->arena)
        engine_free(p->e, p->arena);
    free(p->val);
    free(p->step);
    free(p->buf);
    free(p->ins);
    free(p->conv);
    free(p);
}

static void *address(const struct plan *p, int buf)
{
    return (char *)p->arena + p->buf[buf].offset;
}

int plan_constants(struct plan *p)
{
    void *v;
    int i, r;

    if (p->ones == BUF_NONE)
        return 0;
    v = xmalloc(p->buf[p->ones].bytes);
    for (i = 0; i < p->ones_n; i++)
        dtype_store(p->pt, v, (size_t)i, 1);
    r = engine_upload(p->e, address(p, p->ones), v, p->buf[p->ones].bytes);
    if (!r)
        r = engine_finish(p->e); /* v ends here */
    free(v);
    return r;
}

int plan_alloc(struct plan *p)
{
    void *scratch, *addr;
    int i, r;

    if (engine_alloc(p->e, p->arena_bytes + p->scratch, &p->arena) < 0)
        return err_wrap("plan of %lldx%lldx%lld", (long long)p->key.n,
                        (long long)p->key.h, (long long)p->key.w);
    scratch = (char *)p->arena + p->arena_bytes;
    for (i = 0; i < p->n_ins; i++) {
        struct ins *ins = &p->ins[i];

        if (ins->kind == INS_CONV)
            ins->u.conv.scratch = p->scratch ? scratch : NULL;
        for (r = 0; r < ins->n_refs; r++) {
            addr = address(p, ins->ref[r].buf);
            memcpy((char *)ins + ins->ref[r].at, &addr, sizeof addr);
        }
    }
    return plan_constants(p);
}

/* ---- tensors for the caller */

static struct tensor tensor_in(const struct plan *p, int node, int buf,
                               enum dtype t)
{
    struct shape s = p->val[node].s;

    return TENSOR4(t, buf == BUF_NONE ? NULL : address(p, buf), s.n, s.h, s.w,
                   s.c);
}

static void check_index(int i, int n, const char *what)
{
    if (i < 0 || i >= n)
        BUG("%s %d of a plan", what, i);
}

struct tensor plan_input(struct plan *p, int i)
{
    int node, k;

    check_index(i, p->g->n_inputs, "input");
    node = p->g->input[i];
    if (p->g->node[node].op == OP_INPUT)
        return tensor_in(p, node, p->val[node].buf, p->val[node].dt);
    for (k = 0; p->step[k].node != node; k++)
        ;
    return tensor_in(p, node, p->step[k].index, DT_U8);
}

struct tensor plan_output(struct plan *p, int i)
{
    int node;

    check_index(i, p->g->n_outputs, "output");
    node = p->g->output[i];
    return tensor_in(p, node, p->val[node].buf, p->val[node].dt);
}

struct tensor plan_output_grad(struct plan *p, int i)
{
    int node;

    check_index(i, p->g->n_outputs, "output");
    if (p->out_grad[i] == BUF_NONE)
        BUG("gradient of an output in a plan for evaluation");
    p->seeded[i] = true;
    node = p->g->output[i];
    return tensor_in(p, node, p->out_grad[i], p->val[node].dt);
}

struct tensor plan_input_grad(struct plan *p, int i)
{
    int node;

    check_index(i, p->g->n_inputs, "input");
    if (p->in_grad[i] == BUF_NONE)
        BUG("gradient of an input that has none");
    node = p->g->input[i];
    return tensor_in(p, node, p->in_grad[i], p->val[node].dt);
}

void plan_mix(struct plan *p, int i, const struct kern_image *how)
{
    struct tensor in = plan_input(p, i);
    struct kern_image *a = NULL;
    int k;

    for (k = 0; k < p->n_forward && !a; k++)
        if (p->ins[k].kind == INS_KERNEL && p->ins[k].kernel == KERN_IMAGE &&
            p->ins[k].u.image.x == in.data)
            a = &p->ins[k].u.image;
    if (!a)
        BUG("input %d of a plan is no image", i);
    a->erase = how->erase;
    a->mix = how->mix;
    for (k = 0; k < 4; k++)
        a->box[k] = how->box[k];
    a->h = a->w = 0;
    if (a->erase || a->mix > 0 || a->box[2] > a->box[0]) {
        a->h = in.shape[1];
        a->w = in.shape[2];
    }
}

/* ---- running */

static int run(struct plan *p, struct ins *i)
{
    const struct conv_use *c;
    int r = -1;

    switch (i->kind) {
    case INS_CONV:
        c = &p->conv[i->conv];
        if (i->weight >= 0 && params_packed(p->g->ps, i->weight, c->plan,
                                            &c->needs, &i->u.conv.w) < 0)
            return -1;
        r = engine_conv_run(p->e, c->plan, &i->u.conv);
        break;
    case INS_KERNEL:
        r = engine_run(p->e, i->kernel, &i->u);
        break;
    case INS_ZERO:
        r = engine_fill(p->e, i->zero, 0, i->zero_bytes);
        break;
    }
    if (r < 0)
        return err_wrap("%s", node_name(&p->g->node[p->step[i->step].node]));
    return 0;
}

int plan_launch(struct plan *p)
{
    int i;

    for (i = 0; i < p->n_forward; i++)
        if (run(p, &p->ins[i]) < 0)
            return -1;
    memset(p->seeded, 0, sizeof p->seeded);
    return 0;
}

void plan_count(struct plan *p)
{
    const struct graph *g = p->g;
    int i;

    for (i = 0; p->key.train && i < g->n; i++)
        if (g->node[i].counter >= 0)
            g->ps->counter[g->node[i].counter].value++;
}

int plan_forward(struct plan *p)
{
    if (plan_launch(p) < 0)
        return -1;
    plan_count(p);
    return 0;
}

int plan_backward(struct plan *p, int (*ready)(void *arg, int64_t end),
                  void *arg)
{
    int i;

    if (!p->key.train)
        BUG("backward of a plan for evaluation");
    for (i = 0; i < p->g->n_outputs; i++)
        if (!p->seeded[i] && engine_fill(p->e, address(p, p->out_grad[i]), 0,
                                         p->buf[p->out_grad[i]].bytes) < 0)
            return -1;
    if (ready && p->ready > 0 && ready(arg, p->ready) < 0)
        return -1;
    for (i = p->n_forward; i < p->n_ins; i++) {
        if (run(p, &p->ins[i]) < 0)
            return -1;
        if (ready && p->ins[i].ready > 0 && ready(arg, p->ins[i].ready) < 0)
            return -1;
    }
    return 0;
}

/* ---- what it takes */

/* Packed weights: one copy for each parameter and layout. */
static size_t packed_bytes(const struct plan *p)
{
    size_t sum = 0;
    int i, j;

    for (i = 0; i < p->n_ins; i++) {
        const struct ins *a = &p->ins[i];
        const struct conv_needs *n;

        if (a->kind != INS_CONV || a->weight < 0)
            continue;
        n = &p->conv[a->conv].needs;
        for (j = 0; j < i; j++)
            if (p->ins[j].kind == INS_CONV && p->ins[j].weight == a->weight &&
                p->conv[p->ins[j].conv].needs.packed_bytes > 0 &&
                p->conv[p->ins[j].conv].needs.layout == n->layout)
                break;
        if (j == i)
            sum += n->packed_bytes;
    }
    return sum;
}

void plan_cost(const struct plan *p, struct plan_cost *cost)
{
    const struct params *ps = p->g->ps;
    size_t size = dtype_size(p->pt);
    double macs;
    int i, j;

    memset(cost, 0, sizeof *cost);
    cost->weights = (size_t)ps->total * size;
    cost->buffers = (size_t)ps->buffer_total * size;
    if (p->key.train)
        cost->gradients = cost->momentum = cost->weights;
    cost->packed = packed_bytes(p);
    cost->activations = p->arena_bytes;
    cost->scratch = p->scratch;
    for (i = 0; i < p->n_ins; i++) {
        for (j = 0; j < p->ins[i].n_refs; j++)
            cost->traffic += (double)p->buf[p->ins[i].ref[j].buf].bytes;
        if (p->ins[i].kind != INS_CONV)
            continue;
        macs = conv_macs(&p->conv[p->ins[i].conv].desc);
        if (i < p->n_forward)
            cost->forward_macs += macs;
        else
            cost->backward_macs += macs;
    }
}
