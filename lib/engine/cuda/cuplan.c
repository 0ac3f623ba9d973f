/*
 * The choice of a plan among the engines that cuDNN's heuristics propose for a
 * graph, and its run.
 */
#include "engine/cuda/cugraph.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef cudnnBackendDescriptor_t desc;

#define CONFIGS 64
#define KNOBS 24 /* settings of an engine, at most */

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
        if ((unsigned)v[i] < 32) /* one that is newer is none of ours */
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

/* "engine 12 k5=3 k7=1": its number and its settings, knob by knob. False: they
 * are too many, or not told. */
static bool name_of(const struct cudnn *lib, const struct candidate *c,
                    char name[CUPLAN_NAME])
{
    desc knob[KNOBS];
    cudnnBackendKnobType_t type = CUDNN_KNOB_TYPE_COUNTS;
    int64_t n = 0, value = 0, one, made, i;
    int len = snprintf(name, CUPLAN_NAME, "engine %d", c->engine);
    bool good;

    for (made = 0; made < KNOBS; made++)
        if (lib->BackendCreateDescriptor(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR,
                                         &knob[made]) != CUDNN_STATUS_SUCCESS)
            break;
    good =
        made == KNOBS &&
        lib->BackendGetAttribute(c->config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, KNOBS, &n,
                                 knob) == CUDNN_STATUS_SUCCESS &&
        n <= KNOBS;
    for (i = 0; good && i < n; i++) {
        good =
            lib->BackendGetAttribute(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE,
                                     CUDNN_TYPE_KNOB_TYPE, 1, &one,
                                     &type) == CUDNN_STATUS_SUCCESS &&
            lib->BackendGetAttribute(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE,
                                     CUDNN_TYPE_INT64, 1, &one,
                                     &value) == CUDNN_STATUS_SUCCESS;
        len += snprintf(name + len, (size_t)(CUPLAN_NAME - len),
                        " k%d=%" PRId64, (int)type, value);
        good = good && len < CUPLAN_NAME;
    }
    for (i = 0; i < made; i++)
        lib->BackendDestroyDescriptor(knob[i]);
    return good;
}

/* What both modes of the heuristics propose; their number. */
static int proposals(struct cugraph *g, desc graph,
                     const struct cuplan_want *want,
                     struct candidate c[CONFIGS])
{
    int n;

    err_clear();
    n = propose(g->lib, graph, want, CUDNN_HEUR_MODE_A, c, 0);
    return propose(g->lib, graph, want, CUDNN_HEUR_MODE_FALLBACK, c, n);
}

/* Those that are there compiled first. */
static void choose(const struct cudnn *lib, const struct cuplan_want *want,
                   struct candidate *c, int n, struct cuplan *plan)
{
    struct cuplan smallest = *plan;
    int i, pass;

    for (i = 0; i < n; i++)
        plan->candidates += c[i].fate == FITS;
    smallest.candidates = plan->candidates;
    for (pass = 0; pass < 2 && !plan->plan; pass++)
        for (i = 0; i < n && !plan->plan; i++)
            if (c[i].fate == FITS && c[i].compiled == (pass == 1) &&
                take(lib, want, &c[i], plan, &smallest))
                plan->config = c[i].config; /* the plan refers to it */
    if (plan->plan && smallest.plan)
        lib->BackendDestroyDescriptor(smallest.plan);
    else if (smallest.plan)
        *plan = smallest;
}

/* The one of that name, within the cap. */
static void choose_named(const struct cudnn *lib,
                         const struct cuplan_want *want, struct candidate *c,
                         int n, struct cuplan *plan)
{
    struct cuplan_want strict = *want;
    struct cuplan larger = {.plan = NULL};
    char name[CUPLAN_NAME];
    int i;

    strict.limit = 0;
    for (i = 0; i < n && !plan->plan; i++)
        if (c[i].fate == FITS && name_of(lib, &c[i], name) &&
            strcmp(name, want->form) == 0 &&
            take(lib, &strict, &c[i], plan, &larger))
            plan->config = c[i].config;
}

int cugraph_plan(struct cugraph *g, const struct cuplan_want *want,
                 struct cuplan *plan)
{
    desc graph = cugraph_finish(g, want->handle);
    struct candidate c[CONFIGS];
    int n, i, r = 0;

    memset(plan, 0, sizeof *plan);
    plan->lib = g->lib;
    if (!graph)
        return -1;
    n = proposals(g, graph, want, c);
    if (want->form)
        choose_named(g->lib, want, c, n, plan);
    else
        choose(g->lib, want, c, n, plan);
    if (plan->plan)
        err_clear();
    else if (want->form)
        r = err_set(ERR_UNAVAILABLE, "cuDNN: \"%s\" is none that fits",
                    want->form);
    else
        r = none_fits(want, c, n);
    for (i = 0; i < n; i++)
        if (c[i].config != plan->config)
            g->lib->BackendDestroyDescriptor(c[i].config);
    return r;
}

/* ---- candidates of a trial */

/* Is it within the cap? Only of those that are there compiled: to make the plan of
 * another takes about a second. */
static bool within(const struct cudnn *lib, const struct cuplan_want *want,
                   struct candidate *c)
{
    struct cuplan plan = {.plan = NULL}, larger = plan;
    struct cuplan_want strict = *want;

    strict.limit = 0;
    if (c->fate != FITS || c->compiled)
        return c->fate == FITS;
    if (!take(lib, &strict, c, &plan, &larger))
        return false;
    lib->BackendDestroyDescriptor(plan.plan);
    return true;
}

static bool listed(char (*name)[CUPLAN_NAME], int n, const char *one)
{
    int i;

    for (i = 0; i < n; i++)
        if (strcmp(name[i], one) == 0)
            return true;
    return false;
}

int cugraph_forms(struct cugraph *g, const struct cuplan_want *want,
                  char (*name)[CUPLAN_NAME], int most)
{
    desc graph = cugraph_finish(g, want->handle);
    struct candidate c[CONFIGS];
    int i, n, pass, last, found = 0;

    if (!graph) {
        err_clear();
        return 0;
    }
    n = proposals(g, graph, want, c);
    err_clear();
    for (pass = 0; pass < 2; pass++) {
        last = pass == 0             ? most
               : found >= CUPLAN_FEW ? found
               : found + 2 <= most   ? found + 2
                                     : most;
        for (i = 0; i < n && found < last; i++)
            if (c[i].compiled == (pass == 1) && within(g->lib, want, &c[i]) &&
                name_of(g->lib, &c[i], name[found]) &&
                !listed(name, found, name[found]))
                found++;
    }
    for (i = 0; i < n; i++)
        g->lib->BackendDestroyDescriptor(c[i].config);
    return found;
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
