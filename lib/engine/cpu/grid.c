#include "engine/cpu/grid.h"
#include "engine/cpu/tiles.h"

#include <string.h>

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Division that rounds down, b > 0. */
static int64_t floor_div(int64_t a, int64_t b)
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

static void add_tap(struct grid *g, struct grid_job *job, struct grid_tap t)
{
    g->tap[g->taps++] = t;
    job->taps++;
    g->lo_y = least(g->lo_y, t.y);
    g->hi_y = most(g->hi_y, t.y);
    g->lo_x = least(g->lo_x, t.x);
    g->hi_x = most(g->hi_x, t.x);
}

static int phase_of(struct grid *g, int64_t y, int64_t x)
{
    int i;

    for (i = 0; i < g->phases; i++)
        if (g->phase[i].y == y && g->phase[i].x == x)
            return i;
    g->phase[i].y = y;
    g->phase[i].x = x;
    return g->phases++;
}

/* One job: y[i] = sum of x[stride*i + r - pad] */
static void forward(struct grid *g, const struct conv_desc *d)
{
    struct grid_job *job = &g->job[0];
    int64_t s = d->stride, y, x;
    int i;

    g->jobs = 1;
    job->h = g->oh;
    job->w = g->ow;
    for (i = 0; i < d->r * d->s; i++) {
        struct grid_tap t = {.at = i};

        y = i / d->s - d->pad;
        x = i % d->s - d->pad;
        t.y = floor_div(y, s);
        t.x = floor_div(x, s);
        t.phase = phase_of(g, y - s * t.y, x - s * t.x);
        add_tap(g, job, t);
    }
}

/* A job for each phase: dx[stride*i + p] = sum of dy[(stride*i + p + pad - r) /
 * stride] over those r for which that is whole. */
static void backward(struct grid *g, const struct conv_desc *d)
{
    int64_t s = d->stride, y, x;
    int i, p;

    g->jobs = d->stride * d->stride;
    g->phases = 1;
    for (p = 0; p < g->jobs; p++) {
        struct grid_job *job = &g->job[p];

        job->first = g->taps;
        job->y = p / s;
        job->x = p % s;
        job->h = (g->oh - job->y + s - 1) / s;
        job->w = (g->ow - job->x + s - 1) / s;
        for (i = 0; i < d->r * d->s; i++) {
            y = job->y + d->pad - i / d->s;
            x = job->x + d->pad - i % d->s;
            if (floor_div(y, s) * s == y && floor_div(x, s) * s == x)
                add_tap(
                    g, job,
                    (struct grid_tap){0, floor_div(y, s), floor_div(x, s), i});
        }
    }
}

bool grid_init(struct grid *g, const struct conv_desc *d, bool back)
{
    bool flat = d->r == 1 && d->s == 1 && d->stride == 1 && d->pad == 0;
    int64_t p = conv_p(d), q = conv_q(d);
    int i;

    memset(g, 0, sizeof(*g));
    if (d->r * d->s > GRID_TAPS || d->stride > GRID_STRIDE ||
        d->n * d->h * d->w > INT32_MAX || d->n * p * q > INT32_MAX)
        return false;
    g->n = flat ? 1 : d->n;
    g->sh = flat ? d->n * d->h * d->w : back ? p : d->h;
    g->sw = flat ? 1 : back ? q : d->w;
    g->oh = flat ? g->sh : back ? d->h : p;
    g->ow = flat ? 1 : back ? d->w : q;
    g->sub = back ? 1 : d->stride;
    g->step = back ? d->stride : 1;
    if (back)
        backward(g, d);
    else
        forward(g, d);
    for (i = 0; i < g->jobs; i++) {
        g->h = most(g->h, g->job[i].h);
        g->w = most(g->w, g->job[i].w);
    }
    /* right of a row and before the next one there are zeros enough */
    g->pitch = most(g->w + g->hi_x, (g->sw + g->sub - 1) / g->sub - g->lo_x);
    grid_cut(g, 1024);
    return true;
}

/* Parts of even size into which h rows are cut. */
static int64_t parts_of(const struct grid *g)
{
    return (g->h + g->rows - 1) / g->rows;
}

static void cut_into(struct grid *g, int64_t images, int64_t places)
{
    int64_t rows = most(places / (g->pitch * images), 1), parts;

    parts = (g->h + rows - 1) / rows;
    g->images = images;
    g->rows = (g->h + parts - 1) / parts;
    g->chunks = (g->n + images - 1) / images * parts_of(g);
    g->places = (g->rows * g->pitch * images + TILE - 1) / TILE * TILE;
    g->length = g->places +
                images * ((g->hi_y - g->lo_y) * g->pitch + g->hi_x - g->lo_x);
}

/* Blocks that hold a result, times the taps, and pixels that are laid out. */
static int64_t cost(const struct grid *g)
{
    int64_t blocks = 0, m, i;

    for (m = 0; m < g->places; m += TILE) {
        for (i = m; i < m + TILE; i++) {
            int64_t at = i / g->images;

            if (at % g->pitch < g->w && at / g->pitch < g->rows)
                break;
        }
        blocks += i < m + TILE;
    }
    return g->chunks * (blocks * TILE * g->taps + g->length);
}

void grid_cut(struct grid *g, int64_t places)
{
    int64_t images, best = 1, least_cost;

    cut_into(g, 1, places);
    least_cost = cost(g);
    for (images = 2; images <= TILE && images <= g->n; images *= 2) {
        if (g->pitch * images > places)
            break;
        cut_into(g, images, places);
        if (cost(g) < least_cost) {
            least_cost = cost(g);
            best = images;
        }
    }
    cut_into(g, best, places);
}

int64_t grid_shift(const struct grid *g, const struct grid_tap *t)
{
    return g->images * ((t->y - g->lo_y) * g->pitch + t->x - g->lo_x);
}

/* First image and first row of a chunk. */
static void begin_of(const struct grid *g, int64_t chunk, int64_t *image,
                     int64_t *row)
{
    *image = chunk / parts_of(g) * g->images;
    *row = chunk % parts_of(g) * g->rows;
}

void grid_source(const struct grid *g, int64_t chunk, int phase, int32_t *at)
{
    int64_t py = g->phase[phase].y, px = g->phase[phase].x;
    /* what no tap reaches is not there */
    int64_t h = least((g->sh - py + g->sub - 1) / g->sub, g->h + g->hi_y);
    int64_t w = least((g->sw - px + g->sub - 1) / g->sub, g->w + g->hi_x);
    int64_t image, row, i, y, x, end;

    begin_of(g, chunk, &image, &row);
    memset(at, 0xff, (size_t)g->length * sizeof(*at));
    end = least(row + g->rows + g->hi_y, h);
    for (i = 0; i < g->images && image + i < g->n; i++) {
        for (y = most(row + g->lo_y, 0); y < end; y++) {
            int32_t *line =
                at + i + g->images * ((y - row - g->lo_y) * g->pitch - g->lo_x);
            int64_t from = ((image + i) * g->sh + py + g->sub * y) * g->sw + px;

            for (x = 0; x < w; x++)
                line[x * g->images] = (int32_t)(from + g->sub * x);
        }
    }
}

void grid_result(const struct grid *g, int64_t chunk, int job, int32_t *at)
{
    const struct grid_job *j = &g->job[job];
    int64_t image, row, i, y, x;

    begin_of(g, chunk, &image, &row);
    memset(at, 0xff, (size_t)g->places * sizeof(*at));
    for (i = 0; i < g->images && image + i < g->n; i++) {
        for (y = row; y < row + g->rows && y < j->h; y++) {
            int32_t *line = at + i + g->images * (y - row) * g->pitch;
            int64_t from =
                ((image + i) * g->oh + j->y + g->step * y) * g->ow + j->x;

            for (x = 0; x < j->w; x++)
                line[x * g->images] = (int32_t)(from + g->step * x);
        }
    }
}
