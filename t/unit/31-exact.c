/*
 * How exact the cpu engine is in fp32: relative distance from sums in double
 * (root of mean squares) of long sums, of which a network's error is made. A
 * number rounded once is 2.5e-8 away; one chain of additions, 2e-7 and more.
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "engine/engine.h"

#include <math.h>

static uint64_t state = 1;

/* -1..1 */
static double number(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)state / 9223372036854775808.0;
}

/* Zeros in the memory of a host engine. */
static void *take(struct engine *e, int64_t bytes)
{
    void *p;

    must(engine_alloc(e, (size_t)bytes + 1, &p));
    memset(p, 0, (size_t)bytes);
    return p;
}

struct error {
    double squares, norm;
};

static void add_error(struct error *r, float got, double want)
{
    r->squares += ((double)got - want) * ((double)got - want);
    r->norm += want * want;
}

static void judge(const struct error *r, double bound, const char *what)
{
    double e = sqrt(r->squares / r->norm);

    ok(e <= bound, "%s: %.1e of at most %.1e", what, e, bound);
}

/* ---- convolutions; x is what follows a norm: some channels about 4 or 0 */

struct conv {
    struct conv_desc d;
    int64_t p, q;
    float *x, *w, *y;
};

static int64_t place_x(const struct conv *v, int64_t n, int64_t h, int64_t w)
{
    return ((n * v->d.h + h) * v->d.w + w) * v->d.c;
}

static bool inside(const struct conv *v, int64_t h, int64_t w)
{
    return h >= 0 && w >= 0 && h < v->d.h && w < v->d.w;
}

/* One product of x and w for each (r, s, c) -> y[i] */
static double forward_at(const struct conv *v, int64_t i)
{
    const struct conv_desc *d = &v->d;
    int64_t k = i % d->k, q = i / d->k % v->q, p = i / d->k / v->q % v->p;
    int64_t n = i / d->k / v->q / v->p, r, s, c;
    double sum = 0;

    for (r = 0; r < d->r; r++) {
        for (s = 0; s < d->s; s++) {
            int64_t h = p + r - d->pad, w = q + s - d->pad;
            const float *f = v->w + ((k * d->r + r) * d->s + s) * d->c;

            for (c = 0; inside(v, h, w) && c < d->c; c++)
                sum += (double)v->x[place_x(v, n, h, w) + c] * (double)f[c];
        }
    }
    return sum;
}

/* y and w -> x[i] */
static double dgrad_at(const struct conv *v, int64_t i)
{
    const struct conv_desc *d = &v->d;
    int64_t c = i % d->c, w = i / d->c % d->w, h = i / d->c / d->w % d->h;
    int64_t n = i / d->c / d->w / d->h, r, s, k;
    double sum = 0;

    for (r = 0; r < d->r; r++) {
        for (s = 0; s < d->s; s++) {
            int64_t p = h + d->pad - r, q = w + d->pad - s;
            const float *dy = v->y + ((n * v->p + p) * v->q + q) * d->k;

            if (p < 0 || q < 0 || p >= v->p || q >= v->q)
                continue;
            for (k = 0; k < d->k; k++)
                sum += (double)dy[k] *
                       (double)v->w[((k * d->r + r) * d->s + s) * d->c + c];
        }
    }
    return sum;
}

/* x and y -> w[i] */
static double wgrad_at(const struct conv *v, int64_t i)
{
    const struct conv_desc *d = &v->d;
    int64_t c = i % d->c, s = i / d->c % d->s, r = i / d->c / d->s % d->r;
    int64_t k = i / d->c / d->s / d->r, n, p, q;
    double sum = 0;

    for (n = 0; n < d->n; n++)
        for (p = 0; p < v->p; p++)
            for (q = 0; q < v->q; q++) {
                int64_t h = p + r - d->pad, w = q + s - d->pad;

                if (inside(v, h, w))
                    sum += (double)v->x[place_x(v, n, h, w) + c] *
                           (double)v->y[((n * v->p + p) * v->q + q) * d->k + k];
            }
    return sum;
}

static void run_conv(struct engine *e, const struct conv *v)
{
    bool forward = v->d.kind == CONV_FORWARD, wgrad = v->d.kind == CONV_WGRAD;
    struct conv_args a = {.x = v->x, .w = v->w, .dy = v->y};
    struct conv_plan *plan;
    struct conv_needs needs;
    void *packed = NULL, *scratch;

    must(engine_conv_plan(e, &v->d, &plan, &needs));
    a.scratch = scratch = take(e, (int64_t)needs.scratch_bytes);
    if (needs.packed_bytes) {
        a.w = packed = take(e, (int64_t)needs.packed_bytes);
        must(engine_conv_pack(e, plan, v->w, packed));
    }
    a.out = forward ? v->y : wgrad ? v->w : v->x;
    must(engine_conv_run(e, plan, &a));
    engine_free(e, scratch);
    if (packed)
        engine_free(e, packed);
    engine_conv_free(e, plan);
}

static void test_conv(struct engine *e, const struct conv_desc *d,
                      const double bound[3], const char *what)
{
    static const char *const kind[] = {"forward", "gradient of x",
                                       "gradient of weights"};
    struct conv v = {.d = *d, .p = conv_p(d), .q = conv_q(d)};
    int64_t nx = d->n * d->h * d->w * d->c, nw = d->k * d->r * d->s * d->c;
    int64_t ny = d->n * v.p * v.q * d->k, n, i, t;
    int j;

    v.d.dtype = v.d.out = v.d.param = DT_F32;
    v.x = take(e, nx * 4);
    v.w = take(e, nw * 4);
    v.y = take(e, ny * 4);
    for (j = CONV_FORWARD; j <= CONV_WGRAD; j++) {
        struct error r = {0, 0};
        char text[80];

        v.d.kind = (enum conv_kind)j;
        for (i = 0; i < nx; i++)
            v.x[i] = (float)((i % d->c * 7 % 5 > 2 ? 4 : 0) + fabs(number()));
        for (i = 0; i < nw; i++)
            v.w[i] = (float)number();
        for (i = 0; i < ny; i++)
            v.y[i] = (float)number();
        run_conv(e, &v);
        n = j == CONV_FORWARD ? ny : j == CONV_DGRAD ? nx : nw;
        for (t = 0; t < 500; t++) {
            i = t * 7919 % n;
            if (j == CONV_FORWARD)
                add_error(&r, v.y[i], forward_at(&v, i));
            else if (j == CONV_DGRAD)
                add_error(&r, v.x[i], dgrad_at(&v, i));
            else
                add_error(&r, v.w[i], wgrad_at(&v, i));
        }
        snprintf(text, sizeof text, "%s, %s", what, kind[j]);
        judge(&r, bound[j], text);
    }
    engine_free(e, v.x);
    engine_free(e, v.w);
    engine_free(e, v.y);
}

/* ---- means over a map */

static void test_avgpool(struct engine *e)
{
    enum {
        N = 3,
        HW = 49,
        C = 300
    };
    float *x = take(e, sizeof(float) * N * HW * C);
    float *y = take(e, sizeof(float) * N * C);
    struct kern_avgpool a = {.x = x, .y = y, .n = N, .hw = HW, .c = C};
    struct error r = {0, 0};
    int i, j;

    a.dt = DT_F32;
    for (i = 0; i < N * HW * C; i++)
        x[i] = (float)(4 + number());
    must(engine_run(e, KERN_AVGPOOL, &a));
    for (i = 0; i < N * C; i++) {
        double sum = 0;

        for (j = 0; j < HW; j++)
            sum += (double)x[(i / C * HW + j) * C + i % C];
        add_error(&r, y[i], sum / HW);
    }
    judge(&r, 4e-8, "means of maps of 49");
    engine_free(e, x);
    engine_free(e, y);
}

/* ---- norms: what rounding does to a factor moves no mean */

enum {
    CHANNELS = 200
};

/* v is 0 but for the rounding of x. */
static bool near_zero(double v, float x)
{
    return fabs(v) <=
           0.51 * (double)(nextafterf(fabsf(x), INFINITY) - fabsf(x));
}

static void test_norm(struct engine *e)
{
    enum {
        ROWS = 49
    };
    float *v = take(e, (int64_t)sizeof(float) * 12 * CHANNELS);
    float *at[12];
    struct kern_norm_final f = {.rows = ROWS, .c = CHANNELS, .eps = 1e-5};
    struct kern_norm_grad_final g = {.rows = ROWS, .c = CHANNELS};
    int i, wrong[2] = {0, 0};

    for (i = 0; i < 12; i++)
        at[i] = v + (ptrdiff_t)i * CHANNELS;
    for (i = 0; i < 6 * CHANNELS; i++)
        v[i] = (float)(3 + number());
    g.mean = f.mean = at[0];
    f.var = at[1];
    g.gamma = f.gamma = at[2];
    f.beta = at[3];
    g.s1 = at[4];
    g.s2 = at[5];
    f.invstd = at[6];
    g.invstd = at[6];
    f.scale = at[7];
    f.bias = at[8];
    g.a = at[9];
    g.b = at[10];
    g.k = at[11];
    f.pt = g.pt = DT_F32;
    must(engine_run(e, KERN_NORM_FINAL, &f));
    must(engine_run(e, KERN_NORM_GRAD_FINAL, &g));
    for (i = 0; i < CHANNELS; i++) {
        double mean = (double)at[0][i];

        wrong[0] += !near_zero((double)at[3][i] - mean * (double)at[7][i] -
                                   (double)at[8][i],
                               at[8][i]);
        wrong[1] += !near_zero((double)at[9][i] * (double)at[4][i] / ROWS +
                                   (double)at[10][i] * mean + (double)at[11][i],
                               at[11][i]);
    }
    is_int(wrong[0], 0, "the mean of a channel becomes its beta");
    is_int(wrong[1], 0, "gradients of a channel have no mean");
    engine_free(e, v);
}

int main(void)
{
    const struct engine_config c = {
        .device = -1, .threads = 2, .dir = tap_env("BIN", NULL)};
    const double once[3] = {4e-8, 4e-8, 4e-8},
                 tiles[3] = {1.2e-7, 1.2e-7, 1.6e-7};
    struct engine *e = NULL;
    char text[160];

    setenv("OMP_WAIT_POLICY", "passive", 0);
    verbosity = -1;
    if (engine_open(&e, "cpu", &c) < 0) {
        skip(12, "onednn: no cpu engine");
        return done_testing();
    }
    test_conv(e,
              &(struct conv_desc){.n = 7,
                                  .h = 1,
                                  .w = 1,
                                  .c = 2045,
                                  .k = 101,
                                  .r = 1,
                                  .s = 1,
                                  .stride = 1},
              once, "linear layer");
    test_avgpool(e);
    test_norm(e);
    engine_describe(e, text, sizeof text);
    if (strstr(text, "tiles none")) {
        skip(6, "matrix tiles: not on this processor");
    } else {
        test_conv(e,
                  &(struct conv_desc){.n = 2,
                                      .h = 7,
                                      .w = 7,
                                      .c = 512,
                                      .k = 512,
                                      .r = 3,
                                      .s = 3,
                                      .stride = 1,
                                      .pad = 1},
                  tiles, "window of 3x3x512");
        test_conv(e,
                  &(struct conv_desc){.n = 8,
                                      .h = 56,
                                      .w = 56,
                                      .c = 64,
                                      .k = 32,
                                      .r = 3,
                                      .s = 3,
                                      .stride = 1,
                                      .pad = 1},
                  tiles, "window of 3x3x64");
    }
    engine_close(e);
    return done_testing();
}
