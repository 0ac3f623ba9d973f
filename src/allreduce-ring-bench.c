/* allreduce-ring bench and check: the shm engine alone, over forked ranks. */
#include "allreduce-ring.h"

#include "ring/shm.h"
#include "util/err.h"
#include "util/fdio.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int64_t bytes, iters, ranks;
static int64_t check_ranks;

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
     .max = 256,
     .arg = "N",
     .help = "ranks"},
    OPT_END,
};

struct opt ring_check_opts[] = {
    {.name = "ranks",
     .letter = 'n',
     .type = OPT_INT,
     .addr = &check_ranks,
     .def = "2",
     .min = 1,
     .max = 256,
     .arg = "N",
     .help = "ranks"},
    OPT_END,
};

/* One sum as the rings make it: ready, add own slice, done. */
static int sum_once(const struct shm *s, uint32_t k, uint64_t n)
{
    struct shm_rank *me = shm_rank(s, s->rank);

    shm_post(&me->ready, k);
    if (shm_wait_all(s, SHM_READY, k) < 0)
        return -1;
    (void)shm_add_slice(s, 0, n);
    shm_post(&me->done, k);
    return shm_wait_all(s, SHM_DONE, k);
}

/* Element i of rank r: small whole numbers, so that sums are exact. */
static float element(uint64_t i, int r)
{
    return (float)((i * 7 + (uint64_t)r * 13) % 1001) - 500.0f;
}

static int one_rank(const struct shm *s, uint64_t n, int64_t times,
                    double *seconds)
{
    float *mine = shm_arena(s, s->rank), *sums = shm_sums(s);
    double begin;

    for (uint64_t i = 0; i < n; i++)
        mine[i] = element(i, s->rank);
    if (sum_once(s, 1, n) < 0)
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
    if (sum_once(s, 2, n) < 0)
        return -1;
    begin = clock_s();
    for (int64_t i = 0; i < times; i++)
        if (sum_once(s, (uint32_t)(3 + i), n) < 0)
            return -1;
    *seconds = clock_s() - begin;
    return 0;
}

/* Run world ranks; the time of rank 0 for all sums. */
static int run_ranks(int world_size, uint64_t n, int64_t times, double *seconds)
{
    struct shm s = SHM_INIT;
    pid_t pid[256];
    int status, bad = 0;

    if (shm_create(&s, world_size) < 0)
        return -1;
    if (n * sizeof(float) > shm_room(&s))
        return err_set(ERR_USAGE, "--bytes: this machine has room for %zu",
                       shm_room(&s));
    for (int r = 1; r < world_size; r++) {
        pid[r] = fork();
        if (pid[r] < 0)
            return err_sys(ERR_SYSTEM, "fork");
        if (pid[r] == 0) {
            s.rank = r;
            if (one_rank(&s, n, times, seconds) == 0)
                _exit(0);
            shm_abort(&s, err_code(), r, err_text());
            _exit((int)err_code());
        }
    }
    if (one_rank(&s, n, times, seconds) < 0) {
        shm_abort(&s, err_code(), 0, err_text());
        bad = -1;
    }
    for (int r = 1; r < world_size; r++) {
        while (waitpid(pid[r], &status, 0) < 0 && errno == EINTR)
            continue;
        if (bad == 0 && status != 0)
            bad = err_set(ERR_INTERNAL, "rank %d failed", r);
    }
    shm_release(&s);
    return bad;
}

int ring_bench(const struct command *c, int argc, char **argv)
{
    uint64_t n = (uint64_t)bytes / sizeof(float);
    double seconds = 0.0, each, algbw;

    (void)c, (void)argc, (void)argv;
    if (run_ranks((int)ranks, n, iters, &seconds) < 0)
        return -1;
    each = seconds / (double)iters;
    algbw = (double)(n * sizeof(float)) / each / 1e9;
    /* Names and factor of nccl-tests: doc/PERFORMANCE.md. */
    printf("{\"engine\":\"shm\",\"ranks\":%d,\"bytes\":%llu,\"iters\":%lld,"
           "\"ms\":%.4f,\"algbw\":%.3f,\"busbw\":%.3f}\n",
           (int)ranks, (unsigned long long)(n * sizeof(float)),
           (long long)iters, each * 1e3, algbw,
           algbw * 2.0 * (double)(ranks - 1) / (double)ranks);
    return 0;
}

int ring_check(const struct command *c, int argc, char **argv)
{
    static const uint64_t sizes[] = {1, 15, 17, 4097, 1000003};
    double seconds;

    (void)c, (void)argc, (void)argv;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (run_ranks((int)check_ranks, sizes[i], 3, &seconds) < 0)
            return -1;
    printf("shm: %d ranks on this host add correctly\n", (int)check_ranks);
    return 0;
}
