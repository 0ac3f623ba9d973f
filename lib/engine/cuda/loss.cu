/* Softmax cross-entropy, a block for each row, and the check of gradients. */
#include "engine/cuda/gpu.h"
#include "engine/kern/loss.h"
#include "engine/kern/sgd.h"

/* ---- softmax cross-entropy */

/* What a row leaves for the sum over rows; before < 0: it does not count. */
struct ce_row {
    float loss;
    int before;
};

struct ce_sums {
    float max, sumexp, sum;
    int before;
};

template <class T>
static __device__ ce_sums sums_of(const struct kern_softmax_ce &a, const T *z,
                                  float at, int64_t label)
{
    ce_sums s = {-INFINITY, 0, 0, 0};
    int64_t i;

    for (i = threadIdx.x; i < a.k; i += GPU_BLOCK) {
        float v = gpu_of(z[i]);

        s.max = v > s.max ? v : s.max;
    }
    s.max = gpu_block(s.max, gpu_larger());
    for (i = threadIdx.x; i < a.k; i += GPU_BLOCK) {
        float v = gpu_of(z[i]);

        s.sumexp += KEXP(v - s.max);
        s.sum += v - s.max;
        s.before += kern_ce_before(v, i, at, label);
    }
    s.sumexp = gpu_block(s.sumexp, gpu_plus());
    s.sum = gpu_block(s.sum, gpu_plus());
    s.before = gpu_block(s.before, gpu_plus());
    return s;
}

/* The loss of a row whose labels count; thread 0 of the block writes it. */
template <class T>
static __device__ ce_sums loss_of(const struct kern_softmax_ce &a, const T *z,
                                  const int64_t label[2], float mix,
                                  ce_row *row)
{
    float at = gpu_of(z[label[0]]);
    ce_sums s = sums_of<T>(a, z, at, label[0]);

    if (mix > 0) /* so that a logit of -inf costs nothing without */
        at = (1 - mix) * at + mix * gpu_of(z[label[1]]);
    if (threadIdx.x == 0) {
        row->loss = kern_ce_loss(s.sumexp, at - s.max, s.sum,
                                 (float)a.smoothing, (float)a.k);
        row->before = s.before;
    }
    return s;
}

template <class T>
__global__ void __launch_bounds__(GPU_BLOCK)
    k_softmax_ce(struct kern_softmax_ce a, ce_row *rows, int64_t first)
{
    int64_t r = first + blockIdx.x, i;
    int64_t label[2] = {a.label[r], a.label2 ? a.label2[r] : -1};
    bool counts = kern_label_ok(label[0], a.k) &&
                  (!a.label2 || kern_label_ok(label[1], a.k));
    const T *z = (const T *)a.logits + r * a.k;
    float mix = a.label2 ? (float)a.mix : 0.0f;
    ce_sums s = {0, 1, 0, 0};

    if (counts)
        s = loss_of<T>(a, z, label, mix, &rows[blockIdx.x]);
    else if (threadIdx.x == 0)
        rows[blockIdx.x].before = -1;
    for (i = threadIdx.x; a.dlogits && i < a.k; i += GPU_BLOCK) {
        float g = 0;

        if (counts)
            g = kern_ce_grad(gpu_of(z[i]) - s.max, s.sumexp,
                             kern_ce_target(i, label, mix, (float)a.smoothing,
                                            (float)a.k),
                             (float)a.gscale);
        gpu_to(&((T *)a.dlogits)[r * a.k + i], g);
    }
}

/* stats += sums over rows, by one block. */
__global__ void __launch_bounds__(GPU_BLOCK)
    k_ce_stats(double *stats, const ce_row *rows, int64_t n)
{
    double loss = 0;
    int top1 = 0, top5 = 0, counted = 0;
    int64_t i;

    for (i = threadIdx.x; i < n; i += GPU_BLOCK) {
        ce_row r = rows[i];

        if (r.before < 0)
            continue;
        loss += (double)r.loss;
        top1 += r.before < 1;
        top5 += r.before < 5;
        counted++;
    }
    loss = gpu_block(loss, gpu_plus());
    top1 = gpu_block(top1, gpu_plus());
    top5 = gpu_block(top5, gpu_plus());
    counted = gpu_block(counted, gpu_plus());
    if (threadIdx.x != 0)
        return;
    stats[0] += loss;
    stats[1] += top1;
    stats[2] += top5;
    stats[3] += counted;
}

static void softmax_ce(const struct cuk *l, const struct kern_softmax_ce *a)
{
    int64_t most = (int64_t)(l->work_bytes / sizeof(ce_row)), first, n;
    ce_row *rows = (ce_row *)l->work;

    for (first = 0; first < a->n; first += n) {
        n = a->n - first < most ? a->n - first : most;
        GPU_TYPE(a->dt, T,
                 GPU_LAUNCH((k_softmax_ce<T>), dim3((unsigned)n), l, *a, rows,
                            first));
        GPU_LAUNCH(k_ce_stats, dim3(1), l, a->stats, rows, n);
    }
}

/* ---- gradients */

#define CHECK_BLOCKS 528

struct check_part {
    double sum, bad;
};

__global__ void __launch_bounds__(GPU_BLOCK)
    k_check(const float *g, int64_t n, check_part *part)
{
    int bad = 0;
    double all = 0;
    int64_t i = gpu_thread(), step = gpu_threads();

    while (i < n) { /* a few in fp32, which is faster, then in fp64 */
        float sum = 0;

        for (int u = 0; u < 8 && i < n; u++, i += step) {
            float v = g[i];

            if (kern_finite(v))
                sum += v * v;
            else
                bad++;
        }
        all += (double)sum;
    }
    all = gpu_block(all, gpu_plus());
    bad = gpu_block(bad, gpu_plus());
    if (threadIdx.x == 0) {
        part[blockIdx.x].sum = all;
        part[blockIdx.x].bad = (double)bad;
    }
}

__global__ void __launch_bounds__(GPU_BLOCK)
    k_check_sum(double *stats, const check_part *part, int n)
{
    double sum = 0, bad = 0;

    for (int i = (int)threadIdx.x; i < n; i += GPU_BLOCK) {
        sum += part[i].sum;
        bad += part[i].bad;
    }
    sum = gpu_block(sum, gpu_plus());
    bad = gpu_block(bad, gpu_plus());
    if (threadIdx.x == 0) {
        stats[0] += sum;
        stats[1] += bad;
    }
}

static void grad_check(const struct cuk *l, const struct kern_grad_check *a)
{
    dim3 grid = gpu_blocks(a->n, CHECK_BLOCKS);
    check_part *part = (check_part *)l->work;

    GPU_LAUNCH(k_check, grid, l, (const float *)a->g, a->n, part);
    GPU_LAUNCH(k_check_sum, dim3(1), l, a->stats, part, (int)grid.x);
}

extern "C" int cuk_loss(const struct cuk *l, enum kernel k, const void *args)
{
    switch (k) {
    case KERN_SOFTMAX_CE:
        softmax_ce(l, (const struct kern_softmax_ce *)args);
        break;
    case KERN_GRAD_CHECK:
        grad_check(l, (const struct kern_grad_check *)args);
        break;
    default:
        return -1;
    }
    return GPU_LAST_ERROR();
}
