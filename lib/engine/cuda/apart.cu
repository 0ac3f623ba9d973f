/* What forms of level C have inside of a convolution, as passes of their own. */
#include "engine/cuda/rows.h"
#include "engine/kern/elem.h"
#include "engine/kern/norm.h"

/* ---- sums behind a convolution */

template <class T, int V>
__global__ void __launch_bounds__(GPU_BLOCK)
    k_moments(struct cuk_moments a, gpu_grid g, float *part)
{
    gpu_place at = gpu_here(g);
    gpu_pack<T, V> x[AHEAD];
    float sum[V], square[V];
    int64_t row;

    GPU_UNROLL
    for (int j = 0; j < V; j++)
        sum[j] = square[j] = 0;
    for (row = at.row; at.on && row < g.rows; row += AHEAD * at.step) {
        rows_of(a.x, g, at, row, x);
        GPU_UNROLL
        for (int u = 0; u < AHEAD; u++) {
            GPU_UNROLL
            for (int j = 0; j < V; j++) {
                float v = gpu_of(x[u].e[j]);

                if (row + u * at.step < g.rows) {
                    sum[j] += v;
                    square[j] += v * v;
                }
            }
        }
    }
    part += (int64_t)blockIdx.x * 2 * a.c;
    column_sum<V>(g, at, sum, part);
    column_sum<V>(g, at, square, part + a.c);
}

extern "C" int cuk_moments(const struct cuk *l, const struct cuk_moments *a)
{
    float *part = (float *)l->work;

    GPU_TYPE(a->dt, T, GPU_PACK(wide<T>(a->c, &a->x, 1), T, V, {
                 gpu_grid g = sum_rows(l, a->rows, a->c, V, 2);
                 struct final_sums f = {
                     part, {a->sum, a->sumsq}, (int)g.blocks.x,
                     2,    (int)a->c,          false};

                 GPU_LAUNCH((k_moments<T, V>), g.blocks, l, *a, g, part);
                 final_sums(l, &f);
             }));
    return GPU_LAST_ERROR();
}

/* ---- a gradient on its way back through one norm or two */

/* What a thread knows of the channels of a norm. */
template <int V> struct channels {
    float mean[V], scale[V], beta[V];

    __device__ void load(const struct cuk_norm_back::of &n, int at)
    {
        float invstd[V];

        gpu_vector<V>(n.mean, at, 0.0f, mean);
        gpu_vector<V>(n.invstd, at, 0.0f, invstd);
        gpu_vector<V>(n.gamma, at, 0.0f, scale);
        gpu_vector<V>(n.beta, at, 0.0f, beta);
        GPU_UNROLL
        for (int j = 0; j < V; j++)
            scale[j] *= invstd[j];
    }
};

/* Sums are over what is stored. */
template <class T, int V, int N>
__global__ void __launch_bounds__(GPU_BLOCK)
    k_norm_back(struct cuk_norm_back a, gpu_grid g, float *part)
{
    gpu_place at = gpu_here(g);
    gpu_pack<T, V> dz[1], add[1], rest[1], x[N][1];
    channels<V> of[N];
    float sum[1 + N][V];
    int64_t row;

    GPU_UNROLL
    for (int k = 0; k <= N; k++) {
        GPU_UNROLL
        for (int j = 0; j < V; j++)
            sum[k][j] = 0;
    }
    if (at.on) {
        GPU_UNROLL
        for (int k = 0; k < N; k++)
            of[k].load(a.norm[k], at.group * V);
    }
    for (row = at.row; at.on && row < g.rows; row += at.step) {
        rows_of(a.dz, g, at, row, dz);
        rows_of(a.add, g, at, row, add);
        rows_of(a.residual, g, at, row, rest);
        GPU_UNROLL
        for (int k = 0; k < N; k++)
            rows_of(a.norm[k].x, g, at, row, x[k]);
        GPU_UNROLL
        for (int j = 0; j < V; j++) {
            float y = a.residual ? gpu_of(rest[0].e[j]) : 0.0f;
            float v = gpu_of(dz[0].e[j]), from[N];

            GPU_UNROLL
            for (int k = 0; k < N; k++) {
                from[k] = gpu_of(x[k][0].e[j]) - of[k].mean[j];
                y += from[k] * of[k].scale[j] + of[k].beta[j];
            }
            if (a.add)
                v += gpu_of(add[0].e[j]);
            gpu_to(&dz[0].e[j], kern_relu_grad_at(y, v));
            v = gpu_of(dz[0].e[j]);
            sum[0][j] += v;
            GPU_UNROLL
            for (int k = 0; k < N; k++)
                sum[1 + k][j] += v * from[k];
        }
        ((gpu_pack<T, V> *)a.dz)[row * g.groups + at.group] = dz[0];
    }
    part += (int64_t)blockIdx.x * (1 + N) * a.c;
    column_sum<V>(g, at, sum[0], part);
    GPU_UNROLL
    for (int k = 0; k < N; k++) {
        times_vector<V>(sum[1 + k], a.norm[k].invstd, at);
        column_sum<V>(g, at, sum[1 + k], part + (1 + k) * a.c);
    }
}

template <int N>
static void norm_back(const struct cuk *l, const struct cuk_norm_back *a)
{
    const void *p[] = {a->dz, a->add, a->residual, a->norm[0].x, a->norm[1].x};
    float *part = (float *)l->work;

    GPU_TYPE(a->dt, T, GPU_PACK(wide<T>(a->c, p, 5), T, V, {
                 gpu_grid g = sum_rows(l, a->rows, a->c, V, 1 + N);
                 struct final_sums f = {
                     part,
                     {a->norm[0].dbeta, a->norm[0].dgamma, a->norm[1].dgamma},
                     (int)g.blocks.x,
                     1 + N,
                     (int)a->c,
                     false,
                     a->norm[1].dbeta};

                 GPU_LAUNCH((k_norm_back<T, V, N>), g.blocks, l, *a, g, part);
                 final_sums(l, &f);
             }));
}

extern "C" int cuk_norm_back(const struct cuk *l, const struct cuk_norm_back *a)
{
    if (a->norm[1].x)
        norm_back<2>(l, a);
    else
        norm_back<1>(l, a);
    return GPU_LAST_ERROR();
}
