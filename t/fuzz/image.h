/*
 * image.h - what the targets of image files share: any bytes are decoded, whole
 * and in part, or refused with one sentence of class ERR_DATA; a part has the
 * pixels of the whole, and an image does not depend on the one before.
 */
#ifndef FUZZ_IMAGE_H
#define FUZZ_IMAGE_H

#include "vision/image.h"

#include <stdint.h>
#include <string.h>

static inline void fuzz_refused(const char *where)
{
    if (err_code() != ERR_DATA || !*err_text())
        BUG("%s: refused without a reason: class %d", where, (int)err_code());
}

/* A part against the same pixels of the whole. */
static inline void fuzz_same(const struct jpeg_image *whole,
                             const struct rect *r,
                             const struct jpeg_image *part)
{
    for (int y = 0; y < r->h; y++)
        for (int x = 0; x < r->w; x++)
            if (memcmp(part->pixels + part->stride * (size_t)y + 4 * x,
                       whole->pixels + whole->stride * (size_t)(r->y + y) +
                           4 * (r->x + x),
                       3) != 0)
                BUG("pixel %d,%d of the part differs", x, y);
}

/* The middle of an image against the same part of the whole. */
static inline void fuzz_middle(struct image_decoder *d, const uint8_t *data,
                               size_t size, const struct jpeg_image *whole)
{
    struct rect r = {whole->width / 4, whole->height / 4,
                     (whole->width + 3) / 4, (whole->height + 3) / 4};
    struct jpeg_image part;
    int w, h;

    if (image_begin(d, data, size, &w, &h) < 0 ||
        image_region(d, &r, &part) < 0)
        BUG("a part of a sound image: %s", err_text());
    fuzz_same(whole, &r, &part);
}

static inline void fuzz_image(const uint8_t *data, size_t size)
{
    static struct image_decoder *one, *other;
    struct jpeg_image im;
    struct image_info info;
    int w, h;

    if (!one) {
        one = image_decoder_new();
        other = image_decoder_new();
    }
    err_clear();
    if (image_probe(data, size, &info) < 0) {
        fuzz_refused("probe");
        return;
    }
    if ((int64_t)info.width * info.height > 1 << 20)
        return; /* nothing new, but slow */
    if (image_begin(one, data, size, &w, &h) < 0 ||
        image_region(one, NULL, &im) < 0) {
        fuzz_refused("decode");
        return;
    }
    /* damage is patched up from what was decoded before it, which a part has
     * not: only sound images must agree */
    if (!image_warnings(one))
        fuzz_middle(other, data, size, &im);
    if (image_check(other, data, size, &info) < 0)
        fuzz_refused("check"); /* something behind the pixels */
}

#endif
