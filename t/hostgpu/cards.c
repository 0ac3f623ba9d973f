/* cards.c - the cards of the made-up CUDA runtime (cudart.c), and what goes wrong
 * with them. */
#pragma GCC visibility push(default)
#include "cudart.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool met(const char *what)
{
    const char *e = getenv("HOSTGPU");

    return e && strcmp(e, what) == 0;
}

static _Thread_local cudaError_t last_error;

cudaError_t answer(cudaError_t e)
{
    if (e != cudaSuccess)
        last_error = e;
    return e;
}

/* ---- errors that are asked for */

static cudaError_t lost; /* for good */

/* Does an error take the device from the program? */
static bool lasting(cudaError_t e)
{
    return e == cudaErrorECCUncorrectable || e == cudaErrorUnknown ||
           (e >= cudaErrorIllegalAddress && e <= cudaErrorLaunchFailure);
}

static bool first_time(const char *path)
{
    int fd = -1;

    if (path[0])
        fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return !path[0] || fd >= 0;
}

/* What this call is to answer. */
int hostgpu_fails(const char *call)
{
    static char name[60], path[300];
    static long left, error;
    const char *e = getenv("HOSTGPU_FAIL");

    if (lost || !e)
        return (int)lost;
    if (!name[0] &&
        sscanf(e, "%59[^:]:%ld:%ld:%299s", name, &left, &error, path) < 3)
        abort();
    if (strcmp(call, name) != 0 || --left != 0 || !first_time(path))
        return 0;
    if (lasting((cudaError_t)error))
        lost = (cudaError_t)error;
    return (int)error;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t e = last_error;

    last_error = cudaSuccess;
    return e;
}

int hostgpu_last_error(void)
{
    int e = hostgpu_fails("launch"), was = (int)cudaGetLastError();

    return e ? e : was;
}

/* ---- devices */

/* HOSTGPU_GPUS of them. */
static int devices(void)
{
    const char *n = getenv("HOSTGPU_GPUS");

    return n ? (int)strtol(n, NULL, 10) : 1;
}

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = 0;
    if (met("nodriver") || met("olddriver"))
        return answer(cudaErrorInsufficientDriver);
    if (met("nogpu"))
        return answer(cudaErrorNoDevice);
    *n = devices();
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *v)
{
    *v = met("nodriver") ? 0 : met("olddriver") ? 11080 : CUDART_VERSION;
    return cudaSuccess;
}

static _Thread_local int device_now; /* a new thread has the first */

cudaError_t cudaSetDevice(int device)
{
    MAY_FAIL;
    if (device < 0 || device >= devices())
        return answer(cudaErrorInvalidDevice);
    device_now = device;
    return cudaSuccess;
}

int current_device(void)
{
    return device_now;
}

cudaError_t cudaGetDevice(int *device)
{
    MAY_FAIL;
    *device = device_now;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    MAY_FAIL;
    memset(p, 0, sizeof *p);
    p->uuid.bytes[0] = (char)(device + 1);
    snprintf(p->name, sizeof p->name, "the host itself");
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int device)
{
    int sm = met("oldgpu") ? 70 : met("turing") ? 75 : 90;

    MAY_FAIL;
    (void)device;
    *v = a == cudaDevAttrComputeCapabilityMajor   ? sm / 10
         : a == cudaDevAttrComputeCapabilityMinor ? sm % 10
                                                  : 0;
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorECCUncorrectable:
        return "uncorrectable ECC error encountered";
    case cudaErrorIllegalAddress:
        return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure:
        return "unspecified launch failure";
    default:
        return "an error";
    }
}
