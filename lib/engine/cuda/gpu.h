/*
 * gpu.h - the ground under the kernels of the cuda engine (.cu files only).
 *
 * Each .cu file compiles twice: by nvcc for the plugin, and by a plain C++
 * compiler with t/hostgpu/fibers.h in front, where every CUDA thread is a fiber,
 * for the tests. So kernels keep to what both know: __syncthreads, static shared
 * arrays, and the launches below. The arithmetic is that of engine/kern/.
 *
 * Activations are read and written in packs of 16 bytes where the channels and
 * the addresses allow it (V elements of T), else one by one. Sums go through
 * partial sums in the workspace, whose number depends on the shape alone and
 * which are added in a fixed order: the same bits on every card.
 */
#ifndef ENGINE_CUDA_GPU_H
#define ENGINE_CUDA_GPU_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern "C" {
#include "engine/kern/kern.h"
}
#include "engine/cuda/cuk.h"

#define GPU_BLOCK 256 /* threads of a block, everywhere */

#ifdef __CUDACC__
/* A launch; _FLAT: of a kernel without barriers. */
#    define GPU_LAUNCH(k, grid, l, ...)                                        \
        (k)<<<(grid), GPU_BLOCK, 0, (cudaStream_t)(l)->stream>>>(__VA_ARGS__)
#    define GPU_LAUNCH_FLAT GPU_LAUNCH
#    define GPU_LAST_ERROR() ((int)cudaGetLastError())
#    define GPU_UNROLL _Pragma("unroll")
#endif

/* ---- numbers in memory */

struct f32 {
    float v;
};
struct f16 {
    uint16_t v;
};
struct bf16 {
    uint16_t v;
};

static __device__ __forceinline__ float gpu_of(f32 x)
{
    return x.v;
}

static __device__ __forceinline__ void gpu_to(f32 *x, float v)
{
    x->v = v;
}

#ifdef __CUDACC__
static __device__ __forceinline__ float gpu_of(f16 x)
{
    float f;

    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x.v));
    return f;
}

static __device__ __forceinline__ void gpu_to(f16 *x, float v)
{
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(x->v) : "f"(v));
}

static __device__ __forceinline__ float gpu_of(bf16 x)
{
    return __uint_as_float((unsigned)x.v << 16);
}

/* To nearest even; a NaN stays one. */
static __device__ __forceinline__ void gpu_to(bf16 *x, float v)
{
    unsigned u = __float_as_uint(v);

    x->v = v == v ? (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16)
                  : (uint16_t)(u >> 16 | 0x40);
}
#else
static inline float gpu_of(f16 x)
{
    return f16_to_f32(x.v);
}

static inline void gpu_to(f16 *x, float v)
{
    x->v = f32_to_f16(v);
}

static inline float gpu_of(bf16 x)
{
    return bf16_to_f32(x.v);
}

static inline void gpu_to(bf16 *x, float v)
{
    x->v = f32_to_bf16(v);
}
#endif

/* The largest number that is stored as 0: half of the least one, to even. */
template <class T> struct gpu_zero;
template <> struct gpu_zero<f32> {
    static constexpr float v = 0;
};
template <> struct gpu_zero<f16> {
    static constexpr float v = 0x1p-25f;
};
template <> struct gpu_zero<bf16> {
    static constexpr float v = 0x1p-134f;
};

/* A gradient through a relu whose output, v, would be stored as a T. */
template <class T>
static __device__ __forceinline__ float gpu_relu_grad_made(float v, float dy)
{
    return v > gpu_zero<T>::v ? dy : 0.0f;
}

/* V elements that are loaded and stored at once. */
template <class T, int V> struct alignas(sizeof(T) * V) gpu_pack {
    T e[V];
};

/* Elements of T in 16 bytes. */
template <class T> struct gpu_wide {
    static const int n = 16 / (int)sizeof(T);
};

static inline bool gpu_aligned(const void *p)
{
    return ((uintptr_t)p & 15) == 0;
}

/* Run the statement with T a type of numbers. */
#define GPU_TYPE(dt, T, ...)                                                   \
    do {                                                                       \
        if ((dt) == DT_F16) {                                                  \
            typedef f16 T;                                                     \
            __VA_ARGS__;                                                       \
        } else if ((dt) == DT_BF16) {                                          \
            typedef bf16 T;                                                    \
            __VA_ARGS__;                                                       \
        } else {                                                               \
            typedef f32 T;                                                     \
            __VA_ARGS__;                                                       \
        }                                                                      \
    } while (0)
/* And with V the elements of a pack, if wide, or 1. */
#define GPU_PACK(wide, T, V, ...)                                              \
    do {                                                                       \
        if (wide) {                                                            \
            const int V = gpu_wide<T>::n;                                      \
            __VA_ARGS__;                                                       \
        } else {                                                               \
            const int V = 1;                                                   \
            __VA_ARGS__;                                                       \
        }                                                                      \
    } while (0)

/* ---- who works on what */

/* Blocks for n threads, at most so many; threads then take strides. */
static inline dim3 gpu_blocks(int64_t n, int64_t most)
{
    int64_t b = (n + GPU_BLOCK - 1) / GPU_BLOCK;

    return dim3((unsigned)(b < 1 ? 1 : b < most ? b : most));
}

static __device__ __forceinline__ int64_t gpu_thread(void)
{
    return (int64_t)blockIdx.x * GPU_BLOCK + threadIdx.x;
}

static __device__ __forceinline__ int64_t gpu_threads(void)
{
    return (int64_t)gridDim.x * GPU_BLOCK;
}

/*
 * Threads over [rows, groups of V channels]: `across` of a block side by side on
 * one row, `down` rows at a time; a thread stays with its channels and goes
 * down by `step` rows. gridDim.y: pieces of a row that is longer than a block.
 */
struct gpu_grid {
    int64_t rows;
    int groups, across, down;
    dim3 blocks;
};

struct gpu_place {
    bool on;
    int group, down;
    int64_t row, step;
};

/* At most `most` blocks one below the other, each with so many rows a thread. */
static inline gpu_grid gpu_rows(int64_t rows, int64_t c, int v, int64_t most,
                                int each)
{
    gpu_grid g;
    int64_t n;

    g.rows = rows;
    g.groups = (int)(c / v);
    g.across = g.groups < GPU_BLOCK ? g.groups : GPU_BLOCK;
    g.down = GPU_BLOCK / g.across;
    n = (rows + (int64_t)g.down * each - 1) / ((int64_t)g.down * each);
    g.blocks = dim3((unsigned)(n < 1      ? 1
                               : n < most ? n
                                          : most),
                    (unsigned)((g.groups + g.across - 1) / g.across));
    return g;
}

static __device__ __forceinline__ gpu_place gpu_here(const gpu_grid &g)
{
    gpu_place p;

    p.down = (int)threadIdx.x / g.across;
    p.group =
        (int)(blockIdx.y * (unsigned)g.across) + (int)threadIdx.x % g.across;
    p.on = p.down < g.down && p.group < g.groups;
    p.row = (int64_t)blockIdx.x * g.down + p.down;
    p.step = (int64_t)gridDim.x * g.down;
    return p;
}

/* V numbers of fp32, or `other` without an address. */
template <int V>
static __device__ __forceinline__ void gpu_vector(const void *p, int at,
                                                  float other, float *v)
{
    GPU_UNROLL
    for (int j = 0; j < V; j++)
        v[j] = p ? ((const float *)p)[at + j] : other;
}

/* ---- sums of a block, in fixed order; all threads get it */

template <class S, class OP>
static __device__ __forceinline__ S gpu_block(S v, OP op)
{
    __shared__ S part[GPU_BLOCK];

    __syncthreads(); /* the last one has been read */
    part[threadIdx.x] = v;
    for (int n = GPU_BLOCK / 2; n > 0; n /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < n)
            part[threadIdx.x] =
                op(part[threadIdx.x], part[threadIdx.x + (unsigned)n]);
    }
    __syncthreads();
    return part[0];
}

struct gpu_plus {
    template <class S> __device__ S operator()(S a, S b) const
    {
        return a + b;
    }
};
struct gpu_larger {
    __device__ float operator()(float a, float b) const
    {
        return b > a ? b : a;
    }
};

#endif
