/*
 * culib.h - libraries of the cuda engine that are opened when they are wanted.
 *
 * Looked for in ENGINE_DIR, on the loader's path, and in the toolkit of the
 * build. An opened library stays loaded.
 *
 *	static const struct culib_call calls[] = {CUDNN_CALLS(X)};
 *	culib_load(&lib, "libcudnn.so.9", "cuDNN 9.19", calls, n);
 */
#ifndef ENGINE_CUDA_CULIB_H
#define ENGINE_CUDA_CULIB_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>

struct culib_call {
    const char *symbol;
    size_t at;     /* of a pointer to a function, in the table */
    bool optional; /* NULL where it is not there */
};

/* Open the library and fill the table. ERR_UNAVAILABLE: not there, cannot be
 * loaded, or lacks a call. built: the version that this was built against, for the
 * sentence. */
int culib_load(void *table, const char *name, const char *built,
               const struct culib_call *call, int n) MUST_CHECK;

#endif
