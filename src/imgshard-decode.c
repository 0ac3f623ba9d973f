/* imgshard decode - a tar stream of samples on stdin, decoded, as frames. */
#include "imgshard-pixels.h"

#include "io/tar.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct opt decode_opts[] = {
    PIXELS_ROWS,
    OPT_END};

/* A sample waiting for its row. */
struct held {
    struct buf image;
    char *key;
    uint64_t offset;
    int64_t label;
};

struct decoding {
    struct tar_samples tar;
    struct tar_sample sample;
    int rc;       /* of the sample that was looked at: 1, 2, 0 */
    bool looked;
    bool ended;   /* the end of the archive was seen */
    bool ours;    /* from imgshard read: it says where its rows lie */
    struct recipe_batch b;
    int tail;
    int64_t rank, epoch, pos, m; /* of the next frame */
    uint64_t seed;
    bool seq;     /* position is index */
    char dataset[33];
    struct held *held; /* [micro] */
    int64_t n;
};

/* ---- the stream */

/* Look at the next sample without using it: 1, 2 (a header), 0, -1. */
static int look(struct decoding *d)
{
    if (d->looked)
        return d->rc;
    d->rc = tar_sample_next(&d->tar, &d->sample);
    d->ended |= d->tar.tar.ended;
    if (d->rc == 0 && !d->ended)
        d->rc = err_set(ERR_DATA, "stdin: offset %" PRIu64 ": the tar stream "
                        "ends without its end: its writer died",
                        d->tar.tar.offset);
    d->looked = d->rc >= 0;
    return d->rc;
}

static int record(const struct decoding *d, const char *name, char *text,
                  size_t room)
{
    const struct buf *b = &d->sample.part[0].data;
    char key[40];
    const char *value;
    long n;

    snprintf(key, sizeof(key), "IMGSHARD.%s", name);
    n = tar_pax_find(b->data, b->len, key, &value);
    if (n < 0 || (size_t)n >= room)
        return -1;
    memcpy(text, value, (size_t)n);
    text[n] = 0;
    return 0;
}

static int number(const struct decoding *d, const char *name, int64_t least,
                  int64_t *v)
{
    char text[24], *end;

    if (record(d, name, text, sizeof(text)) == 0) {
        *v = strtoll(text, &end, 10);
        if (end != text && !*end && *v >= least && *v <= (int64_t)1 << 40)
            return 0;
    }
    return err_set(ERR_DATA, "stdin: global header: IMGSHARD.%s: not there or "
                   "out of range", name);
}

/* Rows that an epoch has under a tail. */
static int64_t epoch_samples(const struct recipe_batch *b, int tail)
{
    if (tail == TAIL_EXACT)
        return b->n;
    return (b->n + (tail == TAIL_WRAP ? b->global - 1 : 0)) / b->global *
           b->global;
}

/* Numbers of a header of ours; those that must not change in a stream too. */
static int take_numbers(struct decoding *d, struct recipe_batch *b,
                        int64_t *first)
{
    int64_t seed;

    if (number(d, "epoch", 0, &d->epoch) < 0 ||
        number(d, "first", 0, first) < 0 ||
        number(d, "rank", 0, &d->rank) < 0 ||
        number(d, "world", 1, &b->world) < 0 ||
        number(d, "batch", 1, &b->micro) < 0 ||
        number(d, "samples", 1, &b->n) < 0 || number(d, "seed", 0, &seed) < 0)
        return -1;
    b->accum = 1;
    if (number(d, "accum", 1, &b->accum) < 0)
        err_clear();
    d->seed = (uint64_t)seed;
    if (b->micro > 1 << 20 || b->world > 65536 || b->accum > 1 << 20 ||
        d->rank >= b->world || d->epoch > UINT32_MAX)
        return err_set(ERR_DATA, "stdin: global header: out of range");
    b->global = b->micro * b->world * b->accum;
    return 0;
}

/* A global header: of ours, or of somebody else, which means nothing. */
static int take_header(struct decoding *d)
{
    struct recipe_batch b = {.n = 0};
    char text[64];
    int64_t first;

    d->looked = false;
    if (record(d, "v", text, sizeof(text)) < 0)
        return 0;
    if (strcmp(text, "1") != 0)
        return err_set(ERR_DATA, "stdin: global header: version %s", text);
    if (take_numbers(d, &b, &first) < 0)
        return -1;
    if (d->ours && b.micro != d->b.micro)
        return err_set(ERR_DATA, "stdin: batch changes inside the stream");
    if (record(d, "tail", text, sizeof(text)) < 0)
        return err_set(ERR_DATA, "stdin: global header: no tail");
    d->tail = !strcmp(text, "exact")  ? TAIL_EXACT
              : !strcmp(text, "drop") ? TAIL_DROP
                                      : TAIL_WRAP;
    b.epoch_samples = epoch_samples(&b, d->tail);
    d->seq = record(d, "order", text, sizeof(text)) == 0 &&
             !strcmp(text, "seq");
    if (record(d, "dataset", d->dataset, sizeof(d->dataset)) < 0)
        d->dataset[0] = 0;
    d->b = b;
    d->pos = first / b.global * b.global;
    d->m = 0;
    d->ours = true;
    return 0;
}

/* The image and the label of the sample that was looked at. */
static int take_sample(struct decoding *d)
{
    static const char *const kinds[] = {"jpg", "jpeg", "png"};
    const struct tar_part *image = NULL, *cls;
    struct held *h = &d->held[d->n];
    char *end;
    int i;

    for (i = 0; i < 3 && !image; i++)
        image = tar_sample_part(&d->sample, kinds[i]);
    if (!image)
        return err_set(ERR_DATA, "stdin: %s: no image in the sample",
                       d->sample.key);
    free(h->key);
    h->key = xstrdup(d->sample.key);
    h->offset = image->offset;
    buf_reset(&h->image);
    buf_add(&h->image, image->data.data, image->data.len);
    h->label = -1;
    cls = tar_sample_part(&d->sample, "cls");
    if (cls && cls->data.len) {
        h->label = strtoll(cls->data.data, &end, 10);
        if (end == cls->data.data || h->label < 0 || h->label > INT32_MAX)
            return err_set(ERR_DATA, "stdin: %s: class \"%.20s\"", h->key,
                           cls->data.data);
    }
    d->n++;
    d->looked = false;
    return 0;
}

/* ---- as a source of batches */

/* Up to want rows; fewer when the stream or the epoch ends. */
static int gather(struct decoding *d, int64_t want)
{
    int rc;

    d->n = 0;
    while (d->n < want && (rc = look(d)) == 1)
        if (take_sample(d) < 0)
            return -1;
    return d->n < want && rc < 0 ? -1 : 0;
}

/* Headers between epochs; 0 at the end of the stream. */
static int next_epoch(struct decoding *d)
{
    int rc;

    while ((rc = look(d)) == 2)
        if (take_header(d) < 0)
            return -1;
    return rc;
}

/* The next frame of a stream of ours: its rows are known beforehand. */
static int frame_ours(struct decoding *d, struct batch_head *h)
{
    const struct recipe_batch *b = &d->b;
    int64_t total, want, first;
    int rc;

    if (d->pos >= b->epoch_samples && (rc = next_epoch(d)) <= 0)
        return rc;
    if (d->pos >= b->epoch_samples)
        return err_set(ERR_DATA, "stdin: %s: more samples than the epoch has",
                       d->sample.key);
    total = b->epoch_samples - d->pos;
    if (total > b->global)
        total = b->global;
    recipe_rows(b, d->tail, d->pos, d->m, d->rank, &first, &want);
    if (gather(d, want) < 0)
        return -1;
    if (d->n < want && d->n > 0)
        return err_set(ERR_DATA, "stdin: ends inside a batch");
    if (d->n < want)
        return 0; /* read was told to end here */
    *h = (struct batch_head){.epoch = d->epoch,
                             .step = d->pos / b->global,
                             .micro = d->m,
                             .pos = first,
                             .n = want,
                             .total = total,
                             .samples = d->epoch * b->epoch_samples + d->pos +
                                        total,
                             .last = d->m + 1 == b->accum,
                             .epoch_begin = d->pos == 0 && d->m == 0};
    if (++d->m == b->accum) {
        d->m = 0;
        d->pos += total;
    }
    h->epoch_end = d->pos >= b->epoch_samples;
    return 1;
}

/* Of a tar of anybody: rows as they come. */
static int frame_foreign(struct decoding *d, struct batch_head *h)
{
    int rc;

    if ((rc = next_epoch(d)) <= 0)
        return rc;
    if (gather(d, d->b.micro) < 0)
        return -1;
    if (look(d) == 2 && next_epoch(d) < 0) /* somebody's header in the middle */
        return -1;
    if ((rc = look(d)) < 0)
        return -1;
    if (d->ours)
        return err_set(ERR_DATA, "stdin: a global header behind samples");
    *h = (struct batch_head){.step = d->pos / d->b.micro,
                             .pos = d->pos,
                             .n = d->n,
                             .total = d->n,
                             .samples = d->pos + d->n,
                             .last = true,
                             .epoch_begin = d->pos == 0,
                             .epoch_end = rc == 0};
    d->pos += d->n;
    return 1;
}

static int next_frame(void *arg, struct batch_head *h)
{
    struct decoding *d = arg;
    int rc = d->ours ? frame_ours(d, h) : frame_foreign(d, h);

    if (rc <= 0)
        return rc;
    h->order = d->ours ? "stream" : "seq";
    return 1;
}

static int next_row(void *arg, int64_t j, struct batch_row *r)
{
    struct decoding *d = arg;
    struct held *h = &d->held[j];
    struct buf swap = r->bytes;

    r->bytes = h->image;
    h->image = swap;
    /* behind the file: what errors call it */
    buf_addf(&r->bytes, "stdin: offset %" PRIu64 ": %s", h->offset, h->key);
    r->data = r->bytes.data;
    r->size = r->bytes.len - strlen(h->key) -
              (size_t)snprintf(NULL, 0, "stdin: offset %" PRIu64 ": ",
                               h->offset);
    r->label = h->label;
    r->index = !d->ours || d->seq ? r->pos : -1;
    return 0;
}

static void row_name(void *arg, const struct batch_row *r, struct buf *b)
{
    (void)arg;
    buf_addstr(b, r->bytes.data + r->size);
}

/* ---- the command */

static int hello(const struct decoding *d)
{
    const struct {
        const char *key;
        int64_t value;
    } number_of[] = {{"rank", d->rank},         {"world", d->b.world},
                     {"seed", (int64_t)d->seed}, {"micro", d->b.micro},
                     {"global", d->b.global},   {"accum", d->b.accum},
                     {"size", recipe.size},
                     {"start", d->epoch * d->b.epoch_samples + d->pos},
                     {"samples", d->b.n}};
    struct frame_pair meta[16];
    char text[9][24];
    int i, n = 0;

    for (i = 0; i < 9; i++) {
        if (!d->ours && i > 6)
            break; /* nobody knows */
        snprintf(text[i], sizeof(text[i]), "%" PRId64, number_of[i].value);
        meta[n++] = (struct frame_pair){number_of[i].key, text[i]};
    }
    meta[n++] = (struct frame_pair){"role", "decode"};
    meta[n++] = (struct frame_pair){"proto", "1.0"};
    meta[n++] = (struct frame_pair){"task", "classification"};
    meta[n++] = (struct frame_pair){"dataset", d->dataset};
    return pixels_hello(meta, n);
}

/* Everything the first header says, or what a tar without one gets. */
static int begin(struct decoding *d)
{
    d->seed = (uint64_t)recipe.seed;
    d->b = (struct recipe_batch){.world = 1, .accum = 1};
    d->b.micro = recipe.micro ? recipe.micro : recipe.batch;
    d->b.global = d->b.micro;
    if (next_epoch(d) < 0)
        return -1;
    d->held = xcalloc((size_t)d->b.micro, sizeof(*d->held));
    return 0;
}

static int decode_all(void)
{
    struct decoding d = {.rc = 0};
    struct batch_source source = {next_frame, next_row, NULL, row_name, &d};
    struct batch_config config;
    int64_t i;
    int rc = -1;

    tar_samples_init(&d.tar, STDIN_FILENO, "stdin");
    d.tar.tar.globals = true;
    if (pixels_config(&config) < 0 || begin(&d) < 0 || hello(&d) < 0)
        goto out;
    config.rows = d.b.micro;
    config.seed = d.seed;
    rc = batch_run(&config, &source, pixels_emit, NULL);
out:
    for (i = 0; d.held && i < d.b.micro; i++) {
        buf_release(&d.held[i].image);
        free(d.held[i].key);
    }
    free(d.held);
    tar_sample_release(&d.sample);
    tar_samples_release(&d.tar);
    return rc;
}

int imgshard_decode(const struct command *c, int argc, char **argv)
{
    (void)c;
    (void)argc;
    (void)argv;
    if (pixels_begin() < 0)
        return -1;
    return pixels_end(decode_all());
}
