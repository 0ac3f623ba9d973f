#include "train/run.h"

#include "io/ckpt.h"
#include "train/agree.h"
#include "train/ema.h"
#include "train/metrics.h"
#include "train/samplelog.h"
#include "train/save.h"
#include "train/sched.h"
#include "train/step.h"
#include "train/stop.h"
#include "util/fault.h"
#include "util/fdio.h"
#include "util/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGREE_EVERY 256 /* steps between comparisons of the ranks' weights */
#define LOCK_MS 5000    /* for what is left of the run before */

struct run {
    const struct run_options *o;
    struct classifier *m;
    struct comm *comm;
    struct recipe_batch batch;
    struct step step;
    struct ema ema;
    struct metrics log;
    struct profile profile;
    int64_t steps, samples; /* begun so far, and done but for the last */
    int64_t told;           /* steps whose results were heard */
    int64_t attempt, saved_step;
    struct cadence_moment tried; /* to save */
    char forms[33];              /* of convolutions, as in struct ckpt_state */
    bool forms_told;
    char *ckpt;    /* DIR/ckpt, or NULL */
    int lock;      /* of DIR, on rank 0; -1: none */
    bool all_have; /* all ranks have the data of the next step */
    const struct input_hello *hello;
};

void run_ledger(const struct recipe *r, const struct recipe_batch *b,
                struct buf *out)
{
    buf_addf(out,
             "batch %lld = %lld micro x %lld rank%s x %lld accum; lr %g (not "
             "scaled); %lld steps/epoch, %lld total; %lld samples",
             (long long)b->global, (long long)b->micro, (long long)b->world,
             b->world == 1 ? "" : "s", (long long)b->accum, r->lr,
             (long long)b->epoch_steps, (long long)b->total_steps,
             (long long)b->n);
}

int run_progress(const char *dir, int64_t *samples)
{
    struct ckpt_state st;
    char *parent, *path;
    int64_t step;
    int r;

    *samples = 0;
    parent = xstrfmt("%s/ckpt", dir);
    path = ckpt_newest(parent, &step);
    free(parent);
    if (!path)
        return step == -1 ? 0 : -1;
    r = ckpt_read_state(path, &st);
    if (r == 0)
        *samples = st.samples;
    ckpt_state_release(&st);
    free(path);
    return r;
}

/* ---- start */

static const char *setting(const json_t *all, const char *key)
{
    return json_string_value(
        json_object_get(json_object_get(all, key), "value"));
}

/* The first setting that differs and counts. */
static int other_recipe(const struct run *t, const struct ckpt *c)
{
    const char *was = c->state.settings, *now = t->o->settings, *key;
    json_t *there = was ? json_loads(was, 0, NULL) : NULL, *v;
    json_t *here = now ? json_loads(now, 0, NULL) : NULL;
    int r = 0;

    json_object_foreach(here, key, v)
    {
        now = setting(here, key);
        was = setting(there, key);
        if (r == 0 && now && was && strcmp(now, was) &&
            recipe_counts(t->o->r, key))
            r = err_set(ERR_CONFIG,
                        "%s: another recipe: made with %s %.80s, here it is "
                        "%.80s",
                        c->path, key, was, now);
    }
    if (r == 0)
        r = err_set(ERR_CONFIG,
                    "%s: made by another recipe: its settings are in "
                    "state.json",
                    c->path);
    json_decref(there);
    json_decref(here);
    return r;
}

static int check_state(const struct run *t, const struct ckpt *c)
{
    const struct ckpt_state *s = &c->state;
    char digest[33];

    recipe_digest(t->o->r, digest);
    if (strcmp(digest, s->recipe) != 0)
        return other_recipe(t, c);
    if (s->n != t->batch.n || s->global != t->batch.global)
        return err_set(ERR_CONFIG,
                       "%s: made with %lld samples and batch %lld, now %lld "
                       "and %lld",
                       c->path, (long long)s->n, (long long)s->global,
                       (long long)t->batch.n, (long long)t->batch.global);
    if (*s->dataset && *t->hello->dataset &&
        strcmp(s->dataset, t->hello->dataset) != 0)
        return err_set(ERR_CONFIG,
                       "%s: trained on another data set (%s, "
                       "now %s)",
                       c->path, s->dataset, t->hello->dataset);
    return 0;
}

static struct save saved(struct run *t)
{
    return (struct save){&t->m->params, t->comm, &t->step.update.optim,
                         &t->ema};
}

static int resume(struct run *t, const char *path)
{
    struct save s = saved(t);
    struct ckpt c;
    int r;

    if (ckpt_open(&c, path) < 0)
        return -1;
    r = check_state(t, &c);
    if (r == 0)
        r = save_restore(&c, &s);
    if (r == 0) {
        t->steps = t->told = c.state.step;
        t->samples = c.state.samples;
        t->attempt = c.state.attempt + 1;
        t->saved_step = t->steps;
        memcpy(t->forms, c.state.forms, sizeof t->forms);
        if (t->step.update.scaler.on) {
            t->step.update.scaler.scale = c.state.loss_scale;
            t->step.update.scaler.good = c.state.scale_good;
            t->step.update.scaler.skipped = c.state.skipped;
            r = update_restore(&t->step.update);
        }
    }
    ckpt_close(&c);
    return r;
}

static int begin_values(struct run *t)
{
    char *path = NULL;
    int64_t step = -1;
    int r;

    if (t->ckpt) {
        path = ckpt_newest(t->ckpt, &step);
        if (!path && step != -1)
            return -1;
    }
    if (path) {
        r = resume(t, path);
        free(path);
        return r;
    }
    if (params_fresh(&t->m->params, (uint64_t)t->o->r->seed) < 0)
        return -1;
    if (t->o->weights && save_load_model(t->o->weights, &t->m->params) < 0)
        return -1;
    return ema_begin(&t->ema);
}

/* The producer of batches and this program must mean the same run. */
static int check_hello(const struct run *t)
{
    const struct input_hello *h = t->hello;
    const struct recipe_batch *b = &t->batch;

    if (h->global != b->global || h->micro != b->micro || h->accum != b->accum)
        return err_set(ERR_CONFIG,
                       "batches: cut as %lld = micro %lld x accum %lld, but "
                       "this run has %lld = %lld x %lld",
                       (long long)h->global, (long long)h->micro,
                       (long long)h->accum, (long long)b->global,
                       (long long)b->micro, (long long)b->accum);
    if (h->rank != t->comm->rank || h->world != t->comm->world)
        return err_set(ERR_CONFIG,
                       "batches: made for rank %lld of %lld, this "
                       "is rank %d of %d",
                       (long long)h->rank, (long long)h->world, t->comm->rank,
                       t->comm->world);
    if (h->start != t->samples)
        return err_set(ERR_CONFIG,
                       "batches: begin at sample %lld, but the run "
                       "stands at %lld",
                       (long long)h->start, (long long)t->samples);
    return recipe_input_check(t->o->r, h->input);
}

/* A short last step of the epoch may leave a rank one image: better told now. */
static int check_tail(const struct run *t)
{
    int64_t rows = t->batch.n % t->batch.global;

    if (t->o->r->tail != TAIL_EXACT || rows == 0 ||
        rows >= 2 * t->batch.world * t->batch.accum ||
        classifier_check(t->m, 1, t->o->r->size) == 0)
        return 0;
    return err_wrap("SOLVER.TAIL exact: the last %lld images of an epoch",
                    (long long)rows);
}

static void announce(struct run *t)
{
    struct buf b = BUF_INIT;

    if (t->comm->rank != 0 || verbosity < 0)
        return;
    run_ledger(t->o->r, &t->batch, &b);
    warn("%s", b.data);
    if (t->steps >= t->batch.total_steps)
        warn("already complete: %lld steps", (long long)t->steps);
    else if (t->steps > 0)
        warn("resuming from step %lld of %lld", (long long)t->steps,
             (long long)t->batch.total_steps);
    else
        warn("fresh start, seed %lld", (long long)t->o->r->seed);
    buf_release(&b);
}

/* ---- checkpoints */

static struct metrics_place place(const struct run *t)
{
    struct metrics_place p = {.step = t->steps,
                              .samples = t->samples,
                              .batch = &t->batch,
                              .loss_scale = t->step.update.scaler.scale,
                              .skipped = t->step.update.scaler.skipped};
    return p;
}

static struct cadence_moment moment(const struct run *t)
{
    return (struct cadence_moment){
        t->steps, (double)t->samples / (double)t->batch.epoch_samples,
        clock_s()};
}

/* The last one of a run must be there; any other may fail, as on a full disk: the
 * next is tried when it is due. */
static int commit(struct run *t, bool last)
{
    const struct scaler *scaler = &t->step.update.scaler;
    struct metrics_place p = place(t);
    struct save what = saved(t);
    struct ckpt_state s = {.version = CKPT_VERSION,
                           .step = t->steps,
                           .samples = t->samples,
                           .world = t->batch.world,
                           .global = t->batch.global,
                           .micro = t->batch.micro,
                           .accum = t->batch.accum,
                           .n = t->batch.n,
                           .classes = t->m->classes,
                           .seed = t->o->r->seed,
                           .attempt = t->attempt,
                           .loss_scale = scaler->on ? scaler->scale : 0,
                           .scale_good = scaler->good,
                           .skipped = scaler->skipped};
    int r;

    if (!t->ckpt || t->saved_step == t->steps)
        return 0;
    recipe_place(&t->batch, t->samples, &s.epoch, &s.pos);
    recipe_digest(t->o->r, s.recipe);
    memcpy(s.dataset, t->hello->dataset, sizeof s.dataset);
    memcpy(s.forms, t->forms, sizeof s.forms);
    s.model = t->o->r->model;
    s.settings = (char *)(uintptr_t)t->o->settings;
    s.program = (char *)(uintptr_t)t->o->program;
    r = save_checkpoint(t->ckpt, &what, &s, t->o->keep, t->o->keep_every);
    if (r < 0 || (r > 0 && last))
        return -1;
    t->tried = moment(t);
    if (r == 0) {
        t->saved_step = t->steps;
        return metrics_event(&t->log, &p, "ckpt_commit", NULL);
    }
    metrics_clear_line(&t->log);
    if (t->comm->rank == 0)
        warn("%s; the earlier ones are kept", err_text());
    return metrics_event(&t->log, &p, "ckpt_failed", err_text());
}

/* ---- the loop */

/* Sums over the ranks: loss and counts of a step; who wants to stop or to save, and
 * who has the data of the next step. */
enum {
    SUM_LOSS,
    SUM_C1,
    SUM_C5,
    SUM_N,
    SUM_INT,
    SUM_TERM,
    SUM_SAVE,
    SUM_THERE,
    SUMS
};

static int agree(struct run *t, struct input *in, struct class_stats *c,
                 int *flags)
{
    int f = stop_flags();
    double v[SUMS] = {[SUM_LOSS] = c->loss,
                      [SUM_C1] = c->correct1,
                      [SUM_C5] = c->correct5,
                      [SUM_N] = c->n,
                      [SUM_INT] = f & STOP_INT ? 1 : 0,
                      [SUM_TERM] = f & STOP_TERM ? 1 : 0,
                      [SUM_SAVE] = f & STOP_SAVE ? 1 : 0,
                      [SUM_THERE] = input_next(in) ? 1 : 0};
    struct cadence_moment now = moment(t);

    /* only rank 0's clock decides about saving by time */
    if (t->comm->rank == 0 && cadence_due(&t->o->save, &t->tried, &now))
        v[SUM_SAVE] = 1;
    if (comm_reduce(t->comm, COMM_SUM, v, SUMS) < 0)
        return err_wrap("step %lld", (long long)t->steps);
    *c = (struct class_stats){v[SUM_LOSS], v[SUM_C1], v[SUM_C5], v[SUM_N]};
    *flags = (v[SUM_INT] > 0 ? STOP_INT : 0) |
             (v[SUM_TERM] > 0 ? STOP_TERM : 0) |
             (v[SUM_SAVE] > 0 ? STOP_SAVE : 0);
    t->all_have = v[SUM_THERE] == t->comm->world;
    stop_clear(STOP_SAVE & *flags);
    return 0;
}

/* The loss is that of this rank's images: all see the same gradients. */
static int diverged(struct run *t, const struct step_result *res)
{
    struct metrics_place p = place(t);
    char *text;

    p.step = t->told;
    text = xstrfmt("loss %g; first gradient that is not finite: %s",
                   res->stats.loss / res->stats.n,
                   res->bad ? res->bad : "none, but their squares overflow");
    if (metrics_event(&t->log, &p, "nan", text) < 0)
        warn("%s", err_text());
    metrics_clear_line(&t->log);
    err_set(ERR_INTERNAL,
            "step %lld: diverged: %s (the newest checkpoint is from before)",
            (long long)t->told + 1, text);
    free(text);
    return -1;
}

/* After the first full step: which forms convolutions have, and whether they are
 * those that the checkpoint was made with. */
static int note_forms(struct run *t, const struct step_result *res)
{
    struct metrics_place p = place(t);
    char hex[33];

    if (t->forms_told || res->rows != t->batch.global)
        return 0;
    t->forms_told = true;
    engine_choices(t->m->e, hex, NULL, NULL);
    if (!hex[0])
        snprintf(hex, sizeof hex, "rule");
    if (t->forms[0] && strcmp(t->forms, hex) != 0) {
        metrics_clear_line(&t->log);
        if (t->comm->rank == 0)
            warn("convolutions take other forms than before the checkpoint: "
                 "the last bits of results may differ");
    }
    memcpy(t->forms, hex, sizeof hex);
    return strcmp(hex, "rule") == 0
               ? 0
               : metrics_event(&t->log, &p, "forms", t->forms);
}

/* The result of the oldest step, if it is due or all are wanted: 1, 0. */
static int hear(struct run *t, bool all, struct step_result *res)
{
    int r = step_result(&t->step, all, res);

    if (r < 0)
        return err_wrap("step %lld", (long long)t->told + 1);
    if (r == 1 && !res->skipped && !isfinite(res->grad_norm))
        return diverged(t, res);
    return r;
}

/* Log a step that is done; its stats are those of all ranks. */
static int tell(struct run *t, const struct step_result *res)
{
    struct metrics_place p = place(t);

    p.step = ++t->told;
    p.samples = res->samples;
    if (note_forms(t, res) < 0)
        return -1;
    return metrics_step(&t->log, &p, res);
}

/* All steps that were begun are done and told. */
static int settle(struct run *t)
{
    struct step_result res;
    int r;

    while ((r = hear(t, true, &res)) > 0) {
        struct class_stats *c = &res.stats;
        double v[4] = {c->loss, c->correct1, c->correct5, c->n};

        if (comm_reduce(t->comm, COMM_SUM, v, 4) < 0)
            return -1;
        *c = (struct class_stats){v[0], v[1], v[2], v[3]};
        if (tell(t, &res) < 0)
            return -1;
    }
    return r;
}

/* A step is enqueued, on an engine whose memory is the host's done: count it, tell
 * of the one whose result is due, save if asked. */
static int after_step(struct run *t, struct input *in, int64_t samples,
                      int *flags)
{
    struct step_result res = {.rows = 0};
    double start = clock_s();
    int due_now = hear(t, false, &res);

    if (due_now < 0 || ema_step(&t->ema, t->steps) < 0)
        return -1;
    t->steps++;
    t->samples = samples;
    t->comm->step = t->steps;
    if (agree(t, in, &res.stats, flags) < 0 || (due_now && tell(t, &res) < 0))
        return -1;
    if (t->steps % AGREE_EVERY == 0 &&
        agree_weights(&t->m->params, t->comm) < 0)
        return err_wrap("step %lld", (long long)t->steps);
    profile_phase(&t->profile, "agree", start);
    start = clock_s();
    if (*flags & STOP_SAVE && (settle(t) < 0 || commit(t, false) < 0))
        return -1;
    profile_phase(&t->profile, "checkpoint", start);
    return profile_end(&t->profile, t->steps);
}

/* Wait for the data of the next step. A rank that is told to stop meanwhile, or
 * whose producer of data was, cannot leave the others alone in it: all begin the
 * step, or none (*flags). Where all have said that theirs is there (agree) none can
 * be interrupted, and nothing is asked. */
static int wait_data(struct run *t, struct input *in, int *flags, double *took)
{
    double begun = clock_s(), v[2] = {0, 0};

    *flags = 0;
    *took = 0;
    if (t->all_have) {
        t->all_have = false;
        profile_phase(&t->profile, "wait", begun);
        return 0;
    }
    if (input_ready(in, STOP_INT | STOP_TERM) == 2) {
        v[0] = stop_flags() & STOP_INT ? 1 : 0;
        v[1] = !v[0] || stop_flags() & STOP_TERM ? 1 : 0;
    }
    *took = clock_s() - begun;
    if (comm_reduce(t->comm, COMM_SUM, v, 2) < 0)
        return -1;
    profile_phase(&t->profile, "wait", begun);
    *flags = (v[0] > 0 ? STOP_INT : 0) | (v[1] > 0 ? STOP_TERM : 0);
    return 0;
}

static int loop(struct run *t, struct input *in)
{
    int64_t stop = t->o->max_steps ? t->steps + t->o->max_steps : INT64_MAX;
    struct step_result *begun;
    struct metrics_place p;
    double waited;
    bool wait;
    int flags = 0, r;

    while (t->steps < t->batch.total_steps) {
        if (t->steps >= stop) {
            flags = STOP_TERM;
            break;
        }
        fault_step(t->steps + 1);
        profile_begin(&t->profile, t->steps + 1);
        wait = !input_next(in);
        if (wait_data(t, in, &flags, &waited) < 0)
            return -1;
        if (flags)
            break;
        r = step_run(&t->step, in, sched_lr(t->o->r, &t->batch, t->samples),
                     &begun);
        if (r < 0)
            return err_wrap("step %lld", (long long)t->steps + 1);
        if (r == 0)
            return err_set(ERR_DATA, "batches ended at step %lld of %lld",
                           (long long)t->steps,
                           (long long)t->batch.total_steps);
        begun->data_s += waited;
        begun->waits += wait;
        if (after_step(t, in, begun->samples, &flags) < 0)
            return -1;
        if (flags & (STOP_INT | STOP_TERM))
            break;
    }
    if (settle(t) < 0)
        return -1;
    p = place(t);
    if (metrics_flush(&t->log, &p) < 0 || commit(t, true) < 0)
        return -1;
    if (t->steps >= t->batch.total_steps)
        return 0;
    return flags & STOP_INT ? 130 : ERR_AGAIN;
}

/* A run that could not save its state is refused before its first step. */
static int check_room(struct run *t)
{
    struct save what = saved(t);

    if (!t->ckpt || t->comm->rank != 0)
        return 0;
    return save_room(t->ckpt, &what);
}

static int write_run_json(struct run *t)
{
    struct buf ledger = BUF_INIT, out = BUF_INIT;
    json_t *j = json_object();
    char text[512];
    char *path = xstrfmt("%s/run.json", t->o->dir);
    int r;

    run_ledger(t->o->r, &t->batch, &ledger);
    engine_describe(t->m->e, text, sizeof text);
    json_object_set_new(j, "program", json_string(t->o->program));
    json_object_set_new(j, "engine", json_string(text));
    json_object_set_new(j, "ledger", json_string(ledger.data));
    json_object_set_new(j, "attempt", json_integer(t->attempt));
    json_object_set_new(j, "dataset", json_string(t->hello->dataset));
    json_object_set_new(
        j, "settings",
        json_loads(t->o->settings ? t->o->settings : "{}", 0, NULL));
    json_canonical(&out, j);
    buf_addch(&out, '\n');
    r = atomic_write(path, out.data, out.len);
    json_decref(j);
    buf_release(&out);
    buf_release(&ledger);
    free(path);
    return r;
}

/* Two runs in one directory would mix what they write: rank 0 holds its lock. */
static int take_dir(struct run *t)
{
    if (!t->ckpt)
        return 0;
    if (make_dirs(t->ckpt) < 0)
        return -1;
    if (t->comm->rank != 0)
        return 0;
    t->lock = lock_dir(t->o->dir, LOCK_MS);
    if (t->lock < 0 && err_code() == ERR_PEER)
        err_set(ERR_CANTCREAT, "%s: another run is going on in it", t->o->dir);
    return t->lock < 0 ? -1 : 0;
}

/* Rank 0 alone writes metrics.jsonl and shows the progress. */
static int open_log(struct run *t)
{
    bool first = t->comm->rank == 0;
    char *log = NULL;
    int r;

    if (first && t->o->dir)
        log = xstrfmt("%s/metrics.jsonl", t->o->dir);
    r = metrics_open(&t->log, log, t->attempt, t->o->log_every,
                     first && t->o->progress);
    free(log);
    if (r == 0 && t->o->dir && t->o->log_samples) {
        r = samplelog_open(t->o->dir, t->comm->rank);
        t->step.sample_log = r < 0 ? 0 : r;
    }
    return r < 0 ? -1 : 0;
}

static void open_profile(struct run *t)
{
    char *path;

    if (!t->o->dir)
        return;
    path = xstrfmt("%s/profile-%d.json", t->o->dir, t->comm->rank);
    profile_open(&t->profile, t->o->profile, path, t->comm->rank, t->m->e);
    t->step.profile = &t->profile;
    free(path);
}

int run_train(const struct run_options *o, struct classifier *m,
              struct comm *comm, struct input *in, const struct input_hello *h)
{
    struct run t = {.o = o,
                    .m = m,
                    .comm = comm,
                    .hello = h,
                    .attempt = 1,
                    .saved_step = -1,
                    .lock = -1,
                    .log = {.fd = -1}};
    size_t bytes;
    void *memory = input_memory(in, &bytes);
    int r = -1;

    fault_point("start");
    if (step_init(&t.step, m, comm, o->r, o->shard_optim) < 0 ||
        recipe_divide(o->r, h->samples, comm->world, &t.batch) < 0 ||
        ema_init(&t.ema, &t.step.shard, o->r, &t.batch) < 0)
        goto out;
    if (o->dir)
        t.ckpt = xstrfmt("%s/ckpt", o->dir);
    if (take_dir(&t) < 0 || begin_values(&t) < 0 || open_log(&t) < 0)
        goto out;
    open_profile(&t);
    announce(&t);
    if (t.steps >= t.batch.total_steps) {
        r = commit(&t, true); /* of a run without steps: what it began with */
        goto out;
    }
    t.tried = moment(&t);
    comm->step = t.steps;
    if (check_hello(&t) < 0 || check_tail(&t) < 0 || check_room(&t) < 0 ||
        agree_weights(&m->params, comm) < 0 ||
        (o->dir && comm->rank == 0 && write_run_json(&t) < 0))
        goto out;
    upload_share(&t.step.upload, memory, bytes);
    r = loop(&t, in);
    fault_point("end");
    metrics_clear_line(&t.log);
    if (r == 0 && comm->rank == 0 && verbosity >= 0)
        warn("complete: %lld steps, %.1f img/s", (long long)t.steps,
             metrics_rate(&t.log));
out:
    if (profile_close(&t.profile) < 0)
        r = -1;
    metrics_close(&t.log);
    if (t.step.sample_log > 0)
        close(t.step.sample_log);
    ema_release(&t.ema);
    step_release(&t.step);
    free(t.ckpt);
    if (t.lock >= 0)
        close(t.lock);
    return r;
}
