/* imgshard show - what an epoch sees of an image: where it stands in the order,
 * on which rank, which part of it is cut out, and the very pixels. */
#include "imgshard-show.h"
#include "imgshard-draw.h"

#include <stdio.h>
#include <string.h>

static struct {
    int64_t epoch;
    char *out;
    bool json, boxes;
} set;

/* clang-format off */
struct opt show_opts[] = {
    {.name = "epoch", .type = OPT_INT, .addr = &set.epoch, .def = "0",
     .min = 0, .max = UINT32_MAX, .arg = "E", .help = "which epoch"},
    {.name = "output", .letter = 'o', .type = OPT_STRING, .addr = &set.out,
     .arg = "FILE", .help = "its pixels, as a picture: .jpg or .ppm"},
    {.name = "boxes", .type = OPT_FLAG, .addr = &set.boxes,
     .help = "draw the objects on it, for detection"},
    {.name = "json", .type = OPT_FLAG, .addr = &set.json,
     .help = "one JSON object"},
    READING_ROWS,
    PIXELS_ROWS,
    OPT_END,
};
/* clang-format on */

/* Which rank and row a position belongs to. */
static struct place place_of(const struct reader *r, int64_t pos)
{
    const struct recipe_batch *b = &r->batch;
    struct place at = {.pos = pos, .step = pos / b->global};
    int64_t first, count;

    for (at.micro = 0; at.micro < b->accum; at.micro++)
        for (at.rank = 0; at.rank < b->world; at.rank++) {
            recipe_rows(b, r->tail, at.step * b->global, at.micro, at.rank,
                        &first, &count);
            at.row = pos - first;
            if (at.row >= 0 && at.row < count)
                return at;
        }
    BUG("position %lld is in no row", (long long)pos);
}

static int find_places(struct showing *s)
{
    struct reader *r = &s->f.reader;

    if (order_epoch(&r->order, set.epoch) < 0)
        return -1;
    for (int64_t p = 0; p < r->batch.epoch_samples && s->n < SHOW_MOST; p++)
        if (reader_sample(r, p) == s->sample)
            s->at[s->n++] = place_of(r, p);
    return 0;
}

/* ---- its pixels */

static int draw_row(void *arg, struct batch_frame *f)
{
    struct showing *s = arg;
    int64_t j = s->at[0].row;
    struct picture p = row_picture(f, j);
    struct canvas c;
    struct spot at = {&c, 0, 0, 1};
    int r;

    if (f->head.pos + j != s->at[0].pos || f->index[j] != s->sample)
        BUG("row %lld of the frame is another", (long long)j);
    if (canvas_init(&c, p.w, p.h, DRAW_BLACK) < 0)
        return -1;
    batch_seen(f, recipe.mean.f);
    row_draw(&at, f, j);
    if (set.boxes)
        row_boxes(&at, f, j, &s->f.reader.set);
    r = canvas_save(&c, set.out);
    canvas_release(&c);
    return r;
}

/* Of the micro-batch that it is in, as it was fed, what can be seen of it. */
static int draw(struct showing *s)
{
    struct reader *r = &s->f.reader;
    const struct place *at = &s->at[0];

    if (s->n == 0)
        return err_set(ERR_NOINPUT,
                       "%s: epoch %lld does not see this image: no pixels",
                       r->set.path, (long long)set.epoch);
    r->rank = at->rank;
    r->m = at->micro;
    r->samples =
        set.epoch * r->batch.epoch_samples + at->step * r->batch.global;
    r->end = r->samples + 1;
    s->f.max_frames = 1;
    s->f.only = &at->row;
    return feeding_run(&s->f, draw_row, s);
}

int imgshard_show(const struct command *c, int argc, char **argv)
{
    struct showing s = {.epoch = set.epoch};
    int r = -1;

    (void)argc;
    if (set.out && canvas_kind(set.out) < 0)
        return -1;
    reading.all_ranks = true;
    if (feeding_open(&s.f, c, argv[0], set.epoch) < 0 ||
        find_sample(&s.f.reader.set, argv[1], &s.sample) < 0 ||
        find_places(&s) < 0 || (set.out && draw(&s) < 0))
        goto out;
    r = show_tell(&s, set.json);
out:
    feeding_close(&s.f);
    return r;
}
