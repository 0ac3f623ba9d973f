#include "vision/colour.h"

#include "util/err.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[COLOUR_N] = {
    "Identity",  "ShearX",     "ShearY",       "TranslateX", "TranslateY",
    "Rotate",    "Brightness", "Color",        "Contrast",   "Sharpness",
    "Posterize", "Solarize",   "AutoContrast", "Equalize",   "Invert",
    "Grayscale", "Hue"};

const char *colour_name(enum colour_op op)
{
    return names[op];
}

size_t colour_scratch(int w, int h)
{
    return (size_t)w * (size_t)h * 3;
}

/* A picture in work: n pixels, a second one of the same size. */
struct picture {
    uint8_t *rgb, *other;
    int w, h;
    size_t n;
};

/* ---- bytes mapped one by one */

struct lut {
    uint8_t of[3][256];
};

static void map(const struct picture *p, const struct lut *t)
{
    uint8_t *x = p->rgb;

    for (size_t i = 0; i < p->n; i++, x += 3) {
        x[0] = t->of[0][x[0]];
        x[1] = t->of[1][x[1]];
        x[2] = t->of[2][x[2]];
    }
}

/* Pillow's mixture of a and b: in fp32, clipped where it can leave the range,
 * the fraction cut off (Blend.c). */
static uint8_t blend(uint8_t a, uint8_t b, float f)
{
    float v = (float)a + f * (float)(b - a);

    v = v < 0 ? 0 : v;
    return (uint8_t)(v > 255 ? 255 : v);
}

/* From one value to the picture by a factor. */
static void blend_with(const struct picture *p, uint8_t from, float f)
{
    struct lut t;

    for (int i = 0; i < 256; i++)
        t.of[0][i] = t.of[1][i] = t.of[2][i] = blend(from, (uint8_t)i, f);
    map(p, &t);
}

static void posterize(const struct picture *p, int bits)
{
    struct lut t;

    for (int i = 0; i < 256; i++)
        t.of[0][i] = t.of[1][i] = t.of[2][i] =
            (uint8_t)(i & ~((1 << (8 - bits)) - 1));
    map(p, &t);
}

/* With 255 the brightest value is inverted, with 256 nothing is. */
static void solarize(const struct picture *p, double threshold)
{
    struct lut t;

    for (int i = 0; i < 256; i++)
        t.of[0][i] = t.of[1][i] = t.of[2][i] =
            (uint8_t)(i < threshold ? i : 255 - i);
    map(p, &t);
}

/* ---- by histograms */

static void histogram(const struct picture *p, uint32_t count[3][256])
{
    const uint8_t *x = p->rgb;

    memset(count, 0, 3 * sizeof(*count));
    for (size_t i = 0; i < p->n; i++, x += 3) {
        count[0][x[0]]++;
        count[1][x[1]]++;
        count[2][x[2]]++;
    }
}

static void stretch(const uint32_t *count, uint8_t *of)
{
    int lo = 0, hi = 255, i, v;
    double scale, offset;

    while (lo < 255 && !count[lo])
        lo++;
    while (hi > 0 && !count[hi])
        hi--;
    scale = 255.0 / (hi - lo);
    offset = -lo * scale;
    for (i = 0; i < 256; i++) {
        /* i is below lo or above hi for no pixel */
        v = hi <= lo ? i : (int)(i * scale + offset);
        of[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

static void flatten(const uint32_t *count, uint8_t *of)
{
    uint32_t sum = 0, last = 0, step, n, v;
    int i, different = 0;

    for (i = 0; i < 256; i++)
        if (count[i]) {
            sum += count[i];
            last = count[i];
            different++;
        }
    step = different > 1 ? (sum - last) / 255 : 0;
    n = step / 2;
    for (i = 0; i < 256; i++) {
        v = step ? n / step : (uint32_t)i;
        of[i] = (uint8_t)(v > 255 ? 255 : v);
        n += count[i];
    }
}

static void by_histogram(const struct picture *p,
                         void make(const uint32_t *count, uint8_t *of))
{
    uint32_t count[3][256];
    struct lut t;

    histogram(p, count);
    for (int c = 0; c < 3; c++)
        make(count[c], t.of[c]);
    map(p, &t);
}

/* ---- grey, saturation, contrast */

/* ITU-R 601 luma, 16 bits of fraction (Convert.c, L24). */
static uint8_t luma(const uint8_t *x)
{
    return (uint8_t)((x[0] * 19595u + x[1] * 38470u + x[2] * 7471u + 0x8000u) >>
                     16);
}

static void grey(const struct picture *p)
{
    uint8_t *x = p->rgb;

    for (size_t i = 0; i < p->n; i++, x += 3)
        x[0] = x[1] = x[2] = luma(x);
}

static void saturation(const struct picture *p, float f)
{
    uint8_t *x = p->rgb;

    for (size_t i = 0; i < p->n; i++, x += 3) {
        uint8_t l = luma(x);

        x[0] = blend(l, x[0], f);
        x[1] = blend(l, x[1], f);
        x[2] = blend(l, x[2], f);
    }
}

static void contrast(const struct picture *p, float f)
{
    const uint8_t *x = p->rgb;
    uint64_t sum = 0;

    for (size_t i = 0; i < p->n; i++, x += 3)
        sum += luma(x);
    blend_with(p, (uint8_t)((double)sum / (double)p->n + 0.5), f);
}

/* ---- sharpness: between the picture and it smoothed */

/*
 * Inner pixels become the mean of 3 x 3 with the middle five times; the rim
 * stays. Sums in fp32 in Pillow's order, lower row first (Filter.c).
 */
static void smooth(const struct picture *p, uint8_t *restrict out)
{
    const float a = (float)(1.0f / 13.0f), b = (float)(5.0f / 13.0f);
    size_t line = (size_t)p->w * 3;

    memcpy(out, p->rgb, line * (size_t)p->h);
    for (int y = 1; y < p->h - 1; y++) {
        const uint8_t *row = p->rgb + line * (size_t)y;
        uint8_t *restrict o = out + line * (size_t)y;

        for (size_t i = 3; i + 3 < line; i++) {
            const uint8_t *up = row + i - line, *at = row + i;
            const uint8_t *down = row + i + line;
            float v = 0.5f;

            v += (float)down[-3] * a + (float)down[0] * a + (float)down[3] * a;
            v += (float)at[-3] * a + (float)at[0] * b + (float)at[3] * a;
            v += (float)up[-3] * a + (float)up[0] * a + (float)up[3] * a;
            v = v < 0 ? 0 : v;
            o[i] = (uint8_t)(v > 255 ? 255 : v);
        }
    }
}

static void sharpness(const struct picture *p, float f)
{
    if (f == 1)
        return; /* what it is */
    smooth(p, p->other);
    for (size_t i = 0; i < p->n * 3; i++)
        p->rgb[i] = blend(p->other[i], p->rgb[i], f);
}

/* ---- hue: there and back through HSV of 8 bits, as colorsys has it */

static uint8_t hue_of(const uint8_t *x, int max, int min)
{
    float range = (float)(max - min), h;
    float r = (float)(max - x[0]) / range, g = (float)(max - x[1]) / range;
    float b = (float)(max - x[2]) / range;
    int v;

    if (x[0] == max)
        h = b - g;
    else if (x[1] == max)
        h = (float)(2.0 + (double)r - (double)b);
    else
        h = (float)(4.0 + (double)g - (double)r);
    h = (float)fmod((double)h / 6.0 + 1.0, 1.0);
    v = (int)((double)h * 255.0);
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static uint8_t shade(int v, double part)
{
    return (uint8_t)round(v * part);
}

static void from_hsv(uint8_t *x, uint8_t h, uint8_t s, int v)
{
    static const uint8_t place[6][3] = {{0, 3, 1}, {2, 0, 1}, {1, 0, 3},
                                        {1, 2, 0}, {3, 1, 0}, {0, 1, 2}};
    int i = (int)floor(h * 6.0 / 255.0), c;
    float f = (float)(h * 6.0 / 255.0 - i), fs = (float)(s / 255.0);
    uint8_t value[4];

    value[0] = (uint8_t)v;
    value[1] = shade(v, 1.0 - (double)fs);
    value[2] = shade(v, 1.0 - (double)(fs * f));
    value[3] = shade(v, 1.0 - (double)fs * (1.0 - (double)f));
    for (c = 0; c < 3; c++)
        x[c] = value[place[i % 6][c]];
}

static void hue(const struct picture *p, double turn)
{
    uint8_t add = (uint8_t)(int32_t)(turn * 255), h, s, *x = p->rgb;
    int max, min;

    for (size_t i = 0; i < p->n; i++, x += 3) {
        max = x[0] > x[1] ? x[0] : x[1];
        max = x[2] > max ? x[2] : max;
        min = x[0] < x[1] ? x[0] : x[1];
        min = x[2] < min ? x[2] : min;
        if (max == min)
            continue; /* no saturation: no hue */
        h = hue_of(x, max, min);
        s = (uint8_t)((double)((float)(max - min) / (float)max) * 255.0);
        if (s == 0)
            x[0] = x[1] = x[2] = (uint8_t)max;
        else
            from_hsv(x, (uint8_t)(h + add), s, max);
    }
}

/* ---- geometry */

/* Source place of an output pixel's middle (x, y): (m0 x + m1 y + m2, m3 x + m4 y
 * + m5). */
struct affine {
    double m[6];
};

static int clip(int v, int n)
{
    return v < 0 ? 0 : v < n ? v : n - 1;
}

/* Bilinear, black outside; the fraction is cut off (Geometry.c). */
static void affine(const struct picture *p, const struct affine *a)
{
    const double *m = a->m;
    uint8_t *o = p->rgb;
    int x, y, c;

    memcpy(p->other, p->rgb, p->n * 3);
    for (y = 0; y < p->h; y++)
        for (x = 0; x < p->w; x++, o += 3) {
            double sx = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2];
            double sy = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];
            const uint8_t *up, *down;
            int ix, iy, left, right;

            if (!(sx >= 0 && sx < p->w && sy >= 0 && sy < p->h)) {
                o[0] = o[1] = o[2] = 0;
                continue;
            }
            sx -= 0.5;
            sy -= 0.5;
            ix = (int)sx - (sx < 0);
            iy = (int)sy - (sy < 0);
            sx -= ix;
            sy -= iy;
            up = p->other + (size_t)clip(iy, p->h) * (size_t)p->w * 3;
            down = p->other + (size_t)clip(iy + 1, p->h) * (size_t)p->w * 3;
            left = clip(ix, p->w) * 3;
            right = clip(ix + 1, p->w) * 3;
            for (c = 0; c < 3; c++) {
                double u = up[left + c] + (up[right + c] - up[left + c]) * sx;
                double d =
                    down[left + c] + (down[right + c] - down[left + c]) * sx;

                o[c] = (uint8_t)(u + (d - u) * sy);
            }
        }
}

/*
 * torchvision's matrix with shears of tangents tx and ty about the corner: the
 * inverse of what is done to the picture (torchvision/transforms/functional.py,
 * _get_inverse_affine_matrix), in its order of operations.
 */
static void shear(const struct picture *p, double tx, double ty)
{
    const double degrees = 180.0 / M_PI, radians = M_PI / 180.0;
    double sx = atan(tx) * degrees * radians, sy = atan(ty) * degrees * radians;
    double a = cos(-sy) / cos(sy);
    double b = -cos(-sy) * tan(sx) / cos(sy);
    double c = sin(-sy) / cos(sy);
    double d = -sin(-sy) * tan(sx) / cos(sy) + 1.0;
    struct affine m = {{d, -b, 0, -c, a, 0}};

    affine(p, &m);
}

static void translate(const struct picture *p, int right, int down)
{
    size_t line = (size_t)p->w * 3, keep;
    int y, n = p->w - abs(right);

    memcpy(p->other, p->rgb, line * (size_t)p->h);
    memset(p->rgb, 0, line * (size_t)p->h);
    if (n <= 0)
        return;
    keep = (size_t)n * 3;
    for (y = 0; y < p->h; y++) {
        if (y - down < 0 || y - down >= p->h)
            continue;
        memcpy(p->rgb + line * (size_t)y + (right > 0 ? 3 * right : 0),
               p->other + line * (size_t)(y - down) +
                   (right < 0 ? -3 * right : 0),
               keep);
    }
}

/* To 15 decimals, as Python's round does it. */
static double round15(double v)
{
    char text[40];

    snprintf(text, sizeof(text), "%.15f", v);
    return strtod(text, NULL);
}

/* Quarter turns of a square, and half turns, are permutations of pixels. */
static void turn(const struct picture *p, int quarters)
{
    uint8_t *o = p->rgb;
    int x, y, fx, fy;

    memcpy(p->other, p->rgb, p->n * 3);
    for (y = 0; y < p->h; y++)
        for (x = 0; x < p->w; x++, o += 3) {
            fx = quarters == 2   ? p->w - 1 - x
                 : quarters == 1 ? p->w - 1 - y
                                 : y;
            fy = quarters == 2   ? p->h - 1 - y
                 : quarters == 1 ? x
                                 : p->h - 1 - x;
            memcpy(o, p->other + 3 * ((size_t)fy * (size_t)p->w + (size_t)fx),
                   3);
        }
}

static void rotate(const struct picture *p, double degrees)
{
    double angle = fmod(degrees, 360.0), c, s, x = p->w / 2.0, y = p->h / 2.0;
    struct affine m;

    if (angle < 0)
        angle += 360.0;
    if (angle == 0)
        return;
    if (angle == 180 || ((angle == 90 || angle == 270) && p->w == p->h)) {
        turn(p, (int)angle / 90);
        return;
    }
    angle = -(angle * (M_PI / 180.0));
    c = round15(cos(angle));
    s = round15(sin(angle));
    m = (struct affine){{c, s, 0, round15(-sin(angle)), c, 0}};
    m.m[2] = m.m[0] * -x + m.m[1] * -y + 0.0;
    m.m[5] = m.m[3] * -x + m.m[4] * -y + 0.0;
    m.m[2] += x;
    m.m[5] += y;
    affine(p, &m);
}

/* ---- the table */

void colour_apply(uint8_t *rgb, int w, int h, enum colour_op op, double m,
                  uint8_t *scratch)
{
    struct picture p = {rgb, scratch, w, h, (size_t)w * (size_t)h};
    float f = (float)m;

    switch (op) {
    case COLOUR_IDENTITY:
    case COLOUR_N:
        break;
    case COLOUR_SHEAR_X:
        shear(&p, m, 0);
        break;
    case COLOUR_SHEAR_Y:
        shear(&p, 0, m);
        break;
    case COLOUR_TRANSLATE_X:
        translate(&p, (int)m, 0);
        break;
    case COLOUR_TRANSLATE_Y:
        translate(&p, 0, (int)m);
        break;
    case COLOUR_ROTATE:
        rotate(&p, m);
        break;
    case COLOUR_BRIGHTNESS:
        blend_with(&p, 0, f);
        break;
    case COLOUR_COLOUR:
        saturation(&p, f);
        break;
    case COLOUR_CONTRAST:
        contrast(&p, f);
        break;
    case COLOUR_SHARPNESS:
        sharpness(&p, f);
        break;
    case COLOUR_POSTERIZE:
        posterize(&p, (int)m);
        break;
    case COLOUR_SOLARIZE:
        solarize(&p, m);
        break;
    case COLOUR_AUTOCONTRAST:
        by_histogram(&p, stretch);
        break;
    case COLOUR_EQUALIZE:
        by_histogram(&p, flatten);
        break;
    case COLOUR_INVERT:
        solarize(&p, 0);
        break;
    case COLOUR_GREY:
        grey(&p);
        break;
    case COLOUR_HUE:
        hue(&p, m);
        break;
    }
}
