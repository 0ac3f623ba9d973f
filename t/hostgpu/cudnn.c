/*
 * cudnn.c - a libcudnn.so.9 for tests: the backend calls, with graphs of
 * convolutions, pointwise operations, statistics and sums of norms, computed in
 * plain loops on the host from nothing but what the descriptors say. What is
 * between operations is rounded to the dtype of its tensor. It proposes four
 * engines: one that is not deterministic, one that wants more workspace than
 * anybody has, and two that work, with a workspace that they spoil.
 *
 * FAKECUDNN: none: it proposes nothing; plain: only for graphs of one operation;
 * onenorm: not for graphs with the sums of two norms; scalar: no engine has matrix
 * units; nofallback, nomodes: modes of the heuristics fail, this one
 * or all; onlyfallback: this one alone proposes; one: only one engine works;
 * fails2, fails3: this one makes plans that do not run.
 * FAKECUDNN_US="3=50 fused=1000": microseconds of the made-up device that a run of
 * engine 3 takes (10), and a graph of more than one operation beside that (0).
 */
#include "tensor/dtype.h"

/* What others call, in spite of the flags. */
#pragma GCC visibility push(default)
#include "descriptor.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKSPACE 1000 /* of engine 2; the next wants so many times that: */
#define MORE 100

void hostgpu_enter(void);
void hostgpu_leave(void);
void hostgpu_enqueue(void *stream, bool (*run)(void *arg), void *arg);
void hostgpu_drain(void); /* all of the first stream is done */
int hostgpu_fails(const char *call);
void hostgpu_spend(double us); /* on the clock of the device */

static const char *last = "";

static cudnnStatus_t no(cudnnStatus_t s, const char *why)
{
    last = why;
    return s;
}

size_t cudnnGetVersion(void)
{
    return CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t s)
{
    return s == CUDNN_STATUS_SUCCESS ? "success" : "refused";
}

void cudnnGetLastErrorString(char *text, size_t n)
{
    snprintf(text, n, "%s", last);
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *h)
{
    *h = calloc(1, sizeof(void *));
    return *h ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_ALLOC_FAILED;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t h)
{
    free(h);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t h, cudaStream_t s)
{
    if (!h || !s)
        return CUDNN_STATUS_BAD_PARAM;
    memcpy(h, &s, sizeof s);
    return CUDNN_STATUS_SUCCESS;
}

/* ---- descriptors hold what they are given */

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t t,
                                           cudnnBackendDescriptor_t *out)
{
    struct descriptor *d = calloc(1, sizeof *d);

    if (!d)
        return CUDNN_STATUS_ALLOC_FAILED;
    d->type = t;
    *out = d;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d)
{
    const struct descriptor *what = d;

    /* What a run was told is kept, of what it shall do only the address. */
    if (what && what->type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)
        hostgpu_drain();
    if (d) {
        memset(d, 0x5a, sizeof(struct descriptor)); /* seen if used again */
        free(d);
    }
    return CUDNN_STATUS_SUCCESS;
}

static bool met(const char *what)
{
    const char *e = getenv("FAKECUDNN");

    return e && strcmp(e, what) == 0;
}

static size_t size_of(cudnnBackendAttributeType_t t)
{
    switch (t) {
    case CUDNN_TYPE_INT64:
        return sizeof(int64_t);
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
        return sizeof(void *);
    case CUDNN_TYPE_BOOLEAN:
        return sizeof(bool);
    default:
        return 4; /* float and enumerations */
    }
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t desc,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type,
                                       int64_t n, const void *v)
{
    struct descriptor *d = desc;
    struct attribute *a;

    if (!d || d->finalized || d->n == ATTRIBUTES || n < 1 ||
        (size_t)n * size_of(type) > sizeof a->v)
        return no(CUDNN_STATUS_BAD_PARAM, "attribute");
    a = &d->a[d->n++];
    a->name = name;
    a->type = type;
    a->n = n;
    memcpy(a->v, v, (size_t)n * size_of(type));
    return CUDNN_STATUS_SUCCESS;
}

/* How many of the graph's operations are of that type. */
static int count_ops(const struct descriptor *graph,
                     cudnnBackendDescriptorType_t type)
{
    const struct attribute *ops = find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    const struct descriptor *op;
    int i, n = 0;

    for (i = 0; i < ops->n; i++) {
        memcpy(&op, &ops->v[i], sizeof op);
        n += op->type == type;
    }
    return n;
}

static int convolutions(const struct descriptor *graph)
{
    return count_ops(graph,
                     CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR) +
           count_ops(
               graph,
               CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR) +
           count_ops(
               graph,
               CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t desc)
{
    struct descriptor *d = desc;

    if (!d || d->finalized)
        return no(CUDNN_STATUS_BAD_PARAM, "finalize");
    if (d->type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR &&
        convolutions(d) != 1)
        return no(CUDNN_STATUS_NOT_SUPPORTED, "no such graph");
    if (d->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)
        d->engine = of(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->engine;
    if (d->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR && met("nomodes"))
        return no(CUDNN_STATUS_NOT_SUPPORTED, "no heuristics today");
    if (d->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR &&
        *(const int *)get(d, CUDNN_ATTR_ENGINEHEUR_MODE, 1) ==
            (met("onlyfallback") ? CUDNN_HEUR_MODE_A
                                 : CUDNN_HEUR_MODE_FALLBACK) &&
        (met("nofallback") || met("onlyfallback")))
        return no(CUDNN_STATUS_NOT_SUPPORTED, "no such mode");
    d->finalized = true;
    return CUDNN_STATUS_SUCCESS;
}

/* ---- four engines: 0 gives other bits every time, 1 wants a terabyte */

static bool serves(const struct descriptor *graph)
{
    if (met("plain"))
        return find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS)->n == 1;
    if (met("onenorm"))
        return count_ops(graph,
                         CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR) < 2;
    return !met("none");
}

static const cudnnBackendAttributeName_t conv_parts[3][4] = {
    {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y},
    {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY},
    {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY}};

/* Is the convolution of this graph one of halves? */
static bool of_halves(const struct descriptor *graph)
{
    const struct attribute *ops = find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    const struct descriptor *op;
    int i, kind;

    for (i = 0; i < ops->n; i++) {
        memcpy(&op, &ops->v[i], sizeof op);
        for (kind = 0; kind < 3; kind++)
            if (find(op, conv_parts[kind][2]))
                return *(const int *)get(of(op, conv_parts[kind][2]),
                                         CUDNN_ATTR_TENSOR_DATA_TYPE,
                                         1) != CUDNN_DATA_FLOAT;
    }
    return false;
}

static cudnnStatus_t results(const struct descriptor *h, int64_t max,
                             int64_t *n, void *out)
{
    struct descriptor **c = out;
    int mode = *(const int *)get(h, CUDNN_ATTR_ENGINEHEUR_MODE, 1), i;
    bool halves = of_halves(of(h, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH));

    *n = (mode == CUDNN_HEUR_MODE_A || met("onlyfallback")) &&
                 serves(of(h, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH))
             ? (met("one") ? 3 : 4)
             : 0;
    for (i = 0; i < *n && i < max; i++) {
        c[i]->engine = i;
        c[i]->matrix = halves && !met("scalar");
        c[i]->n = 1;
        c[i]->a[0].name = CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH;
        c[i]->a[0].n = 1;
        memcpy(c[i]->a[0].v, get(h, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, 1),
               8);
        c[i]->finalized = true;
    }
    return CUDNN_STATUS_SUCCESS;
}

static int workspace_of(const struct descriptor *plan)
{
    return plan->engine == 2 ? WORKSPACE : WORKSPACE * MORE;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t desc,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type,
                                       int64_t max, int64_t *n, void *out)
{
    const struct descriptor *d = desc;
    struct descriptor *engine;
    int64_t v = 0;

    if (!d)
        return no(CUDNN_STATUS_BAD_PARAM, "nothing to read");
    *n = 1;
    switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
        return results(d, max, n, out);
    case CUDNN_ATTR_ENGINECFG_ENGINE:
        memcpy(&engine, out, sizeof engine);
        engine->engine = d->engine;
        engine->matrix = d->matrix;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINECFG_KNOB_CHOICES: /* of one */
        memcpy(&engine, out, sizeof engine);
        engine->engine = d->engine;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE:
        *(int *)out = CUDNN_KNOB_TYPE_TILE_SIZE;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE:
        v = 10 * d->engine;
        break;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
        *n = (d->engine == 0) + d->matrix;
        ((int *)out)[0] = d->matrix ? CUDNN_NUMERICAL_NOTE_TENSOR_CORE
                                    : CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
        ((int *)out)[1] = CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE:
        *n = 0;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
        v = d->engine;
        break;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        v = d->engine == 1 ? (int64_t)1 << 40 : workspace_of(d);
        break;
    default:
        return no(CUDNN_STATUS_NOT_SUPPORTED, "no such attribute");
    }
    if (type != CUDNN_TYPE_INT64 || max < 1)
        return no(CUDNN_STATUS_BAD_PARAM, "attribute type");
    memcpy(out, &v, sizeof v);
    return CUDNN_STATUS_SUCCESS;
}

/* ---- computing */

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
    if (!t->p != virtual || (uintptr_t)t->p % 16) {
        fprintf(stderr, "cudnn: tensor %d: no address, or no aligned one\n",
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

/* All products of a window's place with a weight; into is 0 y, 1 x, 2 w. */
static void products(const struct windows *g, const struct tensor4 *x,
                     const struct tensor4 *w, const struct tensor4 *y, int into)
{
    int64_t n, k, p, q, c, r, s;

    for (n = 0; n < y->dim[0]; n++)
        for (p = 0; p < y->dim[2]; p++)
            for (q = 0; q < y->dim[3]; q++)
                for (r = 0; r < w->dim[2]; r++)
                    for (s = 0; s < w->dim[3]; s++) {
                        int64_t h = p * g->stride[0] - g->pad[0] + r;
                        int64_t v = q * g->stride[1] - g->pad[1] + s;

                        if (h < 0 || v < 0 || h >= x->dim[2] || v >= x->dim[3])
                            continue;
                        for (k = 0; k < w->dim[0]; k++)
                            for (c = 0; c < w->dim[1]; c++) {
                                double *a = at(x, n, c, h, v);
                                double *b = at(w, k, c, r, s);
                                double *o = at(y, n, k, p, q);

                                if (into == 0)
                                    *o += *a * *b;
                                else if (into == 1)
                                    *a += *o * *b;
                                else
                                    *b += *a * *o;
                            }
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

static void compute(const struct descriptor *graph,
                    const struct descriptor *pack)
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

/* What FAKECUDNN_US says of that, or what is usual. */
static double us_of(const char *what, double usual)
{
    const char *e = getenv("FAKECUDNN_US"), *at;
    size_t n = strlen(what);

    for (at = e; at && (at = strstr(at, what)); at += n)
        if ((at == e || at[-1] == ' ') && at[n] == '=')
            return strtod(at + n + 1, NULL);
    return usual;
}

static void spend(const struct descriptor *plan, const struct descriptor *graph)
{
    char engine[12];

    snprintf(engine, sizeof engine, "%d", plan->engine);
    hostgpu_spend(us_of(engine, 10));
    if (find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS)->n > 1)
        hostgpu_spend(us_of("fused", 0));
}

/* A run on its way. */
struct launch {
    const struct descriptor *plan, *graph;
    struct descriptor pack;
};

static bool launch(void *arg)
{
    const struct launch *l = arg;
    void *work;

    memcpy(&work, get(&l->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, 1),
           sizeof work);
    hostgpu_enter();
    memset(work, 255, (size_t)workspace_of(l->plan));
    compute(l->graph, &l->pack);
    spend(l->plan, l->graph);
    hostgpu_leave();
    return true;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t h, cudnnBackendDescriptor_t p,
                                  cudnnBackendDescriptor_t pack)
{
    const struct descriptor *plan = p, *config;
    struct launch *l;
    cudaStream_t stream;

    if (!h || !plan || plan->engine < 2)
        return no(CUDNN_STATUS_BAD_PARAM, "not a plan that can run");
    if (hostgpu_fails("cudnnBackendExecute") ||
        met(plan->engine == 2 ? "fails2" : "fails3"))
        return no(CUDNN_STATUS_EXECUTION_FAILED, "a call of the runtime");
    config = of(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    l = malloc(sizeof *l);
    l->plan = plan;
    l->graph = of(config, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    memcpy(&l->pack, pack, sizeof l->pack);
    memcpy(&stream, h, sizeof stream);
    hostgpu_enqueue(stream, launch, l);
    return CUDNN_STATUS_SUCCESS;
}
