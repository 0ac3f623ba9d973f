/*
 * tiles.h - products of matrices in blocks of 32 x 32, for processors with
 * matrix tiles (AMX), and plain C that does the same for tests.
 *
 * The tiles multiply bf16 and add in fp32. For bf16 that is all. An fp32 number
 * is cut into three bf16, x = x0 + x1 + x2 with 8 significant bits each, and
 * the six products x_i*w_j with i + j <= 2 are added: what is left out is below
 * 2^-26 of the product, so the result is that of fp32 arithmetic, and nearer,
 * for sums of pieces round less (multiply of tiles_amx.c). A number is thus
 * PLANES pieces; a plane holds piece p of all numbers. Infinities become NaN.
 *
 * A block is the sum over steps of A_i [32 rows, 32] * B_i [32, 32 columns]:
 * A_i has rows of 64 bytes at any distance, B_i is a list of tiles: for each
 * plane two of 16 columns each, in which a row holds pairs of the 32 terms
 * (row i, column j: terms 2i and 2i+1 of column j, as 32 bits).
 */
#ifndef ENGINE_CPU_TILES_H
#define ENGINE_CPU_TILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TILE = 32,         /* side of a block, and terms of a step */
    TILE_BYTES = 1024, /* of 16 rows of 64 bytes */
    TILE_PLANES = 3,
    TILE_ROW = 64 /* bytes of 32 bf16 */
};

/* One block. */
struct tile_run {
    int planes; /* 1 or 3 */
    const char *a;
    size_t a_plane, a_row;  /* bytes between planes and between rows */
    const ptrdiff_t *shift; /* A_i begins at a + shift[i] */
    const char *b;          /* B_i at b + i*planes*2*TILE_BYTES */
    int steps;
    bool add; /* to what c holds */
    float *c; /* [TILE, TILE], 64-byte aligned */
};

/* Rows of numbers somewhere: pixel i is at x + at[i]*pixel; at[i] < 0: zeros. */
struct tile_rows {
    const char *x;
    const int32_t *at;
    size_t pixel;
    int planes;          /* of fp32; bf16 has one */
    const int32_t *next; /* bf16: 32 pixels that are fetched, or NULL */
};

/* Where a block goes: row i at y + at[i]*pixel, nowhere if at[i] < 0.
 * y = act(c + bias + add). sum[j] and square[j] grow by the sums over the rows of
 * what is stored in column j and of its square, added in fp32. */
struct tile_store {
    char *y;
    const char *add;      /* like y, or NULL */
    const float *bias;    /* [TILE], or NULL */
    double *sum, *square; /* [TILE], or NULL */
    size_t pixel;
    bool half, relu;
    bool past; /* the cache, for it is long until y is read */
};

/* Blocks, `next` floats apart, that are added one after the other to numbers
 * which lie the other way: y[j*line + i] (+)= c[i][j]. */
struct tile_sum {
    const float *c;
    int64_t next;
    int blocks;
    bool add; /* to what y holds */
    float *y;
    int64_t line;
};

struct tile_ops {
    const char *name;
    /* Around all others, in each thread. */
    void (*begin)(void);
    void (*end)(void);
    void (*multiply)(const struct tile_run *r);
    /* fp32. n rows of 32 numbers each -> out + i*64, planes `plane` bytes apart */
    void (*rows)(const struct tile_rows *s, int64_t n, char *out, size_t plane);
    /* 16 rows of 32 numbers -> a tile of B whose columns they are */
    void (*turned)(const struct tile_rows *s, char *out, size_t plane);
    /* 32 rows of 16 numbers -> a tile of B whose terms they are */
    void (*pairs)(const struct tile_rows *s, char *out, size_t plane);
    /* The same as 16 rows of 32 terms, `row` bytes apart: a part of A. */
    void (*columns)(const struct tile_rows *s, char *out, size_t plane,
                    size_t row);
    /* bf16, 32*parts numbers in a row. n rows -> out + i*64, parts `part` bytes
     * apart */
    void (*lines)(const struct tile_rows *s, int64_t n, int64_t parts,
                  char *out, size_t part);
    /* 32 rows -> two tiles of B for each part, whose terms they are */
    void (*zipped)(const struct tile_rows *s, int64_t parts, char *out,
                   size_t part);
    /* 32 rows -> 32*parts rows of 32 terms, `row` bytes apart */
    void (*upright)(const struct tile_rows *s, int64_t parts, char *out,
                    size_t row);
    void (*store)(const float *c, const int32_t *at,
                  const struct tile_store *to);
    void (*sum_turned)(const struct tile_sum *s);
};

/*
 * The best for this processor, NULL: none. MILLRACE_TILES in the environment says
 * otherwise: "off" none, "plain" the plain ones, which are slow.
 */
const struct tile_ops *tile_ops_find(void);
/* NULL where there is no AMX, or the system does not give it. */
const struct tile_ops *tile_ops_amx(void);

#endif
