/*
 * Any bytes as a JPEG file: decoded, whole and in part, or refused with one
 * sentence of class ERR_DATA; a part has the pixels of the whole, and an image
 * does not depend on the one before.
 */
#include "vision/jpeg.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void refused(const char *where)
{
    if (err_code() != ERR_DATA || !*err_text())
        BUG("%s: refused without a reason: class %d", where, (int)err_code());
}

/* The middle of an image against the same part of the whole. */
static void compare(struct jpeg_decoder *d, const uint8_t *data, size_t size,
                    const struct jpeg_image *whole)
{
    struct rect r = {whole->width / 4, whole->height / 4,
                     (whole->width + 3) / 4, (whole->height + 3) / 4};
    struct jpeg_image part;
    int w, h, y, x;

    if (jpeg_begin(d, data, size, &w, &h) < 0 || jpeg_region(d, &r, &part) < 0)
        BUG("a part of a sound image: %s", err_text());
    for (y = 0; y < r.h; y++)
        for (x = 0; x < r.w; x++)
            if (memcmp(part.pixels + part.stride * (size_t)y + 4 * x,
                       whole->pixels + whole->stride * (size_t)(r.y + y) +
                           4 * (r.x + x),
                       3) != 0)
                BUG("pixel %d,%d of the part differs", x, y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jpeg_decoder *one, *other;
    struct jpeg_image im;
    struct jpeg_info info;
    int w, h;

    if (!one) {
        one = jpeg_decoder_new();
        other = jpeg_decoder_new();
    }
    err_clear();
    if (jpeg_probe(data, size, &info) < 0) {
        refused("probe");
        return 0;
    }
    if ((int64_t)info.width * info.height > 1 << 20)
        return 0; /* nothing new, but slow */
    if (jpeg_begin(one, data, size, &w, &h) < 0 ||
        jpeg_region(one, NULL, &im) < 0) {
        refused("decode");
        return 0;
    }
    /* damage is patched up from what was decoded before it, which a part has
     * not: only sound images must agree */
    if (!jpeg_warnings(one))
        compare(other, data, size, &im);
    return 0;
}
