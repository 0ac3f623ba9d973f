/*
 * cuk.h - the kernels of the cuda engine, as C calls them.
 *
 * A call checks nothing and enqueues one or two launches on the stream. It
 * returns 0 or the number of a cudaError. Addresses are the device's, except
 * that of the argument struct. `run` of the table goes through cuk_run; the
 * others serve the convolutions.
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
int cuk_loss(const struct cuk *l, enum kernel k, const void *args);

/* dw fp32 [n] (+)= the numbers of dt in x [n]. */
struct cuk_gather {
    const void *x;
    void *dw;
    int64_t n;
    enum dtype dt;
    bool accumulate;
};
int cuk_gather(const struct cuk *l, const struct cuk_gather *a);

#ifdef __cplusplus
}
#endif

#endif
