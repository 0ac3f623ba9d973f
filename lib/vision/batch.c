#include "vision/batch_private.h"

#include "util/work.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct run {
    const struct batch_config *c;
    const struct batch_source *s;
    int (*emit)(void *arg, struct batch_frame *f);
    void *arg;
    struct batch_tools *tools; /* [threads] */
    struct batch_frame *ring;  /* [queue] */
    struct batch_row *row;     /* [in_flight] */
    void **items;
    struct buf canvas; /* of the detection frame that is handed out */
    int queue, in_flight;
    int64_t made;                /* frames begun */
    struct batch_frame *current; /* being filled with rows, or NULL */
    int64_t j;                   /* its next row */
};

/* ---- the three stages */

/*
 * A frame of the ring is free again when its last row is done. Rows in flight
 * are fewer than the rows of queue-1 frames, so by the time the ring comes round
 * that is so.
 */
static int begin_frame(struct run *r)
{
    struct batch_frame *f = &r->ring[r->made % r->queue];
    struct batch_head h = {.samples = -1};
    int rc = r->s->frame(r->s->arg, &h);

    if (rc <= 0)
        return rc;
    if (h.n < 0 || h.n > r->c->rows)
        BUG("%" PRId64 " rows in a frame of %" PRId64, h.n, r->c->rows);
    f->head = h;
    f->bad = 0;
    if (r->c->train)
        f->mix = mix_draw(&r->c->mix, r->c->size, r->c->seed, (uint32_t)h.epoch,
                          (uint32_t)h.pos);
    r->current = f;
    r->j = 0;
    r->made++;
    return 1;
}

static int next_row(void *arg, void *item)
{
    struct run *r = arg;
    struct batch_row *row = item;
    int rc;

    if (!r->current && (rc = begin_frame(r)) <= 0)
        return rc;
    row->frame = r->current;
    row->j = r->j++;
    row->pad = row->j >= row->frame->head.n ||
               (r->c->wanted && !r->c->wanted(r->s->arg, row->j));
    row->epoch = row->frame->head.epoch;
    row->pos = row->frame->head.pos + row->j;
    row->label = row->index = -1;
    row->tries = 0;
    if (r->j == r->c->rows)
        r->current = NULL;
    if (row->pad)
        return 1;
    return r->s->row(r->s->arg, row->j, row) < 0 ? -1 : 1;
}

/* Where what is resized begins in the image, and its part in the row. */
struct origin {
    int x, y, left, top;
};

/* Which part of an image of w x h, and how it is resized. */
static struct origin plan(const struct batch_config *c,
                          const struct batch_row *row, int w, int h,
                          struct resize_job *job)
{
    struct origin o = {0, 0, 0, 0};
    struct crop crop;

    if (!c->train) {
        augment_eval(w, h, c->resize, c->size, c->squash, job, &o.left, &o.top);
        return o;
    }
    crop = augment_train(&c->augment, w, h, c->seed, (uint32_t)row->epoch,
                         (uint32_t)row->pos);
    o.x = crop.box.x;
    o.y = crop.box.y;
    *job = (struct resize_job){
        crop.box.w, crop.box.h, c->size, c->size, {0, 0, c->size, c->size},
        crop.flip,  false,      false};
    return o;
}

/* What a training picture goes through beyond its crop. */
static void change(const struct batch_config *c, const struct batch_row *row,
                   struct batch_tools *t, uint8_t *out)
{
    size_t room = colour_scratch(c->size, c->size);
    struct policy_step step[POLICY_STEPS];
    int n = policy_draw(&c->policy, c->size, c->seed, (uint32_t)row->epoch,
                        (uint32_t)row->pos, step);

    if (n && !t->scratch.len)
        buf_addfill(&t->scratch, 0, room);
    policy_run(step, n, out, c->size, (uint8_t *)t->scratch.data);
}

/* The pixels of the row that is loaded. */
static int make_row(const struct batch_config *c, const struct batch_row *row,
                    struct batch_tools *t, uint8_t *out)
{
    size_t stride = (size_t)c->size * 3;
    struct resize_job job;
    struct jpeg_image im;
    struct origin o;
    struct rect need;
    int w, h;

    if (image_begin(t->decoder, row->data, row->size, &w, &h) < 0)
        return -1;
    o = plan(c, row, w, h, &job);
    if (resize_need(&job, &need) < 0)
        return -1;
    need.x += o.x;
    need.y += o.y;
    if (image_region(t->decoder, &need, &im) < 0)
        return -1;
    if (job.part.w < c->size || job.part.h < c->size)
        memset(out, 0, stride * (size_t)c->size);
    resize_run(t->resizer, &job, im.pixels, im.stride,
               out + stride * (size_t)o.top + 3 * (size_t)o.left, stride);
    if (c->train)
        change(c, row, t, out);
    return 0;
}

/* Where a row is erased. */
static void erase(const struct batch_config *c, const struct batch_row *row,
                  int32_t *box)
{
    struct rect r = {0, 0, 0, 0};

    if (!row->pad)
        r = augment_erase(&c->augment, c->size, c->seed, (uint32_t)row->epoch,
                          (uint32_t)row->pos);
    box[0] = r.y;
    box[1] = r.x;
    box[2] = r.y + r.h;
    box[3] = r.x + r.w;
}

/* Put the row's name in front of the failure. */
static int about_row(struct run *r, const struct batch_row *row)
{
    struct buf b = BUF_INIT;

    buf_addstr(&b, "");
    r->s->name(r->s->arg, row, &b);
    err_wrap("%s", b.data);
    buf_release(&b);
    return -1;
}

/* The row's place in its frame is filled; with nothing, if it is not there. */
static int fill_row(const struct batch_config *c, const struct batch_row *row,
                    struct batch_tools *t)
{
    size_t bytes = (size_t)c->size * (size_t)c->size * 3;
    uint8_t *out = row->frame->image + bytes * (size_t)row->j;

    if (row->frame->erase)
        erase(c, row, row->frame->erase + 4 * row->j);
    if (c->detect && row->pad)
        batch_no_part(&row->frame->part[row->j]);
    else if (c->detect)
        return batch_detect(c, row, t, &row->frame->part[row->j]);
    else if (row->pad)
        memset(out, 0, bytes);
    else
        return make_row(c, row, t, out);
    return 0;
}

static int work_row(void *arg, void *item, int t)
{
    struct run *r = arg;
    struct batch_row *row = item;
    const struct batch_config *c = r->c;
    int tries = c->replace && r->s->load ? BATCH_TRIES : 1, i;

    if (row->pos > UINT32_MAX)
        return err_set(ERR_DATA, "position %" PRId64 ": over 2^32", row->pos);
    if (row->pad)
        return fill_row(c, row, &r->tools[t]);
    for (i = 0; i < tries; i++) {
        /* a loader names the row in its own errors */
        if (r->s->load && r->s->load(r->s->arg, row, i) < 0) {
            if (err_code() != ERR_DATA)
                return -1;
        } else if (fill_row(c, row, &r->tools[t]) == 0) {
            break;
        } else {
            about_row(r, row);
        }
        if (!row->why)
            row->why = xstrdup(err_text());
    }
    /* a whole queue of rows may wait with its pixels: not with its file too */
    buf_release(&row->bytes);
    if (i == tries)
        return -1;
    row->tries = i;
    return 0;
}

static int done_row(void *arg, void *item)
{
    struct run *r = arg;
    struct batch_row *row = item;
    struct batch_frame *f = row->frame;

    f->label[row->j] = row->label;
    f->index[row->j] = row->index;
    f->bad += row->tries > 0;
    if (row->tries > 0)
        warn("%s: replaced", row->why);
    free(row->why);
    row->why = NULL;
    if (row->j < f->rows - 1)
        return 0;
    if (r->c->detect && batch_join(f, &r->canvas) < 0)
        return -1;
    return r->emit(r->arg, f);
}

/* ---- setting up */

/* The next array of a block: its place, and *at moves on. */
static void *lay(char *block, size_t *at, size_t bytes)
{
    char *p = block ? block + *at : NULL;

    *at += (bytes + FRAME_REF_ALIGN - 1) / FRAME_REF_ALIGN * FRAME_REF_ALIGN;
    return p;
}

/* The arrays of a classification frame in a block, or only how large it is. */
static size_t lay_out(struct batch_frame *f, char *block, bool erase)
{
    size_t rows = (size_t)f->rows, at = 0;

    f->block = block;
    f->image = lay(block, &at, rows * (size_t)f->h * (size_t)f->w * 3);
    f->index = lay(block, &at, rows * sizeof(*f->index));
    f->label = lay(block, &at, rows * sizeof(*f->label));
    if (erase)
        f->erase = lay(block, &at, rows * 4 * sizeof(*f->erase));
    return at;
}

static bool erases(const struct batch_config *c)
{
    return c->train && c->augment.erase > 0;
}

size_t batch_bytes(const struct batch_config *c)
{
    struct batch_frame f = {.rows = c->rows, .h = c->size, .w = c->size};

    return c->detect ? 0 : lay_out(&f, NULL, erases(c));
}

int batch_queue(const struct batch_config *c)
{
    /* tiny frames: as many as keep all threads busy */
    if (c->rows * (c->queue - 1) <= c->threads)
        return (int)(c->threads / c->rows) + 2;
    return c->queue;
}

void batch_move(struct batch_frame *f, void *block)
{
    lay_out(f, block, f->erase);
}

static int ring_init(struct batch_frame *f, const struct batch_config *c)
{
    size_t rows = (size_t)c->rows;
    char *block;

    f->rows = c->rows;
    if (c->detect) {
        f->label = xreallocarray(NULL, rows, sizeof(*f->label));
        f->index = xreallocarray(NULL, rows, sizeof(*f->index));
        f->bgr = c->detect->bgr;
        f->size = xreallocarray(NULL, rows, 2 * sizeof(*f->size));
        f->orig = xreallocarray(NULL, rows, 2 * sizeof(*f->orig));
        f->image_id = xreallocarray(NULL, rows, sizeof(*f->image_id));
        f->part = xcalloc(rows, sizeof(*f->part));
        return 0;
    }
    f->h = f->w = c->size;
    block = c->block ? c->block(c->block_arg)
                     : aligned_alloc(FRAME_REF_ALIGN, batch_bytes(c));
    if (!block)
        return c->block ? -1
                        : err_set(ERR_SYSTEM,
                                  "queue of %d batches: no memory for %zu "
                                  "bytes each",
                                  batch_queue(c), batch_bytes(c));
    lay_out(f, block, erases(c));
    return 0;
}

static void ring_release(struct batch_frame *f, const struct batch_config *c)
{
    if (!c->detect) {
        if (!c->block)
            free(f->block);
        return;
    }
    for (int64_t j = 0; f->part && j < f->rows; j++) {
        buf_release(&f->part[j].pixels);
        detect_objects_release(&f->part[j].objects);
    }
    free(f->label);
    free(f->index);
    free(f->size);
    free(f->orig);
    free(f->image_id);
    free(f->part);
    detect_objects_release(&f->objects);
}

static int run_init(struct run *r)
{
    const struct batch_config *c = r->c;
    int i;

    r->queue = batch_queue(c);
    r->ring = xcalloc((size_t)r->queue, sizeof(*r->ring));
    for (i = 0; i < r->queue; i++)
        if (ring_init(&r->ring[i], c) < 0)
            return -1;
    r->in_flight = (int)c->rows * (r->queue - 1);
    r->row = xcalloc((size_t)r->in_flight, sizeof(*r->row));
    r->items = xcalloc((size_t)r->in_flight, sizeof(*r->items));
    for (i = 0; i < r->in_flight; i++)
        r->items[i] = &r->row[i];
    r->tools = xcalloc((size_t)c->threads, sizeof(*r->tools));
    for (i = 0; i < c->threads; i++) {
        r->tools[i].decoder = image_decoder_new();
        image_decoder_strict(r->tools[i].decoder, c->strict);
        r->tools[i].resizer = resizer_new();
        if (c->instructions &&
            (!resizer_use(r->tools[i].resizer, c->instructions) ||
             !image_decoder_use(r->tools[i].decoder, c->instructions)))
            return err_set(ERR_UNAVAILABLE, "instruction set %s: not here",
                           c->instructions);
    }
    return 0;
}

static void run_release(struct run *r)
{
    int i;

    for (i = 0; r->tools && i < r->c->threads; i++) {
        image_decoder_free(r->tools[i].decoder);
        resizer_free(r->tools[i].resizer);
        annot_release(&r->tools[i].annot);
        buf_release(&r->tools[i].upright);
        buf_release(&r->tools[i].scratch);
    }
    for (i = 0; r->row && i < r->in_flight; i++) {
        buf_release(&r->row[i].bytes);
        buf_release(&r->row[i].annot);
        free(r->row[i].why);
    }
    for (i = 0; i < r->queue; i++)
        ring_release(&r->ring[i], r->c);
    buf_release(&r->canvas);
    free(r->ring);
    free(r->row);
    free(r->items);
    free(r->tools);
}

int batch_run(const struct batch_config *c, const struct batch_source *s,
              int (*emit)(void *arg, struct batch_frame *f), void *arg)
{
    struct run r = {.c = c, .s = s, .emit = emit, .arg = arg};
    struct work_stages stages = {next_row, work_row, done_row, &r};
    int rc;

    if (c->queue < 2 || c->threads < 1 || c->rows < 1 ||
        (!c->detect && c->size < 1))
        BUG("queue %d, threads %d", c->queue, c->threads);
    rc = run_init(&r);
    if (rc == 0)
        rc = work_pipeline(&stages, r.items, r.in_flight, c->threads);
    run_release(&r);
    return rc;
}

/* ---- writing */

static int write_epoch(struct frame_writer *w, int64_t epoch, const char *state)
{
    char number[24];
    struct frame_pair meta[] = {{"epoch", number}, {"state", state}};

    snprintf(number, sizeof(number), "%" PRId64, epoch);
    return frame_write(w, "epoch", meta, 2, NULL, 0, 0);
}

/* The numbers of a head as metadata. */
static int describe(const struct batch_frame *f, struct frame_pair *meta,
                    char text[][24])
{
    const struct batch_head *h = &f->head;
    const struct {
        const char *key;
        int64_t value;
    } number[] = {
        {"epoch", h->epoch}, {"step", h->step}, {"m", h->micro},
        {"pos", h->pos},     {"n", h->n},       {"rows", h->total},
        {"bad", f->bad},     {"last", h->last}, {"samples", h->samples}};
    int i, n = (int)(sizeof(number) / sizeof(*number));

    if (h->samples < 0)
        n--;
    for (i = 0; i < n; i++) {
        snprintf(text[i], sizeof(text[i]), "%" PRId64, number[i].value);
        meta[i].key = number[i].key;
        meta[i].value = text[i];
    }
    meta[n++] = (struct frame_pair){"order", h->order};
    if (f->part)
        meta[n++] = (struct frame_pair){"format", f->bgr ? "BGR" : "RGB"};
    meta[n++] =
        (struct frame_pair){"task", f->part ? "detection" : "classification"};
    return n;
}

/* How the rows are mixed, if they are. */
static int describe_mix(const struct mix *m, struct frame_pair *meta,
                        char text[][24])
{
    static const char *const kinds[] = {"none", "mixup", "cutmix"};
    static const char *const sides[] = {"mix.top", "mix.left", "mix.bottom",
                                        "mix.right"};
    int i, n = 0;

    if (m->kind == MIX_NONE)
        return 0;
    meta[n++] = (struct frame_pair){"mix", kinds[m->kind]};
    snprintf(text[4], sizeof(text[4]), "%.17g", m->lambda);
    meta[n++] = (struct frame_pair){"mix.lambda", text[4]};
    for (i = 0; m->kind == MIX_CUTMIX && i < 4; i++) {
        snprintf(text[i], sizeof(text[i]), "%d", m->box[i]);
        meta[n++] = (struct frame_pair){sides[i], text[i]};
    }
    return n;
}

/* The tensors of a frame; how many. */
static int arrays(const struct batch_frame *f, struct frame_item *item)
{
    const struct detect_objects *o = &f->objects;
    int64_t n = (int64_t)o->n;
    int k = 0;

    item[k++] = (struct frame_item){
        "image", TENSOR4(DT_U8, f->image, f->rows, f->h, f->w, 3)};
    item[k++] =
        (struct frame_item){"index", TENSOR1(DT_I64, f->index, f->rows)};
    if (!f->part) {
        item[k++] =
            (struct frame_item){"label", TENSOR1(DT_I64, f->label, f->rows)};
        if (f->erase)
            item[k++] = (struct frame_item){
                "erase", TENSOR2(DT_I32, f->erase, f->rows, 4)};
        return k;
    }
    item[k++] =
        (struct frame_item){"size", TENSOR2(DT_I32, f->size, f->rows, 2)};
    item[k++] =
        (struct frame_item){"orig", TENSOR2(DT_I32, f->orig, f->rows, 2)};
    item[k++] =
        (struct frame_item){"image_id", TENSOR1(DT_I64, f->image_id, f->rows)};
    item[k++] = (struct frame_item){"boxes", TENSOR2(DT_F32, o->box, n, 4)};
    item[k++] = (struct frame_item){"box_image", TENSOR1(DT_I32, o->image, n)};
    item[k++] =
        (struct frame_item){"category", TENSOR1(DT_I64, o->category, n)};
    item[k++] = (struct frame_item){"crowd", TENSOR1(DT_U8, o->crowd, n)};
    item[k++] = (struct frame_item){"area", TENSOR1(DT_F32, o->area, n)};
    return k;
}

int batch_write(void *writer, struct batch_frame *f)
{
    struct frame_writer *w = writer;
    struct frame_pair meta[18];
    char text[9][24], mix[5][24];
    int n = describe(f, meta, text), n_items;
    struct frame_item item[10];

    n += describe_mix(&f->mix, meta + n, mix);
    n_items = arrays(f, item);
    if (f->head.epoch_begin && write_epoch(w, f->head.epoch, "begin") < 0)
        return -1;
    if ((f->slot ? frame_write_ref(w, f->slot, "batch", meta, n, item, n_items)
                 : frame_write(w, "batch", meta, n, item, n_items, 0)) < 0)
        return -1;
    w->rows += (uint64_t)f->head.n;
    return f->head.epoch_end ? write_epoch(w, f->head.epoch, "end") : 0;
}
