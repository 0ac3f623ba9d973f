/*
 * cugraph.h - cuDNN operation graphs from C, and the choice of a plan.
 *
 * A graph is built from tensors and operations; what is made belongs to it. The
 * first thing that goes wrong stays, so calls need no check until cugraph_plan.
 * A plan comes from cuDNN's heuristics: the first engine that is deterministic,
 * keeps the wanted arithmetic and the cap on workspace, and is there compiled; if
 * there is none, one that cuDNN compiles now; at last the one whose workspace is
 * least over the cap. A mode of the heuristics that fails proposes nothing. No
 * GPU is needed where a description of one is given instead of a handle
 * (gpu-engine 2.2).
 *
 *	struct cugraph g;
 *	cugraph_init(&g, &lib);
 *	x = cugraph_tensor(&g, 1, DT_F16, shape); ...
 *	cugraph_conv(&g, CONV_FORWARD, stride, pad, x, w, y);
 *	if (cugraph_plan(&g, &want, &plan) < 0) ...
 *	cugraph_release(&g); ... cuplan_run(&plan, handle, uids, address, 3, work);
 *	cuplan_release(&plan);
 *
 * What is between the operations of one graph is a virtual tensor.
 */
#ifndef ENGINE_CUDA_CUGRAPH_H
#define ENGINE_CUDA_CUGRAPH_H

#include "engine/cuda/cudnnlib.h"
#include "engine/engine.h"

#include <stdint.h>

#define CUGRAPH_DESCRIPTORS 128
#define CUGRAPH_OPS 16

struct cugraph {
    const struct cudnn *lib;
    cudnnBackendDescriptor_t own[CUGRAPH_DESCRIPTORS];
    int n_own;
    cudnnBackendDescriptor_t op[CUGRAPH_OPS];
    int n_ops;
    bool failed; /* err_set was called */
};

struct cuplan_want {
    cudnnHandle_t handle;            /* of the device, or NULL: */
    cudnnBackendDescriptor_t device; /* of a description */
    bool exact;                      /* fp32 as it is: no TF32 */
    bool repeatable;                 /* only engines whose bits are */
    bool matrix;                     /* only engines of matrix units */
    size_t workspace; /* bytes, at most, as long as an engine takes no more */
    size_t limit;     /* and otherwise: the one that takes least */
    const char *form; /* the engine so named, within `workspace`; NULL: any */
};
#define CUPLAN_NAME 160 /* bytes of a name */
#define CUPLAN_FEW 4    /* candidates */

struct cuplan {
    const struct cudnn *lib;
    cudnnBackendDescriptor_t plan, config;
    size_t workspace; /* bytes, for the time of a run */
    int engine;       /* cuDNN's number */
    int candidates;   /* that were acceptable */
    bool compiled;    /* at run time */
};

void cugraph_init(struct cugraph *g, const struct cudnn *lib);
void cugraph_release(struct cugraph *g);
/* Of [n,h,w,c] in memory (weights [k,r,s,c]); uid names it in a run. */
cudnnBackendDescriptor_t cugraph_tensor(struct cugraph *g, int64_t uid,
                                        enum dtype t, const int64_t nhwc[4]);
/* One that is never in memory; its dtype is that of the registers. */
cudnnBackendDescriptor_t cugraph_virtual(struct cugraph *g, enum dtype t,
                                         const int64_t nhwc[4]);
/* y = x op b, element by element or by channels; b NULL: of x alone. */
void cugraph_pointwise(struct cugraph *g, cudnnPointwiseMode_t op,
                       cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b,
                       cudnnBackendDescriptor_t y);
/* dx = dy where x > 0, else 0. */
void cugraph_relu_grad(struct cugraph *g, cudnnBackendDescriptor_t dy,
                       cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t dx);
/* Sums of x and of its squares by channels, fp32. */
void cugraph_stats(struct cugraph *g, cudnnBackendDescriptor_t x,
                   cudnnBackendDescriptor_t sum,
                   cudnnBackendDescriptor_t sumsq);
/* dbeta = sum of dy, dgamma = sum of dy (x - mean) invstd by channels; rest: the
 * coefficients of the norm's dx, which cuDNN gives too. All fp32 but x, dy. */
struct cugraph_norm {
    cudnnBackendDescriptor_t x, dy, mean, invstd, gamma, dgamma, dbeta, rest[3];
};
void cugraph_norm_sums(struct cugraph *g, const struct cugraph_norm *n);
/* FORWARD y from x, w; DGRAD x from y, w; WGRAD w from x, y; fp32 sums. */
void cugraph_conv(struct cugraph *g, enum conv_kind kind, int64_t stride,
                  int64_t pad, cudnnBackendDescriptor_t x,
                  cudnnBackendDescriptor_t w, cudnnBackendDescriptor_t y);
/* The graph as a whole, which is what plans are asked for; NULL: it failed. */
cudnnBackendDescriptor_t cugraph_finish(struct cugraph *g,
                                        cudnnHandle_t handle);

/* cuplan.c. ERR_UNAVAILABLE: no engine has all that is wanted. */
int cugraph_plan(struct cugraph *g, const struct cuplan_want *want,
                 struct cuplan *plan) MUST_CHECK;

/* Names of engines that have what is wanted, the first choice first; where they
 * are few, up to two that must be compiled and may turn out to take too much. Their
 * number, at most `most`; no error is set. */
int cugraph_forms(struct cugraph *g, const struct cuplan_want *want,
                  char (*name)[CUPLAN_NAME], int most);

/* Enqueue on the stream of the handle; n tensors by their uids. */
int cuplan_run(const struct cuplan *p, cudnnHandle_t handle,
               const int64_t *uids, void **address, int n,
               void *workspace) MUST_CHECK;
void cuplan_release(struct cuplan *p);

#endif
