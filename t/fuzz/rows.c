/*
 * Any bytes as a file with a restart marker per row of MCUs: what is cut out is
 * no larger than the file and of the size that was asked for, regions of sound
 * files have the pixels of the whole, and a file made as rows is one.
 */
#include "fuzz/image.h"
#include "vision/jpeg_rows.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void region(struct jpeg_decoder *d, const uint8_t *data, size_t size,
                   const struct jpeg_image *whole, const struct rect *r)
{
    struct jpeg_image im;
    int w, h;

    if (jpeg_begin(d, data, size, &w, &h) < 0 || jpeg_region(d, r, &im) < 0)
        BUG("a part of a sound image: %s", err_text());
    fuzz_same(whole, r, &im);
}

static void cut(const uint8_t *data, size_t size, const struct rect *r)
{
    static struct buf out;
    struct jpeg_info info;
    struct jpeg_cut c;

    if (!jpeg_rows_cut(data, size, r, &out, &c))
        return;
    if (out.len > size + 2)
        BUG("%zu bytes out of %zu", out.len, size);
    /* the small image may be refused where the file would be, no sooner */
    if (jpeg_probe(out.data, out.len, &info) < 0)
        err_clear();
    else if (info.width < r->x + r->w || info.height < c.top + r->h ||
             c.top < 0)
        BUG("%dx%d, from row %d", info.width, info.height, c.top);
}

static void repack(struct jpeg_decoder *d, const uint8_t *data, size_t size)
{
    static struct buf out;
    struct jpeg_info info;

    buf_reset(&out);
    if (!jpeg_to_rows(d, data, size, size % 2, &out)) {
        if (out.len || *err_text())
            BUG("kept, but not as it was");
        return;
    }
    if (jpeg_probe(out.data, out.len, &info) < 0 || !(info.flags & JPEG_ROWS))
        BUG("rewritten, but not as rows");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jpeg_decoder *one, *other;
    struct jpeg_image im;
    struct jpeg_info f;
    struct rect r;
    int w, h, i;
    bool sound;

    if (!one) {
        one = jpeg_decoder_new();
        other = jpeg_decoder_new();
    }
    err_clear();
    r = (struct rect){3, 9, 20, 20};
    cut(data, size, &r);
    if (jpeg_probe(data, size, &f) < 0 ||
        (int64_t)f.width * f.height > 1 << 18) {
        err_clear();
        return 0;
    }
    sound = jpeg_begin(one, data, size, &w, &h) == 0 &&
            jpeg_region(one, NULL, &im) == 0 && !jpeg_warnings(one);
    for (i = 0; i < 4; i++) {
        r = (struct rect){f.width * i / 5, f.height * i / 6,
                          1 + (f.width - 1) / (5 + i), (f.height + 3) / 4};
        cut(data, size, &r);
        if (sound)
            region(other, data, size, &im, &r);
    }
    err_clear();
    repack(other, data, size);
    return 0;
}
