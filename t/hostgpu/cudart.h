/* cudart.h - what the files of the made-up CUDA runtime share. */
#ifndef T_HOSTGPU_CUDART_H
#define T_HOSTGPU_CUDART_H

#include "hostgpu.h"

#include <cuda_runtime_api.h>

/* Every answer but success is kept, for each thread, until somebody asks. */
HIDDEN cudaError_t answer(cudaError_t e);
/* Is this what HOSTGPU names? */
HIDDEN bool met(const char *what);

/* Does what this thread does break a recording? It is broken, then. */
HIDDEN bool forbidden(void);
/* Is it recording? Then calls about memory fail; what that does to the recording is
 * not said, so nothing. */
HIDDEN bool recording(void);
/* The device of this thread. */
HIDDEN int current_device(void);
/* Until all streams are done: memory is not freed before. */
HIDDEN void settle_all(void);

struct pin {
    char *p; /* NULL: none */
    size_t bytes;
    bool registered; /* somebody else's */
    int copies;      /* to it or from it, on their way */
};
/* The one that has all of it, or NULL: it is not pinned. */
HIDDEN struct pin *pin_of(const void *p, size_t n);
/* A copy of n bytes to the device begins; whoever ends it takes it off copies. */
HIDDEN void count_sent(struct pin *pin, size_t n);

/* The made-up device's clock, microseconds: a launch or copy takes one, and what
 * is spent. */
extern HIDDEN double device_us;

/* At the beginning of every call. */
#define MAY_FAIL                                                               \
    do {                                                                       \
        cudaError_t fails = (cudaError_t)hostgpu_fails(__func__);              \
                                                                               \
        if (fails != cudaSuccess)                                              \
            return answer(fails);                                              \
    } while (0)

#endif
