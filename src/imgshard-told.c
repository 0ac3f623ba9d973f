/* What show tells: of a sample, then of each time that the epoch sees it. */
#include "imgshard-show.h"

#include "util/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    struct buf b = BUF_INIT;

    if (t->json) {
        json_object_set_new(t->json, key, json_string(v));
        return;
    }
    buf_addplain(&b, v, strlen(v));
    printf("%s\t%s\n", key, b.data);
    buf_release(&b);
}

static void tell_sample(struct told *t, const struct shard_set *set_of,
                        uint32_t i)
{
    size_t len;
    const char *at = shard_key(set_of, i, &len);
    char *key = xstrfmt("%.*s", (int)len, at), crc[16];

    tell_text(t, "key", key);
    tell_int(t, "sample", i);
    if (!shard_is_detection(set_of))
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
static void tell_crop(struct told *t, const struct showing *s, int64_t pos)
{
    const struct shard_set *set_of = &s->f.reader.set;
    const struct batch_config *c = &s->f.config;
    int w = set_of->width[s->sample], h = set_of->height[s->sample];
    struct resize_job job;
    struct crop crop = {.flip = false};
    int left, top;

    if (c->train) {
        crop = augment_train(&c->augment, w, h, c->seed, (uint32_t)s->epoch,
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
static void tell_policy(struct told *t, const struct showing *s, int64_t pos)
{
    const struct batch_config *c = &s->f.config;
    struct policy_step step[POLICY_STEPS];
    int n = policy_draw(&c->policy, c->size, c->seed, (uint32_t)s->epoch,
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
    struct mix m = mix_draw(&c->mix, c->size, c->seed, (uint32_t)s->epoch,
                            (uint32_t)first);

    if (m.kind == MIX_NONE)
        return;
    recipe_rows(&r->batch, r->tail, at->step * r->batch.global, at->micro,
                at->rank, &first, &count);
    other = first + (at->row + count - 1) % count;
    tell_text(t, "mix", m.kind == MIX_MIXUP ? "mixup" : "cutmix");
    tell_int(t, "mix_sample", reader_sample(r, other));
    if (t->json)
        json_add_real(t->json, "mix_lambda", m.lambda);
    else
        printf("mix_lambda\t%.6g\n", m.lambda);
    if (m.kind == MIX_CUTMIX)
        tell_box(t, "mix_box", m.box[1], m.box[0], m.box[3] - m.box[1],
                 m.box[2] - m.box[0]);
}

/* What is done to an image for a classifier. */
static void tell_classified(struct told *t, const struct showing *s,
                            const struct place *at)
{
    const struct batch_config *c = &s->f.config;
    struct rect gone;

    tell_crop(t, s, at->pos);
    if (!c->train)
        return;
    tell_policy(t, s, at->pos);
    gone = augment_erase(&c->augment, c->size, c->seed, (uint32_t)s->epoch,
                         (uint32_t)at->pos);
    if (gone.w > 0 && gone.h > 0)
        tell_box(t, "erased", gone.x, gone.y, gone.w, gone.h);
    tell_mix(t, s, at);
}

/* An object: class and corners in the image as it is fed. */
static void tell_object(struct told *t, const struct shard_set *set_of,
                        const struct detect_objects *o, size_t i)
{
    const float *b = o->box + 4 * i;
    const char *name = set_of->cls[o->category[i]].label;
    struct buf text = BUF_INIT;
    json_t *j;

    if (!t->json) {
        buf_addplain(&text, name, strlen(name));
        printf("object\t%s%s\t%.6g %.6g %.6g %.6g\n", text.data,
               o->crowd[i] ? " (crowd)" : "", (double)b[0], (double)b[1],
               (double)b[2], (double)b[3]);
        buf_release(&text);
        return;
    }
    j = json_object();
    json_object_set_new(j, "class", json_string(name));
    json_object_set_new(j, "crowd", json_boolean(o->crowd[i]));
    json_object_set_new(j, "box",
                        json_pack("[ffff]", (double)b[0], (double)b[1],
                                  (double)b[2], (double)b[3]));
    json_array_append_new(json_object_get(t->json, "objects"), j);
}

/* What is done to an image for a detector, and where its objects are then. */
static int tell_detected(struct told *t, struct showing *s,
                         const struct place *at)
{
    const struct shard_set *set_of = &s->f.reader.set;
    const struct batch_config *c = &s->f.config;
    struct detect_plan plan = detect_plan(
        c->detect, set_of->width[s->sample], set_of->height[s->sample], c->seed,
        (uint32_t)s->epoch, (uint32_t)at->pos);
    struct detect_objects o = {.n = 0};
    struct annot a = {.n = 0};
    struct buf b = BUF_INIT;
    int r = reader_fetch_annot(&s->f.reader, (uint32_t)s->sample, &b);

    if (r == 0 && (annot_parse(&a, b.data, b.len) < 0 ||
                   annot_check(&a, set_of->n_classes) < 0)) {
        buf_reset(&b);
        shard_describe(set_of, (uint32_t)s->sample, &b);
        r = err_wrap("%s", b.data);
    }
    tell_int(t, "resized_width", plan.w);
    tell_int(t, "resized_height", plan.h);
    tell_text(t, "flip", plan.flip ? "yes" : "no");
    if (t->json)
        json_object_set_new(t->json, "objects", json_array());
    if (r == 0)
        detect_boxes(&o, &a, &plan, 0, c->detect->crowd);
    for (size_t i = 0; i < o.n; i++)
        tell_object(t, set_of, &o, i);
    buf_release(&b);
    annot_release(&a);
    detect_objects_release(&o);
    return r;
}

static int tell_place(struct told *t, struct showing *s, const struct place *at)
{
    tell_int(t, "position", at->pos);
    tell_int(t, "step", at->step);
    tell_int(t, "micro", at->micro);
    tell_int(t, "rank", at->rank);
    tell_int(t, "row", at->row);
    if (s->f.config.detect)
        return tell_detected(t, s, at);
    tell_classified(t, s, at);
    return 0;
}

int show_tell(struct showing *s, bool json)
{
    struct told all = {json ? json_object() : NULL}, one = all;
    json_t *seen = json ? json_array() : NULL;
    struct buf b = BUF_INIT;
    int r = 0;

    tell_sample(&all, &s->f.reader.set, (uint32_t)s->sample);
    tell_int(&all, "epoch", s->epoch);
    if (!all.json)
        tell_int(&all, "seen", s->n);
    for (int i = 0; i < s->n && r == 0; i++) {
        if (seen)
            one.json = json_object();
        r = tell_place(&one, s, &s->at[i]);
        if (seen)
            json_array_append_new(seen, one.json);
    }
    if (!seen)
        return r;
    json_object_set_new(all.json, "seen", seen);
    json_canonical(&b, all.json);
    puts(b.data);
    buf_release(&b);
    json_decref(all.json);
    return r;
}
