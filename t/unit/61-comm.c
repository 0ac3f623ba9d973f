/*
 * The communicator, against the ring's own threads in this process: two ranks,
 * pipes of 4 KiB, all operations, failures.
 *
 * With arguments it is a worker for the shell tests instead:
 *	61-comm.t worker KEY=VALUE...
 * steps=, buckets=, numel= (per bucket), sleep= (ms per step), exit= (status at
 * the end), mark= (a name: NAME.RANK is made after the first step); slices=1: sums by slice and gathered, against whole sums of numbers
 * that round; lie=1: buckets, of a multiple of 16 numbers, lie in the memory that is
 * shared, where there is some; rank= at= how= say which rank misbehaves at
 * which step: kill, exit3, exit65, abort, close, hang, stop, size, step,
 * layout, samples, early. Rank 0 prints one line with a digest of all sums.
 */
#include "61-host.h"
#include "lib/tap.h"

#include "io/ctl.h"
#include "train/comm.h"
#include "util/fdio.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static void sleep_ms(int64_t ms)
{
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

/* ---- the worker */

static struct {
    int64_t steps, buckets, numel, sleep, exit, rank, at, slices, lie;
    char how[16];
    const char *mark;
} set = {3, 2, 1000, 0, 0, -1, 1, 0, 0, "", NULL};

static void set_from(const char *word)
{
    static const struct {
        const char *name;
        int64_t *v;
    } keys[] = {{"steps=", &set.steps}, {"buckets=", &set.buckets},
                {"numel=", &set.numel}, {"sleep=", &set.sleep},
                {"exit=", &set.exit},   {"rank=", &set.rank},
                {"at=", &set.at},       {"slices=", &set.slices},
                {"lie=", &set.lie}};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (!strncmp(word, keys[i].name, strlen(keys[i].name)))
            *keys[i].v = strtoll(word + strlen(keys[i].name), NULL, 10);
    if (!strncmp(word, "how=", 4))
        snprintf(set.how, sizeof(set.how), "%s", word + 4);
    if (!strncmp(word, "mark=", 5))
        set.mark = word + 5;
}

static int how(const char *name)
{
    return !strcmp(set.how, name);
}

static volatile sig_atomic_t term;

static void on_term(int sig)
{
    term = sig;
}

static void give_up(struct comm *c)
{
    comm_abort(c);
    comm_free(c);
    die();
}

static void misbehave(struct comm *c)
{
    if (how("kill"))
        raise(SIGKILL);
    if (how("exit3") || how("exit65"))
        _exit(how("exit3") ? 3 : 65);
    if (how("abort")) {
        err_set(ERR_DATA, "record 153: bad pixel");
        give_up(c);
    }
    if (how("close")) {
        close(CTL_FD_OUT);
        while (!comm_failed(c))
            sleep_ms(10);
        comm_free(c);
        _exit(ERR_PEER);
    }
    if (how("hang"))
        sleep_ms(3600000);
    if (how("stop"))
        raise(SIGSTOP);
}

/* Where the sum of a bucket is. */
static const float *sum_of(const struct comm *c, const float *g)
{
    size_t most = c->shared.room / sizeof(*g);

    if (g >= c->shared.arena && g < c->shared.arena + most)
        return c->shared.sums + (g - c->shared.arena);
    return g;
}

static double summing; /* seconds */

static void work_step(struct comm *c, float **g, uint64_t *digest)
{
    int64_t n = set.numel;

    for (int64_t b = 0; b < set.buckets; b++)
        for (int64_t i = 0; i < n; i++)
            g[b][i] = (float)((i * 31 + b * 7 + c->step * 3 + c->rank) % 4096);
    if (getenv("COMM_TIME") && comm_barrier(c, "time") < 0)
        give_up(c);
    summing -= clock_s();
    for (int64_t b = 0; b < set.buckets; b++)
        if (comm_start(c, COMM_ALL, (int)b, g[b], n) < 0)
            give_up(c);
    for (int64_t b = 0; b < set.buckets; b++)
        if (comm_wait(c, (int)b) < 0)
            give_up(c);
    summing += clock_s();
    for (int64_t b = 0; b < set.buckets; b++) {
        const float *sum = sum_of(c, g[b]);
        for (int64_t i = 0; i < n; i++) {
            float want = 0.0f;
            for (int r = 0; r < c->world; r++)
                want += (float)((i * 31 + b * 7 + c->step * 3 + r) % 4096);
            if (sum[i] != want)
                die_with(ERR_INTERNAL,
                         "step %" PRId64 " bucket %" PRId64 " element %" PRId64
                         ": %g, expected %g",
                         c->step, b, i, (double)sum[i], (double)want);
            *digest = *digest * 1099511628211u + (uint64_t)sum[i];
        }
    }
}

/* 128 bytes of rank 0, as NCCL's identifier is handed on. */
static void hand_on(struct comm *c)
{
    unsigned char id[128];

    for (int i = 0; i < 128; i++)
        id[i] = (unsigned char)(c->rank == 0 ? i * 7 + 129 : 0);
    if (comm_bcast(c, 0, id, sizeof(id)) < 0)
        give_up(c);
    for (int i = 0; i < 128; i++)
        if (id[i] != (unsigned char)(i * 7 + 129))
            die_with(ERR_INTERNAL, "byte %d of the identifier: %d", i, id[i]);
}

/* Numbers whose sum depends on the order, some of them -0. */
static float rough(int64_t i, int64_t b, const struct comm *c)
{
    static const float scale[] = {1.0f, 1e6f, -1e6f, 3e-3f, -0.0f};
    int64_t x = i * 2654435761 + b * 40503 + c->step * 77 + c->rank * 9973;

    return (float)(x % 2048 + 1) * scale[i % 5] / 3.0f;
}

static void exchange(struct comm *c, enum comm_what what, float **g)
{
    for (int64_t b = 0; b < set.buckets; b++)
        if (comm_start(c, what, (int)b, g[b], set.numel) < 0)
            give_up(c);
    for (int64_t b = 0; b < set.buckets; b++)
        if (comm_wait(c, (int)b) < 0)
            give_up(c);
}

/* Whole sums, then slices: the same bits, and all slices gathered, too. */
static void slices_step(struct comm *c, float **g, uint64_t *digest)
{
    size_t n = (size_t)set.numel, part;
    float *sum[64];
    int64_t first, end;

    ctl_slice(set.numel, c->share, c->world, &first, &end);
    part = (size_t)(end - first) * sizeof(float);
    for (int64_t b = 0; b < set.buckets; b++) {
        sum[b] = xcalloc(n + 1, sizeof(float));
        for (int64_t i = 0; i < set.numel; i++)
            sum[b][i] = rough(i, b, c);
    }
    exchange(c, COMM_ALL, sum);
    for (int64_t b = 0; b < set.buckets; b++)
        for (int64_t i = 0; i < set.numel; i++)
            g[b][i] = rough(i, b, c);
    exchange(c, COMM_SCATTER, g);
    for (int64_t b = 0; b < set.buckets; b++)
        if (memcmp(sum_of(c, g[b]) + first, sum[b] + first, part) != 0)
            die_with(ERR_INTERNAL, "bucket %" PRId64 ": another slice", b);
    for (int64_t b = 0; b < set.buckets; b++) {
        memset(g[b], 0x7f, n * sizeof(float));
        memcpy(g[b] + first, sum[b] + first, part);
    }
    /* twice: the second begins while others read the first */
    for (int twice = 0; twice < 2; twice++) {
        exchange(c, COMM_GATHER, g);
        for (int64_t b = 0; b < set.buckets; b++)
            if (memcmp(sum_of(c, g[b]), sum[b], n * sizeof(float)) != 0)
                die_with(ERR_INTERNAL, "bucket %" PRId64 ": not gathered", b);
    }
    for (int64_t b = 0; b < set.buckets; b++) {
        for (size_t i = 0; i < n; i++)
            *digest = *digest * 1099511628211u +
                      (uint64_t)(int64_t)(sum[b][i] * 64.0f);
        free(sum[b]);
    }
}

static void leave_mark(int rank)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s.%d", set.mark, rank);
    if (creat(path, 0666) < 0)
        die_with(ERR_IO, "%s: not made", path);
}

static int worker(int argc, char **argv)
{
    const char *rank = getenv("RANK");
    uint64_t digest = 14695981039346656037u;
    struct sigaction a = {.sa_handler = SIG_IGN};
    struct comm *c;
    float *g[64];
    double flag;
    int bad, lies;

    prog_set("worker");
    for (int i = 0; i < argc; i++)
        set_from(argv[i]);
    bad = rank && strtoll(rank, NULL, 10) == set.rank;
    sigaction(SIGPIPE, &a, NULL);
    a.sa_handler = on_term;
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGUSR1, &a, NULL);
    if (bad && how("early"))
        return (int)set.exit;
    c = comm_available() ? comm_pipe(CTL_FD_IN, CTL_FD_OUT,
                                     bad && how("layout") ? "bb" : "aa", "cc",
                                     bad && how("samples") ? 7 : 8, 60000)
                         : comm_null();
    if (!c)
        die();
    hand_on(c);
    lies = set.lie && c->shared.room > 0;
    for (int64_t b = 0; b < set.buckets; b++)
        g[b] = lies ? c->shared.arena + b * set.numel
                    : xcalloc((size_t)set.numel + 1, sizeof(float));
    for (c->step = 0; c->step < set.steps; c->step++) {
        if (bad && c->step == set.at) {
            misbehave(c);
            set.numel += how("size");
            c->step += how("step");
        }
        sleep_ms(set.sleep);
        if (set.slices)
            slices_step(c, g, &digest);
        else
            work_step(c, g, &digest);
        if (set.mark && c->step == 0)
            leave_mark(c->rank);
        flag = (double)term;
        if (comm_reduce(c, COMM_MAX, &flag, 1) < 0)
            give_up(c);
        if (flag > 0.0) {
            set.exit = ERR_AGAIN;
            break;
        }
    }
    if (comm_barrier(c, "last") < 0 || comm_end(c) < 0)
        give_up(c);
    if (c->rank == 0)
        printf("%d ranks, digest %016" PRIx64 "\n", c->world, digest);
    if (c->rank == 0 && getenv("COMM_TIME"))
        fprintf(stderr, "%.1f ms a step through %s\n",
                summing * 1e3 / (double)set.steps,
                lies             ? "nothing"
                : c->shared.room ? "memory"
                                 : "pipes");
    comm_free(c);
    for (int64_t b = 0; !lies && b < set.buckets; b++)
        free(g[b]);
    return (int)set.exit;
}

/* ---- the test: ranks as threads */

static int shared; /* ranks that share memory with their workers */

/* Engines of the rings; the second does not tell slices from whole buckets. */
static int add_whole(struct plane *p, uint32_t k, bool *finite);
static struct plane_kind adds_only;
static const struct plane_kind *engine = &plane_shm;
static struct host *adding;

struct rank {
    pthread_t thread;
    struct host *h;
    int rank;
    void (*fn)(struct rank *);
    struct comm *c;
    int bad; /* checks that failed */
    enum err_class class;
    char text[512];
};

static void *run_rank(void *arg)
{
    struct rank *k = arg;

    k->fn(k);
    return NULL;
}

static void both(struct host *h, struct rank k[WORLD],
                 void (*fn)(struct rank *))
{
    for (int r = 0; r < WORLD; r++) {
        k[r] = (struct rank){.h = h, .rank = r, .fn = fn};
        pthread_create(&k[r].thread, NULL, run_rank, &k[r]);
    }
    for (int r = 0; r < WORLD; r++)
        pthread_join(k[r].thread, NULL);
}

static int join(struct rank *k, const char *layout, int64_t timeout_ms)
{
    k->c = comm_pipe(k->h->fd_in[k->rank], k->h->fd_out[k->rank], layout, "r",
                     0, timeout_ms);
    if (k->c)
        return 0;
    k->class = err_code();
    snprintf(k->text, sizeof(k->text), "%s", err_text());
    return -1;
}

static void keep_error(struct rank *k)
{
    k->class = err_code();
    snprintf(k->text, sizeof(k->text), "%s", err_text());
}

#define MANY 40

/* Many buckets posted before one is waited for: far more than the pipes hold
 * in both directions. */
/* The plane is that of plane_shm: which rank's tells where it is kept. */
static int add_whole(struct plane *p, uint32_t k, bool *finite)
{
    for (int r = 0; r < WORLD; r++)
        if (adding->plane[r] == p) {
            const struct shm_op *op = shm_op(&adding->shm[r], r, k);

            *finite = shm_add_slice(&adding->shm[r], op->offset, op->count);
        }
    return 0;
}

static void slices(struct rank *k)
{
    static const int64_t sizes[] = {1000, 16, 1, 0};
    float g[1000], want[1000];
    int64_t a, b;

    if (join(k, "l", 20000) < 0) {
        k->bad++;
        return;
    }
    for (int s = 0; s < 4; s++) {
        ctl_slice(sizes[s], k->c->share, WORLD, &a, &b);
        for (int64_t i = 0; i < sizes[s]; i++) {
            g[i] = i % 3 ? (float)(i + k->rank) : -0.0f;
            want[i] = i % 3 ? (float)(2 * i + 1) : -0.0f;
        }
        k->bad += comm_start(k->c, COMM_SCATTER, s, g, sizes[s]) < 0 ||
                  comm_wait(k->c, s) < 0 ||
                  memcmp(g + a, want + a, (size_t)(b - a) * sizeof(*g)) != 0;
        k->bad += comm_start(k->c, COMM_GATHER, s, g, sizes[s]) < 0 ||
                  comm_wait(k->c, s) < 0 ||
                  memcmp(g, want, (size_t)sizes[s] * sizeof(*g)) != 0;
    }
    k->bad += comm_end(k->c) < 0;
    comm_free(k->c);
}

static void test_slices(void)
{
    static struct host h;
    struct rank k[WORLD];

    adds_only = plane_shm;
    adds_only.add = add_whole;
    adds_only.shards = false;
    adding = &h;
    for (int only = 0; only < 2; only++)
        for (shared = 0; shared <= WORLD; shared++) {
            engine = only ? &adds_only : &plane_shm;
            host_start(&h, engine, shared);
            both(&h, k, slices);
            is_int(k[0].bad + k[1].bad, 0, "slices, %d share memory%s", shared,
                   only ? ", of an engine that only adds" : "");
            ok(host_stop(&h, 0), "the ring's threads end");
        }
    shared = 1;
    engine = &plane_shm;
}

static void all_operations(struct rank *k)
{
    float *g[MANY];
    double v[3] = {1.5 * (k->rank + 1), -k->rank, 10.0 * k->rank};
    double nan[1] = {k->rank ? (double)NAN : 1.0};
    char blob[10000];
    struct comm *c;

    if (join(k, "l", 20000) < 0) {
        k->bad++;
        return;
    }
    c = k->c;
    k->bad += c->rank != k->rank || c->world != WORLD;
    k->bad += (c->shared.room > 0) != (k->rank < shared);
    for (c->step = 0; c->step < 3; c->step++) {
        for (int b = 0; b < MANY; b++) {
            int64_t n = b * 301 + c->step * (b % 2);
            g[b] = xcalloc((size_t)n + 1, sizeof(float));
            for (int64_t i = 0; i < n; i++)
                g[b][i] = (float)(i + b + k->rank);
            k->bad += comm_start(c, COMM_ALL, b, g[b], n) < 0;
        }
        for (int b = 0; b < MANY; b++) {
            int64_t n = b * 301 + c->step * (b % 2);
            k->bad += comm_wait(c, b) < 0;
            for (int64_t i = 0; i < n; i++)
                k->bad += g[b][i] != (float)(2 * (i + b) + 1);
            free(g[b]);
        }
    }
    k->bad += comm_reduce(c, COMM_SUM, v, 3) < 0 || v[0] != 4.5 ||
              v[1] != -1.0 || v[2] != 10.0;
    v[0] = k->rank;
    k->bad += comm_reduce(c, COMM_MAX, v, 1) < 0 || v[0] != 1.0;
    v[0] = k->rank;
    k->bad += comm_reduce(c, COMM_MIN, v, 1) < 0 || v[0] != 0.0;
    k->bad += comm_reduce(c, COMM_MAX, nan, 1) < 0 || !isnan(nan[0]);
    for (int i = 0; i < 50; i++) {
        memset(blob, k->rank == i % 2 ? i : 99, sizeof(blob));
        k->bad += comm_bcast(c, i % 2, blob, sizeof(blob)) < 0;
        k->bad += blob[0] != i || blob[sizeof(blob) - 1] != i;
    }
    k->bad += comm_bcast(c, 0, NULL, 0) < 0;
    k->bad += comm_barrier(c, "x") < 0;
    k->bad += comm_failed(c);
    g[0] = xcalloc(1, sizeof(float));
    g[0][0] = k->rank ? INFINITY : 1.0f;
    k->bad += comm_start(c, COMM_ALL, 0, g[0], 1) < 0 || comm_wait(c, 0) < 0;
    k->bad += !isinf(g[0][0]);
    free(g[0]);
    k->bad += comm_end(c) < 0;
    comm_free(c);
}

static void other_layout(struct rank *k)
{
    if (join(k, k->rank ? "one" : "two", 20000) == 0)
        comm_free(k->c);
}

static void other_size(struct rank *k)
{
    float g[8] = {0};

    if (join(k, "l", 20000) < 0)
        return;
    if (comm_start(k->c, COMM_ALL, 3, g, 5 + k->rank) < 0 ||
        comm_wait(k->c, 3) < 0)
        keep_error(k);
    k->bad += !comm_failed(k->c);
    k->bad += comm_barrier(k->c, "after") == 0;
    comm_free(k->c);
}

static void other_request(struct rank *k)
{
    double v = 0.0;

    if (join(k, "l", 20000) < 0)
        return;
    if ((k->rank ? comm_barrier(k->c, "here")
                 : comm_reduce(k->c, COMM_SUM, &v, 1)) < 0)
        keep_error(k);
    comm_free(k->c);
}

/* Rank 1 does not come to the barrier. */
static void deadline(struct rank *k)
{
    if (join(k, "l", 300) < 0)
        return;
    if (k->rank == 0 && comm_barrier(k->c, "alone") < 0)
        keep_error(k);
    if (k->rank == 1)
        sleep_ms(600);
    comm_free(k->c);
}

/* A peer is lost while this rank computes: it learns that without waiting. */
static void lost_peer(struct rank *k)
{
    if (join(k, "l", 20000) < 0)
        return;
    if (k->rank == 1)
        shm_abort(&k->h->shm[1], ERR_PEER, 1, "rank 1: killed");
    for (int i = 0; i < 500 && !comm_failed(k->c); i++)
        sleep_ms(10);
    k->bad += !comm_failed(k->c);
    if (comm_barrier(k->c, "x") < 0)
        keep_error(k);
    comm_free(k->c);
}

static void test_two(void)
{
    struct host h;
    struct rank k[WORLD];

    for (shared = 0; shared <= WORLD; shared++) {
        host_start(&h, engine, shared);
        both(&h, k, all_operations);
        is_int(k[0].bad + k[1].bad, 0,
               "all operations over pipes of 4 KiB, %d share memory", shared);
        is_int(shm_aborted(&h.shm[0]), 0, "and no abort");
        ok(host_stop(&h, 0), "the ring's threads end");
    }
    shared = 1;

    host_start(&h, engine, shared);
    both(&h, k, other_layout);
    is_int(k[0].class, ERR_CONFIG, "different layouts are refused");
    has_str(k[1].text, "ranks 0 and 1 disagree: parameter layout two and one",
            "both ranks are named");
    ok(host_stop(&h, 0), "the ring's threads end");

    host_start(&h, engine, shared);
    both(&h, k, other_size);
    is_int(k[0].class, ERR_CONFIG, "buckets of different sizes are refused");
    has_str(k[0].text, "bucket 3 (5 elements)", "the sizes are named");
    is_int(k[0].bad + k[1].bad, 0, "calls after a failure fail");
    ok(host_stop(&h, 0), "the ring's threads end");

    host_start(&h, engine, shared);
    both(&h, k, other_request);
    has_str(k[1].text,
            "rank 0 asks for the sum of 1 numbers, rank 1 for "
            "barrier \"here\"",
            "different requests are named");
    ok(host_stop(&h, 0), "the ring's threads end");

    host_start(&h, engine, shared);
    both(&h, k, lost_peer);
    is_int(k[0].class, ERR_PEER, "a lost peer is an error without waiting");
    is_str(k[0].text, "rank 1: killed", "with the root cause");
    is_int(k[0].bad + k[1].bad, 0, "on both ranks");
    ok(host_stop(&h, 0), "the ring's threads end");
}

static void test_deadline(void)
{
    struct host h;
    struct rank k[WORLD];

    host_start(&h, engine, shared);
    both(&h, k, deadline);
    is_int(k[0].class, ERR_PEER, "a wait has a deadline");
    has_str(k[0].text, "alone: no answer for 0 s", "and says for what");
    shm_abort(&h.shm[0], ERR_PEER, 0, "test");
    ok(host_stop(&h, 1), "the ring's threads end");
}

static void test_dead_ring(void)
{
    int in[2], out[2];
    struct comm *c;

    small_pipe(in);
    small_pipe(out);
    close(in[1]);
    c = comm_pipe(in[0], out[1], "l", "r", 0, 5000);
    ok(!c, "a ring that is dead is an error");
    is_int(err_code(), ERR_PEER, "of class 76");
    close(in[0]);
    close(out[0]);
    close(out[1]);
}

static void test_null(void)
{
    struct comm *c = comm_null();
    float g[2] = {1.0f, 2.0f};
    double v = 3.0;

    is_int(c->rank * 10 + c->world, 1, "the null communicator is rank 0 of 1");
    ok(comm_start(c, COMM_ALL, 0, g, 2) == 0 && comm_wait(c, 0) == 0 &&
           g[1] == 2.0f,
       "its sums are what was there");
    ok(comm_reduce(c, COMM_SUM, &v, 1) == 0 && v == 3.0, "and reductions");
    ok(comm_barrier(c, "x") == 0 && comm_end(c) == 0, "barrier and end");
    comm_free(c);
}

int main(int argc, char **argv)
{
    struct sigaction a = {.sa_handler = SIG_IGN};

    if (argc > 1 && !strcmp(argv[1], "worker"))
        return worker(argc - 2, argv + 2);
    sigaction(SIGPIPE, &a, NULL);
    test_null();
    test_two();
    test_slices();
    test_deadline();
    test_dead_ring();
    return done_testing();
}
