/* JPEG files: headers, regions, four components, damage, files of all kinds. */
#include "lib/tap.h"

#include "io/tar.h"
#include "util/rng.h"
#include "vision/jpeg.h"
#include "vision/synth.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

static struct jpeg_decoder *d;

/* A picture with some of everything in it. */
static void picture(struct buf *b, int w, int h, struct jpeg_how how)
{
    size_t i, n = (size_t)w * (size_t)h * (how.grey ? 1 : 3);
    uint8_t *p = xmalloc(n);
    struct rng g;

    rng_init(&g, 27, (uint32_t)(w * 1000 + h), 0, RNG_SYNTH);
    for (i = 0; i < n; i++)
        p[i] = (uint8_t)((i * 7 / (size_t)w + i / 5) % 200 + rng_below(&g, 50));
    if (!how.quality)
        how.quality = 90;
    if (jpeg_encode(b, p, w, h, &how) < 0)
        ok(0, "%s", err_text());
    free(p);
}

static void probes(void)
{
    static const struct {
        struct jpeg_how how;
        unsigned flags;
        int components;
        const char *name;
    } kind[] = {
        {{.full_chroma = true}, JPEG_IS_JPEG, 3, "4:4:4"},
        {{.grey = true}, JPEG_IS_JPEG | JPEG_GREY, 1, "grey"},
        {{.quality = 50}, JPEG_IS_JPEG | JPEG_420, 3, "4:2:0"},
        {{.progressive = true},
         JPEG_IS_JPEG | JPEG_420 | JPEG_PROGRESSIVE,
         3,
         "progressive"},
        {{.restart_rows = 1}, JPEG_IS_JPEG | JPEG_420 | JPEG_ROWS, 3, "rows"},
        {{.restart_rows = 2}, JPEG_IS_JPEG | JPEG_420, 3, "two rows"},
        {{.grey = true, .restart_rows = 1},
         JPEG_IS_JPEG | JPEG_GREY | JPEG_ROWS,
         1,
         "grey rows"}};
    struct buf b = BUF_INIT;
    struct jpeg_info info;
    size_t i;

    for (i = 0; i < sizeof(kind) / sizeof(*kind); i++) {
        buf_reset(&b);
        picture(&b, 75, 41, kind[i].how);
        is_int(jpeg_probe(b.data, b.len, &info), 0, "%s: header", kind[i].name);
        is_int(info.width * 1000 + info.height, 75041, "%s: size",
               kind[i].name);
        is_int(info.components, kind[i].components, "%s: components",
               kind[i].name);
        is_int(info.flags, kind[i].flags, "%s: flags", kind[i].name);
        is_int(jpeg_check(d, b.data, b.len, &info), 0, "%s: decodes",
               kind[i].name);
        is_int(info.flags, kind[i].flags, "%s: no warning", kind[i].name);
    }
    buf_release(&b);
}

/* A region against the same part of the whole. */
static int region_differs(const struct buf *b, const struct rect *r,
                          const struct jpeg_image *whole)
{
    struct jpeg_image im;
    int w, h, x, y, bad = 0;

    if (jpeg_begin(d, b->data, b->len, &w, &h) < 0 ||
        jpeg_region(d, r, &im) < 0)
        return 1000000;
    for (y = 0; y < r->h; y++)
        for (x = 0; x < r->w; x++)
            bad += memcmp(im.pixels + im.stride * (size_t)y + 4 * x,
                          whole->pixels + whole->stride * (size_t)(r->y + y) +
                              4 * (r->x + x),
                          3) != 0;
    return bad;
}

static void regions_of(const struct buf *b, const char *name)
{
    struct jpeg_decoder *other = jpeg_decoder_new();
    struct jpeg_image whole;
    struct rng g;
    int w, h, i, bad = 0;

    rng_init(&g, 28, (uint32_t)b->len, 0, RNG_SYNTH);
    if (jpeg_begin(other, b->data, b->len, &w, &h) < 0 ||
        jpeg_region(other, NULL, &whole) < 0)
        ok(0, "%s", err_text());
    for (i = 0; i < 60; i++) {
        struct rect r;

        r.x = (int)rng_below(&g, (uint64_t)w);
        r.y = (int)rng_below(&g, (uint64_t)h);
        r.w = 1 + (int)rng_below(&g, (uint64_t)(w - r.x));
        r.h = 1 + (int)rng_below(&g, (uint64_t)(h - r.y));
        bad += region_differs(b, &r, &whole);
    }
    is_int(bad, 0, "%s: 60 regions equal the whole", name);
    jpeg_decoder_free(other);
}

static void regions(void)
{
    static const struct jpeg_how how[] = {
        {.full_chroma = true}, {.grey = true},
        {.quality = 70},       {.progressive = true},
        {.restart_rows = 1},   {.progressive = true, .grey = true}};
    static const int size[][2] = {{131, 97}, {16, 16}, {40, 200}, {3, 5}};
    struct buf b = BUF_INIT;
    char name[64];
    size_t i, k;

    for (i = 0; i < sizeof(how) / sizeof(*how); i++)
        for (k = 0; k < sizeof(size) / sizeof(*size); k++) {
            buf_reset(&b);
            picture(&b, size[k][0], size[k][1], how[i]);
            snprintf(name, sizeof(name), "kind %zu, %dx%d", i, size[k][0],
                     size[k][1]);
            regions_of(&b, name);
        }
    /* its last scan is lost, which decoders try to hide */
    buf_reset(&b);
    picture(&b, 131, 97, (struct jpeg_how){.progressive = true});
    while (memcmp(b.data + b.len - 2, "\xff\xc4", 2) != 0)
        b.len--;
    b.data[b.len - 1] = (char)0xd9;
    regions_of(&b, "progressive, a scan less");
    buf_release(&b);
}

/* ---- a file made by hand: 8x8 pixels of one colour, n components */

static void segment(struct buf *b, int marker, const void *p, size_t n)
{
    const char head[] = {(char)0xff, (char)marker, (char)((n + 2) >> 8),
                         (char)(n + 2)};

    buf_add(b, head, 4);
    buf_add(b, p, n);
}

struct bits {
    struct buf *out;
    unsigned v;
    int n;
};

static void put(struct bits *b, unsigned v, int n)
{
    while (n-- > 0) {
        b->v = b->v << 1 | (v >> n & 1);
        if (++b->n == 8) {
            buf_addch(b->out, (char)b->v);
            if ((b->v & 255) == 255)
                buf_addch(b->out, 0);
            b->n = 0;
        }
    }
}

/* One block: only its mean, in quantisation steps of 1. */
static void block(struct bits *b, int value)
{
    int dc = 8 * (value - 128), size = abs(dc), bits = 0;

    while (size >> bits)
        bits++;
    put(b, (unsigned)bits, 4);
    put(b, (unsigned)(dc < 0 ? dc + (1 << bits) - 1 : dc), bits);
    put(b, 0, 1); /* end of block */
}

static void by_hand(struct buf *b, int n, const int *value, int adobe)
{
    unsigned char quant[65], frame[18] = {8, 0, 8, 0, 8}, scan[12] = {0};
    unsigned char dc[29] = {0, 0, 0, 0, 12}, ac[18] = {0x10, 1};
    unsigned char app14[12] = "Adobe";
    struct bits bits = {b, 0, 0};
    int i;

    memset(quant, 1, sizeof(quant));
    quant[0] = 0;
    frame[5] = scan[0] = (unsigned char)n;
    for (i = 0; i < n; i++) {
        frame[6 + 3 * i] = scan[1 + 2 * i] = (unsigned char)(i + 1);
        frame[7 + 3 * i] = 0x11;
    }
    scan[1 + 2 * n + 1] = 63;
    for (i = 0; i < 12; i++)
        dc[17 + i] = (unsigned char)i;
    app14[11] = (unsigned char)adobe;
    buf_add(b, "\xff\xd8", 2);
    if (adobe >= 0)
        segment(b, 0xee, app14, sizeof(app14));
    segment(b, 0xdb, quant, sizeof(quant));
    segment(b, 0xc0, frame, (size_t)(6 + 3 * n));
    segment(b, 0xc4, dc, sizeof(dc));
    segment(b, 0xc4, ac, sizeof(ac));
    segment(b, 0xda, scan, (size_t)(4 + 2 * n));
    for (i = 0; i < n; i++)
        block(&bits, value[i]);
    put(&bits, 127, 7);
    buf_add(b, "\xff\xd9", 2);
}

static void colour_is(int n, const int *value, int adobe, int rgb,
                      const char *name)
{
    struct buf b = BUF_INIT;
    struct jpeg_image im;
    int w, h, got = -1;

    by_hand(&b, n, value, adobe);
    if (jpeg_begin(d, b.data, b.len, &w, &h) < 0 ||
        jpeg_region(d, NULL, &im) < 0)
        ok(0, "%s: %s", name, err_text());
    else
        got = im.pixels[0] << 16 | im.pixels[1] << 8 | im.pixels[2];
    is_int(got, rgb, "%s", name);
    buf_release(&b);
}

/* imagenet-recipe 9; the samples are as stored. */
static void colours(void)
{
    colour_is(4, (const int[]){200, 100, 50, 220}, 0, 0xad562b, "CMYK");
    colour_is(4, (const int[]){200, 100, 50, 220}, -1, 0xad562b,
              "CMYK without a marker");
    colour_is(4, (const int[]){255, 255, 255, 255}, 0, 0xffffff, "CMYK white");
    colour_is(4, (const int[]){0, 0, 0, 128}, 0, 0, "CMYK black");
    colour_is(1, (const int[]){77}, -1, 0x4d4d4d, "grey");
    colour_is(3, (const int[]){10, 20, 30}, 0, 0x0a141e, "RGB by its marker");
    colour_is(3, (const int[]){90, 128, 128}, 1, 0x5a5a5a, "YCbCr");
}

/* ---- damage */

/* Decode all; -1 with the class checked. */
static int try_all(const void *p, size_t n, uint32_t *sum)
{
    struct jpeg_info info;
    struct jpeg_image im;
    int w, h, y;

    *sum = 0;
    if (jpeg_check(d, p, n, &info) < 0) {
        if (err_code() != ERR_DATA || !*err_text())
            ok(0, "class %d: %s", (int)err_code(), err_text());
        return -1;
    }
    if (jpeg_begin(d, p, n, &w, &h) < 0 || jpeg_region(d, NULL, &im) < 0)
        return ok(0, "decodes once, then not: %s", err_text());
    for (y = 0; y < h; y++)
        *sum =
            *sum * 31 + im.pixels[im.stride * (size_t)y + 4 * (size_t)(w / 2)];
    return 0;
}

static void cut_off(const struct buf *b)
{
    size_t n;
    uint32_t sum;
    int good = 0;

    for (n = 0; n < b->len - 40; n += 1 + n / 40) {
        char *exact = xmalloc(n + 1); /* reading behind the end would show */

        memcpy(exact, b->data, n);
        good += try_all(exact, n, &sum) == 0;
        free(exact);
    }
    is_int(good, 0, "no file that is cut off passes");
    try_all(b->data, b->len / 2, &sum);
    has_str(err_text(), "cut off", "and it is said so");
}

static void corrupt(struct buf *b)
{
    struct rng g;
    uint32_t whole, sum;
    int i, good = 0;

    try_all(b->data, b->len, &whole);
    rng_init(&g, 29, 0, 0, RNG_SYNTH);
    for (i = 0; i < 1500; i++) {
        size_t at = rng_below(&g, i % 2 ? b->len : 700);
        char old = b->data[at];

        b->data[at] = (char)rng_below(&g, 256);
        good += try_all(b->data, b->len, &sum) == 0;
        b->data[at] = old;
    }
    ok(good > 10 && good < 1490, "of 1500 damaged files %d can be decoded",
       good);
    is_int(try_all(b->data, b->len, &sum), 0, "and the sound one after them");
    is_int(sum, whole, "with its pixels");
}

static void limits(struct buf *b)
{
    char *sof = b->data;
    struct jpeg_info info;

    while (memcmp(sof, "\xff\xc0", 2))
        sof++;
    memcpy(sof + 5, "\x40\x01\x00\x10", 4);
    is_int(jpeg_probe(b->data, b->len, &info), -1, "16385 rows are refused");
    memcpy(sof + 5, "\x40\x00\x40\x00", 4);
    is_int(jpeg_probe(b->data, b->len, &info), -1, "2^28 pixels are refused");
    memcpy(sof + 5, "\x00\x00\x40\x00", 4);
    is_int(jpeg_probe(b->data, b->len, &info), -1, "no rows are refused");
}

/* Segments whose length is less than the length itself takes: Pillow takes those
 * that are no part of the image, with nothing in them. */
static void too_short(struct buf *b)
{
    static const int marker[] = {0xe0, 0xe1, 0xee, 0xfe, 0xdc, 0xdb, 0xc4};
    uint32_t whole, sum;

    try_all(b->data, b->len, &whole);
    for (int i = 0; i < 14; i++) {
        struct buf c = BUF_INIT;
        char segment[4] = {(char)0xff, (char)marker[i / 2], 0, (char)(i % 2)};
        bool note = i < 10;

        buf_add(&c, b->data, 2);
        buf_add(&c, segment, 4);
        buf_add(&c, b->data + 2, b->len - 2);
        is_int(try_all(c.data, c.len, &sum), note ? 0 : -1,
               "a segment 0x%02x of length %d is %s", marker[i / 2], i % 2,
               note ? "taken" : "refused");
        ok(!note || sum == whole, "with the pixels that are there");
        buf_release(&c);
    }
}

/* What stands behind the last row: Pillow's decisions (its JpegDecode.c). */
static void behind(void)
{
    struct buf b = BUF_INIT;
    struct jpeg_info info;
    char zero[300] = {0};

    picture(&b, 70, 40, (struct jpeg_how){.restart_rows = 1});
    b.len -= 2;
    buf_add(&b, zero, sizeof(zero));
    is_int(jpeg_check(d, b.data, b.len, &info), 0, "rubbish for an end");
    ok(info.flags & JPEG_WARNED, "it is damage");
    jpeg_decoder_strict(d, true);
    is_int(jpeg_check(d, b.data, b.len, &info), -1, "too much for strict");
    has_str(err_text(), "cut off", "and it says so");
    jpeg_decoder_strict(d, false);
    buf_add(&b, "\xff\xc4\xff\xff\1\2\3", 7);
    is_int(jpeg_check(d, b.data, b.len, &info), 0, "a table that is cut off");
    b.len -= 7;
    buf_add(&b, "\xff\xd8\xff\xd9", 4);
    is_int(jpeg_check(d, b.data, b.len, &info), -1, "a second beginning");
    b.len -= 4;
    buf_add(&b, "\xff\xd9\xff\xd8", 4);
    is_int(jpeg_check(d, b.data, b.len, &info), 0, "behind the end: no matter");
    buf_release(&b);
}

static void damage(void)
{
    struct synth s = {3, 60, 90};
    struct buf b = BUF_INIT, p = BUF_INIT;

    if (synth_image(&s, 0, 1, 5, &b) < 0)
        ok(0, "%s", err_text());
    cut_off(&b);
    too_short(&b);
    corrupt(&b);
    limits(&b);
    picture(&p, 70, 70, (struct jpeg_how){.progressive = true});
    cut_off(&p);
    corrupt(&p);
    buf_release(&b);
    buf_release(&p);
}

/* A file without tables of its own must not get those of the one before. */
static void tables(void)
{
    struct buf own = BUF_INIT, none = BUF_INIT, other = BUF_INIT;
    uint32_t want, got, sum;
    size_t at = 2;

    picture(&own, 64, 64, (struct jpeg_how){.quality = 80});
    picture(&other, 64, 64, (struct jpeg_how){.progressive = true});
    buf_add(&none, own.data, 2);
    while ((unsigned char)own.data[at + 1] != 0xda) {
        size_t n = 2 + ((size_t)(unsigned char)own.data[at + 2] << 8) +
                   (unsigned char)own.data[at + 3];

        if ((unsigned char)own.data[at + 1] != 0xc4)
            buf_add(&none, own.data + at, n);
        at += n;
    }
    buf_add(&none, own.data + at, own.len - at);
    try_all(own.data, own.len, &want);
    try_all(other.data, other.len, &sum);
    is_int(try_all(none.data, none.len, &got), 0, "without Huffman tables");
    is_int(got, want, "the standard ones are taken");
    buf_release(&own);
    buf_release(&none);
    buf_release(&other);
}

/* ---- other people's files */

static void folder(const char *root, const char *name)
{
    char *path = xstrfmt("%s/%s", root, name), *file;
    DIR *dir = opendir(path);
    struct buf b = BUF_INIT;
    struct dirent *e;
    uint32_t sum;
    int n = 0, good = 0;

    while (dir && (e = readdir(dir))) {
        if (e->d_name[0] == '.')
            continue;
        file = xstrfmt("%s/%s", path, e->d_name);
        buf_reset(&b);
        if (buf_read_file(&b, file, JPEG_MAX_BYTES) == 0) {
            n++;
            good += try_all(b.data, b.len, &sum) == 0;
        }
        free(file);
    }
    ok(n > 0, "%s: %d of %d files decoded", name, good, n);
    if (dir)
        closedir(dir);
    buf_release(&b);
    free(path);
}

static void hostile(const char *root)
{
    char *path = xstrfmt("%s/fuzz.tar", root);
    int fd = open(path, O_RDONLY), n = 0, good = 0;
    struct buf b = BUF_INIT;
    struct tar_reader t;
    uint32_t sum;

    tar_reader_init(&t, fd, path);
    while (fd >= 0 && tar_next(&t) > 0) {
        buf_reset(&b);
        if (tar_data(&t, &b) < 0)
            break;
        n++;
        good += try_all(b.data, b.len, &sum) == 0;
    }
    ok(n > 200, "fuzz.tar: %d of %d files decoded", good, n);
    tar_reader_release(&t);
    buf_release(&b);
    free(path);
    if (fd >= 0)
        close(fd);
}

static void edge(void)
{
    static const char *const name[] = {
        "reftest", "imagetestsuite", "crash",    "icc",     "libjpeg-turbo",
        "pillow",  "misnamed",       "sampling", "jpegtran"};
    const char *root = tap_data("jpeg-edge");
    size_t i;

    if (!root) {
        skip(10, "data: no jpeg-edge");
        return;
    }
    for (i = 0; i < sizeof(name) / sizeof(*name); i++)
        folder(root, name[i]);
    hostile(root);
}

int main(void)
{
    d = jpeg_decoder_new();
    probes();
    regions();
    colours();
    damage();
    behind();
    tables();
    edge();
    jpeg_decoder_free(d);
    return done_testing();
}
