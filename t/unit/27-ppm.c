/* PPM: headers that are read and refused, regions. */
#include "lib/tap.h"
#include "vision/image.h"
#include "vision/ppm.h"

static void header(const char *text, int want, const char *what)
{
    struct ppm_info info;
    /* exactly as long as it says, for tools that watch memory */
    size_t n = strlen(text);
    char *copy = xmalloc(n ? n : 1);

    memcpy(copy, text, n);
    is_int(ppm_probe(copy, n, &info), want, "%s", what);
    if (want < 0)
        is_int(err_code(), ERR_DATA, "%s", err_text());
    else
        ok(info.width == 2 && info.height == 1 && info.pixels[0] == 'a',
           "its size and pixels");
    free(copy);
}

static void headers(void)
{
    header("P6\n2 1\n255\nabcdef", 0, "plain");
    header("P6 2\t1\r\n255 abcdef", 0, "other white space");
    header("P6#x\n# 9 9\n2#\n 1 #y\n255\nabcdef", 0, "comments");
    header("P6\n2 1\n255\nabcde", -1, "a byte short");
    header("P6\n2 1\n255\nabcdefg", -1, "a byte more");
    header("P6\n2 1\n65535\nabcdef", -1, "16 bits");
    header("P6\n2 1\n255", -1, "no pixels");
    header("P6\n2 1\n255#abcde", -1, "a comment for a blank");
    header("P6\n0 1\n255\n", -1, "no width");
    header("P6\n-2 1\n255\nabcdef", -1, "a sign");
    header("P6\n99999999999999999999 1\n255\nabcdef", -1, "too wide");
    header("P6\n16384 16384\n255\nabcdef", -1, "too many");
    header("P6\n2", -1, "nothing behind the width");
    header("P6\n# never ends", -1, "a comment without end");
    header("P5\n2 1\n255\nabcdef", -1, "grey");
    header("P6", -1, "two bytes");
}

static void regions(void)
{
    struct image_decoder *d = image_decoder_new();
    struct image_info info;
    struct buf b = BUF_INIT;
    struct jpeg_image im;
    struct rect r = {1, 1, 2, 2};
    int w, h, wrong = 0;

    ppm_header(&b, 4, 3);
    for (int i = 0; i < 4 * 3 * 3; i++)
        buf_addch(&b, (char)i);
    is_int(image_check(d, b.data, b.len, &info), 0, "an image");
    ok(info.kind == IMAGE_PPM && info.width == 4 && info.height == 3 &&
           info.flags == 1 << 14,
       "its size and kind");
    is_int(image_begin(d, b.data, b.len, &w, &h), 0, "begun");
    is_int(image_region(d, &r, &im), 0, "a part");
    for (int y = 0; y < 2; y++)
        for (int x = 0; x < 2; x++)
            for (int c = 0; c < 3; c++)
                wrong +=
                    im.pixels[im.stride * (size_t)y + (size_t)(4 * x + c)] !=
                    ((y + 1) * 4 + x + 1) * 3 + c;
    is_int(wrong, 0, "has its pixels");
    is_int(image_begin(d, b.data, b.len, &w, &h), 0, "begun again");
    is_int(image_region(d, NULL, &im), 0, "all of it");
    ok(im.width == 4 && im.height == 3 && im.pixels[4 * 3] == 9, "as it is");
    image_decoder_free(d);
    buf_release(&b);
}

int main(void)
{
    headers();
    regions();
    return done_testing();
}
