/*
 * index.h - which places a window touches, in pure integers.
 *
 * One dimension at a time: an input of n places, windows of r places, one every
 * stride, the first beginning pad places before the input. Nothing is loaded
 * here, so it can be tested at sizes that no memory holds.
 */
#ifndef ENGINE_KERN_INDEX_H
#define ENGINE_KERN_INDEX_H

#include "engine/kern/kern.h"

/* Number of windows. */
KERN_FN int64_t kern_out_size(int64_t n, int64_t r, int64_t stride, int64_t pad)
{
    return (n + 2 * pad - r) / stride + 1;
}

/* Offsets *lo <= k < *hi into window o that lie inside the input; the place
 * of offset k is o*stride - pad + k. */
KERN_FN void kern_window(int64_t o, int64_t n, int64_t r, int64_t stride,
                         int64_t pad, int64_t *lo, int64_t *hi)
{
    int64_t first = o * stride - pad;

    *lo = first < 0 ? -first : 0;
    *hi = n - first < r ? n - first : r;
    if (*hi < *lo)
        *hi = *lo;
}

/* Windows *lo <= o < *hi of n_out that hold place i; its offset inside window
 * o is i + pad - o*stride. */
KERN_FN void kern_windows_of(int64_t i, int64_t n_out, int64_t r,
                             int64_t stride, int64_t pad, int64_t *lo,
                             int64_t *hi)
{
    int64_t last = (i + pad) / stride;
    int64_t before = i + pad - r; /* the last place that is left of i's */

    *lo = before < 0 ? 0 : before / stride + 1;
    *hi = last + 1 < n_out ? last + 1 : n_out;
    if (*hi < *lo)
        *hi = *lo;
}

#endif
