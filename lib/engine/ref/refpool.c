/* Pools and the loss: bodies of pool.h and loss.h. */
#include "engine/ref/ref_private.h"

#include "engine/kern/loss.h"
#include "engine/kern/pool.h"

#include <math.h>
#include <string.h>

static int wide(int64_t left)
{
    return (int)(left < REF_WIDE ? left : REF_WIDE);
}

/* dy0 + dy1 of n elements from i; dy1 or NULL. */
static void load_dy(enum dtype t, const void *dy0, const void *dy1, int64_t i,
                    int n, double *out)
{
    double v[REF_WIDE];
    int j;

    ref_load(t, dy0, i, n, out);
    if (!dy1)
        return;
    ref_load(t, dy1, i, n, v);
    for (j = 0; j < n; j++)
        out[j] += v[j];
}

/* ---- max pooling */

/* One window: channels c0 .. c0+cn-1 of output (n,p,q). */
static void max_window(const struct kern_maxpool *a, const int64_t at[3],
                       int64_t out, int64_t c0, int cn)
{
    double best[REF_WIDE], x[REF_WIDE];
    uint8_t index[REF_WIDE];
    int64_t y0, y1, x0, x1, ky, kx, row;
    int j, first = 1;

    kern_window(at[1], a->h, a->r, a->stride, a->pad, &y0, &y1);
    kern_window(at[2], a->w, a->r, a->stride, a->pad, &x0, &x1);
    for (ky = y0; ky < y1; ky++) {
        for (kx = x0; kx < x1; kx++) {
            row = (at[0] * a->h + at[1] * a->stride - a->pad + ky) * a->w +
                  at[2] * a->stride - a->pad + kx;
            ref_load(a->dt, a->x, row * a->c + c0, cn, x);
            for (j = 0; j < cn; j++) {
                if (!first && !kern_max_takes(x[j], best[j]))
                    continue;
                best[j] = x[j];
                index[j] = (uint8_t)(ky * a->r + kx);
            }
            first = 0;
        }
    }
    ref_store(a->dt, a->y, out * a->c + c0, cn, best);
    if (a->index)
        memcpy(a->index + out * a->c + c0, index, (size_t)cn);
}

void ref_maxpool(const void *args)
{
    const struct kern_maxpool *a = args;
    int64_t p = kern_out_size(a->h, a->r, a->stride, a->pad);
    int64_t q = kern_out_size(a->w, a->r, a->stride, a->pad), i;

    REF_PARALLEL
    for (i = 0; i < a->n * p * q; i++) {
        int64_t at[3] = {i / q / p, i / q % p, i % q}, c0;

        for (c0 = 0; c0 < a->c; c0 += REF_WIDE)
            max_window(a, at, i, c0, wide(a->c - c0));
    }
}

/* One place of dx: collect from the windows that chose it. */
static void max_place(const struct kern_maxpool_grad *a, const int64_t at[3],
                      int64_t place, int64_t c0, int cn)
{
    int64_t n_p = kern_out_size(a->h, a->r, a->stride, a->pad);
    int64_t n_q = kern_out_size(a->w, a->r, a->stride, a->pad);
    int64_t p, p0, p1, q, q0, q1, i, k;
    double sum[REF_WIDE] = {0}, dy[REF_WIDE];
    int j;

    kern_windows_of(at[1], n_p, a->r, a->stride, a->pad, &p0, &p1);
    kern_windows_of(at[2], n_q, a->r, a->stride, a->pad, &q0, &q1);
    for (p = p0; p < p1; p++) {
        for (q = q0; q < q1; q++) {
            i = ((at[0] * n_p + p) * n_q + q) * a->c + c0;
            k = (at[1] + a->pad - p * a->stride) * a->r + at[2] + a->pad -
                q * a->stride;
            load_dy(a->dt, a->dy0, a->dy1, i, cn, dy);
            for (j = 0; j < cn; j++)
                sum[j] += a->index[i + j] == k ? dy[j] : 0;
        }
    }
    ref_store(a->dt, a->dx, place * a->c + c0, cn, sum);
}

void ref_maxpool_grad(const void *args)
{
    const struct kern_maxpool_grad *a = args;
    int64_t i;

    REF_PARALLEL
    for (i = 0; i < a->n * a->h * a->w; i++) {
        int64_t at[3] = {i / a->w / a->h, i / a->w % a->h, i % a->w}, c0;

        for (c0 = 0; c0 < a->c; c0 += REF_WIDE)
            max_place(a, at, i, c0, wide(a->c - c0));
    }
}

/* ---- average pooling */

void ref_avgpool(const void *args)
{
    const struct kern_avgpool *a = args;
    int64_t across = (a->c + REF_WIDE - 1) / REF_WIDE, i;

    REF_PARALLEL
    for (i = 0; i < a->n * across; i++) {
        int64_t n = i / across, c0 = i % across * REF_WIDE, k;
        double sum[REF_WIDE] = {0}, x[REF_WIDE];
        int j, cn = wide(a->c - c0);

        for (k = 0; k < a->hw; k++) {
            ref_load(a->dt, a->x, (n * a->hw + k) * a->c + c0, cn, x);
            for (j = 0; j < cn; j++)
                sum[j] += x[j];
        }
        for (j = 0; j < cn; j++)
            sum[j] = kern_mean_of(sum[j], (double)a->hw);
        ref_store(a->dt, a->y, n * a->c + c0, cn, sum);
    }
}

void ref_avgpool_grad(const void *args)
{
    const struct kern_avgpool_grad *a = args;
    int64_t across = (a->c + REF_WIDE - 1) / REF_WIDE, i;

    REF_PARALLEL
    for (i = 0; i < a->n * across; i++) {
        int64_t n = i / across, c0 = i % across * REF_WIDE, k;
        double dy[REF_WIDE];
        int j, cn = wide(a->c - c0);

        load_dy(a->dt, a->dy0, a->dy1, n * a->c + c0, cn, dy);
        for (j = 0; j < cn; j++)
            dy[j] = kern_mean_of(dy[j], (double)a->hw);
        for (k = 0; k < a->hw; k++)
            ref_store(a->dt, a->dx, (n * a->hw + k) * a->c + c0, cn, dy);
    }
}

/* ---- loss */

enum {
    CE_ROWS = 256 /* at a time, so that a step needs no memory */
};

struct ce_row {
    double loss;
    int64_t before; /* classes that stand before the label; -1: no label */
};

struct ce_sums {
    double max, sumexp, sum;
};

/* The maximum of a row, then the sums that need it and the label's rank. */
static void ce_sums(const struct kern_softmax_ce *a, int64_t row, double at,
                    struct ce_sums *s, struct ce_row *r)
{
    double z[REF_WIDE];
    int64_t i, label = a->label[row];
    int j, n;

    s->max = (double)-INFINITY;
    s->sumexp = s->sum = 0;
    for (i = 0; i < a->k; i += n) {
        n = wide(a->k - i);
        ref_load(a->dt, a->logits, row * a->k + i, n, z);
        for (j = 0; j < n; j++)
            s->max = z[j] > s->max ? z[j] : s->max;
    }
    for (i = 0; i < a->k; i += n) {
        n = wide(a->k - i);
        ref_load(a->dt, a->logits, row * a->k + i, n, z);
        for (j = 0; j < n; j++) {
            s->sumexp += KEXP(z[j] - s->max);
            s->sum += z[j] - s->max;
            r->before += kern_ce_before(z[j], i + j, at, label);
        }
    }
}

static void ce_row(const struct kern_softmax_ce *a, int64_t row, double gscale,
                   struct ce_row *r)
{
    int64_t i, label[2] = {a->label[row], a->label2 ? a->label2[row] : -1};
    bool ok = kern_label_ok(label[0], a->k) &&
              (!a->label2 || kern_label_ok(label[1], a->k));
    double z[REF_WIDE], at, other, k = (double)a->k;
    double mix = a->label2 ? a->mix : 0;
    struct ce_sums s = {0};
    int j, n;

    r->loss = 0;
    r->before = ok ? 0 : -1;
    if (ok) {
        at = dtype_load(a->dt, a->logits, (size_t)(row * a->k + label[0]));
        ce_sums(a, row, at, &s, r);
        if (mix > 0) { /* so that a logit of -inf costs nothing without */
            other =
                dtype_load(a->dt, a->logits, (size_t)(row * a->k + label[1]));
            at = (1 - mix) * at + mix * other;
        }
        r->loss = kern_ce_loss(s.sumexp, at - s.max, s.sum, a->smoothing, k);
    }
    for (i = 0; a->dlogits && i < a->k; i += n) {
        n = wide(a->k - i);
        ref_load(a->dt, a->logits, row * a->k + i, n, z);
        for (j = 0; j < n; j++)
            z[j] = !ok ? 0
                       : kern_ce_grad(
                             z[j] - s.max, s.sumexp,
                             kern_ce_target(i + j, label, mix, a->smoothing, k),
                             gscale);
        ref_store(a->dt, a->dlogits, row * a->k + i, n, z);
    }
}

void ref_softmax_ce(const void *args)
{
    const struct kern_softmax_ce *a = args;
    struct ce_row r[CE_ROWS];
    double gscale = kern_ce_gscale(a);
    int64_t first, i, n;

    for (first = 0; first < a->n; first += n) {
        n = a->n - first < CE_ROWS ? a->n - first : CE_ROWS;
        REF_PARALLEL
        for (i = 0; i < n; i++)
            ce_row(a, first + i, gscale, &r[i]);
        /* In the order of the rows, so the sum does not depend on threads. */
        for (i = 0; i < n; i++) {
            if (r[i].before < 0)
                continue;
            a->stats[0] += r[i].loss;
            a->stats[1] += r[i].before < 1;
            a->stats[2] += r[i].before < 5;
            a->stats[3] += 1;
        }
    }
}
