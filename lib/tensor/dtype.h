/*
 * dtype.h - element types: names, sizes, conversion.
 *
 * Names are those of safetensors. fp16 and bf16 are uint16_t in memory;
 * conversion to them rounds to nearest, ties to even, and keeps infinities and
 * NaN (as a quiet NaN).
 */
#ifndef TENSOR_DTYPE_H
#define TENSOR_DTYPE_H

#include "util/err.h"

#include <stddef.h>
#include <stdint.h>

enum dtype {
    DT_U8,
    DT_I8,
    DT_U16,
    DT_I16,
    DT_F16,
    DT_BF16,
    DT_U32,
    DT_I32,
    DT_F32,
    DT_U64,
    DT_I64,
    DT_F64,
    DT_BOOL,
    DT_N
};

size_t dtype_size(enum dtype t);      /* bytes of one element */
const char *dtype_name(enum dtype t); /* "F32" */
/* By name; ERR_DATA "unknown dtype "X"". */
int dtype_find(const char *name, enum dtype *t) MUST_CHECK;

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f);
/* double -> half directly, one rounding. */
uint16_t f64_to_f16(double d);
uint16_t f64_to_bf16(double d);

/* Element i of an array of any dtype, as double, and back (rounded). */
double dtype_load(enum dtype t, const void *p, size_t i);
void dtype_store(enum dtype t, void *p, size_t i, double v);
/* n elements of one dtype to another, each by way of double; no overlap. */
void dtype_convert(enum dtype tt, void *to, enum dtype ft, const void *from,
                   size_t n);

#endif
