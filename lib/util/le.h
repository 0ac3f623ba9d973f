/*
 * le.h - whole numbers as bytes, the lowest first, whatever the machine.
 *
 *	le_put(p, v, 4);        the lower 4 bytes of v to p [4]
 *	v = le_get(p, 4);
 */
#ifndef UTIL_LE_H
#define UTIL_LE_H

#include <stdint.h>

/* bytes: 1 to 8. */
static inline void le_put(unsigned char *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static inline uint64_t le_get(const unsigned char *p, int bytes)
{
    uint64_t v = 0;

    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

#endif
