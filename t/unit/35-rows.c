/* Regions decoded without libjpeg; files with a restart marker per row of MCUs,
 * which are made of others without loss and are looked at only in part. */
#include "lib/tap.h"

#include "util/isa.h"
#include "util/rng.h"
#include "vision/jpeg.h"

#include <dirent.h>

static struct jpeg_decoder *one, *other;

static const struct kind {
    const char *name;
    struct jpeg_how how;
    bool fast; /* done without libjpeg */
} kinds[] = {{"4:4:4", {.full_chroma = true}, true},
             {"4:2:0", {.quality = 60}, true},
             {"4:2:0, coarse", {.quality = 3}, true},
             {"4:2:2", {.across = 2, .down = 1}, true},
             {"4:4:0", {.across = 1, .down = 2}, true},
             {"4:1:1", {.across = 4, .down = 1}, false},
             {"4:1:0", {.across = 4, .down = 2}, false},
             {"grey", {.grey = true}, true},
             {"CMYK", {.cmyk = true, .full_chroma = true}, false},
             {"CMYK, one of them finer", {.cmyk = true}, false}};
#define KINDS (sizeof(kinds) / sizeof(*kinds))

/* A picture with some of everything in it. */
static void picture(struct buf *b, int w, int h, struct jpeg_how how)
{
    size_t i, bytes = how.grey ? 1 : how.cmyk ? 4 : 3;
    size_t n = (size_t)w * (size_t)h * bytes;
    uint8_t *p = xmalloc(n);
    struct rng g;

    rng_init(&g, 35, (uint32_t)(w * 1000 + h), 0, RNG_SYNTH);
    for (i = 0; i < n; i++)
        p[i] = (uint8_t)((i * 7 / (size_t)w + i / 5) % 200 + rng_below(&g, 50));
    if (!how.quality)
        how.quality = 90;
    buf_reset(b);
    if (jpeg_encode(b, p, w, h, &how) < 0)
        ok(0, "%s", err_text());
    free(p);
}

/* Pixels of r that differ between an image and a region of another. */
static int differ(const struct jpeg_image *whole, const struct rect *r,
                  const struct jpeg_image *part)
{
    int x, y, bad = 0;

    for (y = 0; y < r->h; y++)
        for (x = 0; x < r->w; x++)
            bad += memcmp(part->pixels + part->stride * (size_t)y + 4 * x,
                          whole->pixels + whole->stride * (size_t)(r->y + y) +
                              4 * (r->x + x),
                          3) != 0;
    return bad;
}

static int decode(struct jpeg_decoder *d, const struct buf *b,
                  const struct rect *r, struct jpeg_image *im)
{
    int w, h;

    if (jpeg_begin(d, b->data, b->len, &w, &h) < 0)
        return -1;
    return jpeg_region(d, r, im);
}

static struct rect random_rect(struct rng *g, int w, int h)
{
    struct rect r;

    r.x = (int)rng_below(g, (uint64_t)w);
    r.y = (int)rng_below(g, (uint64_t)h);
    r.w = 1 + (int)rng_below(g, (uint64_t)(w - r.x));
    r.h = 1 + (int)rng_below(g, (uint64_t)(h - r.y));
    return r;
}

/* n regions of a file against the same parts of an image, which other has
 * decoded; those done without libjpeg are counted. */
static int regions(const struct buf *b, const struct jpeg_image *whole, int n,
                   int *fast)
{
    struct jpeg_image im;
    struct rng g;
    int i, bad = 0;

    rng_init(&g, 36, (uint32_t)b->len, 0, RNG_SYNTH);
    for (i = 0; i < n; i++) {
        struct rect r = random_rect(&g, whole->width, whole->height);

        bad += decode(one, b, &r, &im) < 0 ? 1 : differ(whole, &r, &im);
        bad += jpeg_warnings(one) != 0;
        *fast += jpeg_scanned(one);
    }
    return bad;
}

/* All sizes from 1 to 40, and a larger one, with some rows in an interval. */
static void sizes(const struct kind *k, const char *set, int rows)
{
    struct jpeg_how how = k->how;
    struct buf b = BUF_INIT;
    struct jpeg_image whole;
    int i, bad = 0, fast = 0;

    how.restart_rows = rows;
    for (i = 1; i <= 41; i++) {
        picture(&b, i < 41 ? i : 301, i < 41 ? (i * 17) % 41 : 333, how);
        if (decode(other, &b, NULL, &whole) < 0)
            ok(0, "%s: %s", k->name, err_text());
        else
            bad += regions(&b, &whole, i < 41 ? 20 : 100, &fast);
    }
    is_int(bad, 0, "%s, %s, %d rows: regions equal the whole", k->name, set,
           rows);
    ok(k->fast ? fast >= 820 : !fast, "%d of 900 without libjpeg", fast);
    buf_release(&b);
}

static void every_size(void)
{
    size_t i, k;

    for (i = 0; isa_names[i]; i++) {
        if (!jpeg_decoder_use(one, isa_names[i]))
            continue;
        for (k = 0; k < KINDS; k++)
            sizes(&kinds[k], isa_names[i], (int)((i + k) % 3));
    }
    ok(!jpeg_decoder_use(one, "mmx"), "no other set");
    ok(jpeg_decoder_use(one, "libjpeg"), "nor any at all");
    sizes(&(struct kind){"4:2:0", {0}, false}, "libjpeg", 1);
    jpeg_decoder_free(one);
    one = jpeg_decoder_new(); /* with the best of them again */
}

/* ---- damage */

/* Where restart marker number i begins. */
static char *restart(struct buf *b, int i)
{
    unsigned char *p = (unsigned char *)b->data;

    for (;; p++)
        if (p[0] == 0xff && (p[1] & 0xf8) == 0xd0 && i-- == 0)
            return (char *)p;
}

static void outside(void)
{
    struct rect r = {8, 50, 40, 30}, wide = {8, 50, 110, 30};
    struct buf b = BUF_INIT;
    struct jpeg_image im, whole;
    char *p;

    picture(&b, 120, 130, (struct jpeg_how){.restart_rows = 1});
    is_int(decode(other, &b, NULL, &whole), 0, "a sound file");
    p = restart(&b, 0);
    memset(p - 20, 0x55, 20);
    jpeg_decoder_strict(one, true);
    is_int(decode(one, &b, &r, &im), 0, "damage above a region is not seen");
    is_int(differ(&whole, &r, &im), 0, "and does no harm");
    p = restart(&b, 6);
    memset(p + 2, 0xff, 20);
    is_int(decode(one, &b, &r, &im), 0, "nor below it");
    p = restart(&b, 3);
    memset(p - 60, 0, 60);
    is_int(decode(one, &b, &wide, &im), -1,
           "inside it is an error if warnings are");
    jpeg_decoder_strict(one, false);
    is_int(decode(one, &b, &wide, &im), 0, "else it is passed over");
    ok(jpeg_warnings(one) > 0, "and counted");
    buf_release(&b);
}

/* What is left to libjpeg. */
static void refusals(void)
{
    struct rect r = {8, 50, 40, 30}, low = {8, 100, 40, 30};
    struct buf b = BUF_INIT;
    struct jpeg_image im;
    const struct jpeg_how how = {.restart_rows = 1};
    char *p;

    picture(&b, 120, 130, how);
    restart(&b, 1)[1] = (char)0xd5;
    is_int(decode(one, &b, &r, &im), 0, "a wrong number");
    ok(!jpeg_scanned(one), "is not for us");
    picture(&b, 120, 130, how);
    restart(&b, 2)[1] = 0;
    is_int(decode(one, &b, &r, &im), 0, "a marker is missing");
    ok(!jpeg_scanned(one), "that neither");
    picture(&b, 120, 130, how);
    p = restart(&b, 3);
    memmove(p + 1, p, (size_t)(b.data + b.len - p) - 1);
    is_int(decode(one, &b, &r, &im), 0, "a fill byte");
    ok(!jpeg_scanned(one), "nor that");
    picture(&b, 120, 130, how);
    b.len -= 400;
    is_int(decode(one, &b, &low, &im), -1, "cut off");
    is_int(decode(one, &b, &r, &im), 0, "below a region");
    ok(jpeg_scanned(one), "is not seen");
    picture(&b, 120, 130, (struct jpeg_how){.progressive = true});
    ok(decode(one, &b, &r, &im) == 0 && !jpeg_scanned(one), "progressive");
    picture(&b, 120, 130, (struct jpeg_how){.apart = true});
    ok(decode(one, &b, &r, &im) == 0 && !jpeg_scanned(one), "three scans");
    buf_release(&b);
}

/*
 * Files with bytes changed: what is decoded without libjpeg is what it makes of
 * them, and all instruction sets agree.
 */
static void changed(void)
{
    struct buf b = BUF_INIT;
    struct jpeg_image whole, im;
    struct rng g;
    int i, fast = 0, bad = 0;
    size_t k;

    rng_init(&g, 37, 0, 0, RNG_SYNTH);
    for (i = 0; i < 400; i++) {
        struct jpeg_how how = kinds[i % 3].how;
        struct rect r = random_rect(&g, 90, 100);

        how.restart_rows = i / 3 % 3;
        picture(&b, 90, 100, how);
        for (k = 0; k < 3; k++)
            b.data[b.len - 1 - rng_below(&g, b.len - 620)] =
                (char)rng_below(&g, 256);
        if (decode(other, &b, NULL, &whole) < 0)
            continue;
        for (k = 0; isa_names[k]; k++) {
            if (!jpeg_decoder_use(one, isa_names[k]) ||
                decode(one, &b, &r, &im) < 0 || !jpeg_scanned(one))
                continue;
            fast++;
            bad += differ(&whole, &r, &im) != 0;
        }
    }
    is_int(bad, 0, "files with bytes changed: as libjpeg has them");
    ok(fast > 50, "%d times without it", fast);
    buf_release(&b);
}

/* ---- making them */

/* b as rows; 1 if it was rewritten and is as it should be, 0 if kept. */
static int repack(const struct buf *b, struct buf *out)
{
    struct buf again = BUF_INIT;
    struct jpeg_image im, whole;
    struct jpeg_info info;
    struct rect all = {0};
    int r = -1, fast = 0;

    buf_reset(out);
    if (!jpeg_to_rows(one, b->data, b->len, false, out))
        return out->len || *err_text() ? -1 : 0;
    if (jpeg_probe(out->data, out->len, &info) < 0 ||
        decode(other, b, NULL, &whole) < 0 || decode(one, out, NULL, &im) < 0)
        goto out;
    all.w = whole.width;
    all.h = whole.height;
    if (im.width != all.w || im.height != all.h || differ(&whole, &all, &im) ||
        info.flags & JPEG_PROGRESSIVE || !(info.flags & JPEG_ROWS) ||
        regions(out, &whole, 8, &fast))
        goto out;
    if (!jpeg_to_rows(one, out->data, out->len, false, &again) ||
        again.len != out->len || memcmp(again.data, out->data, out->len))
        goto out;
    r = 1;
out:
    buf_release(&again);
    return r;
}

static void repacks(void)
{
    struct buf b = BUF_INIT, out = BUF_INIT;
    size_t i;
    int s, how_many;

    for (i = 0; i < KINDS; i++) {
        for (s = 1, how_many = 0; s <= 40; s += 3) {
            struct jpeg_how how = kinds[i].how;

            picture(&b, s, 41 - s, how);
            how_many += repack(&b, &out) == 1;
            how.progressive = true;
            picture(&b, 41 - s, s, how);
            how_many += repack(&b, &out) == 1;
            how.progressive = false;
            how.apart = true;
            how.restart_rows = 1;
            picture(&b, s, s, how);
            how_many += repack(&b, &out) == 1;
        }
        is_int(how_many, 42, "%s: as rows", kinds[i].name);
    }
    picture(&b, 150, 140, (struct jpeg_how){0});
    is_int(repack(&b, &out), 1, "a larger one");
    ok(out.len < b.len, "%zu bytes become %zu", b.len, out.len);
    b.len -= 2000;
    is_int(repack(&b, &out), 0, "what is cut off is left alone");
    b.len += 2000;
    memset(b.data + b.len / 2, 0, 40);
    is_int(repack(&b, &out), 0, "so is what is damaged");
    is_int(jpeg_to_rows(one, "no", 2, true, &out), 0, "and what is no JPEG");
    buf_release(&b);
    buf_release(&out);
}

/* Where the bytes are in the file, or -1. */
static long find(const struct buf *b, const char *bytes, size_t n)
{
    size_t i;

    for (i = 0; i + n <= b->len; i++)
        if (!memcmp(b->data + i, bytes, n))
            return (long)i;
    return -1;
}

/* Segments that a file has beside those it needs. */
static void segments(void)
{
    static const char exif[] = "\xff\xe1\0\x22"
                               "Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0"
                               "\x01\0\0\0\x06\0\0\0\0\0\0\0";
    static const char note[] = "\xff\xfe\0\x07hello\xff\xe2\0\x05icc";
    static const char adobe[] = "\xff\xee\0\x0e"
                                "Adobe\0\x65\0\0\0\0";
    struct buf b = BUF_INIT, file = BUF_INIT, out = BUF_INIT;
    struct jpeg_info info;

    picture(&b, 50, 40, (struct jpeg_how){0});
    buf_add(&file, b.data, 20); /* SOI, JFIF */
    buf_add(&file, exif, sizeof(exif) - 1);
    buf_add(&file, note, sizeof(note) - 1);
    buf_add(&file, adobe, sizeof(adobe) - 1);
    buf_addch(&file, 1);
    buf_add(&file, b.data + 20, b.len - 20);
    buf_addstr(&file, "behind the end");
    is_int(jpeg_probe(file.data, file.len, &info), 0, "a file with segments");
    is_int(info.orientation, 6, "which is rotated");
    is_int(repack(&file, &out), 1, "as rows");
    ok(!memcmp(out.data, b.data, 20), "JFIF is kept");
    ok(find(&out, adobe, sizeof(adobe) - 1) > 0, "Adobe is");
    is_int(find(&out, "Exif", 4), -1, "EXIF is not");
    is_int(find(&out, "hello", 5), -1, "a comment is not");
    is_int(find(&out, "icc", 3), -1, "a profile is not");
    is_int(find(&out, "behind", 6), -1, "nor what was behind the end");
    buf_reset(&out);
    ok(jpeg_to_rows(one, file.data, file.len, true, &out) &&
           find(&out, exif, sizeof(exif) - 1) > 0,
       "EXIF is kept if asked for");
    is_int(find(&out, "icc", 3), -1, "alone");
    buf_release(&b);
    buf_release(&file);
    buf_release(&out);
}

/* A coefficient that can be read and not be written, which libjpeg says when
 * it has written more than one piece of memory. */
static void too_large(void)
{
    static const char jfif[] = "\xff\xd8\xff\xe0\0\x10"
                               "JFIF\0\1\1\0\0\1\0\1\0\0\xff\xe1\x4e\x28"
                               "Exif\0\0";
    static const char coded[] =
        "\xff\xc0\0\x0b\x08\0\x08\0\x08\1\1\x11\0" /* 8x8, grey */
        "\xff\xc4\0\x14\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0f"
        "\xff\xc4\0\x14\x10\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
        "\xff\xda\0\x08\1\1\0\0\x3f\0" /* 15 bits of DC, no AC */
        "\x7f\xff\0\x7f\xff\xd9";
    struct buf file = BUF_INIT, out = BUF_INIT;
    struct jpeg_image im;

    buf_add(&file, jfif, sizeof(jfif) - 1);
    buf_addfill(&file, 'x', 20000);
    buf_add(&file, "\xff\xdb\0\x43", 5);
    buf_addfill(&file, 1, 64);
    buf_add(&file, coded, sizeof(coded) - 1);
    is_int(decode(one, &file, NULL, &im), 0, "a large coefficient is read");
    buf_addstr(&out, "before");
    ok(!jpeg_to_rows(one, file.data, file.len, true, &out),
       "and not written again");
    is_str(out.data, "before", "nothing is left of it");
    is_int((long long)out.len, 6, "nor counted");
    buf_release(&file);
    buf_release(&out);
}

/* ---- other people's files */

/* Arithmetic coding is kept: nobody asked for another. */
static bool is_arithmetic(const struct buf *b)
{
    return find(b, "\xff\xc9\0\x11\x08", 5) >= 0 ||
           find(b, "\xff\xca\0\x11\x08", 5) >= 0;
}

static void folder(const char *root, const char *name)
{
    char *path = xstrfmt("%s/%s", root, name), *file;
    DIR *dir = opendir(path);
    struct buf b = BUF_INIT, out = BUF_INIT;
    int n = 0, done = 0, bad = 0, r;
    struct jpeg_info info;
    struct dirent *e;

    while (dir && (e = readdir(dir))) {
        if (e->d_name[0] == '.')
            continue;
        file = xstrfmt("%s/%s", path, e->d_name);
        buf_reset(&b);
        if (buf_read_file(&b, file, JPEG_MAX_BYTES) < 0 ||
            jpeg_probe(b.data ? b.data : "", b.len, &info) < 0 ||
            info.width * info.height > 500000) {
            err_clear();
        } else {
            r = repack(&b, &out);
            n++;
            done += r == 1;
            if (r == 1 && is_arithmetic(&b))
                r = -1;
            bad += r < 0;
            if (r < 0)
                printf("# %s differs\n", file);
        }
        free(file);
    }
    is_int(bad, 0, "%s: %d of %d files are rows now, none differs", name, done,
           n);
    if (dir)
        closedir(dir);
    buf_release(&b);
    buf_release(&out);
    free(path);
}

static void edge(void)
{
    static const char *const name[] = {
        "reftest", "imagetestsuite", "crash",    "icc",     "libjpeg-turbo",
        "pillow",  "misnamed",       "sampling", "jpegtran"};
    const char *root = tap_data("jpeg-edge");
    size_t i;

    if (!root) {
        skip(9, "data: no jpeg-edge");
        return;
    }
    for (i = 0; i < sizeof(name) / sizeof(*name); i++)
        folder(root, name[i]);
}

int main(void)
{
    one = jpeg_decoder_new();
    other = jpeg_decoder_new();
    every_size();
    changed();
    outside();
    refusals();
    repacks();
    segments();
    too_large();
    edge();
    jpeg_decoder_free(one);
    jpeg_decoder_free(other);
    return done_testing();
}
