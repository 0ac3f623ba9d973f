/* The tar stream of decode: samples and headers. */
#include "imgshard-stream.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void stream_init(struct stream *d, int fd)
{
    tar_samples_init(&d->tar, fd, "stdin");
    d->tar.tar.globals = true;
}

void stream_release(struct stream *d)
{
    int64_t i;

    for (i = 0; d->held && i < d->b.micro; i++) {
        buf_release(&d->held[i].image);
        buf_release(&d->held[i].annot);
        free(d->held[i].key);
    }
    free(d->held);
    buf_release(&d->header);
    tar_sample_release(&d->sample);
    tar_samples_release(&d->tar);
}

/* A pipe that has ended inside of the tar: who wrote it was lost, and another try may
 * go well. A file that was cut, and bad data with more behind it, stay so. */
static int lost_writer(void)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};

    if (err_code() == ERR_DATA && poll(&p, 1, 0) == 1 &&
        (p.revents & (POLLIN | POLLHUP)) == POLLHUP)
        err_give(ERR_PEER, err_text());
    return -1;
}

/* Look at the next sample without using it: 1, 2 (a header), 0, -1. */
static int look(struct stream *d)
{
    if (d->looked)
        return d->rc;
    d->rc = tar_sample_next(&d->tar, &d->sample);
    if (d->rc == 0 && !d->tar.tar.ended)
        d->rc = err_set(ERR_DATA,
                        "stdin: offset %" PRIu64 ": the tar stream "
                        "ends without its end: its writer died",
                        d->tar.tar.offset);
    d->looked = d->rc >= 0;
    return d->rc < 0 ? lost_writer() : d->rc;
}

/* The text of a record of a header, and its length; -1: it is not there. */
static long find(const struct buf *header, const char *name, const char **text)
{
    char key[40];

    snprintf(key, sizeof(key), "IMGSHARD.%s", name);
    return tar_pax_find(header->data, header->len, key, text);
}

/* The same of the header that was looked at, as a string. */
static int record(const struct stream *d, const char *name, char *text,
                  size_t room)
{
    const char *value;
    long n = find(&d->sample.part[0].data, name, &value);

    if (n < 0 || (size_t)n >= room)
        return -1;
    memcpy(text, value, (size_t)n);
    text[n] = 0;
    return 0;
}

static int number(const struct stream *d, const char *name, int64_t least,
                  int64_t *v)
{
    char text[24], *end;

    if (record(d, name, text, sizeof(text)) == 0) {
        *v = strtoll(text, &end, 10);
        if (end != text && !*end && *v >= least && *v <= (int64_t)1 << 40)
            return 0;
    }
    return err_set(ERR_DATA,
                   "stdin: global header: IMGSHARD.%s: not there or "
                   "out of range",
                   name);
}

/* Rows that an epoch has under a tail. */
static int64_t epoch_samples(const struct recipe_batch *b, int tail)
{
    if (tail == TAIL_EXACT)
        return b->n;
    return (b->n + (tail == TAIL_WRAP ? b->global - 1 : 0)) / b->global *
           b->global;
}

static int take_batch(struct stream *d, struct recipe_batch *b)
{
    int64_t global;

    if (number(d, "rank", 0, &d->rank) < 0 ||
        number(d, "world", 1, &b->world) < 0 ||
        number(d, "batch", 1, &b->micro) < 0 ||
        number(d, "samples", 1, &b->n) < 0)
        return -1;
    b->accum = 1;
    if (number(d, "accum", 1, &b->accum) < 0)
        err_clear();
    if (b->micro > 1 << 20 || b->world > 65536 || b->accum > 1 << 20 ||
        d->rank >= b->world)
        return err_set(ERR_DATA, "stdin: global header: out of range");
    /* less than the product where ranks did not divide it */
    b->global = b->micro * b->world * b->accum;
    if (number(d, "global", 1, &global) < 0)
        err_clear();
    else if (global > b->global)
        return err_set(ERR_DATA, "stdin: global header: IMGSHARD.global: more "
                                 "than the ranks hold");
    else
        b->global = global;
    return 0;
}

/* What the first header says of all the stream. */
static int take_settings(struct stream *d)
{
    const struct buf *header = &d->sample.part[0].data;
    struct recipe_batch b = {.n = 0};
    char text[64];
    int64_t seed;

    if (take_batch(d, &b) < 0 || number(d, "seed", 0, &seed) < 0)
        return -1;
    if (record(d, "tail", text, sizeof(text)) < 0)
        return err_set(ERR_DATA, "stdin: global header: no tail");
    d->tail = !strcmp(text, "exact")  ? TAIL_EXACT
              : !strcmp(text, "drop") ? TAIL_DROP
                                      : TAIL_WRAP;
    b.epoch_samples = epoch_samples(&b, d->tail);
    if (record(d, "order", d->order, sizeof(d->order)) < 0)
        return err_set(ERR_DATA, "stdin: global header: no order");
    if (record(d, "dataset", d->dataset, sizeof(d->dataset)) < 0)
        d->dataset[0] = 0;
    d->seed = (uint64_t)seed;
    d->b = b;
    buf_add(&d->header, header->data, header->len);
    d->ours = true;
    return 0;
}

/* A later one says the same: frames of before may be on their way yet, and whoever
 * reads them has heard it once. */
static int check_settings(const struct stream *d)
{
    static const char *const names[] = {"rank",    "world",  "batch", "accum",
                                        "samples", "global", "seed",  "tail",
                                        "order",   "dataset"};
    const char *was, *is;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        long n = find(&d->header, names[i], &was);

        if (n != find(&d->sample.part[0].data, names[i], &is) ||
            (n > 0 && memcmp(was, is, (size_t)n) != 0))
            return err_set(ERR_DATA,
                           "stdin: global header: IMGSHARD.%s changes inside "
                           "the stream",
                           names[i]);
    }
    return 0;
}

/* A global header: of ours, or of somebody else, which means nothing. */
static int take_header(struct stream *d)
{
    char text[64];
    int64_t first;

    d->looked = false;
    if (record(d, "v", text, sizeof(text)) < 0)
        return 0;
    if (strcmp(text, "1") != 0)
        return err_set(ERR_DATA, "stdin: global header: version %s", text);
    if ((d->ours ? check_settings(d) : take_settings(d)) < 0 ||
        number(d, "epoch", 0, &d->epoch) < 0 ||
        number(d, "first", 0, &first) < 0)
        return -1;
    if (d->epoch > UINT32_MAX ||
        (d->b.epoch_samples && d->epoch > INT64_MAX / 4 / d->b.epoch_samples))
        return err_set(ERR_DATA, "stdin: global header: out of range");
    d->pos = first / d->b.global * d->b.global;
    d->m = 0;
    return 0;
}

/* The number in a member, -1 if there is none. */
static int member_number(const struct stream *d, const char *ext, int64_t max,
                         int64_t *v)
{
    const struct tar_part *part = tar_sample_part(&d->sample, ext);
    char *end;

    *v = -1;
    if (!part || !part->data.len)
        return 0;
    *v = strtoll(part->data.data, &end, 10);
    if (end == part->data.data || *v < 0 || *v > max)
        return err_set(ERR_DATA, "stdin: %s: %s \"%.20s\"", d->sample.key, ext,
                       part->data.data);
    return 0;
}

/* The image and the numbers of the sample that was looked at. */
static int take_sample(struct stream *d)
{
    static const char *const kinds[] = {"jpg", "jpeg", "png", "ppm"};
    const struct tar_part *image = NULL, *annot;
    struct held *h = &d->held[d->n];
    int i;

    for (i = 0; i < 4 && !image; i++)
        image = tar_sample_part(&d->sample, kinds[i]);
    if (!image)
        return err_set(ERR_DATA, "stdin: %s: no image in the sample",
                       d->sample.key);
    if (member_number(d, "cls", INT32_MAX, &h->label) < 0 ||
        member_number(d, "index", UINT32_MAX, &h->index) < 0)
        return -1;
    free(h->key);
    h->key = xstrdup(d->sample.key);
    h->offset = image->offset;
    buf_reset(&h->image);
    buf_add(&h->image, image->data.data, image->data.len);
    buf_reset(&h->annot);
    annot = tar_sample_part(&d->sample, "json");
    if (annot)
        buf_add(&h->annot, annot->data.data, annot->data.len);
    d->n++;
    d->looked = false;
    return 0;
}

int stream_gather(struct stream *d, int64_t want)
{
    int rc;

    d->n = 0;
    while (d->n < want && (rc = look(d)) == 1)
        if (take_sample(d) < 0)
            return -1;
    return d->n < want && rc < 0 ? -1 : 0;
}

int stream_epoch(struct stream *d)
{
    int rc;

    while ((rc = look(d)) == 2)
        if (take_header(d) < 0)
            return -1;
    return rc;
}
