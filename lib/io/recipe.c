#include "io/recipe.h"

#include "io/digest.h"
#include "util/buf.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct recipe recipe;
static char *config;

/* ---- the rows */

/* clang-format off */
#define KEY(k, t, field, d)                                                    \
    .key = k, .type = t, .addr = &recipe.field, .def = d
#define RANGE(a, b) .min = a, .max = b
#define ANY 1e15

struct opt recipe_opts[] = {
    {.name = "config", .letter = 'c', .type = OPT_STRING, .addr = &config,
     .arg = "FILE", .help = "read the recipe FILE (YAML)"},

    {.name = "model", KEY("MODEL.NAME", OPT_STRING, model, "resnet50"),
     .arg = "NAME", .help = "resnet18, 34, 50, 101 or 152"},
    {.name = "classes", KEY("MODEL.CLASSES", OPT_INT, classes, "0"),
     RANGE(0, 1e6), .arg = "N", .help = "classes; 0: those of the data set"},
    {.name = "width", KEY("MODEL.WIDTH", OPT_INT, width, "64"),
     RANGE(1, 1024), .arg = "C",
     .help = "channels of the stem; 64 is the published network"},
    {.name = "zero-init",
     KEY("MODEL.ZERO_INIT_RESIDUAL", OPT_FLAG, zero_init, "false"),
     .help = "fresh weights: last scale of each residual branch is 0"},
    {.name = "bn-momentum",
     KEY("MODEL.BN_MOMENTUM", OPT_FLOAT, bn_momentum, "0.1"), RANGE(0, 1),
     .help = "weight of a batch in the running statistics"},
    {.name = "bn-eps", KEY("MODEL.BN_EPS", OPT_FLOAT, bn_eps, "1e-5"),
     RANGE(1e-12, 1), .help = "added to the variance"},

    {.name = "size", KEY("INPUT.SIZE", OPT_INT, size, "224"), RANGE(8, 4096),
     .arg = "PIXELS", .help = "side of the crop"},
    {.name = "eval-size", KEY("INPUT.EVAL_SIZE", OPT_INT, eval_size, "0"),
     RANGE(0, 4096), .arg = "PIXELS",
     .help = "side of the crop at evaluation; 0: size"},
    {.name = "resize", KEY("INPUT.RESIZE", OPT_INT, resize, "0"),
     RANGE(0, 8192), .arg = "PIXELS",
     .help = "short side before the evaluation crop; 0: its size*256/224"},
    {.name = "squash", KEY("INPUT.SQUASH", OPT_FLAG, squash, "false"),
     .help = "evaluation resizes to a square, not by the short side"},
    {.name = "mean",
     KEY("INPUT.MEAN", OPT_FLOATS, mean, "0.485,0.456,0.406"), RANGE(-10, 10),
     .arg = "R,G,B", .help = "subtracted from pixel/255"},
    {.name = "std", KEY("INPUT.STD", OPT_FLOATS, std, "0.229,0.224,0.225"),
     RANGE(1e-6, 1e6), .arg = "R,G,B", .help = "what that is divided by"},
    {.name = "scale", KEY("INPUT.SCALE", OPT_FLOATS, scale, "0.08,1"),
     RANGE(1e-6, 1), .arg = "MIN,MAX", .help = "area of a training crop"},
    {.name = "ratio",
     KEY("INPUT.RATIO", OPT_FLOATS, ratio, "0.75,1.3333333333333333"),
     RANGE(1e-3, 1e3), .arg = "MIN,MAX",
     .help = "width to height of a training crop"},
    {.name = "flip", KEY("INPUT.FLIP", OPT_FLOAT, flip, "0.5"), RANGE(0, 1),
     .arg = "P", .help = "probability of mirroring a training image"},

    {.name = "jitter", KEY("INPUT.JITTER", OPT_FLOATS, jitter, "0,0,0,0"),
     RANGE(0, 100), .arg = "B,C,S,H",
     .help = "random brightness, contrast, saturation, hue"},
    {.name = "grey", KEY("INPUT.GREY", OPT_FLOAT, grey, "0"), RANGE(0, 1),
     .arg = "P", .help = "probability of a grey training image"},
    {.name = "policy", KEY("INPUT.POLICY", OPT_CHOICE, policy, "none"),
     .choices = "none|trivial|rand|auto",
     .help = "TrivialAugmentWide, RandAugment or AutoAugment"},
    {.name = "policy-ops", KEY("INPUT.POLICY_OPS", OPT_INT, policy_ops, "2"),
     RANGE(1, 16), .arg = "N", .help = "operations of rand on an image"},
    {.name = "policy-magnitude",
     KEY("INPUT.POLICY_MAGNITUDE", OPT_INT, policy_magnitude, "9"),
     RANGE(0, 30), .arg = "M", .help = "how far rand goes, of 30"},
    {.name = "erase", KEY("INPUT.ERASE", OPT_FLOAT, erase, "0"), RANGE(0, 1),
     .arg = "P", .help = "probability that a rectangle is erased"},
    {.name = "mixup", KEY("INPUT.MIXUP", OPT_FLOAT, mixup, "0"),
     RANGE(0, 1000), .arg = "ALPHA",
     .help = "mix images and labels of a micro-batch; 0: off"},
    {.name = "cutmix", KEY("INPUT.CUTMIX", OPT_FLOAT, cutmix, "0"),
     RANGE(0, 1000), .arg = "ALPHA",
     .help = "put parts of images into others; 0: off"},
    {.name = "repeat", KEY("INPUT.REPEAT", OPT_INT, repeat, "1"),
     RANGE(1, 1024), .arg = "R",
     .help = "views of each image in a step; an epoch sees an Rth of all"},

    {KEY("INPUT.MIN_SIZE_TRAIN", OPT_INTS, min_train,
     "640,672,704,736,768,800"), RANGE(0, 8192), .arg = "PIXELS[,PIXELS...]",
     .help = "detection: short sides to choose from; 0: as it is"},
    {KEY("INPUT.MIN_SIZE_TRAIN_SAMPLING", OPT_CHOICE, min_sampling, "choice"),
     .choices = "choice|range",
     .help = "detection: one of them, or any between two"},
    {KEY("INPUT.MAX_SIZE_TRAIN", OPT_INT, max_train, "1333"), RANGE(1, 16384),
     .arg = "PIXELS", .help = "detection: long side at most"},
    {KEY("INPUT.MIN_SIZE_TEST", OPT_INT, min_test, "800"), RANGE(0, 8192),
     .arg = "PIXELS", .help = "detection: short side at evaluation"},
    {KEY("INPUT.MAX_SIZE_TEST", OPT_INT, max_test, "1333"), RANGE(1, 16384),
     .arg = "PIXELS", .help = "detection: long side at evaluation at most"},
    {KEY("INPUT.FORMAT", OPT_CHOICE, format, "BGR"), .choices = "BGR|RGB",
     .help = "detection: order of the channels"},
    {KEY("DATALOADER.ASPECT_RATIO_GROUPING", OPT_FLAG, group_shapes, "true"),
     .help = "detection: wide images and others in batches of their own"},
    {KEY("DATALOADER.FILTER_EMPTY_ANNOTATIONS", OPT_FLAG, filter_empty,
     "true"), .help = "detection: train without images without objects"},

    {.name = "epochs", KEY("SOLVER.EPOCHS", OPT_FLOAT, epochs, "90"),
     RANGE(0, 1e6), .arg = "E", .help = "passes over the data set"},
    {.name = "batch", .letter = 'b', KEY("SOLVER.BATCH", OPT_INT, batch, "256"),
     RANGE(1, 1 << 24), .arg = "G",
     .help = "images per optimizer step, over all ranks"},
    {.name = "micro", KEY("SOLVER.MICRO", OPT_INT, micro, "0"),
     RANGE(0, 1 << 20), .arg = "B",
     .help = "images of a rank at once; 0: batch/(world*accum)"},
    {.name = "accum", KEY("SOLVER.ACCUM", OPT_INT, accum, "0"),
     RANGE(0, 1 << 20), .arg = "A",
     .help = "micro-steps per step; 0: batch/(world*micro)"},
    {.name = "tail", KEY("SOLVER.TAIL", OPT_CHOICE, tail, "wrap"),
     .choices = "wrap|drop|exact",
     .help = "the end of an epoch that fills no batch"},
    {.name = "lr", KEY("SOLVER.BASE_LR", OPT_FLOAT, lr, "0.1"), RANGE(0, 1e6),
     .arg = "RATE", .help = "learning rate for the global batch"},
    {.name = "optimizer",
     KEY("SOLVER.OPTIMIZER", OPT_CHOICE, optimizer, "sgd"),
     .choices = "sgd|lars", .help = "SGD, or LARS, for very large batches"},
    {.name = "lars-eta", KEY("SOLVER.LARS_ETA", OPT_FLOAT, lars_eta, "0.001"),
     RANGE(1e-9, 1e3), .arg = "ETA",
     .help = "part of its norm by which LARS moves a weight"},
    {.name = "momentum", KEY("SOLVER.MOMENTUM", OPT_FLOAT, momentum, "0.9"),
     RANGE(0, 1), .help = "of SGD"},
    {.name = "weight-decay",
     KEY("SOLVER.WEIGHT_DECAY", OPT_FLOAT, weight_decay, "1e-4"),
     RANGE(0, 1e3), .help = "added to the gradient, times the weight"},
    {.name = "nesterov", KEY("SOLVER.NESTEROV", OPT_FLAG, nesterov, "false"),
     .help = "Nesterov's momentum"},
    {.name = "decay-norm",
     KEY("SOLVER.DECAY_NORM", OPT_FLAG, decay_norm, "true"),
     .help = "decay scales and shifts of normalization too"},
    {.name = "decay-bias",
     KEY("SOLVER.DECAY_BIAS", OPT_FLAG, decay_bias, "true"),
     .help = "decay biases too"},
    {.name = "clip-norm", KEY("SOLVER.CLIP_NORM", OPT_FLOAT, clip_norm, "0"),
     RANGE(0, ANY), .arg = "NORM",
     .help = "clip the norm of the gradient; 0: off"},
    {.name = "label-smoothing",
     KEY("SOLVER.LABEL_SMOOTHING", OPT_FLOAT, smoothing, "0"), RANGE(0, 1),
     .help = "share of the target spread over all classes"},
    {.name = "sched", KEY("SOLVER.SCHED", OPT_CHOICE, sched, "step"),
     .choices = "step|cosine|poly", .help = "learning-rate schedule"},
    {.name = "gamma", KEY("SOLVER.GAMMA", OPT_FLOAT, gamma, "0.1"),
     RANGE(0, 1), .help = "factor of each step"},
    {.name = "step-epochs", KEY("SOLVER.STEP_EPOCHS", OPT_FLOATS, steps, "30"),
     RANGE(1e-3, 1e6), .arg = "E[,E...]",
     .help = "one number: every so many epochs; several: at these"},
    {.name = "poly-power", KEY("SOLVER.POLY_POWER", OPT_FLOAT, poly_power, "1"),
     RANGE(0, 100), .help = "exponent of the poly schedule"},
    {.name = "lr-min", KEY("SOLVER.LR_MIN", OPT_FLOAT, lr_min, "0"),
     RANGE(0, 1e6), .arg = "RATE", .help = "end of cosine and poly"},
    {.name = "warmup-epochs",
     KEY("SOLVER.WARMUP_EPOCHS", OPT_FLOAT, warmup, "0"), RANGE(0, 1e6),
     .arg = "E", .help = "length of the warm-up"},
    {.name = "warmup-factor",
     KEY("SOLVER.WARMUP_FACTOR", OPT_FLOAT, warmup_factor, "0.01"), RANGE(0, 1),
     .help = "learning rate at its start, of the base rate"},
    {.name = "warmup-method",
     KEY("SOLVER.WARMUP_METHOD", OPT_CHOICE, warmup_method, "linear"),
     .choices = "linear|constant", .help = "shape of the warm-up"},
    {.name = "warmup-shift",
     KEY("SOLVER.WARMUP_SHIFT", OPT_FLAG, warmup_shift, "false"),
     .help = "the schedule counts from the end of the warm-up"},
    {.name = "per-epoch", KEY("SOLVER.PER_EPOCH", OPT_FLAG, per_epoch, "false"),
     .help = "the rate changes between epochs only"},
    {.name = "model-ema", KEY("SOLVER.EMA", OPT_FLAG, ema, "false"),
     .help = "keep an average of the weights"},
    {.name = "model-ema-decay",
     KEY("SOLVER.EMA_DECAY", OPT_FLOAT, ema_decay, "0.99998"), RANGE(0, 1),
     .help = "its decay, before it is adjusted to batch and epochs"},
    {.name = "model-ema-steps",
     KEY("SOLVER.EMA_STEPS", OPT_INT, ema_steps, "32"), RANGE(1, 1e9),
     .arg = "N", .help = "steps between its updates"},
    {.name = "precision",
     KEY("SOLVER.PRECISION", OPT_CHOICE, prec, "fp32"),
     .choices = "fp32|bf16|fp16|fp64",
     .help = "of activations (fp64: engine ref only)"},
    {.name = "loss-scale", KEY("SOLVER.LOSS_SCALE", OPT_FLOAT, loss_scale, "0"),
     RANGE(0, ANY), .help = "for fp16; 0: dynamic"},
    {.name = "seed", KEY("SEED", OPT_INT, seed, "0"), RANGE(0, 9e15),
     .arg = "S", .help = "of everything random"},
    OPT_END,
};
/* clang-format on */

/* ---- checks */

static int pair_check(const char *key, const struct opt_list *l)
{
    if (l->n != 2 || l->f[0] > l->f[1])
        return err_set(ERR_CONFIG, "%s: want two numbers, the smaller first",
                       key);
    return 0;
}

int recipe_check(const struct recipe *r)
{
    int i;

    if (r->mean.n != 3 || r->std.n != 3)
        return err_set(ERR_CONFIG,
                       "INPUT.MEAN and INPUT.STD: want three numbers each");
    if (pair_check("INPUT.SCALE", &r->scale) < 0 ||
        pair_check("INPUT.RATIO", &r->ratio) < 0)
        return -1;
    if (!r->min_train.n ||
        (r->min_sampling == 1 &&
         (r->min_train.n != 2 || r->min_train.i[0] > r->min_train.i[1])))
        return err_set(ERR_CONFIG,
                       "INPUT.MIN_SIZE_TRAIN: want lengths, and for a range "
                       "two, the smaller first");
    if (r->jitter.n != 4 || r->jitter.f[3] > 0.5)
        return err_set(ERR_CONFIG, "INPUT.JITTER: want four numbers, the last "
                                   "at most 0.5");
    if (r->resize && r->resize < (r->eval_size ? r->eval_size : r->size))
        return err_set(
            ERR_CONFIG, "INPUT.RESIZE %lld is smaller than INPUT.%s %lld",
            (long long)r->resize, r->eval_size ? "EVAL_SIZE" : "SIZE",
            (long long)(r->eval_size ? r->eval_size : r->size));
    if (r->sched == SCHED_STEP && r->steps.n < 1)
        return err_set(ERR_CONFIG, "SOLVER.STEP_EPOCHS: want a number");
    for (i = 1; i < r->steps.n; i++)
        if (r->steps.f[i] <= r->steps.f[i - 1])
            return err_set(ERR_CONFIG, "SOLVER.STEP_EPOCHS: not ascending");
    if (r->warmup > 0 && r->epochs > 0 && r->warmup > r->epochs)
        return err_set(ERR_CONFIG,
                       "SOLVER.WARMUP_EPOCHS %g: the run has %g epochs",
                       r->warmup, r->epochs);
    if (r->sched != SCHED_STEP && r->lr_min > r->lr)
        return err_set(ERR_CONFIG,
                       "SOLVER.LR_MIN %g is above SOLVER.BASE_LR %g", r->lr_min,
                       r->lr);
    if (r->loss_scale != 0 && r->prec != PREC_FP16)
        return err_set(ERR_CONFIG,
                       "SOLVER.LOSS_SCALE is for SOLVER.PRECISION fp16 only");
    if (r->nesterov && r->momentum == 0)
        return err_set(ERR_CONFIG,
                       "SOLVER.NESTEROV needs SOLVER.MOMENTUM above 0");
    return 0;
}

/* ---- division */

static int indivisible(const struct recipe *r, int64_t world, int64_t unit,
                       const char *by, int64_t times)
{
    int64_t low = r->batch / unit * unit, high = low + unit;
    char *below = low > 0 ? xstrfmt("%lld or ", (long long)low) : xstrdup("");

    err_set(ERR_USAGE,
            "global batch %lld does not divide by %lld rank%s x %s %lld: "
            "nearest that does: %s%lld",
            (long long)r->batch, (long long)world, world == 1 ? "" : "s", by,
            (long long)times, below, (long long)high);
    free(below);
    return -1;
}

static int check_sizes(int64_t n, int64_t world)
{
    if (n < 1 || n > UINT32_MAX)
        return err_set(ERR_DATA, "data set: %lld samples", (long long)n);
    if (world < 1)
        return err_set(ERR_USAGE, "world %lld: want 1 or more",
                       (long long)world);
    return 0;
}

/* What follows from world, micro and accum of b. */
static int measure(const struct recipe *r, int64_t n, struct recipe_batch *b)
{
    int64_t left;

    b->n = n;
    b->global = r->batch;
    b->epoch_steps =
        r->tail == TAIL_DROP ? n / b->global : (n + b->global - 1) / b->global;
    if (b->epoch_steps == 0)
        return err_set(ERR_USAGE,
                       "global batch %lld: the data set has %lld samples and "
                       "SOLVER.TAIL drop leaves none",
                       (long long)b->global, (long long)n);
    b->epoch_samples = r->tail == TAIL_EXACT ? n : b->epoch_steps * b->global;
    b->total_steps = llround(r->epochs * (double)b->epoch_steps);
    if (b->total_steps == 0 && r->epochs > 0)
        b->total_steps = 1;
    left = b->total_steps % b->epoch_steps * b->global;
    b->total_samples =
        b->total_steps / b->epoch_steps * b->epoch_samples + left;
    return 0;
}

int recipe_divide(const struct recipe *r, int64_t n, int64_t world,
                  struct recipe_batch *b)
{
    int64_t accum = r->accum, micro = r->micro;

    if (check_sizes(n, world) < 0)
        return -1;
    if (micro && accum && micro * world * accum != r->batch)
        return err_set(ERR_USAGE,
                       "global batch %lld is not micro %lld x %lld rank%s x "
                       "accum %lld = %lld",
                       (long long)r->batch, (long long)micro, (long long)world,
                       world == 1 ? "" : "s", (long long)accum,
                       (long long)(micro * world * accum));
    if (!micro) {
        accum = accum ? accum : 1;
        if (r->batch % (world * accum))
            return indivisible(r, world, world * accum, "accum", accum);
        micro = r->batch / (world * accum);
    } else if (!accum) {
        if (r->batch % (world * micro))
            return indivisible(r, world, world * micro, "micro", micro);
        accum = r->batch / (world * micro);
    }
    *b = (struct recipe_batch){.world = world, .micro = micro, .accum = accum};
    return measure(r, n, b);
}

int recipe_divide_eval(const struct recipe *r, int64_t n, int64_t world,
                       struct recipe_batch *b)
{
    int64_t accum = r->accum ? r->accum : 1, micro = r->micro;

    if (check_sizes(n, world) < 0)
        return -1;
    if (micro)
        accum = (r->batch - 1) / (world * micro) + 1;
    else
        micro = (r->batch - 1) / (world * accum) + 1;
    *b = (struct recipe_batch){.world = world, .micro = micro, .accum = accum};
    return measure(r, n, b);
}

void recipe_place(const struct recipe_batch *b, int64_t samples, int64_t *epoch,
                  int64_t *pos)
{
    *epoch = samples / b->epoch_samples;
    *pos = samples % b->epoch_samples;
}

void recipe_rows(const struct recipe_batch *b, int tail, int64_t pos, int64_t m,
                 int64_t rank, int64_t *first, int64_t *count)
{
    int64_t cells = b->world * b->accum, cell = m * b->world + rank;
    int64_t rows = b->global, each, more;

    if (tail == TAIL_EXACT && b->n - pos < rows)
        rows = b->n - pos;
    /* of a short step, too: as even as can be, in position order */
    each = rows / cells;
    more = rows % cells;
    *first = pos + cell * each + (cell < more ? cell : more);
    *count = each + (cell < more);
}

/* ---- digest */

/* Keys that change how a run is cut or judged, not what it computes. */
bool recipe_counts(const struct recipe *r, const char *key)
{
    static const char *const not [] = {
        "SOLVER.MICRO", "SOLVER.ACCUM",        "INPUT.EVAL_SIZE",
        "INPUT.RESIZE", "INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST",
        "INPUT.SQUASH"};

    for (size_t i = 0; i < sizeof(not ) / sizeof(not [0]); i++)
        if (!strcmp(key, not [i]))
            return false;
    if (!strncmp(key, "SOLVER.EMA", strlen("SOLVER.EMA")))
        return r->ema;
    /* a longer run of steps is the same run; cosine and poly end at its end, and
     * the average depends on it */
    return r->sched != SCHED_STEP || r->ema || strcmp(key, "SOLVER.EPOCHS");
}

static void add_value(struct buf *b, enum opt_type type, const char *at)
{
    const struct opt_list *l = (const void *)at;

    switch (type) {
    case OPT_FLAG:
        buf_addch(b, *(const bool *)(const void *)at ? '1' : '0');
        break;
    case OPT_INT:
    case OPT_SIZE:
        buf_addf(b, "%lld", (long long)*(const int64_t *)(const void *)at);
        break;
    case OPT_FLOAT:
        buf_addf(b, "%.15g", *(const double *)(const void *)at);
        break;
    case OPT_STRING:
        buf_addstr(b, *(char *const *)(const void *)at
                          ? *(char *const *)(const void *)at
                          : "");
        break;
    case OPT_INTS:
        for (int i = 0; i < l->n; i++)
            buf_addf(b, "%s%lld", i ? "," : "", (long long)l->i[i]);
        break;
    case OPT_FLOATS:
        for (int i = 0; i < l->n; i++)
            buf_addf(b, "%s%.15g", i ? "," : "", l->f[i]);
        break;
    default:
        BUG("a recipe row of type %d", (int)type);
    }
}

/* "KEY=value;" */
static void add_setting(const struct recipe *r, const struct opt *o,
                        struct buf *b)
{
    const char *at =
        (const char *)r + ((const char *)o->addr - (const char *)&recipe);
    const char *word = o->choices;

    buf_addf(b, "%s=", o->key);
    if (o->type == OPT_CHOICE) {
        for (int i = *(const int *)(const void *)at; i > 0; i--)
            word = strchr(word, '|') + 1;
        buf_add(b, word, strcspn(word, "|"));
    } else {
        add_value(b, o->type, at);
    }
    buf_addch(b, ';');
}

void recipe_digest(const struct recipe *r, char hex[33])
{
    struct digest *d = digest_new();
    struct buf b = BUF_INIT;
    char whole[65];

    for (const struct opt *o = recipe_opts; o->name || o->key; o++) {
        if (!o->key || !recipe_counts(r, o->key))
            continue;
        add_setting(r, o, &b);
    }
    digest_add(d, b.data, b.len);
    digest_hex(d, whole);
    memcpy(hex, whole, 32);
    hex[32] = 0;
    digest_free(d);
    buf_release(&b);
}

/* ---- batches and the network */

static bool is_input(const struct recipe *r, const char *key)
{
    if (!strcmp(key, "INPUT.MEAN") || !strcmp(key, "INPUT.STD"))
        return false; /* the network's own */
    return !strcmp(key, "SEED") ||
           (!strncmp(key, "INPUT.", 6) && recipe_counts(r, key));
}

void recipe_input(const struct recipe *r, struct buf *b)
{
    for (const struct opt *o = recipe_opts; o->name || o->key; o++)
        if (o->key && is_input(r, o->key))
            add_setting(r, o, b);
}

/* The setting of a key in such a text, or NULL. */
static const char *find_setting(const char *text, const char *key)
{
    size_t n = strlen(key);

    while (*text && (strncmp(text, key, n) != 0 || text[n] != '=')) {
        text += strcspn(text, ";");
        text += *text == ';';
    }
    return *text ? text : NULL;
}

int recipe_input_check(const struct recipe *r, const char *theirs)
{
    struct buf b = BUF_INIT;
    const char *other;
    size_t n, k;
    int rc = 0;

    for (const struct opt *o = recipe_opts; !rc && (o->name || o->key); o++) {
        if (!o->key || !is_input(r, o->key))
            continue;
        other = find_setting(theirs, o->key);
        if (!other)
            continue;
        buf_reset(&b);
        add_setting(r, o, &b);
        n = strcspn(other, ";");
        k = strlen(o->key) + 1;
        if (n + 1 != b.len || memcmp(other, b.data, n) != 0)
            rc = err_set(ERR_CONFIG,
                         "batches: made with %s %.*s, here it is %.*s", o->key,
                         (int)(n - k), other + k, (int)(b.len - 1 - k),
                         b.data + k);
    }
    buf_release(&b);
    return rc;
}
