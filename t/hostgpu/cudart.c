/*
 * cudart.c - the few calls of the CUDA runtime that the cuda engine makes, on the
 * host, for tests.
 *
 * The device's memory is one range. New memory begins as 0xff, which is NaN.
 * With HOSTGPU_GUARD nobody may touch it outside of a launch or a copy: a host
 * that follows a device's address dies of it (slow: two system calls each).
 *
 * HOSTGPU names what is to be met: nodriver, olddriver, nogpu, oldgpu (sm 70),
 * turing (sm 75), nomemory. Without it there is a card of sm 90, or HOSTGPU_GPUS.
 *
 * HOSTGPU_FAIL=CALL:N:ERROR[:FILE] lets the Nth call of that name answer so; with a
 * FILE only if there is none yet, and makes it. "launch" is a kernel's. An error
 * after which a card has lost the program's memory stays: every later call answers
 * the same. HOSTGPU_PEAK names a file for the most bytes that were in use.
 */
/* What others call, in spite of the flags. */
#pragma GCC visibility push(default)
#include "hostgpu.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define RANGE ((size_t)8 << 30)
#define LINE 256
#define POISON ((size_t)4 << 20) /* bytes of it, for the time it takes */
#define PAGE 4096
#define BLOCKS 4096

/* Every answer but success is kept, for each thread, until somebody asks. */
static _Thread_local cudaError_t last_error;

cudaError_t hostgpu_answer(cudaError_t e)
{
    if (e != cudaSuccess)
        last_error = e;
    return e;
}

/* ---- errors that are asked for */

static cudaError_t lost; /* for good */

/* Does an error take the device from the program? */
static bool lasting(cudaError_t e)
{
    return e == cudaErrorECCUncorrectable || e == cudaErrorUnknown ||
           (e >= cudaErrorIllegalAddress && e <= cudaErrorLaunchFailure);
}

static bool first_time(const char *path)
{
    int fd = -1;

    if (path[0])
        fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return !path[0] || fd >= 0;
}

/* What this call is to answer. */
int hostgpu_fails(const char *call)
{
    static char name[60], path[300];
    static long left, error;
    const char *e = getenv("HOSTGPU_FAIL");

    if (lost || !e)
        return (int)lost;
    if (!name[0] &&
        sscanf(e, "%59[^:]:%ld:%ld:%299s", name, &left, &error, path) < 3)
        abort();
    if (strcmp(call, name) != 0 || --left != 0 || !first_time(path))
        return 0;
    if (lasting((cudaError_t)error))
        lost = (cudaError_t)error;
    return (int)error;
}

static struct {
    char *base;
    size_t held, peak;
    size_t used; /* accessible, a whole number of pages */
    int depth;
    bool guard;
    struct {
        size_t at, bytes;
    } block[BLOCKS]; /* by place */
    int n;
} memory;

static bool met(const char *what)
{
    const char *e = getenv("HOSTGPU");

    return e && strcmp(e, what) == 0;
}

/* ---- memory */

void hostgpu_enter(void);
void hostgpu_leave(void);

static void protect(int how)
{
    if (memory.guard && memory.used > 0 &&
        mprotect(memory.base, memory.used, how) < 0)
        abort();
}

void hostgpu_enter(void)
{
    if (memory.depth++ == 0)
        protect(PROT_READ | PROT_WRITE);
}

/* The made-up device's clock, microseconds: a launch or copy takes one, and what
 * is spent. */
static double device_us;
void hostgpu_spend(double us);

void hostgpu_spend(double us)
{
    device_us += us;
}

void hostgpu_leave(void)
{
    if (--memory.depth == 0) {
        protect(PROT_NONE);
        hostgpu_spend(1);
    }
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    size_t at = 0, end;
    int i, j;

    MAY_FAIL;
    if (!memory.base) {
        memory.guard = getenv("HOSTGPU_GUARD") != NULL;
        memory.base =
            mmap(NULL, RANGE, memory.guard ? PROT_NONE : PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory.base == MAP_FAILED)
            abort();
    }
    bytes = (bytes + LINE - 1) / LINE * LINE + LINE; /* a gap */
    for (i = 0; i < memory.n && memory.block[i].at - at < bytes; i++)
        at = memory.block[i].at + memory.block[i].bytes;
    if (memory.n == BLOCKS || bytes > RANGE || at > RANGE - bytes ||
        met("nomemory"))
        return hostgpu_answer(cudaErrorMemoryAllocation);
    for (j = memory.n++; j > i; j--)
        memory.block[j] = memory.block[j - 1];
    memory.block[i].at = at;
    memory.block[i].bytes = bytes;
    end = (at + bytes + PAGE - 1) / PAGE * PAGE;
    if (end > memory.used)
        memory.used = end;
    *p = memory.base + at;
    memory.held += bytes - LINE;
    if (memory.held > memory.peak)
        memory.peak = memory.held;
    hostgpu_enter();
    memset(*p, 255, bytes < POISON ? bytes : POISON);
    hostgpu_leave();
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    int i;

    MAY_FAIL;
    for (i = 0; i < memory.n; i++)
        if (memory.base + memory.block[i].at == (char *)p)
            break;
    if (i == memory.n)
        return hostgpu_answer(p ? cudaErrorInvalidValue : cudaSuccess);
    memory.n--;
    memory.held -= memory.block[i].bytes - LINE;
    for (; i < memory.n; i++)
        memory.block[i] = memory.block[i + 1];
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *all)
{
    MAY_FAIL;
    *left = RANGE - memory.used;
    *all = RANGE;
    return cudaSuccess;
}

__attribute__((destructor)) static void tell_peak(void)
{
    const char *path = getenv("HOSTGPU_PEAK");
    FILE *f = path && memory.peak > 0 ? fopen(path, "we") : NULL;

    if (!f)
        return;
    fprintf(f, "%zu\n", memory.peak);
    fclose(f);
}

/* Is this inside one block? */
static bool inside(const void *p, size_t n)
{
    size_t at = (size_t)((const char *)p - memory.base);
    int i;

    for (i = 0; i < memory.n; i++)
        if (at >= memory.block[i].at &&
            at + n <= memory.block[i].at + memory.block[i].bytes - LINE)
            return true;
    return n == 0;
}

/* ---- devices */

/* HOSTGPU_GPUS of them. */
static int devices(void)
{
    const char *n = getenv("HOSTGPU_GPUS");

    return n ? (int)strtol(n, NULL, 10) : 1;
}

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = 0;
    if (met("nodriver") || met("olddriver"))
        return hostgpu_answer(cudaErrorInsufficientDriver);
    if (met("nogpu"))
        return hostgpu_answer(cudaErrorNoDevice);
    *n = devices();
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *v)
{
    *v = met("nodriver") ? 0 : met("olddriver") ? 11080 : CUDART_VERSION;
    return cudaSuccess;
}

static int device_now;

cudaError_t cudaSetDevice(int device)
{
    MAY_FAIL;
    if (device < 0 || device >= devices())
        return hostgpu_answer(cudaErrorInvalidDevice);
    device_now = device;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    MAY_FAIL;
    *device = device_now;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    MAY_FAIL;
    memset(p, 0, sizeof *p);
    p->uuid.bytes[0] = (char)(device + 1);
    snprintf(p->name, sizeof p->name, "the host itself");
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int device)
{
    int sm = met("oldgpu") ? 70 : met("turing") ? 75 : 90;

    MAY_FAIL;
    (void)device;
    *v = a == cudaDevAttrComputeCapabilityMajor   ? sm / 10
         : a == cudaDevAttrComputeCapabilityMinor ? sm % 10
                                                  : 0;
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorECCUncorrectable:
        return "uncorrectable ECC error encountered";
    case cudaErrorIllegalAddress:
        return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure:
        return "unspecified launch failure";
    default:
        return "an error";
    }
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t e = last_error;

    last_error = cudaSuccess;
    return e;
}

int hostgpu_last_error(void);

int hostgpu_last_error(void)
{
    int e = hostgpu_fails("launch"), was = (int)cudaGetLastError();

    return e ? e : was;
}

/* ---- streams
 *
 * The first stream of a program does at once what it is told, as long as it need
 * not wait. Any other does nothing before somebody waits for it or asks: as late as
 * a card may, so that an order that nobody asked for is not there. HOSTGPU_LATE
 * turns that round: the first one is late, the others are early. HOSTGPU_LATE=all:
 * all are late.
 */

enum item_kind {
    WORK,
    WAIT,
    RECORD
};

struct item {
    struct item *next;
    enum item_kind kind;
    bool (*run)(void *arg); /* WORK: true when done; arg is freed then */
    void *arg;
    cudaEvent_t event;
    unsigned long number;
    cudaStream_t stream; /* WAIT: where the event was recorded */
};

struct CUstream_st {
    struct item *head, *tail;
    bool lazy, busy;
    cudaStream_t next;
};

struct CUevent_st {
    unsigned long recorded, done;
    double at; /* device_us when it was done */
    cudaStream_t stream;
    cudaEvent_t next; /* of those destroyed */
};
static cudaEvent_t destroyed;

static cudaStream_t first_stream, streams; /* all of them */

bool hostgpu_ready(void *stream);
void hostgpu_enqueue(void *stream, bool (*run)(void *arg), void *arg);
void hostgpu_drain(void);

static void progress(cudaStream_t s, cudaEvent_t e, unsigned long number);

static bool passed(cudaStream_t s, cudaEvent_t e, unsigned long number)
{
    if (e->done < number)
        progress(s, e, number);
    return e->done >= number;
}

static bool item_done(struct item *i)
{
    if (i->kind == WAIT)
        return passed(i->stream, i->event, i->number);
    if (i->kind == RECORD) {
        i->event->done = i->number;
        i->event->at = device_us;
        return true;
    }
    if (!i->run(i->arg))
        return false;
    free(i->arg);
    return true;
}

/* As far as it goes; of a late stream no further than that event, if there is one. */
static void progress(cudaStream_t s, cudaEvent_t e, unsigned long number)
{
    struct item *i;

    if (s->busy)
        return;
    s->busy = true;
    while (s->head && !(e && s->lazy && e->done >= number) &&
           item_done(s->head)) {
        i = s->head;
        s->head = i->next;
        if (!s->head)
            s->tail = NULL;
        free(i);
    }
    s->busy = false;
}

static void append(cudaStream_t s, const struct item *what)
{
    struct item *i = malloc(sizeof *i);

    *i = *what;
    i->next = NULL;
    if (s->tail)
        s->tail->next = i;
    else
        s->head = i;
    s->tail = i;
    if (!s->lazy)
        progress(s, NULL, 0);
}

/* May something run on the stream at once? */
bool hostgpu_ready(void *stream)
{
    cudaStream_t s = stream;

    if (!s->lazy)
        progress(s, NULL, 0);
    return !s->lazy && !s->head;
}

void hostgpu_enqueue(void *stream, bool (*run)(void *arg), void *arg)
{
    struct item i = {.kind = WORK, .run = run, .arg = arg};

    append(stream, &i);
}

static void settle(cudaStream_t s)
{
    static const struct timespec pause = {0, 50000};

    for (progress(s, NULL, 0); s->head; progress(s, NULL, 0))
        nanosleep(&pause, NULL);
}

void hostgpu_settle(void)
{
    for (cudaStream_t s = streams; s; s = s->next)
        settle(s);
}

void hostgpu_drain(void)
{
    if (first_stream)
        settle(first_stream);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags)
{
    const char *late = getenv("HOSTGPU_LATE");

    MAY_FAIL;
    (void)flags;
    *s = calloc(1, sizeof **s);
    (*s)->lazy = (late && strcmp(late, "all") == 0) ||
                 (first_stream != NULL) != (late != NULL);
    if (!first_stream)
        first_stream = *s;
    (*s)->next = streams;
    streams = *s;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags,
                                         int priority)
{
    (void)priority;
    return cudaStreamCreateWithFlags(s, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    cudaStream_t *p;

    if (s->head)
        return hostgpu_answer(
            cudaErrorInvalidValue); /* it would not be on a card */
    if (s == first_stream)
        first_stream = NULL;
    for (p = &streams; *p != s; p = &(*p)->next)
        ;
    *p = s->next;
    free(s);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    MAY_FAIL;
    settle(s);
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t s)
{
    MAY_FAIL;
    progress(s, NULL, 0);
    return hostgpu_answer(s->head ? cudaErrorNotReady : cudaSuccess);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags)
{
    struct item i = {
        .kind = WAIT, .event = e, .number = e->recorded, .stream = e->stream};

    MAY_FAIL;
    (void)flags;
    append(s, &i);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    MAY_FAIL;
    (void)flags;
    *e = calloc(1, sizeof **e);
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    /* Work in a stream may wait for it yet: it stays until nobody can. */
    e->next = destroyed;
    destroyed = e;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    struct item i = {.kind = RECORD, .event = e, .number = ++e->recorded};

    MAY_FAIL;
    e->stream = s;
    append(s, &i);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    MAY_FAIL;
    return hostgpu_answer(
        passed(e->stream, e, e->recorded) ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    MAY_FAIL;
    if (from->done < from->recorded || to->done < to->recorded)
        return hostgpu_answer(cudaErrorNotReady);
    *ms = (float)((to->at - from->at) * 1e-3);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    static const struct timespec pause = {0, 50000};

    MAY_FAIL;
    while (cudaEventQuery(e) == cudaErrorNotReady)
        nanosleep(&pause, NULL);
    return cudaSuccess;
}

/* ---- copies */

struct copy {
    void *dst;
    const void *src; /* NULL: bytes of value byte */
    void *kept;
    struct hostgpu_pin *pin; /* that it reads, or NULL */
    size_t n;
    int byte;
};

static bool run_copy(void *arg)
{
    struct copy *c = arg;

    hostgpu_enter();
    if (c->src)
        memmove(c->dst, c->src, c->n);
    else
        memset(c->dst, c->byte, c->n);
    hostgpu_leave();
    free(c->kept);
    if (c->pin)
        c->pin->copies--;
    return true;
}

static void copy_on(cudaStream_t s, const struct copy *what)
{
    struct copy *c = malloc(sizeof *c);

    *c = *what;
    hostgpu_enqueue(s, run_copy, c);
}

/* Memory of the host that is not pinned is read at once and written before the
 * call returns. */
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t n,
                            enum cudaMemcpyKind kind, cudaStream_t s)
{
    bool to = kind != cudaMemcpyDeviceToHost;
    bool from = kind != cudaMemcpyHostToDevice;
    struct copy c = {.dst = dst, .src = src, .n = n};

    MAY_FAIL;
    if ((to && !inside(dst, n)) || (from && !inside(src, n)))
        return hostgpu_answer(cudaErrorInvalidValue);
    if (!from) {
        c.pin = hostgpu_pin(src, n);
        hostgpu_count(c.pin, n);
    }
    if (!from && !c.pin && !hostgpu_ready(s)) {
        c.src = c.kept = malloc(n);
        memcpy(c.kept, src, n);
    }
    copy_on(s, &c);
    if (!to && !hostgpu_pin(dst, n))
        settle(s);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *dst, int byte, size_t n, cudaStream_t s)
{
    struct copy c = {.dst = dst, .n = n, .byte = byte};

    MAY_FAIL;
    if (!inside(dst, n))
        return hostgpu_answer(cudaErrorInvalidValue);
    copy_on(s, &c);
    return cudaSuccess;
}
