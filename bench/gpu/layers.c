/*
 * layers.c - the convolutions of ResNet-50 on a card, one by one: are they right
 * at their full size, and how near are they to the two roofs.
 *
 * usage: layers ENGINE DIR BATCH SIZE NARROW LEVEL DTYPE...
 *
 * DIR: of the plugin; SIZE: side of the pictures (224); NARROW divides all
 * channels (1); LEVEL: B, C, or - for what is there; DTYPE: F16, BF16, F32.
 *
 * A JSON line for each of the roofs (a large copy, a large product), for each
 * convolution (kind, form) and for each of our kernels at sizes of the network.
 * Data are whole numbers in -3..3, so that every sum is exact whatever its order
 * and some hundred places of each result can be told on the host, the last among
 * them. Successive runs read different parts of a large array where that helps
 * against the cache. The last line has the sums; exit 1: some result was wrong.
 */
#include "layers.h"

#include "util/fdio.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PERIOD 4194301        /* a prime: of the numbers in src */
#define DY ((int64_t)1 << 20) /* the place in src where dy begins */
#define W 777

/* h = w, c, k, r, stride, pad and how often: its 53 convolutions, its classifier.
 * Source: pytorch/vision torchvision/models/resnet.py */
static const struct layer layers[] = {
    {224, 3, 64, 7, 2, 3, 1},     {56, 64, 64, 1, 1, 0, 1},
    {56, 64, 64, 3, 1, 1, 3},     {56, 64, 256, 1, 1, 0, 4},
    {56, 256, 64, 1, 1, 0, 2},    {56, 256, 128, 1, 1, 0, 1},
    {56, 128, 128, 3, 2, 1, 1},   {28, 128, 512, 1, 1, 0, 4},
    {56, 256, 512, 1, 2, 0, 1},   {28, 512, 128, 1, 1, 0, 3},
    {28, 128, 128, 3, 1, 1, 3},   {28, 512, 256, 1, 1, 0, 1},
    {28, 256, 256, 3, 2, 1, 1},   {14, 256, 1024, 1, 1, 0, 6},
    {28, 512, 1024, 1, 2, 0, 1},  {14, 1024, 256, 1, 1, 0, 5},
    {14, 256, 256, 3, 1, 1, 5},   {14, 1024, 512, 1, 1, 0, 1},
    {14, 512, 512, 3, 2, 1, 1},   {7, 512, 2048, 1, 1, 0, 3},
    {14, 1024, 2048, 1, 2, 0, 1}, {7, 2048, 512, 1, 1, 0, 2},
    {7, 512, 512, 3, 1, 1, 2},    {1, 2048, 1000, 1, 1, 0, 1},
};
#define LAYERS ((int)(sizeof layers / sizeof layers[0]))

struct bench bench;

/* ---- memory */

void *bench_alloc(size_t bytes)
{
    void *p;

    if (engine_alloc(bench.e, bytes, &p) < 0)
        die();
    return p;
}

/* The whole number at place i of src, and of the weights. */
static double number(int64_t i)
{
    uint64_t z = (uint64_t)(i % PERIOD) * 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z >> 33) % 7) - 3;
}

static void *numbers(enum dtype t, int64_t first, int64_t n)
{
    void *v = xmalloc((size_t)n * dtype_size(t));
    int64_t i;

    for (i = 0; i < n; i++)
        dtype_store(t, v, (size_t)i, number(first + i));
    return v;
}

static void upload(void *to, enum dtype t, int64_t first, int64_t n)
{
    void *v = numbers(t, first, n);

    if (engine_upload(bench.e, to, v, (size_t)n * dtype_size(t)) < 0)
        die();
    free(v);
}

/* Fill src: one period from the host, then copies of it. */
static void fill_source(void)
{
    int64_t n = bench.room < PERIOD ? bench.room : PERIOD, at, len;
    size_t size = dtype_size(bench.dt);

    upload(bench.src, bench.dt, 0, n);
    for (at = n; at < bench.room; at += len) {
        len = bench.room - at < n ? bench.room - at : n;
        if (engine_copy(bench.e, (char *)bench.src + (size_t)at * size,
                        bench.src, (size_t)len * size) < 0)
            die();
    }
}

/* ---- time */

void bench_finish(void)
{
    if (engine_finish(bench.e) < 0)
        die();
}

double bench_time(void (*run)(void *arg, int i), void *arg)
{
    double best = 1e30, t0, once;
    int i, n, round;

    for (i = 0; i < 3; i++)
        run(arg, i);
    bench_finish();
    t0 = clock_s();
    run(arg, 0);
    bench_finish();
    once = clock_s() - t0;
    n = once > 0 && once < 0.01 ? (int)fmin(bench.small ? 1 : 50, 0.01 / once)
                                : 1;
    for (round = 0; round < (bench.small ? 1 : 3); round++) {
        t0 = clock_s();
        for (i = 0; i <= n; i++)
            run(arg, i);
        bench_finish();
        best = fmin(best, (clock_s() - t0) / (n + 1));
    }
    return best;
}

void bench_row(const char *what, const char *detail, double s, double flops,
               double bytes, const char *more)
{
    double product = bench.product > 0 ? flops / bench.product : 0;
    double copy = bench.copy > 0 ? bytes / bench.copy : 0;

    printf("{\"row\":\"%s\",\"dtype\":\"%s\",%s,\"us\":%.1f,\"tflops\":%.1f,"
           "\"gb_s\":%.0f",
           what, dtype_name(bench.dt), detail, s * 1e6, flops / s / 1e12,
           bytes / s / 1e9);
    if (copy > 0)
        printf(",\"roof\":\"%s\",\"share\":%.3f",
               product > copy ? "product" : "memory", fmax(product, copy) / s);
    printf("%s}\n", more);
    fflush(stdout);
}

/* ---- one convolution */

struct conv {
    struct conv_desc d;
    struct conv_plan *plan;
    struct conv_args a;
    int64_t nx, ny, nw, step, sets;
    void *w, *packed;
    size_t w_bytes, packed_bytes;
};

static void *source(int64_t at)
{
    return (char *)bench.src + (size_t)at * dtype_size(bench.dt);
}

/* Run i reads and writes another part where what it touches would stay in a
 * cache. */
static void run_conv(void *arg, int i)
{
    struct conv *c = arg;
    struct conv_args a = c->a;
    int64_t set = i % c->sets * c->step;

    a.x = c->d.kind == CONV_DGRAD ? NULL : source(set);
    a.dy = c->d.kind == CONV_FORWARD ? NULL : source(DY + set);
    if (c->d.kind != CONV_WGRAD)
        a.out = (char *)bench.out + (size_t)set * dtype_size(bench.dt);
    if (engine_conv_run(bench.e, c->plan, &a) < 0)
        die();
}

static double x_at(const struct conv_desc *d, int64_t n, int64_t h, int64_t w,
                   int64_t c)
{
    return h < 0 || w < 0 || h >= d->h || w >= d->w
               ? 0
               : number(((n * d->h + h) * d->w + w) * d->c + c);
}

static double dy_at(const struct conv_desc *d, int64_t n, int64_t p, int64_t q,
                    int64_t k)
{
    return number(DY + ((n * conv_p(d) + p) * conv_q(d) + q) * d->k + k);
}

static double w_at(const struct conv_desc *d, int64_t k, int64_t r, int64_t s,
                   int64_t c)
{
    return number(W + ((k * d->r + r) * d->s + s) * d->c + c);
}

static double forward_at(const struct conv_desc *d, int64_t i)
{
    int64_t k = i % d->k, q = i / d->k % conv_q(d),
            p = i / d->k / conv_q(d) % conv_p(d),
            n = i / d->k / conv_q(d) / conv_p(d);
    double sum = 0;

    for (int64_t r = 0; r < d->r; r++)
        for (int64_t s = 0; s < d->s; s++)
            for (int64_t c = 0; c < d->c; c++)
                sum += x_at(d, n, p * d->stride + r - d->pad,
                            q * d->stride + s - d->pad, c) *
                       w_at(d, k, r, s, c);
    return sum;
}

/* The place of the result whose window has row or column `at` as its r-th; -1:
 * none. */
static int64_t back(const struct conv_desc *d, int64_t at, int64_t r, int64_t n)
{
    int64_t v = at + d->pad - r;

    return v < 0 || v % d->stride || v / d->stride >= n ? -1 : v / d->stride;
}

static double dgrad_at(const struct conv_desc *d, int64_t i)
{
    int64_t c = i % d->c, w = i / d->c % d->w, h = i / d->c / d->w % d->h,
            n = i / d->c / d->w / d->h;
    double sum = 0;

    for (int64_t r = 0; r < d->r; r++)
        for (int64_t s = 0; s < d->s; s++) {
            int64_t p = back(d, h, r, conv_p(d)), q = back(d, w, s, conv_q(d));

            for (int64_t k = 0; p >= 0 && q >= 0 && k < d->k; k++)
                sum += dy_at(d, n, p, q, k) * w_at(d, k, r, s, c);
        }
    return sum;
}

static double wgrad_at(const struct conv_desc *d, int64_t i)
{
    int64_t c = i % d->c, s = i / d->c % d->s, r = i / d->c / d->s % d->r,
            k = i / d->c / d->s / d->r;
    double sum = 0;

    for (int64_t n = 0; n < d->n; n++)
        for (int64_t p = 0; p < conv_p(d); p++)
            for (int64_t q = 0; q < conv_q(d); q++)
                sum += x_at(d, n, p * d->stride + r - d->pad,
                            q * d->stride + s - d->pad, c) *
                       dy_at(d, n, p, q, k);
    return sum;
}

/* The worst relative error of some places of the result of run 0. */
static double judge(const struct conv *c)
{
    static double (*const at[])(const struct conv_desc *,
                                int64_t) = {forward_at, dgrad_at, wgrad_at};
    const struct conv_desc *d = &c->d;
    enum dtype t = d->kind == CONV_WGRAD ? DT_F32 : d->dtype;
    int64_t n = d->kind == CONV_FORWARD ? c->ny
                : d->kind == CONV_DGRAD ? c->nx
                                        : c->nw;
    int64_t places = d->kind == CONV_WGRAD ? 12 : 300, i, place;
    double worst = 0;

    for (i = 0; i < places; i++) {
        char v[8];
        double got, want;

        place = i == 0 ? n - 1
                       : (int64_t)(((uint64_t)i * 0x9e3779b97f4a7c15u >> 11) %
                                   (uint64_t)n);
        if (engine_download(bench.e, v,
                            (char *)c->a.out + (size_t)place * dtype_size(t),
                            dtype_size(t)) < 0)
            die();
        got = dtype_load(t, v, 0);
        want = at[d->kind](d, place);
        got = fabs(got - want) / fmax(16, fabs(want));
        if (isnan(got))
            return got;
        worst = fmax(worst, got);
    }
    return worst;
}

/* One rounding to the dtype, and a little for its neighbours; in fp32 what a fast
 * algorithm (Winograd's) may cost. */
static double tolerance(void)
{
    return bench.dt == DT_F16 ? 0x1p-10 : bench.dt == DT_BF16 ? 0x1p-7 : 1e-5;
}

static void prepare(struct conv *c, const struct conv_needs *needs)
{
    const struct conv_desc *d = &c->d;
    size_t size = dtype_size(d->dtype);
    int64_t most = c->nx > c->ny ? c->nx : c->ny;

    c->a.scratch =
        needs->scratch_bytes ? bench_alloc(needs->scratch_bytes) : NULL;
    c->step = (most + 511) / 512 * 512;
    c->sets = (bench.room - DY) / c->step;
    /* 256 MB of them are four times the largest cache */
    if (c->sets * c->step * (int64_t)size > (int64_t)256 << 20)
        c->sets = ((int64_t)256 << 20) / (c->step * (int64_t)size) + 1;
    c->a.out = bench.out;
    c->w = bench_alloc((size_t)c->nw * sizeof(float));
    upload(c->w, DT_F32, W, c->nw);
    c->a.w = c->w;
    if (needs->packed_bytes) {
        c->packed = bench_alloc(needs->packed_bytes);
        if (engine_conv_pack(bench.e, c->plan, c->w, c->packed) < 0)
            die();
        c->a.w = c->packed;
    }
    if (engine_fill(bench.e, bench.out, 255,
                    (size_t)(d->kind == CONV_WGRAD ? c->nw * 2 : most) * size) <
        0)
        die();
    c->a.pro_scale = c->a.pro_bias = c->a.bias = bench.vector;
    c->a.add = d->add ? source(2 * DY) : NULL;
    c->a.residual = d->residual ? source(2 * DY) : NULL;
    c->a.sum = bench.sums;
    c->a.sumsq = bench.sums + bench.channels;
    for (int i = 0; i < 2; i++) {
        c->a.bn[i].x = source(3 * DY);
        c->a.bn[i].mean = c->a.bn[i].invstd = c->a.bn[i].gamma =
            c->a.bn[i].beta = bench.vector;
        c->a.bn[i].dbeta = bench.sums + (2 + 2 * i) * bench.channels;
        c->a.bn[i].dgamma = bench.sums + (3 + 2 * i) * bench.channels;
    }
}

static const struct form {
    enum conv_kind kind;
    enum conv_pro pro;
    enum conv_epi epi;
    bool add, residual;
    const char *name;
} forms[] = {
    {CONV_FORWARD, PRO_NONE, EPI_NONE, false, false, "forward"},
    {CONV_DGRAD, PRO_NONE, EPI_NONE, false, false, "dgrad"},
    {CONV_WGRAD, PRO_NONE, EPI_NONE, false, false, "wgrad"},
    /* level C (gpu-engine 2.5) */
    {CONV_FORWARD, PRO_NONE, EPI_STATS, false, false, "forward, stats"},
    {CONV_FORWARD, PRO_SBR, EPI_STATS, false, false,
     "norm, relu, forward, stats"},
    {CONV_WGRAD, PRO_SBR, EPI_NONE, false, false, "norm, relu, wgrad"},
    {CONV_DGRAD, PRO_NONE, EPI_BNSUMS1, false, false, "dgrad, norm sums"},
    {CONV_DGRAD, PRO_NONE, EPI_BNSUMS1, true, true,
     "dgrad, add, norm and residual sums"},
    {CONV_DGRAD, PRO_NONE, EPI_BNSUMS2, true, false,
     "dgrad, add, sums of two norms"},
};
#define FORMS ((int)(sizeof forms / sizeof forms[0]))

/* What a plan reads and writes once. */
static double bytes_of(const struct conv *c)
{
    const struct conv_desc *d = &c->d;
    double size = (double)dtype_size(d->dtype);
    double all = (double)(c->nx + c->ny) * size +
                 (double)c->nw * (d->kind == CONV_WGRAD ? 4 : size);

    if (conv_norms(d) > 0)
        all += (double)c->nx * size * (conv_norms(d) + d->add + d->residual);
    return all;
}

/* Judge the result of run 0, then time it. */
static void tell(struct conv *c, const struct form *f, int times)
{
    const struct conv_desc *d = &c->d;
    double error = f < forms + 3 ? judge(c) : 0, s = bench_time(run_conv, c);
    char detail[200], more[120];

    snprintf(detail, sizeof detail,
             "\"form\":\"%s\",\"image\":%d,\"c\":%d,\"k\":%d,\"window\":%d,"
             "\"stride\":%d,\"times\":%d",
             f->name, (int)d->h, (int)d->c, (int)d->k, (int)d->r, d->stride,
             times);
    snprintf(more, sizeof more, ",\"error\":%.2g", error);
    bench_row("layer", detail, s, 2 * conv_macs(d), bytes_of(c),
              f < forms + 3 ? more : "");
    if (!(error <= tolerance())) {
        fprintf(stderr, "layers: %s %s: error %g\n", dtype_name(bench.dt),
                detail, error);
        bench.wrong++;
    }
    bench.total[f - forms] += s * times;
    bench.rows++;
}

static int64_t narrow(int64_t c)
{
    return c <= 3 ? c : (c + bench.narrow - 1) / bench.narrow;
}

static void one(const struct layer *l, const struct form *f)
{
    struct conv c = {.d = {.kind = f->kind, .pro = f->pro, .epi = f->epi}};
    struct conv_desc *d = &c.d;
    struct conv_needs needs = {0};

    d->add = f->add;
    d->residual = f->residual;
    d->dtype = bench.dt;
    d->out = f->kind == CONV_WGRAD ? DT_F32 : bench.dt;
    d->param = DT_F32;
    d->n = bench.batch;
    d->h = d->w = l->h == 1 ? 1 : (l->h * bench.size + 223) / 224;
    d->c = narrow(l->c);
    d->k = narrow(l->k);
    d->r = d->s = l->r;
    d->stride = l->stride;
    d->pad = l->pad;
    if ((f->kind == CONV_DGRAD && l->c == 3) ||
        !engine_conv_available(bench.e, d))
        return;
    c.nx = d->n * d->h * d->w * d->c;
    c.ny = d->n * conv_p(d) * conv_q(d) * d->k;
    c.nw = d->k * d->r * d->s * d->c;
    if (engine_conv_plan(bench.e, d, &c.plan, &needs) < 0) {
        fprintf(stderr, "layers: %s: %s\n", f->name, err_text());
        bench.wrong++;
        return;
    }
    prepare(&c, &needs);
    run_conv(&c, 0);
    bench_finish();
    tell(&c, f, l->times);
    engine_conv_free(bench.e, c.plan);
    engine_free(bench.e, c.a.scratch);
    engine_free(bench.e, c.w);
    engine_free(bench.e, c.packed);
}

/* ---- the roofs */

static void run_copy(void *arg, int i)
{
    (void)i;
    if (engine_copy(bench.e, bench.out, bench.src, *(size_t *)arg) < 0)
        die();
}

static void roofs(void)
{
    size_t bytes = (size_t)bench.room * dtype_size(bench.dt);
    int64_t n = bench.small ? 64 : 8192;
    struct conv c = {.d = {.kind = CONV_FORWARD,
                           .dtype = bench.dt,
                           .out = bench.dt,
                           .param = DT_F32,
                           .n = 1,
                           .h = 64,
                           .w = n / 64,
                           .c = n,
                           .k = n,
                           .r = 1,
                           .s = 1,
                           .stride = 1}};
    struct conv_needs needs = {0};
    double s;

    bytes = bytes > (size_t)1 << 30 ? (size_t)1 << 30 : bytes;
    if (bench.copy == 0) {
        s = bench_time(run_copy, &bytes);
        bench.copy = 2 * (double)bytes / s;
        bench_row("roof", "\"of\":\"copy\"", s, 0, 2 * (double)bytes, "");
    }
    if (engine_conv_plan(bench.e, &c.d, &c.plan, &needs) < 0)
        die();
    c.nx = c.ny = c.nw = n * n;
    prepare(&c, &needs);
    c.sets = 1;
    s = bench_time(run_conv, &c);
    bench.product = 0; /* of this dtype */
    bench_row("roof", "\"of\":\"product\"", s, 2 * conv_macs(&c.d),
              bytes_of(&c), "");
    bench.product = 2 * conv_macs(&c.d) / s;
    engine_conv_free(bench.e, c.plan);
    engine_free(bench.e, c.a.scratch);
    engine_free(bench.e, c.w);
    engine_free(bench.e, c.packed);
}

/* ---- all */

static void sums_line(void)
{
    int i;

    printf("{\"row\":\"sum\",\"dtype\":\"%s\",\"batch\":%d,\"copy_gb_s\":%.0f,"
           "\"product_tflops\":%.1f",
           dtype_name(bench.dt), (int)bench.batch, bench.copy / 1e9,
           bench.product / 1e12);
    for (i = 0; i < FORMS; i++)
        if (bench.total[i] > 0)
            printf(",\"%s ms\":%.2f", forms[i].name, bench.total[i] * 1e3);
    printf("}\n");
    fflush(stdout);
}

static void measure(const char *dtype)
{
    int i, j;

    if (dtype_find(dtype, &bench.dt) < 0)
        die();
    if (engine_precision(bench.e, bench.dt) < 0) {
        printf("{\"row\":\"refused\",\"dtype\":\"%s\"}\n", dtype);
        return;
    }
    memset(bench.total, 0, sizeof bench.total);
    fill_source();
    roofs();
    for (i = 0; i < FORMS; i++)
        for (j = 0; j < LAYERS; j++)
            one(&layers[j], &forms[i]);
    sums_line();
}

int main(int argc, char **argv)
{
    struct engine_config config = {
        .device = -1, .deterministic = true, .tune = TUNE_KNOWN};
    int64_t most, i;

    if (argc < 8) {
        fprintf(stderr, "usage: layers ENGINE DIR BATCH SIZE NARROW LEVEL "
                        "DTYPE...\n");
        return 64;
    }
    config.dir = argv[2];
    config.level = argv[6][0] == '-' ? 0 : argv[6][0];
    bench.batch = strtol(argv[3], NULL, 10);
    bench.size = strtol(argv[4], NULL, 10);
    bench.narrow = strtol(argv[5], NULL, 10);
    bench.small = bench.size < 224;
    if (engine_open(&bench.e, argv[1], &config) < 0)
        die();
    /* the largest result, that of the stem, beside what else is read; the
     * operands of the large product */
    most = bench.batch * (bench.size / 2) * (bench.size / 2) * 64;
    bench.room = (most > (bench.small ? 4096 : 67108864) ? most
                  : bench.small                          ? 4096
                                                         : 67108864) +
                 4 * DY;
    bench.channels = 8192;
    bench.src = bench_alloc((size_t)bench.room * sizeof(float));
    bench.out = bench_alloc((size_t)bench.room * sizeof(float));
    bench.vector = bench_alloc((size_t)bench.channels * sizeof(float));
    bench.sums = bench_alloc((size_t)bench.channels * 6 * sizeof(float));
    upload(bench.vector, DT_F32, 0, bench.channels);
    for (i = 7; i < argc; i++) {
        measure(argv[i]);
        if (i == 7)
            bench_kernels();
    }
    printf("{\"rows\":%d,\"wrong\":%d}\n", bench.rows, bench.wrong);
    engine_close(bench.e);
    return bench.wrong > 0;
}
