#include "engine/cuda/cugraph.h"

#include <string.h>

typedef cudnnBackendDescriptor_t desc;

#define VIRTUAL 1000 /* numbers of tensors that are not in memory, from here */

/* ---- descriptors */

void cugraph_init(struct cugraph *g, const struct cudnn *lib)
{
    memset(g, 0, sizeof *g);
    g->lib = lib;
}

void cugraph_release(struct cugraph *g)
{
    while (g->n_own > 0)
        g->lib->BackendDestroyDescriptor(g->own[--g->n_own]);
}

static void tried(struct cugraph *g, cudnnStatus_t s, const char *what)
{
    if (!g->failed && cudnn_check(g->lib, s, what) < 0)
        g->failed = true;
}

static desc make(struct cugraph *g, cudnnBackendDescriptorType_t t)
{
    desc d = NULL;

    if (g->failed)
        return NULL;
    if (g->n_own == CUGRAPH_DESCRIPTORS)
        BUG("a cuDNN graph of too many descriptors");
    tried(g, g->lib->BackendCreateDescriptor(t, &d), "descriptor");
    if (d)
        g->own[g->n_own++] = d;
    return d;
}

static void set(struct cugraph *g, desc d, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t t, int64_t n, const void *v)
{
    if (!g->failed)
        tried(g, g->lib->BackendSetAttribute(d, name, t, n, v), "attribute");
}

static void set_desc(struct cugraph *g, desc d,
                     cudnnBackendAttributeName_t name, desc v)
{
    set(g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &v);
}

static void finalize(struct cugraph *g, desc d, const char *what)
{
    if (!g->failed)
        tried(g, g->lib->BackendFinalize(d), what);
}

/* ---- tensors and operations */

static cudnnDataType_t type_of(enum dtype t)
{
    return t == DT_F16    ? CUDNN_DATA_HALF
           : t == DT_BF16 ? CUDNN_DATA_BFLOAT16
                          : CUDNN_DATA_FLOAT;
}

static desc tensor(struct cugraph *g, int64_t uid, enum dtype t,
                   const int64_t s[4], bool virtual)
{
    /* cuDNN counts n, c, h, w; the strides say how they lie */
    int64_t dim[4] = {s[0], s[3], s[1], s[2]}, align = 16;
    int64_t stride[4] = {s[1] * s[2] * s[3], 1, s[2] * s[3], s[3]};
    cudnnDataType_t type = type_of(t);
    desc d = make(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);

    set(g, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(g, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dim);
    set(g, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
    set(g, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    set(g, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align);
    if (virtual)
        set(g, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1,
            &virtual);
    finalize(g, d, "tensor");
    return d;
}

desc cugraph_tensor(struct cugraph *g, int64_t uid, enum dtype t,
                    const int64_t nhwc[4])
{
    return tensor(g, uid, t, nhwc, false);
}

desc cugraph_virtual(struct cugraph *g, enum dtype t, const int64_t nhwc[4])
{
    return tensor(g, VIRTUAL + g->n_own, t, nhwc, true);
}

/* An operation that is complete. */
static void add_op(struct cugraph *g, desc d, const char *what)
{
    if (g->n_ops == CUGRAPH_OPS)
        BUG("a cuDNN graph of too many operations");
    finalize(g, d, what);
    if (!g->failed)
        g->op[g->n_ops++] = d;
}

static desc pointwise(struct cugraph *g, cudnnPointwiseMode_t mode)
{
    cudnnDataType_t math = CUDNN_DATA_FLOAT;
    desc d = make(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR), op;

    set(g, d, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set(g, d, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &math);
    finalize(g, d, "pointwise");
    op = make(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_desc(g, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, d);
    return op;
}

void cugraph_pointwise(struct cugraph *g, cudnnPointwiseMode_t mode, desc x,
                       desc b, desc y)
{
    desc op = pointwise(g, mode);

    set_desc(g, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b)
        set_desc(g, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    set_desc(g, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    add_op(g, op, "pointwise operation");
}

void cugraph_relu_grad(struct cugraph *g, desc dy, desc x, desc dx)
{
    desc op = pointwise(g, CUDNN_POINTWISE_RELU_BWD);

    set_desc(g, op, CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, dy);
    set_desc(g, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    set_desc(g, op, CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, dx);
    add_op(g, op, "gradient of relu");
}

void cugraph_stats(struct cugraph *g, desc x, desc sum, desc sumsq)
{
    cudnnGenStatsMode_t mode = CUDNN_GENSTATS_SUM_SQSUM;
    cudnnDataType_t math = CUDNN_DATA_FLOAT;
    desc op = make(g, CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR);

    set(g, op, CUDNN_ATTR_OPERATION_GENSTATS_MODE, CUDNN_TYPE_GENSTATS_MODE, 1,
        &mode);
    set(g, op, CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1,
        &math);
    set_desc(g, op, CUDNN_ATTR_OPERATION_GENSTATS_XDESC, x);
    set_desc(g, op, CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, sum);
    set_desc(g, op, CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, sumsq);
    add_op(g, op, "statistics");
}

void cugraph_norm_sums(struct cugraph *g, const struct cugraph_norm *n)
{
    const struct {
        cudnnBackendAttributeName_t name;
        desc d;
    } part[] = {
        {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MEAN_DESC, n->mean},
        {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_INVSTD_DESC, n->invstd},
        {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_BN_SCALE_DESC, n->gamma},
        {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_X_DESC, n->x},
        {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DY_DESC, n->dy},
        {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_SCALE_DESC, n->dgamma},
        {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_BIAS_DESC, n->dbeta},
        {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_DY_SCALE_DESC, n->rest[0]},
        {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_X_SCALE_DESC, n->rest[1]},
        {CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_BIAS, n->rest[2]},
    };
    cudnnDataType_t math = CUDNN_DATA_FLOAT;
    desc op = make(g, CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR);
    size_t i;

    set(g, op, CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MATH_PREC,
        CUDNN_TYPE_DATA_TYPE, 1, &math);
    for (i = 0; i < sizeof part / sizeof part[0]; i++)
        set_desc(g, op, part[i].name, part[i].d);
    add_op(g, op, "sums of a norm");
}

static desc windows(struct cugraph *g, int64_t stride, int64_t pad)
{
    int64_t n = 2, strides[2] = {stride, stride}, pads[2] = {pad, pad};
    int64_t dilation[2] = {1, 1};
    cudnnDataType_t sums = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    desc d = make(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);

    set(g, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums);
    set(g, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1,
        &mode);
    set(g, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &n);
    set(g, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
    set(g, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
    set(g, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2,
        strides);
    set(g, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation);
    finalize(g, d, "windows");
    return d;
}

/* The names that cuDNN gives the parts of each kind. */
static const struct {
    cudnnBackendDescriptorType_t op;
    cudnnBackendAttributeName_t conv, x, w, y, alpha, beta;
} parts[] = {
    [CONV_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [CONV_DGRAD] =
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [CONV_WGRAD] =
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

void cugraph_conv(struct cugraph *g, enum conv_kind kind, int64_t stride,
                  int64_t pad, desc x, desc w, desc y)
{
    desc conv = windows(g, stride, pad), d = make(g, parts[kind].op);
    float one = 1, zero = 0;

    set_desc(g, d, parts[kind].conv, conv);
    set_desc(g, d, parts[kind].x, x);
    set_desc(g, d, parts[kind].w, w);
    set_desc(g, d, parts[kind].y, y);
    set(g, d, parts[kind].alpha, CUDNN_TYPE_FLOAT, 1, &one);
    set(g, d, parts[kind].beta, CUDNN_TYPE_FLOAT, 1, &zero);
    add_op(g, d, "convolution");
}

/* ---- the choice of a plan */

#define CONFIGS 64

/* Why an engine is not taken, in the order of the questions (gpu-engine 2.7). */
enum fate {
    FITS,
    VARIES,  /* other bits every time */
    CUBLAS,  /* needs a library that is not here */
    ROUNDED, /* other arithmetic than is wanted */
    LARGE,   /* more workspace than the limit */
    UNMADE,  /* the library proposes it and cannot make it */
    FATES
};

/* An engine with its settings, as the heuristics propose it. */
struct candidate {
    desc config;
    int engine;
    enum fate fate;
    bool compiled;
};

static unsigned notes(const struct cudnn *lib, desc engine,
                      cudnnBackendAttributeName_t name,
                      cudnnBackendAttributeType_t type)
{
    int v[32] = {0}; /* both kinds of note are enumerations */
    unsigned bits = 0;
    int64_t n = 0, i;

    if (lib->BackendGetAttribute(engine, name, type, 32, &n, v) !=
        CUDNN_STATUS_SUCCESS)
        return 0;
    for (i = 0; i < n && i < 32; i++)
        bits |= 1u << (unsigned)v[i];
    return bits;
}

static enum fate judge(const struct cuplan_want *want, unsigned number,
                       unsigned manner)
{
    unsigned never = 1u << CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION |
                     1u << CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS |
                     1u << CUDNN_NUMERICAL_NOTE_FFT;
    unsigned matrix = 1u << CUDNN_NUMERICAL_NOTE_TENSOR_CORE;

    if (want->repeatable && number >> CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC & 1)
        return VARIES;
    if (manner >> CUDNN_BEHAVIOR_NOTE_CUBLASLT_DEPENDENCY & 1)
        return CUBLAS;
    if (number & never || (want->exact && number & matrix) ||
        (want->matrix && !(number & matrix)))
        return ROUNDED;
    return FITS;
}

/* Look at what a configuration promises. */
static void examine(const struct cudnn *lib, const struct cuplan_want *want,
                    struct candidate *c)
{
    unsigned number, manner;
    int64_t n, index = -1;
    desc engine = NULL;

    c->fate = UNMADE;
    if (lib->BackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR,
                                     &engine) != CUDNN_STATUS_SUCCESS)
        return;
    if (lib->BackendGetAttribute(c->config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n,
                                 &engine) == CUDNN_STATUS_SUCCESS &&
        lib->BackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX,
                                 CUDNN_TYPE_INT64, 1, &n,
                                 &index) == CUDNN_STATUS_SUCCESS) {
        number = notes(lib, engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                       CUDNN_TYPE_NUMERICAL_NOTE);
        manner = notes(lib, engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE,
                       CUDNN_TYPE_BEHAVIOR_NOTE);
        c->engine = (int)index;
        c->compiled = manner >> CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION & 1;
        c->fate = judge(want, number, manner);
    }
    lib->BackendDestroyDescriptor(engine);
}

/* Ask a mode of the heuristics: the configurations it gives, at most max. */
static cudnnStatus_t ask(const struct cudnn *lib, desc graph, desc device,
                         cudnnBackendHeurMode_t mode, int64_t max, desc *found,
                         int64_t *n)
{
    desc h = NULL;
    cudnnStatus_t s =
        lib->BackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &h);

    if (!s)
        s = lib->BackendSetAttribute(h, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    if (!s)
        s = lib->BackendSetAttribute(h, CUDNN_ATTR_ENGINEHEUR_MODE,
                                     CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (!s && device)
        s = lib->BackendSetAttribute(h, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
    if (!s)
        s = lib->BackendFinalize(h);
    if (!s)
        s = lib->BackendGetAttribute(h, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, max, n,
                                     found);
    if (h)
        lib->BackendDestroyDescriptor(h);
    return s;
}

/*
 * What a mode of the heuristics proposes, behind those that are there. A mode
 * that fails has no proposals; the error is set then, of the first that failed.
 */
static int propose(const struct cudnn *lib, desc graph,
                   const struct cuplan_want *want, cudnnBackendHeurMode_t mode,
                   struct candidate *c, int have)
{
    desc found[CONFIGS];
    int64_t n = 0, i, max;
    cudnnStatus_t s;

    for (max = 0; max < CONFIGS - have; max++)
        if (lib->BackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
                                         &found[max]) != CUDNN_STATUS_SUCCESS)
            break;
    s = ask(lib, graph, want->device, mode, max, found, &n);
    if (s)
        n = 0;
    if (err_code() == ERR_NONE && cudnn_check(lib, s, "heuristics") < 0)
        n = 0;
    for (i = 0; i < max; i++) {
        if (i >= n) {
            lib->BackendDestroyDescriptor(found[i]);
            continue;
        }
        memset(&c[have], 0, sizeof *c);
        c[have].config = found[i];
        examine(lib, want, &c[have++]);
    }
    return have;
}

/* Make this one's plan; it may take too much. -1: it cannot be made. */
static int make_plan(const struct cudnn *lib, const struct cuplan_want *want,
                     const struct candidate *c, struct cuplan *plan)
{
    int64_t n, bytes = 0;
    desc p = NULL, config = c->config, device = want->device;
    cudnnHandle_t handle = want->handle;
    cudnnStatus_t s = lib->BackendCreateDescriptor(
        CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &p);

    if (!s && handle)
        s = lib->BackendSetAttribute(p, CUDNN_ATTR_EXECUTION_PLAN_HANDLE,
                                     CUDNN_TYPE_HANDLE, 1, &handle);
    if (!s)
        s = lib->BackendSetAttribute(p, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config);
    if (!s && device)
        s = lib->BackendSetAttribute(p, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
    if (!s)
        s = lib->BackendFinalize(p);
    if (!s)
        s = lib->BackendGetAttribute(p,
                                     CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                     CUDNN_TYPE_INT64, 1, &n, &bytes);
    if (s || bytes < 0) {
        if (p)
            lib->BackendDestroyDescriptor(p);
        return -1;
    }
    plan->plan = p;
    plan->workspace = (size_t)bytes;
    plan->engine = c->engine;
    plan->compiled = c->compiled;
    return 0;
}

/* Take this one if its workspace is within the cap; or let its fate be known,
 * and the smallest plan that is larger. */
static bool take(const struct cudnn *lib, const struct cuplan_want *want,
                 struct candidate *c, struct cuplan *plan,
                 struct cuplan *smallest)
{
    struct cuplan p = *plan;

    if (make_plan(lib, want, c, &p) < 0) {
        c->fate = UNMADE;
        return false;
    }
    if (p.workspace <= want->workspace) {
        *plan = p;
        return true;
    }
    c->fate = LARGE;
    if (p.workspace <= want->limit &&
        (!smallest->plan || p.workspace < smallest->workspace)) {
        if (smallest->plan)
            lib->BackendDestroyDescriptor(smallest->plan);
        *smallest = p;
        smallest->config = c->config;
    } else {
        lib->BackendDestroyDescriptor(p.plan);
    }
    return false;
}

/* Nothing fits: what became of those that were proposed. */
static int none_fits(const struct cuplan_want *want, const struct candidate *c,
                     int n)
{
    int count[FATES] = {0}, i;

    if (n == 0 && err_code() != ERR_NONE)
        return -1; /* the heuristics failed, and said so */
    for (i = 0; i < n; i++)
        count[c[i].fate]++;
    return err_set(
        ERR_UNAVAILABLE,
        "cuDNN: no engine of %d proposed fits: %d are not repeatable, %d need "
        "cuBLASLt, %d compute otherwise, %d want more than %zu MB of "
        "workspace, %d cannot be made",
        n, count[VARIES], count[CUBLAS], count[ROUNDED], count[LARGE],
        (want->limit > want->workspace ? want->limit : want->workspace) >> 20,
        count[UNMADE]);
}

/* Those that are there compiled first. */
static int choose(struct cugraph *g, desc graph, const struct cuplan_want *want,
                  struct cuplan *plan)
{
    struct candidate c[CONFIGS];
    struct cuplan smallest = {.plan = NULL};
    int n, i, pass, r = 0;

    err_clear();
    n = propose(g->lib, graph, want, CUDNN_HEUR_MODE_A, c, 0);
    n = propose(g->lib, graph, want, CUDNN_HEUR_MODE_FALLBACK, c, n);
    for (i = 0; i < n; i++)
        plan->candidates += c[i].fate == FITS;
    smallest = *plan;
    for (pass = 0; pass < 2 && !plan->plan; pass++)
        for (i = 0; i < n && !plan->plan; i++)
            if (c[i].fate == FITS && c[i].compiled == (pass == 1) &&
                take(g->lib, want, &c[i], plan, &smallest))
                plan->config = c[i].config; /* the plan refers to it */
    if (plan->plan && smallest.plan)
        g->lib->BackendDestroyDescriptor(smallest.plan);
    else if (smallest.plan)
        *plan = smallest;
    if (!plan->plan)
        r = none_fits(want, c, n);
    else
        err_clear();
    for (i = 0; i < n; i++)
        if (c[i].config != plan->config)
            g->lib->BackendDestroyDescriptor(c[i].config);
    return r;
}

int cugraph_plan(struct cugraph *g, const struct cuplan_want *want,
                 struct cuplan *plan)
{
    cudnnHandle_t handle = want->handle;
    desc graph = make(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);

    memset(plan, 0, sizeof *plan);
    plan->lib = g->lib;
    if (handle)
        set(g, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1,
            &handle);
    set(g, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
        g->n_ops, g->op);
    finalize(g, graph, "graph");
    if (g->failed)
        return -1;
    return choose(g, graph, want, plan);
}

/* ---- running */

int cuplan_run(const struct cuplan *p, cudnnHandle_t handle,
               const int64_t *uids, void **address, int n, void *workspace)
{
    const struct cudnn *lib = p->lib;
    desc v = NULL;
    cudnnStatus_t s =
        lib->BackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &v);

    if (!s)
        s = lib->BackendSetAttribute(v, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
                                     CUDNN_TYPE_INT64, n, uids);
    if (!s)
        s = lib->BackendSetAttribute(v, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                                     CUDNN_TYPE_VOID_PTR, n, address);
    if (!s)
        s = lib->BackendSetAttribute(v, CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
                                     CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (!s)
        s = lib->BackendFinalize(v);
    if (!s)
        s = lib->BackendExecute(handle, p->plan, v);
    if (v)
        lib->BackendDestroyDescriptor(v);
    return cudnn_check(lib, s, "run");
}

void cuplan_release(struct cuplan *p)
{
    if (p->plan)
        p->lib->BackendDestroyDescriptor(p->plan);
    if (p->config)
        p->lib->BackendDestroyDescriptor(p->config);
    memset(p, 0, sizeof *p);
}
