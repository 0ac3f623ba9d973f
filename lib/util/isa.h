/*
 * isa.h - the instruction sets that a file X.isa.c is compiled for.
 *
 * Such a file is compiled once for each set, with ISA as its name, and defines
 * ISA_NAME(something); whoever uses it declares the same thing of every set and
 * chooses with the first set that the processor has, best first. All sets give
 * the same bits wherever a result may be kept.
 *
 *	const struct sum_kern ISA_NAME(sum_kern) = {...};		in X.isa.c
 *	ISA_DECLARE(const struct sum_kern, sum_kern);		in X.h
 *	static const struct sum_kern *const sets[] = ISA_TABLE(sum_kern);
 *	sets[isa_best()]->chunk(...);				in X.c
 */
#ifndef UTIL_ISA_H
#define UTIL_ISA_H

#include <stdbool.h>

enum isa {
    ISA_BASE,
    ISA_AVX2,
    ISA_AVX512
};
/* "base", "avx2", "avx512", those that this build has; ends with NULL. */
extern const char *const isa_names[];

/* Whether this build and the processor have it. AVX2 here means F16C and fused
 * multiply-add as well, AVX-512 its F, BW, VL and DQ. */
bool isa_here(enum isa set);
/* The best that is here, or that MILLRACE_ISA in the environment names, as tests
 * do; a name of none that is here counts for nothing. */
enum isa isa_best(void);
/* By name; false: none of this name is here. */
bool isa_find(const char *name, enum isa *set);

#define ISA_GLUE_(a, b) a##_##b
#define ISA_GLUE(a, b) ISA_GLUE_(a, b)
#define ISA_NAME(name) ISA_GLUE(name, ISA)

#ifdef __x86_64__
#    define ISA_DECLARE(type, name)                                            \
        extern type name##_base, name##_avx2, name##_avx512
#    define ISA_TABLE(name)                                                    \
        {                                                                      \
            &name##_base, &name##_avx2, &name##_avx512                         \
        }
#else
#    define ISA_DECLARE(type, name) extern type name##_base
#    define ISA_TABLE(name)                                                    \
        {                                                                      \
            &name##_base                                                       \
        }
#endif

#endif
