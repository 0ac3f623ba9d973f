/* imgshard sheet - a picture of what an epoch feeds: the images of its batches,
 * as they are handed to training, beside each other. */
#include "imgshard-draw.h"
#include "imgshard-feeding.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define GAP 4
#define MARGIN 8
#define ROOM 448 /* for a whole image: larger ones are made smaller */

static struct {
    int64_t epoch, images, columns;
    char *out;
} set;

/* clang-format off */
struct opt sheet_opts[] = {
    {.name = "output", .letter = 'o', .type = OPT_STRING, .addr = &set.out,
     .def = "sheet.jpg", .arg = "FILE", .help = "the picture: .jpg or .ppm"},
    {.name = "epoch", .type = OPT_INT, .addr = &set.epoch, .def = "-1",
     .min = -1, .max = UINT32_MAX, .arg = "E",
     .help = "this epoch; -1: those of --epochs"},
    {.name = "images", .letter = 'n', .type = OPT_INT, .addr = &set.images,
     .def = "64", .min = 1, .max = 100000, .arg = "N", .help = "how many"},
    {.name = "columns", .type = OPT_INT, .addr = &set.columns, .def = "0",
     .min = 0, .max = 10000, .arg = "N",
     .help = "beside each other; 0: as many as below each other"},
    READING_ROWS,
    PIXELS_ROWS,
    OPT_END,
};
/* clang-format on */

struct sheet {
    struct feeding f;
    struct canvas canvas;
    int columns, room; /* side of a tile */
    int cell_w, cell_h;
    int top, low; /* of the row of tiles being drawn */
    int64_t drawn;
    int64_t first, epoch; /* place of the first one; epoch -1: none yet */
};

/* Position and class, as many letters as fit. */
static void caption(struct sheet *s, const struct batch_frame *f, int64_t j,
                    int x, int y)
{
    const struct shard_set *set_of = &s->f.reader.set;
    int64_t label = f->size ? -1 : f->label[j];
    struct buf b = BUF_INIT;
    size_t room = (size_t)(s->cell_w - GAP) / DRAW_ADVANCE;

    buf_addf(&b, "%lld", (long long)(f->head.pos + j));
    if (label >= 0 && label < (int64_t)set_of->n_classes)
        buf_addf(&b, " %s", set_of->cls[label].label);
    if (b.len > room)
        b.data[room] = 0;
    draw_text(&s->canvas, x, y, b.data, DRAW_WHITE);
    buf_release(&b);
}

/* A row and what there is to say of it. */
static void draw_tile(struct sheet *s, const struct batch_frame *f, int64_t j)
{
    struct picture p = row_picture(f, j);
    int column = (int)(s->drawn % s->columns), bottom;
    struct spot at = {&s->canvas, MARGIN + column * s->cell_w, 0, 1};

    if (column == 0) /* right below the last row, however high that was */
        s->top = s->drawn ? s->low + GAP : MARGIN;
    at.y = s->top;
    while (p.w > at.down * s->room || p.h > at.down * s->room)
        at.down++;
    row_draw(&at, f, j);
    row_boxes(&at, f, j, &s->f.reader.set);
    bottom = at.y + (p.h + at.down - 1) / at.down;
    caption(s, f, j, at.x, bottom + 2);
    if (bottom + DRAW_LINE > s->low)
        s->low = bottom + DRAW_LINE;
    s->drawn++;
}

static int draw_frame(void *arg, struct batch_frame *f)
{
    struct sheet *s = arg;

    batch_seen(f, recipe.mean.f);
    if (s->epoch < 0) {
        s->epoch = f->head.epoch;
        s->first = f->head.pos;
    }
    for (int64_t j = 0; j < f->head.n && s->drawn < set.images; j++)
        draw_tile(s, f, j);
    return 0;
}

/* Images of this rank from its place on, at most so many, and the frames that hold
 * them. */
static int64_t count_images(const struct reader *r, int64_t most,
                            int64_t *frames)
{
    const struct recipe_batch *b = &r->batch;
    int64_t n = 0, at = r->samples, epoch, pos, first, count, m;

    *frames = 0;
    for (; at < r->end && n < most; at += b->global) {
        recipe_place(b, at, &epoch, &pos);
        for (m = 0; m < b->accum && n < most; m++, ++*frames) {
            recipe_rows(b, r->tail, pos, m, r->rank, &first, &count);
            n += count;
        }
        if (pos + b->global > b->epoch_samples)
            at -= pos + b->global - b->epoch_samples;
    }
    return n < most ? n : most;
}

/* Room for all of them. */
static int lay_out(struct sheet *s)
{
    const struct reader *r = &s->f.reader;
    int64_t rows;

    set.images = count_images(r, set.images, &s->f.max_frames);
    if (set.images == 0)
        return err_set(ERR_NOINPUT, "%s: no images there", r->set.path);
    s->columns =
        set.columns ? (int)set.columns : (int)ceil(sqrt((double)set.images));
    if (s->columns > set.images)
        s->columns = (int)set.images;
    rows = (set.images + s->columns - 1) / s->columns;
    s->room = s->f.config.detect ? ROOM : s->f.config.size;
    s->cell_w = s->room + GAP;
    s->cell_h = s->room + GAP + DRAW_LINE;
    if (s->columns * (int64_t)s->cell_w > DRAW_SIDE - 2 * MARGIN ||
        rows * s->cell_h > DRAW_SIDE - 2 * MARGIN)
        return err_set(ERR_USAGE,
                       "%lld images of %dx%d: more than a picture holds",
                       (long long)set.images, s->room, s->room);
    return canvas_init(&s->canvas, 2 * MARGIN - GAP + s->columns * s->cell_w,
                       2 * MARGIN - GAP + (int)rows * s->cell_h, DRAW_GREY);
}

static int make_sheet(struct sheet *s, const struct command *c,
                      const char *manifest)
{
    if (canvas_kind(set.out) < 0 ||
        feeding_open(&s->f, c, manifest, set.epoch) < 0 || lay_out(s) < 0 ||
        feeding_run(&s->f, draw_frame, s) < 0)
        return -1;
    if (s->drawn == 0)
        return err_set(ERR_NOINPUT, "%s: no images there", manifest);
    s->canvas.h = s->low + MARGIN; /* what is below has nothing in it */
    if (canvas_save(&s->canvas, set.out) < 0)
        return -1;
    printf("%s: %lld images of epoch %lld from position %lld, %dx%d pixels\n",
           set.out, (long long)s->drawn, (long long)s->epoch,
           (long long)s->first, s->canvas.w, s->canvas.h);
    return 0;
}

int imgshard_sheet(const struct command *c, int argc, char **argv)
{
    struct sheet s = {.epoch = -1};
    int r;

    (void)argc;
    r = make_sheet(&s, c, argv[0]);
    canvas_release(&s.canvas);
    feeding_close(&s.f);
    return r;
}
