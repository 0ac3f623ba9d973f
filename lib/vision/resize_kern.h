/*
 * resize_kern.h - the loops of resize.c, one set per instruction set.
 *
 * resize_kern.isa.c is compiled once for each; all sets give equal bytes. Used
 * by resize.c only.
 */
#ifndef VISION_RESIZE_KERN_H
#define VISION_RESIZE_KERN_H

#include "util/isa.h"

#include <stddef.h>
#include <stdint.h>

/* Rows given to weigh are a multiple of this long. */
#define RESIZE_ALIGN 64

/*
 * The weights of one output, in pairs of taps: a weight is hi*2^11 + lo, both
 * within 16 bits, so that pairs can be multiplied and added in one instruction
 * without rounding (data-and-collectives 2.10). Of an odd count the last pair
 * has a zero weight, and the row it stands for must be readable.
 */
struct resize_tap {
    int from, pairs;
    const int32_t *hi, *lo; /* two 16-bit halves each, the first tap low */
};

struct resize_kern {
    /*
     * n rows of len bytes: row i = the weighed sum of rows tap[i].from and on
     * of in, rounded and clipped to bytes.
     */
    void (*weigh)(const uint8_t *in, size_t in_stride,
                  const struct resize_tap *tap, int n, uint8_t *out,
                  size_t out_stride, size_t len);
    /* in: h rows of w 32-bit pixels; out: w rows of h. Strides in pixels. */
    void (*transpose)(const uint32_t *in, size_t in_stride, int w, int h,
                      uint32_t *out, size_t out_stride);
    /* n pixels RGBX to RGB, as they are or mirrored. */
    void (*store)(const uint8_t *in, int n, uint8_t *out);
    void (*store_flip)(const uint8_t *in, int n, uint8_t *out);
};

ISA_DECLARE(const struct resize_kern, resize_kern);

#endif
