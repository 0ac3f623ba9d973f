/*
 * hostgpu.h - what the files of the made-up runtime share: cudart.c, cuhost.c.
 */
#ifndef T_HOSTGPU_H
#define T_HOSTGPU_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>

/* An error is kept until somebody asks. */
cudaError_t hostgpu_answer(cudaError_t e);
/* What the call of that name is to answer. */
int hostgpu_fails(const char *call);

/* At the beginning of every call. */
#define MAY_FAIL                                                               \
    do {                                                                       \
        cudaError_t fails = (cudaError_t)hostgpu_fails(__func__);              \
                                                                               \
        if (fails != cudaSuccess)                                              \
            return hostgpu_answer(fails);                                      \
    } while (0)

/* All streams do all that they were told. */
void hostgpu_settle(void);

struct hostgpu_pin {
    char *p; /* NULL: none */
    size_t bytes;
    bool registered; /* somebody else's */
    int copies;      /* of it, on their way to the device */
};
/* The one that has all of it, or NULL: it is not pinned. */
struct hostgpu_pin *hostgpu_pin(const void *p, size_t n);
/* A copy of n bytes to the device begins; whoever ends it takes it off copies. */
void hostgpu_count(struct hostgpu_pin *pin, size_t n);

#endif
