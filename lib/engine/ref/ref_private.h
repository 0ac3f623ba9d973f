/*
 * ref_private.h - what the files of the plain engine share.
 *
 * Kernels over [rows,c] are written for one tile: some rows times at most
 * REF_WIDE channels. ref_tiles calls the tile function for all of them and adds
 * up its column sums, block after block, in an order that the number of threads
 * does not change.
 */
#ifndef ENGINE_REF_REF_PRIVATE_H
#define ENGINE_REF_REF_PRIVATE_H

#define KERN_DOUBLE
#include "engine/ref/ref.h"

#define REF_WIDE 512  /* elements worked on at a time */
#define REF_BLOCKS 64 /* the most pieces of a sum */

struct tile {
    int64_t row0, row1; /* rows row0 .. row1-1 */
    int64_t c0;         /* first channel */
    int cn;             /* channels */
    int64_t c;          /* channels of a whole row */
    double *sum[3];     /* [cn] each: add the sums of this tile here */
};
typedef void tile_fn(const void *args, const struct tile *t);

/*
 * All tiles of [rows,c]; n_sums column sums (0..3) into sums [n_sums][c], which
 * may be NULL if there are none.
 */
void ref_tiles(const void *args, int64_t rows, int64_t c, tile_fn *fn,
               int n_sums, double *sums);
/* Channels of a tile from an array [c]; NULL gives value. */
void ref_channels(enum dtype t, const void *p, const struct tile *tile,
                  double value, double *out);
/* Row i of a tile, of an array [rows,c]; NULL gives zeros. */
void ref_row(enum dtype t, const void *p, const struct tile *tile, int64_t i,
             double *out);
void ref_put_row(enum dtype t, void *p, const struct tile *tile, int64_t i,
                 const double *in);

/* The kernels, each with the struct of table.h of its name. */
typedef void ref_kernel(const void *args);
ref_kernel ref_image, ref_cast, ref_add, ref_relu, ref_relu_grad, ref_colsum,
    ref_norm_stats, ref_norm_final, ref_norm_apply, ref_norm_grad_sums,
    ref_norm_grad_final, ref_norm_grad_apply, ref_maxpool, ref_maxpool_grad,
    ref_avgpool, ref_avgpool_grad, ref_softmax_ce, ref_grad_check, ref_step,
    ref_sgd, ref_ema;

#endif
