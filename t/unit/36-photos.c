/*
 * What a detector sees of real photographs: the pixels of coco128 and
 * coco-pixabay against t/golden/coco.tsv (made with Pillow by make-detect.py
 * beside it).
 */
#include "lib/tap.h"

#include "io/digest.h"
#include "io/source.h"
#include "vision/batch.h"

#include <stdlib.h>

static const struct detect train = {.n = 6,
                                    .length = {640, 672, 704, 736, 768, 800},
                                    .max = 1333,
                                    .flip = 0.5,
                                    .bgr = true};
static const struct detect eval = {
    .n = 1, .length = {800}, .max = 1333, .bgr = true};

/* A set, and what is found of it. */
struct photos {
    struct source src;
    struct buf image, none;
    size_t next;
    uint32_t *crc; /* [src.n] */
};

static int next_frame(void *arg, struct batch_head *h)
{
    struct photos *p = arg;

    if (p->next == p->src.n)
        return 0;
    h->pos = (int64_t)p->next++;
    h->n = 1;
    h->order = "test";
    return 1;
}

static int next_row(void *arg, int64_t j, struct batch_row *r)
{
    (void)arg;
    (void)j;
    r->index = r->pos;
    return 0;
}

static int load(void *arg, struct batch_row *r, int try_no)
{
    struct photos *p = arg;
    size_t i = (size_t)r->pos;

    (void)try_no;
    buf_reset(&r->bytes);
    buf_reset(&r->annot);
    if (source_read(&p->src, i, &r->bytes, &p->none) < 0)
        return -1;
    annot_text(source_annot(&p->src, i), &r->annot);
    r->data = r->bytes.data;
    r->size = r->bytes.len;
    return 0;
}

static void name(void *arg, const struct batch_row *r, struct buf *b)
{
    struct photos *p = arg;

    source_path(&p->src, (size_t)r->pos, b);
}

static int take(void *arg, struct batch_frame *f)
{
    struct photos *p = arg;
    uint32_t crc = 0;

    for (int y = 0; y < f->size[0]; y++)
        crc = digest_crc32(crc, f->image + (size_t)y * (size_t)f->w * 3,
                           (size_t)f->size[1] * 3);
    p->crc[f->head.pos] = crc;
    return 0;
}

static void sums(struct photos *p, const struct detect *d)
{
    const struct batch_config c = {
        .detect = d, .rows = 1, .threads = 2, .queue = 4};
    struct batch_source s = {next_frame, next_row, load, name, p};

    p->next = 0;
    if (batch_run(&c, &s, take, p) < 0)
        die();
}

/* Compare column k (0 or 1) of the table's lines of a set. */
static int compare(const struct photos *p, const char *table, const char *set,
                   int k, size_t *lines)
{
    size_t n = strlen(set);
    int wrong = 0;

    for (const char *at = table; *at; at += strcspn(at, "\n"), at += *at != 0) {
        unsigned long want[2];
        long long id;
        char *end;

        if (strncmp(at, set, n) != 0 || at[n] != '\t')
            continue;
        id = strtoll(at + n, &end, 10);
        want[0] = strtoul(end, &end, 16);
        want[1] = strtoul(end, &end, 16);
        if (*lines >= p->src.n || source_annot(&p->src, *lines)->id != id ||
            p->crc[*lines] != want[k]) {
            wrong++;
            printf("# %s %lld differs\n", set, id);
        }
        ++*lines;
    }
    return wrong;
}

static void photos(const char *set, const char *json, const char *table)
{
    char *path[] = {xstrfmt("%s/%s", set, json), xstrfmt("%s/images.tar", set)};
    const struct source_how how = {.split = "train"};
    struct shard_set classes = {0};
    struct photos p = {.next = 0};
    char *found[2];

    for (int k = 0; k < 2; k++) {
        const char *data = tap_data(path[k]);

        found[k] = data ? xstrdup(data) : NULL;
    }
    if (!found[0] || !found[1]) {
        skip(2, "no COCO test data");
    } else {
        if (source_open(&p.src, &classes, found, 2, &how) < 0)
            die();
        p.crc = xcalloc(p.src.n, sizeof(*p.crc));
        for (int k = 0; k < 2; k++) {
            size_t lines = 0;
            int wrong;

            sums(&p, k ? &eval : &train);
            wrong = compare(&p, table, set, k, &lines);
            ok(!wrong && lines == p.src.n, "%s, %s: %zu images, %d differ", set,
               k ? "evaluation" : "training", lines, wrong);
        }
    }
    for (int k = 0; k < 2; k++) {
        free(path[k]);
        free(found[k]);
    }
    free(p.crc);
    source_release(&p.src);
    shard_set_release(&classes);
}

int main(void)
{
    char *path = xstrfmt("%s/t/golden/coco.tsv", tap_env("TOP", "."));
    struct buf table = BUF_INIT;

    if (buf_read_file(&table, path, 1 << 20) < 0)
        die();
    photos("coco128", "instances_coco128.json", table.data);
    photos("coco-pixabay", "instances.json", table.data);
    buf_release(&table);
    free(path);
    return done_testing();
}
