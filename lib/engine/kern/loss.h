/*
 * loss.h - bodies of softmax cross-entropy, for one row or one class.
 *
 * A row is worked in two passes: its maximum, then the sum of exp(z - max) and,
 * with smoothing, of z - max. From these come the loss and each gradient.
 */
#ifndef ENGINE_KERN_LOSS_H
#define ENGINE_KERN_LOSS_H

#include "engine/kern/kern.h"

/* What gradients are multiplied by. */
KERN_FN double kern_ce_gscale(const struct kern_softmax_ce *a)
{
    return a->scale ? a->gscale * *a->scale : a->gscale;
}

/* Is a label one that counts? */
KERN_FN int kern_label_ok(int64_t label, int64_t k)
{
    return label >= 0 && label < k;
}

/* Target of class i: (1-eps)*onehot + eps/k; onehot the sum of 1-mix for the
 * label and mix for the other one, -1 if there is none. */
KERN_FN KREAL kern_ce_target(int64_t i, const int64_t label[2], KREAL mix,
                             KREAL eps, KREAL k)
{
    KREAL hot = (i == label[0] ? 1 - mix : 0) + (i == label[1] ? mix : 0);

    return (1 - eps) * hot + eps / k;
}

/*
 * Loss of a row: sumexp = sum exp(z - max), at = z[label] - max, sum = sum of
 * z - max (used only if eps > 0, so that a logit of -inf costs nothing without
 * smoothing).
 */
KERN_FN KREAL kern_ce_loss(KREAL sumexp, KREAL at, KREAL sum, KREAL eps,
                           KREAL k)
{
    KREAL lse = KLOG(sumexp);

    if (!(eps > 0))
        return lse - at;
    return lse - (1 - eps) * at - eps / k * sum;
}

/* Gradient of a class: shifted = z - max. */
KERN_FN KREAL kern_ce_grad(KREAL shifted, KREAL sumexp, KREAL target,
                           KREAL gscale)
{
    return (KEXP(shifted) / sumexp - target) * gscale;
}

/* Does class i, of logit v, stand before the label, of logit at? A logit that
 * is NaN never helps: it stands before, and its label behind all others. */
KERN_FN int kern_ce_before(KREAL v, int64_t i, KREAL at, int64_t label)
{
    return i != label && !(v < at || (v == at && i > label));
}

#endif
