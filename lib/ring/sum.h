/*
 * sum.h - the additions of the slice owner, for the instruction set at hand.
 *
 * Every set gives the same bits: each element is added in the order of the
 * inputs, in fp32, by itself.
 */
#ifndef RING_SUM_H
#define RING_SUM_H

#include <stdbool.h>
#include <stddef.h>

/*
 * out [n] = in[0] [n] + in[1] [n] + ... of n_in >= 1 inputs; out may be in[0]
 * only when n_in is 1. Returns whether all of out is finite.
 */
bool sum_chunk(float *out, const float *const *in, int n_in, size_t n);

#endif
