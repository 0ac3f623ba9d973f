/*
 * cuhost.c - memory of the host that the made-up device knows.
 *
 * HOSTGPU_SENT names a file for the bytes that were copied to the device:
 * "registered N", "pinned N" and "pageable N", by the memory that they came from.
 */
/* What others call, in spite of the flags. */
#pragma GCC visibility push(default)
#include "cudart.h"

#include <stdio.h>
#include <stdlib.h>

#define PINS 512

/* Memory of the host that the device knows. */
static struct pin pins[PINS];

/* Bytes to the device, from memory that is neither, pinned or registered. */
static size_t sent[3];

__attribute__((destructor)) static void tell_sent(void)
{
    static const char *const from[] = {"pageable", "pinned", "registered"};
    const char *path = getenv("HOSTGPU_SENT");
    FILE *f =
        path && sent[0] + sent[1] + sent[2] > 0 ? fopen(path, "we") : NULL;

    for (int i = 2; f && i >= 0; i--)
        fprintf(f, "%s %zu\n", from[i], sent[i]);
    if (f)
        fclose(f);
}

/* The pin that has all of it, or NULL. */
struct pin *pin_of(const void *p, size_t n)
{
    const char *at = p;
    struct pin *i;

    for (i = pins; i < pins + PINS; i++)
        if (i->p && at >= i->p && at < i->p + i->bytes &&
            n <= (size_t)(i->p + i->bytes - at))
            return i;
    return NULL;
}

void count_sent(struct pin *pin, size_t n)
{
    sent[!pin ? 0 : pin->registered ? 2 : 1] += n;
    if (pin)
        pin->copies++;
}

/* Is a part of it pinned? */
static bool touches_pin(const char *p, size_t n)
{
    struct pin *i;

    for (i = pins; i < pins + PINS; i++)
        if (i->p && p < i->p + i->bytes && i->p < p + n)
            return true;
    return false;
}

static bool add_pin(void *p, size_t bytes, bool registered)
{
    struct pin *i = pins;

    while (i < pins + PINS && i->p)
        i++;
    if (i == pins + PINS || !p)
        return false;
    *i = (struct pin){p, bytes, registered, 0};
    return true;
}

/* A copy of what is gone reads or writes anything, on a card. */
static cudaError_t remove_pin(void *p, bool registered)
{
    struct pin *i = p ? pin_of(p, 0) : NULL;

    if (!i || i->p != p || i->registered != registered)
        return answer(registered ? cudaErrorHostMemoryNotRegistered
                                 : cudaErrorInvalidValue);
    if (i->copies > 0) {
        fprintf(stderr, "hostgpu: memory is unpinned under a copy of it\n");
        abort();
    }
    i->p = NULL;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    MAY_FAIL;
    if (recording())
        return answer(cudaErrorStreamCaptureUnsupported);
    *p = malloc(bytes);
    if (add_pin(*p, bytes, false))
        return cudaSuccess;
    free(*p);
    return answer(cudaErrorMemoryAllocation);
}

/* Nothing says that it waits for the device. */
cudaError_t cudaFreeHost(void *p)
{
    cudaError_t e;

    if (recording())
        return answer(cudaErrorStreamCaptureUnsupported);
    e = p ? remove_pin(p, false) : cudaSuccess;
    if (e == cudaSuccess)
        free(p);
    return e;
}

cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned flags)
{
    MAY_FAIL;
    if (recording())
        return answer(cudaErrorStreamCaptureUnsupported);
    (void)flags;
    if (!p || !bytes)
        return answer(cudaErrorInvalidValue);
    if (touches_pin(p, bytes))
        return answer(cudaErrorHostMemoryAlreadyRegistered);
    return answer(add_pin(p, bytes, true) ? cudaSuccess
                                          : cudaErrorMemoryAllocation);
}

cudaError_t cudaHostUnregister(void *p)
{
    MAY_FAIL;
    if (recording())
        return answer(cudaErrorStreamCaptureUnsupported);
    return remove_pin(p, true);
}
