/*
 * The loops of colour.c: plain C that the compiler vectorises. No product is
 * fused into a sum (-ffp-contract=off), so all sets give equal bytes.
 */
#include "vision/colour_kern.h"

#include <string.h>
#ifdef __AVX2__
#    include <immintrin.h>
#endif

static uint64_t luma_sum(const uint8_t *x, size_t n)
{
    uint64_t sum = 0;
    uint32_t part;

    for (size_t i = 0; i < n; i += 4096) {
        size_t end = i + 4096 < n ? i + 4096 : n;

        part = 0;
        for (size_t j = i; j < end; j++)
            part += colour_luma(x + 3 * j);
        sum += part;
    }
    return sum;
}

static void grey(uint8_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++, x += 3)
        x[0] = x[1] = x[2] = colour_luma(x);
}

static void saturation(uint8_t *x, size_t n, float f)
{
    for (size_t i = 0; i < n; i++, x += 3) {
        uint8_t l = colour_luma(x);

        x[0] = colour_blend(l, x[0], f);
        x[1] = colour_blend(l, x[1], f);
        x[2] = colour_blend(l, x[2], f);
    }
}

/* ---- sharpness */

/*
 * The mean of 3 x 3 pixels, the middle one five times, of bytes 3..line-4 of a
 * row; the rim stays. Pillow adds in fp32 and cuts off sum/13 + 1/2 (Filter.c):
 * that is never nearer than 1/26 to a whole number, so whole numbers do.
 */
static void smooth_row(const uint8_t *restrict at, size_t line,
                       uint8_t *restrict out)
{
    const uint8_t *up = at - line, *down = at + line;

    memcpy(out, at, 3);
    memcpy(out + line - 3, at + line - 3, 3);
    for (size_t i = 3; i + 3 < line; i++) {
        uint16_t sum =
            (uint16_t)(up[i - 3] + up[i] + up[i + 3] + at[i - 3] + 5 * at[i] +
                       at[i + 3] + down[i - 3] + down[i] + down[i + 3] + 6);

        out[i] = (uint8_t)(sum / 13);
    }
}

static void sharpness(uint8_t *restrict x, uint8_t *restrict smooth, int w,
                      int h, float f)
{
    size_t line = (size_t)w * 3, n = line * (size_t)h;

    memcpy(smooth, x, n);
    for (int y = 1; y < h - 1 && w > 2; y++)
        smooth_row(x + line * (size_t)y, line, smooth + line * (size_t)y);
    for (size_t i = 0; i < n; i++)
        x[i] = colour_blend(smooth[i], x[i], f);
}

/* ---- geometry */

typedef double doubles4 __attribute__((vector_size(32)));

/* A pixel and the byte behind it. */
static inline __attribute__((always_inline)) void load(const uint8_t *p,
                                                       doubles4 *v)
{
#ifdef __AVX2__
    int32_t bits;

    memcpy(&bits, p, 4);
    *v = (doubles4)_mm256_cvtepi32_pd(
        _mm_cvtepu8_epi32(_mm_cvtsi32_si128(bits)));
#else
    *v = (doubles4){p[0], p[1], p[2], 0};
#endif
}

static inline int clip(int v, int n)
{
    return v < 0 ? 0 : v < n ? v : n - 1;
}

/* The pixel at (x, y), pixels being whole numbers apart; the fraction of its
 * values is cut off (Geometry.c). */
static inline void take(const uint8_t *in, int w, int h, double x, double y,
                        uint8_t *out)
{
    int ix = (int)x - (x < 0), iy = (int)y - (y < 0);
    int left = clip(ix, w) * 3, right = clip(ix + 1, w) * 3;
    const uint8_t *up = in + (size_t)clip(iy, h) * (size_t)w * 3;
    const uint8_t *down = in + (size_t)clip(iy + 1, h) * (size_t)w * 3;
    double fx = x - ix, fy = y - iy;
    doubles4 a, b, c, d;

    load(up + left, &a);
    load(up + right, &b);
    load(down + left, &c);
    load(down + right, &d);
    a += (b - a) * fx;
    c += (d - c) * fx;
    a += (c - a) * fy;
    out[0] = (uint8_t)a[0];
    out[1] = (uint8_t)a[1];
    out[2] = (uint8_t)a[2];
}

static void affine(const uint8_t *in, uint8_t *out, int w, int h,
                   const double m[6])
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++, out += 3) {
            double sx = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2];
            double sy = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];

            if (sx >= 0 && sx < w && sy >= 0 && sy < h)
                take(in, w, h, sx - 0.5, sy - 0.5, out);
            else
                out[0] = out[1] = out[2] = 0;
        }
}

/* ---- hue: there and back through HSV of 8 bits, as colorsys has it */

static uint8_t hue_of(const uint8_t *x, int max, int min)
{
    float range = (float)(max - min), h;
    float r = (float)(max - x[0]) / range, g = (float)(max - x[1]) / range;
    float b = (float)(max - x[2]) / range;
    double turn;

    if (x[0] == max)
        h = b - g;
    else if (x[1] == max)
        h = (float)(2.0 + (double)r - (double)b);
    else
        h = (float)(4.0 + (double)g - (double)r);
    turn = (double)h / 6.0 + 1.0;
    /* in 0..2: what fmod by 1 gives */
    h = (float)(turn >= 1 ? turn - 1 : turn);
    return (uint8_t)((double)h * 255.0);
}

/* round() of what is not negative: no value here is within rounding of a half
 * without being one. */
static uint8_t shade(int v, double part)
{
    return (uint8_t)(v * part + 0.5);
}

static void from_hsv(uint8_t *x, uint8_t h, uint8_t s, int v)
{
    static const uint8_t place[6][3] = {{0, 3, 1}, {2, 0, 1}, {1, 0, 3},
                                        {1, 2, 0}, {3, 1, 0}, {0, 1, 2}};
    int i = (int)(h * 6.0 / 255.0), c;
    float f = (float)(h * 6.0 / 255.0 - i), fs = (float)(s / 255.0);
    uint8_t value[4];

    value[0] = (uint8_t)v;
    value[1] = shade(v, 1.0 - (double)fs);
    value[2] = shade(v, 1.0 - (double)(fs * f));
    value[3] = shade(v, 1.0 - (double)fs * (1.0 - (double)f));
    for (c = 0; c < 3; c++)
        x[c] = value[place[i % 6][c]];
}

static void hue(uint8_t *x, size_t n, uint8_t add)
{
    int max, min;
    uint8_t s;

    for (size_t i = 0; i < n; i++, x += 3) {
        max = x[0] > x[1] ? x[0] : x[1];
        max = x[2] > max ? x[2] : max;
        min = x[0] < x[1] ? x[0] : x[1];
        min = x[2] < min ? x[2] : min;
        if (max == min)
            continue; /* no saturation: no hue */
        s = (uint8_t)((double)((float)(max - min) / (float)max) * 255.0);
        if (s == 0)
            x[0] = x[1] = x[2] = (uint8_t)max;
        else
            from_hsv(x, (uint8_t)(hue_of(x, max, min) + add), s, max);
    }
}

const struct colour_kern ISA_NAME(colour_kern) = {luma_sum,  grey,   saturation,
                                                  sharpness, affine, hue};
