/*
 * nccl.c - the few calls of NCCL that the cuda engine makes, between processes of
 * one host, for tests. Ranks meet in a file that they map; the identifier is its
 * name. Sums are added in rank order in fp32 and rounded once.
 *
 * A communicator does not block. What is asked for is in progress until its state
 * is looked at: only then is it on its stream. It happens when the stream comes to it
 * (cudart.c), and there waits for the other ranks, for ever if need be: that a rank
 * was lost is for others to notice. Memory that is freed or given up while somebody
 * may be using it ends the program. Where it was told to speak it opens the file of
 * its messages as the library does.
 *
 * HOSTNCCL names what is to be met: old (a version), alone (the others never
 * join), broken (the third sum fails), silent (it never ends), deaf (an abort never
 * returns), plain (it has no memory to give), unregistered (it takes none), strict
 * (sums are refused where that is not registered).
 */
/* What others call, in spite of the flags. */
#pragma GCC visibility push(default)
#include "hostgpu.h"
#include "tensor/dtype.h"

#include <cuda_runtime_api.h>
#include <fcntl.h>
#include <nccl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RANKS 16
#define WAITING 64               /* collectives of a group */
#define ARENA ((size_t)16 << 20) /* bytes that a rank says at once */
#define MAGIC 0xcafebeef

struct seat {
    atomic_int joined;        /* 1 + device */
    atomic_ulong said, heard; /* number of the last collective */
    unsigned long what;       /* a digest of it, that all must agree in */
};

struct table {
    struct seat seat[RANKS];
};

struct work;

struct ncclComm {
    struct table *t;
    struct work *waiting[WAITING]; /* asked for, not yet on a stream */
    cudaStream_t on[WAITING];
    int n_waiting;
    bool joined, leaving;
    char *arena;
    char path[120];
    int rank, world;
    unsigned long asked; /* collectives so far */
    _Atomic ncclResult_t state;
    atomic_bool aborted;
};

static bool met(const char *what)
{
    const char *e = getenv("HOSTNCCL");

    return e && strcmp(e, what) == 0;
}

/* ---- small ones */

ncclResult_t ncclGetVersion(int *version)
{
    *version = met("old") ? 21403 : NCCL_VERSION_CODE;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t r)
{
    return r == ncclInvalidUsage  ? "invalid usage"
           : r == ncclSystemError ? "unhandled system error"
                                  : "an error";
}

const char *ncclGetLastError(ncclComm_t c)
{
    (void)c;
    return "";
}

ncclResult_t ncclGroupStart(void);
ncclResult_t ncclGroupEnd(void);

static int depth;                 /* of groups */
static bool asked;                /* is there anything in it? */
static struct ncclComm *in_group; /* of whom */

ncclResult_t ncclGroupStart(void)
{
    depth++;
    asked = false;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (depth == 0)
        return ncclInvalidUsage;
    depth--;
    if (!asked)
        return ncclSuccess;
    in_group->state = ncclInProgress;
    return ncclInProgress;
}

static void wrong(const char *what)
{
    fprintf(stderr, "hostnccl: %s\n", what);
    abort();
}

/* Once: to the file that it is given, which is a new one then, or to stdout. */
static void speak(void)
{
    const char *level = getenv("NCCL_DEBUG"), *path = getenv("NCCL_DEBUG_FILE");
    static FILE *f;

    if (f || !level)
        return;
    f = path ? fopen(path, "we") : NULL;
    if (!f)
        f = stdout;
    if (strcmp(level, "INFO") == 0)
        fprintf(f, "hostnccl speaks\n");
    fflush(f);
}

#define KNOWN 8
static struct {
    const char *p;
    size_t bytes;
} known[KNOWN]; /* registered */
static int n_known;

ncclResult_t ncclMemAlloc(void **p, size_t bytes)
{
    if (met("plain"))
        return ncclInternalError;
    return cudaMalloc(p, bytes) == cudaSuccess ? ncclSuccess
                                               : ncclUnhandledCudaError;
}

ncclResult_t ncclMemFree(void *p)
{
    if (!hostgpu_idle())
        wrong("memory is freed while the device may be using it");
    return cudaFree(p) == cudaSuccess ? ncclSuccess : ncclInvalidArgument;
}

ncclResult_t ncclCommRegister(const ncclComm_t c, void *p, size_t n, void **h)
{
    if (met("unregistered"))
        return ncclInvalidUsage;
    if (!c || !p || n_known == KNOWN)
        return ncclInvalidArgument;
    *h = p;
    known[n_known].p = p;
    known[n_known++].bytes = n;
    return ncclSuccess;
}

ncclResult_t ncclCommDeregister(const ncclComm_t c, void *h)
{
    int i;

    if (c && (c->n_waiting > 0 || c->t->seat[c->rank].heard < c->asked))
        wrong("memory is given up while ranks may be using it");
    for (i = 0; c && i < n_known; i++)
        if (known[i].p == h) {
            known[i] = known[--n_known];
            return ncclSuccess;
        }
    return ncclInvalidArgument;
}

/* Is it inside of what was registered? */
static bool registered(const void *p, size_t bytes)
{
    int i;

    for (i = 0; i < n_known; i++)
        if ((const char *)p >= known[i].p &&
            (const char *)p + bytes <= known[i].p + known[i].bytes)
            return true;
    return false;
}

/* ---- joining */

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    const char *dir = getenv("TMPDIR");
    int fd;

    speak();
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "%.80s/hostnccl-XXXXXX",
             dir ? dir : "/tmp");
    fd = mkstemp(id->internal);
    if (fd < 0 ||
        ftruncate(fd, (off_t)(sizeof(struct table) + RANKS * ARENA)) < 0)
        return ncclSystemError;
    close(fd);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int world, ncclUniqueId id,
                                    int rank, ncclConfig_t *config)
{
    struct ncclComm *c = calloc(1, sizeof *c);
    int fd = open(id.internal, O_RDWR | O_CLOEXEC), device;
    void *p;

    speak();
    if (fd < 0 || world > RANKS || rank < 0 || rank >= world ||
        config->magic != MAGIC || config->size != sizeof *config ||
        config->blocking != 0)
        return ncclInvalidArgument;
    p = mmap(NULL, sizeof(struct table) + RANKS * ARENA, PROT_READ | PROT_WRITE,
             MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        return ncclSystemError;
    c->t = p;
    c->arena = (char *)p + sizeof(struct table);
    c->rank = rank;
    c->world = world;
    memcpy(c->path, id.internal, sizeof c->path - 1);
    c->state = ncclInProgress;
    cudaGetDevice(&device);
    if (!met("alone"))
        c->t->seat[rank].joined = device + 1;
    *out = c;
    return ncclInProgress;
}

/* Have all come, each with a device of its own? */
static ncclResult_t look_round(struct ncclComm *c)
{
    int i, k, a, b;

    for (i = 0; i < c->world; i++) {
        a = c->t->seat[i].joined;
        if (!a)
            return ncclInProgress;
        for (k = 0; k < i; k++) {
            b = c->t->seat[k].joined;
            if (a == b) {
                fprintf(stderr, "hostnccl: duplicate GPU\n");
                return ncclInvalidUsage;
            }
        }
    }
    if (c->rank == 0)
        unlink(c->path);
    return ncclSuccess;
}

static void put_on_streams(struct ncclComm *c);

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *state)
{
    if (c->state == ncclInProgress && !c->joined) {
        c->state = look_round(c);
        c->joined = c->state == ncclSuccess;
    } else if (c->state == ncclInProgress) {
        c->state = ncclSuccess;
        put_on_streams(c);
    }
    *state = c->state;
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t c)
{
    if (c->aborted || c->leaving || c->state != ncclSuccess)
        return ncclInvalidUsage;
    c->leaving = true;
    c->state = ncclInProgress;
    return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t c)
{
    if (c->state == ncclInProgress)
        wrong("a communicator is destroyed while it is in progress");
    munmap(c->t, sizeof(struct table) + RANKS * ARENA);
    free(c);
    return ncclSuccess;
}

/* What is waited for ends, with nothing that is worth reading. */
ncclResult_t ncclCommAbort(ncclComm_t c)
{
    while (met("deaf"))
        sleep(1);
    unlink(c->path);
    c->aborted = true;
    return ncclSuccess;
}

/* ---- collectives */

struct work {
    struct ncclComm *c;
    const void *from;
    void *to;
    size_t n;
    enum dtype t;
    bool mean;
    int root; /* -1: a sum */
    unsigned long number;
    bool said;
};

static bool all(const struct work *w, bool heard)
{
    int i;

    for (i = 0; i < w->c->world; i++) {
        struct seat *s = &w->c->t->seat[i];

        if (heard ? s->heard + 1 < w->number : s->said < w->number)
            return false;
    }
    return true;
}

static const void *said_by(const struct work *w, int rank)
{
    return w->c->arena + (size_t)rank * ARENA;
}

static void add(const struct work *w)
{
    size_t i;
    int r;

    for (i = 0; i < w->n; i++) {
        float v = (float)dtype_load(w->t, said_by(w, 0), i);

        for (r = 1; r < w->c->world; r++)
            v += (float)dtype_load(w->t, said_by(w, r), i);
        if (w->mean)
            v /= (float)w->c->world;
        dtype_store(w->t, w->to, i, (double)v);
    }
}

static bool run(void *arg)
{
    struct work *w = arg;
    struct ncclComm *c = w->c;
    size_t bytes = w->n * dtype_size(w->t);
    int i;

    if (c->aborted)
        return true;
    if (met("broken") && w->number == 3) {
        c->state = ncclSystemError;
        return false;
    }
    if (met("silent") && w->number == 3)
        return false;
    if (!w->said) {
        if (!all(w, true))
            return false; /* somebody still reads what was said last */
        hostgpu_enter();
        memcpy(c->arena + (size_t)c->rank * ARENA, w->from, bytes);
        hostgpu_leave();
        c->t->seat[c->rank].what =
            w->n * 64 + (size_t)w->t * 4 + 2 * (w->root >= 0) + w->mean;
        c->t->seat[c->rank].said = w->number;
        w->said = true;
    }
    if (!all(w, false))
        return false;
    for (i = 0; i < c->world; i++)
        if (c->t->seat[i].what != c->t->seat[c->rank].what) {
            fprintf(stderr, "hostnccl: the ranks call for different things\n");
            c->state = ncclInvalidUsage;
            return false;
        }
    hostgpu_enter();
    if (w->root < 0)
        add(w);
    else
        memcpy(w->to, said_by(w, w->root), bytes);
    hostgpu_leave();
    c->t->seat[c->rank].heard = w->number;
    return true;
}

static ncclResult_t start(ncclComm_t c, cudaStream_t s, const struct work *what)
{
    struct work *w;

    if (!c || c->aborted || c->state != ncclSuccess ||
        what->n * dtype_size(what->t) > ARENA)
        return ncclInvalidArgument;
    if (c->n_waiting == WAITING)
        return ncclInternalError;
    w = malloc(sizeof *w);
    *w = *what;
    w->c = c;
    w->number = ++c->asked;
    c->on[c->n_waiting] = s;
    c->waiting[c->n_waiting++] = w;
    asked = true;
    if (depth > 0)
        in_group = c;
    else
        c->state = ncclInProgress;
    return depth > 0 ? ncclSuccess : ncclInProgress;
}

static void put_on_streams(struct ncclComm *c)
{
    int i;

    for (i = 0; i < c->n_waiting; i++)
        hostgpu_enqueue(c->on[i], run, c->waiting[i]);
    c->n_waiting = 0;
}

static enum dtype dtype_of(ncclDataType_t t)
{
    return t == ncclFloat16 ? DT_F16 : t == ncclBfloat16 ? DT_BF16 : DT_F32;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t n,
                           ncclDataType_t t, ncclRedOp_t op, ncclComm_t c,
                           cudaStream_t s)
{
    struct work w = {.from = from,
                     .to = to,
                     .n = n,
                     .t = dtype_of(t),
                     .mean = op == ncclAvg,
                     .root = -1};

    if (met("strict") && op == ncclSum &&
        !registered(from, n * dtype_size(w.t)))
        return ncclInvalidUsage;
    return start(c, s, &w);
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t n,
                           ncclDataType_t t, int root, ncclComm_t c,
                           cudaStream_t s)
{
    struct work w = {
        .from = from, .to = to, .n = n, .t = dtype_of(t), .root = root};

    return start(c, s, &w);
}
