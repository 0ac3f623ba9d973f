/* Our kernels at the sizes that ResNet-50 has for them: time and share of the
 * copy's rate. */
#include "layers.h"

#include <stdio.h>

struct job {
    enum kernel k;
    const void *args;
};

static void run_kernel(void *arg, int i)
{
    const struct job *j = arg;

    (void)i;
    if (engine_run(bench.e, j->k, j->args) < 0)
        die();
}

/* bytes: moved by one run, at least */
static void time_kernel(const char *name, enum kernel k, const void *args,
                        int64_t rows, int64_t c, double bytes)
{
    struct job j = {k, args};
    char detail[100];

    snprintf(detail, sizeof detail,
             "\"kernel\":\"%s\",\"rows\":%lld,\"c\":%lld", name,
             (long long)rows, (long long)c);
    bench_row("kernel", detail, bench_time(run_kernel, &j), 0, bytes, "");
    bench.rows++;
}

static char *part(void *base, int64_t at)
{
    return (char *)base + (size_t)at * dtype_size(bench.dt);
}

/* Forward and backward of a norm and its relu, which the gradient makes again of
 * x; with a residual ("add"), whose sum y is read and whose gradient dz is kept; at
 * last dx of a dz that a convolution has left. */
static void norms(int64_t side, int64_t c)
{
    int64_t rows = bench.batch * side * side, n = rows * c;
    double array = (double)n * (double)dtype_size(bench.dt);
    float *v = bench.vector, *s = bench.sums;
    struct kern_norm_stats stats = {
        .x = bench.src, .mean = s, .var = s + c, .rows = rows, .c = c};
    struct kern_norm_apply apply = {.x = bench.src,
                                    .scale = v,
                                    .bias = v,
                                    .y = bench.out,
                                    .rows = rows,
                                    .c = c,
                                    .relu = true};
    struct kern_norm_grad_sums sums = {.dy0 = bench.src,
                                       .x = bench.src,
                                       .mean = v,
                                       .invstd = v,
                                       .scale = v,
                                       .bias = v,
                                       .s1 = s,
                                       .s2 = s + c,
                                       .rows = rows,
                                       .c = c};
    struct kern_norm_grad_apply grad = {.dy0 = bench.src,
                                        .x = bench.src,
                                        .scale = v,
                                        .bias = v,
                                        .a = v,
                                        .b = v,
                                        .k = v,
                                        .dx = bench.out,
                                        .rows = rows,
                                        .c = c};

    stats.dt = apply.dt = sums.dt = grad.dt = bench.dt;
    stats.pt = apply.pt = sums.pt = grad.pt = DT_F32;
    /* apart where there is room, so that no array is read out of a cache */
    if (3 * n <= bench.room)
        sums.x = grad.x = part(bench.src, n);
    time_kernel("norm_stats", KERN_NORM_STATS, &stats, rows, c, array);
    time_kernel("norm_apply", KERN_NORM_APPLY, &apply, rows, c, 2 * array);
    apply.r = 2 * n <= bench.room ? part(bench.src, n) : bench.src;
    time_kernel("norm_apply, add", KERN_NORM_APPLY, &apply, rows, c, 3 * array);
    time_kernel("norm_grad_sums", KERN_NORM_GRAD_SUMS, &sums, rows, c,
                2 * array);
    sums.scale = sums.bias = NULL;
    sums.y = 3 * n <= bench.room ? part(bench.src, 2 * n) : bench.src;
    sums.dz = bench.out;
    time_kernel("norm_grad_sums, add", KERN_NORM_GRAD_SUMS, &sums, rows, c,
                4 * array);
    time_kernel("norm_grad_apply, relu", KERN_NORM_GRAD_APPLY, &grad, rows, c,
                3 * array);
    grad.scale = grad.bias = NULL;
    time_kernel("norm_grad_apply", KERN_NORM_GRAD_APPLY, &grad, rows, c,
                3 * array);
}

/* The end of the stem: a norm, its relu and the pool behind it in one. */
static void tail(const struct kern_maxpool *m)
{
    int64_t rows = m->n * m->h * m->w, n = rows * m->c, far = n / 4;
    double size = (double)dtype_size(bench.dt);
    float *v = bench.vector, *s = bench.sums;
    struct kern_pool pool = {m->index, m->n,      m->h,  m->w,
                             m->r,     m->stride, m->pad};
    struct kern_norm_apply apply = {.x = bench.src,
                                    .scale = v,
                                    .bias = v,
                                    .y = bench.out,
                                    .rows = rows,
                                    .c = m->c,
                                    .relu = true,
                                    .dt = bench.dt,
                                    .pt = DT_F32,
                                    .pool = pool};
    struct kern_norm_grad_sums sums = {.dy0 = bench.src,
                                       .x = bench.src,
                                       .mean = v,
                                       .invstd = v,
                                       .scale = v,
                                       .bias = v,
                                       .dz = bench.out,
                                       .s1 = s,
                                       .s2 = s + m->c,
                                       .rows = rows,
                                       .c = m->c,
                                       .dt = bench.dt,
                                       .pt = DT_F32,
                                       .pool = pool};

    if (n + far <= bench.room)
        sums.dy0 = part(bench.src, n);
    time_kernel("norm_apply, pool", KERN_NORM_APPLY, &apply, rows, m->c,
                (double)(n + far) * size + (double)far);
    time_kernel("norm_grad_sums, pool", KERN_NORM_GRAD_SUMS, &sums, rows, m->c,
                (double)(2 * n + far) * size + (double)far);
}

static void pools(void)
{
    int64_t side = (bench.size + 1) / 2, c = 64 / bench.narrow,
            out = (side + 1) / 2;
    int64_t n = bench.batch * side * side * c, m = bench.batch * out * out * c;
    double size = (double)dtype_size(bench.dt);
    struct kern_maxpool pool = {.x = bench.src,
                                .y = bench.out,
                                .n = bench.batch,
                                .h = side,
                                .w = side,
                                .c = c,
                                .r = 3,
                                .stride = 2,
                                .pad = 1,
                                .dt = bench.dt};
    struct kern_maxpool_grad grad = {.dy0 = bench.src,
                                     .dx = bench.out,
                                     .n = bench.batch,
                                     .h = side,
                                     .w = side,
                                     .c = c,
                                     .r = 3,
                                     .stride = 2,
                                     .pad = 1,
                                     .dt = bench.dt};
    struct kern_avgpool mean = {.x = bench.src,
                                .y = bench.out,
                                .n = bench.batch,
                                .hw = (side / 16) * (side / 16),
                                .c = 2048 / bench.narrow,
                                .dt = bench.dt};

    pool.index = bench_alloc((size_t)m);
    grad.index = pool.index;
    time_kernel("maxpool", KERN_MAXPOOL, &pool, bench.batch * out * out, c,
                (double)(n + m) * size + (double)m);
    time_kernel("maxpool_grad", KERN_MAXPOOL_GRAD, &grad,
                bench.batch * out * out, c, (double)(n + m) * size + (double)m);
    tail(&pool);
    engine_free(bench.e, pool.index);
    if (mean.hw > 0)
        time_kernel("avgpool", KERN_AVGPOOL, &mean, bench.batch * mean.hw,
                    mean.c,
                    (double)(bench.batch * (mean.hw + 1) * mean.c) * size);
}

static void parameters(void)
{
    int64_t n = bench.small ? 5000 : 25557032; /* those of ResNet-50 */
    double *stats = bench_alloc(3 * sizeof *stats);
    struct kern_sgd sgd = {.w = bench.src,
                           .m = bench.out,
                           .g = (float *)bench.src + n,
                           .n = n,
                           .lr = 1e-6,
                           .mu = 0.9,
                           .gmul = 1,
                           .pt = DT_F32};
    struct kern_grad_check check = {
        .g = bench.src, .stats = stats, .n = n, .pt = DT_F32};
    struct kern_cast cast = {
        .x = bench.src, .y = bench.out, .n = n, .from = DT_F32, .to = bench.dt};

    if (engine_fill(bench.e, bench.src, 0, (size_t)n * 2 * sizeof(float)) < 0 ||
        engine_fill(bench.e, bench.out, 0, (size_t)n * sizeof(float)) < 0)
        die();
    time_kernel("sgd", KERN_SGD, &sgd, n, 1, 20.0 * (double)n);
    time_kernel("grad_check", KERN_GRAD_CHECK, &check, n, 1, 4.0 * (double)n);
    time_kernel("cast", KERN_CAST, &cast, n, 1,
                (double)n * (4 + (double)dtype_size(bench.dt)));
    engine_free(bench.e, stats);
}

static void pictures(void)
{
    int64_t rows = bench.batch * bench.size * bench.size, k = 1000,
            n = bench.batch;
    double size = (double)dtype_size(bench.dt);
    struct kern_image image = {.x = bench.src,
                               .y = bench.out,
                               .rows = rows,
                               .c = 3,
                               .cy = 3,
                               .dt = bench.dt};
    struct kern_softmax_ce ce = {.logits = bench.src,
                                 .dlogits = bench.out,
                                 .n = n,
                                 .k = k,
                                 .gscale = 1,
                                 .dt = bench.dt};
    double *stats = bench_alloc(4 * sizeof *stats);
    void *label = bench_alloc((size_t)n * sizeof(int64_t));

    if (engine_fill(bench.e, label, 0, (size_t)n * sizeof(int64_t)) < 0)
        die();
    ce.label = label;
    ce.stats = stats;
    time_kernel("image", KERN_IMAGE, &image, rows, 3,
                (double)rows * 3 * (1 + size));
    time_kernel("softmax_ce", KERN_SOFTMAX_CE, &ce, n, k,
                (double)(n * k) * 2 * size);
    engine_free(bench.e, label);
    engine_free(bench.e, stats);
}

void bench_kernels(void)
{
    static const int norm[][2] = {{112, 64},  {56, 64},  {56, 256},
                                  {28, 128},  {28, 512}, {14, 256},
                                  {14, 1024}, {7, 512},  {7, 2048}};
    size_t i;

    for (i = 0; i < sizeof norm / sizeof norm[0]; i++)
        norms((norm[i][0] * bench.size + 223) / 224, norm[i][1] / bench.narrow);
    pools();
    pictures();
    parameters(); /* last: it writes over src */
}
