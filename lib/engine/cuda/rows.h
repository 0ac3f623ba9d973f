/*
 * rows.h - passes of the cuda engine over the rows of activations, with sums of
 * columns (.cu files only).
 *
 * A thread stays with V channels and goes down the rows (gpu_rows). Sums of a
 * block go to a part of the workspace, a second launch adds the parts in a fixed
 * order.
 */
#ifndef ENGINE_CUDA_ROWS_H
#define ENGINE_CUDA_ROWS_H

#include "engine/cuda/gpu.h"

#define SUMS 3  /* of a pass, at most */
#define AHEAD 2 /* rows asked for at once, where registers allow */

/* Packs of one array (NULL: none), of the rows row, row + step, ...; those that
 * are not there stay as they are. */
template <class T, int V, int N>
static __device__ __forceinline__ void rows_of(const void *p, const gpu_grid &g,
                                               const gpu_place &at, int64_t row,
                                               gpu_pack<T, V> (&to)[N])
{
    GPU_UNROLL
    for (int u = 0; u < N; u++) {
        int64_t i = row + u * at.step;

        if (p && i < g.rows)
            to[u] = ((const gpu_pack<T, V> *)p)[i * g.groups + at.group];
    }
}

template <class T>
static inline bool wide(int64_t c, const void *const *p, int n)
{
    for (int i = 0; i < n; i++)
        if (!gpu_aligned(p[i]))
            return false;
    return c % gpu_wide<T>::n == 0;
}

/* ---- sums: partial ones of a block, [blocks][sums][c] of fp32 */

/* Each thread's V numbers, over the threads of a column; then to part. */
template <int V>
static __device__ void column_sum(const gpu_grid &g, const gpu_place &at,
                                  const float *mine, float *part)
{
    __shared__ float s[GPU_BLOCK * V];
    int t = (int)threadIdx.x, i, j;

    __syncthreads(); /* the last sum has been read */
    GPU_UNROLL
    for (j = 0; j < V; j++)
        s[j * GPU_BLOCK + t] = at.on ? mine[j] : 0.0f;
    __syncthreads();
    if (!at.on || at.down != 0)
        return;
    GPU_UNROLL
    for (j = 0; j < V; j++) {
        float sum = 0;

        for (i = 0; i < g.down; i++)
            sum += s[j * GPU_BLOCK + t + i * g.across];
        part[at.group * V + j] = sum;
    }
}

/* Sums of a thread's channels times a vector of the norm. */
template <int V>
static __device__ __forceinline__ void
times_vector(float *sum, const void *vector, const gpu_place &at)
{
    float by[V];

    gpu_vector<V>(vector, at.on ? at.group * V : 0, 0.0f, by);
    GPU_UNROLL
    for (int j = 0; j < V; j++)
        sum[j] *= by[j];
}

/* out[s][c] = factor*(out if accumulate) + sum over blocks of part[b][s][c] */
struct final_sums {
    const float *part;
    float *out[SUMS];
    int blocks, n_sums, c;
    bool accumulate;
    float *again; /* the first sum once more, or NULL */
};

/* Channels of a block side by side, its other threads have a piece each of their
 * partial sums. */
template <int ACROSS>
__global__ void __launch_bounds__(GPU_BLOCK) k_final_sums(struct final_sums a)
{
    __shared__ float s[GPU_BLOCK];
    int ch = (int)(blockIdx.x * ACROSS + threadIdx.x % ACROSS);
    int sum = (int)blockIdx.y, piece = (int)threadIdx.x / ACROSS, i;
    float v = 0;

    for (i = piece; ch < a.c && i < a.blocks; i += GPU_BLOCK / ACROSS)
        v += a.part[((int64_t)i * a.n_sums + sum) * a.c + ch];
    s[threadIdx.x] = v;
    __syncthreads();
    if (piece != 0 || ch >= a.c)
        return;
    for (i = 1; i < GPU_BLOCK / ACROSS; i++)
        v += s[(unsigned)i * ACROSS + threadIdx.x];
    a.out[sum][ch] = a.accumulate ? a.out[sum][ch] + v : v;
    if (a.again && sum == 0)
        a.again[ch] = v;
}

static inline void final_sums(const struct cuk *l, const struct final_sums *a)
{
    const int across = 32;
    dim3 grid((unsigned)((a->c + across - 1) / across), (unsigned)a->n_sums);

    GPU_LAUNCH(k_final_sums<across>, grid, l, *a);
}

/* Blocks of a pass with sums: enough to fill a card, few enough that the
 * partial sums are small beside what is read. */
static inline gpu_grid sum_rows(const struct cuk *l, int64_t rows, int64_t c,
                                int v, int n_sums)
{
    int64_t most = 270336 / c;
    int64_t fit = (int64_t)(l->work_bytes / sizeof(float)) / (c * n_sums);

    most = most < 264 ? 264 : most > 1056 ? 1056 : most;
    return gpu_rows(rows, c, v, most < fit ? most : fit, 8);
}

#endif
