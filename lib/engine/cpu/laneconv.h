/*
 * laneconv.h - convolutions in fp32 on vector registers (lanes.h).
 *
 * For each place of the window there is a list of the places of the result at
 * which it lies inside the image, and of the pixels there: nothing is copied or
 * padded, and no zero is multiplied. Which thread takes a chunk of places
 * changes no bit; gradients of weights are summed by each thread over chunks of
 * its own, and the sums added in order, so these bits depend on the number of
 * threads. Where an image has few channels (the first layer) the window of each
 * place is written as a row first.
 *
 * Calling sequence: as the conv_* entries of struct engine_ops.
 */
#ifndef ENGINE_CPU_LANECONV_H
#define ENGINE_CPU_LANECONV_H

#include "engine/engine.h"

struct laneconv;

/* fp32, results in whole vectors, on a processor with fused multiply-add. */
bool laneconv_takes(const struct conv_desc *d);
/* NULL: not one for this, or too many pixels. To be freed. */
struct laneconv *laneconv_new(const struct conv_desc *d, int threads,
                              struct conv_needs *needs);
void laneconv_free(struct laneconv *l);
const char *laneconv_name(const struct laneconv *l);
void laneconv_pack(const struct laneconv *l, const float *master, void *packed);
void laneconv_run(const struct laneconv *l, const struct conv_args *a);

#endif
