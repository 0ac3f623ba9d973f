#include "tensor/tensor.h"

#include <inttypes.h>

struct tensor tensor_of(enum dtype t, int rank, const int64_t *shape,
                        void *data)
{
    struct tensor r = {.dtype = t, .rank = rank, .data = data};
    int i;

    if (rank < 0 || rank > TENSOR_RANK)
        BUG("a tensor of rank %d", rank);
    for (i = 0; i < rank; i++)
        r.shape[i] = shape[i];
    return r;
}

int64_t tensor_count(const struct tensor *t)
{
    int64_t n = 1;
    int i;

    for (i = 0; i < t->rank; i++)
        n *= t->shape[i];
    return n;
}

size_t tensor_bytes(const struct tensor *t)
{
    return (size_t)tensor_count(t) * dtype_size(t->dtype);
}

int tensor_check(const struct tensor *t, uint64_t *bytes)
{
    int64_t n = 1;
    int i;

    if (t->rank < 0 || t->rank > TENSOR_RANK)
        return err_set(ERR_DATA, "%d dimensions, at most %d are allowed",
                       t->rank, TENSOR_RANK);
    for (i = 0; i < t->rank; i++) {
        if (t->shape[i] < 0)
            return err_set(ERR_DATA, "dimension %d is negative: %" PRId64, i,
                           t->shape[i]);
        if (!mul_ok(n, t->shape[i], &n))
            return err_set(ERR_DATA, "the number of elements overflows");
    }
    if (!mul_ok(n, (int64_t)dtype_size(t->dtype), &n))
        return err_set(ERR_DATA, "the number of bytes overflows");
    if (bytes)
        *bytes = (uint64_t)n;
    return 0;
}

bool tensor_same_shape(const struct tensor *a, const struct tensor *b)
{
    int i;

    if (a->rank != b->rank)
        return false;
    for (i = 0; i < a->rank; i++) {
        if (a->shape[i] != b->shape[i])
            return false;
    }
    return true;
}

void tensor_describe(const struct tensor *t, struct buf *b)
{
    int i;

    buf_addf(b, "%s [", dtype_name(t->dtype));
    for (i = 0; i < t->rank; i++)
        buf_addf(b, "%s%" PRId64, i ? "," : "", t->shape[i]);
    buf_addch(b, ']');
}

bool mul_ok(int64_t a, int64_t b, int64_t *r)
{
    if (a < 0 || b < 0 || (b > 0 && a > INT64_MAX / b))
        return false;
    *r = a * b;
    return true;
}

bool add_ok(int64_t a, int64_t b, int64_t *r)
{
    if (a < 0 || b < 0 || a > INT64_MAX - b)
        return false;
    *r = a + b;
    return true;
}
