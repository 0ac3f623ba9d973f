/* accel-worker train, predict: the commands that read batches. */
#include "accel-worker.h"

#include "io/ctl.h"
#include "io/recipe.h"
#include "model/model.h"
#include "train/run.h"
#include "train/save.h"
#include "train/sched.h"
#include "train/stop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    char *out, *weights, *save_every, *profile;
    int64_t keep, keep_every, log_every, max_steps, grace, timeout;
    int64_t samples, world;
    bool print_lr, progress, log_samples, shard_optim;
} o;

#define TIMEOUT_ROW                                                            \
    {                                                                          \
        .name = "timeout", .type = OPT_INT, .addr = &o.timeout, .def = "300",  \
        .max = 86400, .arg = "SECONDS",                                        \
        .help = "deadline of every wait for data and other ranks; 0: none"     \
    }

struct opt train_opts[] = {
    {.name = "out",
     .letter = 'o',
     .type = OPT_STRING,
     .addr = &o.out,
     .arg = "RUNDIR",
     .help = "keep checkpoints and the log here"},
    {.name = "weights",
     .letter = 'w',
     .type = OPT_STRING,
     .addr = &o.weights,
     .arg = "FILE",
     .help = "begin with the weights of a model file"},
    {.name = "save-every",
     .type = OPT_STRING,
     .addr = &o.save_every,
     .def = "0",
     .arg = "PERIOD",
     .help = "commit a checkpoint every 500it, 2ep, 30m; always at the end"},
    {.name = "keep",
     .type = OPT_INT,
     .addr = &o.keep,
     .def = "2",
     .max = 1e9,
     .arg = "N",
     .help = "newest checkpoints that are kept; 0: all"},
    {.name = "keep-every",
     .type = OPT_INT,
     .addr = &o.keep_every,
     .def = "0",
     .max = 1e15,
     .arg = "STEPS",
     .help = "keep also those whose step it divides; 0: none"},
    {.name = "log-every",
     .type = OPT_INT,
     .addr = &o.log_every,
     .def = "20",
     .min = 1,
     .max = 1e9,
     .arg = "STEPS",
     .help = "steps between lines of metrics.jsonl"},
    {.name = "log-samples",
     .type = OPT_FLAG,
     .addr = &o.log_samples,
     .help = "write every sample taken to RUNDIR/samples-RANK.tsv"},
    {.name = "max-steps",
     .type = OPT_INT,
     .addr = &o.max_steps,
     .def = "0",
     .max = 1e15,
     .arg = "N",
     .help = "stop in order after N steps, with status 75; 0: do not"},
    {.name = "shard-optim",
     .type = OPT_FLAG,
     .addr = &o.shard_optim,
     .help =
         "each rank keeps the optimizer's state of its share of the weights "
         "(ZeRO-1)"},
    {.name = "grace",
     .type = OPT_INT,
     .addr = &o.grace,
     .def = "25",
     .max = 86400,
     .arg = "SECONDS",
     .help = "time to reach a safe point after a signal; 0: for ever"},
    TIMEOUT_ROW,
    {.name = "profile",
     .type = OPT_STRING,
     .addr = &o.profile,
     .arg = "FIRST:LAST",
     .help = "write where the time of these steps goes to "
             "RUNDIR/profile-RANK.json"},
    {.name = "progress",
     .type = OPT_FLAG,
     .addr = &o.progress,
     .def = "true",
     .help = "progress line on a terminal"},
    {.name = "print-lr",
     .type = OPT_FLAG,
     .addr = &o.print_lr,
     .help =
         "print step, samples, epoch and rate of a whole run; train nothing"},
    {.name = "samples",
     .type = OPT_INT,
     .addr = &o.samples,
     .def = "1281167",
     .min = 1,
     .max = 4294967295.0,
     .arg = "N",
     .help = "size of the data set, for --print-lr"},
    WORKER_WORLD_ROW(&o.world, "number of ranks, for --print-lr"),
    WORKER_RANKS_ROWS,
    WORKER_RECOMPUTE_ROW,
    WORKER_ENGINE_ROWS,
    OPT_END};

static int print_lr(void)
{
    struct recipe_batch b;
    int64_t i, epoch, pos, at;

    if (recipe_divide(&recipe, o.samples, o.world, &b) < 0)
        return -1;
    puts("step\tsamples\tepoch\tlr");
    for (i = 0; i < b.total_steps && !ferror(stdout); i++) {
        /* the last step of an "exact" epoch is short */
        epoch = i / b.epoch_steps;
        pos = i % b.epoch_steps * b.global;
        at = epoch * b.epoch_samples + pos;
        printf("%" PRId64 "\t%" PRId64 "\t%.9g\t%.9g\n", i, at,
               (double)at / (double)b.epoch_samples, sched_lr(&recipe, &b, at));
    }
    return 0;
}

static int open_comm(struct comm **comm, const struct worker *w)
{
    const char *world = getenv("WORLD_SIZE");
    int64_t samples = 0;

    if (!comm_available()) {
        if (world && strtol(world, NULL, 10) > 1)
            return err_set(ERR_CONFIG,
                           "WORLD_SIZE %s: but descriptors %d and %d are not "
                           "connected: start it with allreduce-ring --",
                           world, CTL_FD_IN, CTL_FD_OUT);
        *comm = comm_null();
        return 0;
    }
    if (o.out && run_progress(o.out, &samples) < 0)
        return -1;
    return worker_join(comm, w->e, &w->m.params, samples, o.timeout * 1000);
}

/* A device that was meant to compute and cannot is worth a line, once. */
static void tell_engine(const struct engine *e)
{
    const char *why = engine_passed_over(e), *rank = getenv("RANK");

    if (why[0] && verbosity >= 0 && (!rank || strcmp(rank, "0") == 0))
        warn("engine %s is taken: %s", engine_name(e), why);
}

/* Everything that is opened in turn, so that it is closed in one place. */
struct session {
    struct worker w;
    struct input *in;
    struct comm *comm;
    struct input_hello hello;
    char *settings;
};

/* The batches, or a status: a signal before the first one, nothing has begun. */
static int open_input(struct session *s)
{
    int64_t timeout_ms = o.timeout * 1000;
    int r = input_wait(STDIN_FILENO, "stdin", STOP_INT | STOP_TERM, timeout_ms);

    if (r == 1)
        return input_open(&s->in, STDIN_FILENO, "stdin", timeout_ms, &s->hello);
    if (r < 0)
        return -1;
    if (stop_flags() & STOP_INT)
        return 130;
    return err_set(ERR_AGAIN, "stopped by a signal before the first batch");
}

static int train_session(struct session *s, const struct command *c,
                         struct run_options *r)
{
    int status = open_input(s);

    if (status)
        return status;
    if (worker_begin(&s->w, s->hello.classes, true, TUNE_TRY) < 0)
        return -1;
    tell_engine(s->w.e);
    if (open_comm(&s->comm, &s->w) < 0)
        return -1;
    s->settings = worker_settings(c);
    r->settings = s->settings;
    status = run_train(r, &s->w.m, s->comm, s->in, &s->hello);
    if (status < 0) {
        comm_abort(s->comm);
        return -1;
    }
    return comm_end(s->comm) < 0 ? -1 : status;
}

static void close_session(struct session *s)
{
    comm_free(s->comm);
    input_close(s->in);
    worker_end(&s->w);
    free(s->settings);
}

int worker_train(const struct command *c, int argc, char **argv)
{
    struct session s = {.in = NULL};
    struct run_options r = {.r = &recipe,
                            .dir = o.out,
                            .weights = o.weights,
                            .keep = o.keep,
                            .keep_every = o.keep_every,
                            .log_every = o.log_every,
                            .log_samples = o.log_samples,
                            .max_steps = o.max_steps,
                            .progress = o.progress,
                            .shard_optim = o.shard_optim,
                            .program = WORKER_PROGRAM};
    const struct model_kind *kind;
    int status;

    (void)argc;
    (void)argv;
    if (recipe_check(&recipe) < 0 || model_find(recipe.model, &kind) < 0)
        return -1;
    if (cadence_parse(o.save_every, &r.save) < 0)
        return err_wrap("--save-every");
    if (o.profile && profile_parse(o.profile, &r.profile) < 0)
        return err_wrap("--profile");
    if (o.profile && !o.out)
        return err_set(ERR_USAGE, "--profile: --out is not given: where to?");
    if (o.print_lr)
        return print_lr();
    if (stop_install((int)o.grace) < 0)
        return -1;
    if (isatty(STDIN_FILENO))
        return err_set(ERR_USAGE, "stdin: a terminal: batches come from "
                                  "imgshard feed");
    status = train_session(&s, c, &r);
    close_session(&s);
    return status;
}

/* ---- predict */

struct opt predict_opts[] = {
    {.name = "weights",
     .letter = 'w',
     .type = OPT_STRING,
     .addr = &o.weights,
     .arg = "FILE",
     .help = "model file, or a checkpoint directory (required)"},
    TIMEOUT_ROW,
    WORKER_ENGINE_ROWS,
    OPT_END};

static int predict_session(struct session *s)
{
    int status = open_input(s);

    if (status)
        return status;
    if (worker_begin(&s->w, s->hello.classes, false, TUNE_TRY) < 0 ||
        save_load_model(o.weights, &s->w.m.params) < 0)
        return -1;
    return run_predict(&s->w.m, recipe.model, s->in, &s->hello, STDOUT_FILENO);
}

int worker_predict(const struct command *c, int argc, char **argv)
{
    struct session s = {.in = NULL};
    int status;

    (void)c;
    (void)argc;
    (void)argv;
    if (!o.weights)
        return err_set(ERR_USAGE, "--weights: not given: which model?");
    if (isatty(STDIN_FILENO) || isatty(STDOUT_FILENO))
        return err_set(ERR_USAGE, "predict reads batches from a pipe and "
                                  "writes frames to one, not to a terminal");
    if (recipe_check(&recipe) < 0 || stop_install(0) < 0)
        return -1;
    status = predict_session(&s);
    close_session(&s);
    return status;
}
