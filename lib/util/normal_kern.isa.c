/* Compiled for each instruction set; see normal_kern.h. */
#include "util/normal_kern.h"

enum {
    MANY = 32
}; /* blocks at a time, for vectors */

void ISA_NAME(normal_fill)(double *out, size_t n, const uint32_t ctr[4],
                           const uint32_t key[2])
{
    uint64_t u[MANY], v[MANY];
    double x[MANY];
    uint32_t first = ctr[0];

    for (size_t at = 0; at < n; at += MANY, first += MANY) {
        for (uint32_t i = 0; i < MANY; i++) {
            uint32_t c[4] = {first + i, ctr[1], ctr[2], ctr[3]};

            philox_rounds(c, key[0], key[1]);
            u[i] = c[0] | (uint64_t)c[1] << 32;
            v[i] = c[2] | (uint64_t)c[3] << 32;
        }
        for (int i = 0; i < MANY; i++)
            x[i] = normal_of(u[i], v[i]);
        memcpy(out + at, x, (n - at < MANY ? n - at : MANY) * sizeof(*x));
    }
}
