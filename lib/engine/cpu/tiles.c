/*
 * Tiles in plain C: what tiles_amx.c is tested against, and what runs the
 * convolutions on tiles where there are none.
 */
#include "engine/cpu/tiles.h"
#include "tensor/dtype.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float plain_number(const struct tile_rows *s, int64_t i, int j)
{
    const char *p = s->x + s->at[i] * (ptrdiff_t)s->pixel;

    return s->at[i] < 0 ? 0 : ((const float *)(const void *)p)[j];
}

static uint16_t plain_half(const struct tile_rows *s, int64_t i, int64_t j)
{
    const char *p = s->x + s->at[i] * (ptrdiff_t)s->pixel;

    return s->at[i] < 0 ? 0 : ((const uint16_t *)(const void *)p)[j];
}

/* Piece after piece of x to out, out + plane, ... */
static void plain_cut(float x, int planes, char *out, size_t plane)
{
    for (; planes > 0; planes--, out += plane) {
        uint16_t piece = f32_to_bf16(x);

        memcpy(out, &piece, sizeof(piece));
        x -= bf16_to_f32(piece);
    }
}

static void plain_nothing(void)
{
}

static float plain_a_at(const struct tile_run *r, int step, int plane, int i,
                        int j)
{
    uint16_t v;

    memcpy(&v,
           r->a + r->shift[step] + (size_t)plane * r->a_plane +
               (size_t)i * r->a_row + (size_t)j * 2,
           2);
    return bf16_to_f32(v);
}

static float plain_b_at(const struct tile_run *r, int step, int plane, int i,
                        int j)
{
    size_t tile = (size_t)((step * r->planes + plane) * 2 + j / 16);
    uint16_t v;

    memcpy(&v,
           r->b + tile * TILE_BYTES + (size_t)(i / 2) * TILE_ROW +
               (size_t)(j % 16) * 4 + (size_t)(i % 2) * 2,
           2);
    return bf16_to_f32(v);
}

/* sum and what a step of planes p and q adds to element i of the tile. */
static double plain_dot(const struct tile_run *r, int step, int p, int q, int i,
                        double sum)
{
    int t;

    for (t = 0; t < TILE; t++)
        sum += (double)plain_a_at(r, step, p, i / TILE, t) *
               (double)plain_b_at(r, step, q, t, i % TILE);
    return sum;
}

static void plain_multiply(const struct tile_run *r)
{
    int i, p, q, step;

    for (i = 0; i < TILE * TILE; i++) {
        double sum = r->add ? (double)r->c[i] : 0;

        for (step = 0; step < r->steps; step++)
            for (p = 0; p < r->planes; p++)
                for (q = 0; p + q < r->planes; q++)
                    sum = plain_dot(r, step, p, q, i, sum);
        r->c[i] = (float)sum;
    }
}

static void plain_rows(const struct tile_rows *s, int64_t n, char *out,
                       size_t plane)
{
    int64_t i;
    int j;

    for (i = 0; i < n; i++)
        for (j = 0; j < TILE; j++)
            plain_cut(plain_number(s, i, j), s->planes,
                      out + i * TILE_ROW + 2 * j, plane);
}

static void plain_turned(const struct tile_rows *s, char *out, size_t plane)
{
    int i, j;

    for (i = 0; i < 16; i++)
        for (j = 0; j < TILE; j++)
            plain_cut(plain_number(s, i, j), s->planes,
                      out + j / 2 * TILE_ROW + i * 4 + j % 2 * 2, plane);
}

static void plain_pairs(const struct tile_rows *s, char *out, size_t plane)
{
    int i, j;

    for (i = 0; i < TILE; i++)
        for (j = 0; j < 16; j++)
            plain_cut(plain_number(s, i, j), s->planes,
                      out + i / 2 * TILE_ROW + j * 4 + i % 2 * 2, plane);
}

static void plain_columns(const struct tile_rows *s, char *out, size_t plane,
                          size_t row)
{
    int i, j;

    for (i = 0; i < TILE; i++)
        for (j = 0; j < 16; j++)
            plain_cut(plain_number(s, i, j), s->planes,
                      out + (size_t)j * row + 2 * i, plane);
}

static void plain_lines(const struct tile_rows *s, int64_t n, int64_t parts,
                        char *out, size_t part)
{
    int64_t i, j;

    for (i = 0; i < n; i++) {
        for (j = 0; j < parts * TILE; j++) {
            uint16_t v = plain_half(s, i, j);

            memcpy(out + (size_t)(j / TILE) * part + i * TILE_ROW +
                       j % TILE * 2,
                   &v, sizeof(v));
        }
    }
}

static void plain_zipped(const struct tile_rows *s, int64_t parts, char *out,
                         size_t part)
{
    int64_t i, j;

    for (i = 0; i < TILE; i++) {
        for (j = 0; j < parts * TILE; j++) {
            uint16_t v = plain_half(s, i, j);

            memcpy(out + (size_t)(j / TILE) * part +
                       j % TILE / 16 * TILE_BYTES + i / 2 * TILE_ROW +
                       j % 16 * 4 + i % 2 * 2,
                   &v, sizeof(v));
        }
    }
}

static void plain_upright(const struct tile_rows *s, int64_t parts, char *out,
                          size_t row)
{
    int64_t i, j;

    for (j = 0; j < parts * TILE; j++, out += row) {
        for (i = 0; i < TILE; i++) {
            uint16_t v = plain_half(s, i, j);

            memcpy(out + 2 * i, &v, sizeof(v));
        }
    }
}

static float plain_load(const char *p, bool half, int j)
{
    if (half)
        return bf16_to_f32(((const uint16_t *)(const void *)p)[j]);
    return ((const float *)(const void *)p)[j];
}

/* What is stored. */
static float plain_put(const struct tile_store *to, ptrdiff_t place, int j,
                       float v)
{
    if (!to->half) {
        ((float *)(void *)(to->y + place))[j] = v;
        return v;
    }
    ((uint16_t *)(void *)(to->y + place))[j] = f32_to_bf16(v);
    return bf16_to_f32(f32_to_bf16(v));
}

static void plain_store(const float *c, const int32_t *at,
                        const struct tile_store *to)
{
    float sum[TILE] = {0}, square[TILE] = {0};
    int i, j;

    for (i = 0; i < TILE; i++, c += TILE) {
        ptrdiff_t place = at[i] * (ptrdiff_t)to->pixel;

        if (at[i] < 0)
            continue;
        for (j = 0; j < TILE; j++) {
            float v = c[j];

            if (to->bias)
                v += to->bias[j];
            if (to->add)
                v += plain_load(to->add + place, to->half, j);
            if (to->relu && v < 0)
                v = 0;
            v = plain_put(to, place, j, v);
            sum[j] += v;
            square[j] += v * v;
        }
    }
    for (j = 0; j < TILE && to->sum; j++) {
        to->sum[j] += (double)sum[j];
        to->square[j] += (double)square[j];
    }
}

static void plain_sum_turned(const struct tile_sum *s)
{
    int i, j, b;

    for (j = 0; j < TILE; j++) {
        for (i = 0; i < TILE; i++) {
            float *y = &s->y[j * s->line + i], v = s->add ? *y : 0;

            for (b = 0; b < s->blocks; b++)
                v += s->c[b * s->next + i * TILE + j];
            *y = v;
        }
    }
}

static const struct tile_ops plain = {
    .name = "plain",
    .begin = plain_nothing,
    .end = plain_nothing,
    .multiply = plain_multiply,
    .rows = plain_rows,
    .turned = plain_turned,
    .pairs = plain_pairs,
    .columns = plain_columns,
    .lines = plain_lines,
    .zipped = plain_zipped,
    .upright = plain_upright,
    .store = plain_store,
    .sum_turned = plain_sum_turned,
};

const struct tile_ops *tile_ops_find(void)
{
    const char *how = getenv("MILLRACE_TILES");

    if (how && strcmp(how, "off") == 0)
        return NULL;
    if (how && strcmp(how, "plain") == 0)
        return &plain;
    return tile_ops_amx();
}
