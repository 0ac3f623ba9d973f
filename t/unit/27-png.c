/* PNG files: all kinds beside Pillow's pixels, regions, damage, limits. */
#include "lib/tap.h"

#include "io/digest.h"
#include "util/rng.h"
#include "vision/image.h"
#include "vision/png.h"

#include <sodium.h>

static struct png_decoder *d;

/* A file of the table. */
struct kind {
    char name[32], want[12];
    struct buf file;
};
static struct kind kinds[64];
static int n_kinds;

static _Noreturn void stop(const char *what)
{
    ok(0, "%s", what);
    exit(done_testing());
}

static void read_table(void)
{
    char *path = xstrfmt("%s/t/golden/png.tsv", tap_env("TOP", "."));
    struct buf b = BUF_INIT;
    char *line, *end;

    if (buf_read_file(&b, path, 1 << 20) < 0)
        stop(err_text());
    for (line = b.data; *line && n_kinds < 64; line = end + 1) {
        struct kind *k = &kinds[n_kinds];
        size_t n = strcspn(line, "\n"), at[2], got;

        end = line + n;
        if (*line == '#')
            continue;
        at[0] = strcspn(line, "\t") + 1;
        at[1] = at[0] + strcspn(line + at[0], "\t") + 1;
        snprintf(k->name, sizeof(k->name), "%.*s", (int)at[0] - 1, line);
        snprintf(k->want, sizeof(k->want), "%.*s", (int)(at[1] - at[0]) - 1,
                 line + at[0]);
        buf_reserve(&k->file, n);
        if (sodium_base642bin((unsigned char *)k->file.data, n, line + at[1],
                              n - at[1], NULL, &got, NULL,
                              sodium_base64_VARIANT_ORIGINAL) < 0)
            stop("not base64");
        k->file.len = got;
        n_kinds++;
    }
    buf_release(&b);
    free(path);
}

static uint32_t crc_of(const struct jpeg_image *im)
{
    uint32_t crc = 0;
    int x, y;

    for (y = 0; y < im->height; y++)
        for (x = 0; x < im->width; x++)
            crc = digest_crc32(crc, im->pixels + im->stride * (size_t)y + 4 * x,
                               3);
    return crc;
}

/* Decode all; the CRC-32 of the pixels as text, or "refused". */
static void decode(const struct buf *b, char out[12])
{
    struct jpeg_image im;
    struct png_info info;
    int w, h;

    snprintf(out, 12, "refused");
    if (png_check(d, b->data, b->len, &info) < 0)
        return;
    if (png_begin(d, b->data, b->len, &w, &h) < 0 ||
        png_region(d, NULL, &im) < 0)
        snprintf(out, 12, "only once");
    else
        snprintf(out, 12, "%08x", (unsigned)crc_of(&im));
}

static void all_kinds(void)
{
    char got[12];
    int i;

    ok(n_kinds > 30, "%d kinds of files", n_kinds);
    for (i = 0; i < n_kinds; i++) {
        decode(&kinds[i].file, got);
        is_str(got, kinds[i].want, "%s: as Pillow", kinds[i].name);
        if (!strcmp(got, "refused"))
            has_str(err_text(), "16-bit grey", "and it is said why");
    }
}

static struct kind *kind_of(const char *name)
{
    for (int i = 0; i < n_kinds; i++)
        if (!strcmp(kinds[i].name, name))
            return &kinds[i];
    stop(name);
}

static void flags(void)
{
    static const struct {
        const char *name;
        unsigned flags;
    } want[] = {{"kind2-08", PNG_IS_PNG},
                {"kind2-16", PNG_IS_PNG | PNG_16BIT},
                {"kind0-02", PNG_IS_PNG | PNG_GREY},
                {"kind4-16", PNG_IS_PNG | PNG_GREY | PNG_16BIT},
                {"kind3-04", PNG_IS_PNG}};
    struct png_info info;

    for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
        const struct buf *b = &kind_of(want[i].name)->file;

        is_int(png_probe(b->data, b->len, &info), 0, "%s: header",
               want[i].name);
        is_int(info.flags, want[i].flags, "flags");
        is_int(info.width * 100 + info.height, 906, "size");
    }
}

static void regions(void)
{
    struct png_decoder *other = png_decoder_new();
    struct jpeg_image whole, im;
    int w, h, x, y, i, bad, n = 0;

    for (i = 0; i < n_kinds; i++) {
        const struct buf *b = &kinds[i].file;
        struct rect r;

        if (!strcmp(kinds[i].want, "refused"))
            continue;
        if (png_begin(other, b->data, b->len, &w, &h) < 0 ||
            png_region(other, NULL, &whole) < 0)
            ok(0, "%s", err_text());
        bad = 0;
        for (n = 0; n < w * h; n++) {
            r = (struct rect){n % w, n / w, 1 + (n * 7) % (w - n % w),
                              1 + (n * 5) % (h - n / w)};
            if (png_begin(d, b->data, b->len, &w, &h) < 0 ||
                png_region(d, &r, &im) < 0)
                bad += 1000;
            else
                for (y = 0; y < r.h; y++)
                    for (x = 0; x < r.w; x++)
                        bad += memcmp(im.pixels + im.stride * (size_t)y + 4 * x,
                                      whole.pixels +
                                          whole.stride * (size_t)(r.y + y) +
                                          4 * (r.x + x),
                                      3) != 0;
        }
        is_int(bad, 0, "%s: regions equal the whole", kinds[i].name);
    }
    png_decoder_free(other);
}

/* ---- damage */

/* 0: sound, with the CRC-32; -1 with the class checked. */
static int try_all(const void *p, size_t n, uint32_t *crc)
{
    struct jpeg_image im;
    struct png_info info;
    int w, h;

    if (png_check(d, p, n, &info) < 0) {
        if (err_code() != ERR_DATA || !*err_text())
            ok(0, "class %d: %s", (int)err_code(), err_text());
        return -1;
    }
    if (png_begin(d, p, n, &w, &h) < 0 || png_region(d, NULL, &im) < 0)
        return ok(0, "decodes once, then not: %s", err_text());
    *crc = crc_of(&im);
    return 0;
}

static void damage(const char *name)
{
    struct buf *b = &kind_of(name)->file;
    uint32_t whole = 0, crc = 0;
    int good = 0, other = 0, i;
    struct rng g;
    size_t n;

    is_int(try_all(b->data, b->len, &whole), 0, "%s: sound", name);
    for (n = 0; n < b->len; n++) {
        char *exact = xmalloc(n + 1); /* reading behind the end would show */

        memcpy(exact, b->data, n);
        good += try_all(exact, n, &crc) == 0;
        free(exact);
    }
    is_int(good, 0, "cut off at any byte: refused");
    rng_init(&g, 27, 0, 0, RNG_SYNTH);
    for (i = 0; i < 2000; i++) {
        size_t at = rng_below(&g, b->len);
        char old = b->data[at];

        b->data[at] = (char)(old ^ (char)(1 + rng_below(&g, 255)));
        if (try_all(b->data, b->len, &crc) == 0)
            other += crc != whole;
        b->data[at] = old;
    }
    is_int(other, 0, "a changed byte never changes pixels unseen");
    is_int(try_all(b->data, b->len, &crc), 0, "and the sound one after them");
    is_int(crc, whole, "with its pixels");
}

static void limits(void)
{
    struct buf b = BUF_INIT;
    struct png_info info;
    const struct buf *k = &kind_of("kind2-08")->file;

    buf_add(&b, k->data, k->len);
    memcpy(b.data + 16, "\0\0\x40\x01\0\0\0\x10", 8);
    is_int(png_probe(b.data, b.len, &info), -1, "16385 columns are refused");
    has_str(err_text(), "a side is over 16384", "as such");
    memcpy(b.data + 16, "\0\0\x40\0\0\0\x40\0", 8);
    is_int(png_probe(b.data, b.len, &info), -1, "2^28 pixels are refused");
    memcpy(b.data + 16, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
    is_int(png_probe(b.data, b.len, &info), -1, "and 2^64");
    memcpy(b.data + 16, "\0\0\0\x09\0\0\0\0", 8);
    is_int(png_probe(b.data, b.len, &info), -1, "no rows are refused");
    buf_release(&b);
}

/* ---- either kind */

static void either(void)
{
    struct image_decoder *e = image_decoder_new();
    const struct buf *k = &kind_of("kind2-08-adam7")->file;
    uint8_t grey[64];
    struct buf b = BUF_INIT;
    struct jpeg_how how = {.quality = 90, .grey = true};
    struct image_info info;
    struct jpeg_image im;
    int w, h;

    memset(grey, 100, sizeof(grey));
    if (jpeg_encode(&b, grey, 8, 8, &how) < 0)
        ok(0, "%s", err_text());
    is_int(image_sniff(k->data, k->len), IMAGE_PNG, "a PNG file");
    is_int(image_sniff(b.data, b.len), IMAGE_JPEG, "a JPEG file");
    is_int(image_sniff("GIF89a", 6), IMAGE_NEITHER, "neither");
    is_int(image_sniff(NULL, 0), IMAGE_NEITHER, "nothing");
    is_int(image_check(e, k->data, k->len, &info), 0, "checked");
    is_int(info.flags, PNG_IS_PNG, "flags of the one");
    is_int(image_check(e, b.data, b.len, &info), 0, "the other");
    is_int(info.flags, JPEG_IS_JPEG | JPEG_GREY, "and its flags");
    is_int(image_begin(e, k->data, k->len, &w, &h) < 0 ||
               image_region(e, &(struct rect){2, 1, 3, 4}, &im) < 0,
           0, "a region of the one");
    is_int(image_begin(e, b.data, b.len, &w, &h) < 0 ||
               image_region(e, NULL, &im) < 0,
           0, "the whole of the other");
    is_int(im.pixels[0], 100, "has its pixels");
    is_int(image_begin(e, "GIF89a", 6, &w, &h), -1, "neither is refused");
    is_str(err_text(), "GIF: neither JPEG nor PNG", "as such");
    image_decoder_free(e);
    buf_release(&b);
}

int main(void)
{
    d = png_decoder_new();
    read_table();
    all_kinds();
    flags();
    regions();
    damage("kind2-08");
    damage("kind3-04-adam7");
    limits();
    either();
    png_decoder_free(d);
    for (int i = 0; i < n_kinds; i++)
        buf_release(&kinds[i].file);
    return done_testing();
}
