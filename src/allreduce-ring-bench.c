/* allreduce-ring bench and check: an engine alone, without workers; over ranks
 * that are started here, or as one rank of a run. */
#include "allreduce-ring.h"

#include "util/err.h"
#include "util/fdio.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 256

static int64_t bytes, iters, ranks, check_ranks;

struct opt ring_bench_opts[] = {
    {.name = "bytes",
     .type = OPT_SIZE,
     .addr = &bytes,
     .def = "102228128",
     .min = 4,
     .max = 17179869184.0,
     .arg = "BYTES",
     .help = "size of the bucket, fp32"},
    {.name = "iters",
     .type = OPT_INT,
     .addr = &iters,
     .def = "20",
     .min = 1,
     .max = 1000000,
     .arg = "N",
     .help = "sums to time"},
    {.name = "ranks",
     .letter = 'n',
     .type = OPT_INT,
     .addr = &ranks,
     .def = "2",
     .min = 1,
     .max = MOST,
     .arg = "N",
     .help = "ranks to start here, outside a run"},
    OPT_END,
};

struct opt ring_check_opts[] = {
    {.name = "ranks",
     .letter = 'n',
     .type = OPT_INT,
     .addr = &check_ranks,
     .def = "2",
     .min = 1,
     .max = MOST,
     .arg = "N",
     .help = "ranks to start here, outside a run"},
    OPT_END,
};

/* A rank with its engine, and the number of its last request. */
struct drive {
    struct join *j;
    uint32_t k;
};

/* ---- requests as a worker makes them */

static void ask(struct drive *d, enum shm_kind kind, uint64_t count)
{
    const struct shm *s = &d->j->shm;
    struct shm_op *op = shm_op(s, s->rank, ++d->k);

    memset(op->name, 0, sizeof(op->name));
    op->kind = (uint32_t)kind;
    op->arg = 0;
    op->count = count;
    op->offset = 0;
    op->step = 0;
    shm_advance(s, SHM_READY, d->k);
}

static int sum_once(struct drive *d, uint64_t n)
{
    const struct shm *s = &d->j->shm;
    bool finite;

    ask(d, OP_GRAD, n);
    if (shm_wait_local(s, SHM_READY, d->k) < 0 ||
        d->j->engine->add(d->j->plane, d->k, &finite) < 0)
        return -1;
    shm_advance(s, SHM_DONE, d->k);
    return shm_wait_local(s, SHM_DONE, d->k);
}

static int meet(struct drive *d, enum shm_kind kind)
{
    const struct shm *s = &d->j->shm;

    ask(d, kind, 0);
    if (shm_wait_all(s, SHM_READY, d->k) < 0)
        return -1;
    if (kind == OP_END)
        atomic_store(&shm_rank(s, s->rank)->ended, 1);
    shm_advance(s, SHM_DONE, d->k);
    return 0;
}

/* ---- what is tried */

/* Element i of rank r: whole numbers so small that sums are exact on every
 * wire. */
static float element(uint64_t i, int r)
{
    return (float)((i * 7 + (uint64_t)r * 13) % 9) - 4.0f;
}

static int check_sum(struct drive *d, uint64_t n)
{
    const struct shm *s = &d->j->shm;
    float *mine = shm_arena(s, s->rank);
    const float *sums = shm_sums(s);

    for (uint64_t i = 0; i < n; i++)
        mine[i] = element(i, s->rank);
    if (sum_once(d, n) < 0)
        return -1;
    for (uint64_t i = 0; i < n; i++) {
        float want = 0.0f;
        for (int r = 0; r < s->world; r++)
            want += element(i, r);
        if (sums[i] != want)
            return err_set(
                ERR_INTERNAL, "rank %d: element %llu: got %g, expected %g",
                s->rank, (unsigned long long)i, (double)sums[i], (double)want);
    }
    /* Nobody writes before all have looked. */
    return meet(d, OP_BARRIER);
}

static int time_sums(struct drive *d, uint64_t n, int64_t times,
                     double *seconds)
{
    double begin;

    if (sum_once(d, n) < 0 || meet(d, OP_BARRIER) < 0)
        return -1;
    begin = clock_s();
    for (int64_t i = 0; i < times; i++)
        if (sum_once(d, n) < 0)
            return -1;
    *seconds = (clock_s() - begin) / (double)times;
    return 0;
}

static int check_room(const struct drive *d, uint64_t n)
{
    if (n * sizeof(float) <= shm_room(&d->j->shm))
        return 0;
    return err_set(ERR_USAGE, "--bytes: this machine has room for %zu",
                   shm_room(&d->j->shm));
}

static int bench_rank(struct drive *d)
{
    const struct shm *s = &d->j->shm;
    uint64_t n = (uint64_t)bytes / sizeof(float);
    double each, algbw;

    if (check_room(d, n) < 0 || check_sum(d, n) < 0 ||
        time_sums(d, n, iters, &each) < 0)
        return -1;
    algbw = (double)(n * sizeof(float)) / each / 1e9;
    /* Names and factor of nccl-tests: doc/PERFORMANCE.md. */
    if (s->rank == 0)
        printf("{\"engine\":\"%s\",\"ranks\":%d,\"hosts\":%u,\"bytes\":%llu,"
               "\"iters\":%lld,\"ms\":%.4f,\"algbw\":%.3f,\"busbw\":%.3f}\n",
               d->j->engine->name, s->world, shm_roster(s)->n_hosts,
               (unsigned long long)(n * sizeof(float)), (long long)iters,
               each * 1e3, algbw,
               algbw * 2.0 * (double)(s->world - 1) / (double)s->world);
    return 0;
}

/* The round trip of the control plane, in ms. */
static int time_meeting(struct drive *d, double *ms)
{
    double begin = clock_s();

    for (int i = 0; i < 20; i++)
        if (meet(d, OP_BARRIER) < 0)
            return -1;
    *ms = (clock_s() - begin) / 20.0 * 1e3;
    return 0;
}

static int check_rank(struct drive *d)
{
    static const uint64_t sizes[] = {1, 15, 17, 4097, 1000003};
    const struct roster *r = shm_roster(&d->j->shm);
    uint64_t n = 4194304;
    double ms, each;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (check_sum(d, sizes[i]) < 0)
            return -1;
    if (r->n_hosts == 1) {
        if (d->j->shm.rank == 0)
            printf("%s: %u ranks on this host add correctly\n",
                   d->j->engine->name, r->world);
        return 0;
    }
    if (time_meeting(d, &ms) < 0 || check_sum(d, n) < 0 ||
        time_sums(d, n, 5, &each) < 0)
        return -1;
    if (d->j->shm.rank == 0)
        printf("%s: %u ranks on %u hosts meet, log in and add correctly\n"
               "all ranks meet in %.3f ms, add 16 MiB in %.2f ms (%.3f GB/s), "
               "%s in %u lanes, wire-auth %s\n",
               d->j->engine->name, r->world, r->n_hosts, ms, each * 1e3,
               (double)n * sizeof(float) / each / 1e9, plane_wire_name[r->wire],
               r->lanes, plane_protect_name[r->protect]);
    return 0;
}

/* ---- ranks started here */

static int run_one(struct join *j, int (*what)(struct drive *d))
{
    struct drive d = {j, 0};
    int r = j->engine->open(&j->plane, &j->shm,
                            &(struct plane_options){.listener = -1});

    if (r == 0)
        r = what(&d);
    if (r == 0)
        r = meet(&d, OP_END);
    if (r < 0)
        shm_abort(&j->shm, err_code(), j->shm.rank, err_text());
    j->engine->close(j->plane);
    return r;
}

static int run_here(int n, const char *engine, int (*what)(struct drive *d))
{
    struct join j = {.shm = SHM_INIT};
    pid_t pid[MOST];
    int status, bad;

    if (plane_find(&j.engine, engine, 1) < 0 || shm_create(&j.shm, n) < 0)
        return -1;
    for (int r = 1; r < n; r++) {
        pid[r] = fork();
        if (pid[r] < 0)
            return err_sys(ERR_SYSTEM, "fork");
        if (pid[r] == 0) {
            j.shm.rank = r;
            _exit(run_one(&j, what) < 0 ? (int)err_code() : 0);
        }
    }
    bad = run_one(&j, what);
    for (int r = 1; r < n; r++) {
        while (waitpid(pid[r], &status, 0) < 0 && errno == EINTR)
            continue;
        if (bad == 0 && status != 0)
            bad = err_set(ERR_INTERNAL, "rank %d failed", r);
    }
    shm_release(&j.shm);
    return bad;
}

/* ---- as one rank of a run */

struct watch {
    struct join *j;
    pthread_t thread;
    _Atomic bool stop;
};

/* What the supervisor does when there is a worker: see rings of this host die. */
static void *watch(void *arg)
{
    struct watch *w = arg;
    struct peers *peers = &w->j->peers;
    struct pollfd *p = xcalloc((size_t)peers->n, sizeof(*p));

    while (!atomic_load(&w->stop)) {
        for (int i = 0; i < peers->n; i++)
            p[i] = (struct pollfd){.fd = peers->fd[i], .events = POLLIN};
        if (poll(p, (nfds_t)peers->n, 100) <= 0)
            continue;
        for (int i = 0; i < peers->n; i++)
            if (p[i].revents)
                peers_check(peers, &w->j->shm, i);
    }
    free(p);
    return NULL;
}

static int run_joined(const struct join_options *o,
                      int (*what)(struct drive *d))
{
    struct join j;
    struct drive d = {&j, 0};
    struct watch w = {.j = &j};
    int r;

    if (join_run(&j, o) < 0)
        return -1;
    if (pthread_create(&w.thread, NULL, watch, &w) != 0)
        return err_set(ERR_SYSTEM, "threads cannot be started");
    r = what(&d);
    if (r == 0)
        r = meet(&d, OP_END);
    if (r < 0 && !shm_aborted(&j.shm))
        shm_abort(&j.shm, err_code(), j.shm.rank, err_text());
    atomic_store(&w.stop, true);
    pthread_join(w.thread, NULL);
    join_leave(&j, false);
    return r;
}

static int run_any(const struct command *c, int64_t n,
                   int (*what)(struct drive *d))
{
    struct join_options o;

    if (ring_join_options(c, &o) < 0)
        return -1;
    if (o.ranks.world == 1)
        return run_here((int)n, o.engine, what);
    return run_joined(&o, what);
}

int ring_bench(const struct command *c, int argc, char **argv)
{
    (void)argc, (void)argv;
    return run_any(c, ranks, bench_rank);
}

int ring_check(const struct command *c, int argc, char **argv)
{
    (void)argc, (void)argv;
    return run_any(c, check_ranks, check_rank);
}
