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

desc cugraph_finish(struct cugraph *g, cudnnHandle_t handle)
{
    desc graph = make(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);

    if (handle)
        set(g, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1,
            &handle);
    set(g, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
        g->n_ops, g->op);
    finalize(g, graph, "graph");
    return g->failed ? NULL : graph;
}
