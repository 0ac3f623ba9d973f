/* The end of a step: the check of gradients, the verdict, the update. */
#include "engine/cuda/gpu.h"
#include "engine/kern/sgd.h"
#include "engine/kern/verdict.h"

#define MOST 4096 /* blocks: more than run at once on any card */

/* ---- the check */

#define CHECK_BLOCKS 528

struct check_part {
    double sum, bad, last; /* 1 + place */
};

struct later {
    __device__ int64_t operator()(int64_t a, int64_t b) const
    {
        return b > a ? b : a;
    }
};

__global__ void __launch_bounds__(GPU_BLOCK)
    k_check(const float *g, int64_t n, check_part *part)
{
    int bad = 0;
    double all = 0;
    int64_t i = gpu_thread(), step = gpu_threads(), last = 0;

    while (i < n) { /* a few in fp32, which is faster, then in fp64 */
        float sum = 0;

        for (int u = 0; u < 8 && i < n; u++, i += step) {
            float v = g[i];

            if (kern_finite(v)) {
                sum += v * v;
            } else {
                bad++;
                last = i + 1;
            }
        }
        all += (double)sum;
    }
    all = gpu_block(all, gpu_plus());
    bad = gpu_block(bad, gpu_plus());
    last = gpu_block(last, later());
    if (threadIdx.x != 0)
        return;
    part[blockIdx.x].sum = all;
    part[blockIdx.x].bad = (double)bad;
    part[blockIdx.x].last = (double)last;
}

__global__ void __launch_bounds__(GPU_BLOCK)
    k_check_sum(double *stats, const check_part *part, int n, int64_t base)
{
    double sum = 0, bad = 0;
    int64_t last = 0;

    for (int i = (int)threadIdx.x; i < n; i += GPU_BLOCK) {
        sum += part[i].sum;
        bad += part[i].bad;
        last = later()(last, (int64_t)part[i].last);
    }
    sum = gpu_block(sum, gpu_plus());
    bad = gpu_block(bad, gpu_plus());
    last = gpu_block(last, later());
    if (threadIdx.x != 0)
        return;
    stats[0] += sum;
    stats[1] += bad;
    if (last > 0 && (double)(base + last) > stats[2])
        stats[2] = (double)(base + last);
}

static void grad_check(const struct cuk *l, const struct kern_grad_check *a)
{
    dim3 grid = gpu_blocks(a->n, CHECK_BLOCKS);
    check_part *part = (check_part *)l->work;

    GPU_LAUNCH(k_check, grid, l, (const float *)a->g, a->n, part);
    GPU_LAUNCH(k_check_sum, dim3(1), l, a->stats, part, (int)grid.x, a->base);
}

/* ---- the verdict */

__global__ void __launch_bounds__(GPU_BLOCK) k_step(struct kern_step a)
{
    if (threadIdx.x == 0)
        kern_step_at(&a);
}

/* ---- the update */

__global__ void __launch_bounds__(GPU_BLOCK) k_sgd(struct kern_sgd a)
{
    float *w = (float *)a.w, *m = (float *)a.m;
    const float *g = (const float *)a.g;
    struct kern_sgd own;
    int64_t i;

    if (!kern_sgd_begin(&a, &own))
        return;
    for (i = gpu_thread(); i < a.n; i += gpu_threads())
        kern_sgd_at(&own, g[i], &w[i], &m[i]);
}

__global__ void __launch_bounds__(GPU_BLOCK) k_ema(struct kern_ema a)
{
    float *avg = (float *)a.avg;
    const float *w = (const float *)a.w;
    int64_t i;

    for (i = gpu_thread(); i < a.n; i += gpu_threads())
        avg[i] = kern_ema_at(&a, avg[i], w[i]);
}

extern "C" int cuk_step(const struct cuk *l, enum kernel k, const void *args)
{
    const struct kern_sgd *sgd = (const struct kern_sgd *)args;
    const struct kern_ema *ema = (const struct kern_ema *)args;

    switch (k) {
    case KERN_GRAD_CHECK:
        grad_check(l, (const struct kern_grad_check *)args);
        break;
    case KERN_STEP:
        GPU_LAUNCH_FLAT(k_step, dim3(1), l, *(const struct kern_step *)args);
        break;
    case KERN_SGD:
        GPU_LAUNCH_FLAT(k_sgd, gpu_blocks(sgd->n, MOST), l, *sgd);
        break;
    case KERN_EMA:
        GPU_LAUNCH_FLAT(k_ema, gpu_blocks(ema->n, MOST), l, *ema);
        break;
    default:
        return -1;
    }
    return GPU_LAST_ERROR();
}
