/*
 * Any bytes as a PNG file: decoded, whole and in part, or refused with one
 * sentence of class ERR_DATA; a part has the pixels of the whole, and an image
 * does not depend on the one before. Checksums are made right first, since
 * hardly anything would get behind them otherwise.
 */
#include "vision/png.h"
#include "io/digest.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void refused(const char *where)
{
    if (err_code() != ERR_DATA || !*err_text())
        BUG("%s: refused without a reason: class %d", where, (int)err_code());
}

/* Write the checksum of each chunk that is there whole. */
static void right_sums(uint8_t *p, size_t n)
{
    size_t at = 8;

    while (n >= 12 && at <= n - 12) {
        size_t len = (size_t)p[at] << 24 | (size_t)p[at + 1] << 16 |
                     (size_t)p[at + 2] << 8 | p[at + 3];
        uint32_t crc;

        if (len > n - 12 - at)
            return;
        crc = digest_crc32(0, p + at + 4, len + 4);
        for (int i = 0; i < 4; i++)
            p[at + 8 + len + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += len + 12;
    }
}

/* The middle of an image against the same part of the whole. */
static void compare(struct png_decoder *d, const uint8_t *data, size_t size,
                    const struct jpeg_image *whole)
{
    struct rect r = {whole->width / 4, whole->height / 4,
                     (whole->width + 3) / 4, (whole->height + 3) / 4};
    struct jpeg_image part;
    int w, h, y, x;

    if (png_begin(d, data, size, &w, &h) < 0 || png_region(d, &r, &part) < 0)
        BUG("a part of a sound image: %s", err_text());
    for (y = 0; y < r.h; y++)
        for (x = 0; x < r.w; x++)
            if (memcmp(part.pixels + part.stride * (size_t)y + 4 * x,
                       whole->pixels + whole->stride * (size_t)(r.y + y) +
                           4 * (r.x + x),
                       3) != 0)
                BUG("pixel %d,%d of the part differs", x, y);
}

static void decode(const uint8_t *data, size_t size)
{
    static struct png_decoder *one, *other;
    struct jpeg_image im;
    struct png_info info;
    int w, h;

    if (!one) {
        one = png_decoder_new();
        other = png_decoder_new();
    }
    err_clear();
    if (png_probe(data, size, &info) < 0) {
        refused("probe");
        return;
    }
    if ((int64_t)info.width * info.height > 1 << 20)
        return; /* nothing new, but slow */
    if (png_begin(one, data, size, &w, &h) < 0 ||
        png_region(one, NULL, &im) < 0) {
        refused("decode");
        return;
    }
    compare(other, data, size, &im);
    if (png_check(other, data, size, &info) < 0)
        refused("check"); /* something behind the pixels */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = xmalloc(size + 1);

    decode(data, size);
    memcpy(copy, data, size);
    right_sums(copy, size);
    decode(copy, size);
    free(copy);
    return 0;
}
