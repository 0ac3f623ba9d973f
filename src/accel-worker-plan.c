/* accel-worker plan, describe, init: what a run would be, without data. */
#include "accel-worker.h"

#include "io/recipe.h"
#include "train/fit.h"
#include "train/run.h"
#include "train/save.h"
#include "train/sharding.h"
#include "util/buf.h"
#include "util/json.h"
#include "util/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static struct {
    int64_t samples, world;
    double rate;
    bool json, eval, shard_optim;
    char *out, *weights;
} o;

struct opt plan_opts[] = {
    {.name = "samples",
     .letter = 'n',
     .type = OPT_INT,
     .addr = &o.samples,
     .def = "1281167",
     .min = 1,
     .max = 4294967295.0,
     .arg = "N",
     .help = "size of the data set"},
    WORKER_WORLD_ROW(&o.world, "number of ranks"),
    {.name = "shard-optim",
     .type = OPT_FLAG,
     .addr = &o.shard_optim,
     .help = "each rank keeps its share of the optimizer's state"},
    {.name = "rate",
     .type = OPT_FLOAT,
     .addr = &o.rate,
     .def = "0",
     .max = 1e9,
     .arg = "IMG/S",
     .help = "images per second of a rank, for the time; see bench"},
    {.name = "json",
     .type = OPT_FLAG,
     .addr = &o.json,
     .help = "one JSON object instead of text"},
    WORKER_RECOMPUTE_ROW,
    WORKER_ENGINE_ROWS,
    OPT_END};

static struct plan_key key_of(int64_t n, bool train)
{
    struct plan_key k = {.n = n,
                         .h = recipe.size,
                         .w = recipe.size,
                         .compute = worker_dtype(),
                         .train = train};
    return k;
}

/* One row of the answer, as text or into the object. */
static void row(json_t *j, const char *key, double v, const char *unit)
{
    if (j)
        json_add_real(j, key, v);
    else
        printf("%-12s %14.6g %s\n", key, v, unit);
}

/* Bytes of the process beside the engine's memory: code, kernels that oneDNN
 * has made for the plan. */
static double program_bytes(const struct engine *e)
{
    struct rusage self;
    size_t now, peak;

    getrusage(RUSAGE_SELF, &self);
    engine_memory(e, &now, &peak);
    if (!engine_is_host(e))
        now = 0;
    return fmax((double)self.ru_maxrss * 1024 - (double)now, 0);
}

/* Bytes of a state arena of the rank that has most. */
static size_t share_bytes(struct params *ps)
{
    struct comm comm = {.world = (int)o.world};
    struct sharding s;
    int64_t most = 0;

    for (; comm.share < comm.world; comm.share++) {
        sharding_init(&s, ps, &comm, o.shard_optim);
        most = s.total > most ? s.total : most;
        sharding_release(&s);
        if (!o.shard_optim)
            break;
    }
    return (size_t)most * dtype_size(ps->pt);
}

static void text_row(json_t *j, const char *key, const char *text)
{
    if (j)
        json_object_set_new(j, key, json_string(text));
    else
        printf("%-12s %s\n", key, text);
}

/* Do so many bytes more fit in here? If not: would they, of which `fewer` are
 * not needed if values are computed again? */
static void print_room(double bytes, double fewer, json_t *j)
{
    double mib = 1.0 / (1 << 20), room;
    const char *bound;
    char text[160];

    room = (double)memory_room(&bound);
    if (room >= (double)SIZE_MAX)
        return;
    snprintf(text, sizeof text, "MiB  here, for all ranks of it (%s)", bound);
    row(j, "free", room * mib, text);
    if (bytes <= room)
        return;
    if (fewer > 0 && bytes - fewer <= room)
        snprintf(text, sizeof text,
                 "does not fit in here: --recompute does, "
                 "with %.0f MiB less",
                 fewer * mib);
    else
        snprintf(text, sizeof text,
                 "does not fit in here: fit says which SOLVER.MICRO does%s",
                 fewer > 0 ? ", more with --recompute" : "");
    text_row(j, "advice", text);
}

/* c: as it is asked for; less: with values computed again. */
static void print_plan(const struct recipe_batch *b, struct worker *w,
                       const struct plan_cost *c, const struct plan_cost *less,
                       json_t *j)
{
    double mib = 1.0 / (1 << 20), state = (double)(c->weights + c->buffers);
    double images = (double)b->total_samples, program = program_bytes(w->e);
    size_t own = share_bytes(&w->m.params), arenas = recipe.ema ? 2 : 1;
    size_t average = recipe.ema ? own + c->buffers : 0;
    double all = (double)(fit_bytes(c) - c->momentum + own + average);
    double own_bytes;
    /* two batches are on the device, or on their way */
    double ahead = 2.0 * (double)(b->micro * recipe.size * recipe.size * 3);
    /* what ranks of a host add, in memory that they share */
    double sums =
        engine_is_host(w->e) && o.world > 1 ? (double)c->gradients : 0;
    size_t now, peak;

    own_bytes = (double)engine_memory(w->e, &now, &peak);
    row(j, "weights", (double)c->weights * mib, "MiB");
    row(j, "gradients", (double)c->gradients * mib, "MiB");
    if (sums > 0)
        row(j, "sums", sums * mib,
            "MiB  of them, once for all ranks of a host");
    row(j, "momentum", (double)own * mib, "MiB");
    if (recipe.ema)
        row(j, "average", (double)average * mib, "MiB  of the weights");
    row(j, "buffers", (double)c->buffers * mib, "MiB");
    row(j, "packed", (double)c->packed * mib,
        "MiB  weights in the engine's layout");
    row(j, "activations", (double)c->activations * mib, "MiB");
    if (!worker_engine.recompute)
        row(j, "recomputed", (double)less->activations * mib,
            "MiB  activations with --recompute");
    row(j, "scratch", (double)c->scratch * mib, "MiB");
    if (engine_is_host(w->e)) {
        row(j, "program", program * mib, "MiB  engine's code and the like");
        row(j, "memory", (all + program + sums) * mib, "MiB  of each rank");
        print_room(all - (double)now + sums,
                   (double)(c->activations - less->activations), j);
    } else {
        row(j, "batches", ahead * mib, "MiB  this one and the next");
        row(j, "own", own_bytes * mib, "MiB  the engine's, for itself");
        row(j, "memory", (all + ahead + own_bytes) * mib,
            "MiB  of the device, for each rank");
        row(j, "program", program * mib, "MiB  of the host, for each rank");
    }
    if (o.shard_optim)
        row(j, "saved", (double)((c->momentum - own) * arenas) * mib,
            "MiB  by sharding the optimizer's state");
    row(j, "forward", c->forward_macs / (double)b->micro * 1e-9, "GMAC/image");
    row(j, "training",
        2e-9 * (c->forward_macs + c->backward_macs) / (double)b->micro,
        "GFLOP/image");
    row(j, "traffic", c->traffic / (double)b->micro * 1e-6,
        "MB/image  activations that calls read and write");
    row(j, "run",
        2e-15 * (c->forward_macs + c->backward_macs) / (double)b->micro *
            images,
        "PFLOP");
    row(j, "checkpoint", (state * (double)arenas + (double)c->momentum) * mib,
        "MiB  on disk, each");
    if (o.rate > 0)
        row(j, "hours", images / (o.rate * (double)b->world) / 3600, "h");
}

/* Where no trial was made yet, a run may make another choice. */
static void tell_untried(const struct worker *w)
{
    char hex[33];
    int untried;

    engine_choices(w->e, hex, NULL, &untried);
    if (untried > 0 && verbosity >= 0)
        warn("%d of the convolutions were not timed here yet: a run may take "
             "other forms, and memory; bench times them",
             untried);
}

int worker_plan(const struct command *c, int argc, char **argv)
{
    struct recipe_batch b;
    struct plan_cost cost, less;
    struct worker w = {.e = NULL};
    struct plan_key k;
    struct buf text = BUF_INIT;
    json_t *j;
    int r;

    (void)c;
    (void)argc;
    (void)argv;
    if (recipe_check(&recipe) < 0 ||
        recipe_divide(&recipe, o.samples, o.world, &b) < 0)
        return -1;
    r = worker_begin_alone(&w, true, TUNE_KNOWN);
    k = key_of(b.micro, true);
    if (r == 0)
        r = graph_cost(&w.m.graph, w.e, &k, &cost);
    if (r == 0)
        tell_untried(&w);
    w.m.graph.recompute = true;
    if (r == 0)
        r = graph_cost(&w.m.graph, w.e, &k, &less);
    run_ledger(&recipe, &b, &text);
    if (r == 0 && o.json) {
        j = json_object();
        json_object_set_new(j, "ledger", json_string(text.data));
        print_plan(&b, &w, &cost, &less, j);
        buf_reset(&text);
        json_canonical(&text, j);
        puts(text.data);
        json_decref(j);
    } else if (r == 0) {
        puts(text.data);
        print_plan(&b, &w, &cost, &less, NULL);
    }
    buf_release(&text);
    worker_end(&w);
    return r;
}

/* ---- describe */

struct opt describe_opts[] = {
    {.name = "eval",
     .type = OPT_FLAG,
     .addr = &o.eval,
     .help = "the plan of evaluation instead of training"},
    {.name = "weights",
     .letter = 'w',
     .type = OPT_STRING,
     .addr = &o.weights,
     .arg = "FILE",
     .help = "load this model file, or a checkpoint directory: does it fit?"},
    WORKER_ENGINE_ROWS,
    OPT_END};

int worker_describe(const struct command *c, int argc, char **argv)
{
    struct recipe_batch b;
    struct worker w = {.e = NULL};
    struct plan_key k;
    struct buf out = BUF_INIT;
    int r;

    (void)c;
    (void)argc;
    (void)argv;
    if (recipe_check(&recipe) < 0 ||
        recipe_divide(&recipe, recipe.batch, 1, &b) < 0)
        return -1;
    r = worker_begin_alone(&w, !o.eval, TUNE_KNOWN);
    k = key_of(b.micro, !o.eval);
    if (r == 0 && o.weights)
        r = save_load_model(o.weights, &w.m.params);
    if (r == 0)
        r = graph_describe(&w.m.graph, w.e, &k, &out);
    if (r == 0)
        fputs(out.data, stdout);
    buf_release(&out);
    worker_end(&w);
    return r;
}

/* ---- init */

struct opt init_opts[] = {{.name = "out",
                           .letter = 'o',
                           .type = OPT_STRING,
                           .addr = &o.out,
                           .arg = "FILE",
                           .help = "the model file to write (required)"},
                          WORKER_ENGINE_ROWS,
                          OPT_END};

int worker_init(const struct command *c, int argc, char **argv)
{
    struct worker w = {.e = NULL};
    int r;

    (void)c;
    (void)argc;
    (void)argv;
    if (!o.out)
        return err_set(ERR_USAGE, "--out: not given: which file?");
    if (recipe_check(&recipe) < 0)
        return -1;
    r = worker_begin_alone(&w, false, TUNE_OFF);
    if (r == 0)
        r = params_fresh(&w.m.params, (uint64_t)recipe.seed);
    if (r == 0)
        r = save_model(o.out, &w.m.params, recipe.model, w.m.classes);
    worker_end(&w);
    return r;
}
