/*
 * verdict.h - the body of KERN_STEP: one thread, fp64 in every engine.
 */
#ifndef ENGINE_KERN_VERDICT_H
#define ENGINE_KERN_VERDICT_H

#include "engine/kern/kern.h"

/* The scale after a step. */
KERN_FN void kern_step_scale(const struct kern_step *a, struct kern_state *s)
{
    float twice = (float)(s->scale * 2);

    if (!s->update) {
        s->skipped++;
        s->good = 0;
        if (a->dynamic)
            s->scale *= 0.5;
    } else if (a->dynamic && ++s->good == a->interval) {
        /* fp32 holds the scale where the reference keeps it */
        if (twice - twice == 0)
            s->scale *= 2;
        s->good = 0;
    }
}

KERN_FN void kern_step_at(const struct kern_step *a)
{
    struct kern_state *s = a->state;
    double sum = 0, others = 0, last = 0, unscale = 1 / s->scale, coef = 1;
    int64_t i;

    for (i = 0; i < a->shares; i++) {
        sum += a->check[3 * i];
        others += a->check[3 * i + 1];
        if (a->check[3 * i + 2] > last)
            last = a->check[3 * i + 2];
    }
    s->update = others == 0 && sum - sum == 0;
    s->bad = (int64_t)last;
    s->norm = s->update ? sqrt(sum) * unscale : (double)NAN;
    if (a->clip > 0)
        coef = fmin(1.0, a->clip / (s->norm + 1e-6));
    s->gmul = coef * unscale;
    if (a->scaled)
        kern_step_scale(a, s);
    for (i = 0; a->stats && i < 4; i++) {
        s->stats[i] = a->stats[i];
        a->stats[i] = 0;
    }
    if (a->log)
        a->log[s->steps % a->logs] = *s;
    s->steps++;
}

#endif
