#include "engine/cpu/tileconv.h"
#include "engine/cpu/grid.h"
#include "engine/cpu/tiles.h"
#include "util/err.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = TILE * TILE,
    GROUP = TILE,            /* pixels that are cut together */
    CHUNK_BYTES = 640 << 10, /* of a source in pieces: with the weights of one
                                block of channels it stays in 2 MiB of cache */
    LEAST_PLACES = 64,       /* below it the rest of a block costs too much */
    MOST_PLACES = 2048,
    MOST_PITCH = 8192,
    PAST_LINE = 256, /* bytes of a pixel */
    PAST_BYTES = 4 << 20,
    WEIGHT_BYTES = 1 << 20, /* of a chunk of x and dy in pieces */
    WEIGHT_LEAST = 128,     /* places of such a chunk, or one row */
    WEIGHT_MOST = 512,
    WEIGHT_STEPS = MOST_PITCH / TILE,
    LANES = 16 /* threads that have their own sums of weight gradients */
};

struct tileconv {
    const struct tile_ops *ops;
    struct conv_desc d;
    struct grid grid;
    int planes, threads;
    bool past;        /* results are written past the cache */
    int64_t in, out;  /* channels of the source and of the result, by 32 */
    ptrdiff_t *shift; /* of each step: all taps, each with all `in` */
    /* bytes of scratch: of a thread or chunk, and of its parts */
    size_t own, table_bytes, line_bytes;
    int lanes;           /* weight gradients: threads with sums of their own */
    size_t column, next; /* weight gradients: to the next channel of x, and to
                            the next 32 places */
    char name[40];
};

/* Rounded up to whole cache lines. */
static size_t lines(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static bool is_weight(const struct tileconv *t)
{
    return t->d.kind == CONV_WGRAD;
}

static bool takes(const struct conv_desc *d)
{
    /* a classifier has few rows; its block would be mostly empty */
    return d->n * conv_p(d) * conv_q(d) >= TILE && d->c % TILE == 0 &&
           d->k % TILE == 0;
}

/* ---- planning */

static int64_t clamp(int64_t v, int64_t least, int64_t most)
{
    return v < least ? least : v > most ? most : v;
}

/* Chunks: in pieces they stay in the cache, and there are some for each
 * thread. */
static void cut_source(struct tileconv *t)
{
    struct grid *g = &t->grid;
    size_t place = (size_t)(g->phases * t->in * t->planes) * TILE_ROW;
    int64_t want = (int64_t)(CHUNK_BYTES / place);
    int64_t share = g->n * g->h * g->pitch / (2 * t->threads);

    grid_cut(g, clamp(want < share ? want : share, LEAST_PLACES, MOST_PLACES));
    t->line_bytes = (size_t)g->length * TILE_ROW;
    t->own =
        (size_t)g->phases * (size_t)t->in * (size_t)t->planes * t->line_bytes;
}

static void cut_weights(struct tileconv *t)
{
    struct grid *g = &t->grid;
    int64_t place = (t->in * g->phases + t->out) * t->planes * TILE_ROW;
    int64_t share = g->n * g->h * g->pitch / (2 * t->lanes);
    int64_t want = WEIGHT_BYTES / place;

    grid_cut(g, clamp(want < share ? want : share, WEIGHT_LEAST, WEIGHT_MOST));
    if (g->taps == 1) { /* tiles of A lie in one piece */
        t->column = TILE_ROW;
        t->next = (size_t)t->d.c * TILE_ROW;
        t->line_bytes = (size_t)(g->places / TILE) * t->next;
    } else { /* an odd number of cache lines apart, for rows of a tile are read
              * at the same place of 16 lines; the last 32 may overhang */
        t->column = lines((size_t)(g->length + TILE) * sizeof(uint16_t)) | 64;
        t->next = TILE_ROW;
        t->line_bytes = t->column * (size_t)t->d.c;
    }
    t->own = (size_t)g->phases * (size_t)t->planes * t->line_bytes +
             (size_t)(g->places * t->out * t->planes) * TILE_ROW;
}

static void plan_steps(struct tileconv *t)
{
    const struct grid *g = &t->grid;
    size_t piece = (size_t)t->planes * t->line_bytes; /* of 32 channels */
    ptrdiff_t *s;
    int64_t c;
    int i;

    s = t->shift = xcalloc((size_t)(g->taps * t->in), sizeof(*s));
    for (i = 0; i < g->taps; i++) {
        const struct grid_tap *p = &g->tap[i];

        for (c = 0; c < t->in; c++)
            *s++ = (ptrdiff_t)((size_t)(p->phase * t->in + c) * piece) +
                   grid_shift(g, p) * TILE_ROW;
    }
}

/* Packed weights are the same for equal pieces, direction and order of taps,
 * which for gradients depends on stride and padding: FNV-1a of these. */
static uint64_t layout_of(const struct tileconv *t)
{
    uint64_t h = 0xcbf29ce484222325u;
    int i;

    h = (h ^ (uint64_t)t->planes) * 0x100000001b3u;
    h = (h ^ (t->d.kind == CONV_DGRAD)) * 0x100000001b3u;
    for (i = 0; i < t->grid.taps; i++)
        h = (h ^ (uint64_t)t->grid.tap[i].at) * 0x100000001b3u;
    return h;
}

/*
 * Results in many columns of 32 channels are written in pieces far apart, which
 * costs most where each must first be read from memory. (Measured: twice as fast
 * from 256 channels and 6 MB on; two columns are left to the cache.)
 */
static bool is_past(const struct tileconv *t)
{
    size_t line = (size_t)t->out * TILE * dtype_size(t->d.out);

    return line >= PAST_LINE &&
           (size_t)(t->grid.n * t->grid.oh * t->grid.ow) * line >= PAST_BYTES;
}

/* The sums of one lane; all lie at the beginning of the scratch memory. */
static size_t blocks_bytes(const struct tileconv *t)
{
    return (size_t)(t->grid.taps * t->in * t->out) * BLOCK * sizeof(float);
}

struct tileconv *tileconv_new(const struct conv_desc *d, int threads,
                              struct conv_needs *needs)
{
    const struct tile_ops *ops = tile_ops_find();
    bool back = d->kind == CONV_DGRAD;
    struct tileconv *t;

    if (!ops || !takes(d))
        return NULL;
    t = xcalloc(1, sizeof(*t));
    t->ops = ops;
    t->d = *d;
    t->threads = threads;
    t->planes = d->dtype == DT_F32 ? TILE_PLANES : 1;
    t->in = (back ? d->k : d->c) / TILE;
    t->out = (back ? d->c : d->k) / TILE;
    if (!grid_init(&t->grid, d, back) || t->grid.pitch > MOST_PITCH) {
        free(t);
        return NULL;
    }
    memset(needs, 0, sizeof(*needs));
    if (is_weight(t)) {
        t->lanes = threads < LANES ? threads : LANES;
        cut_weights(t);
        needs->scratch_bytes = (size_t)t->lanes * blocks_bytes(t);
    } else {
        cut_source(t);
        plan_steps(t);
        t->past = is_past(t);
        needs->packed_bytes = (size_t)(d->k * d->c * d->r * d->s) *
                              sizeof(uint16_t) * (size_t)t->planes;
        needs->layout = layout_of(t);
    }
    t->table_bytes = lines((size_t)(t->grid.length + TILE) * sizeof(int32_t));
    t->own = lines(t->own) + t->table_bytes * (size_t)(1 + t->grid.jobs) +
             BLOCK * sizeof(float);
    needs->scratch_bytes +=
        t->own * (size_t)(is_weight(t) ? t->lanes : threads);
    snprintf(t->name, sizeof(t->name), "tiles:%s%s", ops->name,
             t->planes > 1 ? " in three pieces" : "");
    return t;
}

void tileconv_free(struct tileconv *t)
{
    if (t)
        free(t->shift);
    free(t);
}

const char *tileconv_name(const struct tileconv *t)
{
    return t->name;
}

/* ---- weights: for each 32 channels of the result, B of each step */

/* B of the window's place `at` and the channels 32k, ... and 32c, ... */
static void pack_step(const struct tileconv *t, const float *master, int at,
                      int64_t k, int64_t c, char *out)
{
    int64_t line = t->d.r * t->d.s * t->d.c;
    const float *w = master + k * TILE * line + at * t->d.c + c * TILE;
    struct tile_rows s = {.planes = t->planes};
    int32_t row[TILE];
    int i;

    for (i = 0; i < TILE; i++)
        row[i] = i;
    s.at = row;
    s.pixel = (size_t)line * sizeof(float);
    for (i = 0; i < 2; i++, out += TILE_BYTES) {
        if (t->d.kind == CONV_DGRAD) { /* terms are k, columns c */
            s.x = (const char *)(w + i * 16);
            t->ops->pairs(&s, out, 2 * TILE_BYTES);
        } else {
            s.x = (const char *)(w + i * 16 * line);
            t->ops->turned(&s, out, 2 * TILE_BYTES);
        }
    }
}

void tileconv_pack(const struct tileconv *t, const float *master, void *packed)
{
    const struct grid *g = &t->grid;
    size_t step = (size_t)t->planes * 2 * TILE_BYTES;
    bool back = t->d.kind == CONV_DGRAD;
    int64_t nk = t->d.k / TILE, nc = t->d.c / TILE, k, c, i;

#pragma omp parallel for private(i, c) schedule(static)
    for (k = 0; k < nk; k++) {
        for (i = 0; i < g->taps; i++) {
            for (c = 0; c < nc; c++) { /* in the order of master */
                int64_t in = back ? k : c, out = back ? c : k;
                int64_t at = (out * g->taps + i) * t->in + in;

                pack_step(t, master, g->tap[i].at, k, c,
                          (char *)packed + (size_t)at * step);
            }
        }
    }
}

/* ---- forward, and gradients of activations */

/* A thread's scratch memory. */
struct own {
    char *line;      /* the chunk in pieces */
    char *dy;        /* weight gradients: of dy */
    int32_t *source; /* [length] */
    int32_t *result; /* [jobs][places], table_bytes apart */
    float *block;
};

static struct own own_of(const struct tileconv *t, char *scratch, int i)
{
    struct own o;
    char *at = scratch + t->own * (size_t)i;

    o.block = (float *)(void *)at;
    at += BLOCK * sizeof(float);
    o.source = (int32_t *)(void *)at;
    at += t->table_bytes;
    o.result = (int32_t *)(void *)at;
    at += t->table_bytes * (size_t)t->grid.jobs;
    o.line = at;
    o.dy = at + (size_t)(t->grid.phases * t->planes) * t->line_bytes;
    return o;
}

static const int32_t *places_of(const struct tileconv *t, const struct own *o,
                                int job)
{
    return o->result + (size_t)job * t->table_bytes / sizeof(*o->result);
}

/* Pixels that are read next. */
static void fetch(const int32_t *at, int64_t m, int64_t end, const char *x,
                  size_t pixel)
{
    size_t i;

    for (end = m + GROUP < end ? m + GROUP : end; m < end; m++) {
        if (at[m] < 0)
            continue;
        for (i = 0; i < pixel; i += 64)
            __builtin_prefetch(x + (size_t)at[m] * pixel + i, 0, 2);
    }
}

static void cut_chunk(const struct tileconv *t, const struct conv_args *a,
                      int64_t chunk, const struct own *o)
{
    const struct grid *g = &t->grid;
    size_t size = dtype_size(t->d.dtype);
    struct tile_rows s = {.planes = t->planes};
    const char *x = t->d.kind == CONV_DGRAD ? a->dy : a->x;
    size_t piece = (size_t)t->planes * t->line_bytes;
    int64_t c, m;
    int p;

    s.pixel = (size_t)t->in * TILE * size;
    for (p = 0; p < g->phases; p++) {
        char *out = o->line + (size_t)(p * t->in) * piece;

        grid_source(g, chunk, p, o->source);
        if (t->d.dtype == DT_BF16) {
            s.x = x;
            s.at = o->source;
            t->ops->lines(&s, g->length, t->in, out, piece);
            continue;
        }
        for (m = 0; m < g->length; m += GROUP) {
            int64_t n = g->length - m < GROUP ? g->length - m : GROUP;

            fetch(o->source, m + n, g->length, x, s.pixel);
            s.at = o->source + m;
            for (c = 0; c < t->in; c++) {
                s.x = x + (size_t)c * TILE * size;
                t->ops->rows(&s, n, out + (size_t)c * piece + m * TILE_ROW,
                             t->line_bytes);
            }
        }
    }
    for (p = 0; p < g->jobs; p++)
        grid_result(g, chunk, p,
                    o->result + (size_t)p * t->table_bytes / sizeof(int32_t));
}

static bool all_away(const int32_t *at)
{
    int i;

    for (i = 0; i < TILE && at[i] < 0; i++)
        ;
    return i == TILE;
}

/* The results of one job in the 32 channels g. */
static void run_job(const struct tileconv *t, const struct conv_args *a,
                    const struct own *o, int job, int64_t g)
{
    const struct grid *gr = &t->grid;
    const struct grid_job *j = &gr->job[job];
    const int32_t *at = places_of(t, o, job);
    size_t step = (size_t)t->planes * 2 * TILE_BYTES;
    size_t size = dtype_size(t->d.out), part = (size_t)g * TILE * size;
    struct tile_run r = {.planes = t->planes,
                         .a_plane = t->line_bytes,
                         .a_row = TILE_ROW,
                         .shift = t->shift + j->first * t->in,
                         .steps = (int)(j->taps * t->in),
                         .c = o->block};
    struct tile_store to = {.y = (char *)a->out + part,
                            .pixel = (size_t)t->out * TILE * size,
                            .half = t->d.out == DT_BF16,
                            .past = t->past,
                            .relu = t->d.relu};
    int64_t m;

    r.b =
        (const char *)a->w + (size_t)((g * gr->taps + j->first) * t->in) * step;
    if (t->d.epi == EPI_BIAS || t->d.epi == EPI_ADD_BIAS)
        to.bias = (const float *)a->bias + g * TILE;
    if (t->d.epi == EPI_ADD_BIAS)
        to.add = (const char *)a->add + part;
    for (m = 0; m < gr->places; m += TILE) {
        if (all_away(at + m))
            continue;
        r.a = o->line + m * TILE_ROW;
        t->ops->multiply(&r);
        t->ops->store(o->block, at + m, &to);
    }
}

static void run_lines(const struct tileconv *t, const struct conv_args *a)
{
    int64_t chunk, g;
    int job;

#pragma omp parallel num_threads(t->threads)
    {
        struct own o = own_of(t, a->scratch, omp_get_thread_num());

        t->ops->begin();
#pragma omp for private(g, job) schedule(dynamic, 1)
        for (chunk = 0; chunk < t->grid.chunks; chunk++) {
            cut_chunk(t, a, chunk, &o);
            for (g = 0; g < t->out; g++)
                for (job = 0; job < t->grid.jobs; job++)
                    run_job(t, a, &o, job, g);
        }
        t->ops->end();
    }
}

/* ---- gradients of weights: dw[tap, c, k] = sum over places x * dy */

/* x in lines of a channel each. */
static void cut_x(const struct tileconv *t, const struct conv_args *a,
                  int64_t chunk, const struct own *o)
{
    const struct grid *g = &t->grid;
    size_t size = dtype_size(t->d.dtype);
    struct tile_rows s = {.planes = t->planes};
    int64_t c, m;
    char *out;
    int p;

    s.pixel = (size_t)t->d.c * size;
    memset(o->source + g->length, 0xff, TILE * sizeof(*o->source));
    for (p = 0; p < g->phases; p++) {
        grid_source(g, chunk, p, o->source);
        out = o->line + (size_t)(p * t->planes) * t->line_bytes;
        for (m = 0; m < g->length; m += TILE) {
            s.at = o->source + m;
            if (t->d.dtype == DT_BF16) {
                s.x = a->x;
                s.next = m + TILE < g->length ? s.at + TILE : NULL;
                t->ops->upright(&s, t->in, out + (size_t)(m / TILE) * t->next,
                                t->column);
                continue;
            }
            fetch(o->source, m + GROUP, g->length, a->x, s.pixel);
            for (c = 0; c < t->d.c; c += 16) {
                s.x = (const char *)a->x + (size_t)c * size;
                t->ops->columns(&s,
                                out + (size_t)(m / TILE) * t->next +
                                    (size_t)c * t->column,
                                t->line_bytes, t->column);
            }
        }
    }
}

/* dy as tiles of B, [k/32][places/32], without those that are all zero; the
 * number of those left, and where A begins for each. */
static int cut_dy(const struct tileconv *t, const struct conv_args *a,
                  int64_t chunk, const struct own *o, ptrdiff_t *shift)
{
    const struct grid *g = &t->grid;
    size_t size = dtype_size(t->d.dtype);
    struct tile_rows s = {.planes = t->planes, .pixel = (size_t)t->d.k * size};
    int64_t c, m, steps = g->places / TILE;
    int used = 0;
    char *out;

    grid_result(g, chunk, 0, o->result);
    for (m = 0; m < g->places; m += TILE) {
        if (all_away(o->result + m))
            continue;
        s.at = o->result + m;
        shift[used] = m / TILE * (ptrdiff_t)t->next;
        if (t->d.dtype == DT_BF16) {
            s.x = a->dy;
            s.next = m + TILE < g->places ? s.at + TILE : NULL;
            t->ops->zipped(&s, t->out, o->dy + (size_t)used++ * 2 * TILE_BYTES,
                           (size_t)steps * 2 * TILE_BYTES);
            continue;
        }
        fetch(o->result, m + GROUP, g->places, a->dy, s.pixel);
        for (c = 0; c < t->d.k; c += 16) {
            s.x = (const char *)a->dy + (size_t)c * size;
            out = o->dy + (size_t)((c / TILE * steps + used) * t->planes * 2 +
                                   c / 16 % 2) *
                              TILE_BYTES;
            t->ops->pairs(&s, out, 2 * TILE_BYTES);
        }
        used++;
    }
    return used;
}

/* Add what o has to the block of (tap, 32 c, 32 k). */
static void run_block(const struct tileconv *t, const struct own *o,
                      struct tile_run *r, int64_t i)
{
    const struct grid *g = &t->grid;
    const struct grid_tap *p = &g->tap[i % g->taps];
    int64_t c = i / g->taps / t->out, k = i / g->taps % t->out;

    r->a = o->line + (size_t)(p->phase * t->planes) * t->line_bytes +
           (size_t)c * TILE * t->column + grid_shift(g, p) * 2;
    r->b =
        o->dy + (size_t)(k * (g->places / TILE) * t->planes * 2) * TILE_BYTES;
    t->ops->multiply(r);
}

/* Block i of all lanes is the gradient of (tap, 32 c, 32 k). */
static void add_block(const struct tileconv *t, const struct conv_args *a,
                      int64_t i)
{
    const struct grid *g = &t->grid;
    int64_t line = t->d.r * t->d.s * t->d.c, at = g->tap[i % g->taps].at;
    int64_t c = i / g->taps / t->out, k = i / g->taps % t->out;
    struct tile_sum s = {
        .c = (const float *)a->scratch + i * BLOCK,
        .next = (int64_t)(blocks_bytes(t) / sizeof(float)),
        .blocks = (int)(t->lanes < g->chunks ? t->lanes : g->chunks),
        .add = a->accumulate,
        .y = (float *)a->out + k * TILE * line + at * t->d.c + c * TILE,
        .line = line};

    t->ops->sum_turned(&s);
}

/* Every chunk of a lane, into its own sums. */
static void run_lane(const struct tileconv *t, const struct conv_args *a,
                     int lane)
{
    const struct grid *g = &t->grid;
    char *own = (char *)a->scratch + (size_t)t->lanes * blocks_bytes(t);
    float *sums =
        (float *)(void *)((char *)a->scratch + (size_t)lane * blocks_bytes(t));
    struct own o = own_of(t, own, lane);
    ptrdiff_t shift[WEIGHT_STEPS];
    struct tile_run r = {.planes = t->planes,
                         .a_plane = t->line_bytes,
                         .a_row = t->column,
                         .shift = shift};
    int64_t blocks = g->taps * t->in * t->out, chunk, i;

    for (chunk = lane; chunk < g->chunks; chunk += t->lanes) {
        cut_x(t, a, chunk, &o);
        r.steps = cut_dy(t, a, chunk, &o, shift);
        r.add = chunk != lane;
        for (i = 0; i < blocks; i++) {
            r.c = sums + i * BLOCK;
            run_block(t, &o, &r, i);
        }
    }
}

static void run_weights(const struct tileconv *t, const struct conv_args *a)
{
    int64_t blocks = t->grid.taps * t->in * t->out, i;
    int lane;

#pragma omp parallel num_threads(t->threads)
    {
        t->ops->begin();
#pragma omp for schedule(static, 1)
        for (lane = 0; lane < t->lanes; lane++)
            run_lane(t, a, lane);
        t->ops->end();
#pragma omp for schedule(static)
        for (i = 0; i < blocks; i++)
            add_block(t, a, i);
    }
}

void tileconv_run(const struct tileconv *t, const struct conv_args *a)
{
    if (is_weight(t))
        run_weights(t, a);
    else
        run_lines(t, a);
}
