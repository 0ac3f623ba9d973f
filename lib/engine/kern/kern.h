/*
 * kern.h - the ground under the shared kernel bodies.
 *
 * A body is one function on numbers already loaded: one element, one channel or
 * one window of a kernel of table.h. Engines own the loops, the loads and the
 * stores. The bodies are written in the common subset of C11 and CUDA C++: no
 * designated initialisers, compound literals, variable-length arrays, nor
 * conversions of void pointers.
 *
 * Before the first include of a file of kern/, KERN_DOUBLE may be defined: then
 * KREAL, the type of the arithmetic, is double (ref), else float (cpu, cuda).
 * One translation unit has one KREAL.
 */
#ifndef ENGINE_KERN_KERN_H
#define ENGINE_KERN_KERN_H

#ifdef __cplusplus
#    define _Noreturn [[noreturn]] /* for util/err.h, behind dtype.h */
#endif

#include "engine/kern/table.h"

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#    define KERN_FN static __host__ __device__ __forceinline__
#else
#    define KERN_FN static inline
#endif

#ifdef KERN_DOUBLE
#    define KREAL double
#    define KSQRT(x) sqrt(x)
#    define KEXP(x) exp(x)
#    define KLOG(x) log(x)
#else
#    define KREAL float
#    define KSQRT(x) sqrtf(x)
#    define KEXP(x) expf(x)
#    define KLOG(x) logf(x)
#endif

#endif
