/*
 * fnv.h - FNV-1a: one number made of many, for tables and for telling whether two
 * things are the same where nobody means harm (else: hash.h).
 *
 *	h = FNV_EMPTY;
 *	for each: h = fnv_add(h, v);
 *
 * Of bytes it is FNV-1a itself (Fowler, Noll, Vo); of larger numbers the same steps.
 */
#ifndef UTIL_FNV_H
#define UTIL_FNV_H

#include <stdint.h>

#define FNV_EMPTY 0xcbf29ce484222325u

static inline uint64_t fnv_add(uint64_t h, uint64_t v)
{
    return (h ^ v) * 0x100000001b3u;
}

#endif
