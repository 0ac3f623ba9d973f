#include "train/sched.h"

#include <math.h>

static double main_rate(const struct recipe *r, double t, double total)
{
    double left;
    int i, n = 0;

    switch (r->sched) {
    case SCHED_STEP:
        if (r->steps.n == 1)
            return r->lr * pow(r->gamma, floor(t / r->steps.f[0]));
        for (i = 0; i < r->steps.n; i++)
            n += r->steps.f[i] <= t;
        return r->lr * pow(r->gamma, n);
    case SCHED_COSINE:
        left = total > 0 ? fmin(t / total, 1) : 1;
        return r->lr_min + (r->lr - r->lr_min) * (1 + cos(M_PI * left)) / 2;
    default:
        left = total > 0 ? fmax(1 - t / total, 0) : 0;
        return r->lr_min + (r->lr - r->lr_min) * pow(left, r->poly_power);
    }
}

double sched_lr(const struct recipe *r, const struct recipe_batch *b,
                int64_t samples)
{
    int64_t epoch = samples / b->epoch_samples;
    double e = (double)samples / (double)b->epoch_samples;
    double shift = r->warmup_shift ? r->warmup : 0;

    /* whole epochs in integers: a quotient may round up to the next one */
    if (r->per_epoch)
        e = (double)epoch;
    if (e < r->warmup) {
        if (r->warmup_method == WARMUP_CONSTANT)
            return r->lr * r->warmup_factor;
        return r->lr *
               (r->warmup_factor + (1 - r->warmup_factor) * e / r->warmup);
    }
    return main_rate(r, e - shift, r->epochs - shift);
}
