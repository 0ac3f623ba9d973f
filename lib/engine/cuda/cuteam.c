#include "engine/cuda/cuteam.h"

#include "engine/cuda/nccllib.h"
#include "util/fdio.h"
#include "util/work.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef HAVE_NCCL

#    define ABORT_MS 5000 /* for the library to give up */
_Static_assert(sizeof(ncclUniqueId) == ENGINE_TEAM_ID, "an identifier");

struct cuteam {
    struct nccl lib;
    struct engine_team with;
    ncclComm_t comm;
    cudaStream_t stream;
    cudaEvent_t begin, end;
    struct cuk kernels; /* on the stream */
    void *wire;         /* of the dtype that travels, [wire_bytes] */
    size_t wire_bytes;
    void *registered;
    bool owned;      /* wire is of MemAlloc */
    char plain[200]; /* why something of it is plain memory, or "" */
    enum err_class broken;
    char why[600];
    atomic_bool aborted;
};

/* ---- waiting */

static void *run_abort(void *arg)
{
    struct cuteam *t = arg;

    t->lib.CommAbort(t->comm);
    t->aborted = true;
    return NULL;
}

/* Abort may hang itself; then the thread is left behind, and the device is not
 * waited for again. */
static void give_up(struct cuteam *t)
{
    static const struct timespec pause = {0, 1000000};
    int64_t until = clock_ms() + ABORT_MS;
    pthread_t thread;

    if (!t->comm || work_thread(&thread, run_abort, t) != 0)
        return;
    pthread_detach(thread);
    while (!t->aborted && clock_ms() < until)
        nanosleep(&pause, NULL);
}

/* With the error set: it is the end of the team. */
static int broken(struct cuteam *t)
{
    if (!t->broken) {
        if (t->stream)
            cuda_blame(t->stream, "NCCL");
        t->broken = err_code() ? err_code() : ERR_PEER;
        snprintf(t->why, sizeof t->why, "%s", err_text());
        give_up(t);
    }
    return err_give(t->broken, t->why);
}

int cuteam_alive(struct cuteam *t, int64_t begun)
{
    ncclResult_t r = ncclSuccess;

    if (t->broken)
        return err_give(t->broken, t->why);
    if (t->with.failed && t->with.failed(t->with.arg)) {
        err_set(ERR_PEER, "NCCL: a rank was lost");
        return broken(t);
    }
    if (t->comm &&
        nccl_check(&t->lib, t->lib.CommGetAsyncError(t->comm, &r), "state") < 0)
        return broken(t);
    if (nccl_check(&t->lib, r, "between the ranks") < 0)
        return broken(t);
    if (t->with.timeout_ms && clock_ms() - begun > t->with.timeout_ms) {
        err_set(ERR_PEER, "NCCL: no answer from the other ranks for %lld s",
                (long long)t->with.timeout_ms / 1000);
        return broken(t);
    }
    return 0;
}

/* Until a call has been taken: only then is its work on the stream. */
static int settle(struct cuteam *t, ncclResult_t r, const char *what)
{
    static const struct timespec pause = {0, 50000};
    int64_t begun = clock_ms();

    if (nccl_check(&t->lib, r, what) < 0)
        return broken(t);
    while (r == ncclInProgress) {
        if (cuteam_alive(t, begun) < 0)
            return -1;
        if (t->lib.CommGetAsyncError(t->comm, &r) != ncclSuccess)
            r = ncclInternalError;
        if (nccl_check(&t->lib, r, what) < 0)
            return broken(t);
        if (r == ncclInProgress)
            nanosleep(&pause, NULL);
    }
    return 0;
}

/* ---- joining */

/* The library as the team has it; a device has at most one. */
static struct cuteam *team_of(struct cuda *c)
{
    struct cuteam *t = c->team;

    if (t)
        return t;
    t = xcalloc(1, sizeof *t);
    if (nccl_open(&t->lib) < 0) {
        free(t);
        return NULL;
    }
    if (!c->nccl)
        c->nccl = xmalloc(sizeof *c->nccl);
    *c->nccl = t->lib;
    return c->team = t;
}

int cuda_team_version(void *dev)
{
    struct cuteam *t = team_of(dev);

    return t ? t->lib.version : -1;
}

/* What the user has not set: its warnings are messages, and the same bits in
 * every run on the same machines (gpu-engine 5.8). */
static void set_environment(void)
{
    nccl_speak();
    if (getenv("NCCL_ALGO") || getenv("NCCL_PROTO"))
        return;
    setenv("NCCL_ALGO", "Ring", 1);
    setenv("NCCL_PROTO", "Simple", 1);
    setenv("NCCL_NVLS_ENABLE", "0", 0);
}

int cuda_team_id(void *dev, void *id)
{
    struct cuteam *t = team_of(dev);
    ncclUniqueId u;

    if (!t)
        return -1;
    set_environment();
    if (nccl_check(&t->lib, t->lib.GetUniqueId(&u), "identifier") < 0)
        return -1;
    memcpy(id, &u, sizeof u);
    return 0;
}

/* ---- memory that is summed in */

int cuda_alloc_sums(void *dev, size_t bytes, void **p)
{
    struct cuda *c = dev;
    struct cuteam *t = c->world > 1 ? team_of(c) : NULL;
    ncclResult_t r = ncclSuccess;

    *p = NULL;
    if (t && t->lib.MemAlloc && t->lib.MemFree && c->n_sums < CUDA_SUMS) {
        set_environment();
        r = t->lib.MemAlloc(p, bytes);
        if (r == ncclSuccess) {
            c->sums[c->n_sums].p = *p;
            c->sums[c->n_sums].registered = NULL;
            c->sums[c->n_sums++].bytes = bytes;
            return 0;
        }
        cuda_forget(); /* plain memory may do */
        snprintf(t->plain, sizeof t->plain, "ncclMemAlloc: %s",
                 t->lib.GetErrorString(r));
    } else if (t) {
        snprintf(t->plain, sizeof t->plain, "NCCL %d.%d has no ncclMemAlloc",
                 t->lib.version / 10000, t->lib.version / 100 % 100);
    }
    err_clear(); /* no NCCL: whoever joins says so */
    return cuda_alloc(dev, bytes, p);
}

/* Unlike the runtime's, the library's memory is gone at once, whoever uses it.
 * Source: NVIDIA/nccl src/include/alloc.h, ncclCuMemFree. */
bool cuda_free_sums(struct cuda *c, void *p)
{
    struct cuteam *t = c->team;
    int i;

    for (i = 0; i < c->n_sums; i++) {
        if (c->sums[i].p != p)
            continue;
        if (!cuda_settle_all(c))
            return true;
        if (c->sums[i].registered && t && t->comm)
            t->lib.CommDeregister(t->comm, c->sums[i].registered);
        c->nccl->MemFree(p);
        c->sums[i] = c->sums[--c->n_sums];
        return true;
    }
    return false;
}

/* All ranks do this for the same blocks in the same order. */
static void register_sums(struct cuda *c)
{
    struct cuteam *t = c->team;
    const struct engine_team *with = &t->with;
    ncclResult_t r = ncclSuccess;
    int i;

    for (i = 0; i < c->n_sums && r == ncclSuccess; i++) {
        if (!t->lib.CommRegister || !t->lib.CommDeregister)
            break;
        r = t->lib.CommRegister(t->comm, c->sums[i].p, c->sums[i].bytes,
                                &c->sums[i].registered);
        if (r != ncclSuccess)
            c->sums[i].registered = NULL;
    }
    if (r != ncclSuccess)
        snprintf(t->plain, sizeof t->plain, "ncclCommRegister: %s",
                 t->lib.GetErrorString(r));
    if (with->slow && t->plain[0])
        snprintf(with->slow, with->slow_bytes,
                 "NCCL: gradients are not registered: %s", t->plain);
}

/* ---- joining, once the library is there */

static int make_stream(struct cuda *c, struct cuteam *t)
{
    int least, greatest;

    if (cuda_check(cudaDeviceGetStreamPriorityRange(&least, &greatest),
                   "stream") < 0 ||
        cuda_check(cudaStreamCreateWithPriority(
                       &t->stream, cudaStreamNonBlocking, greatest),
                   "stream") < 0 ||
        cuda_check(cudaEventCreateWithFlags(&t->begin, cudaEventDisableTiming),
                   "event") < 0 ||
        cuda_check(cudaEventCreateWithFlags(&t->end, cudaEventDisableTiming),
                   "event") < 0)
        return -1;
    t->kernels = c->kernels; /* casts take nothing from the workspace */
    t->kernels.stream = t->stream;
    return 0;
}

int cuda_team_join(void *dev, const struct engine_team *with)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    struct cuda *c = dev;
    struct cuteam *t = team_of(c);
    ncclUniqueId id;

    if (!t || make_stream(c, t) < 0)
        return -1;
    set_environment();
    t->with = *with;
    memcpy(&id, with->id, sizeof id);
    config.blocking = 0;
    if (settle(t,
               t->lib.CommInitRankConfig(&t->comm, with->world, id, with->rank,
                                         &config),
               "joining") < 0)
        return -1;
    register_sums(c);
    return 0;
}

void cuteam_settle(struct cuda *c)
{
    struct err_kept kept = err_keep();
    struct cuteam *t = c->team;

    if (t && t->stream && !t->broken &&
        cuda_check(cudaEventRecord(t->end, t->stream), "ranks") == 0)
        (void)!cuda_wait(c, t->end, "ranks");
    err_restore(&kept);
}

/* What is registered is given up on the spot: nothing may be using it. */
static void free_wire(struct cuteam *t)
{
    if (t->registered)
        t->lib.CommDeregister(t->comm, t->registered);
    if (t->wire && t->owned)
        t->lib.MemFree(t->wire);
    else if (t->wire)
        cudaFree(t->wire);
    t->wire = t->registered = NULL;
    t->wire_bytes = 0;
}

void cuda_team_leave(void *dev)
{
    struct cuda *c = dev;
    struct cuteam *t = c->team;
    int i;

    cuteam_settle(c);
    if (!t || (t->broken && !t->aborted))
        return; /* it may still be in use */
    if (t->comm && !t->broken) {
        free_wire(t);
        for (i = 0; i < c->n_sums; i++)
            if (c->sums[i].registered)
                t->lib.CommDeregister(t->comm, c->sums[i].registered);
        if (settle(t, t->lib.CommFinalize(t->comm), "leaving") == 0)
            t->lib.CommDestroy(t->comm);
        else if (!t->aborted)
            return; /* the thread that aborts has it */
    }
    c->team = NULL;
    if (t->begin)
        cudaEventDestroy(t->begin);
    if (t->end)
        cudaEventDestroy(t->end);
    if (t->stream)
        cudaStreamDestroy(t->stream);
    free(t);
}

size_t cuda_own(void *dev)
{
    struct cuda *c = dev;

    return CUK_WORK + (c->team ? c->team->wire_bytes : 0);
}

/* ---- sums */

/* Room for n numbers of 16 bits. The library's own memory, registered with it,
 * travels without being copied where the machine can do that. */
static int make_wire(struct cuda *c, int64_t n)
{
    struct cuteam *t = c->team;
    size_t bytes = (size_t)n * 2;

    if (bytes <= t->wire_bytes)
        return 0;
    cuteam_settle(c);
    if (t->broken)
        return err_give(t->broken, t->why);
    free_wire(t);
    t->owned = t->lib.MemAlloc && t->lib.MemFree &&
               t->lib.MemAlloc(&t->wire, bytes) == ncclSuccess;
    if (!t->owned && cuda_check(cudaMalloc(&t->wire, bytes), "wire") < 0)
        return -1;
    t->wire_bytes = bytes;
    if (t->owned && t->lib.CommRegister && t->lib.CommDeregister &&
        t->lib.CommRegister(t->comm, t->wire, bytes, &t->registered) !=
            ncclSuccess)
        t->registered = NULL;
    return 0;
}

static int cast(struct cuteam *t, const void *x, enum dtype from, void *y,
                enum dtype to, int64_t n)
{
    struct kern_cast a = {.x = x, .y = y, .n = n, .from = from, .to = to};

    return cuda_check((cudaError_t)cuk_elem(&t->kernels, KERN_CAST, &a),
                      "wire");
}

static int sum(struct cuda *c, enum team_op op, float *p, int64_t n)
{
    struct cuteam *t = c->team;
    enum dtype wire = op == TEAM_MEAN ? DT_F32 : t->with.wire;
    void *at = p;
    ncclDataType_t type = wire == DT_F16    ? ncclFloat16
                          : wire == DT_BF16 ? ncclBfloat16
                                            : ncclFloat32;

    if (wire != DT_F32) {
        if (make_wire(c, n) < 0 || cast(t, p, DT_F32, t->wire, wire, n) < 0)
            return -1;
        at = t->wire;
    }
    if (settle(t,
               t->lib.AllReduce(at, at, (size_t)n, type,
                                op == TEAM_MEAN ? ncclAvg : ncclSum, t->comm,
                                t->stream),
               "sum") < 0)
        return -1;
    return wire == DT_F32 ? 0 : cast(t, at, wire, p, DT_F32, n);
}

static int gather(struct cuteam *t, float *p, const int64_t *end)
{
    ncclResult_t r = t->lib.GroupStart();
    int64_t begin = 0;
    int i;

    for (i = 0; i < t->with.world && r == ncclSuccess; begin = end[i++]) {
        if (end[i] > begin)
            r = t->lib.Broadcast(p + begin, p + begin, (size_t)(end[i] - begin),
                                 ncclFloat32, i, t->comm, t->stream);
        if (r == ncclInProgress)
            r = ncclSuccess;
    }
    if (nccl_check(&t->lib, r, "gather") < 0)
        return broken(t);
    return settle(t, t->lib.GroupEnd(), "gather");
}

int cuda_team_start(void *dev, enum team_op op, float *p, int64_t n,
                    const int64_t *end)
{
    struct cuda *c = dev;
    struct cuteam *t = c->team;

    if (t->broken)
        return err_give(t->broken, t->why);
    if (cuda_outside(c, "sum") < 0 ||
        cuda_check(cudaEventRecord(t->begin, c->stream), "sum") < 0 ||
        cuda_check(cudaStreamWaitEvent(t->stream, t->begin, 0), "sum") < 0)
        return -1;
    return op == TEAM_GATHER ? gather(t, p, end) : sum(c, op, p, n);
}

int cuda_team_wait(void *dev)
{
    struct cuda *c = dev;
    struct cuteam *t = c->team;

    if (t->broken)
        return err_give(t->broken, t->why);
    if (cuda_outside(c, "sum") < 0 ||
        cuda_check(cudaEventRecord(t->end, t->stream), "sum") < 0)
        return -1;
    return cuda_check(cudaStreamWaitEvent(c->stream, t->end, 0), "sum");
}

#else

int cuda_team_version(void *dev)
{
    (void)dev;
    return err_set(ERR_UNAVAILABLE, "NCCL: this build had no nccl.h");
}

int cuda_team_id(void *dev, void *id)
{
    (void)id;
    return cuda_team_version(dev);
}

int cuda_team_join(void *dev, const struct engine_team *t)
{
    (void)t;
    return cuda_team_version(dev);
}

int cuda_team_start(void *dev, enum team_op op, float *p, int64_t n,
                    const int64_t *end)
{
    (void)op, (void)p, (void)n, (void)end;
    return cuda_team_version(dev);
}

int cuda_team_wait(void *dev)
{
    return cuda_team_version(dev);
}

int cuteam_alive(struct cuteam *t, int64_t begun)
{
    (void)t, (void)begun;
    return 0;
}

void cuteam_settle(struct cuda *c)
{
    (void)c;
}

void cuda_team_leave(void *dev)
{
    (void)dev;
}

int cuda_alloc_sums(void *dev, size_t bytes, void **p)
{
    return cuda_alloc(dev, bytes, p);
}

bool cuda_free_sums(struct cuda *c, void *p)
{
    (void)c, (void)p;
    return false;
}

size_t cuda_own(void *dev)
{
    (void)dev;
    return CUK_WORK;
}

#endif
