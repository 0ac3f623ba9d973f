/*
 * Operations on pictures equal to torchvision's on PIL pictures, that is to
 * Pillow's: t/golden/colour.tsv.
 *
 * "26-colour.t crc FILE W H OP M..." prints the CRC-32 of each operation on the
 * raw RGB picture in FILE; t/peer/augment.t compares them live.
 */
#include "lib/tap.h"

#include "io/digest.h"
#include "util/buf.h"
#include "util/err.h"
#include "vision/colour.h"
#include "vision/colour_kern.h"

static int find(const char *name)
{
    for (int op = 0; op < COLOUR_N; op++)
        if (!strcmp(name, colour_name((enum colour_op)op)))
            return op;
    return -1;
}

/* As picture() in t/golden/make-colour.py. */
static void picture(uint8_t *out, int kind, int w, int h)
{
    uint32_t s = (uint32_t)kind + 1;

    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int c = 0; c < 3; c++) {
                s = s * 1664525u + 1013904223u;
                int n = (int)(s >> 24);
                int odd[] = {n, 0, (x ^ y) & 4 ? 255 : n};
                int v[] = {(x * 200 / w + y * (c + 1) + (n & 31)) & 255,
                           90 + (n & 15) + x * 20 / w + 10 * c,
                           (x / 8 + y / 8 + c) % 3 * 100 + c,
                           n,
                           60 * c + 7,
                           odd[c]};

                *out++ = (uint8_t)v[kind];
            }
}

static uint32_t crc_of(const uint8_t *rgb, int w, int h, int op, double m)
{
    size_t n = (size_t)w * (size_t)h * 3;
    uint8_t *work = xmalloc(n), *scratch = xmalloc(colour_scratch(w, h));
    uint32_t crc;

    memcpy(work, rgb, n);
    colour_apply(work, w, h, (enum colour_op)op, m, scratch);
    crc = digest_crc32(0, work, n);
    free(work);
    free(scratch);
    return crc;
}

static int print_crcs(int argc, char **argv)
{
    struct buf b = BUF_INIT;
    int w = (int)strtol(argv[1], NULL, 10), h = (int)strtol(argv[2], NULL, 10);

    if (buf_read_file(&b, argv[0], 1 << 28) < 0)
        die();
    for (int i = 3; i + 1 < argc; i += 2)
        printf("%08x\n", crc_of((const uint8_t *)b.data, w, h, find(argv[i]),
                                strtod(argv[i + 1], NULL)));
    buf_release(&b);
    return 0;
}

/* Lines of one operation are one check. */
static void golden(void)
{
    char *path = xstrfmt("%s/t/golden/colour.tsv", tap_env("TOP", "."));
    static uint8_t rgb[64 * 64 * 3];
    int lines[COLOUR_N] = {0}, bad[COLOUR_N] = {0};
    char line[200], name[40];
    int kind, w, h, op;
    unsigned want;
    double m;
    FILE *f = fopen(path, "r");

    if (!f)
        die();
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%d %d %d %39s %lf %x", &kind, &w, &h, name, &m,
                   &want) != 6)
            continue;
        op = find(name);
        if (op < 0)
            continue;
        picture(rgb, kind, w, h);
        lines[op]++;
        if (crc_of(rgb, w, h, op, m) == want)
            continue;
        bad[op]++;
        printf("# %s", line);
    }
    fclose(f);
    free(path);
    for (op = 0; op < COLOUR_N; op++)
        ok(lines[op] >= 12 && !bad[op], "%s: %d of %d pictures",
           colour_name((enum colour_op)op), lines[op] - bad[op], lines[op]);
}

/* Everything that a set of loops does to a picture of noise, in one sum. */
static uint32_t loops(const struct colour_kern *k, int w, int h)
{
    static const double turn[6] = {0.8, 0.6, -3.25, -0.6, 0.8, 5.5};
    size_t n = (size_t)w * (size_t)h;
    uint8_t *x = xcalloc(1, colour_scratch(w, h));
    uint8_t *y = xcalloc(1, colour_scratch(w, h));
    uint32_t crc = 0;

    picture(x, 3, w, h);
    for (int f = -1; f < 3; f++) {
        k->saturation(x, n, 0.4f + 0.7f * (float)f);
        crc = digest_crc32(crc, x, n * 3);
        k->sharpness(x, y, w, h, 0.3f + 0.9f * (float)f);
        crc = digest_crc32(crc, x, n * 3) + (uint32_t)k->luma_sum(x, n);
        k->hue(x, n, (uint8_t)(20 * f));
        crc = digest_crc32(crc, x, n * 3);
        memcpy(y, x, n * 3);
        k->affine(y, x, w, h, turn);
        crc = digest_crc32(crc, x, n * 3);
    }
    k->grey(x, n);
    crc = digest_crc32(crc, x, n * 3);
    free(x);
    free(y);
    return crc;
}

static void sets(void)
{
    static const char *const names[] = {"avx2", "avx512"};
    const struct colour_kern *base = colour_kern_find("base");

    for (int i = 0; i < 2; i++) {
        const struct colour_kern *k = colour_kern_find(names[i]);
        int bad = 0;

        if (!k) {
            skip(1, "cpu: no such instructions");
            continue;
        }
        for (int w = 1; w < 90; w += 1 + w / 4)
            for (int h = 1; h < 20; h += 6)
                bad += loops(k, w, h) != loops(base, w, h);
        is_int(bad, 0, "%s: the bytes of base", names[i]);
    }
    ok(!colour_kern_find("sse9"), "no other set");
}

int main(int argc, char **argv)
{
    if (argc > 4 && !strcmp(argv[1], "crc"))
        return print_crcs(argc - 2, argv + 2);
    golden();
    sets();
    return done_testing();
}
