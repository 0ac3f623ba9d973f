/*
 * Gradients of weights on tiles: dw[tap, c, k] = sum over places x * dy, in
 * blocks of 32 channels c and 32 k.
 *
 * Where there are few blocks each thread is a lane: it cuts chunks of its own and
 * adds up sums of its own, which are added in order, so these bits depend on the
 * number of lanes. Where there are many, a sum of each thread would be written
 * and read more often than all it is made of: there all threads work together,
 * cut a chunk and then compute blocks of their own, and no bit depends on their
 * number.
 *
 * An image of a few channels (the first layer) is cut with its window: a row of
 * a place is the window's pixels ("columns"), which make one tap.
 */
#include "engine/cpu/tileplan.h"
#include "util/err.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_BYTES = 1 << 20, /* of a lane's x and dy in pieces */
    CHUNK_LEAST = 128,     /* places of such a chunk, or one row */
    CHUNK_MOST = 512,
    MANY = 1024,             /* blocks: their sums take 4 MiB */
    SHARED_BYTES = 12 << 20, /* of a chunk of all threads, */
    PANEL_BYTES = 1 << 20,   /* and of x in it */
    SHARED_MOST = 4096,
    STEPS = 16,     /* whose pieces stay in the first cache, */
    STEPS_TAPS = 8, /* and with them those of neighbours */
    STEPS_MOST = TILE_PITCH / TILE,
    LANES = 16, /* threads that have their own sums */
    FEW = 16    /* channels that are cut with their window */
};

/* ---- planning */

bool tileweight_columns(const struct conv_desc *d)
{
    return d->kind == CONV_WGRAD && d->dtype == DT_BF16 && d->c < FEW &&
           d->k % TILE == 0 && d->r * d->s > 1 &&
           (size_t)(d->s * d->c) * sizeof(uint16_t) <= TILE_ROW;
}

bool tileweight_grid(struct tileconv *t)
{
    const struct conv_desc *d = &t->d;
    struct conv_desc core = {.kind = CONV_WGRAD,
                             .n = d->n,
                             .h = conv_p(d),
                             .w = conv_q(d),
                             .r = 1,
                             .s = 1,
                             .stride = 1};

    t->columns = tileweight_columns(d);
    if (!t->columns)
        return grid_init(&t->grid, d, false);
    t->in = (d->r * d->s * d->c + TILE - 1) / TILE;
    return grid_init(&t->grid, &core, false);
}

static int64_t pairs_of(const struct tileconv *t)
{
    return t->in * t->out;
}

static void cut(struct tileconv *t)
{
    struct grid *g = &t->grid;
    int64_t line = (int64_t)t->planes * TILE_ROW;
    int64_t place = (t->in * g->phases + t->out) * line, want, share;

    if (t->together) { /* whatever the number of threads */
        want = PANEL_BYTES / (t->in * line);
        grid_cut(g, tile_clamp(want, CHUNK_LEAST,
                               tile_clamp(SHARED_BYTES / place, CHUNK_LEAST,
                                          SHARED_MOST)));
        return;
    }
    want = CHUNK_BYTES / place;
    share = g->n * g->h * g->pitch / (2 * t->lanes);
    grid_cut(g,
             tile_clamp(want < share ? want : share, CHUNK_LEAST, CHUNK_MOST));
}

static void lay_out(struct tileconv *t)
{
    struct grid *g = &t->grid;
    size_t channels = (size_t)t->in * TILE;

    if (g->taps == 1) { /* tiles of A lie in one piece */
        t->column = TILE_ROW;
        t->next = channels * TILE_ROW;
        t->line_bytes = (size_t)(g->places / TILE) * t->next;
    } else { /* an odd number of cache lines apart, for rows of a tile are read
              * at the same place of 16 lines; the last 32 may overhang */
        t->column =
            tile_lines((size_t)(g->length + TILE) * sizeof(uint16_t)) | 64;
        t->next = TILE_ROW;
        t->line_bytes = t->column * channels;
    }
    t->pieces = (size_t)g->phases * (size_t)t->planes * t->line_bytes +
                (size_t)(g->places * t->out * t->planes) * TILE_ROW;
}

/* Scratch memory: sums of all, pieces of all, then what each thread has. */
void tileweight_plan(struct tileconv *t, struct conv_needs *needs)
{
    struct grid *g = &t->grid;
    size_t block = TILE_BLOCK * sizeof(float), n;

    t->together = pairs_of(t) * g->taps >= MANY;
    t->lanes = t->threads < LANES && !t->together ? t->threads : LANES;
    cut(t);
    lay_out(t);
    t->table_bytes = tile_lines((size_t)(g->length + TILE) * sizeof(int32_t));
    t->own = 2 * t->table_bytes;
    if (t->columns) /* the last one may overhang */
        t->own += TILE * (size_t)t->in * TILE_ROW + TILE_ROW;
    t->sums = (size_t)(pairs_of(t) * g->taps) * block;
    n = (size_t)t->lanes;
    if (t->together) {
        n = 1;
        if (g->chunks == 1)
            t->sums = (size_t)t->threads * (size_t)(t->in * g->taps) * block;
    }
    needs->scratch_bytes =
        n * (t->sums + t->pieces) +
        (size_t)(t->together ? t->threads : t->lanes) * t->own;
}

/* ---- memory */

/* What a thread works on; of `members` that cut the chunk it is number `me`. */
struct own {
    int me, members;
    int64_t chunk;
    float *sums;
    char *line, *dy; /* a chunk of x and of dy in pieces */
    int32_t *source, *result;
    char *columns; /* of 32 places */
};

static struct own own_of(const struct tileconv *t, void *scratch, int lane,
                         int thread)
{
    size_t n = t->together ? 1 : (size_t)t->lanes;
    char *at = (char *)scratch + (size_t)lane * t->sums;
    struct own o = {.members = 1, .sums = (float *)(void *)at};

    o.line = (char *)scratch + n * t->sums + (size_t)lane * t->pieces;
    o.dy = o.line + (size_t)(t->grid.phases * t->planes) * t->line_bytes;
    at = (char *)scratch + n * (t->sums + t->pieces) + (size_t)thread * t->own;
    o.source = (int32_t *)(void *)at;
    o.result = (int32_t *)(void *)(at + t->table_bytes);
    o.columns = at + 2 * t->table_bytes;
    return o;
}

static bool is_mine(const struct own *o, int64_t m)
{
    return m / TILE % o->members == o->me;
}

/* The group of mine after that. */
static int64_t next_of(const struct own *o, int64_t m)
{
    return m + (int64_t)o->members * TILE;
}

/* ---- cutting */

/* A row of a window, of which some may lie outside. */
static void copy_part(const struct conv_desc *d, const uint16_t *line,
                      int64_t left, char *out)
{
    int64_t lo = left < 0 ? -left : 0;
    int64_t hi = d->w - left < d->s ? d->w - left : d->s;
    size_t pixel = (size_t)d->c * sizeof(uint16_t);

    memset(out, 0, (size_t)d->s * pixel);
    if (lo < hi)
        memcpy(out + (size_t)lo * pixel, line + (left + lo) * d->c,
               (size_t)(hi - lo) * pixel);
}

/* The window of a place. Whole rows are copied as a cache line: what is too much
 * is written over by the next one, or belongs to no weight. */
static void copy_window(const struct conv_desc *d, const void *x, int64_t place,
                        char *out)
{
    const uint16_t *end = (const uint16_t *)x + d->n * d->h * d->w * d->c;
    int64_t p = conv_p(d), q = conv_q(d), r;
    int64_t left = place % q * d->stride - d->pad;
    int64_t top = place / q % p * d->stride - d->pad;
    const uint16_t *image =
        (const uint16_t *)x + place / q / p * d->h * d->w * d->c;
    size_t row = (size_t)(d->s * d->c) * sizeof(*image);
    bool whole = left >= 0 && left + d->s <= d->w;

    for (r = 0; r < d->r; r++, out += row) {
        const uint16_t *line = image + (top + r) * d->w * d->c;

        if (top + r < 0 || top + r >= d->h)
            memset(out, 0, row);
        else if (whole && end - (line + left * d->c) >= TILE)
            memcpy(out, line + left * d->c, TILE_ROW);
        else
            copy_part(d, line, left, out);
    }
}

static void cut_columns(const struct tileconv *t, const struct conv_args *a,
                        const struct own *o, const int32_t *at, char *out)
{
    struct tile_rows s = {.x = o->columns, .planes = 1};
    size_t pixel = (size_t)t->in * TILE_ROW;
    int32_t row[TILE];
    int i;

    for (i = 0; i < TILE; i++) {
        row[i] = at[i] < 0 ? -1 : i;
        if (at[i] >= 0)
            copy_window(&t->d, a->x, at[i], o->columns + (size_t)i * pixel);
    }
    s.at = row;
    s.pixel = pixel;
    t->ops->upright(&s, t->in, out, t->column);
}

/* 32 places of x from the m-th on, in lines of a channel each. */
static void cut_group(const struct tileconv *t, const struct conv_args *a,
                      const struct own *o, int64_t m, char *out)
{
    size_t size = dtype_size(t->d.dtype);
    struct tile_rows s = {.x = a->x,
                          .at = o->source + m,
                          .pixel = (size_t)t->d.c * size,
                          .planes = t->planes};
    int64_t next = next_of(o, m), c;

    if (t->columns) {
        cut_columns(t, a, o, s.at, out);
        return;
    }
    if (t->d.dtype == DT_BF16) {
        s.next = next < t->grid.length ? o->source + next : NULL;
        t->ops->upright(&s, t->in, out, t->column);
        return;
    }
    tile_fetch(o->source, next, t->grid.length, a->x, s.pixel);
    for (c = 0; c < t->d.c; c += 16) {
        s.x = (const char *)a->x + (size_t)c * size;
        t->ops->columns(&s, out + (size_t)c * t->column, t->line_bytes,
                        t->column);
    }
}

static void cut_x(const struct tileconv *t, const struct conv_args *a,
                  const struct own *o)
{
    const struct grid *g = &t->grid;
    int64_t m;
    int p;

    memset(o->source + g->length, 0xff, TILE * sizeof(*o->source));
    for (p = 0; p < g->phases; p++) {
        char *out = o->line + (size_t)(p * t->planes) * t->line_bytes;

        grid_source(g, o->chunk, p, o->source);
        for (m = (int64_t)o->me * TILE; m < g->length; m = next_of(o, m))
            cut_group(t, a, o, m, out + (size_t)(m / TILE) * t->next);
    }
}

/* 32 places of dy from the m-th on, as a step of B. */
static void cut_step(const struct tileconv *t, const struct conv_args *a,
                     const struct own *o, int64_t m, char *out)
{
    size_t size = dtype_size(t->d.dtype);
    size_t part =
        (size_t)(t->grid.places / TILE) * (size_t)t->planes * 2 * TILE_BYTES;
    struct tile_rows s = {.x = a->dy,
                          .at = o->result + m,
                          .pixel = (size_t)t->d.k * size,
                          .planes = t->planes};
    int64_t next = next_of(o, m), k;

    if (t->d.dtype == DT_BF16) {
        s.next = next < t->grid.places ? o->result + next : NULL;
        t->ops->zipped(&s, t->out, out, part);
        return;
    }
    tile_fetch(o->result, next, t->grid.places, a->dy, s.pixel);
    for (k = 0; k < t->d.k; k += 16) {
        s.x = (const char *)a->dy + (size_t)k * size;
        t->ops->pairs(&s,
                      out + (size_t)(k / TILE) * part +
                          (size_t)(k / 16 % 2) * TILE_BYTES,
                      2 * TILE_BYTES);
    }
}

/* dy as tiles of B, [k/32][places/32], without those that are all zero; the
 * number of those left, and where A begins for each. */
static int cut_dy(const struct tileconv *t, const struct conv_args *a,
                  const struct own *o, ptrdiff_t *shift)
{
    const struct grid *g = &t->grid;
    size_t step = (size_t)t->planes * 2 * TILE_BYTES;
    int used = 0;
    int64_t m;

    grid_result(g, o->chunk, 0, o->result);
    for (m = 0; m < g->places; m += TILE) {
        if (tile_all_away(o->result + m))
            continue;
        if (is_mine(o, m))
            cut_step(t, a, o, m, o->dy + (size_t)used * step);
        shift[used++] = m / TILE * (ptrdiff_t)t->next;
    }
    return used;
}

/* ---- products */

/* 32 c and 32 k. */
struct pair {
    int64_t c, k;
};

/* One after the other, those that share k: their gradients are rows that lie in
 * one piece. */
static struct pair pair_of(const struct tileconv *t, int64_t i)
{
    return (struct pair){i % t->in, i / t->in};
}

/* A block of what the chunk has, from the step `from` on. */
static void multiply(const struct tileconv *t, const struct own *o,
                     struct tile_run *r, struct pair at, int tap, int from)
{
    const struct grid *g = &t->grid;
    const struct grid_tap *p = &g->tap[tap];
    int64_t steps = g->places / TILE;

    r->a = o->line + (size_t)(p->phase * t->planes) * t->line_bytes +
           (size_t)at.c * TILE * t->column + grid_shift(g, p) * 2;
    r->b = o->dy + (size_t)((at.k * steps + from) * t->planes * 2) * TILE_BYTES;
    t->ops->multiply(r);
}

/* Rows of some k, of which the block overhangs. */
static void add_rest(const struct tile_sum *s, const struct tileconv *t,
                     int64_t n)
{
    _Alignas(64) float turned[TILE_BLOCK];
    struct tile_sum own = *s;
    int64_t i, j;

    own.add = false;
    own.y = turned;
    own.line = TILE;
    t->ops->sum_turned(&own);
    for (i = 0; i < TILE; i++)
        for (j = 0; j < n; j++) {
            float *y = &s->y[i * s->line + j];

            *y = (s->add ? *y : 0) + turned[i * TILE + j];
        }
}

static int64_t line_of(const struct tileconv *t)
{
    return t->d.r * t->d.s * t->d.c;
}

/* Where the gradient of a pair and tap begins in row k. */
static int64_t from_of(const struct tileconv *t, struct pair at, int tap)
{
    return t->grid.tap[tap].at * t->d.c + at.c * TILE;
}

/* Blocks that lie `next` numbers apart are the gradient of a pair and tap. */
static void add_block(const struct tileconv *t, const struct conv_args *a,
                      struct pair at, int tap, struct tile_sum s)
{
    int64_t line = line_of(t), from = from_of(t, at, tap);

    s.add = a->accumulate;
    s.line = line;
    s.y = (float *)a->out + at.k * TILE * line + from;
    if (t->columns && line - from < TILE)
        add_rest(&s, t, line - from);
    else
        t->ops->sum_turned(&s);
}

/* ---- lanes */

/* Every chunk of a lane, into its own sums. */
static void run_lane(const struct tileconv *t, const struct conv_args *a,
                     int lane)
{
    const struct grid *g = &t->grid;
    struct own o = own_of(t, a->scratch, lane, lane);
    ptrdiff_t shift[STEPS_MOST];
    struct tile_run r = {.planes = t->planes,
                         .a_plane = t->line_bytes,
                         .a_row = t->column,
                         .shift = shift};
    int64_t i;
    int tap;

    for (o.chunk = lane; o.chunk < g->chunks; o.chunk += t->lanes) {
        cut_x(t, a, &o);
        r.steps = cut_dy(t, a, &o, shift);
        r.add = o.chunk != lane;
        r.c = o.sums;
        for (i = 0; i < pairs_of(t); i++)
            for (tap = 0; tap < g->taps; tap++, r.c += TILE_BLOCK)
                multiply(t, &o, &r, pair_of(t, i), tap, 0);
    }
}

static void run_lanes(const struct tileconv *t, const struct conv_args *a)
{
    const struct grid *g = &t->grid;
    int64_t i;
    int lane;

#pragma omp parallel num_threads(t->threads)
    {
        t->ops->begin();
#pragma omp for schedule(static, 1)
        for (lane = 0; lane < t->lanes; lane++)
            run_lane(t, a, lane);
        t->ops->end();
#pragma omp for schedule(static)
        for (i = 0; i < pairs_of(t) * g->taps; i++)
            add_block(t, a, pair_of(t, i / g->taps), (int)(i % g->taps),
                      (struct tile_sum){
                          .c = (const float *)a->scratch + i * TILE_BLOCK,
                          .next = (int64_t)(t->sums / sizeof(float)),
                          .blocks = (int)(t->lanes < g->chunks ? t->lanes
                                                               : g->chunks)});
    }
}

/* ---- together */

/* Pairs from..end-1, which share k: so many steps at a
 * time of all, for the pieces of these stay in the first cache. */
static void run_pairs(const struct tileconv *t, const struct conv_args *a,
                      const struct own *o, struct tile_run *r, int64_t from,
                      int64_t end)
{
    const struct grid *g = &t->grid;
    const ptrdiff_t *shift = r->shift;
    int steps = r->steps, at = 0, tap;
    int some = g->taps > 1 && t->planes == 1 ? STEPS_TAPS : STEPS;
    float *sums = o->sums;
    bool last = o->chunk == g->chunks - 1;
    int64_t i;

    sums += (g->chunks > 1 ? from : o->me * t->in) * g->taps * TILE_BLOCK;
    do {
        r->steps = steps - at < some ? steps - at : some;
        r->shift = shift + at;
        r->add = o->chunk > 0 || at > 0;
        r->c = sums;
        for (i = from; i < end; i++)
            for (tap = 0; tap < g->taps; tap++, r->c += TILE_BLOCK)
                multiply(t, o, r, pair_of(t, i), tap, at);
        at += some;
    } while (at < steps);
    r->steps = steps;
    r->shift = shift;
    for (tap = 0; last && tap < g->taps; tap++)
        for (i = from; i < end; i++)
            add_block(t, a, pair_of(t, i), tap,
                      (struct tile_sum){
                          .c = sums + ((i - from) * g->taps + tap) * TILE_BLOCK,
                          .blocks = 1});
}

/* My share of the pairs. */
static void run_share(const struct tileconv *t, const struct conv_args *a,
                      const struct own *o, struct tile_run *r)
{
    int64_t from = pairs_of(t) * o->me / o->members, end;
    int64_t last = pairs_of(t) * (o->me + 1) / o->members;

    for (; from < last; from = end) {
        end = (from / t->in + 1) * t->in;
        end = end < last ? end : last;
        run_pairs(t, a, o, r, from, end);
    }
}

static void run_together(const struct tileconv *t, const struct conv_args *a)
{
#pragma omp parallel num_threads(t->threads)
    {
        struct own o = own_of(t, a->scratch, 0, omp_get_thread_num());
        ptrdiff_t shift[STEPS_MOST];
        struct tile_run r = {.planes = t->planes,
                             .a_plane = t->line_bytes,
                             .a_row = t->column,
                             .shift = shift};

        o.me = omp_get_thread_num();
        o.members = omp_get_num_threads();
        t->ops->begin();
        for (o.chunk = 0; o.chunk < t->grid.chunks; o.chunk++) {
            cut_x(t, a, &o);
            r.steps = cut_dy(t, a, &o, shift);
#pragma omp barrier
            run_share(t, a, &o, &r);
#pragma omp barrier
        }
        t->ops->end();
    }
}

void tileweight_run(const struct tileconv *t, const struct conv_args *a)
{
    if (t->together)
        run_together(t, a);
    else
        run_lanes(t, a);
}
