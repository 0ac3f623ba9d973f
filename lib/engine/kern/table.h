/*
 * table.h - the kernels: their numbers, arguments and formulas.
 *
 * Every engine runs these; the formula beside each argument struct is the
 * contract, `ref` its oracle. Letters: rows = N*H*W, c = channels; arrays of
 * activations are [rows,c] of dtype `dt`; parameters, statistics and their
 * gradients are [c] of dtype `pt` (F32; F64 in ref's double mode). Arithmetic is
 * fp32 (ref: fp64) whatever dt is; stores round to nearest even. Pointers
 * marked "or NULL" switch a term off. Outputs may not overlap inputs unless it
 * says so.
 *
 * The per-element formulas stand in kern/elem.h and kern/norm.h, which compile
 * as C11 and as CUDA C++; engines differ only in how they loop over them.
 */
#ifndef ENGINE_KERN_TABLE_H
#define ENGINE_KERN_TABLE_H

#include "tensor/dtype.h"

#include <stdbool.h>
#include <stdint.h>

enum kernel {
    KERN_IMAGE,
    KERN_CAST,
    KERN_ADD,
    KERN_RELU,
    KERN_RELU_GRAD,
    KERN_COLSUM,
    KERN_NORM_STATS,
    KERN_NORM_FINAL,
    KERN_NORM_APPLY,
    KERN_NORM_GRAD_SUMS,
    KERN_NORM_GRAD_FINAL,
    KERN_NORM_GRAD_APPLY,
    KERN_MAXPOOL,
    KERN_MAXPOOL_GRAD,
    KERN_AVGPOOL,
    KERN_AVGPOOL_GRAD,
    KERN_SOFTMAX_CE,
    KERN_GRAD_CHECK,
    KERN_STEP,
    KERN_SGD,
    KERN_EMA,
    KERN_N
};

/* y[i,ch] = x[i,ch]*mul[ch] + add[ch] for ch < c, 0 for c <= ch < cy.
 * x u8 [rows,c]; y [rows,cy]. Normalisation: mul = 1/(255 std), add = -mean/std.
 *
 * With h > 0 the rows are n = rows/(h w) pictures, and two things are done to y
 * before it is stored. Places in the rectangle erase[i] = top, left, bottom,
 * right of picture i become 0. Then each picture is mixed with the one before it,
 * j = i-1, the first with the last: y_i = (1-mix) y_i + mix y_j, or in the
 * rectangle box, if it is not empty, y_i = y_j.
 * Source: pytorch/vision torchvision/transforms/v2/_augment.py. */
struct kern_image {
    const uint8_t *x;
    void *y;
    int64_t rows;
    int c, cy;
    enum dtype dt;
    float mul[4], add[4];
    int64_t h, w;
    const int32_t *erase; /* [n,4] in the engine's memory, or NULL */
    double mix;           /* 0..1; 0 with a box */
    int32_t box[4];
};

/* y[i] = x[i] */
struct kern_cast {
    const void *x;
    void *y;
    int64_t n;
    enum dtype from, to;
};

/* y[i] = a[i] + b[i]; y may be a or b */
struct kern_add {
    const void *a, *b;
    void *y;
    int64_t n;
    enum dtype dt;
};

/* y[i] = max(x[i], 0), NaN stays; y may be x.
 * Gradient: dx[i] = y[i] > 0 ? dy0[i] + dy1[i] : 0. */
struct kern_relu {
    const void *x;
    void *y;
    int64_t n;
    enum dtype dt;
};
struct kern_relu_grad {
    const void *y, *dy0, *dy1; /* dy1 or NULL */
    void *dx;
    int64_t n;
    enum dtype dt;
};

/* out[ch] (+)= sum over rows of x[i,ch]: the gradient of a bias */
struct kern_colsum {
    const void *x;
    void *out;
    int64_t rows, c;
    enum dtype dt, pt;
    bool accumulate;
};

/*
 * The kernels of a norm hand each other vectors [c]: mean, var, invstd, scale,
 * bias, s1, s2, rs2, a, b, k. They are pt, or if a call is `wide` F64: what fp32
 * would take from one of them is the same in each row, so it adds up in the
 * means and in the gradients of weights, where rounding of elements evens out.
 * All calls of a norm agree; engine_wide_norms says what an engine wants.
 */
static inline enum dtype kern_vector(enum dtype pt, bool wide)
{
    return wide ? DT_F64 : pt;
}

/* mean[ch] = sum x/rows; var[ch] = sum (x-mean)^2/rows (biased). Must keep its
 * precision when |mean| >> sqrt(var): two passes or shifted sums. */
struct kern_norm_stats {
    const void *x;
    void *mean, *var;
    int64_t rows, c;
    enum dtype dt, pt;
    bool wide;
};

/*
 * invstd = 1/sqrt(var+eps); scale = gamma*invstd; bias = beta - mean*scale.
 * With running_mean: running_mean += momentum*(mean - running_mean);
 * running_var += momentum*(var*rows/(rows-1) - running_var), written as
 * (1-momentum)*r + momentum*v. rows 1 keeps var. invstd, running_* or NULL.
 * Evaluation: mean, var are the running ones, of pt always. With sum and sumsq
 * (or NULL) those are not looked at: mean = sum/rows, var = max(0, sumsq/rows -
 * mean^2), and the mean is written to batch_mean.
 */
struct kern_norm_final {
    const void *mean, *var, *gamma, *beta;
    void *invstd, *scale, *bias, *running_mean, *running_var;
    int64_t rows, c;
    double eps, momentum;
    enum dtype pt;
    const void *sum, *sumsq;
    void *batch_mean;
    bool wide;
};

/*
 * A max pool (KERN_MAXPOOL) behind a norm, whose results nobody else reads; r 0:
 * there is none. The rows of the norm are the places [n,h,w]; what has its place
 * behind the pool is [n,p,q,c], and so is index.
 */
struct kern_pool {
    uint8_t *index;
    int64_t n, h, w;
    int r, stride, pad;
};

/* y = act(x*scale + bias + r*rscale + rbias); r or NULL; rscale, rbias or NULL
 * (then + r itself); act = relu or nothing; y may be x or r. With a pool (then r
 * NULL, y not x) y and pool.index (or NULL) are what KERN_MAXPOOL makes of that,
 * rounded to dt. */
struct kern_norm_apply {
    const void *x, *scale, *bias, *r, *rscale, *rbias;
    void *y;
    int64_t rows, c;
    bool relu;
    enum dtype dt, pt;
    bool wide;
    struct kern_pool pool;
};

/*
 * dz = (dy0 + dy1) * (y > 0 or 1); s1 = sum dz; s2 = sum dz*(x-mean)*invstd;
 * rs2 the same with rx, rmean, rinvstd. dy1, y, dz, rx.. or NULL. dz may be dy0.
 * s1, s2, rs2 [c] pt. With scale and bias (or NULL) y is NULL and stands for what
 * KERN_NORM_APPLY makes of x, in dt, so that it need not be read; with rx then of
 * that too, with rscale and rbias. With a pool (then scale and dz, which is not dy0,
 * and no rx) dy0 + dy1 is the gradient behind it, and here stands what
 * KERN_MAXPOOL_GRAD makes of that, rounded to dt.
 */
struct kern_norm_grad_sums {
    const void *dy0, *dy1, *y, *x, *mean, *invstd, *rx, *rmean, *rinvstd;
    void *dz, *s1, *s2, *rs2;
    int64_t rows, c;
    enum dtype dt, pt;
    bool wide;
    const void *scale, *bias, *rscale, *rbias;
    struct kern_pool pool;
};

/*
 * dgamma += s2, dbeta += s1 (NULL: not wanted); coefficients of dx = a*dz + b*x
 * + k: a = gamma*invstd, b = -a*invstd*s2/rows, k = -a*s1/rows - b*mean.
 * Source: pytorch aten/src/ATen/native/Normalization.cpp, backward in training.
 */
struct kern_norm_grad_final {
    const void *s1, *s2, *mean, *invstd, *gamma;
    void *dgamma, *dbeta, *a, *b, *k;
    int64_t rows, c;
    enum dtype pt;
    bool wide;
};

/* dx = a*dz + b*x + k with dz = (dy0 + dy1)*(y > 0 or 1); dy1, y or NULL; x, b,
 * k NULL together (frozen norm); dx may be dy0. scale, bias as above. */
struct kern_norm_grad_apply {
    const void *dy0, *dy1, *y, *x, *a, *b, *k;
    void *dx;
    int64_t rows, c;
    enum dtype dt, pt;
    bool wide;
    const void *scale, *bias;
};

/*
 * Max pooling r x r, stride, pad (with -inf): y [n,p,q,c]; index u8 [n,p,q,c] =
 * ky*r+kx of the first largest in scan order (NaN counts as largest), or NULL.
 * Gradient, gathered: dx[n,h,w,c] = sum of dy0+dy1 over the windows whose index
 * names this place. p = (h + 2*pad - r)/stride + 1, q alike.
 */
struct kern_maxpool {
    const void *x;
    void *y;
    uint8_t *index;
    int64_t n, h, w, c;
    int r, stride, pad;
    enum dtype dt;
};
struct kern_maxpool_grad {
    const void *dy0, *dy1; /* dy1 or NULL */
    const uint8_t *index;
    void *dx;
    int64_t n, h, w, c;
    int r, stride, pad;
    enum dtype dt;
};

/* The pool behind a norm as a call of its own, there and back; c channels of dt. */
static inline struct kern_maxpool kern_pool_there(const struct kern_pool *p,
                                                  const void *x, void *y,
                                                  int64_t c, enum dtype dt)
{
    struct kern_maxpool m = {x, y,    p->index,  p->n,   p->h, p->w,
                             c, p->r, p->stride, p->pad, dt};

    return m;
}
static inline struct kern_maxpool_grad kern_pool_back(const struct kern_pool *p,
                                                      const void *dy0,
                                                      const void *dy1, void *dx,
                                                      int64_t c, enum dtype dt)
{
    struct kern_maxpool_grad g = {dy0,  dy1, p->index, dx,        p->n,   p->h,
                                  p->w, c,   p->r,     p->stride, p->pad, dt};

    return g;
}

/* y[n,c] = mean over hw of x[n,hw,c]; dx[n,i,c] = (dy0+dy1)[n,c]/hw. */
struct kern_avgpool {
    const void *x;
    void *y;
    int64_t n, hw, c;
    enum dtype dt;
};
struct kern_avgpool_grad {
    const void *dy0, *dy1;
    void *dx;
    int64_t n, hw, c;
    enum dtype dt;
};

/*
 * Softmax cross-entropy over rows of logits [n,k] (pitch k) with smoothing eps:
 * t = (1-eps)*onehot + eps/k; loss_i = -sum_c t_c log softmax_c. Rows with
 * label < 0 count for nothing. dlogits = (softmax - t)*gscale, 0 for those rows
 * (dlogits or NULL). stats[0] += sum of loss_i, [1] += rows whose label is the
 * top class, [2] += rows whose label is among the top 5, [3] += rows counted.
 * Rank of a label = classes with a larger logit, plus equal ones of lower index.
 * With label2 the onehot is (1-mix) onehot(label) + mix onehot(label2); rows
 * without label2 count for nothing either; stats look at label alone. gscale is
 * multiplied by *scale.
 */
struct kern_softmax_ce {
    const void *logits;
    const int64_t *label; /* in the engine's memory */
    void *dlogits;
    double *stats; /* [4], in the engine's memory */
    int64_t n, k;
    double smoothing, gscale;
    enum dtype dt;
    const int64_t *label2; /* in the engine's memory, or NULL */
    double mix;
    const double *scale; /* in the engine's memory, or NULL: 1 */
};

/* stats[0] += sum g[i]^2 over the finite ones, stats[1] += number of others,
 * stats[2] = the larger of itself and 1 + base + i of the last of the others. */
struct kern_grad_check {
    const void *g;
    double *stats; /* [3] */
    int64_t n;
    enum dtype pt;
    int64_t base;
};

/*
 * What a step leaves to the next one, in the engine's memory. The host gives lr
 * before a step and reads the rest when it likes: nothing of it is needed there.
 */
struct kern_state {
    double lr;
    double scale;          /* of the loss */
    int64_t good, skipped; /* steps since it moved; steps without update */
    int64_t steps;         /* KERN_STEPs so far */
    /* of the last of them */
    double norm;     /* of the gradients, unscaled; NaN if one is not finite */
    double gmul;     /* what they are to be multiplied by */
    int64_t update;  /* 0: the weights are to stay */
    int64_t bad;     /* 1 + place of the last gradient not finite, or 0 */
    double stats[4]; /* of kern_softmax_ce */
};

/*
 * The verdict on the gradients of a step, between KERN_GRAD_CHECK and KERN_SGD.
 * Squares and counts of check [shares,3] are added in order. update = all are
 * finite and so is the sum; norm = sqrt(sum)/scale; gmul = 1/scale times, with
 * clip > 0, min(1, clip/(norm + 1e-6)). With scaled, a step that is not to
 * update is counted, and with dynamic halves the scale; `interval` updates in a
 * row double it, as far as fp32 goes. stats are moved into the state (0 stays),
 * and a copy of that becomes log[steps before % logs].
 * Sources: pytorch torch/amp/grad_scaler.py, torch/nn/utils/clip_grad.py.
 */
struct kern_step {
    struct kern_state *state;
    const double *check;
    double *stats;          /* [4], or NULL */
    struct kern_state *log; /* [logs], or NULL */
    int64_t shares, logs, interval;
    double clip;
    bool scaled, dynamic;
};

/*
 * g' = g*gmul + wd*w; m = first ? g' : mu*m + g'; u = nesterov ? g' + mu*m : m;
 * w -= lr*u. Source: pytorch torch/optim/sgd.py.
 * With a state (or NULL), lr and gmul are those of it, and nothing happens unless
 * it says update. With norms (or NULL), two KERN_GRAD_CHECKs of w and of g, gmul
 * and wd are then both multiplied by eta |w|/(|g| gmul + wd |w| + 1e-8), or by 1
 * where a norm is 0. Source: NVIDIA/apex apex/parallel/LARC.py.
 */
struct kern_sgd {
    void *w, *m;
    const void *g;
    int64_t n;
    double lr, mu, wd, gmul;
    bool nesterov, first;
    enum dtype pt;
    const struct kern_state *state;
    const double *norms; /* [6], in the engine's memory like the state */
    double eta;
};

/*
 * avg = decay*avg + (1-decay)*w, both products rounded before they are added.
 * Source: pytorch/vision references/classification/utils.py.
 */
struct kern_ema {
    void *avg;
    const void *w;
    int64_t n;
    double decay;
    enum dtype pt;
};

#endif
