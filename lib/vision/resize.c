#include "vision/resize.h"

#include "vision/resize_kern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Source rows taken through the horizontal pass at once: what they need stays
 * in the second-level cache. */
#define STRIP 64

struct block {
    uint8_t *p;
    size_t cap;
};

/* An axis in the form the kernels want. */
struct taps {
    struct resize_axis axis;
    struct resize_tap *tap;
    int32_t *pair; /* hi and lo of all */
    int cap_tap, cap_pair;
};

struct resizer {
    const struct resize_kern *kern;
    enum isa set;
    struct taps h, v;
    struct block copy, turned, thin, mid, done;
};

/* ---- the weights */

void resize_axis_release(struct resize_axis *a)
{
    free(a->from);
    free(a->count);
    free(a->weight);
    *a = (struct resize_axis){0};
}

/* Support, and taps that are enough for any output (Pillow's ksize). */
static double support(int in, int out, int *taps)
{
    double scale = (double)in / out;
    double s = scale < 1.0 ? 1.0 : scale;

    *taps = (int)ceil(s) * 2 + 1;
    return s;
}

/* Inputs from..hi-1 have a weight in output x. */
static int range(int in, int out, int x, int *from)
{
    int taps, lo, hi;
    double s = support(in, out, &taps);
    double c = (x + 0.5) * ((double)in / out);

    lo = (int)(c - s + 0.5);
    hi = (int)(c + s + 0.5);
    *from = lo < 0 ? 0 : lo;
    return (hi > in ? in : hi) - *from;
}

/* One output's weights; each operation as Resample.c does it, since the last
 * bit counts. */
static void weigh_output(int in, int out, int x, int from, int n, int32_t *k)
{
    int taps, q;
    double s = support(in, out, &taps), inv = 1.0 / s;
    double c = (x + 0.5) * ((double)in / out), sum = 0.0, w;

    for (q = 0; q < n; q++) {
        w = fabs((q + from - c + 0.5) * inv);
        sum += w < 1.0 ? 1.0 - w : 0.0;
    }
    for (q = 0; q < n; q++) {
        w = fabs((q + from - c + 0.5) * inv);
        w = w < 1.0 ? 1.0 - w : 0.0;
        if (sum != 0.0)
            w /= sum;
        k[q] = (int32_t)(0.5 + w * (1 << 22));
    }
}

void resize_axis_make(struct resize_axis *a, int in, int out, int first, int n)
{
    int i, taps;

    support(in, out, &taps);
    a->n = n;
    a->taps = (taps + 1) & ~1;
    if (n > a->cap_n) {
        a->from = xreallocarray(a->from, (size_t)n, sizeof(*a->from));
        a->count = xreallocarray(a->count, (size_t)n, sizeof(*a->count));
        a->cap_n = n;
    }
    if (n * a->taps > a->cap_weight) {
        a->cap_weight = n * a->taps;
        a->weight =
            xreallocarray(a->weight, (size_t)a->cap_weight, sizeof(*a->weight));
    }
    memset(a->weight, 0, (size_t)(n * a->taps) * sizeof(*a->weight));
    for (i = 0; i < n; i++) {
        a->count[i] = range(in, out, first + i, &a->from[i]);
        weigh_output(in, out, first + i, a->from[i], a->count[i],
                     a->weight + i * a->taps);
    }
}

/* The axis as pairs of halves; rows counted from origin. */
static void taps_make(struct taps *t, int in, int out, int first, int n,
                      int origin)
{
    struct resize_axis *a = &t->axis;
    int i, q, half;
    int32_t *hi, *lo;

    resize_axis_make(a, in, out, first, n);
    half = a->taps / 2;
    if (n > t->cap_tap) {
        t->tap = xreallocarray(t->tap, (size_t)n, sizeof(*t->tap));
        t->cap_tap = n;
    }
    if (n * a->taps > t->cap_pair) {
        t->cap_pair = n * a->taps;
        t->pair = xreallocarray(t->pair, (size_t)t->cap_pair, sizeof(*t->pair));
    }
    for (i = 0; i < n; i++) {
        const int32_t *k = a->weight + i * a->taps;

        hi = t->pair + i * a->taps;
        lo = hi + half;
        for (q = 0; q < half; q++, k += 2) {
            hi[q] = k[0] >> 11 | (k[1] >> 11) << 16;
            lo[q] = (k[0] & 2047) | (k[1] & 2047) << 16;
        }
        t->tap[i].from = a->from[i] - origin;
        t->tap[i].pairs = (a->count[i] + 1) / 2;
        t->tap[i].hi = hi;
        t->tap[i].lo = lo;
    }
}

/* ---- what is needed */

static void need_axis(int in, int out, int first, int n, int *from, int *count)
{
    int last;

    range(in, out, first, from);
    *count = range(in, out, first + n - 1, &last);
    *count += last - *from;
}

int resize_need(const struct resize_job *j, struct rect *need)
{
    if (j->in_w > (int64_t)j->out_w * RESIZE_MAX_SCALE ||
        j->in_h > (int64_t)j->out_h * RESIZE_MAX_SCALE)
        return err_set(ERR_DATA, "resize %dx%d to %dx%d: shrinks over %d times",
                       j->in_w, j->in_h, j->out_w, j->out_h, RESIZE_MAX_SCALE);
    need_axis(j->in_w, j->out_w, j->part.x, j->part.w, &need->x, &need->w);
    need_axis(j->in_h, j->out_h, j->part.y, j->part.h, &need->y, &need->h);
    return 0;
}

/* ---- the passes */

static void *room(struct block *b, size_t n)
{
    n += RESIZE_ALIGN;
    if (n > b->cap) {
        free(b->p);
        b->p = xmalloc(n);
        b->cap = n;
    }
    return b->p;
}

/* Pixels rounded up to whole vectors. */
static size_t padded(int n)
{
    return ((size_t)n + RESIZE_ALIGN / 4 - 1) & ~(size_t)(RESIZE_ALIGN / 4 - 1);
}

/*
 * One strip of rows, made part.w wide. Turned on its side first, so that the
 * weights of an output are the same for a whole vector of pixels.
 */
static void across(struct resizer *r, const uint32_t *src, size_t stride, int w,
                   int rows, uint32_t *out, size_t out_stride)
{
    int n = r->h.axis.n;
    uint32_t *turned = room(&r->turned, (size_t)(w + 1) * STRIP * 4);
    uint32_t *thin = room(&r->thin, (size_t)n * STRIP * 4);

    r->kern->transpose(src, stride, w, rows, turned, STRIP);
    r->kern->weigh((uint8_t *)turned, STRIP * 4, r->h.tap, n, (uint8_t *)thin,
                   STRIP * 4, padded(rows) * 4);
    r->kern->transpose(thin, STRIP, rows, n, out, out_stride);
}

/* Source rows across, then down: part.h rows of `wide` pixels to done. */
static void across_first(struct resizer *r, const struct rect *need,
                         const uint8_t *src, size_t stride, size_t wide,
                         uint8_t *done)
{
    uint32_t *mid = room(&r->mid, (size_t)(need->h + 1) * wide * 4);
    int y, k;

    for (y = 0; y < need->h; y += STRIP) {
        k = need->h - y < STRIP ? need->h - y : STRIP;
        across(r, (const uint32_t *)(const void *)(src + stride * (size_t)y),
               stride / 4, need->w, k, mid + wide * (size_t)y, wide);
    }
    r->kern->weigh((uint8_t *)mid, wide * 4, r->v.tap, r->v.axis.n, done,
                   wide * 4, wide * 4);
}

/* The other way round; rare, so the source is copied to whole vectors. */
static void down_first(struct resizer *r, const struct rect *need,
                       const uint8_t *src, size_t stride, size_t wide,
                       uint8_t *done)
{
    size_t w = padded(need->w);
    int n = r->v.axis.n, y, k;
    uint8_t *in = room(&r->copy, (size_t)(need->h + 1) * w * 4);
    uint32_t *mid = room(&r->mid, (size_t)n * w * 4);

    for (y = 0; y < need->h; y++)
        memcpy(in + w * 4 * (size_t)y, src + stride * (size_t)y,
               (size_t)need->w * 4);
    r->kern->weigh(in, w * 4, r->v.tap, n, (uint8_t *)mid, w * 4, w * 4);
    for (y = 0; y < n; y += STRIP) {
        k = n - y < STRIP ? n - y : STRIP;
        across(r, mid + w * (size_t)y, w, need->w, k,
               (uint32_t *)(void *)(done + wide * 4 * (size_t)y), wide);
    }
}

static bool is_down_first(const struct resize_job *j)
{
    if (j->out_h >= j->in_h)
        return false;
    if (j->pillow13)
        return j->in_h - j->out_h > 2 * (j->in_w - j->out_w);
    return j->in_h > 100 * j->in_w;
}

/* Red and blue of n pixels change places. */
static void swap_ends(uint32_t *p, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (p[i] & 0xff00ff00) | (p[i] >> 16 & 0xff) | (p[i] & 0xff) << 16;
}

void resize_run(struct resizer *r, const struct resize_job *j,
                const uint8_t *src, size_t stride, uint8_t *dst,
                size_t dst_stride)
{
    size_t wide = padded(j->part.w);
    struct rect need;
    uint8_t *done;
    int y;

    if (resize_need(j, &need) < 0)
        BUG("%s", err_text());
    taps_make(&r->h, j->in_w, j->out_w, j->part.x, j->part.w, need.x);
    taps_make(&r->v, j->in_h, j->out_h, j->part.y, j->part.h, need.y);
    done = room(&r->done, (size_t)j->part.h * wide * 4);
    (is_down_first(j) ? down_first : across_first)(r, &need, src, stride, wide,
                                                   done);
    for (y = 0; y < j->part.h; y++) {
        uint8_t *row = done + wide * 4 * (size_t)y;

        if (j->bgr)
            swap_ends((uint32_t *)(void *)row, j->part.w);
        (j->flip ? r->kern->store_flip : r->kern->store)(
            row, j->part.w, dst + dst_stride * (size_t)y);
    }
}

/* ---- the object */

bool resizer_use(struct resizer *r, const char *set)
{
    static const struct resize_kern *const kern[] = ISA_TABLE(resize_kern);

    if (!isa_find(set, &r->set))
        return false;
    r->kern = kern[r->set];
    return true;
}

const char *resizer_set(const struct resizer *r)
{
    return isa_names[r->set];
}

struct resizer *resizer_new(void)
{
    struct resizer *r = xcalloc(1, sizeof(*r));

    if (!resizer_use(r, isa_names[isa_best()]))
        BUG("no instruction set");
    return r;
}

static void taps_release(struct taps *t)
{
    resize_axis_release(&t->axis);
    free(t->tap);
    free(t->pair);
}

void resizer_free(struct resizer *r)
{
    if (!r)
        return;
    taps_release(&r->h);
    taps_release(&r->v);
    free(r->copy.p);
    free(r->turned.p);
    free(r->thin.p);
    free(r->mid.p);
    free(r->done.p);
    free(r);
}
