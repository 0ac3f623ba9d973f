#include "engine/cpu/laneconv.h"
#include "engine/cpu/lanes.h"
#include "engine/cpu/places.h"
#include "util/err.h"
#include "util/fnv.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLACES = 96,          /* of a chunk: its sums stay in the first cache, */
    BYTES = 5 << 17,      /* and what it reads in the second */
    PAIRS = 126,          /* of a chunk of weight gradients, */
    PAIR_BYTES = 5 << 18, /* and its two panels */
    PLACES_LEAST = 60,
    CHUNKS = 14,     /* of them that are added before their sum is */
    FEW = 16,        /* channels; fewer are taken with their window */
    LANES = 16,      /* threads with weight gradients of their own */
    LARGE = 2 << 20, /* bytes of a result that leaves the caches */
    ALIGN = 64
};

struct laneconv {
    const struct lane_ops *ops;
    struct conv_desc d;
    struct places places;
    int threads;
    bool columns;    /* the window of a place is its one tap */
    bool past;       /* the result is written past the caches */
    int taps;        /* of all jobs */
    int64_t in, out; /* terms of a tap; channels of the result */
    int lanes;       /* weight gradients: threads with sums */
    size_t panel, list, own, own_lists; /* bytes of a panel of x, a list, a
                                           thread, its lists */
    char name[16];
};

static size_t aligned(int64_t n)
{
    return ((size_t)n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static bool is_weight(const struct laneconv *l)
{
    return l->d.kind == CONV_WGRAD;
}

/* ---- planning */

static const struct lane_ops *ops_here(void)
{
    static const struct lane_ops *const sets[] = ISA_TABLE(lane_ops);

    return sets[isa_best()];
}

bool laneconv_takes(const struct conv_desc *d)
{
    const struct lane_ops *ops = ops_here();
    int64_t out = d->kind == CONV_DGRAD ? d->c : d->k;

    if (!ops->multiply || d->dtype != DT_F32 || d->out != DT_F32 ||
        d->stride > GRID_STRIDE || d->r * d->s > GRID_TAPS)
        return false;
    if (d->kind == CONV_WGRAD)
        return d->c < FEW || d->c % ops->width == 0;
    return out % ops->width == 0;
}

/* The window of a place as one tap: a 1x1 convolution of it. */
static void take_columns(struct laneconv *l)
{
    struct conv_desc core = {.kind = CONV_FORWARD,
                             .n = l->d.n,
                             .h = conv_p(&l->d),
                             .w = conv_q(&l->d),
                             .r = 1,
                             .s = 1,
                             .stride = 1};

    l->columns = true;
    l->in = l->d.r * l->d.s * l->d.c;
    if (is_weight(l)) /* whole vectors */
        l->in = (l->in + l->ops->width - 1) / l->ops->width * l->ops->width;
    (void)places_init(&l->places, &core, false, l->ops->places);
}

/* Chunks of at most n places, for each of which `line` numbers are read, together
 * at most `bytes`. */
static void cut_places(struct laneconv *l, int64_t n, int64_t line,
                       int64_t bytes)
{
    int64_t want = bytes / (line * (int64_t)sizeof(float));

    places_cut(&l->places, most(PLACES_LEAST, least(n, want)),
               is_weight(l) ? l->lanes : l->threads);
}

static int64_t bytes_of_result(const struct laneconv *l)
{
    const struct grid *g = &l->places.grid;

    return g->n * g->oh * g->ow * l->out * (int64_t)sizeof(float);
}

/* Packed weights are equal for equal widths, direction and order of taps. */
static uint64_t layout_of(const struct laneconv *l)
{
    uint64_t h = FNV_EMPTY;
    int i;

    h = fnv_add(h, (uint64_t)l->ops->width);
    h = fnv_add(h, 2u + (l->d.kind == CONV_DGRAD));
    for (i = 0; i < l->taps; i++)
        h = fnv_add(h, (uint64_t)l->places.grid.tap[i].at);
    return h;
}

/* Weight gradients of one lane. */
static size_t sums_bytes(const struct laneconv *l)
{
    return aligned(l->d.k * l->taps * l->in * (int64_t)sizeof(float));
}

/* Of all, and of parts where there are any. */
static size_t sums_of_lanes(const struct laneconv *l)
{
    bool parts = l->places.chunks > (int64_t)CHUNKS * l->lanes;

    return (size_t)(parts ? 2 * l->lanes : l->lanes) * sums_bytes(l);
}

/* Of dy: whole groups of channels. */
static int64_t lines_of_dy(const struct laneconv *l)
{
    int64_t group = l->ops->places;

    return (l->d.k + group - 1) / group * group;
}

/* Scratch memory: the sums of lanes, then of each thread its panels or sums, its
 * columns and its lists, of which the last is that of the result. */
static void plan_scratch(struct laneconv *l, struct conv_needs *needs)
{
    const int64_t size = (int64_t)sizeof(float), n = l->places.most;

    l->list = aligned((n + l->ops->places) * (int64_t)sizeof(int32_t));
    l->own_lists = 2 * (size_t)(l->taps + 1) * l->list;
    if (is_weight(l)) {
        l->panel = aligned(most(n, l->places.span) * l->in * size);
        l->own = l->panel + aligned(n * lines_of_dy(l) * size);
    } else {
        l->own = aligned((n + 1) * l->ops->width * size);
    }
    if (l->columns)
        l->own += aligned(n * l->in * size);
    l->own += l->own_lists;
    needs->scratch_bytes =
        l->own * (size_t)(is_weight(l) ? l->lanes : l->threads);
    if (is_weight(l))
        needs->scratch_bytes += sums_of_lanes(l);
}

struct laneconv *laneconv_new(const struct conv_desc *d, int threads,
                              struct conv_needs *needs)
{
    const struct lane_ops *ops = ops_here();
    bool back = d->kind == CONV_DGRAD;
    struct laneconv *l;

    if (!laneconv_takes(d))
        return NULL;
    l = xcalloc(1, sizeof(*l));
    l->ops = ops;
    l->d = *d;
    l->threads = threads;
    l->in = back ? d->k : d->c;
    l->out = back ? d->c : d->k;
    if (!places_init(&l->places, d, back, ops->places)) {
        free(l);
        return NULL;
    }
    if (!back && d->c < FEW)
        take_columns(l);
    l->taps = l->places.grid.taps;
    memset(needs, 0, sizeof(*needs));
    if (is_weight(l)) {
        l->lanes = threads < LANES ? threads : LANES;
        cut_places(l, PAIRS, l->in + d->k, PAIR_BYTES);
    } else {
        cut_places(l, PLACES, l->in, BYTES);
        l->past = bytes_of_result(l) > LARGE;
        needs->packed_bytes =
            (size_t)(l->taps * l->in * l->out) * sizeof(float);
        needs->layout = layout_of(l);
    }
    plan_scratch(l, needs);
    snprintf(l->name, sizeof(l->name), "lanes:%s", isa_names[isa_best()]);
    return l;
}

void laneconv_free(struct laneconv *l)
{
    free(l);
}

const char *laneconv_name(const struct laneconv *l)
{
    return l->name;
}

/* ---- weights: [out/width][taps][in][width] */

/* One tap for `width` channels of the result. */
static void pack_tap(const struct laneconv *l, const float *w, float *to)
{
    int64_t line = l->d.r * l->d.s * l->d.c, width = l->ops->width;
    int64_t block, end, t, j;

    if (l->d.kind == CONV_DGRAD) {
        for (t = 0; t < l->in; t++)
            memcpy(to + t * width, w + t * line, (size_t)width * sizeof(float));
        return;
    }
    for (block = 0; block < l->in; block = end) { /* a cache line of each */
        end = least(block + 16, l->in);
        for (j = 0; j < width; j++)
            for (t = block; t < end; t++)
                to[t * width + j] = w[j * line + t];
    }
}

void laneconv_pack(const struct laneconv *l, const float *master, void *packed)
{
    int64_t width = l->ops->width, n = l->out / width * l->taps, i;

#pragma omp parallel for schedule(static)
    for (i = 0; i < n; i++) {
        const float *w = master + l->places.grid.tap[i % l->taps].at * l->d.c;
        int64_t line = l->d.kind == CONV_DGRAD ? 1 : l->d.r * l->d.s * l->d.c;

        pack_tap(l, w + i / l->taps * width * line,
                 (float *)packed + i * l->in * width);
    }
}

/* ---- a thread's memory */

struct own {
    float *panel;   /* of x: [in/width][span][width] */
    float *sum;     /* [places + 1][width], or the panel of dy:
                       [k/group][places][group] */
    float *columns; /* [places][in] */
    char *lists;
};

static struct own own_of(const struct laneconv *l, void *scratch, int i)
{
    size_t sums = is_weight(l) ? sums_of_lanes(l) : 0;
    char *at = (char *)scratch + sums + l->own * (size_t)i;
    char *end = at + l->own - l->own_lists;
    struct own o = {.panel = (float *)(void *)at,
                    .sum = (float *)(void *)(at + l->panel),
                    .lists = end};

    if (l->columns)
        end -= aligned(l->places.most * l->in * (int64_t)sizeof(float));
    o.columns = (float *)(void *)end;
    return o;
}

/* The list of a tap; that of the result follows the last. */
static struct list list_at(const struct laneconv *l, const struct own *o,
                           int tap)
{
    char *at = o->lists + 2 * (size_t)tap * l->list;
    struct list s = {.at = (int32_t *)(void *)at,
                     .pixel = (int32_t *)(void *)(at + l->list)};

    return s;
}

/* Rows [r,s,c] of the windows of the places of a range. */
static void write_columns(const struct laneconv *l, const float *x,
                          const struct range *range, float *out)
{
    const struct conv_desc *d = &l->d;
    int64_t row = d->s * d->c, p = conv_p(d), q = conv_q(d), m, r;

    for (m = range->from; m < range->to; m++, out += l->in) {
        int64_t left = m % q * d->stride - d->pad;
        int64_t top = m / q % p * d->stride - d->pad;
        int64_t lo = most(-left, 0), hi = most(least(d->w - left, d->s), lo);

        memset(out, 0, (size_t)l->in * sizeof(float));
        for (r = 0; r < d->r; r++) {
            if (top + r < 0 || top + r >= d->h)
                continue;
            memcpy(out + r * row + lo * d->c,
                   x + ((m / q / p * d->h + top + r) * d->w + left + lo) * d->c,
                   (size_t)((hi - lo) * d->c) * sizeof(float));
        }
    }
}

/* ---- forward, and gradients of activations */

/* `width` channels of a chunk, from the lists: a part of a tap's terms at a time. */
static void run_block(const struct laneconv *l, const struct lane_rows *base,
                      const struct list *taps, int n, const float *b)
{
    struct lane_rows r = *base;
    int64_t from;
    int i;

    for (i = 0; i < n; i++) {
        r.at = taps[i].at;
        r.pixel = taps[i].pixel;
        r.n = taps[i].n;
        for (from = 0; from < l->in; from += r.terms) {
            r.terms = least(LANE_TERMS * LANE_RUNS, l->in - from);
            r.x = base->x + from;
            r.b = b + (i * l->in + from) * l->ops->width;
            l->ops->multiply(&r);
            r.add = true;
        }
    }
}

static int64_t runs_of(int64_t terms)
{
    return (terms + LANE_TERMS - 1) / LANE_TERMS;
}

static struct lane_ahead ahead_of(const float *next, const float *end,
                                  int64_t runs)
{
    struct lane_ahead ahead = {(const char *)next, (const char *)end, 0};

    ahead.step = (ahead.end - ahead.next) / 64 / most(runs, 1) + 1;
    return ahead;
}

/* What a chunk reads of x is fetched during the runs of the one before. */
static struct lane_ahead ahead_of_x(const struct laneconv *l, const float *x,
                                    int64_t chunk, int64_t runs)
{
    struct range range;
    int64_t first, end;

    if (chunk >= l->places.chunks || l->columns)
        return ahead_of(x, x, 1);
    range = places_range(&l->places, chunk);
    if (places_job(&l->places, &range)->taps == 0)
        return ahead_of(x, x, 1);
    places_span(&l->places, &range, &first, &end);
    return ahead_of(x + first * l->in, x + end * l->in, runs);
}

static void run_chunk(const struct laneconv *l, const struct conv_args *a,
                      int64_t chunk, const struct own *o)
{
    const struct range range = places_range(&l->places, chunk);
    const struct grid_job *job = places_job(&l->places, &range);
    const float *x = l->d.kind == CONV_DGRAD ? a->dy : a->x;
    struct list taps[GRID_TAPS], result = list_at(l, o, l->taps);
    struct lane_rows r = {.x = x, .line = l->in, .sum = o->sum};
    struct lane_store s = {.sum = o->sum,
                           .line = l->out,
                           .n = range.to - range.from,
                           .pixel = result.pixel,
                           .relu = l->d.relu,
                           .past = l->past && (uintptr_t)a->out % ALIGN == 0};
    int64_t g, width = l->ops->width;
    struct lane_ahead ahead;
    bool whole = job->taps == 1;
    int i;

    places_result(&l->places, &range, &result);
    for (i = 0; i < job->taps; i++) {
        taps[i] = list_at(l, o, i);
        places_list(&l->places, &range, i, &taps[i]);
        whole &= taps[i].n == s.n;
        places_fill(&l->places, &taps[i]);
    }
    if (l->columns) {
        write_columns(l, x, &range, o->columns);
        r.x = o->columns - range.from * l->in;
    }
    r.add = !whole;
    ahead = ahead_of_x(l, x, chunk + l->threads,
                       job->taps * runs_of(l->in) * (l->out / width) *
                           (s.n / l->ops->places));
    r.ahead = &ahead;
    for (g = 0; g < l->out; g += width) {
        if (!whole)
            memset(o->sum, 0, (size_t)(s.n * width) * sizeof(float));
        run_block(l, &r, taps, job->taps,
                  (const float *)a->w +
                      (g * l->taps + job->first * width) * l->in);
        s.y = (float *)a->out + g;
        if (conv_has_bias(&l->d))
            s.bias = (const float *)a->bias + g;
        if (l->d.epi == EPI_ADD_BIAS)
            s.add = (const float *)a->add + g;
        l->ops->store(&s);
    }
}

static void run_places(const struct laneconv *l, const struct conv_args *a)
{
    int64_t chunk;

#pragma omp parallel num_threads(l->threads)
    {
        struct own o = own_of(l, a->scratch, omp_get_thread_num());

#pragma omp for schedule(dynamic, 1)
        for (chunk = 0; chunk < l->places.chunks; chunk++)
            run_chunk(l, a, chunk, &o);
    }
}

/* ---- gradients of weights: dw[k, tap, c] = sum over places dy * x */

/* The pixels of a chunk as a panel, from whose first the lists then count. Where
 * a pixel has no more numbers than a block x is one itself. */
static const float *panel_of_x(const struct laneconv *l, const float *x,
                               const struct range *range, const struct own *o,
                               struct list *taps)
{
    int64_t width = l->ops->width, first, end, j;
    struct lane_cut c = {.line = l->in,
                         .next = most(l->places.most, l->places.span) * width,
                         .out = o->panel};
    int i;

    if (l->columns) {
        write_columns(l, x, range, o->columns);
        x = o->columns - range->from * l->in;
    }
    if (l->in == width)
        return x;
    if (l->taps == 1) { /* without what lies between */
        for (c.n = 1, j = 0; j < taps->n; j++, c.out += width) {
            c.x = x + taps->pixel[j] * l->in;
            l->ops->cut(&c);
            taps->pixel[j] = (int32_t)j;
        }
        return o->panel;
    }
    places_span(&l->places, range, &first, &end);
    c.x = x + first * l->in;
    c.n = end - first;
    l->ops->cut(&c);
    for (i = 0; i < l->taps; i++)
        for (j = 0; j < taps[i].n; j++)
            taps[i].pixel[j] -= (int32_t)first;
    return o->panel;
}

static struct lane_ahead ahead_of_dy(const struct laneconv *l, const float *dy,
                                     int64_t chunk, int64_t runs)
{
    struct range range;

    if (chunk >= l->places.chunks)
        return ahead_of(dy, dy, 1);
    range = places_range(&l->places, chunk);
    return ahead_of(dy + range.from * l->d.k, dy + range.to * l->d.k, runs);
}

static void add_chunk(const struct laneconv *l, const struct conv_args *a,
                      int64_t chunk, const struct own *o, float *sums, bool add)
{
    const struct range range = places_range(&l->places, chunk);
    const struct grid_tap *tap = l->places.grid.tap;
    int64_t group = l->ops->places, width = l->ops->width, runs, c, k;
    struct list taps[GRID_TAPS];
    struct lane_ahead ahead[2];
    struct lane_pairs p = {.line = l->taps * l->in, .add = add, .ahead = ahead};
    struct lane_cut dy = {.x = (const float *)a->dy + range.from * l->d.k,
                          .line = l->d.k,
                          .n = range.to - range.from,
                          .next = l->places.most * group,
                          .out = o->sum};
    const float *x;
    int i;

    for (i = 0; i < l->taps; i++) {
        taps[i] = list_at(l, o, i);
        places_list(&l->places, &range, i, &taps[i]);
    }
    x = panel_of_x(l, a->x, &range, o, taps);
    l->ops->cut_groups(&dy);
    runs = l->in / width * l->taps * (lines_of_dy(l) / group) * runs_of(dy.n);
    ahead[0] = ahead_of_x(l, a->x, chunk + l->lanes, runs);
    ahead[1] = ahead_of_dy(l, a->dy, chunk + l->lanes, runs);
    for (c = 0; c < l->in; c += width) {
        p.b = x + c * most(l->places.most, l->places.span);
        for (i = 0; i < l->taps; i++) {
            p.at = taps[i].at;
            p.pixel = taps[i].pixel;
            p.n = taps[i].n;
            for (k = 0; k < l->d.k; k += group) {
                p.rows = (int)least(group, l->d.k - k);
                p.a = o->sum + k * l->places.most;
                p.sum = sums + k * p.line + tap[i].at * l->in + c;
                l->ops->multiply_pairs(&p);
            }
        }
    }
}

/* Where a lane adds up; the first one in the result, if that is new. */
static float *sums_of(const struct laneconv *l, const struct conv_args *a,
                      int lane)
{
    if (lane == 0 && !l->columns && !a->accumulate)
        return a->out;
    return (float *)(void *)((char *)a->scratch + (size_t)lane * sums_bytes(l));
}

/* Where it adds up a part of its chunks after the first. */
static float *part_of(const struct laneconv *l, const struct conv_args *a,
                      int lane)
{
    return (float *)(void *)((char *)a->scratch +
                             (size_t)(l->lanes + lane) * sums_bytes(l));
}

/* Row k of the result: what it holds and the sum of the lanes, which is the same
 * whether it holds something or not. */
static void add_lanes(const struct laneconv *l, const struct conv_args *a,
                      int64_t k)
{
    int64_t n = l->d.r * l->d.s * l->d.c, line = l->taps * l->in, j;
    float *out = (float *)a->out + k * n, *sum = sums_of(l, a, 0) + k * line;
    int lane;

    for (lane = 1; lane < l->lanes && lane < l->places.chunks; lane++) {
        const float *s = sums_of(l, a, lane) + k * line;

        for (j = 0; j < n; j++)
            sum[j] += s[j];
    }
    for (j = 0; j < n && sum != out; j++)
        out[j] = a->accumulate ? out[j] + sum[j] : sum[j];
}

/* All chunks of a lane: a part of them at a time, where there are more. */
static void run_lane(const struct laneconv *l, const struct conv_args *a,
                     int lane)
{
    struct own o = own_of(l, a->scratch, lane);
    float *sums = sums_of(l, a, lane), *part = part_of(l, a, lane);
    int64_t n = l->d.k * l->taps * l->in, begin, end, chunk, j;

    for (begin = lane; begin < l->places.chunks; begin = end) {
        float *to = begin == lane ? sums : part;

        end = begin + CHUNKS * (int64_t)l->lanes;
        for (chunk = begin; chunk < least(end, l->places.chunks);
             chunk += l->lanes)
            add_chunk(l, a, chunk, &o, to, chunk != begin);
        for (j = 0; j < n && to == part; j++)
            sums[j] += part[j];
    }
}

static void run_weights(const struct laneconv *l, const struct conv_args *a)
{
    int64_t k;
    int lane;

#pragma omp parallel num_threads(l->threads)
    {
#pragma omp for schedule(static, 1)
        for (lane = 0; lane < l->lanes; lane++)
            run_lane(l, a, lane);
#pragma omp for schedule(static)
        for (k = 0; k < l->d.k; k++)
            add_lanes(l, a, k);
    }
}

void laneconv_run(const struct laneconv *l, const struct conv_args *a)
{
    if (is_weight(l))
        run_weights(l, a);
    else
        run_places(l, a);
}
