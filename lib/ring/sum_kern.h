/*
 * sum_kern.h - the loops of sum.c; sum_kern.isa.c is compiled once for each
 * instruction set. Used by sum.c only, which says what they do.
 */
#ifndef RING_SUM_KERN_H
#define RING_SUM_KERN_H

#include "util/isa.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sum_kern {
    bool (*chunk)(float *out, const float *const *in, int n_in, size_t n);
    void (*narrow)(uint16_t *out, const float *in, size_t n, bool half);
    void (*widen)(float *out, const uint16_t *in, size_t n, bool half);
};
ISA_DECLARE(const struct sum_kern, sum_kern);

#endif
