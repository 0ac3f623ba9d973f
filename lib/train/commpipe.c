/* The communicator over two descriptors: frames to allreduce-ring and back. */
#include "train/comm.h"

#include "io/ctl.h"
#include "io/frame.h"
#include "io/slots.h"
#include "util/fdio.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define QUEUE (COMM_BUCKETS + 8)
_Static_assert(COMM_BUCKETS == SLOTS_BUCKETS, "as many buckets");
#define GRACE_MS 2000 /* for the reason to come when writing failed */

enum kind {
    HELLO,
    GRAD,
    REDUCE,
    BCAST,
    BARRIER,
    END,
    FAILURE,
    SCATTER, /* slices of buckets */
    GATHER
};

/* A request on its way to the ring. */
struct request {
    enum kind kind;
    int bucket; /* bucket, operation or root */
    int64_t step;
    void *data;
    int64_t count; /* elements or bytes */
    const char *name;
    int64_t at;    /* of the bucket in the shared arena, or -1 */
    int64_t whole; /* elements of a bucket of which data is the part */
    int64_t first; /* from that one on */
};

enum bucket_state {
    IDLE,
    POSTED,
    SUMMED
};

struct bucket {
    enum bucket_state state;
    float *sum; /* where the answer goes, and how much of it */
    int64_t numel;
    unsigned number; /* of its request */
    int64_t at;      /* in the shared memory, or -1 */
    int64_t first;   /* element of it that the answer begins with */
};

struct pipe_comm {
    struct comm c;
    int fd_in, fd_out;
    int64_t timeout_ms;
    const char *layout, *recipe; /* during hello */
    int64_t samples;
    pthread_t reader, writer;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake;
    struct slots slots;
    struct request queue[QUEUE];
    unsigned head, tail; /* numbers of requests: next to write, next free */
    struct bucket bucket[COMM_BUCKETS];
    struct request sync; /* the request that is waited for */
    unsigned sync_number;
    bool answered;
    bool stopping; /* the writer ends when its queue is empty */
    int running;   /* threads */
    int copying;   /* of them */
    bool failed;
    enum err_class class;
    char text[2048];
    struct pipe_comm *next; /* in stuck */
};

/* Those whose threads could not be ended; kept until the process ends. */
static struct pipe_comm *_Atomic stuck;

static struct pipe_comm *self(struct comm *c)
{
    return (struct pipe_comm *)(void *)c;
}

/* ---- failure */

/* The error that is set is the end; the first one counts. */
static void fail(struct pipe_comm *p)
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

static void deadline_in(struct timespec *t, int64_t ms)
{
    clock_gettime(CLOCK_MONOTONIC, t);
    ms += t->tv_nsec / 1000000;
    t->tv_sec += (time_t)(ms / 1000);
    t->tv_nsec = (long)(ms % 1000) * 1000000;
}

/* Wait under the lock; false once the deadline (NULL: none) has passed. */
static bool wait_until(struct pipe_comm *p, const struct timespec *deadline)
{
    if (!deadline)
        return pthread_cond_wait(&p->wake, &p->lock) == 0;
    return pthread_cond_timedwait(&p->wake, &p->lock, deadline) != ETIMEDOUT;
}

/* A thread has ended, or a copy. */
static void one_less(struct pipe_comm *p, int *count)
{
    pthread_mutex_lock(&p->lock);
    --*count;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

/* Numbers to or from the shared memory. Not once the run has failed: its owner
 * may take the caller's memory away, and waits only for a copy that has begun. */
static int copy(struct pipe_comm *p, void *to, const void *from, int64_t n)
{
    bool go;

    pthread_mutex_lock(&p->lock);
    go = !p->failed;
    p->copying += go;
    pthread_mutex_unlock(&p->lock);
    if (!go)
        return err_give(p->class, p->text);
    memcpy(to, from, (size_t)n * sizeof(float));
    one_less(p, &p->copying);
    return 0;
}

/* ---- writer */

/* A bucket or a slice of one: in the frame; or in shared memory, the numbers
 * first, then the word that they are there. */
static int write_bucket(struct pipe_comm *p, struct frame_writer *w,
                        const struct request *r)
{
    const char *type = r->kind == GRAD      ? CTL_GRAD
                       : r->kind == SCATTER ? CTL_SCATTER
                                            : CTL_GATHER;
    struct frame_item g = {"g", TENSOR1(DT_F32, r->data, r->count)};
    bool slot = r->at >= 0;
    char text[4][24];
    struct frame_pair meta[] = {{"at", text[0]},
                                {"bucket", text[1]},
                                {"n", text[2]},
                                {"step", text[3]}};

    if (slot &&
        copy(p, p->slots.arena + r->at + r->first * 4, r->data, r->count) < 0)
        return -1;
    snprintf(text[0], sizeof(text[0]), "%" PRId64, r->at);
    snprintf(text[1], sizeof(text[1]), "%d", r->bucket);
    snprintf(text[2], sizeof(text[2]), "%" PRId64, r->whole);
    snprintf(text[3], sizeof(text[3]), "%" PRId64, r->step);
    return frame_write(w, type, meta + !slot, slot ? 4 : 3, &g, !slot, 0);
}

static int write_request(struct pipe_comm *p, struct frame_writer *w,
                         const struct request *r)
{
    static const char *const ops[] = {"sum", "min", "max"};
    char a[24], b[24];
    struct frame_pair hello[] = {
        {"layout", p->layout}, {"proto", CTL_PROTO},
        {"recipe", p->recipe}, {"role", "worker"},
        {"samples", a},        {"slots", slots_allowed() ? "1" : "0"}};
    struct frame_pair reduce = {"op", ops[r->bucket % 3]};
    struct frame_pair bcast[] = {{"bytes", b}, {"name", r->name}, {"root", a}};
    struct frame_pair barrier = {"name", r->name};
    struct frame_item v = {"v", TENSOR1(DT_F64, r->data, r->count)};
    struct frame_item d = {"data", TENSOR1(DT_U8, r->data, r->count)};

    snprintf(a, sizeof(a), "%d", r->bucket);
    snprintf(b, sizeof(b), "%" PRId64, r->kind == BCAST ? r->count : r->step);
    switch (r->kind) {
    case HELLO:
        snprintf(a, sizeof(a), "%" PRId64, p->samples);
        return frame_write(w, CTL_HELLO, hello, 6, NULL, 0, 0);
    case GRAD:
    case SCATTER:
    case GATHER:
        return write_bucket(p, w, r);
    case REDUCE:
        return frame_write(w, CTL_REDUCE, &reduce, 1, &v, 1, 0);
    case BCAST:
        return frame_write(w, CTL_BCAST, bcast, 3, &d, r->bucket == p->c.rank,
                           0);
    case BARRIER:
        return frame_write(w, CTL_BARRIER, &barrier, 1, NULL, 0, 0);
    case END:
        return frame_write_end(w);
    default:
        /* The error of the caller of comm_abort. */
        err_give((enum err_class)r->bucket, r->name);
        return frame_write_error(w);
    }
}

/* Writing has failed: the ring is gone or going, and its last frame, if there
 * is one, says why; that is for the reader to find. */
static void wait_for_reason(struct pipe_comm *p)
{
    struct timespec t;

    deadline_in(&t, GRACE_MS);
    pthread_mutex_lock(&p->lock);
    while (!p->failed && wait_until(p, &t))
        continue;
    pthread_mutex_unlock(&p->lock);
    err_set(ERR_PEER, "allreduce-ring does not read: %s", err_text());
    fail(p);
}

static void *run_writer(void *arg)
{
    struct pipe_comm *p = arg;
    struct frame_writer w;
    struct request r;
    int bad = 0;

    frame_writer_init(&w, p->fd_out, "descriptor 7");
    while (!bad) {
        pthread_mutex_lock(&p->lock);
        while (p->head == p->tail && !p->stopping)
            pthread_cond_wait(&p->wake, &p->lock);
        if (p->head == p->tail) {
            pthread_mutex_unlock(&p->lock);
            break;
        }
        r = p->queue[p->head % QUEUE];
        pthread_mutex_unlock(&p->lock);
        bad = write_request(p, &w, &r);
        pthread_mutex_lock(&p->lock);
        p->head++;
        if (r.kind == END || r.kind == FAILURE)
            p->stopping = true;
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
    if (bad)
        wait_for_reason(p);
    frame_writer_release(&w);
    one_less(p, &p->running);
    return NULL;
}

/* ---- reader */

/* With the lock held: until the writer has let go of the data of a request,
 * which it does at once when the ring has taken them. */
static void wait_written(struct pipe_comm *p, unsigned number)
{
    while ((int)(p->head - number) <= 0 && !p->failed)
        wait_until(p, NULL);
}

/* The bucket that a sum is of, as it was posted; the sum is in the frame as
 * tensor i or in the shared memory. */
static int find_bucket(struct pipe_comm *p, const struct frame *f, int *i,
                       struct bucket **out)
{
    int64_t bucket, at = -1;
    struct bucket *b;
    bool asked;

    if (frame_meta_int(f, "bucket", &bucket) < 0)
        return -1;
    if (bucket < 0 || bucket >= COMM_BUCKETS)
        return err_set(ERR_DATA, "sum of bucket %" PRId64, bucket);
    if ((frame_meta(f, "at") ? frame_meta_int(f, "at", &at)
                             : frame_want(f, "g", DT_F32, 1, i)) < 0)
        return -1;
    b = &p->bucket[bucket];
    pthread_mutex_lock(&p->lock);
    asked = b->state == POSTED && b->at == at &&
            (at >= 0 || b->numel == tensor_count(&f->tensor[*i].t));
    if (asked)
        wait_written(p, b->number);
    pthread_mutex_unlock(&p->lock);
    *out = b;
    return asked ? 0
                 : err_set(ERR_DATA,
                           "sum of bucket %" PRId64
                           " was not asked for, or has another size or place",
                           bucket);
}

static int take_sum(struct pipe_comm *p, struct frame_stream *s,
                    const struct frame *f)
{
    int64_t finite;
    struct bucket *b = NULL;
    int i = 0;

    if (frame_meta_int(f, "finite", &finite) < 0 ||
        find_bucket(p, f, &i, &b) < 0)
        return -1;
    if ((b->at >= 0
             ? copy(p, b->sum, p->slots.sums + b->at + b->first * 4, b->numel)
             : frame_data(s, f, i, b->sum)) < 0)
        return -1;
    pthread_mutex_lock(&p->lock);
    b->state = SUMMED;
    p->c.nonfinite += !finite;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    return 0;
}

/* What cannot be shared goes through the pipe. */
static int take_offer(struct pipe_comm *p, const struct frame *f)
{
    struct slots_offer o;
    int r = slots_offered(f, &o);

    if (r <= 0)
        return r;
    p->c.shares = slots_map(&p->slots, &o) == 0 && fd_cloexec(o.fd) == 0;
    if (!p->c.shares)
        note("gradients go through the pipe: %s", err_text());
    return 0;
}

static int take_hello(struct pipe_comm *p, const struct frame *f)
{
    const char *proto = frame_meta(f, "proto");
    int64_t rank, share, world;

    if (!proto || strncmp(proto, CTL_PROTO, 2) != 0)
        return err_set(ERR_CONFIG,
                       "allreduce-ring speaks protocol \"%.20s\", "
                       "here %s",
                       proto ? proto : "", CTL_PROTO);
    if (frame_meta_int(f, "rank", &rank) < 0 ||
        frame_meta_int(f, "share", &share) < 0 ||
        frame_meta_int(f, "world", &world) < 0)
        return -1;
    if (world < 1 || world > 65536 || rank < 0 || rank >= world || share < 0 ||
        share >= world)
        return err_set(ERR_DATA,
                       "rank %" PRId64 ", share %" PRId64 " of %" PRId64, rank,
                       share, world);
    p->c.rank = (int)rank;
    p->c.share = (int)share;
    p->c.world = (int)world;
    return take_offer(p, f);
}

/* The data of an answer to where the request wants them. */
static int take_tensor(struct frame_stream *s, const struct frame *f,
                       const char *name, enum dtype dtype,
                       const struct request *r)
{
    int i;

    if (frame_want(f, name, dtype, 1, &i) < 0)
        return -1;
    if (tensor_count(&f->tensor[i].t) != r->count)
        return err_set(ERR_DATA, "%s: %" PRId64 " elements, expected %" PRId64,
                       frame_type(f), tensor_count(&f->tensor[i].t), r->count);
    return frame_data(s, f, i, r->data);
}

static int take_answer(struct pipe_comm *p, struct frame_stream *s,
                       const struct frame *f)
{
    static const char *const types[] = {CTL_HELLO, "", CTL_REDUCED, CTL_BCAST,
                                        CTL_BARRIER};
    struct request r;
    bool waiting;

    if (strcmp(frame_type(f), CTL_SUM) == 0)
        return take_sum(p, s, f);
    pthread_mutex_lock(&p->lock);
    r = p->sync;
    waiting = !p->answered;
    if (waiting)
        wait_written(p, p->sync_number);
    pthread_mutex_unlock(&p->lock);
    if (!waiting || r.kind > BARRIER ||
        strcmp(frame_type(f), types[r.kind]) != 0)
        return err_set(ERR_DATA, "frame \"%.40s\" was not asked for",
                       frame_type(f));
    if ((r.kind == HELLO && take_hello(p, f) < 0) ||
        (r.kind == REDUCE && take_tensor(s, f, "v", DT_F64, &r) < 0) ||
        (r.kind == BCAST && r.bucket != p->c.rank &&
         take_tensor(s, f, "data", DT_U8, &r) < 0))
        return -1;
    pthread_mutex_lock(&p->lock);
    p->answered = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    return 0;
}

static void *run_reader(void *arg)
{
    struct pipe_comm *p = arg;
    struct frame_stream s;
    struct frame f = FRAME_INIT;
    bool end;
    int r;

    frame_stream_init(&s, p->fd_in, "descriptor 6");
    while ((r = frame_next(&s, &f)) > 0)
        if (take_answer(p, &s, &f) < 0)
            break;
    pthread_mutex_lock(&p->lock);
    end = r == 0 && p->sync.kind == END && !p->answered;
    if (end)
        p->answered = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    if (!end) {
        if (r < 0 && strcmp(frame_type(&f), "error") == 0)
            err_set(err_code(), "%s",
                    frame_meta(&f, "msg") ? frame_meta(&f, "msg") : "");
        else if (r >= 0 && err_code() == ERR_NONE)
            err_set(ERR_PEER, "allreduce-ring ended before this rank");
        else if (err_code() == ERR_IO)
            err_set(ERR_PEER, "allreduce-ring died");
        fail(p);
    }
    frame_release(&f);
    one_less(p, &p->running);
    return NULL;
}

/* ---- calls */

/* With the lock held: the failure as the caller's error. */
static int give_failure(struct pipe_comm *p)
{
    return err_give(p->class, p->text);
}

/* With the lock held. */
static int post(struct pipe_comm *p, const struct request *r)
{
    if (p->failed)
        return give_failure(p);
    if (p->tail - p->head >= QUEUE)
        BUG("more than %d requests", QUEUE);
    p->queue[p->tail++ % QUEUE] = *r;
    pthread_cond_broadcast(&p->wake);
    return 0;
}

/* Post a request and wait for its answer. */
static int ask(struct pipe_comm *p, const struct request *r, const char *what)
{
    struct timespec t;
    int result;

    deadline_in(&t, p->timeout_ms);
    pthread_mutex_lock(&p->lock);
    p->sync = *r;
    p->sync_number = p->tail;
    p->answered = false;
    result = post(p, r);
    while (result == 0 && !p->answered && !p->failed)
        if (!wait_until(p, p->timeout_ms ? &t : NULL))
            break;
    if (result == 0 && p->failed && !p->answered)
        result = give_failure(p);
    else if (result == 0 && !p->answered)
        result = err_set(ERR_PEER, "%s: no answer for %" PRId64 " s", what,
                         p->timeout_ms / 1000);
    pthread_mutex_unlock(&p->lock);
    if (result < 0)
        fail(p);
    return result;
}

static int pipe_start(struct comm *c, enum comm_what what, int bucket, float *g,
                      int64_t numel)
{
    static const enum kind kinds[] = {GRAD, SCATTER, GATHER};
    struct pipe_comm *p = self(c);
    struct request r = {kinds[what], bucket, c->step, g, numel,
                        NULL,        -1,     numel,   0};
    struct bucket posted = {POSTED, g, numel, 0, -1, 0};
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
    if (c->shares) {
        if (slots_place(&p->slots, bucket, bytes, &at) < 0) {
            fail(p);
            return -1;
        }
        r.at = posted.at = (int64_t)at;
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
    struct bucket *b = &p->bucket[bucket];
    struct timespec t;
    int result = 0;

    deadline_in(&t, p->timeout_ms);
    pthread_mutex_lock(&p->lock);
    if (b->state == IDLE)
        BUG("bucket %d was not started", bucket);
    while (b->state == POSTED && !p->failed)
        if (!wait_until(p, p->timeout_ms ? &t : NULL))
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
        fail(p);
    return result;
}

static int pipe_reduce(struct comm *c, enum comm_op op, double *v, int n)
{
    struct request r = {REDUCE, (int)op, c->step, v, n, NULL, -1, 0, 0};

    return ask(self(c), &r, "reduction");
}

static int pipe_bcast(struct comm *c, int root, void *data, size_t bytes)
{
    struct request r = {BCAST,  root, c->step, data, (int64_t)bytes,
                        "data", -1,   0,       0};

    return ask(self(c), &r, "broadcast");
}

static int pipe_barrier(struct comm *c, const char *name)
{
    struct request r = {BARRIER, 0, c->step, NULL, 0, name, -1, 0, 0};

    return ask(self(c), &r, name);
}

static int pipe_end(struct comm *c)
{
    struct request r = {END, 0, c->step, NULL, 0, NULL, -1, 0, 0};

    return ask(self(c), &r, "end");
}

static void pipe_abort(struct comm *c)
{
    struct pipe_comm *p = self(c);
    enum err_class class = err_code();
    char *text = xstrdup(err_text());
    struct request r = {FAILURE, (int)class, c->step, NULL, 0, text, -1, 0, 0};
    struct timespec t;

    deadline_in(&t, GRACE_MS);
    pthread_mutex_lock(&p->lock);
    if (post(p, &r) == 0)
        while (p->head != p->tail && !p->failed && wait_until(p, &t))
            continue;
    pthread_mutex_unlock(&p->lock);
    err_give(class, text);
    fail(p);
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
    struct timespec t;
    int running;

    deadline_in(&t, 100);
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->wake);
    while (p->running && wait_until(p, &t))
        continue;
    running = p->running;
    p->failed |= running > 0;
    while (p->copying)
        wait_until(p, NULL);
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
    struct request hello = {HELLO, 0, 0, NULL, 0, NULL, -1, 0, 0};
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
    if (pthread_create(&p->reader, NULL, run_reader, p) ||
        pthread_create(&p->writer, NULL, run_writer, p)) {
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
