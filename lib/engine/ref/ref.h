/*
 * ref.h - the plain engine, and its parts for an engine that begins with it.
 *
 * ref is the oracle: loops over the bodies of kern/, arithmetic in double,
 * stores rounded to nearest even, one thread, the same bits every time. Arrays
 * are read into rows of doubles, worked on, and written back, so that there is
 * one loop for all dtypes.
 *
 * The cpu plugin compiles these files a second time with OpenMP; loops over
 * rows then run on all threads. Sums are cut into the same blocks whatever the
 * number of threads, so the bits do not change. It begins with a copy of
 * *engine_ref() and replaces entries. `dev` is not looked at by any function of
 * ref, so a plugin may pass its own. A plan belongs to the table that made it.
 */
#ifndef ENGINE_REF_REF_H
#define ENGINE_REF_REF_H

#include "engine/engine.h"

/* A kernel by number; what `run` of the table does. */
int ref_run(void *dev, enum kernel k, const void *args);

/* The convolution entries of the table. ref has every form. */
int ref_conv_available(void *dev, const struct conv_desc *d);
int ref_conv_plan(void *dev, const struct conv_desc *d, const char *form,
                  struct conv_plan **plan, struct conv_needs *needs);
int ref_conv_pack(void *dev, struct conv_plan *plan, const void *weights,
                  void *packed);
int ref_conv_run(void *dev, struct conv_plan *plan, const struct conv_args *a);
void ref_conv_free(void *dev, struct conv_plan *plan);
const char *ref_conv_name(void *dev, struct conv_plan *plan);

/*
 * The two halves of the decomposition, around a plain convolution of any
 * engine on the host. ref_conv_pro writes the activation z [n,h,w,c] of
 * d->dtype that PRO_SBR and PRO_SBAR describe; ref_conv_epi turns the stored
 * result of the plain convolution a->out into that of the epilogue, in place.
 * Both return at once for PRO_NONE and EPI_NONE.
 */
void ref_conv_pro(const struct conv_desc *d, const struct conv_args *a,
                  void *z);
void ref_conv_epi(const struct conv_desc *d, const struct conv_args *a);

/* Elements i .. i+n-1 of an array of a floating dtype or U8, to and from
 * doubles. */
void ref_load(enum dtype t, const void *p, int64_t i, int64_t n, double *out);
void ref_store(enum dtype t, void *p, int64_t i, int64_t n, const double *in);
/* A loop over independent items, on all threads where there is OpenMP. */
#ifdef _OPENMP
#    define REF_PARALLEL _Pragma("omp parallel for schedule(static)")
#else
#    define REF_PARALLEL
#endif

#endif
