/*
 * Linear layers in fp32: convolutions of images of one pixel. Each number is a
 * sum of products in double, rounded once: what a classifier adds up in fp32
 * was most of the error of a network's logits, and its work is little.
 */
#include "engine/cpu/cpu.h"
#include "engine/kern/elem.h"

#include <omp.h>
#include <string.h>

enum {
    GROUP = 4, /* rows that are taken together */
    LANES = 8, /* of a vector */
    WIDE = DENSE_WIDTH / LANES,
    WIDTH = DENSE_WIDTH
};

/* Vectors of the compiler: local arrays of numbers would not stay in registers.
 * The first one may lie anywhere. */
typedef float floats
    __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float))));
typedef double doubles __attribute__((vector_size(LANES * sizeof(double))));

static int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

#define WIDEN(p)                                                               \
    __builtin_convertvector(*(const floats *)(const void *)(p), doubles)

/* ---- forward: products of rows of x and rows of w, n numbers each */

struct rows {
    const float *x[GROUP], *w[GROUP];
    int64_t n;
};

static void dots(const struct rows *r, double sum[GROUP][GROUP])
{
    doubles s[GROUP][GROUP] = {{{0}}};
    int64_t t;
    int i, k, l;

    for (t = 0; t + LANES <= r->n; t += LANES) {
#pragma GCC unroll 4
        for (k = 0; k < GROUP; k++) {
            doubles v = WIDEN(r->w[k] + t);

#pragma GCC unroll 4
            for (i = 0; i < GROUP; i++)
                s[i][k] += WIDEN(r->x[i] + t) * v;
        }
    }
    for (i = 0; i < GROUP; i++) {
        for (k = 0; k < GROUP; k++) {
            sum[i][k] = 0;
            for (l = 0; l < LANES; l++)
                sum[i][k] += s[i][k][l];
            for (l = 0; t + l < r->n; l++)
                sum[i][k] += (double)r->x[i][t + l] * (double)r->w[k][t + l];
        }
    }
}

static void put_forward(const struct conv_desc *d, const struct conv_args *a,
                        int64_t n, int64_t k, double sum)
{
    const float *bias = a->bias, *add = a->add;
    int64_t at = n * d->k + k;
    float v;

    if (conv_has_bias(d))
        sum += (double)bias[k];
    if (d->epi == EPI_ADD_BIAS)
        sum += (double)add[at];
    v = (float)sum;
    ((float *)a->out)[at] = d->relu ? kern_relu_at(v) : v;
}

/* Columns k, ... of the result. */
static void forward_columns(const struct conv_desc *d,
                            const struct conv_args *a, int64_t k)
{
    const float *x = a->x, *w = a->w;
    struct rows r = {.n = d->c};
    double sum[GROUP][GROUP];
    int64_t n, i, j;

    for (j = 0; j < GROUP; j++) /* the last one again where there is none */
        r.w[j] = w + at_most(k + j, d->k - 1) * d->c;
    for (n = 0; n < d->n; n += GROUP) {
        for (i = 0; i < GROUP; i++)
            r.x[i] = x + at_most(n + i, d->n - 1) * d->c;
        dots(&r, sum);
        for (i = 0; i < at_most(GROUP, d->n - n); i++)
            for (j = 0; j < at_most(GROUP, d->k - k); j++)
                put_forward(d, a, n + i, k + j, sum[i][j]);
    }
}

/* ---- gradients: out[i][j] (+)= sum over t of a(i, t)*b[t][j]; a(i, t) is
 * a[i*row + t*term] */

struct sums {
    const float *a, *b;
    int64_t row, term;
    int64_t rows, terms, n;
    bool accumulate;
    float *out;
};

/* GROUP rows, or `rows`, from i on and WIDTH columns from j on, or what there is
 * of them; b here is those columns of b, side by side. */
static void add_block(const struct sums *s, const float *b, int64_t i,
                      int64_t j)
{
    doubles sum[GROUP][WIDE] = {{{0}}};
    int64_t t, r, at[GROUP], lanes = at_most(WIDTH, s->n - j);
    int v, l;

    for (r = 0; r < GROUP; r++)
        at[r] = at_most(i + r, s->rows - 1) * s->row;
    for (t = 0; t < s->terms; t++, b += WIDTH) {
        const float *a = s->a + t * s->term;

#pragma GCC unroll 4
        for (v = 0; v < WIDE; v++) {
            doubles x = WIDEN(b + (ptrdiff_t)v * LANES);

#pragma GCC unroll 4
            for (r = 0; r < GROUP; r++)
                sum[r][v] += (double)a[at[r]] * x;
        }
    }
    for (r = 0; r < at_most(GROUP, s->rows - i); r++) {
        float *out = s->out + (i + r) * s->n + j;

        for (l = 0; l < lanes; l++)
            out[l] = (s->accumulate ? out[l] : 0) +
                     (float)sum[r][l / LANES][l % LANES];
    }
}

/* Columns j, ...; b: room for terms*WIDTH numbers */
static void add_columns(const struct sums *s, int64_t j, float *b)
{
    size_t some = (size_t)at_most(WIDTH, s->n - j) * sizeof(*b);
    int64_t t, i;

    for (t = 0; t < s->terms; t++)
        memcpy(b + t * WIDTH, s->b + t * s->n + j, some);
    for (i = 0; i < s->rows; i += GROUP)
        add_block(s, b, i, j);
}

static void run(const struct conv_desc *d, const struct conv_args *a)
{
    struct sums s = {.a = a->dy, .n = d->c, .out = a->out};
    int64_t k;

    if (d->kind == CONV_FORWARD) {
#pragma omp parallel for schedule(static)
        for (k = 0; k < d->k; k += GROUP)
            forward_columns(d, a, k);
        return;
    }
    if (d->kind == CONV_DGRAD) {
        s.b = a->w;
        s.rows = d->n;
        s.terms = d->k;
        s.row = d->k;
        s.term = 1;
    } else {
        s.b = a->x;
        s.rows = d->k;
        s.terms = d->n;
        s.row = 1;
        s.term = d->k;
        s.accumulate = a->accumulate;
    }
#pragma omp parallel for schedule(static)
    for (k = 0; k < s.n; k += WIDTH)
        add_columns(&s, k,
                    (float *)a->scratch +
                        omp_get_thread_num() * s.terms * WIDTH);
}

const struct cpu_dense ISA_NAME(cpu_dense) = {run};
