/*
 * cuconv.h - a convolution as a graph of cuDNN.
 *
 * Kept apart from the device, so that the plans of any card can be made without
 * one (gpu-engine 2.2). Channels of x that are no multiple of what the engines
 * for halves take are the library's own business: it pads in its workspace. With
 * a pitch they are not: x, the packed weights and the gradient that comes out of
 * the plan have that many channels.
 */
#ifndef ENGINE_CUDA_CUCONV_H
#define ENGINE_CUDA_CUCONV_H

#include "engine/cuda/cugraph.h"

/* Names of the tensors in a run. */
enum cuconv_uid {
    CUCONV_X = 1,
    CUCONV_W,
    CUCONV_Y,
    CUCONV_SCALE, /* of the prologue, in the dtype of x */
    CUCONV_BIAS,
    CUCONV_SUM,
    CUCONV_SUMSQ,
    CUCONV_ADD,
    CUCONV_RESIDUAL,
    CUCONV_NORM, /* eight for each of two norms, in this order: */
    NORM_X = 0,
    NORM_MEAN,
    NORM_INVSTD,
    NORM_GAMMA,
    NORM_BETA,
    NORM_DGAMMA,
    NORM_DBETA,
    NORM_REST, /* three of them, which nobody reads */
    NORM_N = NORM_REST + 3
};
#define CUCONV_TENSORS (CUCONV_NORM + 2 * NORM_N)

/* The dtype in which the gradient of weights comes out of a plan. */
enum dtype cuconv_wgrad_type(const struct conv_desc *d);
/* What a plan of it is to be like, on a card of so much memory; device, exact and
 * repeatable are the caller's. */
struct cuplan_want cuconv_want(const struct conv_desc *d, size_t memory);
/* Graph (kept until the plan is released) and plan of a description. */
int cuconv_make(const struct cudnn *lib, const struct conv_desc *d,
                const struct cuplan_want *want, struct cugraph *g,
                struct cuplan *plan) MUST_CHECK;
/* Names of its candidates, see cugraph_forms. */
int cuconv_forms(const struct cudnn *lib, const struct conv_desc *d,
                 const struct cuplan_want *want, char (*name)[CUPLAN_NAME],
                 int most);
/* The convolution alone of a form of level C. */
struct conv_desc cuconv_plain(const struct conv_desc *d);
/* Forms that are drawn here: those of level B, and in fp16 those of level C.
 * Whether there is a plan for a form of level C, or with a pitch, is cuDNN's
 * answer. */
bool cuconv_has(const struct conv_desc *d);
bool cuconv_fused(const struct conv_desc *d);
static inline bool cuconv_padded(const struct conv_desc *d)
{
    return conv_pitch(d) != d->c;
}

#endif
