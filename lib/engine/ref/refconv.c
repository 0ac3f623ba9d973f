/*
 * Convolution by gathering: for a block of output pixels the values under the
 * windows are laid out as rows of a matrix, which is multiplied by the weights.
 * FORWARD gathers x and multiplies by w as [r,s,c] x [k]; DGRAD gathers dy and
 * multiplies by w as [r,s,k] x [c]; WGRAD adds up dy transposed times the
 * gathered x. Prologues and epilogues are kernels before and after.
 */
#include "engine/ref/ref_private.h"

#include "engine/kern/elem.h"
#include "engine/kern/index.h"
#include "engine/kern/norm.h"

#include <stdlib.h>
#include <string.h>

#define PIXELS 16 /* output pixels of a block */

struct conv_plan {
    struct conv_desc d;
    int64_t p, q;
    int64_t pixels;   /* of the output of FORWARD, of dx, or of dy */
    int64_t depth;    /* length of a gathered row */
    int64_t width;    /* columns of the product */
    size_t z_bytes;   /* the prologue's result, in front of the scratch */
    size_t n_scratch; /* doubles behind it */
};

int64_t conv_p(const struct conv_desc *d)
{
    return kern_out_size(d->h, d->r, d->stride, d->pad);
}

int64_t conv_q(const struct conv_desc *d)
{
    return kern_out_size(d->w, d->s, d->stride, d->pad);
}

double conv_macs(const struct conv_desc *d)
{
    return (double)d->n * (double)conv_p(d) * (double)conv_q(d) * (double)d->k *
           (double)d->r * (double)d->s * (double)d->c;
}

/* ---- matrices of doubles */

struct matrix {
    double *at;
    int64_t pitch;
};

/* Two rows by eight columns of c += a*b, over depth. */
static void product_tile(int64_t depth, const double *a0, const double *a1,
                         const struct matrix *b, int64_t j0, double *c0,
                         double *c1)
{
    double s0[8] = {0}, s1[8] = {0};
    int64_t i;
    int j;

    for (i = 0; i < depth; i++) {
        const double *row = b->at + i * b->pitch + j0;
        double x0 = a0[i], x1 = a1[i];

        for (j = 0; j < 8; j++) {
            s0[j] += x0 * row[j];
            s1[j] += x1 * row[j];
        }
    }
    for (j = 0; j < 8; j++) {
        c0[j0 + j] += s0[j];
        if (c1 != c0)
            c1[j0 + j] += s1[j];
    }
}

/* The columns that are left over, one at a time. */
static void product_edge(int64_t depth, const double *a, const struct matrix *b,
                         int64_t j, double *c)
{
    double s = 0;
    int64_t i;

    for (i = 0; i < depth; i++)
        s += a[i] * b->at[i * b->pitch + j];
    c[j] += s;
}

/* c [rows,cols] += a [rows,depth] * b [depth,cols] */
static void product(int64_t rows, int64_t cols, int64_t depth, struct matrix a,
                    struct matrix b, struct matrix c)
{
    int64_t i, j;

    for (j = 0; j + 8 <= cols; j += 8) {
        for (i = 0; i < rows; i += 2) {
            int64_t k = i + 1 < rows ? i + 1 : i;

            product_tile(depth, a.at + i * a.pitch, a.at + k * a.pitch, &b, j,
                         c.at + i * c.pitch, c.at + k * c.pitch);
        }
    }
    for (; j < cols; j++) {
        for (i = 0; i < rows; i++)
            product_edge(depth, a.at + i * a.pitch, &b, j, c.at + i * c.pitch);
    }
}

/* ---- gathering */

/* Pixels at, at + 1, ... of x. */
static void load_pixels(const struct conv_desc *d, const void *x, int64_t at,
                        int64_t n, double *to)
{
    int64_t pitch = conv_pitch(d), i;

    if (pitch == d->c) {
        ref_load(d->dtype, x, at * d->c, n * d->c, to);
        return;
    }
    for (i = 0; i < n; i++)
        ref_load(d->dtype, x, (at + i) * pitch, d->c, to + i * d->c);
}

/* Row of x [r,s,c] under the window of output pixel i; zeros outside. */
static void gather_x(const struct conv_plan *g, const void *x, int64_t i,
                     double *row)
{
    const struct conv_desc *d = &g->d;
    int64_t n = i / g->q / g->p, p = i / g->q % g->p, q = i % g->q;
    int64_t y0, y1, x0, x1, r, at;

    memset(row, 0, (size_t)g->depth * sizeof(*row));
    kern_window(p, d->h, d->r, d->stride, d->pad, &y0, &y1);
    kern_window(q, d->w, d->s, d->stride, d->pad, &x0, &x1);
    if (x0 == x1)
        return;
    for (r = y0; r < y1; r++) {
        at = (n * d->h + p * d->stride - d->pad + r) * d->w + q * d->stride -
             d->pad + x0;
        load_pixels(d, x, at, x1 - x0, row + (r * d->s + x0) * d->c);
    }
}

/* Row of dy [r,s,k] of the windows that hold input pixel i; else zeros. */
static void gather_dy(const struct conv_plan *g, const void *dy, int64_t i,
                      double *row)
{
    const struct conv_desc *d = &g->d;
    int64_t n = i / d->w / d->h, y = i / d->w % d->h, x = i % d->w;
    int64_t p0, p1, q0, q1, p, q, r, s;

    memset(row, 0, (size_t)g->depth * sizeof(*row));
    kern_windows_of(y, g->p, d->r, d->stride, d->pad, &p0, &p1);
    kern_windows_of(x, g->q, d->s, d->stride, d->pad, &q0, &q1);
    for (p = p0; p < p1; p++) {
        for (q = q0; q < q1; q++) {
            r = y + d->pad - p * d->stride;
            s = x + d->pad - q * d->stride;
            ref_load(d->dtype, dy, ((n * g->p + p) * g->q + q) * d->k, d->k,
                     row + (r * d->s + s) * d->k);
        }
    }
}

/* Weights [k,r,s,c] as a matrix of doubles [depth,width]. */
static void spread_weights(const struct conv_plan *g, const void *w,
                           double *out)
{
    const struct conv_desc *d = &g->d;
    int64_t rs = d->r * d->s, k, i, c, n;
    double v[REF_WIDE];

    for (k = 0; k < d->k; k++) {
        for (i = 0; i < rs * d->c; i += n) {
            c = i % d->c;
            n = d->c - c < REF_WIDE ? d->c - c : REF_WIDE;
            ref_load(d->dtype, w, k * rs * d->c + i, n, v);
            if (d->kind == CONV_DGRAD) {
                memcpy(out + (i / d->c * d->k + k) * d->c + c, v,
                       (size_t)n * sizeof(*v));
                continue;
            }
            for (c = 0; c < n; c++)
                out[(i + c) * d->k + k] = v[c];
        }
    }
}

/* ---- the three plain convolutions */

static void forward_or_dgrad(const struct conv_plan *g, const void *in,
                             const struct conv_args *a, double *scratch)
{
    double *w = scratch, *rows = w + g->depth * g->width;
    double *out = rows + PIXELS * g->depth;
    int64_t i, j, n;

    spread_weights(g, a->w, w);
    for (i = 0; i < g->pixels; i += n) {
        n = g->pixels - i < PIXELS ? g->pixels - i : PIXELS;
        for (j = 0; j < n; j++) {
            if (g->d.kind == CONV_FORWARD)
                gather_x(g, in, i + j, rows + j * g->depth);
            else
                gather_dy(g, in, i + j, rows + j * g->depth);
        }
        memset(out, 0, (size_t)(n * g->width) * sizeof(*out));
        product(n, g->width, g->depth, (struct matrix){rows, g->depth},
                (struct matrix){w, g->width}, (struct matrix){out, g->width});
        ref_store(g->d.out, a->out, i * g->width, n * g->width, out);
    }
}

static void wgrad(const struct conv_plan *g, const void *x,
                  const struct conv_args *a, double *scratch)
{
    const struct conv_desc *d = &g->d;
    int64_t size = d->k * g->depth, i, j, k, n;
    double *sum = scratch, *rows = sum + size;
    double *dy = rows + PIXELS * g->depth, *turned = dy + PIXELS * d->k;

    if (a->accumulate)
        ref_load(d->out, a->out, 0, size, sum);
    else
        memset(sum, 0, (size_t)size * sizeof(*sum));
    for (i = 0; i < g->pixels; i += n) {
        n = g->pixels - i < PIXELS ? g->pixels - i : PIXELS;
        for (j = 0; j < n; j++)
            gather_x(g, x, i + j, rows + j * g->depth);
        ref_load(d->dtype, a->dy, i * d->k, n * d->k, dy);
        for (k = 0; k < d->k; k++) {
            for (j = 0; j < n; j++)
                turned[k * PIXELS + j] = dy[j * d->k + k];
        }
        product(d->k, g->depth, n, (struct matrix){turned, PIXELS},
                (struct matrix){rows, g->depth},
                (struct matrix){sum, g->depth});
    }
    ref_store(d->out, a->out, 0, size, sum);
}

/* ---- prologue and epilogue */

void ref_conv_pro(const struct conv_desc *d, const struct conv_args *a, void *z)
{
    struct kern_norm_apply k = {0};

    if (d->pro == PRO_NONE)
        return;
    k.x = a->x;
    k.scale = a->pro_scale;
    k.bias = a->pro_bias;
    k.r = d->pro == PRO_SBAR ? a->pro_add : NULL;
    k.y = z;
    k.rows = d->n * d->h * d->w;
    k.c = d->c;
    k.relu = true;
    k.dt = d->dtype;
    k.pt = d->param;
    ref_norm_apply(&k);
}

struct epi_args {
    const struct conv_desc *d;
    const struct conv_args *a;
};

/* out = act(out + add + bias) */
static void bias_tile(const void *args, const struct tile *t)
{
    const struct epi_args *e = args;
    const void *add = e->d->epi == EPI_ADD_BIAS ? e->a->add : NULL;
    double bias[REF_WIDE], v[REF_WIDE], r[REF_WIDE];
    int64_t i;
    int j;

    ref_channels(e->d->param, e->a->bias, t, 0, bias);
    for (i = t->row0; i < t->row1; i++) {
        ref_row(e->d->out, e->a->out, t, i, v);
        ref_row(e->d->out, add, t, i, r);
        for (j = 0; j < t->cn; j++) {
            v[j] += r[j] + bias[j];
            v[j] = e->d->relu ? kern_relu_at(v[j]) : v[j];
        }
        ref_put_row(e->d->out, e->a->out, t, i, v);
    }
}

static void stats_tile(const void *args, const struct tile *t)
{
    const struct epi_args *e = args;
    double v[REF_WIDE];
    int64_t i;
    int j;

    for (i = t->row0; i < t->row1; i++) {
        ref_row(e->d->out, e->a->out, t, i, v);
        for (j = 0; j < t->cn; j++) {
            t->sum[0][j] += v[j];
            t->sum[1][j] += v[j] * v[j];
        }
    }
}

/* out = (out + add) * (y > 0 or 1) */
static void dact_tile(const void *args, const struct tile *t)
{
    const struct epi_args *e = args;
    const void *y = e->d->epi == EPI_DACT ? e->a->y : NULL;
    double v[REF_WIDE], r[REF_WIDE];
    int64_t i;
    int j;

    for (i = t->row0; i < t->row1; i++) {
        ref_row(e->d->out, e->a->out, t, i, v);
        ref_row(e->d->out, e->a->add, t, i, r);
        for (j = 0; j < t->cn; j++)
            v[j] += r[j];
        if (y) {
            ref_row(e->d->out, y, t, i, r);
            for (j = 0; j < t->cn; j++)
                v[j] = kern_relu_grad_at(r[j], v[j]);
        }
        ref_put_row(e->d->out, e->a->out, t, i, v);
    }
}

/* The channels of one batch norm of BNSUMS, and xhat of a row. */
struct bn_tile {
    const void *x;
    double mean[REF_WIDE], invstd[REF_WIDE], gamma[REF_WIDE], beta[REF_WIDE];
    double xhat[REF_WIDE];
};

static void bn_load(const struct epi_args *e, int b, const struct tile *t,
                    struct bn_tile *n)
{
    n->x = e->a->bn[b].x;
    ref_channels(e->d->param, e->a->bn[b].mean, t, 0, n->mean);
    ref_channels(e->d->param, e->a->bn[b].invstd, t, 0, n->invstd);
    ref_channels(e->d->param, e->a->bn[b].gamma, t, 0, n->gamma);
    ref_channels(e->d->param, e->a->bn[b].beta, t, 0, n->beta);
}

/* y += what this norm gave in the forward pass. */
static void bn_row(const struct epi_args *e, const struct tile *t, int64_t i,
                   struct bn_tile *n, double *y)
{
    int j;

    ref_row(e->d->dtype, n->x, t, i, n->xhat);
    for (j = 0; j < t->cn; j++) {
        n->xhat[j] = kern_norm_xhat(n->xhat[j], n->mean[j], n->invstd[j]);
        y[j] += n->xhat[j] * n->gamma[j] + n->beta[j];
    }
}

static void bnsums_tile(const void *args, const struct tile *t)
{
    const struct epi_args *e = args;
    int norms = conv_norms(e->d), b, j;
    double y[REF_WIDE], v[REF_WIDE], r[REF_WIDE];
    struct bn_tile n[2];
    int64_t i;

    for (b = 0; b < norms; b++)
        bn_load(e, b, t, &n[b]);
    for (i = t->row0; i < t->row1; i++) {
        ref_row(e->d->out, e->a->residual, t, i, y);
        for (b = 0; b < norms; b++)
            bn_row(e, t, i, &n[b], y);
        ref_row(e->d->out, e->a->out, t, i, v);
        ref_row(e->d->out, e->a->add, t, i, r);
        for (j = 0; j < t->cn; j++)
            v[j] = kern_relu_grad_at(y[j], v[j] + r[j]);
        ref_put_row(e->d->out, e->a->out, t, i, v);
        /* The sums are over what is stored, as in the plain kernels. */
        ref_row(e->d->out, e->a->out, t, i, v);
        for (j = 0; j < t->cn; j++)
            t->sum[0][j] += v[j];
        for (b = 0; b < norms; b++) {
            for (j = 0; j < t->cn; j++)
                t->sum[1 + b][j] += v[j] * n[b].xhat[j];
        }
    }
}

static void epi_sums(const struct epi_args *e)
{
    const struct conv_desc *d = e->d;
    const struct conv_args *a = e->a;
    bool stats = d->epi == EPI_STATS;
    int64_t rows = stats ? d->n * conv_p(d) * conv_q(d) : d->n * d->h * d->w;
    int64_t c = stats ? d->k : d->c;
    int n = stats ? 2 : 1 + conv_norms(d);
    double *sum = xcalloc((size_t)(n * c), sizeof(*sum));

    ref_tiles(e, rows, c, stats ? stats_tile : bnsums_tile, n, sum);
    ref_store(d->param, stats ? a->sum : a->bn[0].dbeta, 0, c, sum);
    ref_store(d->param, stats ? a->sumsq : a->bn[0].dgamma, 0, c, sum + c);
    if (n == 3) {
        ref_store(d->param, a->bn[1].dbeta, 0, c, sum);
        ref_store(d->param, a->bn[1].dgamma, 0, c, sum + 2 * c);
    }
    free(sum);
}

void ref_conv_epi(const struct conv_desc *d, const struct conv_args *a)
{
    struct epi_args e = {d, a};

    switch (d->epi) {
    case EPI_NONE:
        break;
    case EPI_STATS:
    case EPI_BNSUMS1:
    case EPI_BNSUMS2:
        epi_sums(&e);
        break;
    case EPI_BIAS:
    case EPI_ADD_BIAS:
        ref_tiles(&e, d->n * conv_p(d) * conv_q(d), d->k, bias_tile, 0, NULL);
        break;
    case EPI_ADD:
    case EPI_DACT:
        ref_tiles(&e, d->n * d->h * d->w, d->c, dact_tile, 0, NULL);
        break;
    }
}

/* ---- plans */

int ref_conv_available(void *dev, const struct conv_desc *d)
{
    (void)dev;
    (void)d;
    return 1;
}

int ref_conv_plan(void *dev, const struct conv_desc *d, const char *form,
                  struct conv_plan **plan, struct conv_needs *needs)
{
    struct conv_plan *g = xcalloc(1, sizeof(*g));
    int64_t rs = d->r * d->s, n;

    (void)dev;
    (void)form;
    g->d = *d;
    g->p = conv_p(d);
    g->q = conv_q(d);
    g->pixels = d->kind == CONV_DGRAD ? d->n * d->h * d->w : d->n * g->p * g->q;
    g->depth = rs * (d->kind == CONV_DGRAD ? d->k : d->c);
    g->width = d->kind == CONV_DGRAD ? d->c : d->k;
    if (d->pro != PRO_NONE)
        g->z_bytes =
            ((size_t)(d->n * d->h * d->w * d->c) * dtype_size(d->dtype) + 63) /
            64 * 64;
    n = d->kind == CONV_WGRAD
            ? d->k * g->depth + PIXELS * (g->depth + 2 * d->k)
            : g->depth * g->width + PIXELS * (g->depth + g->width);
    g->n_scratch = (size_t)n;
    needs->packed_bytes = 0;
    if (d->kind != CONV_WGRAD && d->dtype != d->param)
        needs->packed_bytes = (size_t)(d->k * rs * d->c) * dtype_size(d->dtype);
    needs->layout = 1 + (uint64_t)d->dtype;
    needs->scratch_bytes = g->z_bytes + g->n_scratch * sizeof(double);
    *plan = g;
    return 0;
}

int ref_conv_pack(void *dev, struct conv_plan *plan, const void *weights,
                  void *packed)
{
    const struct conv_desc *d = &plan->d;
    struct kern_cast cast = {weights, packed, d->k * d->r * d->s * d->c,
                             d->param, d->dtype};

    (void)dev;
    ref_cast(&cast);
    return 0;
}

int ref_conv_run(void *dev, struct conv_plan *plan, const struct conv_args *a)
{
    const struct conv_desc *d = &plan->d;
    const void *x = a->x;
    double *rest;

    (void)dev;
    rest = (double *)(void *)((char *)a->scratch + plan->z_bytes);
    if (d->pro != PRO_NONE) {
        ref_conv_pro(d, a, a->scratch);
        x = a->scratch;
    }
    if (d->kind == CONV_WGRAD)
        wgrad(plan, x, a, rest);
    else
        forward_or_dgrad(plan, d->kind == CONV_DGRAD ? a->dy : x, a, rest);
    ref_conv_epi(d, a);
    return 0;
}

void ref_conv_free(void *dev, struct conv_plan *plan)
{
    (void)dev;
    free(plan);
}

const char *ref_conv_name(void *dev, struct conv_plan *plan)
{
    (void)dev;
    (void)plan;
    return "ref gather";
}
