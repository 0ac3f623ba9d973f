/*
 * tensor.h - what a tensor is: dtype, shape, view.
 *
 * A plain struct, passed by value. Dense, row-major; the order of the shape is
 * the order in memory: images are [N,H,W,C], convolution weights [K,R,S,C]. A
 * tensor never owns its memory; owners are arenas and buffers. The data may lie
 * in an engine's memory: only that engine may touch it then.
 */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H

#include "tensor/dtype.h"
#include "util/buf.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

#define TENSOR_RANK 8 /* the most dimensions */

struct tensor {
    enum dtype dtype;
    int rank;
    int64_t shape[TENSOR_RANK];
    void *data;
};

/* rank dimensions from shape; data may be NULL. */
struct tensor tensor_of(enum dtype t, int rank, const int64_t *shape,
                        void *data);
#define TENSOR1(t, p, a) tensor_of(t, 1, (const int64_t[]){a}, p)
#define TENSOR2(t, p, a, b) tensor_of(t, 2, (const int64_t[]){a, b}, p)
#define TENSOR4(t, p, a, b, c, d)                                              \
    tensor_of(t, 4, (const int64_t[]){a, b, c, d}, p)

/* Elements (1 for rank 0) and bytes. The shape has been checked. */
int64_t tensor_count(const struct tensor *t);
size_t tensor_bytes(const struct tensor *t);
/* Checked: ERR_DATA if a dimension is negative or a product overflows. */
int tensor_check(const struct tensor *t, uint64_t *bytes) MUST_CHECK;
bool tensor_same_shape(const struct tensor *a, const struct tensor *b);
/* "F32 [64,7,7,3]" appended. */
void tensor_describe(const struct tensor *t, struct buf *b);
/* a*b, a+b; false on overflow of int64 or a negative operand. */
bool mul_ok(int64_t a, int64_t b, int64_t *r);
bool add_ok(int64_t a, int64_t b, int64_t *r);

#endif
