#include "ring/serve.h"

#include "io/ctl.h"
#include "io/frame.h"
#include "ring/request.h"
#include "util/fault.h"
#include "util/fdio.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* ---- notes for the supervisor */

static void signal_event(struct serve *v)
{
    uint64_t one = 1;

    (void)!write(v->event, &one, sizeof(one));
}

static void note_input(struct serve *v, enum serve_input how)
{
    pthread_mutex_lock(&v->lock);
    v->input = how;
    v->class = err_code();
    snprintf(v->text, sizeof(v->text), "%s", err_text());
    pthread_mutex_unlock(&v->lock);
    signal_event(v);
}

static void thread_ends(struct serve *v)
{
    pthread_mutex_lock(&v->lock);
    v->running--;
    pthread_mutex_unlock(&v->lock);
    signal_event(v);
}

/* The error that is set ends the run for all ranks. */
static void abort_run(struct serve *v)
{
    char *text = xstrfmt("rank %d: %s", v->shm->rank, err_text());

    if (!shm_aborted(v->shm))
        shm_abort(v->shm, err_code(), v->shm->rank, text);
    free(text);
}

/* ---- reader */

static int meta_name(const struct frame *f, const char *key, char *dst,
                     size_t size)
{
    const char *value = frame_meta(f, key);

    if (!value)
        return err_set(ERR_DATA, "%s frame without \"%s\"", frame_type(f), key);
    if (strlen(value) >= size)
        return err_set(ERR_DATA, "%s frame: \"%s\" is longer than %zu bytes",
                       frame_type(f), key, size - 1);
    memcpy(dst, value, strlen(value) + 1);
    return 0;
}

static int meta_below(const struct frame *f, const char *key, int64_t limit,
                      int64_t *v)
{
    if (frame_meta_int(f, key, v) < 0)
        return err_wrap("%s frame", frame_type(f));
    if (*v < 0 || *v >= limit)
        return err_set(ERR_DATA,
                       "%s frame: \"%s\" is %" PRId64 ", not below %" PRId64,
                       frame_type(f), key, *v, limit);
    return 0;
}

static int take_hello(struct serve *v, const struct frame *f)
{
    struct shm_rank *me = shm_rank(v->shm, v->shm->rank);
    const char *proto = frame_meta(f, "proto");
    const char *slots = frame_meta(f, "slots");

    if (!proto || strncmp(proto, CTL_PROTO, 2) != 0)
        return err_set(ERR_CONFIG, "worker speaks protocol \"%.20s\", here %s",
                       proto ? proto : "", CTL_PROTO);
    if (meta_name(f, "layout", me->layout, SHM_HEX) < 0 ||
        meta_name(f, "recipe", me->recipe, SHM_HEX) < 0 ||
        meta_below(f, "samples", INT64_MAX, &me->samples) < 0)
        return -1;
    v->wants_slots = slots && strcmp(slots, "1") == 0;
    return 0;
}

/* Own share of n elements. */
static void share_of(const struct serve *v, uint64_t n, uint64_t *first,
                     uint64_t *end)
{
    shm_slice(n, roster_share(shm_roster(v->shm), v->shm->rank), v->shm->world,
              first, end);
}

/* Elements of a bucket and, of one in shared memory, where the worker says that
 * they are. at: -1 for one that comes in the frame, as tensor i: all of it, or
 * own share to be gathered. */
static int bucket_size(struct serve *v, const struct frame *f, uint32_t kind,
                       int64_t *n, int64_t *at, int *i)
{
    int64_t most = (int64_t)(shm_room(v->shm) / sizeof(float)), come;
    bool slot = v->wants_slots && v->shared >= 0 && frame_meta(f, "at");
    uint64_t first, end;

    *at = -1;
    if (slot)
        return meta_below(f, "n", most, n) < 0
                   ? -1
                   : meta_below(f, "at", INT64_MAX, at);
    if (frame_want(f, "g", DT_F32, 1, i) < 0)
        return -1;
    *n = come = tensor_count(&f->tensor[*i].t);
    if (kind != OP_GATHER)
        return 0;
    if (meta_below(f, "n", most, n) < 0)
        return -1;
    share_of(v, (uint64_t)*n, &first, &end);
    if ((uint64_t)come != end - first)
        return err_set(ERR_DATA,
                       "gather frame: %" PRId64 " elements, the share of this "
                       "rank is %" PRIu64,
                       come, end - first);
    return 0;
}

/* For engines that only add: -0 leaves every number as it is. */
static void fill_around(float *g, uint64_t n, uint64_t first, uint64_t end)
{
    for (uint64_t i = 0; i < first; i++)
        g[i] = -0.0f;
    for (uint64_t i = end; i < n; i++)
        g[i] = -0.0f;
}

static int take_bucket(struct serve *v, struct frame_stream *s,
                       const struct frame *f, struct shm_op *op)
{
    struct shm_rank *me = shm_rank(v->shm, v->shm->rank);
    int64_t bucket, step, n, at;
    uint64_t first = 0, end;
    size_t offset = 0;
    float *g;
    int i = 0;

    if (meta_below(f, "bucket", SLOTS_BUCKETS, &bucket) < 0 ||
        meta_below(f, "step", INT64_MAX, &step) < 0 ||
        bucket_size(v, f, op->kind, &n, &at, &i) < 0 ||
        slots_place(&v->slots, bucket, (size_t)n * sizeof(float), &offset) < 0)
        return -1;
    if (at >= 0 && (size_t)at != offset)
        return err_set(ERR_DATA,
                       "grad frame: bucket %" PRId64 " is at %" PRId64
                       ", not at %zu",
                       bucket, at, offset);
    /* The sums before these may still be on their way to the worker. */
    if (shm_wait_one(v->shm, SHM_SENT, v->shm->rank, v->last_bucket[bucket]) <
        0)
        return -1;
    v->last_bucket[bucket] = v->n_requests + 1;
    op->arg = (uint32_t)bucket;
    op->step = step;
    op->count = (uint64_t)n;
    op->offset = offset;
    op->slot = at >= 0;
    atomic_store(&me->step, step);
    end = op->count;
    if (op->kind == OP_GATHER)
        share_of(v, op->count, &first, &end);
    g = shm_arena(v->shm, v->shm->rank) + offset / sizeof(float);
    if (!v->engine->shards)
        fill_around(g, op->count, first, end);
    return at >= 0 ? 0 : frame_data(s, f, i, g + first);
}

static int take_reduce(struct serve *v, struct frame_stream *s,
                       const struct frame *f, struct shm_op *op)
{
    const char *name = frame_meta(f, "op");
    int i, which;

    for (which = 0; which < REQUEST_OPERATIONS; which++)
        if (name && strcmp(name, request_operation[which]) == 0)
            break;
    if (which == REQUEST_OPERATIONS)
        return err_set(ERR_DATA, "reduce frame: unknown op \"%.20s\"",
                       name ? name : "");
    if (frame_want(f, "v", DT_F64, 1, &i) < 0)
        return -1;
    op->arg = (uint32_t)which;
    op->count = (uint64_t)tensor_count(&f->tensor[i].t);
    if (op->count > SHM_NUMBERS)
        return err_set(ERR_DATA,
                       "reduce frame: %" PRIu64 " numbers, at most "
                       "%d",
                       op->count, SHM_NUMBERS);
    /* Others may still add the numbers before these. */
    if (shm_wait_all(v->shm, SHM_DONE, v->last_numbers) < 0)
        return -1;
    v->last_numbers = v->n_requests + 1;
    return frame_data(s, f, i, shm_numbers(v->shm, v->shm->rank));
}

static int take_bcast(struct serve *v, struct frame_stream *s,
                      const struct frame *f, struct shm_op *op)
{
    int64_t root, bytes;
    int i;

    if (meta_below(f, "root", v->shm->world, &root) < 0 ||
        meta_below(f, "bytes", INT64_MAX, &bytes) < 0 ||
        meta_name(f, "name", op->name, sizeof(op->name)) < 0)
        return -1;
    op->arg = (uint32_t)root;
    op->count = (uint64_t)bytes;
    if (op->count > shm_room(v->shm))
        return err_set(ERR_SYSTEM, "broadcast of %" PRId64 " bytes", bytes);
    if (root != v->shm->rank)
        return 0;
    if (frame_want(f, "data", DT_U8, 1, &i) < 0)
        return -1;
    if (tensor_count(&f->tensor[i].t) != bytes)
        return err_set(ERR_DATA, "bcast frame: not %" PRId64 " bytes", bytes);
    /* Others may still hand out the data before these. */
    if (shm_wait_all(v->shm, SHM_SENT, v->last_bcast) < 0)
        return -1;
    return frame_data(s, f, i, shm_bcast(v->shm));
}

static int take(struct serve *v, struct frame_stream *s, const struct frame *f)
{
    struct shm_rank *me = shm_rank(v->shm, v->shm->rank);
    uint32_t k = v->n_requests + 1, kind;
    uint32_t sent = atomic_load(&me->sent.v);
    struct shm_op *op = shm_op(v->shm, v->shm->rank, k);
    int r;

    for (kind = 0; kind < OP_KINDS; kind++)
        if (strcmp(frame_type(f), request_kind[kind]) == 0)
            break;
    if (k - sent >= SHM_OPS)
        return err_set(ERR_DATA, "worker: %d requests without an answer read",
                       SHM_OPS);
    memset(op->name, 0, sizeof(op->name));
    op->kind = kind;
    op->arg = 0;
    op->count = op->offset = 0;
    op->slot = 0;
    op->step = atomic_load(&me->step);
    atomic_store(&op->bad, 0);
    r = kind == OP_HELLO          ? take_hello(v, f)
        : request_is_bucket(kind) ? take_bucket(v, s, f, op)
        : kind == OP_REDUCE       ? take_reduce(v, s, f, op)
        : kind == OP_BCAST        ? take_bcast(v, s, f, op)
        : kind == OP_BARRIER
            ? meta_name(f, "name", op->name, sizeof(op->name))
            : err_set(ERR_DATA, "unknown frame \"%.40s\"", frame_type(f));
    if (r < 0)
        return -1;
    if (kind == OP_BCAST)
        v->last_bcast = k;
    v->n_requests = k;
    shm_advance(v->shm, SHM_READY, k);
    return 0;
}

void serve_post_end(struct serve *v)
{
    struct shm_op *op = shm_op(v->shm, v->shm->rank, v->n_requests + 1);

    op->kind = OP_END;
    op->arg = 0;
    op->count = op->offset = 0;
    op->name[0] = 0;
    shm_advance(v->shm, SHM_READY, ++v->n_requests);
}

static void *run_reader(void *arg)
{
    struct serve *v = arg;
    struct frame_stream s;
    struct frame f = FRAME_INIT;
    int r;

    frame_stream_init(&s, v->in, "descriptor 7");
    while ((r = frame_next(&s, &f)) > 0) {
        pthread_mutex_lock(&v->lock);
        v->frames++;
        pthread_mutex_unlock(&v->lock);
        if (take(v, &s, &f) < 0)
            break;
    }
    if (r == 0) {
        serve_post_end(v);
        note_input(v, INPUT_END);
    } else if (r < 0 && strcmp(frame_type(&f), "error") == 0) {
        err_set(err_code(), "%s",
                frame_meta(&f, "msg") ? frame_meta(&f, "msg")
                                      : "gave up without a reason");
        note_input(v, INPUT_ERROR);
    } else if (err_code() == ERR_IO) {
        note_input(v, INPUT_CLOSED);
    } else {
        abort_run(v);
    }
    frame_release(&f);
    close(v->in);
    thread_ends(v);
    return NULL;
}

/* ---- adder */

/* A NaN of any rank stays one. */
static double combine(uint32_t which, double x, double y)
{
    if (which == 0)
        return x + y;
    if (x != x || y != y)
        return x + y;
    return (which == 1) == (x < y) ? x : y;
}

static int reduce(struct serve *v, const struct shm_op *op, uint32_t k)
{
    /* The answer before this one may still be on its way. */
    if (shm_wait_one(v->shm, SHM_SENT, v->shm->rank, v->last_result) < 0)
        return -1;
    v->last_result = k;
    for (uint64_t i = 0; i < op->count; i++) {
        double x = shm_numbers(v->shm, 0)[i];
        for (int r = 1; r < v->shm->world; r++) {
            double y = shm_numbers(v->shm, r)[i];
            x = combine(op->arg, x, y);
        }
        v->result[i] = x;
    }
    return 0;
}

static int add_bucket(struct serve *v, struct shm_op *op, uint32_t k)
{
    bool finite = true;

    fault_step(op->step);
    fault_point("ring.add");
    /* The ranks of other hosts are met by the engine. */
    if (shm_wait_local(v->shm, SHM_READY, k) < 0 ||
        request_compare_local(v->shm, k) < 0 ||
        v->engine->add(v->plane, k, &finite) < 0)
        return -1;
    atomic_store(&op->bad, !finite);
    return 0;
}

static int perform(struct serve *v, uint32_t k)
{
    struct shm_op *op = shm_op(v->shm, v->shm->rank, k);

    if (shm_wait_one(v->shm, SHM_READY, v->shm->rank, k) < 0)
        return -1;
    if (request_is_bucket(op->kind))
        return add_bucket(v, op, k);
    if (shm_wait_all(v->shm, SHM_READY, k) < 0 ||
        request_compare(v->shm, k) < 0)
        return -1;
    return op->kind == OP_REDUCE ? reduce(v, op, k) : 0;
}

static void *run_adder(void *arg)
{
    struct serve *v = arg;
    struct shm_rank *me = shm_rank(v->shm, v->shm->rank);

    for (uint32_t k = 1;; k++) {
        bool last;
        if (perform(v, k) < 0) {
            /* Found by all ranks alike, of no rank in particular. */
            if (!shm_aborted(v->shm))
                shm_abort(v->shm, err_code(), -1, err_text());
            break;
        }
        last = shm_op(v->shm, v->shm->rank, k)->kind == OP_END;
        if (last)
            atomic_store(&me->ended, 1);
        shm_advance(v->shm, SHM_DONE, k);
        if (last)
            break;
    }
    thread_ends(v);
    return NULL;
}

/* ---- writer */

static int write_hello(struct serve *v, struct frame_writer *w)
{
    const struct shm *s = v->shm;
    char text[7][24];
    struct frame_pair meta[] = {
        {"proto", CTL_PROTO},     {"rank", text[0]},
        {"role", "ring"},         {"share", text[6]},
        {"world", text[1]},       {"slots", text[2]},
        {"slots.arena", text[3]}, {"slots.room", text[4]},
        {"slots.sums", text[5]}};
    bool offer = v->wants_slots && v->shared >= 0;

    snprintf(text[0], sizeof(text[0]), "%d", s->rank);
    snprintf(text[1], sizeof(text[1]), "%d", s->world);
    snprintf(text[2], sizeof(text[2]), "%d", v->shared);
    snprintf(text[3], sizeof(text[3]), "%" PRIu64,
             shm_data_at(s, shm_arena(s, s->rank)));
    snprintf(text[4], sizeof(text[4]), "%zu", shm_room(s));
    snprintf(text[5], sizeof(text[5]), "%" PRIu64, shm_data_at(s, shm_sums(s)));
    snprintf(text[6], sizeof(text[6]), "%d",
             roster_share(shm_roster(s), s->rank));
    return frame_write(w, CTL_HELLO, meta, offer ? 9 : 5, NULL, 0, 0);
}

static int write_sum(struct serve *v, struct frame_writer *w, uint32_t k)
{
    const struct shm_op *op = shm_op(v->shm, v->shm->rank, k);
    char bucket[16], step[24], at[24];
    struct frame_pair meta[] = {
        {"bucket", bucket}, {"finite", "1"}, {"step", step}, {"at", at}};
    uint64_t first = 0, end = op->count;
    struct frame_item item;

    if (op->kind == OP_SCATTER)
        share_of(v, op->count, &first, &end);
    item = (struct frame_item){
        "g",
        TENSOR1(DT_F32, shm_sums(v->shm) + op->offset / sizeof(float) + first,
                (int64_t)(end - first))};
    for (int i = 0; i < v->shm->n_local; i++)
        if (atomic_load(&shm_op(v->shm, shm_local(v->shm, i), k)->bad))
            meta[1].value = "0";
    snprintf(bucket, sizeof(bucket), "%u", op->arg);
    snprintf(step, sizeof(step), "%" PRId64, op->step);
    snprintf(at, sizeof(at), "%" PRIu64, op->offset);
    return op->slot ? frame_write(w, CTL_SUM, meta, 4, NULL, 0, 0)
                    : frame_write(w, CTL_SUM, meta, 3, &item, 1, 0);
}

static int write_answer(struct serve *v, struct frame_writer *w, uint32_t k)
{
    struct shm_op *op = shm_op(v->shm, v->shm->rank, k);
    struct frame_pair name = {"name", op->name};
    struct frame_item item;

    switch (op->kind) {
    case OP_HELLO:
        return write_hello(v, w);
    case OP_GRAD:
    case OP_SCATTER:
    case OP_GATHER:
        return write_sum(v, w, k);
    case OP_REDUCE:
        item = (struct frame_item){
            "v", TENSOR1(DT_F64, v->result, (int64_t)op->count)};
        return frame_write(w, CTL_REDUCED, NULL, 0, &item, 1, 0);
    case OP_BCAST:
        item = (struct frame_item){
            "data", TENSOR1(DT_U8, shm_bcast(v->shm), (int64_t)op->count)};
        return frame_write(w, CTL_BCAST, &name, 1, &item,
                           (int)op->arg != v->shm->rank, 0);
    case OP_BARRIER:
        return frame_write(w, CTL_BARRIER, &name, 1, NULL, 0, 0);
    default:
        /* Nobody asked when the end was posted for a silent worker. */
        return w->seq ? frame_write_end(w) : 0;
    }
}

/* Requests 1, 2, ... as they are done; -1 on failure, 0 after the end. */
static int answer_all(struct serve *v, struct frame_writer *w)
{
    for (uint32_t k = 1;; k++) {
        bool last;
        /* What the ranks of this host have done is all that the answer is made
         * of. */
        if (shm_wait_one(v->shm, SHM_READY, v->shm->rank, k) < 0 ||
            shm_wait_local(v->shm, SHM_DONE, k) < 0)
            return -1;
        last = shm_op(v->shm, v->shm->rank, k)->kind == OP_END;
        if (write_answer(v, w, k) < 0)
            return -1;
        shm_advance(v->shm, SHM_SENT, k);
        if (last)
            return 0;
    }
}

static void *run_writer(void *arg)
{
    struct serve *v = arg;
    struct frame_writer w;
    int r;

    frame_writer_init(&w, v->out, "descriptor 6");
    r = answer_all(v, &w);
    if (r < 0 && shm_aborted(v->shm))
        (void)!frame_write_error(&w);
    frame_writer_release(&w);
    close(v->out);
    pthread_mutex_lock(&v->lock);
    v->output_closed = r < 0 && !shm_aborted(v->shm);
    pthread_mutex_unlock(&v->lock);
    thread_ends(v);
    return NULL;
}

/* ---- threads */

int serve_start(struct serve *v, const struct serve_plane *p, int in, int out)
{
    memset(v, 0, sizeof(*v));
    v->shm = p->shm;
    v->engine = p->engine;
    v->plane = p->plane;
    v->in = in;
    v->out = out;
    v->shared = p->shared;
    v->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (v->event < 0)
        return err_sys(ERR_SYSTEM, "eventfd");
    pthread_mutex_init(&v->lock, NULL);
    slots_init(&v->slots, shm_room(p->shm));
    v->result = xcalloc(SHM_NUMBERS, sizeof(*v->result));
    v->running = 3;
    if (pthread_create(&v->reader, NULL, run_reader, v) ||
        pthread_create(&v->adder, NULL, run_adder, v) ||
        pthread_create(&v->writer, NULL, run_writer, v))
        return err_set(ERR_SYSTEM, "threads cannot be started");
    return 0;
}

bool serve_stop(struct serve *v, int ms)
{
    static const struct timespec tick = {0, 2000000};
    int64_t end = clock_ms() + ms;
    int running;

    for (;;) {
        pthread_mutex_lock(&v->lock);
        running = v->running;
        pthread_mutex_unlock(&v->lock);
        if (running == 0)
            break;
        if (clock_ms() >= end)
            return false;
        nanosleep(&tick, NULL);
    }
    pthread_join(v->reader, NULL);
    pthread_join(v->adder, NULL);
    pthread_join(v->writer, NULL);
    pthread_mutex_destroy(&v->lock);
    close(v->event);
    slots_release(&v->slots);
    free(v->result);
    return true;
}
