/* Softmax cross-entropy, a block for each row. */
#include "engine/cuda/gpu.h"
#include "engine/kern/loss.h"

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
    float gscale = (float)kern_ce_gscale(&a);
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
                             gscale);
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

extern "C" int cuk_loss(const struct cuk *l, enum kernel k, const void *args)
{
    switch (k) {
    case KERN_SOFTMAX_CE:
        softmax_ce(l, (const struct kern_softmax_ce *)args);
        break;
    default:
        return -1;
    }
    return GPU_LAST_ERROR();
}
