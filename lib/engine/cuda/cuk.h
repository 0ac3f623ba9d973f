/*
 * cuk.h - the kernels of the cuda engine, as C calls them.
 *
 * A call checks nothing and enqueues one or two launches on the stream. It
 * returns 0 or the number of a cudaError. Addresses are the device's, except
 * that of the argument struct. `run` of the table asks one file after the other;
 * what comes behind these serves the convolutions.
 */
#ifndef ENGINE_CUDA_CUK_H
#define ENGINE_CUDA_CUK_H

#include "engine/kern/table.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cuk {
    void *stream; /* a cudaStream_t */
    void *work;   /* partial sums, for the time of a call */
    size_t work_bytes;
};
/* Bytes of the workspace that serves up to 262144 channels. */
#define CUK_WORK ((size_t)16 << 20)

/* One file of kernels each; -1: the kernel is not here. */
int cuk_elem(const struct cuk *l, enum kernel k, const void *args);
int cuk_norm(const struct cuk *l, enum kernel k, const void *args);
int cuk_pool(const struct cuk *l, enum kernel k, const void *args);
/* Called by cuk_norm: KERN_NORM_APPLY, KERN_NORM_GRAD_SUMS with a pool. */
int cuk_tail(const struct cuk *l, enum kernel k, const void *args);
int cuk_loss(const struct cuk *l, enum kernel k, const void *args);
int cuk_step(const struct cuk *l, enum kernel k, const void *args);

/* dw fp32 [n / pitch, c] (+)= the numbers of dt in x [n / pitch, pitch]. */
struct cuk_gather {
    const void *x;
    void *dw;
    int64_t n;
    int pitch, c; /* equal: all */
    enum dtype dt;
    bool accumulate;
};
int cuk_gather(const struct cuk *l, const struct cuk_gather *a);

/* y [n / pitch, pitch] of dt = the fp32 numbers of x [n / pitch, c], then
 * zeros. */
struct cuk_pad {
    const void *x;
    void *y;
    int64_t n;
    int pitch, c;
    enum dtype dt;
};
int cuk_pad(const struct cuk *l, const struct cuk_pad *a);

/* Elements that a vector of n takes, so that one can stand behind it. */
static inline size_t cuk_vector(int64_t n)
{
    return ((size_t)n + 63) / 64 * 64;
}

/* Two vectors of fp32 [n] to dt, one behind the other. */
struct cuk_vectors {
    const void *from[2];
    void *to;
    int64_t n;
    enum dtype dt;
};
int cuk_vectors(const struct cuk *l, const struct cuk_vectors *a);

/* Of x [rows, c] of dt, by channels: the sum and that of the squares, fp32. */
struct cuk_moments {
    const void *x;
    float *sum, *sumsq;
    int64_t rows, c;
    enum dtype dt;
};
int cuk_moments(const struct cuk *l, const struct cuk_moments *a);

/* dz = dz + add where y > 0, else 0, in place, y = the sum of the results of one
 * norm or two, (x - mean) invstd gamma + beta, and residual. Then dbeta = sum of
 * dz, dgamma = sum of dz (x - mean) invstd. Vectors are fp32 [c]. */
struct cuk_norm_back {
    void *dz;
    const void *add, *residual; /* or NULL */
    struct of {
        const void *x; /* NULL in the second: there is one */
        const float *mean, *invstd, *gamma, *beta;
        float *dbeta, *dgamma;
    } norm[2];
    int64_t rows, c;
    enum dtype dt;
};
int cuk_norm_back(const struct cuk *l, const struct cuk_norm_back *a);

#ifdef __cplusplus
}
#endif

#endif
