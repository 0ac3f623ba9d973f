/* The communicator over two descriptors: what its callers ask. */
#include "train/commpipe.h"

#include "io/ctl.h"
#include "util/fdio.h"
#include "util/work.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Those whose threads could not be ended; kept until the process ends. */
static struct pipe_comm *_Atomic stuck;

static struct pipe_comm *self(struct comm *c)
{
    return (struct pipe_comm *)(void *)c;
}

/* ---- failure */

void pipe_fail(struct pipe_comm *p)
{
    pthread_mutex_lock(&p->lock);
    if (!p->failed) {
        p->failed = true;
        p->class = err_code() ? err_code() : ERR_PEER;
        snprintf(p->text, sizeof(p->text), "%s", err_text());
    }
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

bool pipe_wait_until(struct pipe_comm *p, const struct timespec *deadline)
{
    if (!deadline)
        return pthread_cond_wait(&p->wake, &p->lock) == 0;
    return pthread_cond_timedwait(&p->wake, &p->lock, deadline) != ETIMEDOUT;
}

void pipe_one_less(struct pipe_comm *p, int *count)
{
    pthread_mutex_lock(&p->lock);
    --*count;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

int pipe_copy(struct pipe_comm *p, void *to, const void *from, int64_t n)
{
    bool go;

    pthread_mutex_lock(&p->lock);
    go = !p->failed;
    p->copying += go;
    pthread_mutex_unlock(&p->lock);
    if (!go)
        return err_give(p->class, p->text);
    memcpy(to, from, (size_t)n * sizeof(float));
    pipe_one_less(p, &p->copying);
    return 0;
}

bool pipe_lies(const struct pipe_comm *p, const float *g, int64_t at,
               int64_t first)
{
    return g == p->c.shared.arena + at / (int64_t)sizeof(*g) + first;
}

/* ---- calls */

/* With the lock held: the failure as the caller's error. */
static int give_failure(struct pipe_comm *p)
{
    return err_give(p->class, p->text);
}

/* With the lock held. */
static int post(struct pipe_comm *p, const struct pipe_request *r)
{
    if (p->failed)
        return give_failure(p);
    if (p->tail - p->head >= PIPE_QUEUE)
        BUG("more than %d requests", PIPE_QUEUE);
    p->queue[p->tail++ % PIPE_QUEUE] = *r;
    pthread_cond_broadcast(&p->wake);
    return 0;
}

/* Post a request and wait for its answer. */
static int ask(struct pipe_comm *p, const struct pipe_request *r,
               const char *what)
{
    struct timespec t = clock_after(CLOCK_MONOTONIC, p->timeout_ms);
    int result;

    pthread_mutex_lock(&p->lock);
    p->sync = *r;
    p->sync_number = p->tail;
    p->answered = false;
    result = post(p, r);
    while (result == 0 && !p->answered && !p->failed)
        if (!pipe_wait_until(p, p->timeout_ms ? &t : NULL))
            break;
    if (result == 0 && p->failed && !p->answered)
        result = give_failure(p);
    else if (result == 0 && !p->answered)
        result = err_set(ERR_PEER, "%s: no answer for %" PRId64 " s", what,
                         p->timeout_ms / 1000);
    pthread_mutex_unlock(&p->lock);
    if (result < 0)
        pipe_fail(p);
    return result;
}

/* A bucket in the arena is in its slot: copied to another it might be spoiled. */
static void check_place(const struct comm *c, const float *g, int64_t at)
{
    const char *arena = (const char *)c->shared.arena, *p = (const char *)g;

    if (p >= arena && p < arena + c->shared.room && p != arena + at)
        BUG("a bucket of the arena is not in its slot");
}

static int pipe_start(struct comm *c, enum comm_what what, int bucket, float *g,
                      int64_t numel)
{
    static const enum pipe_kind kinds[] = {GRAD, SCATTER, GATHER};
    struct pipe_comm *p = self(c);
    struct pipe_request r = {kinds[what], bucket, c->step, g, numel,
                             NULL,        -1,     numel,   0};
    struct pipe_bucket posted = {POSTED, g, numel, 0, -1, 0};
    int64_t first, end;
    size_t at, bytes = (size_t)numel * sizeof(float);
    int result;

    ctl_slice(numel, c->share, c->world, &first, &end);
    if (what == COMM_SCATTER) {
        posted.sum = g + first;
        posted.numel = end - first;
        posted.first = first;
    } else if (what == COMM_GATHER) {
        r.data = g + first;
        r.count = end - first;
        r.first = first;
    }
    if (c->shared.room) {
        if (slots_place(&p->slots, bucket, bytes, &at) < 0) {
            pipe_fail(p);
            return -1;
        }
        r.at = posted.at = (int64_t)at;
        check_place(c, g, r.at);
    }
    pthread_mutex_lock(&p->lock);
    if (p->bucket[bucket].state != IDLE)
        BUG("bucket %d is started twice", bucket);
    posted.number = p->tail;
    p->bucket[bucket] = posted;
    result = post(p, &r);
    pthread_mutex_unlock(&p->lock);
    return result;
}

static int pipe_wait(struct comm *c, int bucket)
{
    struct pipe_comm *p = self(c);
    struct pipe_bucket *b = &p->bucket[bucket];
    struct timespec t = clock_after(CLOCK_MONOTONIC, p->timeout_ms);
    int result = 0;

    pthread_mutex_lock(&p->lock);
    if (b->state == IDLE)
        BUG("bucket %d was not started", bucket);
    while (b->state == POSTED && !p->failed)
        if (!pipe_wait_until(p, p->timeout_ms ? &t : NULL))
            break;
    if (b->state == SUMMED)
        b->state = IDLE;
    else if (p->failed)
        result = give_failure(p);
    else
        result = err_set(
            ERR_PEER, "bucket %d at step %" PRId64 ": no sum for %" PRId64 " s",
            bucket, c->step, p->timeout_ms / 1000);
    pthread_mutex_unlock(&p->lock);
    if (result < 0)
        pipe_fail(p);
    return result;
}

static int pipe_reduce(struct comm *c, enum comm_op op, double *v, int n)
{
    struct pipe_request r = {REDUCE, (int)op, c->step, v, n, NULL, -1, 0, 0};

    return ask(self(c), &r, "reduction");
}

static int pipe_bcast(struct comm *c, int root, void *data, size_t bytes)
{
    struct pipe_request r = {BCAST,  root, c->step, data, (int64_t)bytes,
                             "data", -1,   0,       0};

    return ask(self(c), &r, "broadcast");
}

static int pipe_barrier(struct comm *c, const char *name)
{
    struct pipe_request r = {BARRIER, 0, c->step, NULL, 0, name, -1, 0, 0};

    return ask(self(c), &r, name);
}

static int pipe_end(struct comm *c)
{
    struct pipe_request r = {END, 0, c->step, NULL, 0, NULL, -1, 0, 0};

    return ask(self(c), &r, "end");
}

static void pipe_abort(struct comm *c)
{
    struct pipe_comm *p = self(c);
    enum err_class class = err_code();
    char *text = xstrdup(err_text());
    struct pipe_request r = {FAILURE, (int)class, c->step, NULL, 0,
                             text,    -1,         0,       0};
    struct timespec t = clock_after(CLOCK_MONOTONIC, PIPE_GRACE_MS);

    pthread_mutex_lock(&p->lock);
    if (post(p, &r) == 0)
        while (p->head != p->tail && !p->failed && pipe_wait_until(p, &t))
            continue;
    pthread_mutex_unlock(&p->lock);
    err_give(class, text);
    pipe_fail(p);
    /* text stays: the writer may still be at it. */
}

static bool pipe_failed(struct comm *c)
{
    struct pipe_comm *p = self(c);
    bool failed;

    pthread_mutex_lock(&p->lock);
    failed = p->failed;
    pthread_mutex_unlock(&p->lock);
    return failed;
}

static void pipe_free(struct comm *c)
{
    struct pipe_comm *p = self(c);
    struct timespec t = clock_after(CLOCK_MONOTONIC, 100);
    int running;

    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->wake);
    while (p->running && pipe_wait_until(p, &t))
        continue;
    running = p->running;
    p->failed |= running > 0;
    while (p->copying)
        pipe_wait_until(p, NULL);
    pthread_mutex_unlock(&p->lock);
    /* A thread that is stuck in a pipe goes with the process, and its memory
     * with it; the run has failed then. */
    if (running) {
        pthread_detach(p->reader);
        pthread_detach(p->writer);
        p->next = atomic_exchange(&stuck, p);
        return;
    }
    pthread_join(p->reader, NULL);
    pthread_join(p->writer, NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    slots_release(&p->slots);
    free(p);
}

static const struct comm_ops pipe_ops = {
    pipe_start, pipe_wait,  pipe_reduce, pipe_bcast, pipe_barrier,
    pipe_end,   pipe_abort, pipe_failed, pipe_free,  false,
};

struct comm *comm_pipe(int fd_in, int fd_out, const char *layout,
                       const char *recipe, int64_t samples, int64_t timeout_ms)
{
    struct pipe_comm *p = xcalloc(1, sizeof(*p));
    struct pipe_request hello = {HELLO, 0, 0, NULL, 0, NULL, -1, 0, 0};
    pthread_condattr_t attr;

    p->c.ops = &pipe_ops;
    p->fd_in = fd_in;
    p->fd_out = fd_out;
    p->timeout_ms = timeout_ms;
    p->layout = layout;
    p->recipe = recipe;
    p->samples = samples;
    p->answered = true;
    slots_init(&p->slots, 0);
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wake, &attr);
    pthread_condattr_destroy(&attr);
    if (fd_cloexec(fd_in) < 0 || fd_cloexec(fd_out) < 0) {
        slots_release(&p->slots);
        free(p);
        return NULL;
    }
    p->running = 2;
    if (work_thread(&p->reader, pipe_reader, p) ||
        work_thread(&p->writer, pipe_writer, p)) {
        /* A thread that may run holds p. */
        err_set(ERR_SYSTEM, "threads cannot be started");
        return NULL;
    }
    if (ask(p, &hello, "hello") < 0) {
        pipe_free(&p->c);
        return NULL;
    }
    return &p->c;
}
