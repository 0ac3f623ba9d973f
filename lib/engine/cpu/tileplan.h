/*
 * tileplan.h - what tileconv.c and tileweight.c share: the plan of a convolution
 * on tiles, and how sources are cut into pieces.
 */
#ifndef ENGINE_CPU_TILEPLAN_H
#define ENGINE_CPU_TILEPLAN_H

#include "engine/cpu/grid.h"
#include "engine/cpu/tileconv.h"
#include "engine/cpu/tiles.h"

enum {
    TILE_BLOCK = TILE * TILE,
    TILE_GROUP = TILE, /* pixels that are cut together */
    TILE_PITCH = 8192  /* of a line, at most */
};

struct tileconv {
    const struct tile_ops *ops;
    struct conv_desc d;
    struct grid grid;
    int planes, threads;
    bool past;        /* results are written past the cache */
    int64_t in, out;  /* channels of the source and of the result, by 32 */
    ptrdiff_t *shift; /* of each step: all taps, each with all `in` */
    /* bytes of scratch: of a thread (or of a lane), and of its parts */
    size_t own, table_bytes, line_bytes;
    /* weight gradients: see tileweight.c */
    bool columns, together;
    int lanes; /* threads with sums of their own */
    size_t column,
        next; /* to the next channel of x, and to the next 32 places */
    size_t pieces, sums; /* bytes of a chunk, of sums of a lane or a thread */
    char name[40];
};

static inline int64_t tile_clamp(int64_t v, int64_t least, int64_t most)
{
    return v < least ? least : v > most ? most : v;
}

/* Rounded up to whole cache lines. */
static inline size_t tile_lines(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static inline bool tile_all_away(const int32_t *at)
{
    int i;

    for (i = 0; i < TILE && at[i] < 0; i++)
        ;
    return i == TILE;
}

/* Pixels that are read next: a group from the m-th on. */
static inline void tile_fetch(const int32_t *at, int64_t m, int64_t end,
                              const char *x, size_t pixel)
{
    size_t i;

    for (end = m + TILE_GROUP < end ? m + TILE_GROUP : end; m < end; m++) {
        if (at[m] < 0)
            continue;
        for (i = 0; i < pixel; i += 64)
            __builtin_prefetch(x + (size_t)at[m] * pixel + i, 0, 2);
    }
}

/* tileweight.c: is it one that it can do, though its channels are not whole
 * tiles? Its grid, then the rest of its plan. */
bool tileweight_columns(const struct conv_desc *d);
bool tileweight_grid(struct tileconv *t);
void tileweight_plan(struct tileconv *t, struct conv_needs *needs);
void tileweight_run(const struct tileconv *t, const struct conv_args *a);

#endif
