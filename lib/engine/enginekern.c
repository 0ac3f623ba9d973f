/* What each kernel of table.h is called with. */
#include "engine/engine_private.h"

static const char *const names[KERN_N] = {
    [KERN_IMAGE] = "image",
    [KERN_CAST] = "cast",
    [KERN_ADD] = "add",
    [KERN_RELU] = "relu",
    [KERN_RELU_GRAD] = "relu_grad",
    [KERN_COLSUM] = "colsum",
    [KERN_NORM_STATS] = "norm_stats",
    [KERN_NORM_FINAL] = "norm_final",
    [KERN_NORM_APPLY] = "norm_apply",
    [KERN_NORM_GRAD_SUMS] = "norm_grad_sums",
    [KERN_NORM_GRAD_FINAL] = "norm_grad_final",
    [KERN_NORM_GRAD_APPLY] = "norm_grad_apply",
    [KERN_MAXPOOL] = "maxpool",
    [KERN_MAXPOOL_GRAD] = "maxpool_grad",
    [KERN_AVGPOOL] = "avgpool",
    [KERN_AVGPOOL_GRAD] = "avgpool_grad",
    [KERN_SOFTMAX_CE] = "softmax_ce",
    [KERN_GRAD_CHECK] = "grad_check",
    [KERN_STEP] = "step",
    [KERN_SGD] = "sgd",
    [KERN_EMA] = "ema",
};

const char *kernel_name(enum kernel k)
{
    return (unsigned)k < KERN_N ? names[k] : "unknown kernel";
}

/* ---- flat kernels */

static enum dtype dt_of(struct call *c, enum dtype t)
{
    return call_computed(c, "dt", t, false);
}

static enum dtype pt_of(struct call *c, enum dtype t)
{
    return call_computed(c, "pt", t, true);
}

static void n_of(struct call *c, int64_t n)
{
    call_dim(c, "n", n, 0);
    c->empty = n == 0;
    call_times(c, n, 1, 1, 1);
}

/* What is done to whole pictures. */
static void image_mix(struct call *c, const struct kern_image *a)
{
    const int32_t *b = a->box;
    int64_t size;

    call_dim(c, "h", a->h, 1);
    call_dim(c, "w", a->w, 1);
    size = call_times(c, a->h, a->w, 1, 1);
    if (size > 0 && a->rows % size)
        call_refuse(c, ERR_INTERNAL, "%lld rows are no pictures of %lldx%lld",
                    (long long)a->rows, (long long)a->h, (long long)a->w);
    if (!(a->mix >= 0 && a->mix <= 1))
        call_refuse(c, ERR_INTERNAL, "mix %g: out of range", a->mix);
    if (b[0] < 0 || b[1] < 0 || b[2] > a->h || b[3] > a->w)
        call_refuse(c, ERR_INTERNAL, "box %d,%d,%d,%d: outside of the picture",
                    b[0], b[1], b[2], b[3]);
    if (size > 0)
        call_operand(c, "erase", a->erase, DT_I32, a->rows / size * 4,
                     OP_OPTIONAL);
}

static void image(struct call *c, const struct kern_image *a)
{
    enum dtype dt = dt_of(c, a->dt);

    call_dim(c, "rows", a->rows, 1);
    call_dim(c, "c", a->c, 1);
    call_dim(c, "cy", a->cy, a->c);
    if (a->c > 4 || a->cy > 64)
        call_refuse(c, ERR_INTERNAL, "%d channels into %d: at most 4 into 64",
                    a->c, a->cy);
    call_operand(c, "x", a->x, DT_U8, call_times(c, a->rows, a->c, 1, 1),
                 OP_IN);
    call_operand(c, "y", a->y, dt, call_times(c, a->rows, a->cy, 1, 1), OP_OUT);
    if (a->h != 0)
        image_mix(c, a);
}

static void cast(struct call *c, const struct kern_cast *a)
{
    enum dtype from = call_computed(c, "from", a->from, false);
    enum dtype to = call_computed(c, "to", a->to, false);

    n_of(c, a->n);
    call_operand(c, "x", a->x, from, a->n, OP_IN);
    call_operand(c, "y", a->y, to, a->n, OP_OUT);
}

static void add(struct call *c, const struct kern_add *a)
{
    enum dtype dt = dt_of(c, a->dt);

    n_of(c, a->n);
    call_operand(c, "a", a->a, dt, a->n, OP_SAME);
    call_operand(c, "b", a->b, dt, a->n, OP_SAME);
    call_operand(c, "y", a->y, dt, a->n, OP_OUT);
}

static void relu(struct call *c, const struct kern_relu *a)
{
    enum dtype dt = dt_of(c, a->dt);

    n_of(c, a->n);
    call_operand(c, "x", a->x, dt, a->n, OP_SAME);
    call_operand(c, "y", a->y, dt, a->n, OP_OUT);
}

static void relu_grad(struct call *c, const struct kern_relu_grad *a)
{
    enum dtype dt = dt_of(c, a->dt);

    n_of(c, a->n);
    call_operand(c, "y", a->y, dt, a->n, OP_IN);
    call_operand(c, "dy0", a->dy0, dt, a->n, OP_IN);
    call_operand(c, "dy1", a->dy1, dt, a->n, OP_OPTIONAL);
    call_operand(c, "dx", a->dx, dt, a->n, OP_OUT);
}

static void grad_check(struct call *c, const struct kern_grad_check *a)
{
    enum dtype pt = pt_of(c, a->pt);

    n_of(c, a->n);
    call_operand(c, "g", a->g, pt, a->n, OP_IN);
    call_operand(c, "stats", a->stats, DT_F64, 3, OP_OUT);
}

/* In numbers of 8 bytes. */
#define STATE (sizeof(struct kern_state) / 8)

static void step(struct call *c, const struct kern_step *a)
{
    call_dim(c, "shares", a->shares, 1);
    call_dim(c, "logs", a->logs, a->log ? 1 : 0);
    call_operand(c, "state", a->state, DT_F64, STATE, OP_OUT);
    call_operand(c, "check", a->check, DT_F64, 3 * a->shares, OP_IN);
    call_operand(c, "stats", a->stats, DT_F64, 4, OP_OUT | OP_OPTIONAL);
    call_operand(c, "log", a->log, DT_F64, a->logs * (int64_t)STATE,
                 OP_OUT | OP_OPTIONAL);
}

static void sgd(struct call *c, const struct kern_sgd *a)
{
    enum dtype pt = pt_of(c, a->pt);

    n_of(c, a->n);
    call_operand(c, "w", a->w, pt, a->n, OP_OUT);
    call_operand(c, "m", a->m, pt, a->n, OP_OUT);
    call_operand(c, "g", a->g, pt, a->n, OP_IN);
    call_operand(c, "state", a->state, DT_F64, STATE, OP_OPTIONAL);
    call_operand(c, "norms", a->norms, DT_F64, 6, OP_OPTIONAL);
}

static void ema(struct call *c, const struct kern_ema *a)
{
    enum dtype pt = pt_of(c, a->pt);

    n_of(c, a->n);
    call_operand(c, "avg", a->avg, pt, a->n, OP_OUT);
    call_operand(c, "w", a->w, pt, a->n, OP_IN);
}

/* ---- rows and channels */

/* Given together or not at all. */
static void together(struct call *c, const char *what, const void *a,
                     const void *b)
{
    if (!a != !b)
        call_refuse(c, ERR_INTERNAL, "%s: one of them is NULL", what);
}

static int64_t rows_of(struct call *c, int64_t rows, int64_t channels)
{
    call_dim(c, "rows", rows, 1);
    call_dim(c, "c", channels, 1);
    return call_times(c, rows, channels, 1, 1);
}

static void colsum(struct call *c, const struct kern_colsum *a)
{
    enum dtype dt = dt_of(c, a->dt), pt = pt_of(c, a->pt);

    call_operand(c, "x", a->x, dt, rows_of(c, a->rows, a->c), OP_IN);
    call_operand(c, "out", a->out, pt, a->c, OP_OUT);
}

static void norm_stats(struct call *c, const struct kern_norm_stats *a)
{
    enum dtype dt = dt_of(c, a->dt);
    enum dtype vt = kern_vector(pt_of(c, a->pt), a->wide);

    call_operand(c, "x", a->x, dt, rows_of(c, a->rows, a->c), OP_IN);
    call_operand(c, "mean", a->mean, vt, a->c, OP_OUT);
    call_operand(c, "var", a->var, vt, a->c, OP_OUT);
}

static void norm_final(struct call *c, const struct kern_norm_final *a)
{
    enum dtype pt = pt_of(c, a->pt);
    enum dtype vt = kern_vector(pt, a->wide);
    enum dtype own = a->running_mean ? vt : pt; /* of the batch or not */

    rows_of(c, a->rows, a->c);
    together(c, "running_mean, running_var", a->running_mean, a->running_var);
    if (!(a->eps >= 0) || !(a->momentum >= 0 && a->momentum <= 1))
        call_refuse(c, ERR_INTERNAL, "eps %g, momentum %g: out of range",
                    a->eps, a->momentum);
    together(c, "sum, sumsq", a->sum, a->sumsq);
    if (a->sum) {
        call_operand(c, "sum", a->sum, vt, a->c, OP_IN);
        call_operand(c, "sumsq", a->sumsq, vt, a->c, OP_IN);
        call_operand(c, "batch_mean", a->batch_mean, vt, a->c, OP_OUT);
    } else {
        call_operand(c, "mean", a->mean, own, a->c, OP_IN);
        call_operand(c, "var", a->var, own, a->c, OP_IN);
    }
    call_operand(c, "gamma", a->gamma, pt, a->c, OP_IN);
    call_operand(c, "beta", a->beta, pt, a->c, OP_IN);
    call_operand(c, "invstd", a->invstd, vt, a->c, OP_OUT | OP_OPTIONAL);
    call_operand(c, "scale", a->scale, vt, a->c, OP_OUT);
    call_operand(c, "bias", a->bias, vt, a->c, OP_OUT);
    call_operand(c, "running_mean", a->running_mean, pt, a->c,
                 OP_OUT | OP_OPTIONAL);
    call_operand(c, "running_var", a->running_var, pt, a->c,
                 OP_OUT | OP_OPTIONAL);
}

/* Elements of x and of y of a max pool, from fields in this order: n, h, w, c
 * and r, stride, pad. */
static void max_sizes(struct call *c, const int64_t x[4], const int win[3],
                      int64_t size[2])
{
    const int64_t w[3] = {win[0], win[1], win[2]};
    int64_t p, q;

    call_dim(c, "n", x[0], 1);
    call_dim(c, "h", x[1], 1);
    call_dim(c, "w", x[2], 1);
    call_dim(c, "c", x[3], 1);
    call_dim(c, "r", w[0], 1);
    call_dim(c, "stride", w[1], 1);
    call_dim(c, "pad", w[2], 0);
    if (w[0] > 16 || w[2] >= w[0])
        call_refuse(c, ERR_INTERNAL,
                    "window %d with padding %d: at most 16, "
                    "padding less",
                    win[0], win[2]);
    p = call_windows(c, "h", x[1], w);
    q = call_windows(c, "w", x[2], w);
    size[0] = call_times(c, x[0], x[1], x[2], x[3]);
    size[1] = call_times(c, x[0], p, q, x[3]);
}

/* Elements behind the pool of a norm of that many rows; without one, of the norm. */
static int64_t behind(struct call *c, const struct kern_pool *pool,
                      int64_t rows, int64_t channels)
{
    const int64_t x[4] = {pool->n, pool->h, pool->w, channels};
    const int win[3] = {pool->r, pool->stride, pool->pad};
    int64_t size[2];

    if (!pool->r)
        return call_times(c, rows, channels, 1, 1);
    max_sizes(c, x, win, size);
    if (rows > INT32_MAX)
        call_refuse(c, ERR_DATA, "%lld rows: too many", (long long)rows);
    if (call_times(c, pool->n, pool->h, pool->w, 1) != rows)
        call_refuse(c, ERR_INTERNAL, "%lld rows are not %lldx%lldx%lld",
                    (long long)rows, (long long)pool->n, (long long)pool->h,
                    (long long)pool->w);
    return size[1];
}

static void norm_apply(struct call *c, const struct kern_norm_apply *a)
{
    enum dtype dt = dt_of(c, a->dt);
    enum dtype vt = kern_vector(pt_of(c, a->pt), a->wide);
    int64_t n = rows_of(c, a->rows, a->c);

    together(c, "rscale, rbias", a->rscale, a->rbias);
    if (a->rscale && !a->r)
        call_refuse(c, ERR_INTERNAL, "rscale without r");
    if (a->r && a->pool.r)
        call_refuse(c, ERR_INTERNAL, "r with a pool");
    call_operand(c, "x", a->x, dt, n, a->pool.r ? OP_IN : OP_SAME);
    call_operand(c, "scale", a->scale, vt, a->c, OP_IN);
    call_operand(c, "bias", a->bias, vt, a->c, OP_IN);
    call_operand(c, "r", a->r, dt, n, OP_SAME | OP_OPTIONAL);
    call_operand(c, "rscale", a->rscale, vt, a->c, OP_OPTIONAL);
    call_operand(c, "rbias", a->rbias, vt, a->c, OP_OPTIONAL);
    n = behind(c, &a->pool, a->rows, a->c);
    call_operand(c, "y", a->y, dt, n, OP_OUT);
    if (a->pool.r)
        call_operand(c, "index", a->pool.index, DT_U8, n, OP_OUT | OP_OPTIONAL);
}

static void norm_grad_sums(struct call *c, const struct kern_norm_grad_sums *a)
{
    enum dtype dt = dt_of(c, a->dt);
    enum dtype vt = kern_vector(pt_of(c, a->pt), a->wide);
    int64_t n = rows_of(c, a->rows, a->c), far;

    together(c, "rx, rmean", a->rx, a->rmean);
    together(c, "rx, rinvstd", a->rx, a->rinvstd);
    together(c, "rx, rs2", a->rx, a->rs2);
    together(c, "scale, bias", a->scale, a->bias);
    together(c, "scale with rx, rscale", a->scale && a->rx ? a->rx : NULL,
             a->rscale);
    together(c, "rscale, rbias", a->rscale, a->rbias);
    if (a->y && a->scale)
        call_refuse(c, ERR_INTERNAL, "y and scale");
    if (a->pool.r && (!a->scale || !a->dz || a->rx))
        call_refuse(c, ERR_INTERNAL, "a pool without scale and dz, or with rx");
    far = behind(c, &a->pool, a->rows, a->c);
    call_operand(c, "dy0", a->dy0, dt, far, a->pool.r ? OP_IN : OP_SAME);
    call_operand(c, "dy1", a->dy1, dt, far, OP_OPTIONAL);
    if (a->pool.r)
        call_operand(c, "index", a->pool.index, DT_U8, far, OP_IN);
    call_operand(c, "y", a->y, dt, n, OP_OPTIONAL);
    call_operand(c, "x", a->x, dt, n, OP_IN);
    call_operand(c, "mean", a->mean, vt, a->c, OP_IN);
    call_operand(c, "invstd", a->invstd, vt, a->c, OP_IN);
    call_operand(c, "rx", a->rx, dt, n, OP_OPTIONAL);
    call_operand(c, "rmean", a->rmean, vt, a->c, OP_OPTIONAL);
    call_operand(c, "rinvstd", a->rinvstd, vt, a->c, OP_OPTIONAL);
    call_operand(c, "dz", a->dz, dt, n, OP_OUT | OP_OPTIONAL);
    call_operand(c, "s1", a->s1, vt, a->c, OP_OUT);
    call_operand(c, "s2", a->s2, vt, a->c, OP_OUT);
    call_operand(c, "rs2", a->rs2, vt, a->c, OP_OUT | OP_OPTIONAL);
    call_operand(c, "scale", a->scale, vt, a->c, OP_OPTIONAL);
    call_operand(c, "bias", a->bias, vt, a->c, OP_OPTIONAL);
    call_operand(c, "rscale", a->rscale, vt, a->c, OP_OPTIONAL);
    call_operand(c, "rbias", a->rbias, vt, a->c, OP_OPTIONAL);
}

static void norm_grad_final(struct call *c,
                            const struct kern_norm_grad_final *a)
{
    enum dtype pt = pt_of(c, a->pt);
    enum dtype vt = kern_vector(pt, a->wide);

    rows_of(c, a->rows, a->c);
    call_operand(c, "s1", a->s1, vt, a->c, OP_IN);
    call_operand(c, "s2", a->s2, vt, a->c, OP_IN);
    call_operand(c, "mean", a->mean, vt, a->c, OP_IN);
    call_operand(c, "invstd", a->invstd, vt, a->c, OP_IN);
    call_operand(c, "gamma", a->gamma, pt, a->c, OP_IN);
    call_operand(c, "dgamma", a->dgamma, pt, a->c, OP_OUT | OP_OPTIONAL);
    call_operand(c, "dbeta", a->dbeta, pt, a->c, OP_OUT | OP_OPTIONAL);
    call_operand(c, "a", a->a, vt, a->c, OP_OUT);
    call_operand(c, "b", a->b, vt, a->c, OP_OUT);
    call_operand(c, "k", a->k, vt, a->c, OP_OUT);
}

static void norm_grad_apply(struct call *c,
                            const struct kern_norm_grad_apply *a)
{
    enum dtype dt = dt_of(c, a->dt);
    enum dtype vt = kern_vector(pt_of(c, a->pt), a->wide);
    int64_t n = rows_of(c, a->rows, a->c);

    together(c, "x, b", a->x, a->b);
    together(c, "x, k", a->x, a->k);
    together(c, "scale, bias", a->scale, a->bias);
    if (a->scale && (a->y || !a->x))
        call_refuse(c, ERR_INTERNAL, "scale with y or without x");
    call_operand(c, "dy0", a->dy0, dt, n, OP_SAME);
    call_operand(c, "dy1", a->dy1, dt, n, OP_OPTIONAL);
    call_operand(c, "y", a->y, dt, n, OP_OPTIONAL);
    call_operand(c, "x", a->x, dt, n, OP_OPTIONAL);
    call_operand(c, "a", a->a, vt, a->c, OP_IN);
    call_operand(c, "b", a->b, vt, a->c, OP_OPTIONAL);
    call_operand(c, "k", a->k, vt, a->c, OP_OPTIONAL);
    call_operand(c, "scale", a->scale, vt, a->c, OP_OPTIONAL);
    call_operand(c, "bias", a->bias, vt, a->c, OP_OPTIONAL);
    call_operand(c, "dx", a->dx, dt, n, OP_OUT);
}

/* ---- pools and the loss */

static void maxpool(struct call *c, const struct kern_maxpool *a)
{
    const int64_t x[4] = {a->n, a->h, a->w, a->c};
    const int win[3] = {a->r, a->stride, a->pad};
    enum dtype dt = dt_of(c, a->dt);
    int64_t size[2];

    max_sizes(c, x, win, size);
    call_operand(c, "x", a->x, dt, size[0], OP_IN);
    call_operand(c, "y", a->y, dt, size[1], OP_OUT);
    call_operand(c, "index", a->index, DT_U8, size[1], OP_OUT | OP_OPTIONAL);
}

static void maxpool_grad(struct call *c, const struct kern_maxpool_grad *a)
{
    const int64_t x[4] = {a->n, a->h, a->w, a->c};
    const int win[3] = {a->r, a->stride, a->pad};
    enum dtype dt = dt_of(c, a->dt);
    int64_t size[2];

    max_sizes(c, x, win, size);
    call_operand(c, "dy0", a->dy0, dt, size[1], OP_IN);
    call_operand(c, "dy1", a->dy1, dt, size[1], OP_OPTIONAL);
    call_operand(c, "index", a->index, DT_U8, size[1], OP_IN);
    call_operand(c, "dx", a->dx, dt, size[0], OP_OUT);
}

static int64_t mean_sizes(struct call *c, int64_t n, int64_t hw, int64_t ch)
{
    call_dim(c, "n", n, 1);
    call_dim(c, "hw", hw, 1);
    call_dim(c, "c", ch, 1);
    return call_times(c, n, hw, ch, 1);
}

static void avgpool(struct call *c, const struct kern_avgpool *a)
{
    enum dtype dt = dt_of(c, a->dt);
    int64_t size = mean_sizes(c, a->n, a->hw, a->c);

    call_operand(c, "x", a->x, dt, size, OP_IN);
    call_operand(c, "y", a->y, dt, call_times(c, a->n, a->c, 1, 1), OP_OUT);
}

static void avgpool_grad(struct call *c, const struct kern_avgpool_grad *a)
{
    enum dtype dt = dt_of(c, a->dt);
    int64_t size = mean_sizes(c, a->n, a->hw, a->c);
    int64_t small = call_times(c, a->n, a->c, 1, 1);

    call_operand(c, "dy0", a->dy0, dt, small, OP_IN);
    call_operand(c, "dy1", a->dy1, dt, small, OP_OPTIONAL);
    call_operand(c, "dx", a->dx, dt, size, OP_OUT);
}

static void softmax_ce(struct call *c, const struct kern_softmax_ce *a)
{
    enum dtype dt = dt_of(c, a->dt);
    int64_t size;

    call_dim(c, "n", a->n, 1);
    call_dim(c, "k", a->k, 1);
    size = call_times(c, a->n, a->k, 1, 1);
    if (!(a->smoothing >= 0 && a->smoothing <= 1))
        call_refuse(c, ERR_INTERNAL, "smoothing %g: out of range",
                    a->smoothing);
    if (!(a->mix >= 0 && a->mix <= 1))
        call_refuse(c, ERR_INTERNAL, "mix %g: out of range", a->mix);
    call_operand(c, "logits", a->logits, dt, size, OP_IN);
    call_operand(c, "label", a->label, DT_I64, a->n, OP_IN);
    call_operand(c, "label2", a->label2, DT_I64, a->n, OP_OPTIONAL);
    call_operand(c, "dlogits", a->dlogits, dt, size, OP_OUT | OP_OPTIONAL);
    call_operand(c, "stats", a->stats, DT_F64, 4, OP_OUT);
    call_operand(c, "scale", a->scale, DT_F64, 1, OP_OPTIONAL);
}

int call_kernel(struct call *c, enum kernel k, const void *args, bool want_text)
{
    call_begin(c, kernel_name(k), want_text);
    if ((unsigned)k >= KERN_N)
        return err_set(ERR_INTERNAL, "kernel %d: there is none", (int)k);
    if (!args)
        return err_set(ERR_INTERNAL, "%s: no arguments", c->name);
#define CASE(K, fn)                                                            \
    case K:                                                                    \
        fn(c, args);                                                           \
        break
    switch (k) {
        CASE(KERN_IMAGE, image);
        CASE(KERN_CAST, cast);
        CASE(KERN_ADD, add);
        CASE(KERN_RELU, relu);
        CASE(KERN_RELU_GRAD, relu_grad);
        CASE(KERN_COLSUM, colsum);
        CASE(KERN_NORM_STATS, norm_stats);
        CASE(KERN_NORM_FINAL, norm_final);
        CASE(KERN_NORM_APPLY, norm_apply);
        CASE(KERN_NORM_GRAD_SUMS, norm_grad_sums);
        CASE(KERN_NORM_GRAD_FINAL, norm_grad_final);
        CASE(KERN_NORM_GRAD_APPLY, norm_grad_apply);
        CASE(KERN_MAXPOOL, maxpool);
        CASE(KERN_MAXPOOL_GRAD, maxpool_grad);
        CASE(KERN_AVGPOOL, avgpool);
        CASE(KERN_AVGPOOL_GRAD, avgpool_grad);
        CASE(KERN_SOFTMAX_CE, softmax_ce);
        CASE(KERN_GRAD_CHECK, grad_check);
        CASE(KERN_STEP, step);
        CASE(KERN_SGD, sgd);
        CASE(KERN_EMA, ema);
    case KERN_N:
        break;
    }
    return call_finish(c);
}
