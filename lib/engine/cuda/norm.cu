/*
 * Batch normalisation, and sums over columns.
 *
 * A thread stays with V channels and goes down the rows, so what belongs to a
 * channel is loaded once. Of each array several rows are asked for before the
 * first is used: the speed is that of memory.
 */
#include "engine/cuda/rows.h"
#include "engine/kern/elem.h"
#include "engine/kern/norm.h"

#define MOST 2112   /* blocks of a pass without sums, */
#define BESIDE 3    /* so many side by side on a multiprocessor */
#define MADE_ROWS 3 /* asked for at once, where two are */

/* ---- passes over rows */

/* Each element of out from its place among the thread's channels and the elements
 * of N arrays; of one that is not there, any number. */
template <class T, int V, int ROWS, int N, class F>
static __device__ __forceinline__ void
map_rows(const gpu_grid &g, const void *const (&in)[N], void *out, const F &f)
{
    gpu_place at = gpu_here(g);
    gpu_pack<T, V> x[N][ROWS], y;
    int64_t row;

    for (row = at.row; row < g.rows; row += ROWS * at.step) {
        GPU_UNROLL
        for (int k = 0; k < N; k++)
            rows_of(in[k], g, at, row, x[k]);
        GPU_UNROLL
        for (int u = 0; u < ROWS; u++) {
            if (row + u * at.step >= g.rows)
                break;
            GPU_UNROLL
            for (int j = 0; j < V; j++) {
                float v[N];

                GPU_UNROLL
                for (int k = 0; k < N; k++)
                    v[k] = gpu_of(x[k][u].e[j]);
                gpu_to(&y.e[j], f(j, v));
            }
            ((gpu_pack<T, V> *)out)[(row + u * at.step) * g.groups + at.group] =
                y;
        }
    }
}

/* act(x*scale + bias + r*rscale + rbias) */
template <int V> struct f_apply {
    float s[V], b[V], rs[V], rb[V];
    const struct kern_norm_apply &n;

    __device__ f_apply(const struct kern_norm_apply &a, int at) : n(a)
    {
        gpu_vector<V>(a.scale, at, 1.0f, s);
        gpu_vector<V>(a.bias, at, 0.0f, b);
        gpu_vector<V>(a.rscale, at, 1.0f, rs);
        gpu_vector<V>(a.rbias, at, 0.0f, rb);
    }
    __device__ float operator()(int j, const float (&x)[2]) const
    {
        float v = kern_norm_apply_at(x[0], s[j], b[j]);

        if (n.r)
            v += kern_norm_apply_at(x[1], rs[j], rb[j]);
        return n.relu ? kern_relu_at(v) : v;
    }
};

template <class T, int V>
__global__ void __launch_bounds__(GPU_BLOCK, BESIDE)
    k_apply(struct kern_norm_apply a, gpu_grid g)
{
    gpu_place at = gpu_here(g);
    const void *const in[] = {a.x, a.r};

    if (at.on)
        map_rows<T, V, AHEAD>(g, in, a.y, f_apply<V>(a, at.group * V));
}

/* a*dz + b*x + k, where dz is dy0 + dy1 where y > 0 */
template <int V> struct f_grad_apply {
    float a[V], b[V], k[V];
    const struct kern_norm_grad_apply &n;

    __device__ f_grad_apply(const struct kern_norm_grad_apply &g, int at) : n(g)
    {
        gpu_vector<V>(n.a, at, 1.0f, a);
        gpu_vector<V>(n.b, at, 0.0f, b);
        gpu_vector<V>(n.k, at, 0.0f, k);
    }
    __device__ float operator()(int j, const float (&v)[4]) const
    {
        float dz = n.dy1 ? v[0] + v[1] : v[0];

        if (n.y)
            dz = kern_relu_grad_at(v[2], dz);
        return n.x ? kern_norm_grad_at(dz, v[3], a[j], b[j], k[j]) : a[j] * dz;
    }
};

/* The same where y is made of x. */
template <class T, int V> struct f_grad_made {
    float a[V], b[V], k[V], scale[V], bias[V];
    const struct kern_norm_grad_apply &n;

    __device__ f_grad_made(const struct kern_norm_grad_apply &g, int at) : n(g)
    {
        gpu_vector<V>(n.a, at, 1.0f, a);
        gpu_vector<V>(n.b, at, 0.0f, b);
        gpu_vector<V>(n.k, at, 0.0f, k);
        gpu_vector<V>(n.scale, at, 1.0f, scale);
        gpu_vector<V>(n.bias, at, 0.0f, bias);
    }
    __device__ float operator()(int j, const float (&v)[3]) const
    {
        float y = kern_norm_apply_at(v[2], scale[j], bias[j]);
        float dz = gpu_relu_grad_made<T>(y, n.dy1 ? v[0] + v[1] : v[0]);

        return kern_norm_grad_at(dz, v[2], a[j], b[j], k[j]);
    }
};

template <class T, int V>
__global__ void __launch_bounds__(GPU_BLOCK, BESIDE)
    k_grad_apply(struct kern_norm_grad_apply a, gpu_grid g)
{
    gpu_place at = gpu_here(g);
    const void *const in[] = {a.dy0, a.dy1, a.y, a.x};

    if (at.on)
        map_rows<T, V, AHEAD>(g, in, a.dx, f_grad_apply<V>(a, at.group * V));
}

template <class T, int V>
__global__ void __launch_bounds__(GPU_BLOCK, 2)
    k_grad_made(struct kern_norm_grad_apply a, gpu_grid g)
{
    gpu_place at = gpu_here(g);
    const void *const in[] = {a.dy0, a.dy1, a.x};

    if (at.on)
        map_rows<T, V, MADE_ROWS>(g, in, a.dx,
                                  f_grad_made<T, V>(a, at.group * V));
}

/* ---- sums of columns */

template <class T, int V>
__global__ void __launch_bounds__(GPU_BLOCK)
    k_colsum(struct kern_colsum a, gpu_grid g, float *part)
{
    gpu_place at = gpu_here(g);
    gpu_pack<T, V> x[AHEAD];
    float sum[V];
    int64_t row;

    GPU_UNROLL
    for (int j = 0; j < V; j++)
        sum[j] = 0;
    for (row = at.row; at.on && row < g.rows; row += AHEAD * at.step) {
        rows_of(a.x, g, at, row, x);
        GPU_UNROLL
        for (int u = 0; u < AHEAD; u++) {
            GPU_UNROLL
            for (int j = 0; j < V; j++)
                if (row + u * at.step < g.rows)
                    sum[j] += gpu_of(x[u].e[j]);
        }
    }
    column_sum<V>(g, at, sum, part + (int64_t)blockIdx.x * a.c);
}

/*
 * What the call does not need is no part of the kernel, whose registers are few:
 * MAKES: y is made of what else is read, so nothing reads a y; BOTH: with rx.
 */
template <class T, int V, bool MAKES, bool BOTH>
__global__ void __launch_bounds__(GPU_BLOCK)
    k_grad_sums(struct kern_norm_grad_sums a, gpu_grid g, float *part)
{
    const int ROWS = MAKES && !BOTH ? MADE_ROWS : 1;
    const int R = BOTH ? V : 1, M = MAKES ? V : 1, MR = MAKES ? R : 1;
    gpu_place at = gpu_here(g);
    gpu_pack<T, V> d0[ROWS], d1[ROWS], y[ROWS], x[ROWS], r[ROWS], dz;
    float s1[V], s2[V], s3[R], mean[V], rmean[R];
    float scale[M], bias[M], rscale[MR], rbias[MR];
    int64_t row;

    GPU_UNROLL
    for (int j = 0; j < V; j++)
        s1[j] = s2[j] = s3[j % R] = 0;
    if (at.on) {
        gpu_vector<V>(a.mean, at.group * V, 0.0f, mean);
        gpu_vector<R>(a.rmean, at.group * V, 0.0f, rmean);
        gpu_vector<M>(a.scale, at.group * V, 0.0f, scale);
        gpu_vector<M>(a.bias, at.group * V, 0.0f, bias);
        gpu_vector<MR>(a.rscale, at.group * V, 0.0f, rscale);
        gpu_vector<MR>(a.rbias, at.group * V, 0.0f, rbias);
    }
    for (row = at.row; at.on && row < g.rows; row += ROWS * at.step) {
        rows_of(a.dy0, g, at, row, d0);
        rows_of(a.dy1, g, at, row, d1);
        if (!MAKES)
            rows_of(a.y, g, at, row, y);
        rows_of(a.x, g, at, row, x);
        if (BOTH)
            rows_of(a.rx, g, at, row, r);
        GPU_UNROLL
        for (int u = 0; u < ROWS; u++) {
            if (row + u * at.step >= g.rows)
                break;
            GPU_UNROLL
            for (int j = 0; j < V; j++) {
                float d = gpu_of(d0[u].e[j]), xv = gpu_of(x[u].e[j]);
                float rv = BOTH ? gpu_of(r[u].e[j]) : 0.0f;

                if (a.dy1)
                    d += gpu_of(d1[u].e[j]);
                if (MAKES) {
                    float v = kern_norm_apply_at(xv, scale[j % M], bias[j % M]);

                    if (BOTH)
                        v += kern_norm_apply_at(rv, rscale[j % MR],
                                                rbias[j % MR]);
                    d = gpu_relu_grad_made<T>(v, d);
                } else if (a.y) {
                    d = kern_relu_grad_at(gpu_of(y[u].e[j]), d);
                }
                gpu_to(&dz.e[j], d);
                s1[j] += d;
                s2[j] += d * (xv - mean[j]);
                if (BOTH)
                    s3[j % R] += d * (rv - rmean[j % R]);
            }
            if (a.dz)
                ((gpu_pack<T, V> *)
                     a.dz)[(row + u * at.step) * g.groups + at.group] = dz;
        }
    }
    part += (int64_t)blockIdx.x * (BOTH ? 3 : 2) * a.c;
    column_sum<V>(g, at, s1, part);
    times_vector<V>(s2, a.invstd, at);
    column_sum<V>(g, at, s2, part + a.c);
    if (BOTH) {
        times_vector<R>(s3, a.rinvstd, at);
        column_sum<R>(g, at, s3, part + 2 * a.c);
    }
}

/* ---- mean and variance: sums shifted by the thread's first element, joined
 * as pairs of (mean, sum of squares about it). All means are counted from the
 * channel's first element, so that they are small; source: Chan, Golub,
 * LeVeque, Updating formulae and a pairwise algorithm for computing sample
 * variances, 1979 */

struct moments {
    float n, mean, m2;
};

static __device__ __forceinline__ moments join(moments a, moments b)
{
    float n = a.n + b.n, d = b.mean - a.mean;

    if (b.n == 0)
        return a;
    a.mean += d * (b.n / n);
    a.m2 += b.m2 + d * d * (a.n * b.n / n);
    a.n = n;
    return a;
}

/* The rows that thread `down` of a block sees. */
static __device__ __forceinline__ float
rows_seen(const gpu_grid &g, int64_t block, int64_t blocks, int down)
{
    int64_t first = block * g.down + down, step = blocks * g.down;

    return first < g.rows ? (float)((g.rows - first - 1) / step + 1) : 0.0f;
}

template <int V>
static __device__ void column_moments(const gpu_grid &g, const gpu_place &at,
                                      const float *mean, const float *m2,
                                      float *part, int c)
{
    __shared__ float s[2][GPU_BLOCK];
    int t = (int)threadIdx.x;

    for (int j = 0; j < V; j++) {
        __syncthreads(); /* the last channel has been read */
        s[0][t] = at.on ? mean[j] : 0.0f;
        s[1][t] = at.on ? m2[j] : 0.0f;
        __syncthreads();
        if (at.on && at.down == 0) {
            moments sum = {0, 0, 0};

            for (int i = 0; i < g.down; i++) {
                moments b = {rows_seen(g, blockIdx.x, gridDim.x, i),
                             s[0][t + i * g.across], s[1][t + i * g.across]};

                sum = join(sum, b);
            }
            part[at.group * V + j] = sum.mean;
            part[c + at.group * V + j] = sum.m2;
        }
    }
}

template <class T, int V>
__global__ void __launch_bounds__(GPU_BLOCK)
    k_stats(struct kern_norm_stats a, gpu_grid g, float *part)
{
    gpu_place at = gpu_here(g);
    gpu_pack<T, V> x[AHEAD], zero;
    float shift[V], s1[V], s2[V];
    float n = rows_seen(g, blockIdx.x, gridDim.x, at.down);
    int64_t row;

    GPU_UNROLL
    for (int j = 0; j < V; j++)
        shift[j] = s1[j] = s2[j] = 0;
    for (row = at.row; at.on && row < g.rows; row += AHEAD * at.step) {
        rows_of(a.x, g, at, row, x);
        GPU_UNROLL
        for (int j = 0; j < V; j++)
            shift[j] = row == at.row ? gpu_of(x[0].e[j]) : shift[j];
        GPU_UNROLL
        for (int u = 0; u < AHEAD; u++) {
            GPU_UNROLL
            for (int j = 0; j < V; j++) {
                float d = gpu_of(x[u].e[j]) - shift[j];

                if (row + u * at.step < g.rows) {
                    s1[j] += d;
                    s2[j] += d * d;
                }
            }
        }
    }
    zero = ((const gpu_pack<T, V> *)a.x)[at.on ? at.group : 0];
    GPU_UNROLL
    for (int j = 0; j < V; j++) {
        float d = n > 0 ? s1[j] / n : 0.0f;

        s2[j] = s2[j] - s1[j] * d;
        s2[j] = s2[j] > 0 || s2[j] != s2[j] ? s2[j] : 0.0f;
        s1[j] = shift[j] - gpu_of(zero.e[j]) + d;
    }
    column_moments<V>(g, at, s1, s2, part + (int64_t)blockIdx.x * 2 * a.c,
                      (int)a.c);
}

/* 32 channels a block, eight pieces of the blocks' moments. */
template <class T>
__global__ void __launch_bounds__(GPU_BLOCK)
    k_final_stats(struct kern_norm_stats a, gpu_grid g, const float *part)
{
    __shared__ float s[3][GPU_BLOCK];
    int64_t ch = (int64_t)blockIdx.x * 32 + threadIdx.x % 32;
    int piece = (int)threadIdx.x / 32, blocks = (int)g.blocks.x, t;
    moments sum = {0, 0, 0};

    for (int i = piece; ch < a.c && i < blocks; i += GPU_BLOCK / 32) {
        moments b = {0, part[2 * i * a.c + ch], part[(2 * i + 1) * a.c + ch]};

        for (int d = 0; d < g.down; d++)
            b.n += rows_seen(g, i, blocks, d);
        sum = join(sum, b);
    }
    t = (int)threadIdx.x;
    s[0][t] = sum.n;
    s[1][t] = sum.mean;
    s[2][t] = sum.m2;
    __syncthreads();
    if (piece != 0 || ch >= a.c)
        return;
    for (int i = t + 32; i < GPU_BLOCK; i += 32) {
        moments b = {s[0][i], s[1][i], s[2][i]};

        sum = join(sum, b);
    }
    ((float *)a.mean)[ch] = gpu_of(((const T *)a.x)[ch]) + sum.mean;
    ((float *)a.var)[ch] = sum.m2 / sum.n;
}

/* ---- one number for each channel */

__global__ void __launch_bounds__(GPU_BLOCK) k_final(struct kern_norm_final a)
{
    int64_t i = gpu_thread();
    float mean, var, inv, *rm = (float *)a.running_mean,
                          *rv = (float *)a.running_var;

    if (i >= a.c)
        return;
    if (a.sum) {
        kern_norm_moments(((const float *)a.sum)[i],
                          ((const float *)a.sumsq)[i], (float)a.rows, &mean,
                          &var);
        ((float *)a.batch_mean)[i] = mean;
    } else {
        mean = ((const float *)a.mean)[i];
        var = ((const float *)a.var)[i];
    }
    inv = kern_norm_invstd(var, (float)a.eps);
    if (a.invstd)
        ((float *)a.invstd)[i] = inv;
    kern_norm_fold(mean, inv, ((const float *)a.gamma)[i],
                   ((const float *)a.beta)[i], &((float *)a.scale)[i],
                   &((float *)a.bias)[i]);
    if (!rm)
        return;
    rm[i] = kern_norm_running(rm[i], mean, (float)a.momentum);
    rv[i] = kern_norm_running(rv[i], kern_norm_unbiased(var, (float)a.rows),
                              (float)a.momentum);
}

__global__ void __launch_bounds__(GPU_BLOCK)
    k_grad_final(struct kern_norm_grad_final a)
{
    int64_t i = gpu_thread();
    float s1, s2;

    if (i >= a.c)
        return;
    s1 = ((const float *)a.s1)[i];
    s2 = ((const float *)a.s2)[i];
    if (a.dgamma)
        ((float *)a.dgamma)[i] += s2;
    if (a.dbeta)
        ((float *)a.dbeta)[i] += s1;
    kern_norm_grad_fold(
        s1, s2, ((const float *)a.mean)[i], ((const float *)a.invstd)[i],
        ((const float *)a.gamma)[i], (float)a.rows, &((float *)a.a)[i],
        &((float *)a.b)[i], &((float *)a.k)[i]);
}

/* ---- launches */

static void colsum(const struct cuk *l, const struct kern_colsum *a)
{
    const void *p[] = {a->x};
    float *part = (float *)l->work;

    GPU_TYPE(a->dt, T, GPU_PACK(wide<T>(a->c, p, 1), T, V, {
                 gpu_grid g = sum_rows(l, a->rows, a->c, V, 1);
                 struct final_sums f = {
                     part, {(float *)a->out}, (int)g.blocks.x,
                     1,    (int)a->c,         a->accumulate};

                 GPU_LAUNCH((k_colsum<T, V>), g.blocks, l, *a, g, part);
                 final_sums(l, &f);
             }));
}

static void stats(const struct cuk *l, const struct kern_norm_stats *a)
{
    const void *p[] = {a->x};
    float *part = (float *)l->work;
    dim3 last((unsigned)((a->c + 31) / 32));

    GPU_TYPE(a->dt, T, GPU_PACK(wide<T>(a->c, p, 1), T, V, {
                 gpu_grid g = sum_rows(l, a->rows, a->c, V, 2);

                 GPU_LAUNCH((k_stats<T, V>), g.blocks, l, *a, g, part);
                 GPU_LAUNCH((k_final_stats<T>), last, l, *a, g, part);
             }));
}

template <bool MAKES, bool BOTH>
static void grad_sums(const struct cuk *l, const struct kern_norm_grad_sums *a)
{
    const void *p[] = {a->dy0, a->dy1, a->y, a->x, a->rx, a->dz};
    int n = BOTH ? 3 : 2;
    float *part = (float *)l->work;

    GPU_TYPE(a->dt, T, GPU_PACK(wide<T>(a->c, p, 6), T, V, {
                 gpu_grid g = sum_rows(l, a->rows, a->c, V, n);
                 struct final_sums f = {
                     part,
                     {(float *)a->s1, (float *)a->s2, (float *)a->rs2},
                     (int)g.blocks.x,
                     n,
                     (int)a->c,
                     false};

                 GPU_LAUNCH((k_grad_sums<T, V, MAKES, BOTH>), g.blocks, l, *a,
                            g, part);
                 final_sums(l, &f);
             }));
}

static void sums(const struct cuk *l, const struct kern_norm_grad_sums *a)
{
    if (a->scale)
        (a->rx ? grad_sums<true, true> : grad_sums<true, false>)(l, a);
    else
        (a->rx ? grad_sums<false, true> : grad_sums<false, false>)(l, a);
}

static void apply(const struct cuk *l, const struct kern_norm_apply *a)
{
    const void *p[] = {a->x, a->r, a->y};

    GPU_TYPE(a->dt, T, GPU_PACK(wide<T>(a->c, p, 3), T, V, {
                 gpu_grid g = gpu_rows(a->rows, a->c, V, MOST, AHEAD);

                 GPU_LAUNCH_FLAT((k_apply<T, V>), g.blocks, l, *a, g);
             }));
}

static void grad_apply(const struct cuk *l,
                       const struct kern_norm_grad_apply *a)
{
    const void *p[] = {a->dy0, a->dy1, a->y, a->x, a->dx};

    GPU_TYPE(a->dt, T, GPU_PACK(wide<T>(a->c, p, 5), T, V, {
                 gpu_grid g = gpu_rows(a->rows, a->c, V, MOST,
                                       a->scale ? MADE_ROWS : AHEAD);

                 if (a->scale)
                     GPU_LAUNCH_FLAT((k_grad_made<T, V>), g.blocks, l, *a, g);
                 else
                     GPU_LAUNCH_FLAT((k_grad_apply<T, V>), g.blocks, l, *a, g);
             }));
}

extern "C" int cuk_norm(const struct cuk *l, enum kernel k, const void *args)
{
    const struct kern_norm_apply *y = (const struct kern_norm_apply *)args;
    const struct kern_norm_grad_sums *s =
        (const struct kern_norm_grad_sums *)args;
    const struct kern_norm_final *f = (const struct kern_norm_final *)args;
    const struct kern_norm_grad_final *gf =
        (const struct kern_norm_grad_final *)args;

    switch (k) {
    case KERN_COLSUM:
        colsum(l, (const struct kern_colsum *)args);
        break;
    case KERN_NORM_STATS:
        stats(l, (const struct kern_norm_stats *)args);
        break;
    case KERN_NORM_FINAL:
        GPU_LAUNCH_FLAT(k_final, gpu_blocks(f->c, INT32_MAX), l, *f);
        break;
    case KERN_NORM_APPLY:
        if (y->pool.r)
            return cuk_tail(l, k, args);
        apply(l, y);
        break;
    case KERN_NORM_GRAD_SUMS:
        if (s->pool.r)
            return cuk_tail(l, k, args);
        sums(l, s);
        break;
    case KERN_NORM_GRAD_FINAL:
        GPU_LAUNCH_FLAT(k_grad_final, gpu_blocks(gf->c, INT32_MAX), l, *gf);
        break;
    case KERN_NORM_GRAD_APPLY:
        grad_apply(l, (const struct kern_norm_grad_apply *)args);
        break;
    default:
        return -1;
    }
    return GPU_LAST_ERROR();
}
