/*
 * normal_kern.h - blocks of the generator and normal numbers out of them, in
 * operations that every machine rounds alike: the same bits with and without
 * vectors, and from every C library. Used by rng.c and normal_kern.isa.c only.
 *
 * Coefficients of the polynomials: FreeBSD, lib/msun/src/e_log.c, k_cos.c and
 * k_sin.c (1 unit in the last place).
 */
#ifndef UTIL_NORMAL_KERN_H
#define UTIL_NORMAL_KERN_H

#include "util/isa.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Ten rounds of Philox4x32: c becomes the block of that counter. */
static inline void philox_rounds(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    for (int i = 0; i < 10; i++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0];
        uint64_t b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t c1 = c[1], c3 = c[3];

        c[0] = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c[3] = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

static inline double double_of_bits(uint64_t bits)
{
    double d;

    memcpy(&d, &bits, sizeof(d));
    return d;
}

static inline uint64_t bits_of_double(double d)
{
    uint64_t bits;

    memcpy(&bits, &d, sizeof(bits));
    return bits;
}

/* The upper 53 bits of x as a number in [0,1). An integer below 2^32 in the low
 * bits of 2^52 is a double without a conversion, which not every set has. */
static inline double normal_unit(uint64_t x)
{
    const uint64_t exponent = (uint64_t)0x433 << 52;
    double high = double_of_bits(exponent | x >> 43) - 0x1p52;
    double low = double_of_bits(exponent | (x >> 11 & 0xffffffff)) - 0x1p52;

    return high * 0x1p-21 + low * 0x1p-53;
}

/* log(x), 0 < x <= 1 and x normal. x = 2^k (1 + f), sqrt(1/2) <= 1 + f. */
static inline double normal_log(double x)
{
    const uint64_t root = 0x3fe6a09e00000000, one = (uint64_t)0x3ff << 52;
    uint64_t bits = bits_of_double(x) + (one - root);
    double k =
        double_of_bits((uint64_t)0x433 << 52 | bits >> 52) - (0x1p52 + 1023);
    double f = double_of_bits((bits & (((uint64_t)1 << 52) - 1)) + root) - 1;
    double s = f / (2 + f), z = s * s, w = z * z, half = 0.5 * f * f;
    double even =
        w * (3.999999999940941908e-01 +
             w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    double odd =
        z *
        (6.666666666666735130e-01 +
         w * (2.857142874366239149e-01 +
              w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));

    return k * 6.93147180369123816490e-01 -
           ((half -
             (s * (half + (odd + even)) + k * 1.90821492927058770002e-10)) -
            f);
}

/* cos(2 pi y), 0 <= y < 1: y = (n + r) / 4, |r| <= 1/2, by quadrants. */
static inline double normal_cos(double y)
{
    const double whole = 0x1.8p52; /* rounds to whole numbers when added */
    double n = 4 * y + whole;
    double t = (4 * y - (n - whole)) * 1.57079632679489661923, z = t * t;
    uint64_t quadrant = bits_of_double(n) & 3;
    double half = 0.5 * z, w = 1 - half;
    double cosine =
        w +
        (((1 - w) - half) +
         z * (z * (4.16666666666666019037e-02 +
                   z * (-1.38888888888741095749e-03 +
                        z * (2.48015872894767294178e-05 +
                             z * (-2.75573143513906633035e-07 +
                                  z * (2.08757232129817482790e-09 +
                                       z * -1.13596475577881948265e-11)))))));
    double sine =
        t + z * t *
                (-1.66666666666666324348e-01 +
                 z * (8.33333333332248946124e-03 +
                      z * (-1.98412698298579493134e-04 +
                           z * (2.75573137070700676789e-06 +
                                z * (-2.50507602534068634195e-08 +
                                     z * 1.58969099521155010221e-10)))));
    uint64_t pick = 0 - (quadrant & 1), sign = (quadrant + 1) >> 1 & 1;

    return double_of_bits(
        ((bits_of_double(cosine) & ~pick) | (bits_of_double(sine) & pick)) ^
        sign << 63);
}

/* Box-Muller's first number of two draws of 64 bits. */
static inline double normal_of(uint64_t u, uint64_t v)
{
    /* 1 - u lies in (0,1], where the logarithm is finite. */
    return sqrt(-2 * normal_log(1 - normal_unit(u))) *
           normal_cos(normal_unit(v));
}

/* The normal numbers of n blocks from counter ctr on, which does not wrap. */
typedef void normal_fill_fn(double *out, size_t n, const uint32_t ctr[4],
                            const uint32_t key[2]);
ISA_DECLARE(normal_fill_fn, normal_fill);

#endif
