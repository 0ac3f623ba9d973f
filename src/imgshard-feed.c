/* imgshard feed - a rank's samples, decoded, as frames: read and decode in one
 * process, with one copy less. */
#include "imgshard-pixels.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct {
    int64_t limit; /* steps; 0: none */
    int on_bad;
} feed;

struct opt feed_opts[] = {
    READING_ROWS,
    PIXELS_ROWS,
    {.name = "limit-steps",
     .type = OPT_INT,
     .addr = &feed.limit,
     .def = "0",
     .min = 0,
     .max = 1e15,
     .help = "end after N steps; 0: no limit"},
    {.name = "on-bad",
     .type = OPT_CHOICE,
     .addr = &feed.on_bad,
     .def = "fail",
     .choices = "fail|replace",
     .arg = "WHAT",
     .help = "a bad image ends the stream, or the next sample takes its place"},
    OPT_END};

/* A reader as the source of batches. */
struct feeding {
    struct reader reader;
    struct reader_step step;
    int64_t steps; /* begun */
    int64_t bad, bad_limit;
    char order[64];
};

static int feed_frame(void *arg, struct batch_head *h)
{
    struct feeding *f = arg;
    struct reader_step *st = &f->step;
    bool stop = feed.limit && f->steps == feed.limit &&
                f->reader.m == 0; /* the next one begins a step */
    int rc;

    if (stop)
        return 0;
    rc = reader_next(&f->reader, st);
    if (rc <= 0)
        return rc;
    f->steps += st->micro == 0;
    *h = (struct batch_head){.epoch = st->epoch,
                             .step = st->pos / f->reader.batch.global,
                             .micro = st->micro,
                             .pos = st->first,
                             .n = st->count,
                             .total = st->total,
                             .samples = st->samples,
                             .last = st->micro == f->reader.batch.accum - 1,
                             .epoch_begin = st->epoch_begin,
                             .epoch_end = st->epoch_end,
                             .order = f->order};
    return 1;
}

/* Which sample, and which ones would replace it: taken here, since the order of
 * the next epoch may be there when the row is loaded. */
static int feed_row(void *arg, int64_t j, struct batch_row *r)
{
    struct feeding *f = arg;
    int i;

    r->replacement[0] = f->step.sample[j];
    for (i = 1; i < BATCH_TRIES; i++)
        r->replacement[i] = order_at(&f->reader.order, r->pos + i);
    return 0;
}

static int feed_load(void *arg, struct batch_row *r, int try_no)
{
    struct feeding *f = arg;
    uint32_t i = (uint32_t)r->replacement[try_no];

    r->index = i;
    r->label = f->reader.set.label[i];
    if (reader_fetch(&f->reader, i, &r->bytes) < 0)
        return -1;
    r->data = r->bytes.data;
    r->size = r->bytes.len;
    return 0;
}

static void feed_name(void *arg, const struct batch_row *r, struct buf *b)
{
    struct feeding *f = arg;

    shard_describe(&f->reader.set, (uint32_t)r->index, b);
}

static int feed_emit(void *arg, struct batch_frame *fr)
{
    struct feeding *f = arg;

    if (fr->head.epoch_begin)
        f->bad = 0;
    f->bad += fr->bad;
    if (f->bad > f->bad_limit)
        return err_set(ERR_DATA,
                       "%" PRId64 " bad images in epoch %" PRId64
                       ": more than 1 in 10000",
                       f->bad, fr->head.epoch);
    return pixels_emit(NULL, fr);
}

static int hello(const struct feeding *f)
{
    static const char *const tails[] = {"wrap", "drop", "exact"};
    const struct reader *r = &f->reader;
    const struct recipe_batch *b = &r->batch;
    const struct {
        const char *key;
        int64_t value;
    } number[] = {{"rank", r->rank},     {"world", b->world},
                  {"samples", r->set.n}, {"classes", r->set.n_classes},
                  {"seed", recipe.seed}, {"start", r->samples},
                  {"global", b->global}, {"micro", b->micro},
                  {"accum", b->accum},   {"size", recipe.size}};
    struct frame_pair meta[20];
    char text[10][24];
    int i, n = 0;

    for (i = 0; i < 10; i++) {
        snprintf(text[i], sizeof(text[i]), "%" PRId64, number[i].value);
        meta[n++] = (struct frame_pair){number[i].key, text[i]};
    }
    meta[n++] = (struct frame_pair){"role", "feed"};
    meta[n++] = (struct frame_pair){"proto", "1.0"};
    meta[n++] = (struct frame_pair){"dataset", r->set.dataset};
    meta[n++] = (struct frame_pair){"task", "classification"};
    meta[n++] = (struct frame_pair){"split", r->set.split};
    meta[n++] = (struct frame_pair){"tail", tails[r->tail]};
    return pixels_hello(meta, n);
}

/* Evaluation: every sample once, in the order of the shards. */
static void set_eval(const struct command *c)
{
    static char seq[] = "seq", one[] = "1";

    recipe.tail = TAIL_EXACT;
    if (!opt_given(c, "order"))
        reading.order = seq;
    if (!opt_given(c, "epochs"))
        reading.epochs = one;
}

static int feed_all(const struct command *c, const char *manifest)
{
    struct feeding f = {.bad = 0};
    struct batch_source source = {feed_frame, feed_row, feed_load, feed_name,
                                  &f};
    struct batch_config config;
    struct buf order = BUF_INIT;
    int rc;

    if (pixels.eval)
        set_eval(c);
    if (pixels_config(&config) < 0 || reading_open(&f.reader, manifest) < 0)
        return -1;
    if (strcmp(f.reader.set.task, "classification") != 0) {
        rc = err_set(ERR_CONFIG,
                     "%s: task %s: feed makes classification "
                     "batches",
                     manifest, f.reader.set.task);
        goto out;
    }
    order_name(&f.reader.order, &order);
    snprintf(f.order, sizeof(f.order), "%s", order.data);
    config.rows = f.reader.batch.micro;
    config.replace = feed.on_bad;
    f.bad_limit = (f.reader.set.n + 9999) / 10000;
    rc = hello(&f);
    if (rc == 0)
        rc = batch_run(&config, &source, feed_emit, &f);
out:
    reader_close(&f.reader);
    buf_release(&order);
    return rc;
}

int imgshard_feed(const struct command *c, int argc, char **argv)
{
    (void)argc;
    if (pixels_begin() < 0)
        return -1;
    return pixels_end(feed_all(c, argv[0]));
}
