/* What goes over the descriptors of a communicator: requests as frames, and what
 * allreduce-ring answers. */
#include "train/commpipe.h"

#include "io/ctl.h"
#include "io/frame.h"
#include "util/fdio.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- writer */

/* A bucket or a slice of one: in the frame; or in shared memory, the numbers
 * first, then the word that they are there. */
static int write_bucket(struct pipe_comm *p, struct frame_writer *w,
                        const struct pipe_request *r)
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

    if (slot && !pipe_lies(p, r->data, r->at, r->first) &&
        pipe_copy(p, p->slots.arena + r->at + r->first * 4, r->data, r->count) <
            0)
        return -1;
    snprintf(text[0], sizeof(text[0]), "%" PRId64, r->at);
    snprintf(text[1], sizeof(text[1]), "%d", r->bucket);
    snprintf(text[2], sizeof(text[2]), "%" PRId64, r->whole);
    snprintf(text[3], sizeof(text[3]), "%" PRId64, r->step);
    return frame_write(w, type, meta + !slot, slot ? 4 : 3, &g, !slot, 0);
}

static int write_request(struct pipe_comm *p, struct frame_writer *w,
                         const struct pipe_request *r)
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
    struct timespec t = clock_after(CLOCK_MONOTONIC, PIPE_GRACE_MS);

    pthread_mutex_lock(&p->lock);
    while (!p->failed && pipe_wait_until(p, &t))
        continue;
    pthread_mutex_unlock(&p->lock);
    err_set(ERR_PEER, "allreduce-ring does not read: %s", err_text());
    pipe_fail(p);
}

void *pipe_writer(void *arg)
{
    struct pipe_comm *p = arg;
    struct frame_writer w;
    struct pipe_request r;
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
        r = p->queue[p->head % PIPE_QUEUE];
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
    pipe_one_less(p, &p->running);
    return NULL;
}

/* ---- reader */

/* With the lock held: until the writer has let go of the data of a request,
 * which it does at once when the ring has taken them. */
static void wait_written(struct pipe_comm *p, unsigned number)
{
    while ((int)(p->head - number) <= 0 && !p->failed)
        pipe_wait_until(p, NULL);
}

/* The bucket that a sum is of, as it was posted; the sum is in the frame as
 * tensor i or in the shared memory. */
static int find_bucket(struct pipe_comm *p, const struct frame *f, int *i,
                       struct pipe_bucket **out)
{
    int64_t bucket, at = -1;
    struct pipe_bucket *b;
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

/* The sum to where the caller has the bucket, if that is not in the shared memory,
 * where it is then. */
static int give_sum(struct pipe_comm *p, struct frame_stream *s,
                    const struct frame *f, int i, const struct pipe_bucket *b)
{
    if (b->at < 0)
        return frame_data(s, f, i, b->sum);
    if (pipe_lies(p, b->sum, b->at, b->first))
        return 0;
    return pipe_copy(p, b->sum, p->slots.sums + b->at + b->first * 4, b->numel);
}

static int take_sum(struct pipe_comm *p, struct frame_stream *s,
                    const struct frame *f)
{
    struct pipe_bucket *b = NULL;
    int i = 0;

    if (find_bucket(p, f, &i, &b) < 0 || give_sum(p, s, f, i, b) < 0)
        return -1;
    pthread_mutex_lock(&p->lock);
    b->state = SUMMED;
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
    if (slots_map(&p->slots, &o) < 0 || fd_cloexec(o.fd) < 0) {
        note("gradients go through the pipe: %s", err_text());
        return 0;
    }
    p->c.shared = (struct comm_shared){
        (float *)(void *)p->slots.arena,
        (const float *)(const void *)p->slots.sums, p->slots.room};
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
                       const struct pipe_request *r)
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
    struct pipe_request r;
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

void *pipe_reader(void *arg)
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
        pipe_fail(p);
    }
    frame_release(&f);
    pipe_one_less(p, &p->running);
    return NULL;
}
