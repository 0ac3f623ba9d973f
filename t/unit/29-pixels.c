/*
 * Pixels equal to Pillow's: whole images, train crops and evaluation crops of
 * imagenet1k-samples against t/golden/pixels.tsv (all files, all columns).
 *
 * "29-pixels.t crc FILE..." prints for each file the columns of that table as
 * they are here, files counted from 0 ("crc13": with the order of passes of
 * Pillow 13); t/peer/pixels.t compares them live.
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

/* Decode the part of the file that a job on box needs and resize it. */
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

static int print_files(int argc, char **argv)
{
    struct buf b = BUF_INIT;
    uint32_t crc[COLUMNS];
    int i, k;

    for (i = 0; i < argc; i++) {
        buf_reset(&b);
        if (buf_read_file(&b, argv[i], JPEG_MAX_BYTES) < 0)
            die();
        printf("%s", argv[i]);
        if (columns(&b, i, crc) < 0)
            printf("\terror: %s", err_text());
        else
            for (k = 0; k < COLUMNS; k++)
                printf("\t%08x", crc[k]);
        printf("\n");
    }
    buf_release(&b);
    return 0;
}

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

int main(int argc, char **argv)
{
    const char *tar;
    int rc;

    d = image_decoder_new();
    r = resizer_new();
    if (argc > 1 && !strncmp(argv[1], "crc", 3)) {
        newer = argv[1][3];
        rc = print_files(argc - 2, argv + 2);
    } else {
        tar = tap_data("imagenet1k-samples/images.tar");
        if (tar)
            all(tar);
        else
            skip(1, "data: no imagenet1k-samples");
        rc = done_testing();
    }
    resizer_free(r);
    image_decoder_free(d);
    return rc;
}
