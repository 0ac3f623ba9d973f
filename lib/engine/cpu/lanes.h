/*
 * lanes.h - blocks of products in fp32 on vector registers, with fused
 * multiply-add: what laneconv.c makes convolutions of.
 *
 * A sum of many products is cut into runs of LANE_TERMS: each is one chain in a
 * register. LANE_RUNS runs are added to a part, and parts to the sum, so chains
 * are short and their rounding is that of some tens of terms. The order of
 * additions does not depend on the width of the vectors: all sets give the same
 * bits.
 */
#ifndef ENGINE_CPU_LANES_H
#define ENGINE_CPU_LANES_H

#include "util/isa.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    LANE_TERMS = 22, /* three runs for 64 channels */
    LANE_RUNS = 6
};

/* Memory that is wanted later: each run asks for `step` lines of cache, from
 * `next` on, until `end`; for many at once it would have to wait. */
struct lane_ahead {
    const char *next, *end;
    int64_t step;
};

/* sum[at[i]][j] (+)= sum over t < terms of x[pixel[i]*line + t]*b[t][j],
 * j < width. */
struct lane_rows {
    const float *x;
    int64_t line;
    const int32_t *pixel, *at; /* [n] */
    int64_t n;                 /* a multiple of ops->places */
    int64_t terms;             /* a part: at most LANE_TERMS*LANE_RUNS */
    const float *b;            /* [terms][width] */
    float *sum;                /* [.][width] */
    bool add;
    struct lane_ahead *ahead;
};

/* sum[i*line + j] (+)= sum over t < n of a[at[t]][i]*b[pixel[t]][j],
 * i < rows, j < width. */
struct lane_pairs {
    const float *a, *b; /* [.][places], [.][width] */
    const int32_t *at, *pixel;
    int64_t n;
    float *sum;
    int64_t line;
    int rows; /* at most ops->places */
    bool add;
    struct lane_ahead *ahead; /* [2] */
};

/* y[pixel[i]*line + j] = act(sum[i][j] + bias[j] + add[pixel[i]*line + j]), i < n,
 * j < width; bias and add may be NULL. */
struct lane_store {
    const float *sum, *bias, *add;
    float *y;
    const int32_t *pixel;
    int64_t n, line;
    bool relu;
    bool past; /* the caches, of which y is 64-byte aligned: it is large */
};

/* n rows of `line` numbers as blocks: out[block][i][.], blocks `next` numbers
 * apart. */
struct lane_cut {
    const float *x;
    int64_t line, n, next;
    float *out;
};

struct lane_ops {
    /* a block of sums in registers; 0: not with these instructions */
    int places, width;
    void (*multiply)(const struct lane_rows *r);
    void (*multiply_pairs)(const struct lane_pairs *p);
    /* blocks of width numbers, of which lines are multiples, or of `places` */
    void (*cut)(const struct lane_cut *c);
    void (*cut_groups)(const struct lane_cut *c);
    void (*store)(const struct lane_store *s);
};
ISA_DECLARE(const struct lane_ops, lane_ops);

#endif
