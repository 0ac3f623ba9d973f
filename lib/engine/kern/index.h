/*
 * index.h - which places a window touches, in pure integers.
 *
 * One dimension at a time: an input of n places, windows of r places, one every
 * stride, the first beginning pad places before the input. Nothing is loaded
 * here, so it can be tested at sizes that no memory holds. KERN_INDEX may be
 * defined as a type that is faster than int64_t and large enough for one
 * dimension with its padding.
 */
#ifndef ENGINE_KERN_INDEX_H
#define ENGINE_KERN_INDEX_H

#include "engine/kern/kern.h"

#ifndef KERN_INDEX
#    define KERN_INDEX int64_t
#endif

/* Number of windows. */
KERN_FN KERN_INDEX kern_out_size(KERN_INDEX n, KERN_INDEX r, KERN_INDEX stride,
                                 KERN_INDEX pad)
{
    return (n + 2 * pad - r) / stride + 1;
}

/* Offsets *lo <= k < *hi into window o that lie inside the input; the place
 * of offset k is o*stride - pad + k. */
KERN_FN void kern_window(KERN_INDEX o, KERN_INDEX n, KERN_INDEX r,
                         KERN_INDEX stride, KERN_INDEX pad, KERN_INDEX *lo,
                         KERN_INDEX *hi)
{
    KERN_INDEX first = o * stride - pad;

    *lo = first < 0 ? -first : 0;
    *hi = n - first < r ? n - first : r;
    if (*hi < *lo)
        *hi = *lo;
}

/* Windows *lo <= o < *hi of n_out that hold place i; its offset inside window
 * o is i + pad - o*stride. */
KERN_FN void kern_windows_of(KERN_INDEX i, KERN_INDEX n_out, KERN_INDEX r,
                             KERN_INDEX stride, KERN_INDEX pad, KERN_INDEX *lo,
                             KERN_INDEX *hi)
{
    KERN_INDEX last = (i + pad) / stride;
    KERN_INDEX before = i + pad - r; /* the last place that is left of i's */

    *lo = before < 0 ? 0 : before / stride + 1;
    *hi = last + 1 < n_out ? last + 1 : n_out;
    if (*hi < *lo)
        *hi = *lo;
}

#endif
