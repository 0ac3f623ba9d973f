/*
 * cudnnlib.h - cuDNN, opened when it is wanted.
 *
 * The plugin does not link it: so the plugin loads on any machine, a missing
 * library is a sentence, and the one that PyTorch brought will do. Only the
 * backend graph calls are used (gpu-engine G1). A table may be copied; the
 * library stays loaded.
 *
 *	struct cudnn lib;
 *	if (cudnn_open(&lib) < 0) return -1;
 *	if (cudnn_check(&lib, lib.BackendFinalize(d), "finalize") < 0) ...
 */
#ifndef ENGINE_CUDA_CUDNNLIB_H
#define ENGINE_CUDA_CUDNNLIB_H

#include "util/err.h"

#include <cudnn.h>

/* clang-format off */
#define CUDNN_CALLS(X)                                                        \
    X(GetVersion) X(GetErrorString) X(GetLastErrorString)                     \
    X(Create) X(Destroy) X(SetStream)                                         \
    X(BackendCreateDescriptor) X(BackendDestroyDescriptor)                    \
    X(BackendSetAttribute) X(BackendGetAttribute)                             \
    X(BackendFinalize) X(BackendExecute)
/* clang-format on */

struct cudnn {
#define X(call) __typeof__(cudnn##call) *call;
    CUDNN_CALLS(X)
#undef X
};

/*
 * Looked for in ENGINE_DIR, on the loader's path, and in the toolkit of the
 * build. ERR_UNAVAILABLE: not there, or not version 9.
 */
int cudnn_open(struct cudnn *c) MUST_CHECK;
/* 0, or -1 and "what: the library's words". */
int cudnn_check(const struct cudnn *c, cudnnStatus_t s,
                const char *what) MUST_CHECK;

#endif
