/*
 * Any bytes as a file whose regions are decoded without libjpeg: what comes of
 * them has the pixels that libjpeg gives to the whole, be it sound or not, and
 * every instruction set comes to the same; a file made as rows is one.
 */
#include "fuzz/image.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct jpeg_decoder *whole, *base, *best;

static bool region(struct jpeg_decoder *d, const uint8_t *data, size_t size,
                   const struct rect *r, struct jpeg_image *im)
{
    int w, h;
    bool done =
        jpeg_begin(d, data, size, &w, &h) == 0 && jpeg_region(d, r, im) == 0;

    return done && jpeg_scanned(d);
}

/* im: all of it; sound: it is, and so must be its parts. */
static void part(const uint8_t *data, size_t size, const struct rect *r,
                 const struct jpeg_image *im, bool sound)
{
    struct jpeg_image one, two;

    if (region(best, data, size, r, &one) != region(base, data, size, r, &two))
        BUG("one instruction set finds it odd");
    if (jpeg_scanned(best)) {
        if (im)
            fuzz_same(im, r, &one);
        fuzz_same(&one, &(struct rect){0, 0, r->w, r->h}, &two);
    } else if (sound) {
        if (*err_text())
            BUG("a part of a sound image: %s", err_text());
        fuzz_same(im, r, &one);
    }
    err_clear();
}

static void repack(const uint8_t *data, size_t size)
{
    static struct buf out;
    struct jpeg_info info;

    buf_reset(&out);
    if (!jpeg_to_rows(whole, data, size, size % 2, &out)) {
        if (out.len || *err_text())
            BUG("kept, but not as it was");
        return;
    }
    if (jpeg_probe(out.data, out.len, &info) < 0 || !(info.flags & JPEG_ROWS))
        BUG("rewritten, but not as rows");
}

static void start(void)
{
    whole = jpeg_decoder_new();
    base = jpeg_decoder_new();
    best = jpeg_decoder_new();
    if (!jpeg_decoder_use(base, "base"))
        BUG("no base");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct jpeg_image im;
    struct jpeg_info f;
    struct rect r;
    int w, h, i;
    bool there;

    if (!whole)
        start();
    err_clear();
    if (jpeg_probe(data, size, &f) < 0 ||
        (int64_t)f.width * f.height > 1 << 18) {
        err_clear();
        return 0;
    }
    there = jpeg_begin(whole, data, size, &w, &h) == 0 &&
            jpeg_region(whole, NULL, &im) == 0;
    err_clear();
    for (i = 0; i < 4; i++) {
        r = (struct rect){f.width * i / 5, f.height * i / 6,
                          1 + (f.width - 1) / (5 + i), (f.height + 3) / 4};
        part(data, size, &r, there ? &im : NULL,
             there && !jpeg_warnings(whole));
    }
    repack(data, size);
    return 0;
}
