/*
 * elem.h - bodies of the kernels that work element by element.
 */
#ifndef ENGINE_KERN_ELEM_H
#define ENGINE_KERN_ELEM_H

#include "engine/kern/kern.h"

/* KERN_IMAGE: byte x of channel ch; the padding channels are 0. */
KERN_FN KREAL kern_image_at(KREAL x, KREAL mul, KREAL add)
{
    return x * mul + add;
}

/* Does a rectangle top, left, bottom, right hold a place? */
KERN_FN int kern_inside(const int32_t *box, int64_t y, int64_t x)
{
    return y >= box[0] && x >= box[1] && y < box[2] && x < box[3];
}

/* Mixup: products rounded before they are added. */
KERN_FN KREAL kern_mixed(KREAL own, KREAL other, KREAL keep, KREAL mix)
{
    KREAL a = own * keep, b = other * mix;

    return a + b;
}

/* max(x, 0); NaN stays NaN. */
KERN_FN KREAL kern_relu_at(KREAL x)
{
    return x > 0 || x != x ? x : 0;
}

/* A gradient through a relu of output y. */
KERN_FN KREAL kern_relu_grad_at(KREAL y, KREAL dy)
{
    return y > 0 ? dy : 0;
}

#endif
