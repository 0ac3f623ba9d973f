/*
 * grid.h - a convolution as a sum over taps of shifted rows.
 *
 * Rows of an image are laid out as one line of pixels with so many zeros
 * between them that a window never reaches across. On such a line "the pixel
 * above" and "the next one" are constant shifts, and 32 neighbours are the rows
 * of a block (tiles.h); those that lie between the image's rows are thrown
 * away. Where images are small, that would be many: then several are
 * interleaved, so that 32 neighbours are one place of 32 images.
 *
 * Source and result are those of the pass: x and y forward, dy and dx backward.
 * A strided forward pass reads each of its phases (the pixels of equal
 * y % stride and x % stride) as a line of its own; a strided backward pass
 * writes its phases as jobs of their own. All lines are equally long.
 *
 * Lines are made of a chunk at a time: some rows of one or several images.
 */
#ifndef ENGINE_CPU_GRID_H
#define ENGINE_CPU_GRID_H

#include "engine/engine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GRID_STRIDE = 2,
    GRID_PHASES = GRID_STRIDE * GRID_STRIDE,
    GRID_TAPS = 49
};

struct grid_tap {
    int phase;    /* of the source */
    int64_t y, x; /* of the source, beside the place of the result */
    int at;       /* r*S + s: where in the window */
};

struct grid_job {
    int first, taps; /* of grid.tap */
    int64_t y, x;    /* place (i, j) of the grid is pixel y + step*i, ... */
    int64_t h, w;    /* places */
};

struct grid {
    int64_t n, sh, sw, oh, ow; /* images; sizes of source and result */
    int sub, step;             /* strides of source and result */
    int phases, jobs, taps;
    struct {
        int64_t y, x;
    } phase[GRID_PHASES]; /* those that are read */
    struct grid_job job[GRID_PHASES];
    struct grid_tap tap[GRID_TAPS];
    int64_t h, w;                   /* places of the largest job */
    int64_t lo_y, hi_y, lo_x, hi_x; /* reach of the taps, with 0 */
    int64_t pitch;                  /* from row to row of a line, in pixels */
    /* chunks, by grid_cut */
    int64_t images, rows; /* in each: images interleaved, rows of places */
    int64_t chunks;
    int64_t places; /* results of a line, a multiple of 32 */
    int64_t length; /* of a line of the source: more, by the taps' reach */
};

/* False if there are too many taps or pixels, or a larger stride. */
bool grid_init(struct grid *g, const struct conv_desc *d, bool backward);
/* Chunks of at most that many places, or one row; of such the cut that has
 * least to compute. */
void grid_cut(struct grid *g, int64_t places);
/* Distance on the line from the place of a result to what a tap reads. */
int64_t grid_shift(const struct grid *g, const struct grid_tap *t);
/* at[g->length]: pixel of the source at each position of the line, -1: zero */
void grid_source(const struct grid *g, int64_t chunk, int phase, int32_t *at);
/* at[g->places]: pixel of the result at each position, -1: none */
void grid_result(const struct grid *g, int64_t chunk, int job, int32_t *at);

#endif
