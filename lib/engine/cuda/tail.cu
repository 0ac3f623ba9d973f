/*
 * A norm and the max pool behind it, as at the end of a network's stem: what the
 * norm makes is seen by the pool alone, and is never in memory.
 */
#include "engine/cuda/pools.h"
#include "engine/cuda/rows.h"
#include "engine/kern/elem.h"
#include "engine/kern/norm.h"

/* ---- there */

/* act(x*scale + bias), as it would be stored */
template <class T, int V> struct f_norm {
    float scale[V], bias[V];
    bool relu;

    __device__ f_norm(const struct kern_norm_apply &a, int at) : relu(a.relu)
    {
        gpu_vector<V>(a.scale, at, 1.0f, scale);
        gpu_vector<V>(a.bias, at, 0.0f, bias);
    }
    __device__ T operator()(int j, T x) const
    {
        float v = kern_norm_apply_at(gpu_of(x), scale[j], bias[j]);
        T y;

        gpu_to(&y, relu ? kern_relu_at(v) : v);
        return y;
    }
};

template <class T, int V>
__global__ void __launch_bounds__(GPU_BLOCK)
    k_norm_maxpool(struct kern_norm_apply n, struct kern_maxpool a, int p,
                   int q)
{
    int groups = (int)(a.c / V), t = (int)gpu_thread(), ox = t / groups;
    int group = t % groups;

    if (ox < q)
        pool_forward<T, V>(a, p, q, ox, group, f_norm<T, V>(n, group * V));
}

/* ---- and back */

/* STRIDE: that of the pool, so that nothing is divided by it; 0: any. */
template <class T, int V, int STRIDE>
static __device__ __forceinline__ void unpool(const struct kern_maxpool_grad &m,
                                              int p, int q, int row, int group,
                                              float *sum)
{
    int x = (int)((unsigned)row % (unsigned)m.w);
    int line = (int)((unsigned)row / (unsigned)m.w);
    int y = (int)((unsigned)line % (unsigned)m.h);
    int64_t image = (unsigned)line / (unsigned)m.h;
    int stride = STRIDE ? STRIDE : m.stride;

    pool_grad_at<T, V>(m, image * p * q * (m.c / V) + group,
                       windows_of(y, p, m.r, stride, m.pad),
                       windows_of(x, q, m.r, stride, m.pad), y, x, q, sum);
}

/* dz = what is unpooled, as it would be stored, where the norm's relu let it
 * through; sums over that. */
template <class T, int V, int STRIDE>
__global__ void __launch_bounds__(GPU_BLOCK, 2)
    k_tail_sums(struct kern_norm_grad_sums a, struct kern_maxpool_grad m, int p,
                int q, gpu_grid g, float *part)
{
    gpu_place at = gpu_here(g);
    gpu_pack<T, V> x[1], dz;
    float s1[V], s2[V], mean[V], scale[V], bias[V], sum[V];
    int64_t row;

    GPU_UNROLL
    for (int j = 0; j < V; j++)
        s1[j] = s2[j] = 0;
    if (at.on) {
        gpu_vector<V>(a.mean, at.group * V, 0.0f, mean);
        gpu_vector<V>(a.scale, at.group * V, 0.0f, scale);
        gpu_vector<V>(a.bias, at.group * V, 0.0f, bias);
    }
    for (row = at.row; at.on && row < g.rows; row += at.step) {
        rows_of(a.x, g, at, row, x);
        GPU_UNROLL
        for (int j = 0; j < V; j++)
            sum[j] = 0;
        unpool<T, V, STRIDE>(m, p, q, (int)row, at.group, sum);
        GPU_UNROLL
        for (int j = 0; j < V; j++) {
            float v = gpu_of(x[0].e[j]), d;

            gpu_to(&dz.e[j],
                   gpu_relu_grad_made<T>(
                       kern_norm_apply_at(v, scale[j], bias[j]), sum[j]));
            d = gpu_of(dz.e[j]);
            s1[j] += d;
            s2[j] += d * (v - mean[j]);
        }
        ((gpu_pack<T, V> *)a.dz)[row * g.groups + at.group] = dz;
    }
    part += (int64_t)blockIdx.x * 2 * a.c;
    column_sum<V>(g, at, s1, part);
    times_vector<V>(s2, a.invstd, at);
    column_sum<V>(g, at, s2, part + a.c);
}

/* ---- launches */

static void forward(const struct cuk *l, const struct kern_norm_apply *a)
{
    struct kern_maxpool m = kern_pool_there(&a->pool, a->x, a->y, a->c, a->dt);
    int p = kern_out_size((int)m.h, m.r, m.stride, m.pad);
    int q = kern_out_size((int)m.w, m.r, m.stride, m.pad);
    const void *all[] = {m.x, m.y, m.index};

    GPU_TYPE(a->dt, T, GPU_PACK(wide<T>(m.c, all, 3), T, V, {
                 GPU_LAUNCH_FLAT((k_norm_maxpool<T, V>),
                                 pool_places(m.n, p, q * (m.c / V)), l, *a, m,
                                 p, q);
             }));
}

static void sums(const struct cuk *l, const struct kern_norm_grad_sums *a)
{
    struct kern_maxpool_grad m =
        kern_pool_back(&a->pool, a->dy0, a->dy1, NULL, a->c, a->dt);
    int p = kern_out_size((int)m.h, m.r, m.stride, m.pad);
    int q = kern_out_size((int)m.w, m.r, m.stride, m.pad);
    const void *all[] = {m.dy0, m.dy1, m.index, a->x, a->dz};
    float *part = (float *)l->work;

    GPU_TYPE(a->dt, T, GPU_PACK(wide<T>(a->c, all, 5), T, V, {
                 gpu_grid g = sum_rows(l, a->rows, a->c, V, 2);
                 struct final_sums f = {part,
                                        {(float *)a->s1, (float *)a->s2},
                                        (int)g.blocks.x,
                                        2,
                                        (int)a->c,
                                        false};

                 if (m.stride == 2)
                     GPU_LAUNCH((k_tail_sums<T, V, 2>), g.blocks, l, *a, m, p,
                                q, g, part);
                 else
                     GPU_LAUNCH((k_tail_sums<T, V, 0>), g.blocks, l, *a, m, p,
                                q, g, part);
                 final_sums(l, &f);
             }));
}

extern "C" int cuk_tail(const struct cuk *l, enum kernel k, const void *args)
{
    if (k == KERN_NORM_APPLY)
        forward(l, (const struct kern_norm_apply *)args);
    else
        sums(l, (const struct kern_norm_grad_sums *)args);
    return GPU_LAST_ERROR();
}
