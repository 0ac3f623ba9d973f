/*
 * Blocks on matrix tiles and lines of pixels: the tiles of this processor
 * against plain C, lines against windows counted one by one. The sources are
 * read in, for they are linked into a plugin only.
 */
#include "engine/cpu/grid.c"
#include "engine/cpu/tiles.c"
#include "engine/cpu/tiles_amx.c"
#include "lib/tap.h"
#include "util/rng.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t state = 1;

static int64_t below(int64_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)((state >> 33) % (uint64_t)n);
}

static float number_like(void)
{
    return (float)(below(1 << 30) - (1 << 29)) / (float)(1 << (20 + below(10)));
}

/* ---- grid: integers through lines, against the definition */

static int64_t value(int64_t i)
{
    return i * 7919 % 101 - 50;
}

static int64_t weight(int64_t at)
{
    return at * 31 % 17 - 8;
}

/* Result pixel (n, y, x) of one channel, counted one by one. */
static int64_t direct(const struct conv_desc *d, bool back, int64_t n,
                      int64_t y, int64_t x)
{
    int64_t p = conv_p(d), q = conv_q(d), r, s, i, j, sum = 0;

    for (r = 0; r < d->r; r++) {
        for (s = 0; s < d->s; s++) {
            i = back ? y + d->pad - r : y * d->stride + r - d->pad;
            j = back ? x + d->pad - s : x * d->stride + s - d->pad;
            if (back && (i % d->stride != 0 || j % d->stride != 0))
                continue;
            i = back ? i / d->stride : i;
            j = back ? j / d->stride : j;
            if (i < 0 || j < 0 || i >= (back ? p : d->h) ||
                j >= (back ? q : d->w))
                continue;
            sum += weight(r * d->s + s) *
                   value((n * (back ? p : d->h) + i) * (back ? q : d->w) + j);
        }
    }
    return sum;
}

/* All results by lines into y; false if one is written twice. */
static bool by_lines(const struct grid *g, int64_t *y, bool *written)
{
    int32_t *source[GRID_PHASES], *at;
    bool once = true;
    int64_t chunk, m;
    int p, job, i;

    at = xcalloc((size_t)g->places, sizeof(*at));
    for (p = 0; p < GRID_PHASES; p++)
        source[p] = xcalloc((size_t)g->length, sizeof(*at));
    for (chunk = 0; chunk < g->chunks; chunk++) {
        for (p = 0; p < g->phases; p++)
            grid_source(g, chunk, p, source[p]);
        for (job = 0; job < g->jobs; job++) {
            const struct grid_job *j = &g->job[job];

            grid_result(g, chunk, job, at);
            for (m = 0; m < g->places; m++) {
                if (at[m] < 0)
                    continue;
                once = once && !written[at[m]];
                written[at[m]] = true;
                for (i = j->first; i < j->first + j->taps; i++) {
                    const struct grid_tap *t = &g->tap[i];
                    int32_t from = source[t->phase][m + grid_shift(g, t)];

                    if (from >= 0)
                        y[at[m]] += weight(t->at) * value(from);
                }
            }
        }
    }
    free(at);
    for (p = 0; p < GRID_PHASES; p++)
        free(source[p]);
    return once;
}

static bool grid_right(const struct conv_desc *d, bool back, int64_t places)
{
    int64_t h = back ? d->h : conv_p(d), w = back ? d->w : conv_q(d), i;
    int64_t *y = xcalloc((size_t)(d->n * h * w), sizeof(*y));
    bool *written = xcalloc((size_t)(d->n * h * w), 1), good;
    struct grid g;

    good = grid_init(&g, d, back);
    if (good) {
        grid_cut(&g, places);
        good = by_lines(&g, y, written);
    }
    for (i = 0; good && i < d->n * h * w; i++)
        good = written[i] &&
               y[i] == direct(d, back, i / (h * w), i / w % h, i % w);
    free(y);
    free(written);
    return good;
}

static void test_grid(void)
{
    int i, wrong = 0, back;

    for (i = 0; i < 2000; i++) {
        struct conv_desc d = {.n = 1 + below(40),
                              .h = 1 + below(12),
                              .w = 1 + below(12),
                              .c = 1,
                              .k = 1};
        int64_t places = 1 + below(300);

        d.r = 1 + below(5);
        d.s = 1 + below(5);
        d.stride = 1 + (int)below(2);
        d.pad = (int)below(4);
        if (d.h + 2 * d.pad < d.r || d.w + 2 * d.pad < d.s)
            continue;
        for (back = 0; back < 2; back++) {
            if (grid_right(&d, back, places))
                continue;
            if (wrong++ < 5)
                printf("# %dx%dx%d window %dx%d/%d pad %d back %d places %d\n",
                       (int)d.n, (int)d.h, (int)d.w, (int)d.r, (int)d.s,
                       d.stride, d.pad, back, (int)places);
        }
    }
    is_int(wrong, 0, "lines give every result once, of the right pixels");
}

/* ---- tiles: the processor's against plain ones */

enum {
    PIXELS = 50,
    WIDE = 40,
    OUT = 64 * TILE_ROW * TILE_PLANES
};

static _Alignas(64) char got[OUT], want[OUT];

/* The ways to cut rows: four of fp32, three of bf16. */
static void cut_all(const struct tile_ops *o, const struct tile_rows *s,
                    char *out, int way)
{
    size_t plane = 64 * TILE_ROW;

    memset(out, 7, OUT);
    switch (way) {
    case 0:
        o->rows(s, 37, out, plane);
        break;
    case 1:
        o->turned(s, out, plane);
        break;
    case 2:
        o->pairs(s, out, plane);
        break;
    case 3:
        o->columns(s, out, plane, 3 * TILE_ROW);
        break;
    case 4:
        o->lines(s, 37, 2, out, plane);
        break;
    case 5:
        o->zipped(s, 2, out, 3 * TILE_BYTES);
        break;
    default:
        o->upright(s, 2, out, 3 * TILE_ROW);
        break;
    }
}

static void test_cut(const struct tile_ops *fast)
{
    static const char *const way[] = {"rows",  "turned", "pairs",  "columns",
                                      "lines", "zipped", "upright"};
    static float x[PIXELS * WIDE];
    static uint16_t h[PIXELS * WIDE * 2];
    int32_t at[TILE * 2];
    int i, form;

    for (i = 0; i < PIXELS * WIDE; i++)
        x[i] = number_like();
    for (i = 0; i < PIXELS * WIDE * 2; i++)
        h[i] = f32_to_bf16(number_like());
    for (i = 0; i < TILE * 2; i++)
        at[i] = (int32_t)below(PIXELS + 5) - 5;
    for (form = 0; form < 7; form++) {
        bool half = form >= 4;
        struct tile_rows s = {half ? (char *)(h + 3) : (char *)(x + 3), at,
                              WIDE * 4, half ? 1 : 3, at + TILE};

        cut_all(fast, &s, got, form);
        cut_all(&plain, &s, want, form);
        ok(memcmp(got, want, OUT) == 0, "%s of %s are cut alike", way[form],
           half ? "bf16" : "fp32");
    }
}

enum {
    STEPS = 5
};

static void test_multiply(const struct tile_ops *fast)
{
    static _Alignas(64) char a[TILE_PLANES * 40 * TILE_ROW * STEPS];
    static _Alignas(64) char b[STEPS * TILE_PLANES * 2 * TILE_BYTES];
    static _Alignas(64) float c[TILE * TILE], e[TILE * TILE];
    ptrdiff_t shift[STEPS];
    int planes, i, add;

    for (i = 0; i < STEPS; i++)
        shift[i] = below(8) * TILE_ROW + i * 40 * TILE_ROW;
    for (planes = 1; planes <= 3; planes += 2) {
        for (add = 0; add < 2; add++) {
            struct tile_run r = {planes, a,     sizeof(a) / TILE_PLANES,
                                 64,     shift, b,
                                 STEPS,  add,   c};
            double far = 0, norm = 0;

            for (i = 0; i < (int)sizeof(a) / 2; i++)
                ((uint16_t *)(void *)a)[i] = f32_to_bf16(number_like());
            for (i = 0; i < (int)sizeof(b) / 2; i++)
                ((uint16_t *)(void *)b)[i] = f32_to_bf16(number_like());
            for (i = 0; i < TILE * TILE; i++)
                c[i] = e[i] = 1000;
            fast->begin();
            fast->multiply(&r);
            fast->end();
            r.c = e;
            plain.multiply(&r);
            for (i = 0; i < TILE * TILE; i++) {
                far += (double)(c[i] - e[i]) * (double)(c[i] - e[i]);
                norm += (double)e[i] * (double)e[i];
            }
            ok(far <= 1e-13 * norm, "products of %d pieces%s: %.1e away",
               planes, add ? ", added" : "", sqrt(far / norm));
        }
    }
}

static void test_store(const struct tile_ops *fast)
{
    static _Alignas(64) float c[TILE * TILE];
    static _Alignas(64) float add[PIXELS * WIDE];
    int32_t at[TILE];
    float bias[TILE];
    int i, form;

    for (i = 0; i < TILE * TILE; i++)
        c[i] = number_like();
    for (i = 0; i < PIXELS * WIDE; i++)
        add[i] = number_like();
    for (i = 0; i < TILE; i++) {
        bias[i] = number_like();
        at[i] = i % 7 == 3 ? -1 : i;
    }
    for (form = 0; form < 16; form++) {
        struct tile_store to = {.pixel = TILE * 4 + (form & 8 ? 0 : 4),
                                .past = form & 8,
                                .relu = form & 1,
                                .half = form & 2,
                                .bias = form & 4 ? bias : NULL,
                                .add = form & 4 ? (char *)add : NULL};

        double sum[2][2 * TILE];

        memset(got, 0, OUT);
        memset(want, 0, OUT);
        for (i = 0; i < 2 * TILE; i++)
            sum[0][i] = sum[1][i] = i;
        to.y = got;
        to.sum = to.half ? sum[0] : NULL;
        to.square = sum[0] + TILE;
        fast->store(c, at, &to);
        to.y = want;
        to.sum = to.half ? sum[1] : NULL;
        to.square = sum[1] + TILE;
        plain.store(c, at, &to);
        ok(memcmp(got, want, OUT) == 0 &&
               memcmp(sum[0], sum[1], sizeof(sum[0])) == 0,
           "results are stored and added up alike, form %d", form);
    }
}

static void test_sum(const struct tile_ops *fast)
{
    static _Alignas(64) float c[3 * TILE * TILE];
    enum {
        LINE = TILE + 5
    };
    float *y[2] = {(float *)(void *)got, (float *)(void *)want};
    int i, add;

    for (i = 0; i < 3 * TILE * TILE; i++)
        c[i] = number_like();
    for (add = 0; add < 2; add++) {
        for (i = 0; i < TILE * LINE; i++)
            y[0][i] = y[1][i] = (float)i;
        for (i = 0; i < 2; i++) {
            struct tile_sum s = {.c = c,
                                 .next = (int64_t)TILE * TILE,
                                 .blocks = 3,
                                 .add = add,
                                 .y = y[i],
                                 .line = LINE};
            (i ? &plain : fast)->sum_turned(&s);
        }
        ok(memcmp(got, want, TILE * LINE * sizeof(float)) == 0,
           "blocks are turned and added alike, %s", add ? "to y" : "anew");
    }
}

/* Three pieces are the number. */
static void test_pieces(void)
{
    int i, wrong = 0;

    for (i = 0; i < 100000; i++) {
        uint16_t p[3];
        float x = number_like(), sum = 0;
        int j;

        plain_cut(x, 3, (char *)p, 2);
        for (j = 2; j >= 0; j--)
            sum += bf16_to_f32(p[j]);
        wrong += sum != x;
    }
    is_int(wrong, 0, "three pieces add up to the number");
}

int main(void)
{
    const struct tile_ops *fast = tile_ops_amx();

    test_grid();
    test_pieces();
    if (fast) {
        test_cut(fast);
        test_multiply(fast);
        test_store(fast);
        test_sum(fast);
    } else {
        skip(22, "tiles: this processor has none");
    }
    return done_testing();
}
