#include "nn/lower.h"

#include <inttypes.h>
#include <string.h>

/* Input shapes [n_in] -> output shape. */
typedef int shape_rule(const struct node *nd, const struct shape *in,
                       struct shape *out);

static int same(const struct node *nd, const struct shape *in,
                struct shape *out)
{
    (void)nd;
    *out = in[0];
    return 0;
}

static int window(const struct node *nd, const struct shape *in,
                  struct shape *out)
{
    int64_t h = in->h + 2 * nd->pad, w = in->w + 2 * nd->pad;

    if (h < nd->r || w < nd->r)
        return err_set(ERR_DATA,
                       "%s: image of %" PRId64 "x%" PRId64
                       " is smaller than the window of %dx%d",
                       node_name(nd), in->h, in->w, nd->r, nd->r);
    out->n = in->n;
    out->h = (h - nd->r) / nd->stride + 1;
    out->w = (w - nd->r) / nd->stride + 1;
    out->c = nd->c;
    return 0;
}

static int linear(const struct node *nd, const struct shape *in,
                  struct shape *out)
{
    if (in->h != 1 || in->w != 1)
        return err_set(ERR_DATA,
                       "%s: input of %" PRId64 "x%" PRId64 ", expected 1x1",
                       node_name(nd), in->h, in->w);
    *out = (struct shape){in->n, 1, 1, nd->c};
    return 0;
}

static int sum(const struct node *nd, const struct shape *in, struct shape *out)
{
    if (memcmp(&in[0], &in[1], sizeof in[0]) != 0)
        return err_set(ERR_DATA,
                       "%s: images of %" PRId64 "x%" PRId64 " and %" PRId64
                       "x%" PRId64,
                       node_name(nd), in[0].h, in[0].w, in[1].h, in[1].w);
    *out = in[0];
    return 0;
}

static int pixel(const struct node *nd, const struct shape *in,
                 struct shape *out)
{
    (void)nd;
    *out = (struct shape){in->n, 1, 1, in->c};
    return 0;
}

static const struct {
    const char *name;
    shape_rule *shape; /* NULL: the plan's key says it */
} ops[OP_N] = {
    [OP_INPUT] = {"input", NULL},      [OP_IMAGE] = {"image", NULL},
    [OP_CONV] = {"conv", window},      [OP_LINEAR] = {"linear", linear},
    [OP_NORM] = {"norm", same},        [OP_RELU] = {"relu", same},
    [OP_ADD] = {"add", sum},           [OP_MAXPOOL] = {"maxpool", window},
    [OP_AVGPOOL] = {"avgpool", pixel},
};

const char *op_name(enum op op)
{
    return ops[op].name;
}

const char *node_name(const struct node *nd)
{
    return nd->name ? nd->name : ops[nd->op].name;
}

int op_shape(const struct graph *g, int i, const struct plan_key *key,
             const struct shape *in, struct shape *out)
{
    const struct node *nd = &g->node[i];
    int64_t n;

    if (!ops[nd->op].shape)
        *out = (struct shape){key->n, key->h, key->w, nd->c};
    else if (ops[nd->op].shape(nd, in, out) < 0)
        return -1;
    if (out->n <= 0 || out->h <= 0 || out->w <= 0 ||
        !mul_ok(out->n, out->h, &n) || !mul_ok(n, out->w, &n) ||
        !mul_ok(n, out->c, &n) || !mul_ok(n, 8, &n))
        return err_set(ERR_DATA,
                       "%s: image of %" PRId64 "x%" PRId64 "x%" PRId64
                       "x%" PRId64,
                       node_name(nd), out->n, out->h, out->w, out->c);
    /* its variance is 0, its unbiased one 0/0: PyTorch refuses it, too */
    if (nd->op == OP_NORM && key->train && shape_rows(*out) == 1)
        return err_set(ERR_CONFIG,
                       "%s: one value per channel in training (1 image, of "
                       "1x1 here): a larger micro-batch or image is needed",
                       node_name(nd));
    return 0;
}

struct conv_desc op_conv(const struct node *nd, const struct shape *x,
                         enum conv_kind kind, enum dtype compute, enum dtype pt)
{
    struct conv_desc d;

    memset(&d, 0, sizeof d); /* descriptions are compared as bytes */
    d.kind = kind;
    d.dtype = compute;
    d.out = kind == CONV_WGRAD ? pt : compute;
    d.param = pt;
    d.n = x->n;
    d.h = x->h;
    d.w = x->w;
    d.c = x->c;
    d.k = nd->c;
    d.r = d.s = nd->op == OP_LINEAR ? 1 : nd->r;
    d.stride = nd->op == OP_LINEAR ? 1 : nd->stride;
    d.pad = nd->op == OP_LINEAR ? 0 : nd->pad;
    return d;
}
