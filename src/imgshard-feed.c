/* imgshard feed - a rank's samples, decoded, as frames: read and decode in one
 * process, with one copy less. */
#include "imgshard-feeding.h"

#include "util/fault.h"

#include <inttypes.h>
#include <stdio.h>

static struct {
    int64_t limit;   /* steps; 0: none */
    int64_t max_bad; /* of an epoch; -1: 1 in 10000 */
    int on_bad;
} feed;

struct opt feed_opts[] = {
    READING_ROWS,
    IO_THREADS_ROW,
    PIXELS_ROWS,
    SHM_ROW,
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
    {.name = "max-bad",
     .type = OPT_INT,
     .addr = &feed.max_bad,
     .def = "-1",
     .min = -1,
     .max = 1e9,
     .help = "replace at most N in an epoch; -1: one in 10000 samples"},
    OPT_END};

/* What feed does with batches. */
struct sending {
    struct feeding f;
    int64_t bad, bad_limit; /* of an epoch */
    int64_t frames;         /* sent so far */
};

static int feed_emit(void *arg, struct batch_frame *fr)
{
    struct sending *s = arg;

    if (fr->head.epoch_begin)
        s->bad = 0;
    s->bad += fr->bad;
    fault_step(s->frames++);
    fault_point("feed.batch");
    if (s->bad > s->bad_limit)
        return err_set(ERR_DATA,
                       "epoch %" PRId64 ": more than %" PRId64
                       " bad images (--max-bad)",
                       fr->head.epoch, s->bad_limit);
    return pixels_emit(NULL, fr);
}

static int hello(const struct reader *r)
{
    static const char *const tails[] = {"wrap", "drop", "exact"};
    const struct recipe_batch *b = &r->batch;
    const struct {
        const char *key;
        int64_t value;
    } number[] = {{"rank", r->rank},     {"world", b->world},
                  {"samples", b->n},     {"classes", r->set.n_classes},
                  {"seed", recipe.seed}, {"start", r->samples},
                  {"global", b->global}, {"micro", b->micro},
                  {"accum", b->accum}};
    struct frame_pair meta[20];
    char text[9][24], pixel[2][24];
    int i, n = pixels_describe(meta, pixel);

    for (i = 0; i < 9; i++) {
        snprintf(text[i], sizeof(text[i]), "%" PRId64, number[i].value);
        meta[n++] = (struct frame_pair){number[i].key, text[i]};
    }
    meta[n++] = (struct frame_pair){"role", "feed"};
    meta[n++] = (struct frame_pair){"proto", "1.0"};
    meta[n++] = (struct frame_pair){"dataset", r->set.dataset};
    meta[n++] = (struct frame_pair){"split", r->set.split};
    meta[n++] = (struct frame_pair){"tail", tails[r->tail]};
    return pixels_hello(meta, n);
}

static int feed_all(const struct command *c, const char *manifest)
{
    struct sending s = {.f = {.max_steps = feed.limit}};
    int rc = feeding_open(&s.f, c, manifest, -1);

    s.f.config.replace = feed.on_bad;
    s.bad_limit =
        feed.max_bad >= 0 ? feed.max_bad : (s.f.reader.set.n + 9999) / 10000;
    fault_point("feed.start");
    if (rc == 0) {
        pixels_lend(&s.f.config);
        rc = hello(&s.f.reader);
    }
    if (rc == 0)
        rc = feeding_run(&s.f, feed_emit, &s);
    fault_point("feed.end");
    feeding_close(&s.f);
    return rc;
}

int imgshard_feed(const struct command *c, int argc, char **argv)
{
    (void)argc;
    if (pixels_begin() < 0)
        return -1;
    return pixels_end(feed_all(c, argv[0]));
}
