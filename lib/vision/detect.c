#include "vision/detect.h"

#include "util/rng.h"

#include <stdlib.h>
#include <string.h>

#define EMPTY 1e-5f

void detect_shape(int w, int h, int length, int max, int *out_w, int *out_h)
{
    double scale = (double)length / (h < w ? h : w), nw, nh, longer;

    nh = h < w ? length : scale * h;
    nw = h < w ? scale * w : length;
    longer = nh > nw ? nh : nw;
    if (longer > max) {
        scale = max / longer;
        nh *= scale;
        nw *= scale;
    }
    *out_w = (int)(nw + 0.5);
    *out_h = (int)(nh + 0.5);
}

struct detect_plan detect_plan(const struct detect *d, int w, int h,
                               uint64_t seed, uint32_t epoch, uint32_t pos)
{
    struct detect_plan p = {w, h, w, h, false};
    int length;
    struct rng r;

    rng_init(&r, seed, pos, epoch, RNG_AUGMENT);
    if (d->range)
        length =
            d->length[0] +
            (int)rng_below(&r, (uint64_t)(d->length[1] - d->length[0]) + 1);
    else
        length = d->length[rng_below(&r, (uint64_t)d->n)];
    if (length)
        detect_shape(w, h, length, d->max, &p.w, &p.h);
    /* for 0.5 this is the top bit of the draw */
    p.flip = rng_unit(&r) >= 1.0 - d->flip;
    return p;
}

/* ---- boxes */

static void grow(struct detect_objects *o, size_t more)
{
    size_t n = o->n + more;

    if (n <= o->cap)
        return;
    n = n > 2 * o->cap ? n : 2 * o->cap;
    o->box = xreallocarray(o->box, n, 4 * sizeof(*o->box));
    o->image = xreallocarray(o->image, n, sizeof(*o->image));
    o->category = xreallocarray(o->category, n, sizeof(*o->category));
    o->crowd = xreallocarray(o->crowd, n, sizeof(*o->crowd));
    o->area = xreallocarray(o->area, n, sizeof(*o->area));
    o->cap = n;
}

/* Both corners of one axis; false if nothing is left between them. */
static bool side(double begin, double length, double scale, double size,
                 bool flip, float out[3])
{
    float first = (float)begin, last = first + (float)length;
    double a = (double)first * scale, b = (double)last * scale, low, high;

    if (flip) {
        a = size - a;
        b = size - b;
    }
    low = a < b ? a : b;
    high = a < b ? b : a;
    out[0] = (float)(low < 0 ? 0 : low > size ? size : low);
    out[2] = (float)(high < 0 ? 0 : high > size ? size : high);
    return out[2] - out[0] > EMPTY;
}

void detect_boxes(struct detect_objects *o, const struct annot *a,
                  const struct detect_plan *p, int32_t image, bool crowd)
{
    double sx = (double)p->w / p->in_w, sy = (double)p->h / p->in_h;

    grow(o, a->n);
    for (size_t i = 0; i < a->n; i++) {
        const struct annot_object *from = &a->object[i];
        float *box = &o->box[4 * o->n];

        if (from->crowd && !crowd)
            continue;
        if (!side(from->bbox[0], from->bbox[2], sx, p->w, p->flip, box) ||
            !side(from->bbox[1], from->bbox[3], sy, p->h, false, box + 1))
            continue;
        o->image[o->n] = image;
        o->category[o->n] = from->cat;
        o->crowd[o->n] = from->crowd;
        o->area[o->n] = (float)from->area;
        o->n++;
    }
}

void detect_append(struct detect_objects *o, const struct detect_objects *from,
                   int32_t image)
{
    size_t n = from->n;

    if (!n)
        return;
    grow(o, n);
    memcpy(o->box + 4 * o->n, from->box, n * 4 * sizeof(*o->box));
    memcpy(o->category + o->n, from->category, n * sizeof(*o->category));
    memcpy(o->crowd + o->n, from->crowd, n * sizeof(*o->crowd));
    memcpy(o->area + o->n, from->area, n * sizeof(*o->area));
    for (size_t i = 0; i < n; i++)
        o->image[o->n + i] = image;
    o->n += n;
}

void detect_objects_release(struct detect_objects *o)
{
    free(o->box);
    free(o->image);
    free(o->category);
    free(o->crowd);
    free(o->area);
    memset(o, 0, sizeof(*o));
}

/* ---- orientation */

void detect_upright(struct jpeg_image *im, int orientation, struct buf *scratch)
{
    /* where the pixel left of, and the one above, an upright pixel lie */
    bool turn = orientation >= 5;
    int w = turn ? im->height : im->width, h = turn ? im->width : im->height;
    bool from_right = orientation == 2 || orientation == 3 ||
                      orientation == 7 || orientation == 8;
    bool from_bottom = orientation == 3 || orientation == 4 ||
                       orientation == 6 || orientation == 7;
    size_t stride = im->stride;
    const uint8_t *in = im->pixels;
    uint8_t *out;

    if (orientation < 2 || orientation > 8)
        return;
    buf_reset(scratch);
    out = (uint8_t *)buf_reserve(scratch, (size_t)w * (size_t)h * 4);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            int sx = turn ? y : x, sy = turn ? x : y;

            if (from_right)
                sx = im->width - 1 - sx;
            if (from_bottom)
                sy = im->height - 1 - sy;
            memcpy(out, in + stride * (size_t)sy + 4 * (size_t)sx, 4);
            out += 4;
        }
    *im = (struct jpeg_image){(uint8_t *)scratch->data, (size_t)w * 4, w, h};
}
