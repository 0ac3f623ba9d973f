#include "engine/cpu/tileplan.h"
#include "util/err.h"
#include "util/fnv.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_BYTES = 640 << 10, /* of a source in pieces: with the weights of one
                                block of channels it stays in 2 MiB of cache */
    LEAST_PLACES = 64,       /* below it the rest of a block costs too much */
    MOST_PLACES = 2048,
    PAST_LINE = 256, /* bytes of a pixel */
    PAST_BYTES = 4 << 20,
    SUMS = 2 /* of a channel: of what is stored, of its square */
};

static bool is_weight(const struct tileconv *t)
{
    return t->d.kind == CONV_WGRAD;
}

static bool has_stats(const struct tileconv *t)
{
    return t->d.epi == EPI_STATS;
}

bool tileconv_takes(const struct conv_desc *d)
{
    /* a classifier has few rows; its block would be mostly empty */
    return tile_ops_find() && d->n * conv_p(d) * conv_q(d) >= TILE &&
           ((d->c % TILE == 0 && d->k % TILE == 0) || tileweight_columns(d));
}

/* ---- planning */

/* Chunks: in pieces they stay in the cache, and there are some for each
 * thread. */
static void cut_source(struct tileconv *t)
{
    struct grid *g = &t->grid;
    size_t place = (size_t)(g->phases * t->in * t->planes) * TILE_ROW;
    int64_t want = (int64_t)(CHUNK_BYTES / place);
    int64_t share = g->n * g->h * g->pitch / (2 * t->threads);

    grid_cut(
        g, tile_clamp(want < share ? want : share, LEAST_PLACES, MOST_PLACES));
    t->line_bytes = (size_t)g->length * TILE_ROW;
    t->own =
        (size_t)g->phases * (size_t)t->in * (size_t)t->planes * t->line_bytes;
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
 * which for gradients depends on stride and padding. */
static uint64_t layout_of(const struct tileconv *t)
{
    uint64_t h = FNV_EMPTY;
    int i;

    h = fnv_add(h, (uint64_t)t->planes);
    h = fnv_add(h, t->d.kind == CONV_DGRAD);
    for (i = 0; i < t->grid.taps; i++)
        h = fnv_add(h, (uint64_t)t->grid.tap[i].at);
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

/* Of all chunks: [chunk][SUMS][k] doubles at the beginning of the scratch. */
static size_t stats_bytes(const struct tileconv *t)
{
    return has_stats(t)
               ? (size_t)(t->grid.chunks * SUMS * t->d.k) * sizeof(double)
               : 0;
}

static void plan_lines(struct tileconv *t, struct conv_needs *needs)
{
    const struct conv_desc *d = &t->d;

    cut_source(t);
    plan_steps(t);
    t->past = is_past(t);
    t->table_bytes = tile_lines((size_t)t->grid.length * sizeof(int32_t));
    t->own = tile_lines(t->own) + t->table_bytes * (size_t)(1 + t->grid.jobs) +
             TILE_BLOCK * sizeof(float);
    needs->packed_bytes = (size_t)(d->k * d->c * d->r * d->s) *
                          sizeof(uint16_t) * (size_t)t->planes;
    needs->layout = layout_of(t);
    needs->scratch_bytes = stats_bytes(t) + t->own * (size_t)t->threads;
}

struct tileconv *tileconv_new(const struct conv_desc *d, int threads,
                              struct conv_needs *needs)
{
    bool back = d->kind == CONV_DGRAD;
    struct tileconv *t;

    if (!tileconv_takes(d))
        return NULL;
    t = xcalloc(1, sizeof(*t));
    t->ops = tile_ops_find();
    t->d = *d;
    t->threads = threads;
    t->planes = d->dtype == DT_F32 ? TILE_PLANES : 1;
    t->in = (back ? d->k : d->c) / TILE;
    t->out = (back ? d->c : d->k) / TILE;
    if (!(is_weight(t) ? tileweight_grid(t) : grid_init(&t->grid, d, back)) ||
        t->grid.pitch > TILE_PITCH) {
        free(t);
        return NULL;
    }
    memset(needs, 0, sizeof(*needs));
    if (is_weight(t))
        tileweight_plan(t, needs);
    else
        plan_lines(t, needs);
    snprintf(t->name, sizeof(t->name), "tiles:%s%s", t->ops->name,
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
    int64_t chunk;
    char *line;      /* the chunk in pieces */
    int32_t *source; /* [length] */
    int32_t *result; /* [jobs][places], table_bytes apart */
    float *block;
};

static struct own own_of(const struct tileconv *t, char *scratch, int i)
{
    struct own o = {.chunk = 0};
    char *at = scratch + stats_bytes(t) + t->own * (size_t)i;

    o.block = (float *)(void *)at;
    at += TILE_BLOCK * sizeof(float);
    o.source = (int32_t *)(void *)at;
    at += t->table_bytes;
    o.result = (int32_t *)(void *)at;
    at += t->table_bytes * (size_t)t->grid.jobs;
    o.line = at;
    return o;
}

static const int32_t *places_of(const struct tileconv *t, const struct own *o,
                                int job)
{
    return o->result + (size_t)job * t->table_bytes / sizeof(*o->result);
}

static void cut_chunk(const struct tileconv *t, const struct conv_args *a,
                      const struct own *o)
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

        grid_source(g, o->chunk, p, o->source);
        if (t->d.dtype == DT_BF16) {
            s.x = x;
            s.at = o->source;
            t->ops->lines(&s, g->length, t->in, out, piece);
            continue;
        }
        for (m = 0; m < g->length; m += TILE_GROUP) {
            int64_t n = tile_clamp(g->length - m, 0, TILE_GROUP);

            tile_fetch(o->source, m + n, g->length, x, s.pixel);
            s.at = o->source + m;
            for (c = 0; c < t->in; c++) {
                s.x = x + (size_t)c * TILE * size;
                t->ops->rows(&s, n, out + (size_t)c * piece + m * TILE_ROW,
                             t->line_bytes);
            }
        }
    }
    for (p = 0; p < g->jobs; p++)
        grid_result(g, o->chunk, p,
                    o->result + (size_t)p * t->table_bytes / sizeof(int32_t));
}

/* Where the sums of a chunk for the channels k.. are; squares are d.k behind. */
static double *stats_of(const struct tileconv *t, const struct conv_args *a,
                        int64_t chunk, int64_t k)
{
    return (double *)a->scratch + chunk * SUMS * t->d.k + k;
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
    if (conv_has_bias(&t->d))
        to.bias = (const float *)a->bias + g * TILE;
    if (t->d.epi == EPI_ADD_BIAS)
        to.add = (const char *)a->add + part;
    if (has_stats(t)) {
        to.sum = stats_of(t, a, o->chunk, g * TILE);
        to.square = to.sum + t->d.k;
    }
    for (m = 0; m < gr->places; m += TILE) {
        if (tile_all_away(at + m))
            continue;
        r.a = o->line + m * TILE_ROW;
        t->ops->multiply(&r);
        t->ops->store(o->block, at + m, &to);
    }
}

/* Sums of 32 channels over all chunks, in order. */
static void add_stats(const struct tileconv *t, const struct conv_args *a,
                      int64_t k)
{
    double sum = 0, square = 0;
    int64_t end = k + TILE, chunk;

    for (; k < end; k++) {
        for (chunk = 0, sum = square = 0; chunk < t->grid.chunks; chunk++) {
            const double *s = stats_of(t, a, chunk, k);

            sum += s[0];
            square += s[t->d.k];
        }
        ((float *)a->sum)[k] = (float)sum;
        ((float *)a->sumsq)[k] = (float)square;
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
            o.chunk = chunk;
            cut_chunk(t, a, &o);
            if (has_stats(t))
                memset(stats_of(t, a, chunk, 0), 0,
                       (size_t)(SUMS * t->d.k) * sizeof(double));
            for (g = 0; g < t->out; g++)
                for (job = 0; job < t->grid.jobs; job++)
                    run_job(t, a, &o, job, g);
        }
        t->ops->end();
#pragma omp for schedule(static)
        for (g = 0; g < (has_stats(t) ? t->out : 0); g++)
            add_stats(t, a, g * TILE);
    }
}

void tileconv_run(const struct tileconv *t, const struct conv_args *a)
{
    if (is_weight(t))
        tileweight_run(t, a);
    else
        run_lines(t, a);
}
