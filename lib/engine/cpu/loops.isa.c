/*
 * The loops of the cpu engine: plain C that the compiler vectorises, compiled
 * once per instruction set; cpu.c chooses. The formulas are those of kern/.
 */
#include "engine/cpu/cpu.h"
#include "engine/kern/elem.h"
#include "engine/kern/norm.h"
#include "engine/kern/optim.h"
#include "engine/kern/pool.h"

#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define GLUE_(a, b) a##_##b
#define GLUE(a, b) GLUE_(a, b)

enum {
    FLAT = 1 << 16,  /* elements of a block of a flat loop */
    PIXELS = 1 << 14,
    LANES = 64,      /* channels of a pool taken together */
    WIDE = 256,
    ROWS_MIN = 32,   /* rows of a block: about 2^16 elements, so that the */
    ROWS_MAX = 1024, /* sums in fp32 stay short and fit the first cache */
    SUM_LANES = 16
};

static inline int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t flat_blocks(int64_t n)
{
    return (n + FLAT - 1) / FLAT;
}

static int64_t block_rows(int64_t c)
{
    int64_t rows = (1 << 16) / c;

    return rows < ROWS_MIN ? ROWS_MIN : at_most(rows, ROWS_MAX);
}

static int64_t row_blocks(int64_t rows, int64_t c)
{
    return (rows + block_rows(c) - 1) / block_rows(c);
}

/* bf16 to float and back, to nearest even, NaN kept quiet */
ALWAYS_INLINE float load_bf16(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;

    memcpy(&f, &u, sizeof(f));
    return f;
}

ALWAYS_INLINE uint16_t store_bf16(float f)
{
    uint32_t u, quiet, near;

    memcpy(&u, &f, sizeof(u));
    quiet = u >> 16 | 0x40;
    near = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    return (uint16_t)(f != f ? quiet : near);
}

/* ---- sums: partial ones in fp32 per block, the rest in double */

static int sum_columns(struct cpu *dev, const struct kern_colsum *a,
                       void (*part)(const struct kern_colsum *, float *))
{
    int64_t b, j, c = a->c, blocks = row_blocks(a->rows, c);
    float *s = cpu_work(dev, (size_t)(blocks * c) * sizeof(*s));
    float *out = a->out;

    if (!s)
        return -1;
    part(a, s);
#pragma omp parallel for private(b) schedule(static) if (blocks > 8)
    for (j = 0; j < c; j++) {
        double sum = 0;

        for (b = 0; b < blocks; b++)
            sum += (double)s[b * c + j];
        out[j] = (float)(a->accumulate ? (double)out[j] + sum : sum);
    }
    return 1;
}

/* Mean and sum of squares about it of all blocks, from those of each: T. Chan,
 * G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm". */
static int norm_stats(struct cpu *dev, const struct kern_norm_stats *a,
                      void (*part)(const struct kern_norm_stats *, float *))
{
    int64_t b, j, c = a->c, size = block_rows(c);
    int64_t blocks = row_blocks(a->rows, c);
    float *p = cpu_work(dev, (size_t)(3 * blocks * c) * sizeof(*p));
    float *mean = a->mean, *var = a->var;

    if (!p)
        return -1;
    part(a, p);
#pragma omp parallel for private(b) schedule(static) if (blocks > 8)
    for (j = 0; j < c; j++) {
        double n, m, d, all = 0, squares = 0;

        for (b = 0; b < blocks; b++) {
            const float *t = p + 3 * b * c + j;

            n = (double)at_most(size, a->rows - b * size);
            all += n * (double)t[0] + (double)t[c];
        }
        m = all / (double)a->rows;
        for (b = 0; b < blocks; b++) {
            const float *t = p + 3 * b * c + j;
            double s = (double)t[c], q = (double)t[2 * c];

            n = (double)at_most(size, a->rows - b * size);
            d = (double)t[0] + s / n - m;
            squares += q - s * s / n + n * d * d;
        }
        mean[j] = (float)m;
        var[j] = (float)(squares > 0 || squares != squares
                             ? squares / (double)a->rows
                             : 0);
    }
    return 1;
}

static int norm_grad_sums(struct cpu *dev, const struct kern_norm_grad_sums *a,
                          void (*part)(const struct kern_norm_grad_sums *,
                                       float *))
{
    int64_t b, j, c = a->c, blocks = row_blocks(a->rows, c);
    float *p = cpu_work(dev, (size_t)(3 * blocks * c) * sizeof(*p));
    const float *invstd = a->invstd, *rinvstd = a->rinvstd;
    float *s1 = a->s1, *s2 = a->s2, *rs2 = a->rs2;

    if (!p)
        return -1;
    part(a, p);
#pragma omp parallel for private(b) schedule(static) if (blocks > 8)
    for (j = 0; j < c; j++) {
        double d1 = 0, d2 = 0, r2 = 0;

        for (b = 0; b < blocks; b++) {
            const float *t = p + 3 * b * c + j;

            d1 += (double)t[0];
            d2 += (double)t[c];
            if (a->rx)
                r2 += (double)t[2 * c];
        }
        s1[j] = (float)d1;
        s2[j] = (float)(d2 * (double)invstd[j]);
        if (a->rx)
            rs2[j] = (float)(r2 * (double)rinvstd[j]);
    }
    return 1;
}

/* ---- the loops for each type */

#define EL float
#define LD(x) (x)
#define ST(x) (x)
#define FN(name) GLUE(name, f32)
#include "engine/cpu/loops_body.h"
#undef EL
#undef LD
#undef ST
#undef FN

#define EL uint16_t
#define LD(x) load_bf16(x)
#define ST(x) store_bf16(x)
#define FN(name) GLUE(name, bf16)
#include "engine/cpu/loops_body.h"
#undef EL
#undef LD
#undef ST
#undef FN

/* ---- parameters and casts */

static int cast(const struct kern_cast *a)
{
    int64_t b, i, blocks = flat_blocks(a->n);
    bool narrow = a->from == DT_F32 && a->to == DT_BF16;
    const uint16_t *xh = a->x;
    const float *xf = a->x;
    uint16_t *yh = a->y;
    float *yf = a->y;

    if (!narrow && (a->from != DT_BF16 || a->to != DT_F32))
        return 0;
#pragma omp parallel for private(i) schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++) {
        int64_t end = at_most((b + 1) * FLAT, a->n);

        if (narrow) {
#pragma omp simd
            for (i = b * FLAT; i < end; i++)
                yh[i] = store_bf16(xf[i]);
        } else {
#pragma omp simd
            for (i = b * FLAT; i < end; i++)
                yf[i] = load_bf16(xh[i]);
        }
    }
    return 1;
}

static int sgd(const struct kern_sgd *args)
{
    const struct kern_sgd a = *args; /* its address stays unknown: registers */
    int64_t b, i, blocks = flat_blocks(a.n);
    const float *g = a.g;
    float *w = a.w, *m = a.m;

    if (a.pt != DT_F32)
        return 0;
#pragma omp parallel for private(i) schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++) {
        const struct kern_sgd own = a;

#pragma omp simd
        for (i = b * FLAT; i < at_most((b + 1) * FLAT, own.n); i++) {
            float wi = w[i], mi = m[i];

            kern_sgd_at(&own, g[i], &wi, &mi);
            w[i] = wi;
            m[i] = mi;
        }
    }
    return 1;
}

static void check_block(const float *g, int64_t n, double *out)
{
    double sum[SUM_LANES] = {0}, bad[SUM_LANES] = {0};
    int64_t i;
    int j;

    for (i = 0; i + SUM_LANES <= n; i += SUM_LANES) {
#pragma omp simd
        for (j = 0; j < SUM_LANES; j++) {
            double v = (double)g[i + j];
            bool ok = v - v == 0;

            sum[j] += ok ? v * v : 0;
            bad[j] += ok ? 0 : 1;
        }
    }
    for (j = 0; i < n; i++, j++) {
        double v = (double)g[i];

        if (kern_finite(g[i]))
            sum[j] += v * v;
        else
            bad[j] += 1;
    }
    out[0] = out[1] = 0;
    for (j = 0; j < SUM_LANES; j++) {
        out[0] += sum[j];
        out[1] += bad[j];
    }
}

static int grad_check(struct cpu *dev, const struct kern_grad_check *a)
{
    int64_t b, blocks = flat_blocks(a->n);
    const float *g = a->g;
    double *part;

    if (a->pt != DT_F32)
        return 0;
    part = cpu_work(dev, 2 * (size_t)blocks * sizeof(*part));
    if (!part)
        return -1;
#pragma omp parallel for schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++)
        check_block(g + b * FLAT, at_most(FLAT, a->n - b * FLAT),
                    part + 2 * b);
    for (b = 0; b < blocks; b++) {
        a->stats[0] += part[2 * b];
        a->stats[1] += part[2 * b + 1];
    }
    return 1;
}

/* ---- by number and type */

/* The types of a kernel's activations and of its parameters (F32 if none). */
static void types_of(enum kernel k, const void *args, enum dtype *dt,
                     enum dtype *pt)
{
    *dt = DT_N;
    *pt = DT_F32;
    switch (k) {
#define CASE(number, name)                                                     \
    case number:                                                               \
        *dt = ((const struct name *)args)->dt;                                 \
        break
        CASE(KERN_IMAGE, kern_image);
        CASE(KERN_ADD, kern_add);
        CASE(KERN_RELU, kern_relu);
        CASE(KERN_RELU_GRAD, kern_relu_grad);
        CASE(KERN_MAXPOOL, kern_maxpool);
        CASE(KERN_MAXPOOL_GRAD, kern_maxpool_grad);
        CASE(KERN_AVGPOOL, kern_avgpool);
        CASE(KERN_AVGPOOL_GRAD, kern_avgpool_grad);
#undef CASE
#define CASE(number, name)                                                     \
    case number:                                                               \
        *dt = ((const struct name *)args)->dt;                                 \
        *pt = ((const struct name *)args)->pt;                                 \
        break
        CASE(KERN_COLSUM, kern_colsum);
        CASE(KERN_NORM_STATS, kern_norm_stats);
        CASE(KERN_NORM_APPLY, kern_norm_apply);
        CASE(KERN_NORM_GRAD_SUMS, kern_norm_grad_sums);
        CASE(KERN_NORM_GRAD_APPLY, kern_norm_grad_apply);
#undef CASE
    default:
        break;
    }
}

int GLUE(cpu_loops, ISA)(struct cpu *dev, enum kernel k, const void *args)
{
    enum dtype dt, pt;

    if (k == KERN_CAST)
        return cast(args);
    if (k == KERN_SGD)
        return sgd(args);
    if (k == KERN_GRAD_CHECK)
        return grad_check(dev, args);
    types_of(k, args, &dt, &pt);
    if (pt != DT_F32)
        return 0;
    if (dt == DT_F32)
        return run_f32(dev, k, args);
    if (dt == DT_BF16)
        return run_bf16(dev, k, args);
    return 0;
}
