/* A reader as the source of batches. */
#include "imgshard-feeding.h"

#include <stdio.h>

static int feed_frame(void *arg, struct batch_head *h)
{
    struct feeding *f = arg;
    struct reader_step *st = &f->step;
    int rc;

    if (f->max_steps && f->steps == f->max_steps &&
        f->reader.m == 0) /* the next one begins a step */
        return 0;
    if (f->max_frames && f->frames == f->max_frames)
        return 0;
    rc = reader_next(&f->reader, st);
    if (rc <= 0)
        return rc;
    f->steps += st->micro == 0;
    f->frames++;
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
        r->replacement[i] = reader_sample(&f->reader, r->pos + i);
    r->own = ahead_want(f->ahead, f->step.sample[j]);
    return 0;
}

static bool feed_wanted(void *arg, int64_t j)
{
    const struct feeding *f = arg;

    if (j == *f->only)
        return true;
    /* batch_seen mixes a row with the one before it, the first with the last */
    return f->config.mix.mixup + f->config.mix.cutmix > 0 &&
           j == (*f->only ? *f->only : f->step.count) - 1;
}

static int feed_load(void *arg, struct batch_row *r, int try_no)
{
    struct feeding *f = arg;
    uint32_t i = (uint32_t)r->replacement[try_no];

    r->index = i;
    r->label = f->reader.set.label[i];
    if ((try_no == 0 ? ahead_take(f->ahead, r->own, &r->bytes)
                     : reader_fetch(&f->reader, i, &r->bytes)) < 0)
        return -1;
    r->data = r->bytes.data;
    r->size = r->bytes.len;
    return f->config.detect ? reader_fetch_annot(&f->reader, i, &r->annot) : 0;
}

static void feed_name(void *arg, const struct batch_row *r, struct buf *b)
{
    struct feeding *f = arg;

    shard_describe(&f->reader.set, (uint32_t)r->index, b);
}

int feeding_open(struct feeding *f, const struct command *c,
                 const char *manifest, int64_t epoch)
{
    struct buf order = BUF_INIT;

    reading.eval = pixels.eval;
    if (reading_open(&f->reader, c, manifest, epoch) < 0 ||
        pixels_task(&f->reader.set) < 0 || pixels_config(&f->config) < 0)
        return -1;
    order_name(&f->reader.order, &order);
    snprintf(f->order, sizeof(f->order), "%s", order.data);
    buf_release(&order);
    f->config.rows = f->reader.batch.micro;
    return 0;
}

int feeding_run(struct feeding *f,
                int (*emit)(void *arg, struct batch_frame *f), void *arg)
{
    struct batch_source source = {feed_frame, feed_row, feed_load, feed_name,
                                  f};
    int r;

    f->config.wanted = f->only ? feed_wanted : NULL;
    f->ahead = ahead_new(&f->reader, (int)reading.io_threads,
                         4 * (int64_t)f->config.threads, AHEAD_BYTES);
    r = batch_run(&f->config, &source, emit, arg);
    ahead_free(f->ahead);
    return r;
}

void feeding_close(struct feeding *f)
{
    reader_close(&f->reader);
}
