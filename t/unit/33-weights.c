/*
 * Gradients of weights of the cpu engine, larger than the oracle computes in
 * good time: of some weights, against sums in double; and whether they depend on
 * the number of threads.
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "engine/engine.h"

#include <math.h>

enum {
    SEEN = 200 /* weights that are looked at */
};

static struct engine *open_engine(int threads)
{
    struct engine_config c = {.device = -1, .threads = threads};
    struct engine *e = NULL;

    c.dir = tap_env("BIN", NULL);
    return engine_open(&e, "cpu", &c) < 0 ? NULL : e;
}

/* Most of one sign. */
static void *numbers(struct engine *e, enum dtype t, int64_t n, int64_t step)
{
    void *p;
    int64_t i;

    must(engine_alloc(e, (size_t)n * dtype_size(t), &p));
    for (i = 0; i < n; i++)
        dtype_store(t, p, (size_t)i, (double)(i * step % 1013) / 1013 - 0.3);
    return p;
}

static int64_t weights_of(const struct conv_desc *d)
{
    return d->k * d->r * d->s * d->c;
}

/* The gradient on a number of threads, added to 1; NULL: no such form. */
static float *gradient(const struct conv_desc *d, const char *form, int threads)
{
    struct engine *e = open_engine(threads);
    int64_t p = conv_p(d), q = conv_q(d), n = weights_of(d), i;
    struct conv_args a = {.accumulate = true};
    struct conv_plan *plan;
    struct conv_needs needs;
    float *dw = NULL;
    void *scratch;

    if (engine_conv_plan_as(e, d, form, &plan, &needs) < 0) {
        engine_close(e);
        return NULL;
    }
    a.x = numbers(e, d->dtype, d->n * d->h * d->w * d->c, 7);
    a.dy = numbers(e, d->dtype, d->n * p * q * d->k, 11);
    must(engine_alloc(e, needs.scratch_bytes, &scratch));
    a.scratch = scratch;
    dw = xmalloc((size_t)n * sizeof *dw);
    for (i = 0; i < n; i++)
        dw[i] = 1;
    a.out = dw;
    must(engine_conv_run(e, plan, &a));
    engine_conv_free(e, plan);
    engine_close(e);
    return dw;
}

/* Weight i: sum over the places of the result. */
static double want(const struct conv_desc *d, const void *x, const void *dy,
                   int64_t i)
{
    int64_t p = conv_p(d), q = conv_q(d), c = i % d->c, m, k, h, w;
    int64_t s = i / d->c % d->s, r = i / d->c / d->s % d->r;
    double sum = 0;

    k = i / d->c / d->s / d->r;
    for (m = 0; m < d->n * p * q; m++) {
        h = m / q % p * d->stride + r - d->pad;
        w = m % q * d->stride + s - d->pad;
        if (h < 0 || h >= d->h || w < 0 || w >= d->w)
            continue;
        sum += dtype_load(
                   d->dtype, x,
                   (size_t)(((m / q / p * d->h + h) * d->w + w) * d->c + c)) *
               dtype_load(d->dtype, dy, (size_t)(m * d->k + k));
    }
    return 1 + sum;
}

static double error_of(const struct conv_desc *d, const float *dw)
{
    struct engine *e = open_engine(1);
    int64_t n = weights_of(d), i, at;
    void *x = numbers(e, d->dtype, d->n * d->h * d->w * d->c, 7);
    void *dy = numbers(e, d->dtype, d->n * conv_p(d) * conv_q(d) * d->k, 11);
    double far = 0, norm = 0, w;

    for (i = 0; i < SEEN; i++) {
        at = (i * 7919 + (i % 3 == 0 ? n - 1 - i : 0)) % n;
        w = want(d, x, dy, at);
        far += ((double)dw[at] - w) * ((double)dw[at] - w);
        norm += w * w;
    }
    engine_close(e);
    return sqrt(far / norm);
}

/* n h w c k r stride pad; do they depend on threads? */
static const struct {
    int s[8];
    bool alike;
} shape[] = {
    {{1, 32, 33, 1024, 1024, 1, 1, 0}, true}, /* chunks of all threads */
    {{2, 7, 7, 64, 16384, 1, 1, 0}, true},
    {{3, 6, 6, 384, 320, 3, 1, 1}, true},  /* windows */
    {{4, 8, 8, 320, 384, 3, 2, 1}, true},  /* with a stride */
    {{3, 31, 37, 3, 64, 7, 2, 3}, false},  /* windows of a few channels */
    {{40, 30, 31, 4, 32, 3, 1, 1}, false}, /* in many chunks */
    {{30, 20, 20, 64, 64, 3, 1, 1}, false},
};

static void test_shape(size_t v, enum dtype t)
{
    const int *s = shape[v].s;
    struct conv_desc d = {.kind = CONV_WGRAD, .dtype = t, .out = DT_F32};
    float *dw, *other;
    int threads;
    double far;

    d.n = s[0], d.h = s[1], d.w = s[2], d.c = s[3], d.k = s[4];
    d.r = d.s = s[5];
    d.stride = s[6];
    d.pad = s[7];
    d.param = DT_F32;
    dw = gradient(&d, "weight-tiles", 2);
    if (!dw) {
        skip(1, "tiles: none for this here");
        return;
    }
    far = error_of(&d, dw);
    ok(far < 1e-6, "%s, %d to %d, window %d/%d: %.1e away", dtype_name(t), s[3],
       s[4], s[5], s[6], far);
    for (threads = 1; shape[v].alike && threads < 4; threads += 2) {
        other = gradient(&d, "weight-tiles", threads);
        ok(memcmp(dw, other, (size_t)weights_of(&d) * sizeof *dw) == 0,
           "the same bits on %d threads", threads);
        free(other);
    }
    free(dw);
}

int main(void)
{
    struct engine *e;
    size_t v;

    verbosity = -1;
    setenv("OMP_WAIT_POLICY", "passive", 0);
    e = open_engine(1);
    if (!e) {
        skip(1, "onednn: no cpu engine here");
        return done_testing();
    }
    engine_close(e);
    for (v = 0; v < sizeof shape / sizeof shape[0]; v++) {
        test_shape(v, DT_BF16);
        test_shape(v, DT_F32);
    }
    return done_testing();
}
