/*
 * pool.h - bodies of the pools. Windows are counted by index.h.
 */
#ifndef ENGINE_KERN_POOL_H
#define ENGINE_KERN_POOL_H

#include "engine/kern/index.h"
#include "engine/kern/kern.h"

/* KERN_MAXPOOL: does v, later in scan order, take the place of best? NaN is
 * larger than every number, and the first of several NaN stays. */
KERN_FN int kern_max_takes(KREAL v, KREAL best)
{
    return v > best || (v != v && best == best);
}

/* KERN_AVGPOOL and its gradient: the mean from a sum over hw places. */
KERN_FN KREAL kern_mean_of(KREAL sum, KREAL hw)
{
    return sum / hw;
}

#endif
