/*
 * A step whose end is the engine's business: the verdict, the scale and the loss
 * come back right, at once or a step late; call by call or from a tape.
 *
 * usage: 54-late.t [ENGINE DIR]    ref, or that engine of that directory
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "train/step.h"
#include "util/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    IMAGES = 4,
    SIZE = 16,
    STEPS = 13,
    GROWS = 10, /* the step of which the scale grows */
    CLASSES = 4
};
#define SCALE 0x1p15 /* far too much for halves */

static struct engine *open_engine(const char *name, const char *dir, bool tapes)
{
    struct engine_config c = {.device = -1,
                              .threads = 1,
                              .deterministic = true,
                              .dir = dir,
                              .no_tapes = !tapes};
    struct engine *e;

    must(engine_open(&e, name, &c));
    return e;
}

/* ---- a run */

struct net {
    struct engine *e;
    struct classifier m;
    struct comm *comm;
    struct recipe r;
    struct step s;
    struct input_batch b;
    int64_t label[IMAGES];
};

static void begin(struct net *t, struct engine *e, enum dtype compute)
{
    static const struct model_config c = {.classes = CLASSES,
                                          .width = 8,
                                          .bn_eps = 1e-5,
                                          .bn_momentum = 0.1,
                                          .std = {1, 1, 1}};
    size_t n = (size_t)IMAGES * SIZE * SIZE * 3, i;
    uint8_t *p = xmalloc(n);
    struct rng r;

    memset(t, 0, sizeof *t);
    t->e = e;
    t->comm = comm_null();
    t->r = (struct recipe){.prec = compute == DT_F16 ? PREC_FP16 : PREC_FP32,
                           .momentum = 0.9,
                           .weight_decay = 1e-4,
                           .clip_norm = 1};
    must(classifier_init(&t->m, "resnet18", &c, e, compute, true));
    must(params_fresh(&t->m.params, 1));
    must(step_init(&t->s, &t->m, t->comm, &t->r, false));
    rng_init(&r, 1, 0, 0, RNG_SYNTH);
    for (i = 0; i < n; i++)
        p[i] = (uint8_t)rng_below(&r, 256);
    t->b.image = TENSOR4(DT_U8, p, IMAGES, SIZE, SIZE, 3);
    t->b.label = t->label;
    t->b.n = IMAGES;
    t->b.last = true;
}

static void end(struct net *t)
{
    step_release(&t->s);
    classifier_release(&t->m);
    comm_free(t->comm);
    free(t->b.image.data);
}

/* The batch of a step: every fifth is short. */
static void fill(struct net *t, int step)
{
    int i, n = step % 5 == 4 ? IMAGES - 1 : IMAGES;

    for (i = 0; i < IMAGES; i++)
        t->label[i] = i < n ? (i + step) % CLASSES : -1;
    t->b.rows = n;
}

struct outcome {
    struct step_result res[STEPS];
    int n, late, tapes;
    float *weights;
    size_t bytes;
    int64_t counter;
    bool kept; /* weights, by a step that was skipped */
};

static void take(struct net *t, struct outcome *o, bool all)
{
    int r;

    do {
        r = step_result(&t->s, all, &o->res[o->n]);
        must(r);
        o->n += r;
    } while (all && r);
}

static float *weights(struct net *t)
{
    size_t bytes = (size_t)t->m.params.total * sizeof(float);
    float *w = xmalloc(bytes);

    must(engine_download(t->e, w, t->m.params.w, bytes));
    return w;
}

/* What a checkpoint would bring back, two clean steps before the scale grows. */
static void continue_at(struct net *t, struct outcome *o)
{
    take(t, o, true);
    t->s.update.scaler.good = SCALER_INTERVAL - 2;
    must(update_restore(&t->s.update));
}

static void train(struct engine *e, int late, struct outcome *o)
{
    struct net t;
    float *before;
    int i;

    memset(o, 0, sizeof *o);
    begin(&t, e, DT_F16);
    if (late >= 0)
        t.s.late = late;
    o->late = t.s.late;
    t.s.update.scaler.scale = SCALE;
    must(update_restore(&t.s.update));
    before = weights(&t);
    for (i = 0; i < STEPS; i++) {
        if (i == GROWS - 1)
            continue_at(&t, o);
        fill(&t, i);
        must(step_batch(&t.s, &t.b, 1e-4));
        take(&t, o, false);
        if (i == 0) {
            o->weights = weights(&t);
            o->bytes = (size_t)t.m.params.total * sizeof(float);
            o->kept = memcmp(before, o->weights, o->bytes) == 0;
            free(o->weights);
        }
    }
    take(&t, o, true);
    for (i = 0; i < TAPES; i++)
        o->tapes += t.s.tapes.slot[i].tape != NULL;
    o->weights = weights(&t);
    o->counter = t.m.params.counter[0].value;
    free(before);
    end(&t);
}

/* ---- judged */

static void judge(const struct outcome *o, const char *what)
{
    double scale = SCALE;
    int i, skipped = 0, wrong = 0, losses = 0;

    for (i = 0; i < o->n; i++) {
        const struct step_result *r = &o->res[i];

        skipped += r->skipped;
        scale *= r->skipped ? 0.5 : i == GROWS ? 2 : 1;
        wrong += r->loss_scale != scale || r->skips != skipped ||
                 r->skipped == (isfinite(r->grad_norm) != 0);
        losses += r->stats.n == (i % 5 == 4 ? IMAGES - 1 : IMAGES) &&
                  r->stats.loss > 0;
    }
    is_int(o->n, STEPS, "%s: a result of each step", what);
    ok(skipped >= 2 && skipped < GROWS - 2 && o->res[0].skipped &&
           !o->res[GROWS - 1].skipped,
       "%s: %d steps overflow and are skipped", what, skipped);
    is_int(wrong, 0, "%s: the scale halves with each, and grows", what);
    ok(o->kept, "%s: a skipped step leaves the weights alone", what);
    is_int(losses, STEPS, "%s: the loss of each step, and its images", what);
    is_int(o->counter, STEPS, "%s: batches seen by the norms", what);
}

static void same(const struct outcome *a, const struct outcome *b,
                 const char *what)
{
    int i, wrong = a->n != b->n;

    for (i = 0; i < a->n && !wrong; i++) {
        const struct step_result *x = &a->res[i], *y = &b->res[i];

        wrong += memcmp(&x->stats, &y->stats, sizeof x->stats) != 0 ||
                 memcmp(&x->grad_norm, &y->grad_norm, sizeof(double)) != 0 ||
                 x->loss_scale != y->loss_scale;
    }
    is_int(wrong, 0, "%s: the same results", what);
    ok(a->bytes == b->bytes && memcmp(a->weights, b->weights, a->bytes) == 0,
       "%s: the same weights", what);
}

/* The name that comes with gradients that are not finite. */
static void names(struct engine *e)
{
    const float bad = INFINITY;
    struct step_result res;
    struct net t;

    begin(&t, e, DT_F32);
    must(engine_fill(e, t.m.params.g, 0,
                     (size_t)t.m.params.total * sizeof(float)));
    for (int i = 5; i > 2; i -= 2)
        must(engine_upload(e,
                           (float *)t.m.params.g + t.m.params.p[i].offset +
                               t.m.params.p[i].count - 1,
                           &bad, sizeof bad));
    must(step_update(&t.s, 0.1));
    must(step_result(&t.s, true, &res));
    ok(isnan(res.grad_norm) && !res.skipped,
       "fp32: not finite, and not skipped");
    is_str(res.bad ? res.bad : "none", t.m.params.p[3].name,
           "the first parameter that is not finite");
    end(&t);
}

/* Where what comes before has failed. */
static void never_began(void)
{
    struct step s;

    memset(&s, 0, sizeof s);
    step_release(&s);
    ok(!s.m, "a step that never began is released");
}

/* ---- what the host waits for */

static struct {
    int waits, blocks, calls;
} seen;

static void watch(void *arg, const char *call, const char *detail, double start,
                  double stop)
{
    (void)arg;
    (void)detail;
    (void)start;
    (void)stop;
    seen.calls++;
    seen.waits += strcmp(call, "wait") == 0;
    seen.blocks += strcmp(call, "finish") == 0 ||
                   strcmp(call, "download") == 0 || strcmp(call, "alloc") == 0;
}

static void waits(struct engine *e)
{
    struct step_result res;
    struct net t;
    int i, results = 0;

    begin(&t, e, DT_F16);
    fill(&t, 0);
    for (i = 0; i < 3; i++) {
        must(step_batch(&t.s, &t.b, 1e-4));
        results += step_result(&t.s, false, &res);
    }
    is_int(results, 2, "of 3 steps that were begun 2 are told");
    engine_watch(e, watch, NULL);
    memset(&seen, 0, sizeof seen);
    for (i = 0; i < 3; i++) {
        must(step_batch(&t.s, &t.b, 1e-4));
        must(step_result(&t.s, false, &res));
    }
    engine_watch(e, NULL, NULL);
    ok(seen.calls > 100, "calls in 3 steps: %d", seen.calls);
    is_int(seen.blocks, 0, "none waits for the queue, or takes memory");
    is_int(seen.waits, 3, "one a step waits for the step before");
    end(&t);
}

/* ---- tapes */

static void fill_with(struct engine *e, void *p, int byte)
{
    must(engine_fill(e, p, byte, 64));
}

static void tapes(struct engine *e)
{
    struct engine_tape *t = NULL;
    unsigned char got[64] = "";
    void *p, *q, *more;

    must(engine_alloc(e, 64, &p));
    must(engine_alloc(e, 64, &q));
    fill_with(e, p, 1);
    must(engine_record(e));
    fill_with(e, p, 2);
    must(engine_copy(e, q, p, 64));
    must(engine_recorded(e, &t));
    must(engine_download(e, got, p, 64));
    is_int(got[5], 1, "what is recorded is not done");
    must(engine_replay(e, t));
    must(engine_download(e, got, q, 64));
    is_int(got[63], 2, "but when it is replayed");
    must(engine_alloc(e, 64, &more));
    engine_free(e, more);
    ok(!engine_tape_stale(t), "memory that came later is not missed");
    engine_free(e, q);
    ok(engine_tape_stale(t) && engine_replay(e, t) < 0,
       "without its memory it is stale");
    engine_tape_free(e, t);

    must(engine_record(e));
    fill_with(e, p, 3);
    ok(engine_upload(e, p, got, 64) < 0, "no upload inside: %s", err_text());
    ok(engine_mark(e, 3) < 0, "no mark inside: %s", err_text());
    ok(engine_alloc(e, 64, &more) < 0, "no memory: %s", err_text());
    ok(engine_recorded(e, &t) < 0 && !t, "and it is broken by that: %s",
       err_text());
    must(engine_record(e));
    ok(engine_finish(e) < 0, "no wait inside: %s", err_text());
    engine_record_drop(e);
    must(engine_download(e, got, p, 64));
    is_int(got[0], 2, "nothing of it was done, and all goes on");
    engine_free(e, p);
}

/* Memory that the device is using, also what teams sum in, ends when it has done. */
static void frees(const char *name, const char *dir)
{
    struct engine_config c = {.device = -1, .world = 2, .dir = dir};
    const size_t n = 1 << 20;
    void *sums, *host;
    struct engine *e;

    must(engine_open(&e, name, &c));
    must(engine_alloc_sums(e, n, &sums));
    must(engine_host_alloc(e, n, &host));
    must(engine_fill(e, sums, 7, n));
    must(engine_fetch(e, host, sums, n, 0));
    engine_host_free(e, host);
    must(engine_fill(e, sums, 8, n));
    engine_free(e, sums);
    ok(engine_finish(e) == 0, "memory is freed when nobody uses it any more");
    engine_close(e);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "ref";
    const char *dir = argc > 2 ? argv[2] : NULL;
    struct engine *e = open_engine(name, dir, false);
    bool queues = !engine_is_host(e);
    struct outcome plain, other;

    train(e, queues ? -1 : 0, &plain);
    judge(&plain, name);
    is_int(plain.late, queues, "%s: results are %s", name,
           queues ? "a step late" : "there at once");
    is_int(plain.tapes, 0, "%s: call by call", name);
    train(e, queues ? 0 : 1, &other);
    same(&plain, &other, "at once or late");
    free(other.weights);
    names(e);
    never_began();
    if (queues)
        waits(e);
    engine_close(e);
    if (queues) {
        e = open_engine(name, dir, true);
        tapes(e);
        train(e, -1, &other);
        same(&plain, &other, "from tapes");
        ok(other.tapes == 2, "%d tapes, of whole and of short batches",
           other.tapes);
        free(other.weights);
        engine_close(e);
        frees(name, dir);
    }
    free(plain.weights);
    return done_testing();
}
