/* imgshard show - what an epoch sees of an image: where it stands in the order,
 * on which rank, which part of it is cut out, and the very pixels. */
#include "imgshard-feeding.h"

#include "util/json.h"
#include "vision/draw.h"

#include <stdio.h>
#include <string.h>

#define MOST 16 /* places of one sample in an epoch that are told */

static struct {
    int64_t epoch;
    char *out;
    bool json;
} set;

/* clang-format off */
struct opt show_opts[] = {
    {.name = "epoch", .type = OPT_INT, .addr = &set.epoch, .def = "0",
     .min = 0, .max = UINT32_MAX, .arg = "E", .help = "which epoch"},
    {.name = "output", .letter = 'o', .type = OPT_STRING, .addr = &set.out,
     .arg = "FILE", .help = "its pixels, as a picture: .jpg or .ppm"},
    {.name = "json", .type = OPT_FLAG, .addr = &set.json,
     .help = "one JSON object"},
    READING_ROWS,
    PIXELS_ROWS,
    OPT_END,
};
/* clang-format on */

/* Where a sample stands: a row of a micro-batch of a rank. */
struct place {
    int64_t pos, step, micro, rank, row;
};

struct showing {
    struct feeding f;
    int64_t sample;
    struct place at[MOST];
    int n;
    bool drawn;
};

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
    for (int64_t p = 0; p < r->batch.epoch_samples && s->n < MOST; p++)
        if (reader_sample(r, p) == s->sample)
            s->at[s->n++] = place_of(r, p);
    return 0;
}

/* ---- what is told */

struct told {
    json_t *json; /* or NULL: as text */
};

static void tell_int(struct told *t, const char *key, int64_t v)
{
    if (t->json)
        json_object_set_new(t->json, key, json_integer(v));
    else
        printf("%s\t%lld\n", key, (long long)v);
}

static void tell_text(struct told *t, const char *key, const char *v)
{
    if (t->json)
        json_object_set_new(t->json, key, json_string(v));
    else
        printf("%s\t%s\n", key, v);
}

static void tell_sample(struct told *t, const struct shard_set *set_of,
                        uint32_t i)
{
    size_t len;
    const char *at = shard_key(set_of, i, &len);
    char *key = xstrfmt("%.*s", (int)len, at), crc[16];

    tell_text(t, "key", key);
    tell_int(t, "sample", i);
    tell_int(t, "label", set_of->label[i]);
    if (set_of->label[i] >= 0)
        tell_text(t, "class", set_of->cls[set_of->label[i]].label);
    tell_text(t, "shard", set_of->shard[set_of->shard_of[i]].file);
    tell_int(t, "offset", (int64_t)set_of->offset[i]);
    tell_int(t, "bytes", set_of->size[i]);
    snprintf(crc, sizeof(crc), "%08lx", (unsigned long)set_of->crc32[i]);
    tell_text(t, "crc32", crc);
    tell_int(t, "width", set_of->width[i]);
    tell_int(t, "height", set_of->height[i]);
    free(key);
}

/* The part of the image, of the resized one for evaluation, that is fed. */
static void tell_crop(struct told *t, const struct batch_config *c, int w,
                      int h, int64_t pos)
{
    struct resize_job job;
    struct crop crop = {.flip = false};
    int left, top;

    if (c->train) {
        crop = augment_train(&c->augment, w, h, c->seed, (uint32_t)set.epoch,
                             (uint32_t)pos);
    } else {
        augment_eval(w, h, c->resize, c->size, c->squash, &job, &left, &top);
        tell_int(t, "resized_width", job.out_w);
        tell_int(t, "resized_height", job.out_h);
        crop.box = job.part;
    }
    tell_int(t, "x", crop.box.x);
    tell_int(t, "y", crop.box.y);
    tell_int(t, "w", crop.box.w);
    tell_int(t, "h", crop.box.h);
    tell_text(t, "flip", crop.flip ? "yes" : "no");
}

/* Four numbers, as x y w h. */
static void tell_box(struct told *t, const char *key, int x, int y, int w,
                     int h)
{
    char text[64];

    if (t->json) {
        json_object_set_new(t->json, key, json_pack("[iiii]", x, y, w, h));
        return;
    }
    snprintf(text, sizeof(text), "%d %d %d %d", x, y, w, h);
    tell_text(t, key, text);
}

/* What a policy does to the colours and the shape, step by step. */
static void tell_policy(struct told *t, const struct batch_config *c,
                        int64_t pos)
{
    struct policy_step step[POLICY_STEPS];
    int n = policy_draw(&c->policy, c->size, c->seed, (uint32_t)set.epoch,
                        (uint32_t)pos, step);
    json_t *list = t->json && n ? json_array() : NULL;

    for (int i = 0; i < n; i++) {
        json_t *o = list ? json_object() : NULL;

        if (!list) {
            printf("change\t%s %.6g\n", colour_name(step[i].op), step[i].m);
            continue;
        }
        json_object_set_new(o, "op", json_string(colour_name(step[i].op)));
        json_add_real(o, "m", step[i].m);
        json_array_append_new(list, o);
    }
    if (list)
        json_object_set_new(t->json, "changes", list);
}

/* Which other image of its micro-batch it is mixed with, and how. */
static void tell_mix(struct told *t, const struct showing *s,
                     const struct place *at)
{
    const struct batch_config *c = &s->f.config;
    const struct reader *r = &s->f.reader;
    int64_t first = at->pos - at->row, count, other;
    struct mix m = mix_draw(&c->mix, c->size, c->seed, (uint32_t)set.epoch,
                            (uint32_t)first);

    if (m.kind == MIX_NONE)
        return;
    recipe_rows(&r->batch, r->tail, at->step * r->batch.global, at->micro,
                at->rank, &first, &count);
    other = first + (at->row + count - 1) % count;
    tell_text(t, "mix", m.kind == MIX_MIXUP ? "mixup" : "cutmix");
    tell_int(t, "mix_sample", order_at(&r->order, other));
    if (t->json)
        json_add_real(t->json, "mix_lambda", m.lambda);
    else
        printf("mix_lambda\t%.6g\n", m.lambda);
    if (m.kind == MIX_CUTMIX)
        tell_box(t, "mix_box", m.box[1], m.box[0], m.box[3] - m.box[1],
                 m.box[2] - m.box[0]);
}

static void tell_place(struct told *t, const struct showing *s,
                       const struct place *at)
{
    const struct shard_set *set_of = &s->f.reader.set;
    const struct batch_config *c = &s->f.config;
    struct rect gone;

    tell_int(t, "position", at->pos);
    tell_int(t, "step", at->step);
    tell_int(t, "micro", at->micro);
    tell_int(t, "rank", at->rank);
    tell_int(t, "row", at->row);
    tell_crop(t, c, set_of->width[s->sample], set_of->height[s->sample],
              at->pos);
    if (!c->train)
        return;
    tell_policy(t, c, at->pos);
    gone = augment_erase(&c->augment, c->size, c->seed, (uint32_t)set.epoch,
                         (uint32_t)at->pos);
    if (gone.w > 0 && gone.h > 0)
        tell_box(t, "erased", gone.x, gone.y, gone.w, gone.h);
    tell_mix(t, s, at);
}

static void tell(const struct showing *s)
{
    struct told all = {set.json ? json_object() : NULL}, one = all;
    json_t *seen = set.json ? json_array() : NULL;
    struct buf b = BUF_INIT;

    tell_sample(&all, &s->f.reader.set, (uint32_t)s->sample);
    tell_int(&all, "epoch", set.epoch);
    if (!all.json)
        tell_int(&all, "seen", s->n);
    for (int i = 0; i < s->n; i++) {
        if (seen)
            one.json = json_object();
        tell_place(&one, s, &s->at[i]);
        if (seen)
            json_array_append_new(seen, one.json);
    }
    if (!seen)
        return;
    json_object_set_new(all.json, "seen", seen);
    json_canonical(&b, all.json);
    puts(b.data);
    buf_release(&b);
    json_decref(all.json);
}

/* ---- its pixels */

static int draw_row(void *arg, struct batch_frame *f)
{
    struct showing *s = arg;
    int64_t j = s->at[0].row;
    struct canvas c = {f->image + (size_t)f->w * (size_t)f->h * 3 * (size_t)j,
                       f->w, f->h};

    if (f->head.pos + j != s->at[0].pos || f->index[j] != s->sample)
        BUG("row %lld of the frame is another", (long long)j);
    batch_seen(f, recipe.mean.f);
    return canvas_save(&c, set.out);
}

/* The micro-batch that it is in, as it was fed. */
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
    return feeding_run(&s->f, draw_row, s);
}

int imgshard_show(const struct command *c, int argc, char **argv)
{
    struct showing s = {.n = 0};
    int r = -1;

    (void)argc;
    if (set.out && canvas_kind(set.out) < 0)
        return -1;
    if (feeding_open(&s.f, c, argv[0], set.epoch) < 0 ||
        find_sample(&s.f.reader.set, argv[1], &s.sample) < 0 ||
        find_places(&s) < 0 || (set.out && draw(&s) < 0))
        goto out;
    tell(&s);
    r = 0;
out:
    feeding_close(&s.f);
    return r;
}
