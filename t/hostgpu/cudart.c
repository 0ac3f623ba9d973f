/*
 * cudart.c - the few calls of the CUDA runtime that the cuda engine makes, on the
 * host, for tests. Work is done when a call returns.
 *
 * The device's memory is one range. New memory begins as 0xff, which is NaN.
 * With HOSTGPU_GUARD nobody may touch it outside of a launch or a copy: a host
 * that follows a device's address dies of it (slow: two system calls each).
 *
 * HOSTGPU names what is to be met: nodriver, olddriver, nogpu, oldgpu (sm 70),
 * turing (sm 75), nomemory. Without it there is one card of sm 90.
 */
/* What others call, in spite of the flags. */
#pragma GCC visibility push(default)
#include <cuda_runtime_api.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define RANGE ((size_t)8 << 30)
#define LINE 256
#define POISON ((size_t)4 << 20) /* bytes of it, for the time it takes */
#define PAGE 4096
#define BLOCKS 4096

static struct {
    char *base;
    size_t used; /* accessible, a whole number of pages */
    int depth;
    bool guard;
    struct {
        size_t at, bytes;
    } block[BLOCKS]; /* by place */
    int n;
} memory;

static bool met(const char *what)
{
    const char *e = getenv("HOSTGPU");

    return e && strcmp(e, what) == 0;
}

/* ---- memory */

void hostgpu_enter(void);
void hostgpu_leave(void);

static void protect(int how)
{
    if (memory.guard && memory.used > 0 &&
        mprotect(memory.base, memory.used, how) < 0)
        abort();
}

void hostgpu_enter(void)
{
    if (memory.depth++ == 0)
        protect(PROT_READ | PROT_WRITE);
}

void hostgpu_leave(void)
{
    if (--memory.depth == 0)
        protect(PROT_NONE);
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    size_t at = 0, end;
    int i, j;

    if (!memory.base) {
        memory.guard = getenv("HOSTGPU_GUARD") != NULL;
        memory.base =
            mmap(NULL, RANGE, memory.guard ? PROT_NONE : PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory.base == MAP_FAILED)
            abort();
    }
    bytes = (bytes + LINE - 1) / LINE * LINE + LINE; /* a gap */
    for (i = 0; i < memory.n && memory.block[i].at - at < bytes; i++)
        at = memory.block[i].at + memory.block[i].bytes;
    if (memory.n == BLOCKS || bytes > RANGE || at > RANGE - bytes ||
        met("nomemory"))
        return cudaErrorMemoryAllocation;
    for (j = memory.n++; j > i; j--)
        memory.block[j] = memory.block[j - 1];
    memory.block[i].at = at;
    memory.block[i].bytes = bytes;
    end = (at + bytes + PAGE - 1) / PAGE * PAGE;
    if (end > memory.used)
        memory.used = end;
    *p = memory.base + at;
    hostgpu_enter();
    memset(*p, 255, bytes < POISON ? bytes : POISON);
    hostgpu_leave();
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    int i;

    for (i = 0; i < memory.n; i++)
        if (memory.base + memory.block[i].at == (char *)p)
            break;
    if (i == memory.n)
        return p ? cudaErrorInvalidValue : cudaSuccess;
    memory.n--;
    for (; i < memory.n; i++)
        memory.block[i] = memory.block[i + 1];
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *all)
{
    *left = RANGE - memory.used;
    *all = RANGE;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    *p = malloc(bytes);
    return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *p)
{
    free(p);
    return cudaSuccess;
}

/* Is this inside one block? */
static bool inside(const void *p, size_t n)
{
    size_t at = (size_t)((const char *)p - memory.base);
    int i;

    for (i = 0; i < memory.n; i++)
        if (at >= memory.block[i].at &&
            at + n <= memory.block[i].at + memory.block[i].bytes - LINE)
            return true;
    return n == 0;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t n,
                            enum cudaMemcpyKind kind, cudaStream_t s)
{
    bool to = kind != cudaMemcpyDeviceToHost;
    bool from = kind != cudaMemcpyHostToDevice;

    (void)s;
    if ((to && !inside(dst, n)) || (from && !inside(src, n)))
        return cudaErrorInvalidValue;
    hostgpu_enter();
    memmove(dst, src, n);
    hostgpu_leave();
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *dst, int byte, size_t n, cudaStream_t s)
{
    (void)s;
    if (!inside(dst, n))
        return cudaErrorInvalidValue;
    hostgpu_enter();
    memset(dst, byte, n);
    hostgpu_leave();
    return cudaSuccess;
}

/* ---- devices */

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = 0;
    if (met("nodriver") || met("olddriver"))
        return cudaErrorInsufficientDriver;
    if (met("nogpu"))
        return cudaErrorNoDevice;
    *n = 1;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *v)
{
    *v = met("nodriver") ? 0 : met("olddriver") ? 11080 : CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    (void)device;
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "the host itself");
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int device)
{
    int sm = met("oldgpu") ? 70 : met("turing") ? 75 : 90;

    (void)device;
    *v = a == cudaDevAttrComputeCapabilityMajor   ? sm / 10
         : a == cudaDevAttrComputeCapabilityMinor ? sm % 10
                                                  : 0;
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t e)
{
    return e == cudaErrorInvalidValue ? "invalid argument" : "an error";
}

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

/* ---- the queue, always empty */

static char some[1];

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags)
{
    (void)flags;
    *s = (cudaStream_t)(void *)some;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    (void)s;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    (void)s;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    (void)flags;
    *e = (cudaEvent_t)(void *)some;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    (void)e;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    (void)e;
    (void)s;
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    (void)e;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    (void)e;
    return cudaSuccess;
}
