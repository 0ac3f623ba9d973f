/*
 * recipe.h - what a training run is: the settings that imgshard and
 * accel-worker share, and the arithmetic of batches and progress.
 *
 * One file (configs/NAME.yaml) states a run; both programs read it with -c and
 * take the same trailing KEY VALUE pairs, so that they cannot disagree. The
 * rows of recipe_opts are the only place where a key is named.
 *
 * Quantities. The GLOBAL batch is what the user states: images per optimizer
 * step. MICRO images go through the network at once, on WORLD ranks, ACCUM
 * times: global = micro x world x accum, refused when it does not hold; at
 * evaluation the product may be larger.
 * Progress is one number, SAMPLES consumed by optimizer steps; epoch, position
 * and learning rate are derived from it. An epoch has epoch_samples
 * (recipe_divide) of them: N rounded up ("wrap") or down ("drop") to whole
 * global batches, or N itself ("exact").
 *
 * Position p of an epoch (data-and-collectives 1.13): micro-step m of step t,
 * rank r, row j: p = t*G + m*W*B + r*B + j with G = global, B = micro.
 */
#ifndef IO_RECIPE_H
#define IO_RECIPE_H

#include "util/buf.h"
#include "util/err.h"
#include "util/opt.h"

#include <stdint.h>

enum recipe_tail {
    TAIL_WRAP,
    TAIL_DROP,
    TAIL_EXACT
};
enum recipe_sched {
    SCHED_STEP,
    SCHED_COSINE,
    SCHED_POLY
};
enum recipe_optimizer {
    OPTIMIZER_SGD,
    OPTIMIZER_LARS
};
enum recipe_warmup {
    WARMUP_LINEAR,
    WARMUP_CONSTANT
};
enum recipe_policy { /* as enum policy_kind of vision/policy.h */
    RECIPE_POLICY_NONE,
    RECIPE_POLICY_TRIVIAL,
    RECIPE_POLICY_RAND,
    RECIPE_POLICY_AUTO
};
enum recipe_prec {
    PREC_FP32,
    PREC_BF16,
    PREC_FP16,
    PREC_FP64
};

struct recipe {
    /* MODEL */
    char *model;     /* MODEL.NAME resnet18|34|50|101|152 */
    int64_t classes; /* MODEL.CLASSES 0: from the data set */
    int64_t width;   /* MODEL.WIDTH: channels of the stem */
    bool zero_init;  /* MODEL.ZERO_INIT_RESIDUAL */
    /* INPUT */
    int64_t size;      /* INPUT.SIZE: side of the crop */
    int64_t eval_size; /* INPUT.EVAL_SIZE: at evaluation; 0: size */
    int64_t resize;    /* INPUT.RESIZE: its short side; 0: size*256/224 */
    bool squash;       /* INPUT.SQUASH: evaluation resizes to a square */
    struct opt_list mean, std; /* INPUT.MEAN, INPUT.STD of x/255, RGB */
    struct opt_list scale;     /* INPUT.SCALE 0.08,1 area of a train crop */
    struct opt_list ratio;     /* INPUT.RATIO 0.75,1.3333333333333333 */
    double flip;               /* INPUT.FLIP probability */
    int policy;                /* INPUT.POLICY enum recipe_policy */
    int64_t policy_ops, policy_magnitude; /* INPUT.POLICY_OPS, _MAGNITUDE */
    struct opt_list jitter; /* INPUT.JITTER of brightness, contrast,
                               saturation, hue */
    double grey, erase;     /* INPUT.GREY, INPUT.ERASE probabilities */
    double mixup, cutmix;   /* INPUT.MIXUP, INPUT.CUTMIX alpha, 0: off */
    int64_t repeat;         /* INPUT.REPEAT views of a sample in a step */
    /* INPUT and DATALOADER of detection (detect.h, reader.h) */
    struct opt_list min_train;  /* INPUT.MIN_SIZE_TRAIN: short sides */
    int min_sampling;           /* INPUT.MIN_SIZE_TRAIN_SAMPLING choice|range */
    int64_t max_train;          /* INPUT.MAX_SIZE_TRAIN: long side */
    int64_t min_test, max_test; /* INPUT.MIN_SIZE_TEST, INPUT.MAX_SIZE_TEST */
    int format;                 /* INPUT.FORMAT BGR|RGB */
    bool group_shapes;          /* DATALOADER.ASPECT_RATIO_GROUPING */
    bool filter_empty;          /* DATALOADER.FILTER_EMPTY_ANNOTATIONS */
    /* SOLVER */
    double epochs;   /* SOLVER.EPOCHS (whole or fractional) */
    int64_t batch;   /* SOLVER.BATCH global */
    int64_t micro;   /* SOLVER.MICRO 0: derived */
    int64_t accum;   /* SOLVER.ACCUM 0: derived, or 1 */
    int tail;        /* SOLVER.TAIL wrap|drop|exact */
    double lr;       /* SOLVER.BASE_LR, for the global batch */
    int optimizer;   /* SOLVER.OPTIMIZER sgd|lars */
    double lars_eta; /* SOLVER.LARS_ETA */
    double momentum, weight_decay;
    bool nesterov;
    bool decay_norm, decay_bias; /* SOLVER.DECAY_NORM, _BIAS */
    double clip_norm;            /* SOLVER.CLIP_NORM 0: off */
    double smoothing;            /* SOLVER.LABEL_SMOOTHING */
    int sched;                   /* SOLVER.SCHED step|cosine|poly */
    double gamma;                /* SOLVER.GAMMA factor of step */
    struct opt_list steps; /* SOLVER.STEP_EPOCHS: one number: every so many;
                              several: at these epochs */
    double poly_power;     /* SOLVER.POLY_POWER */
    double lr_min;         /* SOLVER.LR_MIN end of cosine and poly */
    double warmup;         /* SOLVER.WARMUP_EPOCHS */
    double warmup_factor;  /* SOLVER.WARMUP_FACTOR */
    int warmup_method;     /* SOLVER.WARMUP_METHOD linear|constant */
    bool warmup_shift;     /* SOLVER.WARMUP_SHIFT: the main schedule starts
                            counting after the warm-up (SequentialLR) */
    bool per_epoch;    /* SOLVER.PER_EPOCH: rate constant inside an epoch, as
                            torchvision steps it; else per optimizer step */
    bool ema;          /* SOLVER.EMA: keep an average of the weights */
    double ema_decay;  /* SOLVER.EMA_DECAY, before its adjustment */
    int64_t ema_steps; /* SOLVER.EMA_STEPS between updates of it */
    int prec;          /* SOLVER.PRECISION fp32|bf16|fp16|fp64 (ref only) */
    double loss_scale; /* SOLVER.LOSS_SCALE 0: dynamic (fp16) */
    double bn_momentum, bn_eps; /* MODEL.BN_MOMENTUM 0.1, MODEL.BN_EPS 1e-5 */
    int64_t seed;               /* SEED */
};

/* The one recipe of the process and the rows that fill it. */
extern struct recipe recipe;
extern struct opt recipe_opts[];

/* How a run is cut on a given world. */
struct recipe_batch {
    int64_t n; /* samples of the data set */
    int64_t world, micro, accum, global;
    int64_t epoch_samples;              /* consumed per epoch */
    int64_t epoch_steps;                /* optimizer steps per epoch */
    int64_t total_samples, total_steps; /* of the whole run */
};
/*
 * Derive what was not given: micro = batch / (world*accum), accum = batch /
 * (world*micro), accum 1 if neither was. ERR_USAGE names the nearest global
 * batches that work.
 */
int recipe_divide(const struct recipe *r, int64_t n, int64_t world,
                  struct recipe_batch *b) MUST_CHECK;
/*
 * For evaluation, where a batch is no more than what is looked at together: the
 * same where it divides; where it does not, micro is rounded up or, if that is
 * given, accum, and some rows of the last cells are left empty (recipe_rows).
 * r->tail should be exact.
 */
int recipe_divide_eval(const struct recipe *r, int64_t n, int64_t world,
                       struct recipe_batch *b) MUST_CHECK;
/* Check what can be checked of one recipe alone (ranges between keys). */
int recipe_check(const struct recipe *r) MUST_CHECK;
/* epoch and position inside it of progress number samples. */
void recipe_place(const struct recipe_batch *b, int64_t samples, int64_t *epoch,
                  int64_t *pos);
/* Rows of micro-step m (0..accum-1) for rank r in the step that begins at
 * position pos of an epoch: first position and count (0..micro). */
void recipe_rows(const struct recipe_batch *b, int tail, int64_t pos, int64_t m,
                 int64_t rank, int64_t *first, int64_t *count);
/*
 * Digest (32 hex digits and 0) of every setting that changes the arithmetic:
 * not of paths, device, threads; of the world and micro-batch neither, since
 * those may change on resume.
 */
void recipe_digest(const struct recipe *r, char hex[33]);
/* Is a key one of these settings? */
bool recipe_counts(const struct recipe *r, const char *key);
/*
 * What the producer of batches and the network must agree on: SEED and the keys
 * INPUT.* that say what becomes of a training image, as "KEY=value;..." appended;
 * and a comparison with such a text, ERR_CONFIG naming the first that differs.
 * What only one of the two knows is not compared.
 */
void recipe_input(const struct recipe *r, struct buf *b);
int recipe_input_check(const struct recipe *r, const char *theirs) MUST_CHECK;

#endif
