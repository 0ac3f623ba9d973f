/*
 * sgd.h - bodies of the optimiser, of the check before it, of the average after.
 *
 * Source: pytorch torch/optim/sgd.py.
 */
#ifndef ENGINE_KERN_SGD_H
#define ENGINE_KERN_SGD_H

#include "engine/kern/kern.h"

/* The numbers of KERN_SGD for all weights; 0: there is nothing to do. */
KERN_FN int kern_sgd_begin(const struct kern_sgd *a, struct kern_sgd *own)
{
    double w, g, factor;

    *own = *a;
    if (a->state) {
        own->lr = a->state->lr;
        own->gmul = a->state->gmul;
        if (!a->state->update)
            return 0;
    }
    if (a->norms) {
        w = sqrt(a->norms[0]);
        g = sqrt(a->norms[3]) * own->gmul;
        factor = w > 0 && g > 0 ? a->eta * w / (g + a->wd * w + 1e-8) : 1;
        own->wd = a->wd * factor;
        own->gmul *= factor;
    }
    return 1;
}

/* KERN_SGD for one weight w and its velocity m. */
KERN_FN void kern_sgd_at(const struct kern_sgd *a, KREAL g, KREAL *w, KREAL *m)
{
    KREAL mu = (KREAL)a->mu, u;

    g = g * (KREAL)a->gmul + (KREAL)a->wd * *w;
    *m = a->first ? g : mu * *m + g;
    u = a->nesterov ? g + mu * *m : *m;
    *w = *w - (KREAL)a->lr * u;
}

/* KERN_EMA: the new average. */
KERN_FN KREAL kern_ema_at(const struct kern_ema *a, KREAL avg, KREAL w)
{
    KREAL old = (KREAL)a->decay * avg, now = (KREAL)(1 - a->decay) * w;

    return old + now;
}

/* KERN_GRAD_CHECK: is g a number? (g - g is NaN for infinities and NaN.) */
KERN_FN int kern_finite(KREAL g)
{
    return g - g == 0;
}

#endif
