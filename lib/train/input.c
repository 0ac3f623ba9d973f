#include "train/input.h"

#include "io/lend.h"
#include "train/stop.h"
#include "util/fdio.h"
#include "util/work.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define POLL_MS 50     /* how often a wait looks at the stop flags */
#define BROKEN_MS 1000 /* for the signal that ended the feeder to come */
#define SLOTS 3        /* one is used while the others are filled */

struct input {
    struct frame_stream s;
    struct frame f;
    struct borrower *lent; /* the producer's memory, or NULL */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t filled, freed;
    struct input_batch slot[SLOTS];
    struct input_batch *ring[SLOTS]; /* filled, in order */
    struct input_batch *idle[SLOTS];
    int n_ring, first, n_idle;
    int ended; /* 1: end frame, -1: failed */
    bool closing;
    enum err_class code;
    char *text;
};

/* The reading failed. A pipe that breaks off is a producer that was lost: another
 * try may go well. A file that was cut stays so. */
static int broken_off(const struct input *in)
{
    struct stat st;

    if (err_code() == ERR_IO && fstat(in->s.fd, &st) == 0 &&
        (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
        err_give(ERR_PEER, err_text());
    return -1;
}

static int64_t number(const struct frame *f, const char *key)
{
    int64_t v;

    if (!frame_meta(f, key))
        return -1;
    if (frame_meta_int(f, key, &v) < 0) {
        err_clear();
        return -1;
    }
    return v;
}

static void copy_text(char *dst, size_t n, const char *src)
{
    size_t len = src ? strlen(src) : 0;

    if (len >= n)
        len = n - 1;
    if (len)
        memcpy(dst, src, len);
    dst[len] = '\0';
}

static int read_hello(struct input *in, struct input_hello *h)
{
    int r = frame_next(&in->s, &in->f);
    const char *task;

    if (r < 0)
        return broken_off(in);
    if (r == 0 || strcmp(frame_type(&in->f), "hello") != 0)
        return err_set(ERR_DATA, "%s: stream does not begin with hello",
                       in->s.name);
    if (frame_check_proto(&in->f, 1) < 0)
        return err_wrap("%s", in->s.name);
    task = frame_meta(&in->f, "task");
    if (task && strcmp(task, "classification") != 0)
        return err_set(ERR_CONFIG,
                       "%s: batches of task %.40s: want those of "
                       "classification",
                       in->s.name, task);
    memset(h, 0, sizeof *h);
    copy_text(h->dataset, sizeof h->dataset, frame_meta(&in->f, "dataset"));
    copy_text(h->split, sizeof h->split, frame_meta(&in->f, "split"));
    copy_text(h->input, sizeof h->input, frame_meta(&in->f, "input"));
    h->samples = number(&in->f, "samples");
    h->classes = number(&in->f, "classes");
    h->rank = number(&in->f, "rank");
    h->world = number(&in->f, "world");
    h->global = number(&in->f, "global");
    h->micro = number(&in->f, "micro");
    h->accum = number(&in->f, "accum");
    h->start = number(&in->f, "start");
    return 0;
}

/* How the rows are to be mixed, as the metadata say. */
static int read_mix(const struct input *in, struct input_batch *b)
{
    static const char *const sides[] = {"mix.top", "mix.left", "mix.bottom",
                                        "mix.right"};
    const struct frame *f = &in->f;
    const char *kind = frame_meta(f, "mix"), *text;
    double lambda;
    int64_t v;
    char *end;
    int i;

    b->mix = 0;
    b->cut = false;
    if (!kind)
        return 0;
    b->cut = strcmp(kind, "cutmix") == 0;
    if (!b->cut && strcmp(kind, "mixup") != 0)
        return err_set(ERR_DATA, "%s: batch: mix \"%.20s\": not known here",
                       in->s.name, kind);
    text = frame_meta(f, "mix.lambda");
    lambda = text ? strtod(text, &end) : -1;
    if (!(lambda >= 0 && lambda <= 1) || end == text || *end)
        return err_set(ERR_DATA, "%s: batch: mix.lambda: not in 0 to 1",
                       in->s.name);
    b->mix = 1 - lambda;
    for (i = 0; b->cut && i < 4; i++) {
        if (frame_meta_int(f, sides[i], &v) < 0)
            return -1;
        if (v < 0 || v > b->image.shape[1 + i % 2])
            return err_set(ERR_DATA, "%s: batch: %s: outside of the image",
                           in->s.name, sides[i]);
        b->box[i] = (int32_t)v;
    }
    return 0;
}

/* Where the tensors of a batch frame are in it; erase: -1 if there is none. */
struct places {
    int image, label, index, erase;
};

/* The shapes of the batch frame that is at hand, which may have its tensors in
 * the producer's memory. */
static int check(const struct input *in, const struct frame *f,
                 struct places *at, struct input_batch *b)
{
    const struct frame_tensor *t = f->tensor;
    int64_t n;

    at->erase = frame_find(f, "erase");
    if (frame_want(f, "image", DT_U8, 4, &at->image) < 0 ||
        frame_want(f, "label", DT_I64, 1, &at->label) < 0 ||
        frame_want(f, "index", DT_I64, 1, &at->index) < 0 ||
        (at->erase >= 0 && frame_want(f, "erase", DT_I32, 2, &at->erase) < 0) ||
        frame_meta_int(f, "n", &b->n) < 0)
        return -1;
    b->image = t[at->image].t;
    n = b->image.shape[0];
    if (t[at->label].t.shape[0] != n || t[at->index].t.shape[0] != n ||
        b->image.shape[3] != 3 || b->n < 0 || b->n > n ||
        (at->erase >= 0 &&
         (t[at->erase].t.shape[0] != n || t[at->erase].t.shape[1] != 4)))
        return err_set(ERR_DATA, "%s: batch: shapes do not fit each other",
                       in->s.name);
    return read_mix(in, b);
}

static int make_room(struct input_batch *b, size_t bytes)
{
    if (bytes <= b->capacity)
        return 0;
    free(b->memory);
    b->capacity = 0;
    b->memory = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    if (!b->memory)
        return err_set(ERR_SYSTEM, "batch: no memory for %zu bytes", bytes);
    b->capacity = bytes;
    return 0;
}

/* All tensors, out of the stream. */
static int receive(struct input *in, const struct places *at,
                   struct input_batch *b)
{
    const struct frame_tensor *t = in->f.tensor;
    char *m;

    if (make_room(b, (size_t)in->f.data_bytes) < 0 ||
        frame_data_all(&in->s, &in->f, b->memory) < 0)
        return -1;
    m = b->memory;
    b->image.data = m + t[at->image].begin;
    b->label = (int64_t *)(void *)(m + t[at->label].begin);
    b->index = (int64_t *)(void *)(m + t[at->index].begin);
    b->erase =
        at->erase < 0 ? NULL : (int32_t *)(void *)(m + t[at->erase].begin);
    return 0;
}

/* The images where they are; what is small is copied, so that it stays what it
 * was when it is checked. */
static int borrow(const struct loan *loan, const struct places *at,
                  struct input_batch *b)
{
    const struct frame_tensor *t = loan->f.tensor;
    size_t n = (size_t)b->image.shape[0], bytes = n * sizeof(int64_t);
    char *m;

    if (make_room(b, 4 * bytes + 64) < 0)
        return -1;
    m = b->memory;
    b->label = memcpy(m, loan->base + t[at->label].begin, bytes);
    b->index = memcpy(m + bytes, loan->base + t[at->index].begin, bytes);
    b->erase = NULL;
    if (at->erase >= 0)
        b->erase = memcpy(m + 2 * bytes, loan->base + t[at->erase].begin,
                          4 * n * sizeof(int32_t));
    b->image.data = (char *)(uintptr_t)loan->base + t[at->image].begin;
    b->slot = loan->slot;
    return 0;
}

static int load(struct input *in, struct input_batch *b)
{
    struct loan loan;
    struct places at;
    int r = borrow_frame(in->lent, &in->f, &loan);

    b->slot = -1;
    if (r < 0)
        return err_wrap("%s: batch", in->s.name);
    if (r == 0)
        return check(in, &in->f, &at, b) < 0 ? -1 : receive(in, &at, b);
    r = check(in, &loan.f, &at, b);
    if (r == 0)
        r = borrow(&loan, &at, b);
    frame_release(&loan.f);
    return r;
}

/* The batch frame that is at hand. */
static int fill(struct input *in, struct input_batch *b)
{
    const struct frame *f = &in->f;

    if (load(in, b) < 0)
        return -1;
    in->s.rows += (uint64_t)b->n;
    b->epoch = number(f, "epoch");
    b->micro = number(f, "m");
    b->pos = number(f, "pos");
    b->rows = number(f, "rows");
    b->samples = number(f, "samples");
    b->last = number(f, "last") != 0;
    return 0;
}

static struct input_batch *take_idle(struct input *in)
{
    struct input_batch *b = NULL;

    pthread_mutex_lock(&in->lock);
    while (!in->n_idle && !in->closing)
        pthread_cond_wait(&in->freed, &in->lock);
    if (!in->closing)
        b = in->idle[--in->n_idle];
    pthread_mutex_unlock(&in->lock);
    return b;
}

static void *reader(void *arg)
{
    struct input *in = arg;
    struct input_batch *b = NULL;
    int r;

    while ((r = frame_next(&in->s, &in->f)) > 0) {
        if (strcmp(frame_type(&in->f), "batch") != 0)
            continue;
        b = take_idle(in);
        if (!b)
            return NULL;
        if (fill(in, b) < 0) {
            r = -1;
            break;
        }
        pthread_mutex_lock(&in->lock);
        in->ring[(in->first + in->n_ring++) % SLOTS] = b;
        pthread_cond_signal(&in->filled);
        pthread_mutex_unlock(&in->lock);
    }
    pthread_mutex_lock(&in->lock);
    in->ended = r < 0 ? -1 : 1;
    if (r < 0) {
        broken_off(in);
        in->code = err_code();
        in->text = xstrdup(err_text());
    }
    pthread_cond_signal(&in->filled);
    pthread_mutex_unlock(&in->lock);
    return NULL;
}

int input_open(struct input **out, int fd, const char *name, int64_t timeout_ms,
               struct input_hello *h)
{
    struct input *in = xcalloc(1, sizeof *in);
    pthread_condattr_t clock;
    int i, e;

    frame_stream_init(&in->s, fd, name);
    in->s.deadline_ms = timeout_ms;
    if (read_hello(in, h) < 0) {
        frame_release(&in->f);
        free(in);
        return -1;
    }
    in->lent = borrow_open(fd);
    for (i = 0; i < SLOTS; i++)
        in->idle[in->n_idle++] = &in->slot[i];
    pthread_mutex_init(&in->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&in->filled, &clock);
    pthread_condattr_destroy(&clock);
    pthread_cond_init(&in->freed, NULL);
    e = work_thread(&in->thread, reader, in);
    if (e)
        return err_set(ERR_SYSTEM, "thread: %s", strerror(e));
    *out = in;
    return 0;
}

/* Wait a little for a filled slot or the end; the lock is held. */
static void wait_filled(struct input *in)
{
    struct timespec t = clock_after(CLOCK_MONOTONIC, POLL_MS);

    pthread_cond_timedwait(&in->filled, &in->lock, &t);
}

int input_wait(int fd, const char *name, int stops, int64_t timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t begin = clock_ms();

    while (poll(&p, 1, POLL_MS) <= 0) {
        if (stop_flags() & stops)
            return 2;
        if (timeout_ms && clock_ms() - begin >= timeout_ms)
            return err_set(ERR_PEER, "%s: nothing came for %lld s", name,
                           (long long)timeout_ms / 1000);
    }
    return 1;
}

int input_ready(struct input *in, int stops)
{
    int left = BROKEN_MS / POLL_MS, r = 0;

    pthread_mutex_lock(&in->lock);
    while (!r) {
        bool broken = !in->n_ring && in->ended < 0;
        bool stop = stop_flags() & stops;
        if (in->n_ring || in->ended > 0)
            r = 1;
        else if (broken && !stop && left-- == 0)
            r = in->code == ERR_AGAIN ? 2 : 1;
        else if (stop)
            r = 2;
        else
            wait_filled(in);
    }
    pthread_mutex_unlock(&in->lock);
    return r;
}

int input_get(struct input *in, struct input_batch **b)
{
    int r = 1;

    pthread_mutex_lock(&in->lock);
    while (!in->n_ring && !in->ended)
        wait_filled(in);
    if (in->n_ring) {
        *b = in->ring[in->first];
        in->first = (in->first + 1) % SLOTS;
        in->n_ring--;
        r = 1;
    } else if (in->ended) {
        r = in->ended < 0 ? err_give(in->code, in->text) : 0;
    }
    pthread_mutex_unlock(&in->lock);
    return r;
}

const struct input_batch *input_next(struct input *in)
{
    const struct input_batch *b;

    pthread_mutex_lock(&in->lock);
    b = in->n_ring ? in->ring[in->first] : NULL;
    pthread_mutex_unlock(&in->lock);
    return b;
}

void *input_memory(const struct input *in, size_t *bytes)
{
    return borrow_memory(in->lent, bytes);
}

void input_put(struct input *in, struct input_batch *b)
{
    if (b->slot >= 0)
        borrow_return(in->lent, b->slot);
    b->slot = -1;
    pthread_mutex_lock(&in->lock);
    in->idle[in->n_idle++] = b;
    pthread_cond_signal(&in->freed);
    pthread_mutex_unlock(&in->lock);
}

/*
 * The reader may sit in read() on a pipe that nobody closes. It is given a moment
 * to see that it is not wanted; if it does not, it and what it reads into are
 * left to the end of the process, which is near.
 */
void input_close(struct input *in)
{
    struct timespec soon;
    int i;

    if (!in)
        return;
    pthread_mutex_lock(&in->lock);
    in->closing = true;
    pthread_cond_signal(&in->freed);
    pthread_mutex_unlock(&in->lock);
    soon = clock_after(CLOCK_REALTIME, POLL_MS);
    if (pthread_timedjoin_np(in->thread, NULL, &soon) != 0) {
        pthread_detach(in->thread);
        return;
    }
    for (i = 0; i < SLOTS; i++)
        free(in->slot[i].memory);
    borrow_close(in->lent);
    free(in->text);
    frame_release(&in->f);
    pthread_cond_destroy(&in->filled);
    pthread_cond_destroy(&in->freed);
    pthread_mutex_destroy(&in->lock);
    free(in);
}
