/*
 * Pixels equal to Pillow's: whole images, train crops and evaluation crops of
 * imagenet1k-samples against t/golden/pixels.tsv (all files, all columns), and
 * those of jpeg-edge against edge.tsv.
 *
 * For t/peer/pixels.t and t/slow/sets.t:
 * "29-pixels.t crc FILE..." prints for each file the columns of that table as
 * they are here, files counted from 0 ("crc13": with the order of passes of
 * Pillow 13);
 * "29-pixels.t pnm FILE..." size, SHA-256 of the image as a PNM file, mean of
 * R, G and B;
 * "29-pixels.t eval FILE..." and "29-pixels.t crop X Y W H FLIP FILE" write the
 * 224x224 pixels themselves.
 */
#include "lib/tap.h"

#include "io/digest.h"
#include "io/tar.h"
#include "vision/augment.h"
#include "vision/image.h"

#include <fcntl.h>
#include <unistd.h>

#define COLUMNS 5

static struct image_decoder *d;
static struct resizer *r;
static bool newer; /* the order of passes of Pillow 13 */
static bool raw;   /* crops are written to stdout */

static uint32_t crc_whole(const struct jpeg_image *im)
{
    uint8_t *row = xmalloc((size_t)im->width * 3);
    uint32_t crc = 0;
    int x, y;

    for (y = 0; y < im->height; y++) {
        const uint8_t *p = im->pixels + im->stride * (size_t)y;

        for (x = 0; x < im->width; x++)
            memcpy(row + 3 * x, p + 4 * x, 3);
        crc = digest_crc32(crc, row, (size_t)im->width * 3);
    }
    free(row);
    return crc;
}

/* Decode the part of the file that a job on box needs and resize it; the pixels
 * go to stdout, if raw says so. */
static int made(const struct buf *f, const struct rect *box,
                const struct resize_job *job, int size, uint32_t *crc)
{
    uint8_t *out = xcalloc(1, (size_t)size * (size_t)size * 3);
    struct jpeg_image im;
    struct rect need;
    int w, h, rc = -1;

    if (image_begin(d, f->data, f->len, &w, &h) < 0 ||
        resize_need(job, &need) < 0)
        goto out;
    need.x += box->x;
    need.y += box->y;
    if (image_region(d, &need, &im) < 0)
        goto out;
    resize_run(r, job, im.pixels, im.stride, out, 3 * (size_t)size);
    *crc = digest_crc32(0, out, (size_t)size * (size_t)size * 3);
    if (raw)
        (void)fwrite(out, 3, (size_t)size * (size_t)size, stdout);
    rc = 0;
out:
    free(out);
    return rc;
}

/* All columns of one file. */
static int columns(const struct buf *f, int number, uint32_t crc[COLUMNS])
{
    static const struct augment usual = AUGMENT_INIT;
    static const int size[] = {224, 176, 64};
    struct rect whole = {0, 0, 0, 0};
    struct resize_job job;
    struct jpeg_image im;
    int k, left, top;

    if (image_begin(d, f->data, f->len, &whole.w, &whole.h) < 0 ||
        image_region(d, NULL, &im) < 0)
        return -1;
    crc[0] = crc_whole(&im);
    for (k = 0; k < 3; k++) {
        struct crop c = augment_train(&usual, whole.w, whole.h, 0, 0,
                                      (uint32_t)(3 * number + k));

        job = (struct resize_job){
            c.box.w, c.box.h, size[k], size[k], {0, 0, size[k], size[k]},
            c.flip,  newer,   false};
        if (made(f, &c.box, &job, size[k], &crc[1 + k]) < 0)
            return -1;
    }
    augment_eval(whole.w, whole.h, 256, 224, false, &job, &left, &top);
    job.pillow13 = newer;
    return made(f, &whole, &job, 224, &crc[4]);
}

/* ---- files of the command line */

static int print_crcs(const struct buf *f, int number)
{
    uint32_t crc[COLUMNS];

    if (columns(f, number, crc) < 0)
        return -1;
    for (int k = 0; k < COLUMNS; k++)
        printf("\t%08x", crc[k]);
    return 0;
}

/* As djpeg writes it: one byte a pixel for grey. */
static int print_pnm(const struct buf *f, int number)
{
    struct digest *sum = digest_new();
    struct image_info info;
    struct jpeg_image im;
    char head[32], hex[65];
    double total[3] = {0};
    int w, h, x, y, k, n;

    (void)number;
    if (image_check(d, f->data, f->len, &info) < 0 ||
        image_begin(d, f->data, f->len, &w, &h) < 0 ||
        image_region(d, NULL, &im) < 0) {
        digest_free(sum);
        return -1;
    }
    n = info.kind == IMAGE_JPEG && (info.flags & JPEG_GREY) ? 1 : 3;
    snprintf(head, sizeof(head), "P%c\n%d %d\n255\n", n == 1 ? '5' : '6', w, h);
    digest_add(sum, head, strlen(head));
    for (y = 0; y < h; y++)
        for (x = 0; x < w; x++) {
            const uint8_t *p = im.pixels + im.stride * (size_t)y + 4 * x;

            digest_add(sum, p, (size_t)n);
            for (k = 0; k < 3; k++)
                total[k] += p[k];
        }
    digest_hex(sum, hex);
    digest_free(sum);
    for (k = 0; k < 3; k++)
        total[k] /= (double)w * h;
    printf("\tP%c %dx%d\t%s\t%.4f,%.4f,%.4f", n == 1 ? '5' : '6', w, h, hex,
           total[0], total[1], total[2]);
    return 0;
}

static int print_files(int argc, char **argv,
                       int (*print)(const struct buf *, int))
{
    struct buf b = BUF_INIT;

    for (int i = 0; i < argc; i++) {
        buf_reset(&b);
        if (buf_read_file(&b, argv[i], JPEG_MAX_BYTES) < 0)
            die();
        printf("%s", argv[i]);
        if (print(&b, i) < 0)
            printf("\terror: %s", err_text());
        printf("\n");
    }
    buf_release(&b);
    return 0;
}

/* The pixels of the crop that args say (X Y W H FLIP), or of evaluation. */
static int write_files(int argc, char **argv, char **args)
{
    struct rect box = {0, 0, 0, 0};
    struct resize_job job;
    struct buf b = BUF_INIT;
    int left, top;
    uint32_t crc;

    raw = true;
    for (int i = 0; i < argc; i++) {
        buf_reset(&b);
        if (buf_read_file(&b, argv[i], JPEG_MAX_BYTES) < 0 ||
            image_begin(d, b.data, b.len, &box.w, &box.h) < 0)
            die();
        if (args) {
            box = (struct rect){
                (int)strtol(args[0], NULL, 10), (int)strtol(args[1], NULL, 10),
                (int)strtol(args[2], NULL, 10), (int)strtol(args[3], NULL, 10)};
            job = (struct resize_job){
                box.w,           box.h, 224,  224, {0, 0, 224, 224},
                *args[4] == '1', false, false};
        } else {
            augment_eval(box.w, box.h, 256, 224, false, &job, &left, &top);
        }
        if (made(&b, &box, &job, 224, &crc) < 0)
            die();
    }
    buf_release(&b);
    return 0;
}

static int command(int argc, char **argv)
{
    newer = !strcmp(argv[1], "crc13");
    if (!strcmp(argv[1], "eval"))
        return write_files(argc - 2, argv + 2, NULL);
    if (!strcmp(argv[1], "crop") && argc == 8)
        return write_files(1, argv + 7, argv + 2);
    return print_files(argc - 2, argv + 2,
                       !strcmp(argv[1], "pnm") ? print_pnm : print_crcs);
}

/* ---- the table */

/* The line of a file: name, tab, columns. */
static int compare(const char *line, const struct tar_reader *t,
                   const struct buf *f, int number)
{
    uint32_t crc[COLUMNS], want[COLUMNS];
    size_t n = strlen(t->path);
    int k, bad = 0;

    if (strncmp(line, t->path, n) || line[n] != '\t' ||
        sscanf(line + n, "%x %x %x %x %x", &want[0], &want[1], &want[2],
               &want[3], &want[4]) != COLUMNS)
        return ok(0, "%s: the table has it", t->path);
    if (columns(f, number, crc) < 0)
        return ok(0, "%s: %s", t->path, err_text());
    for (k = 0; k < COLUMNS; k++)
        bad += crc[k] != want[k];
    return is_int(bad, 0, "%s: whole, 224, 176, 64, evaluation", t->path);
}

static void all(const char *tar)
{
    struct tar_reader t;
    struct buf f = BUF_INIT;
    char line[512], path[1024];
    FILE *table;
    int i = 0, fd = open(tar, O_RDONLY);

    snprintf(path, sizeof(path), "%s/t/golden/pixels.tsv", tap_env("TOP", "."));
    table = fopen(path, "r");
    if (fd < 0 || !table) {
        ok(0, "%s, %s: open", tar, path);
        return;
    }
    tar_reader_init(&t, fd, tar);
    ok(fgets(line, sizeof(line), table) && line[0] == '#', "table begins");
    while (tar_next(&t) > 0 && fgets(line, sizeof(line), table)) {
        buf_reset(&f);
        if (tar_data(&t, &f) < 0)
            ok(0, "%s", err_text());
        else
            compare(line, &t, &f, i++);
    }
    is_int(i, 100, "all files were there");
    tar_reader_release(&t);
    buf_release(&f);
    fclose(table);
    close(fd);
}

/* A line of edge.tsv: does the file fare as it says? number: of the file. */
static bool fares(const char *root, char *line, int number)
{
    char *tab = strchr(line, '\t'), *path, *want;
    struct buf f = BUF_INIT;
    uint32_t crc[COLUMNS];
    bool good = true, taken;

    if (!tab)
        return false;
    *tab = 0;
    path = xstrfmt("%s/%s", root, line);
    if (buf_read_file(&f, path, JPEG_MAX_BYTES) < 0)
        die();
    taken = columns(&f, number, crc) == 0;
    if (!strncmp(tab + 1, "refused", 7)) {
        good = !taken && err_code() == ERR_DATA;
    } else {
        want = tab + 1;
        for (int k = 0; k < COLUMNS; k++, want += strcspn(want, "\t") + 1)
            good &=
                taken && (*want == '-' || strtoul(want, NULL, 16) == crc[k]);
    }
    if (!good)
        printf("# %s: %s\n", line, taken ? "other pixels" : err_text());
    buf_release(&f);
    free(path);
    return good;
}

/* Odd and broken files. */
static void edge(const char *root)
{
    char line[512], *path;
    int n = 0, good = 0;
    FILE *table;

    path = xstrfmt("%s/t/golden/edge.tsv", tap_env("TOP", "."));
    table = fopen(path, "r");
    free(path);
    if (!table || !fgets(line, sizeof(line), table) || line[0] != '#') {
        ok(0, "edge.tsv begins");
        return;
    }
    for (; fgets(line, sizeof(line), table); n++)
        good += fares(root, line, n);
    fclose(table);
    is_int(n, 196, "all files of the table");
    is_int(good, n, "are taken or refused, and have pixels, as recorded");
}

int main(int argc, char **argv)
{
    const char *tar, *root;
    int rc;

    d = image_decoder_new();
    r = resizer_new();
    if (argc > 1) {
        rc = command(argc, argv);
    } else {
        tar = tap_data("imagenet1k-samples/images.tar");
        if (tar)
            all(tar);
        else
            skip(1, "data: no imagenet1k-samples");
        root = tap_data("jpeg-edge");
        if (root)
            edge(root);
        else
            skip(2, "data: no jpeg-edge");
        rc = done_testing();
    }
    resizer_free(r);
    image_decoder_free(d);
    return rc;
}
