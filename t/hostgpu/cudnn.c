/*
 * cudnn.c - a libcudnn.so.9 for tests: the backend calls, with graphs of
 * convolutions, pointwise operations, statistics and sums of norms, computed on
 * the host (cudnncompute.c). It proposes four
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
/* What others call, in spite of the flags. */
#pragma GCC visibility push(default)
#include "descriptor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKSPACE 1000 /* of engine 2; the next wants so many times that: */
#define MORE 100
#define WORKSPACE_ALIGN 256

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

struct cudnnContext {
    cudaStream_t stream;
};

cudnnStatus_t cudnnCreate(cudnnHandle_t *h)
{
    *h = calloc(1, sizeof **h);
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
    h->stream = s;
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

const struct attribute *find(const struct descriptor *d,
                             cudnnBackendAttributeName_t name)
{
    int i;

    for (i = 0; d && i < d->n; i++)
        if (d->a[i].name == name)
            return &d->a[i];
    return NULL;
}

/* The attribute, or an end: a descriptor that lacks it is an error of ours. */
const void *get(const struct descriptor *d, cudnnBackendAttributeName_t name,
                int64_t n)
{
    const struct attribute *a = find(d, name);

    if (a && (a->n == n || n == 0))
        return a->v;
    fprintf(stderr, "cudnn: attribute %d of descriptor %d is missing\n",
            (int)name, d ? (int)d->type : -1);
    abort();
}

const struct descriptor *of(const struct descriptor *d,
                            cudnnBackendAttributeName_t name)
{
    const struct descriptor *v;

    memcpy(&v, get(d, name, 1), sizeof v);
    if (!v->finalized)
        abort();
    return v;
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

const cudnnBackendAttributeName_t conv_parts[3][4] = {
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

/* ---- running */

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

static void spend(int number, const struct descriptor *graph)
{
    char engine[12];

    snprintf(engine, sizeof engine, "%d", number);
    hostgpu_spend(us_of(engine, 10));
    if (find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS)->n > 1)
        hostgpu_spend(us_of("fused", 0));
}

/* A run, perhaps a later one; the pack is the caller's and ends with the call. */
struct job {
    const struct descriptor *graph;
    struct descriptor pack;
    int engine;
    void *work;
    size_t bytes;
};

static bool run_job(void *arg)
{
    struct job *j = arg;

    hostgpu_enter();
    memset(j->work, 255, j->bytes);
    compute(j->graph, &j->pack);
    spend(j->engine, j->graph);
    hostgpu_leave();
    return true;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t h, cudnnBackendDescriptor_t p,
                                  cudnnBackendDescriptor_t pack)
{
    const struct descriptor *plan = p, *config;
    struct job j, *kept;

    if (!h || !h->stream || !plan || plan->engine < 2)
        return no(CUDNN_STATUS_BAD_PARAM, "not a plan that can run");
    if (hostgpu_fails("cudnnBackendExecute") ||
        met(plan->engine == 2 ? "fails2" : "fails3"))
        return no(CUDNN_STATUS_EXECUTION_FAILED, "a call of the runtime");
    config = of(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    j.graph = of(config, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    j.pack = *(const struct descriptor *)pack;
    memcpy(&j.work, get(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, 1),
           sizeof j.work);
    j.engine = plan->engine;
    j.bytes = (size_t)workspace_of(plan);
    if ((uintptr_t)j.work % WORKSPACE_ALIGN || !hostgpu_inside(j.work, j.bytes))
        return no(CUDNN_STATUS_BAD_PARAM, "workspace");
    if (hostgpu_ready(h->stream)) {
        run_job(&j);
        return CUDNN_STATUS_SUCCESS;
    }
    kept = malloc(sizeof *kept);
    *kept = j;
    hostgpu_enqueue(h->stream, run_job, kept);
    return CUDNN_STATUS_SUCCESS;
}
