/*
 * The end of a step on given gradients, 50 times: clipping, decay by kind of
 * parameter, momentum, Nesterov's, LARS, schedules with warm-up; and 50 losses
 * with smoothing and mixed targets. Beside PyTorch's in float64 (GOLDEN, else
 * t/golden/optim.txt), on every engine.
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "train/sched.h"
#include "train/step.h"

#include <string.h>

enum {
    STEPS = 50,
    PARAMS = 5,
    MOST = 48, /* values of a parameter */
    N = 3,
    K = 7,
    LOGITS = 9 /* their number in value() */
};

static uint32_t seed;
static char *golden_path;

static const struct {
    const char *name;
    enum param_kind kind;
    int rank;
    int64_t shape[4], n;
} made[PARAMS] = {{"conv.weight", PARAM_CONV, 4, {4, 3, 2, 2}, 48},
                  {"bn.weight", PARAM_GAMMA, 1, {4}, 4},
                  {"bn.bias", PARAM_BETA, 1, {4}, 4},
                  {"fc.weight", PARAM_LINEAR, 2, {5, 4}, 20},
                  {"fc.bias", PARAM_BIAS, 1, {5}, 5}};

/* ---- the cases of t/golden/make-optim.py; an epoch is 10 steps */

static double at_20_40[] = {2, 4};
static const struct optim_case {
    const char *name;
    struct recipe r;
} cases[] = {{"sgd",
              {.lr = 0.1,
               .momentum = 0.9,
               .weight_decay = 1e-3,
               .decay_norm = true,
               .decay_bias = true,
               .clip_norm = 1,
               .sched = SCHED_COSINE,
               .warmup = 0.5,
               .warmup_factor = 0.1,
               .warmup_shift = true}},
             {"nesterov",
              {.lr = 0.05,
               .momentum = 0.8,
               .nesterov = true,
               .weight_decay = 0.01,
               .sched = SCHED_STEP,
               .gamma = 0.1,
               .steps = {.n = 2, .f = at_20_40},
               .warmup = 1,
               .warmup_method = WARMUP_CONSTANT,
               .warmup_factor = 0.25}},
             {"lars",
              {.lr = 2,
               .momentum = 0.9,
               .weight_decay = 1e-3,
               .decay_norm = true,
               .decay_bias = true,
               .optimizer = OPTIMIZER_LARS,
               .lars_eta = 0.01,
               .sched = SCHED_POLY,
               .poly_power = 2}}};

static float value(uint32_t which, uint32_t i, uint32_t step)
{
    uint32_t h = i * 0x9E3779B1u + step * 0x85EBCA6Bu + which * 0xC2B2AE35u +
                 seed * 0x27D4EB2Fu;

    h ^= h >> 15;
    h *= 0x2C1B3C6Du;
    h ^= h >> 12;
    return (float)(h >> 8) / (1 << 23) - 1;
}

/* The numbers of the line that begins with "NAME STEP WHAT"; how many, 0 if
 * there is no such line. */
static int line(const char *name, int step, const char *what, double *v,
                int most)
{
    char *head = xstrfmt("%s %d %s ", name, step, what), text[4096], *p, *end;
    FILE *f = fopen(golden_path, "r");
    int n = 0;

    if (!f) {
        printf("Bail out! %s\n", golden_path);
        exit(1);
    }
    while (fgets(text, sizeof text, f))
        if (strncmp(text, head, strlen(head)) == 0)
            break;
    p = feof(f) ? text + strlen(text) : text + strlen(head);
    for (; n < most; n++, p = end) {
        v[n] = strtod(p, &end);
        if (end == p)
            break;
    }
    fclose(f);
    free(head);
    return n;
}

static double distance(const float *got, const double *want, int n)
{
    double d = 0, all = 0;
    int i;

    for (i = 0; i < n; i++) {
        d += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        all += want[i] * want[i];
    }
    return sqrt(d / all);
}

/* ---- updates */

static void make_params(struct params *ps, struct engine *e)
{
    float v[MOST];
    int k, i;

    params_init(ps);
    for (k = 0; k < PARAMS; k++)
        params_add(ps, made[k].name, made[k].kind, made[k].rank, made[k].shape,
                   INIT_ZERO, 0);
    must(params_alloc(ps, e, DT_F32, true));
    for (k = 0; k < PARAMS; k++) {
        for (i = 0; i < made[k].n; i++)
            v[i] = value((uint32_t)k, (uint32_t)i, 0);
        must(params_set(ps, k, v, false));
    }
}

static void give_gradients(struct params *ps, int step)
{
    float v[MOST];
    int k, i;

    for (k = 0; k < PARAMS; k++) {
        for (i = 0; i < made[k].n; i++)
            v[i] = value((uint32_t)k, (uint32_t)i, (uint32_t)step) *
                   ldexpf(1, (step - 1) % 5 - 3);
        must(params_put(ps, k, param_g(ps, k), v, false));
    }
}

struct errors {
    double rate, norm, weight;
    int lines;
};

static void compare(const struct optim_case *c, struct params *ps, int step,
                    const struct step_result *res, struct errors *e)
{
    double want[MOST];
    float got[MOST];
    int k, n;

    e->lines += line(c->name, step, "lr", want, 1);
    e->rate = fmax(e->rate, fabs(res->lr / want[0] - 1));
    e->lines += line(c->name, step, "norm", want, 1);
    e->norm = fmax(e->norm, fabs(res->grad_norm / want[0] - 1));
    for (k = 0; k < PARAMS; k++) {
        n = line(c->name, step, made[k].name, want, MOST);
        if (n == 0)
            continue;
        must(params_get(ps, k, got, false));
        e->weight = fmax(e->weight, distance(got, want, n));
        e->lines += n == made[k].n;
    }
}

static void updates(struct engine *engine, const struct optim_case *c)
{
    static const struct recipe_batch cut = {
        .global = 4, .epoch_samples = 40, .epoch_steps = 10};
    struct errors e = {0, 0, 0, 0};
    struct recipe r = c->r;
    struct classifier m;
    struct comm *comm = comm_null();
    struct step s;
    int step;

    r.epochs = 5;
    memset(&m, 0, sizeof m);
    m.e = engine;
    make_params(&m.params, engine);
    must(step_init(&s, &m, comm, &r, false));
    for (step = 1; step <= STEPS; step++) {
        struct step_result res = {.lr = 0};

        give_gradients(&m.params, step);
        must(step_update(&s, sched_lr(&r, &cut, 4 * (step - 1))));
        must(step_result(&s, true, &res));
        compare(c, &m.params, step, &res, &e);
    }
    is_int(e.lines, 2 * STEPS + 4 * PARAMS, "%s, %s: all lines", c->name,
           engine_name(engine));
    ok(e.rate < 1e-9, "%s: rates within %.1e", c->name, e.rate);
    ok(e.norm < 1e-6, "%s: norms within %.1e", c->name, e.norm);
    ok(e.weight < 1e-6, "%s: weights within %.1e", c->name, e.weight);
    step_release(&s);
    params_release(&m.params);
    comm_free(comm);
}

/* ---- losses */

static void *upload(struct engine *e, const void *p, size_t n)
{
    void *dev;

    must(engine_alloc(e, n, &dev));
    must(engine_upload(e, dev, p, n));
    return dev;
}

/* One loss; the distance of its sum and of its gradient. */
static double loss(struct engine *e, int step)
{
    static const double smoothing[] = {0, 0.1, 0.3};
    int64_t label[2 * N];
    double want[N * K], stats[4] = {0, 0, 0, 0}, worst;
    float z[N * K];
    struct kern_softmax_ce a = {.n = N,
                                .k = K,
                                .smoothing = smoothing[step % 3],
                                .gscale = 1.0 / N,
                                .dt = DT_F32,
                                .mix = step % 11 / 10.0};
    int i;

    for (i = 0; i < N; i++) {
        label[i] = (step * 3 + i * 5) % K;
        label[N + (i + 1) % N] = label[i];
    }
    for (i = 0; i < N * K; i++)
        z[i] = 8 * value(LOGITS, (uint32_t)i, (uint32_t)step);
    a.logits = upload(e, z, sizeof z);
    a.dlogits = upload(e, z, sizeof z);
    a.label = upload(e, label, sizeof label);
    a.label2 = a.label + N;
    a.stats = upload(e, stats, sizeof stats);
    must(engine_run(e, KERN_SOFTMAX_CE, &a));
    must(engine_download(e, stats, a.stats, sizeof stats));
    must(engine_download(e, z, a.dlogits, sizeof z));
    if (line("loss", step, "sum", want, 1) != 1)
        return (double)INFINITY;
    worst = fabs(stats[0] / want[0] - 1);
    if (line("loss", step, "grad", want, N * K) != N * K)
        return (double)INFINITY;
    engine_free(e, a.stats);
    engine_free(e, (void *)(uintptr_t)a.label);
    engine_free(e, a.dlogits);
    engine_free(e, (void *)(uintptr_t)a.logits);
    return fmax(worst, distance(z, want, N * K));
}

static void on(const char *name)
{
    struct engine_config c = {
        .device = -1, .threads = 1, .dir = tap_env("BIN", "bin")};
    struct engine *e;
    double worst = 0;
    size_t i;
    int step;

    if (engine_open(&e, name, &c) < 0) {
        skip(1, "onednn: no cpu engine");
        return;
    }
    for (i = 0; i < sizeof cases / sizeof *cases; i++)
        updates(e, &cases[i]);
    for (step = 1; step <= STEPS; step++)
        worst = fmax(worst, loss(e, step));
    ok(worst < 1e-6, "%s: %d losses within %.1e", name, STEPS, worst);
    engine_close(e);
}

int main(void)
{
    const char *path = tap_env("GOLDEN", NULL);
    char head[32] = "";
    FILE *f;

    golden_path = path ? xstrdup(path)
                       : xstrfmt("%s/t/golden/optim.txt", tap_env("TOP", "."));
    f = fopen(golden_path, "r");
    if (!f || !fgets(head, sizeof head, f) || strncmp(head, "seed ", 5) != 0) {
        printf("Bail out! %s\n", golden_path);
        return 1;
    }
    seed = (uint32_t)strtoul(head + 5, NULL, 10);
    fclose(f);
    on("ref");
    on("cpu");
    free(golden_path);
    return done_testing();
}
