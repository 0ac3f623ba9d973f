/*
 * tileconv.h - convolutions on matrix tiles (tiles.h) along lines of pixels
 * (grid.h), fp32 and bf16.
 *
 * Each thread takes chunks of the source, cuts them into bf16 pieces in its own
 * scratch memory, which stays in its cache, and multiplies them with all
 * weights; which thread does it changes no bit but of the sums of EPI_STATS, for
 * chunks are smaller for more threads. Gradients of weights: tileweight.c.
 *
 * Calling sequence: as the conv_* entries of struct engine_ops.
 */
#ifndef ENGINE_CPU_TILECONV_H
#define ENGINE_CPU_TILECONV_H

#include "engine/engine.h"

struct tileconv;

/* Is there a form for this here, but for very wide images? */
bool tileconv_takes(const struct conv_desc *d);
/* NULL: not one for tiles here. To be freed. */
struct tileconv *tileconv_new(const struct conv_desc *d, int threads,
                              struct conv_needs *needs);
void tileconv_free(struct tileconv *t);
const char *tileconv_name(const struct tileconv *t);
void tileconv_pack(const struct tileconv *t, const float *master, void *packed);
void tileconv_run(const struct tileconv *t, const struct conv_args *a);

#endif
