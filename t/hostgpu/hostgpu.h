/*
 * hostgpu.h - what the made-up CUDA runtime (libhostgpu.so) does for the made-up
 * libraries above it and for kernels (fibers.h); C and C++.
 */
#ifndef T_HOSTGPU_HOSTGPU_H
#define T_HOSTGPU_HOSTGPU_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HIDDEN __attribute__((visibility("hidden")))

/* The device's memory may be touched between these two. */
void hostgpu_enter(void);
void hostgpu_leave(void);
/* Is it inside one block of the device's memory? */
bool hostgpu_inside(const void *p, size_t n);

/* May work run on the stream at once? Else it is enqueued, and run, more than once
 * if need be, until that is true; arg is freed then. */
bool hostgpu_ready(void *stream);
void hostgpu_enqueue(void *stream, bool (*run)(void *arg), void *arg);

/* Is nothing enqueued any more, as far as it went by itself? */
bool hostgpu_idle(void);

/* What this call is to answer (HOSTGPU_FAIL): an error of CUDA's, or 0. */
int hostgpu_fails(const char *call);
int hostgpu_last_error(void); /* of launches */
/* The made-up device works so long, microseconds. */
void hostgpu_spend(double us);

#ifdef __cplusplus
}
#endif

#endif
