/*
 * pools.h - one place of a max pool, there and back (.cu files only): by itself
 * (pool.cu), or with the norm in front of it (tail.cu).
 */
#ifndef ENGINE_CUDA_POOLS_H
#define ENGINE_CUDA_POOLS_H

#define KERN_INDEX int /* a card divides 64 bits slowly */
#include "engine/cuda/gpu.h"
#include "engine/kern/pool.h"

#define POOL_ROWS 32768 /* of a grid in its second and third direction */

/* Blocks over [n,h,w*groups]; the kernels stride where that is more. */
static inline dim3 pool_places(int64_t n, int64_t h, int64_t across)
{
    return dim3((unsigned)((across + GPU_BLOCK - 1) / GPU_BLOCK),
                (unsigned)(h < POOL_ROWS ? h : POOL_ROWS),
                (unsigned)(n < POOL_ROWS ? n : POOL_ROWS));
}

/* lo <= i < hi */
struct span {
    int lo, hi;
};

static __device__ __forceinline__ span window(int o, int n, int r, int stride,
                                              int pad)
{
    span s;

    kern_window(o, n, r, stride, pad, &s.lo, &s.hi);
    return s;
}

static __device__ __forceinline__ span windows_of(int i, int n, int r,
                                                  int stride, int pad)
{
    span s;

    kern_windows_of(i, n, r, stride, pad, &s.lo, &s.hi);
    return s;
}

/* ---- there: f(j, v) is what the pool sees of v, in the thread's channel j */

/* One place of the result, from image x of the batch. */
template <class T, int V, class F>
static __device__ __forceinline__ void
pool_at(const struct kern_maxpool &a, const gpu_pack<T, V> *x, span down,
        span across, int py, int px, const F &f, gpu_pack<T, V> *best,
        uint8_t *index)
{
    int groups = (int)(a.c / V), w = (int)a.w;
    bool first = true;

    for (int ky = down.lo; ky < down.hi; ky++) {
        for (int kx = across.lo; kx < across.hi; kx++) {
            gpu_pack<T, V> v = x[(int64_t)((py + ky) * w + px + kx) * groups];

            GPU_UNROLL
            for (int j = 0; j < V; j++) {
                T e = f(j, v.e[j]);

                if (!first && !kern_max_takes(gpu_of(e), gpu_of(best->e[j])))
                    continue;
                best->e[j] = e;
                index[j] = (uint8_t)(ky * a.r + kx);
            }
            first = false;
        }
    }
}

/* The places of a thread of pool_places(n, p, q * groups), which is one of the
 * pack `group` of channels and of the column ox < q. */
template <class T, int V, class F>
static __device__ __forceinline__ void
pool_forward(const struct kern_maxpool &a, int p, int q, int ox, int group,
             const F &f)
{
    int groups = (int)(a.c / V);
    span across = window(ox, (int)a.w, a.r, a.stride, a.pad);

    for (int64_t i = blockIdx.z; i < a.n; i += gridDim.z) {
        for (int oy = (int)blockIdx.y; oy < p; oy += (int)gridDim.y) {
            int64_t at = ((i * p + oy) * q + ox) * groups + group;
            span down = window(oy, (int)a.h, a.r, a.stride, a.pad);
            gpu_pack<uint8_t, V> index;
            gpu_pack<T, V> best;

            /* a window that is all padding: the smallest number */
            GPU_UNROLL
            for (int j = 0; j < V; j++) {
                gpu_to(&best.e[j], -INFINITY);
                index.e[j] = 0;
            }
            pool_at<T, V>(
                a, (const gpu_pack<T, V> *)a.x + i * a.h * a.w * groups + group,
                down, across, oy * a.stride - a.pad, ox * a.stride - a.pad, f,
                &best, index.e);
            ((gpu_pack<T, V> *)a.y)[at] = best;
            if (a.index)
                ((gpu_pack<uint8_t, V> *)a.index)[at] = index;
        }
    }
}

/* ---- and back */

/* The sum of the gradients whose window chose the place y, x; out is the first
 * pack of this image and group. */
template <class T, int V>
static __device__ __forceinline__ void
pool_grad_at(const struct kern_maxpool_grad &a, int64_t out, span down,
             span across, int y, int x, int q, float *sum)
{
    int groups = (int)(a.c / V);

    for (int oy = down.lo; oy < down.hi; oy++) {
        for (int ox = across.lo; ox < across.hi; ox++) {
            int64_t at = out + (int64_t)(oy * q + ox) * groups;
            int place =
                (y + a.pad - oy * a.stride) * a.r + x + a.pad - ox * a.stride;
            gpu_pack<uint8_t, V> index =
                ((const gpu_pack<uint8_t, V> *)a.index)[at];
            gpu_pack<T, V> d0 = ((const gpu_pack<T, V> *)a.dy0)[at], d1 = d0;

            if (a.dy1)
                d1 = ((const gpu_pack<T, V> *)a.dy1)[at];
            GPU_UNROLL
            for (int j = 0; j < V; j++) {
                if (index.e[j] == place)
                    sum[j] +=
                        gpu_of(d0.e[j]) + (a.dy1 ? gpu_of(d1.e[j]) : 0.0f);
            }
        }
    }
}

#endif
