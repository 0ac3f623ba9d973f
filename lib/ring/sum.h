/*
 * sum.h - the additions of the slice owner, and the numbers of 16 bits that
 * travel between hosts, for the instruction set at hand.
 *
 * Every set gives the same bits: each element is added in the order of the
 * inputs, in fp32, by itself; 16-bit numbers are rounded to nearest even.
 */
#ifndef RING_SUM_H
#define RING_SUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * out [n] = in[0] [n] + in[1] [n] + ... of n_in >= 1 inputs; out may be one
 * of them. Returns whether all of out is finite.
 */
bool sum_chunk(float *out, const float *const *in, int n_in, size_t n);
/* n numbers to 16 bits (bf16, or fp16 if half) and back. */
void sum_narrow(uint16_t *out, const float *in, size_t n, bool half);
void sum_widen(float *out, const uint16_t *in, size_t n, bool half);

#endif
