/*
 * culib.h - libraries of the cuda engine that are opened when they are wanted.
 *
 * Looked for in ENGINE_DIR, on the loader's path, and in the toolkit of the
 * build. An opened library stays loaded.
 *
 *	dl = culib_open("libcudnn.so.9", "cuDNN 9.19");
 *	if (!dl || culib_find(dl, "libcudnn.so.9", "cudnnCreate", &create) < 0) ...
 */
#ifndef ENGINE_CUDA_CULIB_H
#define ENGINE_CUDA_CULIB_H

#include "util/err.h"

/* NULL and ERR_UNAVAILABLE: not there, or cannot be loaded. built: the version
 * that this was built against, for the sentence. */
void *culib_open(const char *name, const char *built) MUST_CHECK;
/* call: address of a pointer to a function. -1 and ERR_UNAVAILABLE: no such. */
int culib_find(void *dl, const char *name, const char *symbol,
               void *call) MUST_CHECK;

#endif
