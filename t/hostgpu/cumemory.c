/*
 * cumemory.c - the memory of the made-up device (cudart.c).
 *
 * It is one range. New memory begins as 0xff, which is NaN. With
 * HOSTGPU_GUARD nobody may touch it outside of a launch or a copy: a host that
 * follows a device's address dies of it (slow: two system calls each). HOSTGPU_PEAK
 * names a file for the most bytes that were in use.
 */
/* What others call, in spite of the flags. */
#pragma GCC visibility push(default)
#include "cudart.h"

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
    size_t held, peak;
    size_t used; /* accessible, a whole number of pages */
    int depth;
    bool guard;
    struct {
        size_t at, bytes;
    } block[BLOCKS]; /* by place */
    int n;
} memory;

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

double device_us;

void hostgpu_spend(double us)
{
    device_us += us;
}

void hostgpu_leave(void)
{
    if (--memory.depth == 0) {
        protect(PROT_NONE);
        hostgpu_spend(1);
    }
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    size_t at = 0, end;
    int i, j;

    MAY_FAIL;
    if (recording())
        return answer(cudaErrorStreamCaptureUnsupported);
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
        return answer(cudaErrorMemoryAllocation);
    for (j = memory.n++; j > i; j--)
        memory.block[j] = memory.block[j - 1];
    memory.block[i].at = at;
    memory.block[i].bytes = bytes;
    end = (at + bytes + PAGE - 1) / PAGE * PAGE;
    if (end > memory.used)
        memory.used = end;
    *p = memory.base + at;
    memory.held += bytes - LINE;
    if (memory.held > memory.peak)
        memory.peak = memory.held;
    hostgpu_enter();
    memset(*p, 255, bytes < POISON ? bytes : POISON);
    hostgpu_leave();
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    int i;

    MAY_FAIL;
    if (recording())
        return answer(cudaErrorStreamCaptureUnsupported);
    for (i = 0; i < memory.n; i++)
        if (memory.base + memory.block[i].at == (char *)p)
            break;
    if (i == memory.n)
        return answer(p ? cudaErrorInvalidValue : cudaSuccess);
    settle_all();
    memory.n--;
    memory.held -= memory.block[i].bytes - LINE;
    for (; i < memory.n; i++)
        memory.block[i] = memory.block[i + 1];
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *all)
{
    MAY_FAIL;
    *left = RANGE - memory.used;
    *all = RANGE;
    return cudaSuccess;
}

__attribute__((destructor)) static void tell_peak(void)
{
    const char *path = getenv("HOSTGPU_PEAK");
    FILE *f = path && memory.peak > 0 ? fopen(path, "we") : NULL;

    if (!f)
        return;
    fprintf(f, "%zu\n", memory.peak);
    fclose(f);
}

/* Is this inside one block? */
bool hostgpu_inside(const void *p, size_t n)
{
    size_t at = (size_t)((const char *)p - memory.base);
    int i;

    for (i = 0; i < memory.n; i++)
        if (at >= memory.block[i].at &&
            at + n <= memory.block[i].at + memory.block[i].bytes - LINE)
            return true;
    return false;
}
