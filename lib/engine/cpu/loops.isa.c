/*
 * The loops of the cpu engine: plain C that the compiler vectorises, compiled
 * once per instruction set; cpu.c chooses. The formulas are those of kern/.
 */
#include "engine/cpu/cpu.h"
#include "engine/kern/elem.h"
#include "engine/kern/norm.h"
#include "engine/kern/pool.h"
#include "engine/kern/sgd.h"

#include <omp.h>
#include <string.h>
#ifdef __AVX512F__
#    include <immintrin.h>
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum {
    FLAT = 1 << 16, /* elements of a block of a flat loop */
    PIXELS = 1 << 14,
    LANES = 64, /* channels of a pool taken together */
    TAPS = 16,  /* of a window across or down, at most */
    WIDE = 256,
    ROWS_MIN = 32,   /* rows of a block: about 2^16 elements, */
    ROWS_MAX = 1024, /* which makes enough blocks for all threads */
    SUM_LANES = 64,
    RUN = 16,         /* rows added in fp32, at most; a multiple of 4 */
    PAST_WIDE = 4096, /* elements of a row that is written past a cache or read
                         through a pool, at most */
    LARGE = 16 << 20, /* bytes; below it fetching costs more than it gives */
    AHEAD = 2048,     /* bytes */
    LINE = 64,        /* bytes of a cache line */
    PLACES = 5 /* doubles of a block per channel: 3 sums, the run's floats */
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

/* n bytes, in whole cache lines, past the cache: what is there already is not
 * read before. */
#ifdef __AVX512F__
#    define CAN_PAST 1
static void put_past(void *to, const void *from, size_t n)
{
    size_t i;

    for (i = 0; i < n; i += LINE)
        _mm512_stream_si512((void *)((char *)to + i),
                            _mm512_load_si512((const char *)from + i));
}
#else
#    define CAN_PAST 0
#    define put_past memcpy
#endif

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

/* kern_relu_grad_at without a condition, which in front of a conversion to double
 * would keep the loop from vectorising; y is what is stored, or what it is made
 * of: then zero is the largest number that is stored as one. */
ALWAYS_INLINE float relu_mask(float y, float zero, float dy)
{
    uint32_t u;

    memcpy(&u, &dy, sizeof(u));
    u &= y > zero ? ~(uint32_t)0 : 0;
    memcpy(&dy, &u, sizeof(dy));
    return dy;
}

/* ---- images that are erased and mixed, in pieces of lines, in fp32 */

enum {
    PIECE = 64 /* pixels */
};

/* Which of the places x..x+n-1 of a line a rectangle holds: *from to *to-1. */
static void span_of(const int32_t *box, int64_t line, int64_t x, int n,
                    int *from, int *to)
{
    int64_t lo = box[1] - x, hi = box[3] - x;
    bool held = line >= box[0] && line < box[2] && lo < n && hi > 0 && lo < hi;

    *from = held && lo > 0 ? (int)lo : 0;
    *to = held ? (int)at_most(hi, n) : 0;
}

/* Pixels x..x+n-1 of a line of picture i, normalised and erased. */
static void image_piece(const struct kern_image *a, int64_t i, int64_t line,
                        int64_t x, int n, float *y)
{
    const uint8_t *from = a->x + ((i * a->h + line) * a->w + x) * a->c;
    const float *mul = a->mul, *add = a->add;
    int p, ch, begin, end;

    if (a->c == 3 && a->cy == 3) {
        for (p = 0; p < n; p++)
            for (ch = 0; ch < 3; ch++)
                y[3 * p + ch] =
                    kern_image_at((float)from[3 * p + ch], mul[ch], add[ch]);
    } else {
        for (p = 0; p < n * a->cy; p++) {
            ch = p % a->cy;
            y[p] = ch < a->c ? kern_image_at((float)from[p / a->cy * a->c + ch],
                                             mul[ch], add[ch])
                             : 0;
        }
    }
    if (a->erase) {
        span_of(a->erase + 4 * i, line, x, n, &begin, &end);
        for (p = begin * a->cy; p < end * a->cy; p++)
            y[p] = 0;
    }
}

static void mix_piece(const struct kern_image *a, int64_t line, int64_t x,
                      int n, float *y, const float *other)
{
    float keep = (float)(1 - a->mix), mix = (float)a->mix;
    int p, begin, end;

    if (a->mix > 0) {
#pragma omp simd
        for (p = 0; p < n * a->cy; p++)
            y[p] = kern_mixed(y[p], other[p], keep, mix);
    }
    span_of(a->box, line, x, n, &begin, &end);
    for (p = begin * a->cy; p < end * a->cy; p++)
        y[p] = other[p];
}

static void image_mixed(const struct kern_image *a,
                        void (*put)(void *, int64_t, const float *, int64_t))
{
    int64_t n = a->rows / (a->h * a->w), l, x;
    bool mixed = a->mix > 0 || a->box[2] > a->box[0];

#pragma omp parallel for private(x) schedule(static)
    for (l = 0; l < n * a->h; l++) {
        float y[PIECE * 64], other[PIECE * 64];
        int64_t i = l / a->h, line = l % a->h;

        for (x = 0; x < a->w; x += PIECE) {
            int some = (int)at_most(PIECE, a->w - x);

            image_piece(a, i, line, x, some, y);
            if (mixed) {
                image_piece(a, (i + n - 1) % n, line, x, some, other);
                mix_piece(a, line, x, some, y, other);
            }
            put(a->y, (l * a->w + x) * a->cy, y, (int64_t)some * a->cy);
        }
    }
}

/* ---- sums: partial ones per block, added up in the order of the blocks, so
 * that the number of threads changes no bit */

/* The sums of the current run, three floats per channel, behind those of the
 * block. */
static float *runs_of(double *part, int64_t c)
{
    return (float *)(void *)(part + 3 * c);
}

static void end_run(float *run, double *sum, int64_t n)
{
    int64_t j;

#pragma omp simd
    for (j = 0; j < n; j++) {
        sum[j] += (double)run[j];
        run[j] = 0;
    }
}

/* Vectors of norms. */
static void put_vector(bool wide, void *v, int64_t i, double x)
{
    if (wide)
        ((double *)v)[i] = x;
    else
        ((float *)v)[i] = (float)x;
}

static double get_vector(bool wide, const void *v, int64_t i)
{
    return wide ? ((const double *)v)[i] : (double)((const float *)v)[i];
}

/* Channels from..to of the sum over blocks of rows of partial sums, which lie
 * pitch apart. */
static void add_blocks(const double *part, int64_t blocks, int64_t pitch,
                       int64_t lanes, double *sum)
{
    int64_t b, j;

    for (j = 0; j < lanes; j++)
        sum[j] = 0;
    for (b = 0; b < blocks; b++, part += pitch) {
#pragma omp simd
        for (j = 0; j < lanes; j++)
            sum[j] += part[j];
    }
}

static int sum_columns(struct cpu *dev, const struct kern_colsum *a,
                       void (*part)(const struct kern_colsum *, double *))
{
    int64_t ch, j, c = a->c, blocks = row_blocks(a->rows, c);
    double *s = cpu_work(dev, (size_t)(blocks * c) * sizeof(*s));
    float *out = a->out;

    if (!s)
        return -1;
    part(a, s);
#pragma omp parallel for private(j) schedule(static) if (blocks > 8)
    for (ch = 0; ch < c; ch += LANES) {
        int64_t lanes = at_most(LANES, c - ch);
        double sum[LANES];

        add_blocks(s + ch, blocks, c, lanes, sum);
        /* rounded before it is added: the sum over micro-batches has then the
         * bits of the sum over ranks */
        for (j = 0; j < lanes; j++)
            out[ch + j] = (a->accumulate ? out[ch + j] : 0) + (float)sum[j];
    }
    return 1;
}

/* Up to LANES channels of the statistics from the blocks' (shift, sum of
 * x - shift, of its square): sum of squares about the common mean. Source: T.
 * Chan, G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm". */
static void stats_lanes(const struct kern_norm_stats *a, const double *part,
                        int64_t ch, int64_t lanes)
{
    int64_t j, c = a->c, size = block_rows(c), left;
    double mean[LANES] = {0}, squares[LANES] = {0};
    const double *t = part + ch;

    for (left = a->rows; left > 0; left -= size, t += PLACES * c) {
        double n = (double)at_most(size, left);

#pragma omp simd
        for (j = 0; j < lanes; j++)
            mean[j] += n * t[j] + t[j + c];
    }
    for (j = 0; j < lanes; j++)
        mean[j] /= (double)a->rows;
    t = part + ch;
    for (left = a->rows; left > 0; left -= size, t += PLACES * c) {
        double n = (double)at_most(size, left);

#pragma omp simd
        for (j = 0; j < lanes; j++) {
            double s = t[j + c] / n;
            double d = t[j] + s - mean[j];

            squares[j] += t[j + 2 * c] - n * s * s + n * d * d;
        }
    }
    for (j = 0; j < lanes; j++) {
        put_vector(a->wide, a->mean, ch + j, mean[j]);
        /* rounding may leave a little less than nothing */
        put_vector(a->wide, a->var, ch + j,
                   squares[j] < 0 ? 0 : squares[j] / (double)a->rows);
    }
}

static int norm_stats(struct cpu *dev, const struct kern_norm_stats *a,
                      void (*part)(const struct kern_norm_stats *, double *))
{
    int64_t ch, c = a->c, blocks = row_blocks(a->rows, c);
    double *p = cpu_work(dev, (size_t)(PLACES * blocks * c) * sizeof(*p));

    if (!p)
        return -1;
    part(a, p);
#pragma omp parallel for schedule(static) if (blocks > 8)
    for (ch = 0; ch < c; ch += LANES)
        stats_lanes(a, p, ch, at_most(LANES, c - ch));
    return 1;
}

/* Sum of dz*(x - mean)*invstd from that of dz and that about the rounded mean. */
static void put_s2(const struct kern_norm_grad_sums *a, const void *mean,
                   const void *invstd, int64_t i, const double sum[2], void *s2)
{
    double m = get_vector(a->wide, mean, i);

    put_vector(a->wide, s2, i,
               (sum[1] + ((double)(float)m - m) * sum[0]) *
                   get_vector(a->wide, invstd, i));
}

static void grad_sums_lanes(const struct kern_norm_grad_sums *a,
                            const double *part, int64_t ch, int64_t lanes)
{
    int64_t i, j, c = a->c, blocks = row_blocks(a->rows, c);
    double sum[3][LANES];

    for (i = 0; i < (a->rx ? 3 : 2); i++)
        add_blocks(part + i * c + ch, blocks, PLACES * c, lanes, sum[i]);
    for (j = 0; j < lanes; j++) {
        const double two[2] = {sum[0][j], sum[1][j]};
        const double rtwo[2] = {sum[0][j], a->rx ? sum[2][j] : 0};

        put_vector(a->wide, a->s1, ch + j, two[0]);
        put_s2(a, a->mean, a->invstd, ch + j, two, a->s2);
        if (a->rx)
            put_s2(a, a->rmean, a->rinvstd, ch + j, rtwo, a->rs2);
    }
}

static int norm_grad_sums(struct cpu *dev, const struct kern_norm_grad_sums *a,
                          void (*part)(const struct kern_norm_grad_sums *,
                                       double *))
{
    int64_t ch, c = a->c, blocks = row_blocks(a->rows, c);
    double *p = cpu_work(dev, (size_t)(PLACES * blocks * c) * sizeof(*p));

    if (!p)
        return -1;
    part(a, p);
#pragma omp parallel for schedule(static) if (blocks > 8)
    for (ch = 0; ch < c; ch += LANES)
        grad_sums_lanes(a, p, ch, at_most(LANES, c - ch));
    return 1;
}

/* ---- the loops for each type */

#define EL float
#define LD(x) (x)
#define ST(x) (x)
#define ZERO 0.0f
#define FN(name) ISA_GLUE(name, f32)
#define VT double
#include "engine/cpu/pools_body.h"

#include "engine/cpu/loops_body.h"
#undef EL
#undef VT
#undef LD
#undef ST
#undef ZERO
#undef FN

#define EL uint16_t
#define LD(x) load_bf16(x)
#define ST(x) store_bf16(x)
#define ZERO 0x1p-134f /* half of the least number: to even */
#define FN(name) ISA_GLUE(name, bf16)
#define VT float
#include "engine/cpu/pools_body.h"

#include "engine/cpu/loops_body.h"
#undef EL
#undef VT
#undef LD
#undef ST
#undef ZERO
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
    int64_t b, i, blocks = flat_blocks(args->n);
    const float *g = args->g;
    float *w = args->w, *m = args->m;
    struct kern_sgd a;

    if (args->pt != DT_F32)
        return 0;
    if (!kern_sgd_begin(args, &a))
        return 1;
#pragma omp parallel for private(i) schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++) {
        const struct kern_sgd own = a; /* without an address: registers */

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

static int ema(const struct kern_ema *args)
{
    const struct kern_ema a = *args;
    int64_t b, i, blocks = flat_blocks(a.n);
    const float *w = a.w;
    float *avg = a.avg;

    if (a.pt != DT_F32)
        return 0;
#pragma omp parallel for private(i) schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++) {
        const struct kern_ema own = a;

#pragma omp simd
        for (i = b * FLAT; i < at_most((b + 1) * FLAT, own.n); i++)
            avg[i] = kern_ema_at(&own, avg[i], w[i]);
    }
    return 1;
}

/* Numbers that are not finite are masked away: a condition would keep the loop
 * from vectorising. */
static void check_block(const float *g, int64_t n, double *out)
{
    int32_t bad[SUM_LANES] = {0};
    double sum[SUM_LANES] = {0};
    float tail[SUM_LANES] = {0};
    int64_t i;
    int j;

    for (i = 0; i < n; i += SUM_LANES) {
        const float *x = g + i;

        if (n - i < SUM_LANES) {
            memcpy(tail, x, (size_t)(n - i) * sizeof(*x));
            x = tail;
        }
#pragma omp simd
        for (j = 0; j < SUM_LANES; j++) {
            float v = x[j], zero = v - v; /* or NaN */
            uint32_t bits, keep = zero == 0 ? ~(uint32_t)0 : 0;

            memcpy(&bits, &v, sizeof(v));
            bits &= keep;
            memcpy(&v, &bits, sizeof(v));
            sum[j] += (double)v * (double)v;
            bad[j] += (int32_t)(keep + 1);
        }
    }
    out[0] = out[1] = out[2] = 0;
    for (j = 0; j < SUM_LANES; j++) {
        out[0] += sum[j];
        out[1] += (double)bad[j];
    }
    for (i = n; out[1] > 0 && out[2] == 0; i--)
        if (!kern_finite(g[i - 1]))
            out[2] = (double)i;
}

static int grad_check(struct cpu *dev, const struct kern_grad_check *a)
{
    int64_t b, blocks = flat_blocks(a->n);
    const float *g = a->g;
    double *part;

    if (a->pt != DT_F32)
        return 0;
    part = cpu_work(dev, 3 * (size_t)blocks * sizeof(*part));
    if (!part)
        return -1;
#pragma omp parallel for schedule(static) if (blocks > 1)
    for (b = 0; b < blocks; b++)
        check_block(g + b * FLAT, at_most(FLAT, a->n - b * FLAT), part + 3 * b);
    for (b = 0; b < blocks; b++) {
        double last = part[3 * b + 2] + (double)(a->base + b * FLAT);

        a->stats[0] += part[3 * b];
        a->stats[1] += part[3 * b + 1];
        if (part[3 * b + 1] > 0 && last > a->stats[2])
            a->stats[2] = last;
    }
    return 1;
}

/* ---- by number and type */

/* The types of a kernel's activations and of its parameters (F32 if none), and
 * whether the vectors of its norm are what the loops for such activations take. */
static bool types_of(enum kernel k, const void *args, enum dtype *dt,
                     enum dtype *pt)
{
    bool norm = false, wide = false;

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
#undef CASE
#define CASE(number, name)                                                     \
    case number:                                                               \
        *dt = ((const struct name *)args)->dt;                                 \
        *pt = ((const struct name *)args)->pt;                                 \
        wide = ((const struct name *)args)->wide;                              \
        norm = true;                                                           \
        break
        CASE(KERN_NORM_STATS, kern_norm_stats);
        CASE(KERN_NORM_APPLY, kern_norm_apply);
        CASE(KERN_NORM_GRAD_SUMS, kern_norm_grad_sums);
        CASE(KERN_NORM_GRAD_APPLY, kern_norm_grad_apply);
#undef CASE
    default:
        break;
    }
    return !norm || wide == (*dt == DT_F32);
}

static int loops(struct cpu *dev, enum kernel k, const void *args)
{
    enum dtype dt, pt;

    if (k == KERN_CAST)
        return cast(args);
    if (k == KERN_SGD)
        return sgd(args);
    if (k == KERN_EMA)
        return ema(args);
    if (k == KERN_GRAD_CHECK)
        return grad_check(dev, args);
    if (!types_of(k, args, &dt, &pt) || pt != DT_F32)
        return 0;
    if (dt == DT_F32)
        return run_f32(dev, k, args);
    if (dt == DT_BF16)
        return run_bf16(dev, k, args);
    return 0;
}

static void fold(const struct conv_desc *d, const float *columns, void *dx)
{
    if (d->out == DT_BF16)
        fold_bf16(d, columns, dx);
    else
        fold_f32(d, columns, dx);
}

const struct cpu_kern ISA_NAME(cpu_kern) = {loops, fold};
