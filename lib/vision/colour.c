#include "vision/colour.h"

#include "vision/colour_kern.h"

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
    return (size_t)w * (size_t)h * 3 + COLOUR_SLACK;
}

const struct colour_kern *colour_kern_find(const char *set)
{
    static const struct colour_kern *const kern[] = ISA_TABLE(colour_kern);
    enum isa i = isa_best();

    return !set || isa_find(set, &i) ? kern[i] : NULL;
}

/* A picture in work: n pixels, a second one of the same size. */
struct picture {
    const struct colour_kern *kern;
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

/* From one value to the picture by a factor. */
static void blend_with(const struct picture *p, uint8_t from, float f)
{
    struct lut t;

    for (int i = 0; i < 256; i++)
        t.of[0][i] = t.of[1][i] = t.of[2][i] =
            colour_blend(from, (uint8_t)i, f);
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

static void contrast(const struct picture *p, float f)
{
    uint64_t sum = p->kern->luma_sum(p->rgb, p->n);

    blend_with(p, (uint8_t)((double)sum / (double)p->n + 0.5), f);
}

/* ---- geometry */

static void affine(const struct picture *p, const double m[6])
{
    memcpy(p->other, p->rgb, p->n * 3);
    p->kern->affine(p->other, p->rgb, p->w, p->h, m);
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
    const double m[6] = {d, -b, 0, -c, a, 0};

    affine(p, m);
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
    double m[6] = {0};

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
    m[0] = m[4] = c;
    m[1] = s;
    m[3] = round15(-sin(angle));
    m[2] = m[0] * -x + m[1] * -y + x;
    m[5] = m[3] * -x + m[4] * -y + y;
    affine(p, m);
}

/* ---- the table */

void colour_apply(uint8_t *rgb, int w, int h, enum colour_op op, double m,
                  uint8_t *scratch)
{
    struct picture p = {colour_kern_find(NULL), rgb, scratch, w, h,
                        (size_t)w * (size_t)h};
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
        p.kern->saturation(rgb, p.n, f);
        break;
    case COLOUR_CONTRAST:
        contrast(&p, f);
        break;
    case COLOUR_SHARPNESS:
        p.kern->sharpness(rgb, scratch, w, h, f);
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
        p.kern->grey(rgb, p.n);
        break;
    case COLOUR_HUE:
        p.kern->hue(rgb, p.n, (uint8_t)(int32_t)(m * 255));
        break;
    }
}
