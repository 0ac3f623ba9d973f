/*
 * cudnncompute.c - graphs of the made-up cuDNN (cudnn.c), computed in plain loops from
 * nothing but what the descriptors say. What is between operations is rounded to the
 * dtype of its tensor.
 */
#include "tensor/dtype.h"

/* What others call, in spite of the flags. */
#pragma GCC visibility push(default)
#include "descriptor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TENSORS 64

struct tensor4 {
    int64_t uid;
    enum dtype t;
    int64_t dim[4], stride[4]; /* as cuDNN counts: n, c, h, w */
    void *p;                   /* NULL: virtual */
    double *v;                 /* as numbers, by the strides */
    bool made;                 /* by an operation of this graph */
};

/* The tensors of a run of a graph. */
struct run {
    const struct descriptor *pack;
    struct tensor4 t[TENSORS];
    int n;
};

static int64_t size4(const struct tensor4 *t)
{
    return t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
}

/* What the caller says of the tensor; NULL: nothing. */
static void *address_of(const struct run *r, int64_t uid)
{
    const struct attribute *ids =
        find(r->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    void *const *p =
        get(r->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, ids->n);
    int64_t i;

    for (i = 0; i < ids->n; i++)
        if (ids->v[i] == uid)
            return p[i];
    return NULL;
}

/* The tensor of a descriptor: an operand whose numbers are there, or a result,
 * of zeros. */
static struct tensor4 *tensor_of(struct run *r, const struct descriptor *d,
                                 bool result)
{
    int type = *(const int *)get(d, CUDNN_ATTR_TENSOR_DATA_TYPE, 1);
    bool virtual = find(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL) != NULL;
    struct tensor4 *t;
    int64_t id, i;

    memcpy(&id, get(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, 1), sizeof id);
    for (i = 0; i < r->n; i++)
        if (r->t[i].uid == id)
            return &r->t[i];
    if (r->n == TENSORS || (virtual && !result))
        abort();
    t = &r->t[r->n++];
    memset(t, 0, sizeof *t);
    t->uid = id;
    t->t = type == CUDNN_DATA_HALF       ? DT_F16
           : type == CUDNN_DATA_BFLOAT16 ? DT_BF16
                                         : DT_F32;
    memcpy(t->dim, get(d, CUDNN_ATTR_TENSOR_DIMENSIONS, 4), sizeof t->dim);
    memcpy(t->stride, get(d, CUDNN_ATTR_TENSOR_STRIDES, 4), sizeof t->stride);
    t->p = address_of(r, id);
    t->made = result;
    if (!t->p != virtual || (uintptr_t)t->p % 16 ||
        (t->p && !hostgpu_inside(t->p, (size_t)size4(t) * dtype_size(t->t)))) {
        fprintf(stderr,
                "cudnn: tensor %d: no address, or no aligned one of the "
                "device's memory\n",
                (int)id);
        abort();
    }
    t->v = calloc((size_t)size4(t), sizeof *t->v);
    for (i = 0; !result && i < size4(t); i++)
        t->v[i] = dtype_load(t->t, t->p, (size_t)i);
    return t;
}

/* A part of an operation. */
static struct tensor4 *part(struct run *r, const struct descriptor *op,
                            cudnnBackendAttributeName_t name, bool result)
{
    return tensor_of(r, of(op, name), result);
}

/* Numbers as the tensor can hold them. */
static void round_to(struct tensor4 *t)
{
    char b[8];
    int64_t i;

    for (i = 0; i < size4(t); i++) {
        dtype_store(t->t, b, 0, t->v[i]);
        t->v[i] = dtype_load(t->t, b, 0);
    }
}

/* A dimension of one element serves for all. */
static double *at(const struct tensor4 *t, int64_t n, int64_t c, int64_t h,
                  int64_t w)
{
    return &t->v[(t->dim[0] > 1 ? n * t->stride[0] : 0) +
                 (t->dim[1] > 1 ? c * t->stride[1] : 0) +
                 (t->dim[2] > 1 ? h * t->stride[2] : 0) +
                 (t->dim[3] > 1 ? w * t->stride[3] : 0)];
}

struct windows {
    int64_t stride[2], pad[2];
};

/* One product of x, w and y, into the one that is wanted: 0 y, 1 x, 2 w. */
static void product(double *x, double *w, double *y, int into)
{
    if (into == 0)
        *y += *x * *w;
    else if (into == 1)
        *x += *y * *w;
    else
        *w += *x * *y;
}

/* All products of the places of x with the weights. */
static void products(const struct windows *g, const struct tensor4 *x,
                     const struct tensor4 *w, const struct tensor4 *y, int into)
{
    const int64_t *out = y->dim, *window = w->dim;
    int64_t all = out[0] * out[2] * out[3] * window[2] * window[3], i, k, c;

    for (i = 0; i < all; i++) {
        int64_t s = i % window[3], r = i / window[3] % window[2];
        int64_t at_y = i / (window[2] * window[3]);
        int64_t q = at_y % out[3], p = at_y / out[3] % out[2];
        int64_t n = at_y / (out[2] * out[3]);
        int64_t h = p * g->stride[0] - g->pad[0] + r;
        int64_t v = q * g->stride[1] - g->pad[1] + s;

        if (h < 0 || v < 0 || h >= x->dim[2] || v >= x->dim[3])
            continue;
        for (k = 0; k < window[0]; k++)
            for (c = 0; c < window[1]; c++)
                product(at(x, n, c, h, v), at(w, k, c, r, s), at(y, n, k, p, q),
                        into);
    }
}

static void convolve(struct run *r, const struct descriptor *op)
{
    /* of the three tensors x, w, y the result */
    static const int results_at[3] = {2, 0, 1}, into[3] = {0, 1, 2};
    int kind =
        op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR ? 0
        : op->type ==
                CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR
            ? 1
            : 2;
    const struct descriptor *conv = of(op, conv_parts[kind][0]);
    struct tensor4 *t[3];
    struct windows g;
    int i;

    memcpy(g.stride, get(conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 2), 16);
    memcpy(g.pad, get(conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 2), 16);
    for (i = 0; i < 3; i++)
        t[i] = part(r, op, conv_parts[kind][i + 1], i == results_at[kind]);
    products(&g, t[0], t[1], t[2], into[kind]);
    round_to(t[results_at[kind]]);
}

static double of_two(int mode, double x, double b)
{
    switch (mode) {
    case CUDNN_POINTWISE_MUL:
        return x * b;
    case CUDNN_POINTWISE_ADD:
        return x + b;
    case CUDNN_POINTWISE_SUB:
        return x - b;
    case CUDNN_POINTWISE_RELU_FWD:
        return x > 0 || x != x ? x : 0;
    case CUDNN_POINTWISE_RELU_BWD: /* of dy, x */
        return b > 0 ? x : 0;
    default:
        abort();
    }
}

static void pointwise(struct run *r, const struct descriptor *op)
{
    const struct descriptor *how =
        of(op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    int mode = *(const int *)get(how, CUDNN_ATTR_POINTWISE_MODE, 1);
    struct tensor4 *x, *b, *y;
    int64_t n, c, h, w;

    if (mode == CUDNN_POINTWISE_RELU_BWD) {
        x = part(r, op, CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, false);
        b = part(r, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, false);
        y = part(r, op, CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, true);
    } else {
        x = b = part(r, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, false);
        if (find(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC))
            b = part(r, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, false);
        y = part(r, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, true);
    }
    for (n = 0; n < y->dim[0]; n++)
        for (h = 0; h < y->dim[2]; h++)
            for (w = 0; w < y->dim[3]; w++)
                for (c = 0; c < y->dim[1]; c++)
                    *at(y, n, c, h, w) =
                        of_two(mode, *at(x, n, c, h, w), *at(b, n, c, h, w));
    round_to(y);
}

/* Of each channel: sums of x, and of x times u with u = x, or (b - mean)
 * invstd. */
static void sums(const struct tensor4 *x, const struct tensor4 *b,
                 const struct tensor4 *mean, const struct tensor4 *invstd,
                 struct tensor4 *sum, struct tensor4 *product)
{
    int64_t n, c, h, w;

    for (n = 0; n < x->dim[0]; n++)
        for (h = 0; h < x->dim[2]; h++)
            for (w = 0; w < x->dim[3]; w++)
                for (c = 0; c < x->dim[1]; c++) {
                    double v = *at(x, n, c, h, w), u = v;

                    if (b)
                        u = (*at(b, n, c, h, w) - mean->v[c]) * invstd->v[c];
                    sum->v[c] += v;
                    product->v[c] += v * u;
                }
    round_to(sum);
    round_to(product);
}

static void statistics(struct run *r, const struct descriptor *op)
{
    sums(part(r, op, CUDNN_ATTR_OPERATION_GENSTATS_XDESC, false), NULL, NULL,
         NULL, part(r, op, CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, true),
         part(r, op, CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, true));
}

static void norm_sums(struct run *r, const struct descriptor *op)
{
    static const cudnnBackendAttributeName_t rest[] = {
        CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_DY_SCALE_DESC,
        CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_X_SCALE_DESC,
        CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_BIAS};
    int i;

    sums(part(r, op, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DY_DESC, false),
         part(r, op, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_X_DESC, false),
         part(r, op, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MEAN_DESC, false),
         part(r, op, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_INVSTD_DESC, false),
         part(r, op, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_BIAS_DESC, true),
         part(r, op, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_SCALE_DESC, true));
    for (i = 0; i < 3; i++) /* written, with what nobody should use */
        memset(part(r, op, rest[i], true)->v, 255, sizeof(double));
}

void compute(const struct descriptor *graph, const struct descriptor *pack)
{
    const struct attribute *ops = find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    struct run r = {.pack = pack};
    const struct descriptor *op;
    int64_t i, k;

    for (i = 0; i < ops->n; i++) {
        memcpy(&op, &ops->v[i], sizeof op);
        if (op->type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
            pointwise(&r, op);
        else if (op->type == CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR)
            statistics(&r, op);
        else if (op->type == CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR)
            norm_sums(&r, op);
        else
            convolve(&r, op);
    }
    for (i = 0; i < r.n; i++) {
        const struct tensor4 *t = &r.t[i];

        for (k = 0; t->made && t->p && k < size4(t); k++)
            dtype_store(t->t, t->p, (size_t)k, t->v[k]);
        free(t->v);
    }
}
