/* Kernels over rows and channels: bodies of norm.h. */
#include "engine/ref/ref_private.h"

#include "engine/kern/elem.h"
#include "engine/kern/norm.h"

#include <stdlib.h>

static double *doubles(int64_t n)
{
    return xcalloc((size_t)n, sizeof(double));
}

/* ---- column sums and statistics */

struct sum_args {
    enum dtype dt;
    const void *x;
    const double *mean; /* [c], or NULL: plain sums */
};

static void sum_tile(const void *args, const struct tile *t)
{
    const struct sum_args *a = args;
    double x[REF_WIDE];
    int64_t i;
    int j;

    for (i = t->row0; i < t->row1; i++) {
        ref_row(a->dt, a->x, t, i, x);
        for (j = 0; j < t->cn; j++) {
            double d = a->mean ? x[j] - a->mean[t->c0 + j] : x[j];

            t->sum[0][j] += a->mean ? d * d : d;
        }
    }
}

void ref_colsum(const void *args)
{
    const struct kern_colsum *a = args;
    struct sum_args s = {a->dt, a->x, NULL};
    double *sum = doubles(a->c);
    int64_t j;

    ref_tiles(&s, a->rows, a->c, sum_tile, 1, sum);
    for (j = 0; a->accumulate && j < a->c; j++)
        sum[j] += dtype_load(a->pt, a->out, (size_t)j);
    ref_store(a->pt, a->out, 0, a->c, sum);
    free(sum);
}

void ref_norm_stats(const void *args)
{
    const struct kern_norm_stats *a = args;
    struct sum_args s = {a->dt, a->x, NULL};
    double *mean = doubles(a->c), *var = doubles(a->c);
    enum dtype vt = kern_vector(a->pt, a->wide);
    int64_t j;

    ref_tiles(&s, a->rows, a->c, sum_tile, 1, mean);
    for (j = 0; j < a->c; j++)
        mean[j] /= (double)a->rows;
    s.mean = mean;
    ref_tiles(&s, a->rows, a->c, sum_tile, 1, var);
    for (j = 0; j < a->c; j++)
        var[j] /= (double)a->rows;
    ref_store(vt, a->mean, 0, a->c, mean);
    ref_store(vt, a->var, 0, a->c, var);
    free(mean);
    free(var);
}

static void put(enum dtype t, void *p, int64_t i, double v)
{
    if (p)
        dtype_store(t, p, (size_t)i, v);
}

static double get(enum dtype t, const void *p, int64_t i)
{
    return dtype_load(t, p, (size_t)i);
}

/* v as it is stored. */
static double kept(enum dtype t, double v)
{
    uint16_t half;

    if (t == DT_F32 || t == DT_F64)
        return t == DT_F32 ? (double)(float)v : v;
    dtype_store(t, &half, 0, v);
    return dtype_load(t, &half, 0);
}

void ref_norm_final(const void *args)
{
    const struct kern_norm_final *a = args;
    enum dtype t = a->pt, vt = kern_vector(t, a->wide);
    enum dtype own = a->running_mean ? vt : t;
    int64_t i;

    for (i = 0; i < a->c; i++) {
        double mean, var, invstd, scale, bias;

        if (a->sum) {
            kern_norm_moments(get(vt, a->sum, i), get(vt, a->sumsq, i),
                              (double)a->rows, &mean, &var);
            put(vt, a->batch_mean, i, mean);
        } else {
            mean = get(own, a->mean, i);
            var = get(own, a->var, i);
        }
        invstd = kern_norm_invstd(var, a->eps);
        kern_norm_fold(mean, invstd, get(t, a->gamma, i), get(t, a->beta, i),
                       &scale, &bias);
        put(vt, a->invstd, i, invstd);
        put(vt, a->scale, i, scale);
        /* what rounding does to the scale is not to move the mean */
        bias += mean * (scale - kept(vt, scale));
        put(vt, a->bias, i, bias);
        if (!a->running_mean)
            continue;
        put(t, a->running_mean, i,
            kern_norm_running(get(t, a->running_mean, i), mean, a->momentum));
        put(t, a->running_var, i,
            kern_norm_running(get(t, a->running_var, i),
                              kern_norm_unbiased(var, (double)a->rows),
                              a->momentum));
    }
}

static void apply_tile(const void *args, const struct tile *t)
{
    const struct kern_norm_apply *a = args;
    double scale[REF_WIDE], bias[REF_WIDE], rscale[REF_WIDE], rbias[REF_WIDE];
    double x[REF_WIDE], r[REF_WIDE];
    enum dtype vt = kern_vector(a->pt, a->wide);
    int64_t i;
    int j;

    ref_channels(vt, a->scale, t, 1, scale);
    ref_channels(vt, a->bias, t, 0, bias);
    ref_channels(vt, a->rscale, t, 1, rscale);
    ref_channels(vt, a->rbias, t, 0, rbias);
    for (i = t->row0; i < t->row1; i++) {
        ref_row(a->dt, a->x, t, i, x);
        for (j = 0; j < t->cn; j++)
            x[j] = kern_norm_apply_at(x[j], scale[j], bias[j]);
        if (a->r) {
            ref_row(a->dt, a->r, t, i, r);
            for (j = 0; j < t->cn; j++)
                x[j] += kern_norm_apply_at(r[j], rscale[j], rbias[j]);
        }
        for (j = 0; a->relu && j < t->cn; j++)
            x[j] = kern_relu_at(x[j]);
        ref_put_row(a->dt, a->y, t, i, x);
    }
}

static void *array(int64_t rows, int64_t c, enum dtype dt)
{
    return xcalloc((size_t)(rows * c), dtype_size(dt));
}

void ref_norm_apply(const void *args)
{
    struct kern_norm_apply a = *(const struct kern_norm_apply *)args;
    void *room = a.pool.r ? array(a.rows, a.c, a.dt) : NULL;
    const struct kern_maxpool m =
        kern_pool_there(&a.pool, room, a.y, a.c, a.dt);

    if (room)
        a.y = room;
    ref_tiles(&a, a.rows, a.c, apply_tile, 0, NULL);
    if (room)
        ref_maxpool(&m);
    free(room);
}

/* ---- gradients */

/* What a gradient comes from. */
struct dz_args {
    enum dtype dt, vt;
    const void *dy0, *dy1, *y;
    const void *x[2]; /* and scale: the terms that y is made of */
    const void *scale[2], *bias[2];
};

/* Row i of y as KERN_NORM_APPLY makes it, but for the relu. */
static void applied_row(const struct dz_args *a, const struct tile *t,
                        int64_t i, double *y)
{
    double x[REF_WIDE], scale[REF_WIDE], bias[REF_WIDE];
    int j, k;

    for (k = 0; k < 2 && a->x[k]; k++) {
        ref_row(a->dt, a->x[k], t, i, x);
        ref_channels(a->vt, a->scale[k], t, 1, scale);
        ref_channels(a->vt, a->bias[k], t, 0, bias);
        for (j = 0; j < t->cn; j++) {
            double v = kern_norm_apply_at(x[j], scale[j], bias[j]);

            y[j] = k ? y[j] + v : v;
        }
    }
    for (j = 0; j < t->cn; j++)
        y[j] = kept(a->dt, y[j]);
}

/* Row i of dz = (dy0 + dy1) * (y > 0 or 1). */
static void dz_row(const struct dz_args *a, const struct tile *t, int64_t i,
                   double *dz)
{
    double v[REF_WIDE];
    int j;

    ref_row(a->dt, a->dy0, t, i, dz);
    if (a->dy1) {
        ref_row(a->dt, a->dy1, t, i, v);
        for (j = 0; j < t->cn; j++)
            dz[j] += v[j];
    }
    if (a->scale[0])
        applied_row(a, t, i, v);
    else if (a->y)
        ref_row(a->dt, a->y, t, i, v);
    else
        return;
    for (j = 0; j < t->cn; j++)
        dz[j] = kern_relu_grad_at(v[j], dz[j]);
}

/* sum += dz * xhat */
static void add_xhat(enum dtype dt, const void *p, const struct tile *t,
                     int64_t i, const double *stat, const double *dz,
                     double *sum)
{
    const double *mean = stat, *invstd = stat + REF_WIDE;
    double x[REF_WIDE];
    int j;

    ref_row(dt, p, t, i, x);
    for (j = 0; j < t->cn; j++)
        sum[j] += dz[j] * kern_norm_xhat(x[j], mean[j], invstd[j]);
}

static void grad_sums_tile(const void *args, const struct tile *t)
{
    const struct kern_norm_grad_sums *a = args;
    enum dtype vt = kern_vector(a->pt, a->wide);
    const struct dz_args d = {a->dt,
                              vt,
                              a->dy0,
                              a->dy1,
                              a->y,
                              {a->x, a->rx},
                              {a->scale, a->rscale},
                              {a->bias, a->rbias}};
    double stat[2 * REF_WIDE], rstat[2 * REF_WIDE], dz[REF_WIDE];
    int64_t i;
    int j;

    ref_channels(vt, a->mean, t, 0, stat);
    ref_channels(vt, a->invstd, t, 0, stat + REF_WIDE);
    ref_channels(vt, a->rmean, t, 0, rstat);
    ref_channels(vt, a->rinvstd, t, 0, rstat + REF_WIDE);
    for (i = t->row0; i < t->row1; i++) {
        dz_row(&d, t, i, dz);
        for (j = 0; j < t->cn; j++)
            t->sum[0][j] += dz[j];
        add_xhat(a->dt, a->x, t, i, stat, dz, t->sum[1]);
        if (a->rx)
            add_xhat(a->dt, a->rx, t, i, rstat, dz, t->sum[2]);
        if (a->dz)
            ref_put_row(a->dt, a->dz, t, i, dz);
    }
}

void ref_norm_grad_sums(const void *args)
{
    struct kern_norm_grad_sums a = *(const struct kern_norm_grad_sums *)args;
    const struct kern_maxpool_grad g =
        kern_pool_back(&a.pool, a.dy0, a.dy1, a.dz, a.c, a.dt);
    enum dtype vt = kern_vector(a.pt, a.wide);
    double *sum = doubles(3 * a.c);

    if (g.r) {
        ref_maxpool_grad(&g);
        a.dy0 = a.dz;
        a.dy1 = NULL;
    }
    ref_tiles(&a, a.rows, a.c, grad_sums_tile, 3, sum);
    ref_store(vt, a.s1, 0, a.c, sum);
    ref_store(vt, a.s2, 0, a.c, sum + a.c);
    if (a.rs2)
        ref_store(vt, a.rs2, 0, a.c, sum + 2 * a.c);
    free(sum);
}

void ref_norm_grad_final(const void *args)
{
    const struct kern_norm_grad_final *p = args;
    enum dtype t = p->pt, vt = kern_vector(t, p->wide);
    int64_t i;

    for (i = 0; i < p->c; i++) {
        double s1 = get(vt, p->s1, i), s2 = get(vt, p->s2, i), a, b, k;

        kern_norm_grad_fold(s1, s2, get(vt, p->mean, i), get(vt, p->invstd, i),
                            get(t, p->gamma, i), (double)p->rows, &a, &b, &k);
        put(vt, p->a, i, a);
        put(vt, p->b, i, b);
        k += get(vt, p->mean, i) * (b - kept(vt, b)) +
             s1 / (double)p->rows * (a - kept(vt, a));
        put(vt, p->k, i, k);
        /* rounded before it is added, like one that comes from another rank */
        if (p->dgamma)
            put(t, p->dgamma, i, get(t, p->dgamma, i) + kept(t, s2));
        if (p->dbeta)
            put(t, p->dbeta, i, get(t, p->dbeta, i) + kept(t, s1));
    }
}

static void grad_apply_tile(const void *args, const struct tile *t)
{
    const struct kern_norm_grad_apply *p = args;
    double a[REF_WIDE], b[REF_WIDE], k[REF_WIDE], x[REF_WIDE], dz[REF_WIDE];
    enum dtype vt = kern_vector(p->pt, p->wide);
    const struct dz_args d = {p->dt, vt,     p->dy0,     p->dy1,
                              p->y,  {p->x}, {p->scale}, {p->bias}};
    int64_t i;
    int j;

    ref_channels(vt, p->a, t, 0, a);
    ref_channels(vt, p->b, t, 0, b);
    ref_channels(vt, p->k, t, 0, k);
    for (i = t->row0; i < t->row1; i++) {
        dz_row(&d, t, i, dz);
        ref_row(p->dt, p->x, t, i, x);
        for (j = 0; j < t->cn; j++)
            dz[j] = kern_norm_grad_at(dz[j], x[j], a[j], b[j], k[j]);
        ref_put_row(p->dt, p->dx, t, i, dz);
    }
}

void ref_norm_grad_apply(const void *args)
{
    const struct kern_norm_grad_apply *a = args;

    ref_tiles(a, a->rows, a->c, grad_apply_tile, 0, NULL);
}
