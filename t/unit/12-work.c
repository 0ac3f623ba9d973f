/* Parallel loops and the ordered pipeline. */
#include "lib/tap.h"

#include "util/err.h"
#include "util/rng.h"
#include "util/work.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static void nap(long us)
{
    struct timespec t = {0, us * 1000};

    nanosleep(&t, NULL);
}

/* A short wait whose length depends on the item alone. */
static void doze(uint32_t i)
{
    struct rng r;

    rng_init(&r, 1, i, 0, RNG_SYNTH);
    nap((long)rng_below(&r, 40));
}

/* ---- loops */

struct loop_test {
    atomic_int runs[1000], bad_thread;
    int threads;
    size_t bad[2]; /* items that fail */
    int late;      /* which of them takes longer */
};

static int loop_item(void *arg, size_t i, int t)
{
    struct loop_test *l = arg;

    if (t < 0 || t >= l->threads)
        atomic_fetch_add(&l->bad_thread, 1);
    atomic_fetch_add(&l->runs[i], 1);
    if (i == l->bad[0] || i == l->bad[1]) {
        /* Both have begun before either fails. */
        nap(i == l->bad[l->late] ? 400 : 100);
        return err_set(i == l->bad[0] ? ERR_DATA : ERR_IO, "item %zu", i);
    }
    return 0;
}

static void test_loop(int threads)
{
    struct loop_test *l = xcalloc(1, sizeof(*l));
    int i, bad = 0;

    l->threads = threads;
    l->bad[0] = l->bad[1] = SIZE_MAX;
    is_int(work_for(1000, threads, loop_item, l), 0, "1000 items, %d threads",
           threads);
    for (i = 0; i < 1000; i++)
        bad += atomic_load(&l->runs[i]) != 1;
    is_int(bad, 0, "each ran once");
    is_int(atomic_load(&l->bad_thread), 0, "thread numbers are in range");
    is_int(work_for(0, threads, loop_item, l), 0, "no items");
    free(l);
}

static void test_loop_failure(int threads)
{
    struct loop_test *l = xcalloc(1, sizeof(*l));
    int turn, i, bad = 0;

    l->threads = threads;
    l->bad[0] = 500;
    l->bad[1] = 501;
    for (turn = 0; turn < 50; turn++) {
        err_clear();
        l->late = turn & 1;
        if (work_for(1000, threads, loop_item, l) != -1 ||
            strcmp(err_text(), "item 500") != 0 || err_code() != ERR_DATA)
            bad++;
    }
    is_int(bad, 0, "%d threads: the lowest failure is the one, 50 times",
           threads);
    for (i = 0; i < 500; i++)
        bad += atomic_load(&l->runs[i]) != 50;
    is_int(bad, 0, "all items before it ran");
    free(l);
}

/* ---- pipeline */

struct item {
    uint32_t n;
    uint64_t result;
};

struct pipe_test {
    uint32_t n, next, done; /* items; counters of the serial stages */
    uint32_t fail_next, fail_work[2], fail_done;
    int in_next, in_done; /* unguarded: the stages are serial */
    bool disorder;
    bool dozing;
    uint64_t sum;
};

static int pipe_next(void *arg, void *item)
{
    struct pipe_test *p = arg;
    struct item *it = item;

    if (p->in_next++)
        p->disorder = true;
    if (p->next == p->fail_next)
        return err_set(ERR_DATA, "next %u", p->next);
    if (p->next == p->n)
        return 0;
    it->n = p->next++;
    p->in_next--;
    return 1;
}

static int pipe_work(void *arg, void *item, int t)
{
    struct pipe_test *p = arg;
    struct item *it = item;

    (void)t;
    if (p->dozing)
        doze(it->n);
    if (it->n == p->fail_work[0] || it->n == p->fail_work[1])
        return err_set(ERR_IO, "work %u", it->n);
    it->result = (uint64_t)it->n * it->n;
    return 0;
}

static int pipe_done(void *arg, void *item)
{
    struct pipe_test *p = arg;
    struct item *it = item;

    if (p->in_done++ || it->n != p->done ||
        it->result != (uint64_t)it->n * it->n)
        p->disorder = true;
    if (it->n == p->fail_done)
        return err_set(ERR_CANTCREAT, "done %u", it->n);
    p->done++;
    p->sum += it->result;
    it->result = 0;
    p->in_done--;
    return 0;
}

#define NEVER UINT32_MAX

static int run_pipe(struct pipe_test *p, int n_items, int threads)
{
    struct work_stages s = {pipe_next, pipe_work, pipe_done, p};
    struct item *mem = xcalloc((size_t)n_items, sizeof(*mem));
    void **items = xcalloc((size_t)n_items, sizeof(*items));
    int i, r;

    for (i = 0; i < n_items; i++)
        items[i] = &mem[i];
    err_clear();
    r = work_pipeline(&s, items, n_items, threads);
    free(items);
    free(mem);
    return r;
}

static struct pipe_test fresh(uint32_t n, bool dozing)
{
    return (struct pipe_test){.n = n,
                              .fail_next = NEVER,
                              .fail_work = {NEVER, NEVER},
                              .fail_done = NEVER,
                              .dozing = dozing};
}

static void test_pipe(int n_items, int threads)
{
    struct pipe_test p = fresh(1000, true);

    is_int(run_pipe(&p, n_items, threads), 0, "%d items in flight, %d threads",
           n_items, threads);
    ok(p.done == 1000 && p.sum == 332833500 && !p.disorder,
       "all 1000 in order");
    p = fresh(0, false);
    is_int(run_pipe(&p, n_items, threads), 0, "no item at all");
}

/* Each case 100 times, since the threads meet differently each time. */
static void test_pipe_failure(const char *name, struct pipe_test start,
                              const char *want, uint32_t done)
{
    struct pipe_test p;
    int turn, bad = 0;

    for (turn = 0; turn < 100; turn++) {
        p = start;
        if (run_pipe(&p, 1 + turn % 9, 1 + turn % 5) != -1 ||
            strcmp(err_text(), want) != 0 || p.done != done || p.disorder)
            bad++;
    }
    is_int(bad, 0, "%s: \"%s\" after %u items, 100 times", name, want, done);
}

static void test_pipe_failures(void)
{
    struct pipe_test p = fresh(50, false);

    p.fail_next = 20;
    test_pipe_failure("next", p, "next 20", 20);
    p.fail_next = 0;
    test_pipe_failure("next, the first", p, "next 0", 0);
    p = fresh(50, true);
    p.fail_work[0] = 17;
    p.fail_work[1] = 16;
    test_pipe_failure("two of work", p, "work 16", 16);
    p = fresh(50, false);
    p.fail_done = 10;
    test_pipe_failure("done", p, "done 10", 10);
    p.fail_next = 12;
    p.fail_work[0] = 11;
    test_pipe_failure("all three", p, "done 10", 10);
    p.fail_done = 11;
    test_pipe_failure("work before done", p, "work 11", 11);
    p = fresh(50, false);
    p.fail_work[0] = 49;
    test_pipe_failure("the last", p, "work 49", 49);
}

static void test_cpus(void)
{
    cpu_set_t all, one;
    int cpu = 0;

    ok(work_cpus() >= 1, "%d CPUs", work_cpus());
    if (sched_getaffinity(0, sizeof(all), &all) < 0) {
        skip(1, "affinity cannot be read");
        return;
    }
    while (!CPU_ISSET(cpu, &all))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof(one), &one);
    is_int(work_cpus(), 1, "bound to one CPU");
    sched_setaffinity(0, sizeof(all), &all);
}

int main(void)
{
    test_cpus();
    test_loop(1);
    test_loop(2);
    test_loop(16);
    test_loop_failure(1);
    test_loop_failure(7);
    test_pipe(1, 1);
    test_pipe(2, 3);
    test_pipe(32, 8);
    test_pipe_failures();
    is_int(work_pipeline(&(struct work_stages){0}, NULL, 0, 1), -1,
           "a pipeline without items is refused");
    return done_testing();
}
