/* accel-worker bench: training speed on synthetic images, of one rank or of those
 * of allreduce-ring. */
#include "accel-worker.h"

#include "io/recipe.h"
#include "train/comm.h"
#include "train/step.h"
#include "util/buf.h"
#include "util/fdio.h"
#include "util/json.h"
#include "util/rng.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static struct {
    int64_t steps, warm;
    bool forward;
} o;

struct opt bench_opts[] = {{.name = "steps",
                            .letter = 'n',
                            .type = OPT_INT,
                            .addr = &o.steps,
                            .def = "10",
                            .min = 1,
                            .max = 1e6,
                            .arg = "N",
                            .help = "steps that are timed"},
                           {.name = "warm",
                            .type = OPT_INT,
                            .addr = &o.warm,
                            .def = "2",
                            .max = 1e6,
                            .arg = "N",
                            .help = "steps before that"},
                           {.name = "forward",
                            .type = OPT_FLAG,
                            .addr = &o.forward,
                            .help = "prediction only"},
                           WORKER_RANKS_ROWS,
                           WORKER_RECOMPUTE_ROW,
                           WORKER_ENGINE_ROWS,
                           OPT_END};

static void synthetic(struct input_batch *b, int64_t n, int64_t classes)
{
    size_t bytes = (size_t)(n * recipe.size * recipe.size * 3), i;
    uint8_t *p = xmalloc(bytes);
    struct rng r;

    rng_init(&r, (uint64_t)recipe.seed, 0, 0, RNG_SYNTH);
    for (i = 0; i < bytes; i++)
        p[i] = (uint8_t)rng_below(&r, 256);
    memset(b, 0, sizeof *b);
    b->image = TENSOR4(DT_U8, p, n, recipe.size, recipe.size, 3);
    b->label = xcalloc((size_t)n, sizeof *b->label);
    for (i = 0; i < (size_t)n; i++)
        b->label[i] = (int64_t)rng_below(&r, (uint64_t)classes);
    b->n = b->rows = n;
    b->last = true;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Seconds of each step, and of its wait for other ranks. */
struct times {
    double *step, *wait, first;
    int64_t n; /* so far */
};

static int one(struct step *s, struct classifier *m,
               const struct input_batch *b, float *logits, struct times *t)
{
    struct step_result res = {.comm_s = 0};
    double t0 = clock_s();
    int r = o.forward ? classifier_predict(m, &b->image, logits)
                      : step_batch(s, b, 1e-3);

    /* An engine that queues its work is a step behind, and so are its times. */
    if (r == 0 && !o.forward && step_result(s, false, &res) < 0)
        r = -1;
    if (t->n >= 0) {
        t->step[t->n] = clock_s() - t0;
        t->wait[t->n] = res.comm_s;
    }
    t->n++;
    return r;
}

static int join(struct comm **c, struct engine *e, const struct params *ps)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    if (o.forward || !comm_available()) {
        *c = comm_null();
        return 0;
    }
    /* A ring that is gone is an error that can be told. */
    if (sigaction(SIGPIPE, &ignore, NULL) < 0)
        return err_sys(ERR_SYSTEM, "sigaction");
    return worker_join(c, e, ps, 0, 600000);
}

static void report(struct engine *e, const struct times *times, int64_t n,
                   int world)
{
    const double *t = times->step;
    json_t *j = json_object();
    struct buf b = BUF_INIT;
    struct rusage u;
    char text[512];
    size_t now, peak;

    engine_describe(e, text, sizeof text);
    engine_memory(e, &now, &peak);
    getrusage(RUSAGE_SELF, &u);
    json_object_set_new(j, "model", json_string(recipe.model));
    json_object_set_new(j, "engine", json_string(text));
    json_object_set_new(j, "precision",
                        json_string(dtype_name(worker_dtype())));
    json_object_set_new(j, "batch", json_integer(n));
    json_object_set_new(j, "size", json_integer(recipe.size));
    json_add_real(j, "ms", t[o.steps / 2] * 1e3);
    json_add_real(j, "best_ms", t[0] * 1e3);
    json_add_real(j, "img_s", (double)(n * world) / t[o.steps / 2]);
    json_add_real(j, "first_s", times->first);
    if (world > 1) {
        json_object_set_new(j, "ranks", json_integer(world));
        json_add_real(j, "wait_ms", times->wait[o.steps / 2] * 1e3);
    }
    json_object_set_new(j, "engine_bytes", json_integer((json_int_t)peak));
    json_object_set_new(j, "peak_rss", json_integer(u.ru_maxrss * 1024));
    json_canonical(&b, j);
    puts(b.data);
    buf_release(&b);
    json_decref(j);
}

/* start: when the command began */
static int run_bench(struct engine *e, struct classifier *m, int64_t n,
                     double start)
{
    struct comm *comm = NULL;
    struct step s;
    struct input_batch b;
    struct times t = {.n = -o.warm};
    float *logits = NULL;
    int r = -1;

    memset(&s, 0, sizeof s);
    t.step = xcalloc((size_t)o.steps + 1, sizeof *t.step);
    t.wait = xcalloc((size_t)o.steps + 1, sizeof *t.wait);
    synthetic(&b, n, m->classes);
    logits = xcalloc((size_t)(n * m->classes), sizeof *logits);
    if (params_fresh(&m->params, (uint64_t)recipe.seed) < 0 ||
        join(&comm, e, &m->params) < 0 ||
        (!o.forward && step_init(&s, m, comm, &recipe, false) < 0))
        goto out;
    b.rows = n * comm->world;
    while (t.n < o.steps) {
        if (one(&s, m, &b, logits, &t) < 0)
            goto out;
        if (t.first == 0)
            t.first = clock_s() - start;
    }
    if (engine_finish(e) < 0 || comm_end(comm) < 0)
        goto out;
    qsort(t.step, (size_t)o.steps, sizeof *t.step, ascending);
    qsort(t.wait, (size_t)o.steps, sizeof *t.wait, ascending);
    if (comm->rank == 0)
        report(e, &t, n, comm->world);
    r = 0;
out:
    if (r < 0 && comm)
        comm_abort(comm);
    if (!o.forward)
        step_release(&s);
    comm_free(comm);
    free(b.image.data);
    free(b.label);
    free(logits);
    free(t.step);
    free(t.wait);
    return r;
}

int worker_bench(const struct command *c, int argc, char **argv)
{
    struct recipe_batch b;
    struct worker w = {.e = NULL};
    double start = clock_s();
    int r;

    (void)c;
    (void)argc;
    (void)argv;
    if (recipe_check(&recipe) < 0 ||
        recipe_divide(&recipe, recipe.batch, 1, &b) < 0)
        return -1;
    r = worker_begin_alone(&w, !o.forward, TUNE_TRY);
    if (r == 0)
        r = run_bench(w.e, &w.m, b.micro, start);
    worker_end(&w);
    return r;
}
