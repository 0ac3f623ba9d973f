/* The pools: a thread for each pack of channels of a place. */
#include "engine/cuda/pools.h"

/* What is, is seen. */
template <class T> struct f_same {
    __device__ T operator()(int, T v) const
    {
        return v;
    }
};

template <class T, int V>
__global__ void __launch_bounds__(GPU_BLOCK)
    k_maxpool(struct kern_maxpool a, int p, int q)
{
    int groups = (int)(a.c / V), t = (int)gpu_thread(), ox = t / groups;

    if (ox < q)
        pool_forward<T, V>(a, p, q, ox, t % groups, f_same<T>());
}

template <class T, int V>
__global__ void __launch_bounds__(GPU_BLOCK)
    k_maxpool_grad(struct kern_maxpool_grad a, int p, int q)
{
    int groups = (int)(a.c / V), t = (int)gpu_thread(), g = t % groups;
    int x = t / groups;
    span across;

    if (x >= a.w)
        return;
    across = windows_of(x, q, a.r, a.stride, a.pad);
    for (int64_t i = blockIdx.z; i < a.n; i += gridDim.z) {
        for (int y = (int)blockIdx.y; y < (int)a.h; y += (int)gridDim.y) {
            span down = windows_of(y, p, a.r, a.stride, a.pad);
            gpu_pack<T, V> dx;
            float sum[V];

            GPU_UNROLL
            for (int j = 0; j < V; j++)
                sum[j] = 0;
            pool_grad_at<T, V>(a, i * p * q * groups + g, down, across, y, x, q,
                               sum);
            GPU_UNROLL
            for (int j = 0; j < V; j++)
                gpu_to(&dx.e[j], sum[j]);
            ((gpu_pack<T, V> *)a.dx)[((i * a.h + y) * a.w + x) * groups + g] =
                dx;
        }
    }
}

template <class T, int V>
__global__ void __launch_bounds__(GPU_BLOCK) k_avgpool(struct kern_avgpool a)
{
    int64_t groups = a.c / V, g = gpu_thread(), n, i;

    for (n = blockIdx.y; g < groups && n < a.n; n += gridDim.y) {
        const gpu_pack<T, V> *x =
            (const gpu_pack<T, V> *)a.x + n * a.hw * groups + g;
        gpu_pack<T, V> y;
        float sum[V];

        GPU_UNROLL
        for (int j = 0; j < V; j++)
            sum[j] = 0;
        for (i = 0; i < a.hw; i++) {
            gpu_pack<T, V> v = x[i * groups];

            GPU_UNROLL
            for (int j = 0; j < V; j++)
                sum[j] += gpu_of(v.e[j]);
        }
        GPU_UNROLL
        for (int j = 0; j < V; j++)
            gpu_to(&y.e[j], kern_mean_of(sum[j], (float)a.hw));
        ((gpu_pack<T, V> *)a.y)[n * groups + g] = y;
    }
}

template <class T, int V>
__global__ void __launch_bounds__(GPU_BLOCK)
    k_avgpool_grad(struct kern_avgpool_grad a)
{
    int64_t groups = a.c / V, g = gpu_thread(), n, i;

    for (n = blockIdx.y; g < groups && n < a.n; n += gridDim.y) {
        int64_t at = n * groups + g;
        gpu_pack<T, V> d0 = ((const gpu_pack<T, V> *)a.dy0)[at], d1 = d0, v;
        gpu_pack<T, V> *dx = (gpu_pack<T, V> *)a.dx + n * a.hw * groups + g;

        if (a.dy1)
            d1 = ((const gpu_pack<T, V> *)a.dy1)[at];
        GPU_UNROLL
        for (int j = 0; j < V; j++)
            gpu_to(&v.e[j], kern_mean_of(gpu_of(d0.e[j]) +
                                             (a.dy1 ? gpu_of(d1.e[j]) : 0.0f),
                                         (float)a.hw));
        for (i = 0; i < a.hw; i++)
            dx[i * groups] = v;
    }
}

/* ---- launches */

template <class T> static bool wide(int64_t c, const void *x, const void *y)
{
    return c % gpu_wide<T>::n == 0 && gpu_aligned(x) && gpu_aligned(y);
}

static void maxpool(const struct cuk *l, const struct kern_maxpool *a)
{
    int p = kern_out_size((int)a->h, a->r, a->stride, a->pad);
    int q = kern_out_size((int)a->w, a->r, a->stride, a->pad);

    GPU_TYPE(a->dt, T,
             GPU_PACK(wide<T>(a->c, a->x, a->y) && gpu_aligned(a->index), T, V,
                      GPU_LAUNCH_FLAT((k_maxpool<T, V>),
                                      pool_places(a->n, p, q * (a->c / V)), l,
                                      *a, p, q)));
}

static void maxpool_grad(const struct cuk *l, const struct kern_maxpool_grad *a)
{
    int p = kern_out_size((int)a->h, a->r, a->stride, a->pad);
    int q = kern_out_size((int)a->w, a->r, a->stride, a->pad);

    GPU_TYPE(
        a->dt, T,
        GPU_PACK(wide<T>(a->c, a->dy0, a->dx) && gpu_aligned(a->dy1) &&
                     gpu_aligned(a->index),
                 T, V,
                 GPU_LAUNCH_FLAT((k_maxpool_grad<T, V>),
                                 pool_places(a->n, a->h, a->w * (a->c / V)), l,
                                 *a, p, q)));
}

static void avgpool(const struct cuk *l, const struct kern_avgpool *a)
{
    GPU_TYPE(a->dt, T,
             GPU_PACK(wide<T>(a->c, a->x, a->y), T, V,
                      GPU_LAUNCH_FLAT((k_avgpool<T, V>),
                                      pool_places(1, a->n, a->c / V), l, *a)));
}

static void avgpool_grad(const struct cuk *l, const struct kern_avgpool_grad *a)
{
    GPU_TYPE(a->dt, T,
             GPU_PACK(wide<T>(a->c, a->dy0, a->dx) && gpu_aligned(a->dy1), T, V,
                      GPU_LAUNCH_FLAT((k_avgpool_grad<T, V>),
                                      pool_places(1, a->n, a->c / V), l, *a)));
}

extern "C" int cuk_pool(const struct cuk *l, enum kernel k, const void *args)
{
    switch (k) {
    case KERN_MAXPOOL:
        maxpool(l, (const struct kern_maxpool *)args);
        break;
    case KERN_MAXPOOL_GRAD:
        maxpool_grad(l, (const struct kern_maxpool_grad *)args);
        break;
    case KERN_AVGPOOL:
        avgpool(l, (const struct kern_avgpool *)args);
        break;
    case KERN_AVGPOOL_GRAD:
        avgpool_grad(l, (const struct kern_avgpool_grad *)args);
        break;
    default:
        return -1;
    }
    return GPU_LAST_ERROR();
}
