/*
 * cudart.c - the few calls of the CUDA runtime that the cuda engine makes, on the
 * host, for tests: here streams, events, graphs and copies; cards.c and cumemory.c
 * have the rest.
 *
 * HOSTGPU names what is to be met: nodriver, olddriver, nogpu, oldgpu (sm 70),
 * turing (sm 75), nomemory, nograph. Without it there is a card of sm 90, or
 * HOSTGPU_GPUS. HOSTGPU_COUNTS names a file that gets, at the end, how often the
 * host waited for the device, and how many graphs were made and launched.
 *
 * HOSTGPU_FAIL=CALL:N:ERROR[:FILE] lets the Nth call of that name answer so; with a
 * FILE only if there is none yet, and makes it. "launch" is a kernel's. An error
 * after which a card has lost the program's memory stays: every later call answers
 * the same.
 */
/* What others call, in spite of the flags. */
#pragma GCC visibility push(default)
#include "cudart.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The stream that notes what it gets, and the thread that said so: what has no
 * place in a graph, and what looks at the device, is forbidden to that thread (mode
 * ThreadLocal); the recording is broken by it. */
static cudaStream_t capturing;
static pthread_t capturer;

static struct {
    long waits, graphs, launches;
} counts;

__attribute__((destructor)) static void tell_counts(void)
{
    const char *path = getenv("HOSTGPU_COUNTS");
    FILE *f = path ? fopen(path, "w") : NULL;

    if (!f)
        return;
    fprintf(f, "%ld %ld %ld\n", counts.waits, counts.graphs, counts.launches);
    fclose(f);
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
    cudaStream_t next; /* of all there are */
    int device;
    struct item *head, *tail;
    bool lazy, busy;
    cudaGraph_t noted; /* while it is recording */
    bool broken;       /* the recording */
};

/* WORK in its order. */
struct CUgraph_st {
    struct item *head, *tail;
    int users; /* itself, executables, launches that are not done */
};

struct CUevent_st {
    unsigned long recorded, done;
    double at; /* device_us when it was done */
    bool captured, timed;
    cudaStream_t stream;
    cudaEvent_t next; /* of those destroyed */
};
static cudaEvent_t destroyed;

static cudaStream_t first_stream, streams;

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

static void link_to(struct item **head, struct item **tail,
                    const struct item *what)
{
    struct item *i = malloc(sizeof *i);

    *i = *what;
    i->next = NULL;
    if (*tail)
        (*tail)->next = i;
    else
        *head = i;
    *tail = i;
}

/* To the stream, or to what it is recording. */
static void append(cudaStream_t s, const struct item *what)
{
    if (s->noted) {
        link_to(&s->noted->head, &s->noted->tail, what);
        return;
    }
    link_to(&s->head, &s->tail, what);
    if (!s->lazy)
        progress(s, NULL, 0);
}

/* May something run on the stream at once? */
bool hostgpu_ready(void *stream)
{
    cudaStream_t s = stream;

    if (s->device != current_device()) {
        fprintf(stderr, "cudart: a launch by a thread of another device\n");
        abort();
    }
    if (s->noted)
        return false;
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

bool hostgpu_idle(void)
{
    cudaStream_t s;

    for (s = streams; s; s = s->next)
        if (s->head)
            return false;
    return true;
}

void settle_all(void)
{
    cudaStream_t s;

    for (s = streams; s; s = s->next)
        settle(s);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags)
{
    const char *late = getenv("HOSTGPU_LATE");

    MAY_FAIL;
    (void)flags;
    *s = calloc(1, sizeof **s);
    (*s)->device = current_device();
    (*s)->lazy = (late && strcmp(late, "all") == 0) ||
                 (first_stream != NULL) != (late != NULL);
    (*s)->next = streams;
    streams = *s;
    if (!first_stream)
        first_stream = *s;
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
    cudaStream_t *at = &streams;

    if (s->head)
        return answer(cudaErrorInvalidValue); /* it would not be on a card */
    if (s == first_stream)
        first_stream = NULL;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s);
    return cudaSuccess;
}

bool recording(void)
{
    return capturing && pthread_equal(capturer, pthread_self());
}

bool forbidden(void)
{
    if (!recording())
        return false;
    capturing->broken = true;
    return true;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    MAY_FAIL;
    if (forbidden())
        return answer(cudaErrorStreamCaptureUnsupported);
    counts.waits++;
    settle(s);
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t s)
{
    MAY_FAIL;
    if (forbidden())
        return answer(cudaErrorStreamCaptureUnsupported);
    progress(s, NULL, 0);
    return answer(s->head ? cudaErrorNotReady : cudaSuccess);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags)
{
    struct item i = {
        .kind = WAIT, .event = e, .number = e->recorded, .stream = e->stream};

    MAY_FAIL;
    (void)flags;
    if (s->noted && forbidden())
        return answer(cudaErrorStreamCaptureIsolation);
    if (e->captured) { /* a card would draw the stream into the recording */
        if (capturing)
            capturing->broken = true;
        return answer(cudaErrorStreamCaptureUnjoined);
    }
    append(s, &i);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    MAY_FAIL;
    *e = calloc(1, sizeof **e);
    (*e)->timed = !(flags & cudaEventDisableTiming);
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
    struct item i = {.kind = RECORD, .event = e};

    MAY_FAIL;
    e->captured = s->noted != NULL;
    if (e->captured)
        return cudaSuccess; /* nobody can ask for it */
    i.number = ++e->recorded;
    e->stream = s;
    append(s, &i);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    MAY_FAIL;
    if (forbidden())
        return answer(e->captured ? cudaErrorCapturedEvent
                                  : cudaErrorStreamCaptureUnsupported);
    if (e->captured)
        return answer(cudaErrorCapturedEvent);
    return answer(passed(e->stream, e, e->recorded) ? cudaSuccess
                                                    : cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    MAY_FAIL;
    if (!from->timed || !to->timed || !from->recorded || !to->recorded)
        return answer(cudaErrorInvalidResourceHandle);
    if (from->done < from->recorded || to->done < to->recorded)
        return answer(cudaErrorNotReady);
    *ms = (float)((to->at - from->at) * 1e-3);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    static const struct timespec pause = {0, 50000};
    cudaError_t r;

    MAY_FAIL;
    counts.waits += e->done < e->recorded;
    while ((r = cudaEventQuery(e)) == cudaErrorNotReady) {
        cudaGetLastError();
        nanosleep(&pause, NULL);
    }
    return r;
}

/* ---- graphs */

cudaError_t cudaStreamBeginCapture(cudaStream_t s,
                                   enum cudaStreamCaptureMode mode)
{
    MAY_FAIL;
    if (capturing || mode != cudaStreamCaptureModeThreadLocal)
        return answer(cudaErrorIllegalState);
    if (!s) /* everybody's */
        return answer(cudaErrorStreamCaptureUnsupported);
    s->noted = calloc(1, sizeof *s->noted);
    s->noted->users = 1;
    s->broken = false;
    capturing = s;
    capturer = pthread_self();
    return cudaSuccess;
}

static void leave_graph(cudaGraph_t g)
{
    struct item *i;

    if (--g->users > 0)
        return;
    while ((i = g->head)) {
        g->head = i->next;
        free(i->arg);
        free(i);
    }
    free(g);
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    *g = NULL;
    if (!s->noted)
        return answer(cudaErrorIllegalState);
    if (!pthread_equal(capturer, pthread_self()))
        return answer(cudaErrorStreamCaptureWrongThread);
    capturing = NULL;
    if (s->broken)
        leave_graph(s->noted);
    else
        *g = s->noted;
    s->noted = NULL;
    return answer(*g ? cudaSuccess : cudaErrorStreamCaptureInvalidated);
}

struct CUgraphExec_st {
    cudaGraph_t graph;
    int pending;
};

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t g,
                                 unsigned long long flags)
{
    MAY_FAIL;
    (void)flags;
    if (met("nograph"))
        return answer(cudaErrorNotSupported);
    *exec = calloc(1, sizeof **exec);
    (*exec)->graph = g;
    g->users++;
    counts.graphs++;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t g)
{
    leave_graph(g);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    if (exec->pending > 0) {
        fprintf(stderr, "cudart: a graph is destroyed while it runs\n");
        abort();
    }
    leave_graph(exec->graph);
    free(exec);
    return cudaSuccess;
}

struct launch {
    cudaGraphExec_t exec;
};

static bool run_graph(void *arg)
{
    cudaGraphExec_t exec = ((struct launch *)arg)->exec;
    struct item *i;

    for (i = exec->graph->head; i; i = i->next)
        if (!i->run(i->arg))
            abort(); /* nothing in it waits */
    exec->pending--;
    return true;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s)
{
    struct launch *l;

    MAY_FAIL;
    if (s->noted && forbidden()) /* a card would make it a part of the other */
        return answer(cudaErrorStreamCaptureUnsupported);
    l = malloc(sizeof *l);
    l->exec = exec;
    exec->pending++;
    counts.launches++;
    hostgpu_enqueue(s, run_graph, l);
    return cudaSuccess;
}

/* ---- copies */

struct copy {
    void *dst;
    const void *src; /* NULL: bytes of value byte */
    void *kept;
    struct pin *pin; /* that it reads or writes, or NULL */
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
    if (hostgpu_inside(dst, n) != to || hostgpu_inside(src, n) != from)
        return answer(cudaErrorInvalidValue);
    if (s->noted && !(to && from) && !pin_of(to ? src : dst, n) && forbidden())
        return answer(cudaErrorStreamCaptureUnsupported);
    if (!from && !s->noted) { /* what is noted may run often */
        c.pin = pin_of(src, n);
        count_sent(c.pin, n);
    } else if (!to && !s->noted) {
        c.pin = pin_of(dst, n);
        if (c.pin)
            c.pin->copies++;
    }
    if (!from && !pin_of(src, n) && !hostgpu_ready(s)) {
        c.src = c.kept = malloc(n);
        memcpy(c.kept, src, n);
    }
    copy_on(s, &c);
    if (!to && !pin_of(dst, n)) {
        counts.waits++;
        settle(s);
    }
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *dst, int byte, size_t n, cudaStream_t s)
{
    struct copy c = {.dst = dst, .n = n, .byte = byte};

    MAY_FAIL;
    if (!hostgpu_inside(dst, n))
        return answer(cudaErrorInvalidValue);
    copy_on(s, &c);
    return cudaSuccess;
}
