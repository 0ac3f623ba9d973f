/*
 * Whole networks by finite differences in double precision: the loss of a batch
 * (batch norm in training, smoothing, mixed pictures and labels) along a random
 * direction in each tensor, in all of them, and in single weights.
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "model/model.h"
#include "util/rng.h"

enum {
    IMAGES = 3,
    SIZE = 64,
    CLASSES = 5
};

static struct engine *e;

struct whole {
    struct classifier m;
    struct class_batch b;
    struct tensor image;
    int64_t label[IMAGES];
    double smoothing;
    double *g; /* gradient of the arena */
    double *d; /* a direction in it */
    double *w; /* the weights themselves */
};

static size_t total(const struct whole *t)
{
    return (size_t)t->m.params.total;
}

/* The loss with weights w + h d. */
static double loss(struct whole *t, double h)
{
    struct params *ps = &t->m.params;
    struct class_stats s;
    double *w = ps->w;
    size_t i;

    for (i = 0; i < total(t); i++)
        w[i] = t->w[i] + h * t->d[i];
    ps->version++;
    must(engine_fill(e, ps->g, 0, total(t) * sizeof *w));
    must(classifier_step(&t->m, &t->b, t->smoothing, 1, NULL, NULL));
    must(classifier_stats(&t->m, &s));
    return s.loss;
}

/* Error of the derivative along d, to what it commonly is: the gradient at
 * [at,at+n), where d is not 0, is at no particular angle to it. */
static double error(struct whole *t, size_t at, size_t n)
{
    double slope = 0, there = 0, along = 0, h, found;
    size_t i;

    for (i = at; i < at + n; i++) {
        slope += t->g[i] * t->d[i];
        there += t->g[i] * t->g[i];
        along += t->d[i] * t->d[i];
    }
    h = 1e-6 / sqrt(along);
    found = (loss(t, h) - loss(t, -h)) / (2 * h);
    return fabs(found - slope) / sqrt(there * along / (double)n);
}

/* Numbers at [at,at+n) of the direction, the rest 0. */
static void point(struct whole *t, size_t at, size_t n, struct rng *r)
{
    size_t i;

    memset(t->d, 0, total(t) * sizeof *t->d);
    for (i = at; i < at + n; i++)
        t->d[i] = rng_normal(r);
}

static void begin(struct whole *t, const char *name, double mix, bool cut)
{
    struct model_config c = {.classes = CLASSES,
                             .width = 4,
                             .bn_eps = 1e-5,
                             .bn_momentum = 0.1,
                             .mean = {0.485F, 0.456F, 0.406F},
                             .std = {0.229F, 0.224F, 0.225F}};
    size_t n = (size_t)IMAGES * SIZE * SIZE * 3, i;
    uint8_t *p = xmalloc(n);
    struct rng r;

    memset(t, 0, sizeof *t);
    must(classifier_init(&t->m, name, &c, e, DT_F64, true));
    must(params_fresh(&t->m.params, 3));
    rng_init(&r, 5, 0, 0, RNG_SYNTH);
    for (i = 0; i < n; i++)
        p[i] = (uint8_t)rng_below(&r, 256);
    for (i = 0; i < IMAGES; i++)
        t->label[i] = (int64_t)rng_below(&r, CLASSES);
    t->image = TENSOR4(DT_U8, p, IMAGES, SIZE, SIZE, 3);
    t->b = (struct class_batch){.image = &t->image,
                                .label = t->label,
                                .mix = mix,
                                .cut = cut,
                                .box = {10, 20, 40, 60}};
    t->w = xcalloc(total(t), sizeof *t->w);
    t->d = xcalloc(total(t), sizeof *t->d);
    t->g = xcalloc(total(t), sizeof *t->g);
    memcpy(t->w, t->m.params.w, total(t) * sizeof *t->w);
}

static void end(struct whole *t)
{
    classifier_release(&t->m);
    free(t->image.data);
    free(t->w);
    free(t->d);
    free(t->g);
}

static void check(const char *name, double smoothing, double mix, bool cut,
                  int step)
{
    struct params *ps;
    struct whole t;
    double tensors = 0, single = 0, all, bad;
    struct rng r;
    int i;

    begin(&t, name, mix, cut);
    t.smoothing = smoothing;
    ps = &t.m.params;
    rng_init(&r, 6, 0, 0, RNG_SYNTH);
    loss(&t, 0);
    memcpy(t.g, ps->g, total(&t) * sizeof *t.g);
    point(&t, 0, 0, &r);
    for (i = 0; i < ps->n; i += step) {
        const struct param *p = &ps->p[i];
        size_t at = (size_t)p->offset, n = (size_t)p->count;

        point(&t, at, n, &r);
        bad = error(&t, at, n);
        if (bad > 1e-7)
            printf("# %s: %.1e\n", p->name, bad);
        tensors = fmax(tensors, bad);
        if (i % 4)
            continue;
        point(&t, at + rng_below(&r, n), 1, &r);
        single = fmax(single, error(&t, at, n));
    }
    memset(t.d, 0, total(&t) * sizeof *t.d);
    for (i = 0; i < ps->n; i++)
        for (int64_t k = 0; k < ps->p[i].count; k++)
            t.d[ps->p[i].offset + k] = rng_normal(&r);
    all = error(&t, 0, total(&t));
    ok(tensors < 1e-7, "%s: along a direction in each tensor, worst %.1e", name,
       tensors);
    ok(single < 1e-7, "%s: single weights, worst %.1e", name, single);
    ok(all < 1e-7, "%s: in all of them, %.1e", name, all);
    end(&t);
}

int main(void)
{
    struct engine_config c = {.device = -1, .threads = 1};

    must(engine_open(&e, "ref", &c));
    check("resnet18", 0.1, 0.3, false, 2);
    check("resnet18", 0, 0.6, true, 6);
    check("resnet50", 0.1, 0, false, 5);
    engine_close(e);
    return done_testing();
}
