/*
 * colour_kern.h - the loops of colour.c, one set per instruction set.
 *
 * colour_kern.isa.c is compiled once for each; all sets give equal bytes. Pixels
 * are RGB, n of them. Used by colour.c and its test only.
 */
#ifndef VISION_COLOUR_KERN_H
#define VISION_COLOUR_KERN_H

#include "util/isa.h"

#include <stddef.h>
#include <stdint.h>

/* Bytes behind a picture that may be read. */
#define COLOUR_SLACK 16

/*
 * Pillow's mixture of a and b: in fp32, clipped where it can leave the range,
 * the fraction cut off (Blend.c).
 */
static inline uint8_t colour_blend(uint8_t a, uint8_t b, float f)
{
    float v = (float)a + f * (float)(b - a);

    v = v < 0 ? 0 : v;
    return (uint8_t)(v > 255 ? 255 : v);
}

/* ITU-R 601 luma, 16 bits of fraction (Convert.c, L24). */
static inline uint8_t colour_luma(const uint8_t *x)
{
    return (uint8_t)((x[0] * 19595u + x[1] * 38470u + x[2] * 7471u + 0x8000u) >>
                     16);
}

struct colour_kern {
    uint64_t (*luma_sum)(const uint8_t *x, size_t n);
    void (*grey)(uint8_t *x, size_t n);
    /* From grey to the picture by a factor. */
    void (*saturation)(uint8_t *x, size_t n, float f);
    /* From the picture smoothed to it; smooth: room for a picture. */
    void (*sharpness)(uint8_t *x, uint8_t *smooth, int w, int h, float f);
    /*
     * out(x, y) = in(m0 x + m1 y + m2, m3 x + m4 y + m5), places being the
     * middles of pixels: bilinear, black outside. in has COLOUR_SLACK.
     */
    void (*affine)(const uint8_t *in, uint8_t *out, int w, int h,
                   const double m[6]);
    /* The hue turned by `add` of 255. */
    void (*hue)(uint8_t *x, size_t n, uint8_t add);
};

ISA_DECLARE(const struct colour_kern, colour_kern);

/* By name ("base", "avx2", "avx512"), or NULL: the best; NULL if it is not
 * here. */
const struct colour_kern *colour_kern_find(const char *set);

#endif
