#include "engine/cuda/cuda.h"
#include "util/fnv.h"

#include <stdio.h>
#include <stdlib.h>

/* The oldest card that the kernels were compiled for: 75. */
#ifndef CUDA_OLDEST
#    define CUDA_OLDEST 75
#endif

/* What an error means to whoever runs the program. */
static enum err_class class_of(cudaError_t e)
{
    switch ((int)e) {
    case cudaErrorMemoryAllocation:
        return ERR_SYSTEM;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
    case cudaErrorInvalidMemcpyDirection:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorInvalidResourceHandle:
        return ERR_INTERNAL;
    /* Behind these every call of this process fails; another one's need not. */
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case 720: /* tensor memory was leaked, and */
    case 721: /* an error was contained: names since CUDA 12.9 */
    case cudaErrorUnknown:
        return ERR_PEER;
    default:
        return ERR_UNAVAILABLE;
    }
}

int cuda_check(cudaError_t e, const char *what)
{
    enum err_class c = class_of(e);

    if (e == cudaSuccess)
        return 0;
    cuda_forget();
    return err_set(c, "%s: %s%s (CUDA error %d)", what,
                   c == ERR_PEER ? "the GPU is lost to this process: " : "",
                   cudaGetErrorString(e), (int)e);
}

int cuda_blame(cudaStream_t stream, const char *what)
{
    cudaError_t e = cudaStreamQuery(stream);

    cuda_forget();
    return class_of(e) == ERR_PEER ? cuda_check(e, what) : -1;
}

void cuda_forget(void)
{
    cudaGetLastError();
}

/* The driver that a CUDA version came with: 13.0 needs 580. */
static const char *driver_of(int version)
{
    return version / 1000 == 13   ? "580"
           : version / 1000 == 12 ? "525"
                                  : "a newer one";
}

int cuda_devices(void)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    int n = 0, driver = 0, r;
    cudaError_t e = cudaGetDeviceCount(&n);

    if (e == cudaSuccess && n > 0)
        return n;
    cuda_forget();
    if (cudaDriverGetVersion(&driver) != cudaSuccess)
        driver = 0;
    if (driver == 0)
        r = err_set(ERR_UNAVAILABLE, "no NVIDIA driver on this host");
    else if (e == cudaErrorInsufficientDriver)
        r = err_set(ERR_UNAVAILABLE,
                    "driver supports CUDA %d.%d, this build needs %d.%d "
                    "(driver %s or newer)",
                    driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000,
                    CUDART_VERSION % 1000 / 10, driver_of(CUDART_VERSION));
    else if (e == cudaSuccess || e == cudaErrorNoDevice)
        r = err_set(ERR_UNAVAILABLE,
                    "driver sees no GPU (CUDA_VISIBLE_DEVICES%s%s)",
                    visible ? "=" : " is not set", visible ? visible : "");
    else
        r = cuda_check(e, "looking for devices");
    return r;
}

int cuda_device_fits(int device, char *name, int *capability)
{
    struct cudaDeviceProp p;
    int major = 0, minor = 0;

    if (cuda_check(cudaGetDeviceProperties(&p, device), "device") < 0 ||
        cuda_check(cudaDeviceGetAttribute(
                       &major, cudaDevAttrComputeCapabilityMajor, device),
                   "device") < 0 ||
        cuda_check(cudaDeviceGetAttribute(
                       &minor, cudaDevAttrComputeCapabilityMinor, device),
                   "device") < 0)
        return -1;
    snprintf(name, 80, "%.79s", p.name);
    *capability = 10 * major + minor;
    if (*capability < CUDA_OLDEST)
        return err_set(ERR_UNAVAILABLE,
                       "GPU %d (%s) has compute capability %d.%d, this build "
                       "has code for %d.%d and newer (make CUDA_ARCH=%d)",
                       device, name, major, minor, CUDA_OLDEST / 10,
                       CUDA_OLDEST % 10, *capability);
    return 0;
}

uint64_t cuda_device_identity(int device)
{
    struct cudaDeviceProp p;
    uint64_t h = FNV_EMPTY;
    size_t i;

    if (cudaGetDeviceProperties(&p, device) != cudaSuccess)
        return 0;
    for (i = 0; i < sizeof p.uuid; i++)
        h = fnv_add(h, (unsigned char)p.uuid.bytes[i]);
    return h >> 11 ? h >> 11 : 1;
}
