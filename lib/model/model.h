/*
 * model.h - the table of models, and a classifier's step.
 *
 * A model builds its graph and parameters; a classifier turns a batch of uint8
 * images and labels into a loss, counts and parameter gradients. The detector
 * will be a second kind beside it with two graphs.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "engine/engine.h"
#include "nn/graph.h"
#include "nn/params.h"

#include <stdbool.h>
#include <stdint.h>

struct model_config {
    int64_t classes;
    int64_t width;  /* channels of the stem; 0: 64, as published */
    bool zero_init; /* gamma of each block's last norm starts at 0 */
    double bn_eps, bn_momentum;
    float mean[3], std[3]; /* of x/255, RGB */
};

struct model_kind {
    const char *name; /* "resnet50" */
    /* Build into an initialised graph: one image input, logits the output. */
    void (*build)(struct graph *g, const struct model_config *c, int depth);
    int depth;
};
/* Ends with name NULL. */
extern const struct model_kind model_kinds[];
/* ERR_CONFIG with the nearest name. */
int model_find(const char *name, const struct model_kind **k) MUST_CHECK;

/* resnet.c: ResNet v1.5 of depth 18, 34, 50, 101, 152 with torchvision's names
 * and order. Source: pytorch/vision torchvision/models/resnet.py. */
void resnet_build(struct graph *g, const struct model_config *c, int depth);

/* ---- classifier */

struct classifier {
    struct engine *e;
    struct params params;
    struct graph graph;
    int64_t classes;
    enum dtype compute;
    /* engine memory that grows to the largest batch */
    int64_t *label; /* [2 capacity]: own labels, those mixed in */
    int32_t *erase; /* [capacity,4] */
    double *stats;
    int64_t capacity;
    struct tensor logits; /* there too, of classifier_forward */
    const double *scale;  /* of the loss, in the engine's memory; NULL: 1 */
};

/*
 * A micro-batch on the host. image u8 [n,h,w,3]; label i64 [n], -1: a row of
 * padding, which weighs nothing in loss and gradient. (Batch statistics do see
 * padding rows: only those at the end are cut off.) The rest is 0 or says what
 * is done to the normalised pictures, as in struct kern_image: erase i32 [n,4];
 * mix, the weight of the row before in a row and its label; cut, the pixels of
 * the row before are those of box instead. With mix 0 nothing is mixed or cut.
 */
struct class_batch {
    const struct tensor *image;
    const int64_t *label;
    const int32_t *erase; /* or NULL */
    double mix;
    bool cut;
    int32_t box[4];    /* top, left, bottom, right */
    const void *there; /* the same images in the engine's memory, or NULL */
};

/* Counts of one or more micro-batches; sums, never means. */
struct class_stats {
    double loss; /* sum over images of the (smoothed) loss */
    double correct1, correct5;
    double n; /* images counted */
};

/* m: any memory, zero after a failure, which leaves nothing behind. ERR_CONFIG: no
 * such model, no classes; else what engine_precision and engine_alloc say. e stays
 * the caller's, and open until classifier_release. train: with gradients. */
int classifier_init(struct classifier *m, const char *name,
                    const struct model_config *c, struct engine *e,
                    enum dtype compute, bool train) MUST_CHECK;
void classifier_release(struct classifier *m); /* of zero: nothing */
/* Can it be trained on n images of size x size? Nothing is allocated; else what
 * graph_plan says. */
int classifier_check(struct classifier *m, int64_t n, int64_t size) MUST_CHECK;
/*
 * Forward and backward of one micro-batch. The gradient of sum_i loss_i *
 * gscale * scale is ADDED to params.g. Stats are added to on the device; read
 * and reset them with classifier_stats; of mixed rows they judge the label of
 * the larger weight, as torchvision's script does. ready as in plan_backward,
 * or NULL. ERR_DATA: no images U8 [n,h,w,3], or a label that is no class; else what
 * graph_plan and the engine say.
 */
int classifier_step(struct classifier *m, const struct class_batch *b,
                    double smoothing, double gscale,
                    int (*ready)(void *arg, int64_t end), void *arg) MUST_CHECK;
/* The sums since they were last read, which begin anew; waits for the engine. */
int classifier_stats(struct classifier *m, struct class_stats *s) MUST_CHECK;
/*
 * classifier_step in its parts: what comes from the host; the work in the engine,
 * all of it enqueued, none of it dependent on the values of the batch but as *p
 * says; what the host notes of a pass (whether it enqueued it, or the engine
 * repeated an equal one).
 */
struct class_pass {
    struct plan *plan; /* NULL: no row counts, there is nothing to do */
    int64_t n;         /* rows up to the last one that counts */
    double mix;
    bool mixed, erased;
};
int classifier_load(struct classifier *m, const struct class_batch *b,
                    struct class_pass *p) MUST_CHECK;
int classifier_pass(struct classifier *m, const struct class_pass *p,
                    double smoothing, double gscale,
                    int (*ready)(void *arg, int64_t end), void *arg) MUST_CHECK;
void classifier_passed(const struct class_pass *p);
/*
 * Prediction, with running statistics: forward enqueues what makes the logits of
 * the images; there is as in struct class_batch. classifier_logits waits for those
 * of the last forward, f32 [n,classes] on the host, and copies them to the caller's
 * memory. Errors as of classifier_step.
 */
int classifier_forward(struct classifier *m, const struct tensor *image,
                       const void *there) MUST_CHECK;
int classifier_logits(struct classifier *m, float *logits) MUST_CHECK;
/* Both, one after the other. */
int classifier_predict(struct classifier *m, const struct tensor *image,
                       float *logits) MUST_CHECK;

#endif
