/* imgshard decode - a tar stream of samples on stdin, decoded, as frames. */
#include "imgshard-pixels.h"
#include "imgshard-stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct opt decode_opts[] = {PIXELS_ROWS, SHM_ROW, OPT_END};

/* ---- as a source of batches */

/* The next frame of a stream of ours: its rows are known beforehand. */
static int frame_ours(struct stream *d, struct batch_head *h)
{
    const struct recipe_batch *b = &d->b;
    int64_t total, want, first;
    int rc;

    if (d->pos >= b->epoch_samples && (rc = stream_epoch(d)) <= 0)
        return rc;
    if (d->pos >= b->epoch_samples)
        return err_set(ERR_DATA, "stdin: %s: more samples than the epoch has",
                       d->sample.key);
    total = b->epoch_samples - d->pos;
    if (total > b->global)
        total = b->global;
    recipe_rows(b, d->tail, d->pos, d->m, d->rank, &first, &want);
    if (stream_gather(d, want) < 0)
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
                             .samples =
                                 d->epoch * b->epoch_samples + d->pos + total,
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
static int frame_foreign(struct stream *d, struct batch_head *h)
{
    int rc;

    if ((rc = stream_epoch(d)) <= 0)
        return rc;
    if (stream_gather(d, d->b.micro) < 0)
        return -1;
    if ((rc = stream_epoch(d)) < 0) /* somebody's header may be in between */
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
    struct stream *d = arg;
    int rc = d->ours ? frame_ours(d, h) : frame_foreign(d, h);

    if (rc <= 0)
        return rc;
    h->order = d->ours ? d->order : "seq";
    return 1;
}

static int next_row(void *arg, int64_t j, struct batch_row *r)
{
    struct stream *d = arg;
    struct held *h = &d->held[j];
    struct buf swap = r->bytes;

    r->bytes = h->image;
    h->image = swap;
    /* behind the file: what errors call it */
    buf_addf(&r->bytes, "stdin: offset %" PRIu64 ": %s", h->offset, h->key);
    swap = r->annot;
    r->annot = h->annot;
    h->annot = swap;
    r->data = r->bytes.data;
    r->size =
        r->bytes.len - strlen(h->key) -
        (size_t)snprintf(NULL, 0, "stdin: offset %" PRIu64 ": ", h->offset);
    r->label = h->label;
    r->index = d->ours ? h->index : r->pos;
    return 0;
}

static void row_name(void *arg, const struct batch_row *r, struct buf *b)
{
    (void)arg;
    buf_addstr(b, r->bytes.data + r->size);
}

/* ---- the command */

static int hello(const struct stream *d)
{
    const struct {
        const char *key;
        int64_t value;
    } number_of[] = {{"rank", d->rank},
                     {"world", d->b.world},
                     {"seed", (int64_t)d->seed},
                     {"micro", d->b.micro},
                     {"global", d->b.global},
                     {"accum", d->b.accum},
                     {"start", d->epoch * d->b.epoch_samples + d->pos},
                     {"samples", d->b.n}};
    struct frame_pair meta[16];
    char text[8][24], pixel[2][24];
    int i, n = pixels_describe(meta, pixel);

    for (i = 0; i < 8; i++) {
        if (!d->ours && i > 5)
            break; /* nobody knows */
        snprintf(text[i], sizeof(text[i]), "%" PRId64, number_of[i].value);
        meta[n++] = (struct frame_pair){number_of[i].key, text[i]};
    }
    meta[n++] = (struct frame_pair){"role", "decode"};
    meta[n++] = (struct frame_pair){"proto", "1.0"};
    meta[n++] = (struct frame_pair){"dataset", d->dataset};
    return pixels_hello(meta, n);
}

/* Everything the first header says, or what a tar without one gets. */
static int begin(struct stream *d)
{
    d->seed = (uint64_t)recipe.seed;
    d->b = (struct recipe_batch){.world = 1, .accum = 1};
    d->b.micro = recipe.micro ? recipe.micro : recipe.batch;
    d->b.global = d->b.micro;
    if (stream_epoch(d) < 0)
        return -1;
    recipe.seed = (int64_t)d->seed; /* hello says what is used */
    d->held = xcalloc((size_t)d->b.micro, sizeof(*d->held));
    return 0;
}

static int decode_all(void)
{
    struct stream d = {.rc = 0};
    struct batch_source source = {next_frame, next_row, NULL, row_name, &d};
    struct batch_config config;
    int rc = -1;

    stream_init(&d, STDIN_FILENO);
    if (pixels_config(&config) < 0 || begin(&d) < 0)
        goto out;
    config.rows = d.b.micro;
    config.seed = d.seed;
    pixels_lend(&config);
    if (hello(&d) < 0)
        goto out;
    rc = batch_run(&config, &source, pixels_emit, NULL);
out:
    stream_release(&d);
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
