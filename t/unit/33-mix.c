/*
 * Erasing and mixing on normalised pictures, and the loss of mixed labels:
 * PyTorch's values (t/golden/mix.txt) on every engine, and a classifier that is
 * given mixed batches.
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "model/model.h"
#include "util/err.h"

enum {
    N = 3,
    H = 4,
    W = 5,
    K = 6,
    PIXELS = N * H * W * 3
};

static const int32_t erased[N][4] = {{1, 0, 4, 2}, {0, 0, 0, 0}, {0, 3, 1, 5}};
static const struct {
    double lambda;
    int32_t box[4];
    bool cut, erase;
} cases[] = {{0.7, {0}, false, false},
             {0.23, {0}, false, true},
             {1, {1, 2, 4, 4}, true, false},
             {1, {0, 0, 2, 5}, true, true},
             {1, {0}, false, true}};

static struct engine *e;

static void *upload(const void *p, size_t n)
{
    void *dev;

    must(engine_alloc(e, n, &dev));
    must(engine_upload(e, dev, p, n));
    return dev;
}

/* ---- as in t/golden/make-mix.py */

static uint8_t pixel(int i)
{
    return (uint8_t)((i * 7919 + 13) % 256);
}

static float logit(int i)
{
    return (float)((i * i * 5 + i * 37) % 29 - 14) / 4;
}

static void image_line(int k, const char *values)
{
    static const double mean[] = {0.485, 0.456, 0.406};
    static const double std[] = {0.229, 0.224, 0.225};
    struct kern_image a = {.rows = N * H * W, .c = 3, .cy = 3, .dt = DT_F32};
    float y[PIXELS] = {0};
    uint8_t x[PIXELS];
    double worst = 0;
    char *end;
    int i;

    for (i = 0; i < PIXELS; i++)
        x[i] = pixel(i);
    for (i = 0; i < 3; i++) {
        a.mul[i] = (float)(1 / (255 * std[i]));
        a.add[i] = (float)(-mean[i] / std[i]);
    }
    a.h = H;
    a.w = W;
    a.mix = 1 - cases[k].lambda;
    memcpy(a.box, cases[k].box, sizeof(a.box));
    a.x = upload(x, sizeof(x));
    a.erase = cases[k].erase ? upload(erased, sizeof(erased)) : NULL;
    a.y = upload(y, sizeof(y));
    must(engine_run(e, KERN_IMAGE, &a));
    must(engine_download(e, y, a.y, sizeof(y)));
    for (i = 0; i < PIXELS; i++, values = end)
        worst = fmax(worst, fabs((double)y[i] - strtod(values, &end)));
    ok(worst < 1e-6, "%s: picture %d: off by %.2g", engine_name(e), k, worst);
}

/* What kern_softmax_ce is to give for the labels of a batch mixed by lambda. */
static struct kern_softmax_ce mixed(double lambda, const float *z,
                                    const int64_t *label)
{
    int64_t v[8];
    double zero[4] = {0};
    struct kern_softmax_ce a = {.n = 4, .k = K, .smoothing = 0.1, .dt = DT_F32};
    int i, turned = lambda < 0.5;

    for (i = 0; i < 4; i++) {
        v[i + 4 * turned] = label[i];
        v[i + 4 * !turned] = label[(i + 3) % 4];
    }
    a.gscale = 0.25;
    a.mix = turned ? lambda : 1 - lambda;
    a.logits = upload(z, 4 * K * sizeof(*z));
    a.dlogits = upload(z, 4 * K * sizeof(*z));
    a.label = upload(v, sizeof(v));
    a.label2 = a.mix > 0 ? a.label + 4 : NULL;
    a.stats = upload(zero, sizeof(zero));
    return a;
}

static double stats[4];

static void loss_line(int k, const char *values)
{
    static const int64_t label[4] = {2, 5, 0, 0};
    struct kern_softmax_ce a;
    float z[4 * K];
    double lambda, worst;
    char *end;
    int i;

    for (i = 0; i < 4 * K; i++)
        z[i] = logit(i);
    lambda = strtod(values, &end);
    a = mixed(lambda, z, label);
    must(engine_run(e, KERN_SOFTMAX_CE, &a));
    must(engine_download(e, z, a.dlogits, sizeof(z)));
    must(engine_download(e, stats, a.stats, sizeof(stats)));
    worst = fabs(stats[0] / 4 - strtod(end, &end));
    for (i = 0; i < 4 * K; i++)
        worst = fmax(worst, fabs((double)z[i] - strtod(end, &end)));
    ok(worst < 1e-6, "%s: lambda %g: loss and gradient off by %.2g",
       engine_name(e), lambda, worst);
    ok(k >= 0 && stats[3] == 4, "%s: all rows count", engine_name(e));
}

static void golden(void)
{
    char *path = xstrfmt("%s/t/golden/mix.txt", tap_env("TOP", "."));
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    int images = 0;

    if (!f)
        die();
    while (getline(&line, &room, f) > 0) {
        if (!strncmp(line, "image ", 6)) {
            image_line((int)strtol(line + 6, NULL, 10), line + 7);
            images++;
        } else if (!strncmp(line, "loss ", 5)) {
            loss_line((int)strtol(line + 5, NULL, 10), line + 6);
        } else if (!strncmp(line, "top ", 4)) {
            is_double(stats[1], strtod(line + 6, NULL), 0,
                      "%s: the label of the larger weight is judged",
                      engine_name(e));
            is_double(stats[2], strtod(strrchr(line, ' '), NULL), 0,
                      "%s: so in the top five", engine_name(e));
        }
    }
    is_int(images, 5, "all pictures");
    free(line);
    free(path);
    fclose(f);
}

/* ---- a classifier */

enum {
    B = 3,
    SIZE = 32,
    IMAGE = SIZE * SIZE * 3
};

/* Loss and gradient of a step of a small network; NULL: only its size. */
static double step(const struct class_batch *b, float *grad, int64_t *total)
{
    static const struct model_config config = {.classes = 10,
                                               .width = 8,
                                               .bn_eps = 1e-5,
                                               .bn_momentum = 0.1,
                                               .mean = {0.485f, 0.456f, 0.406f},
                                               .std = {0.229f, 0.224f, 0.225f}};
    struct class_stats s;
    struct classifier m;

    must(classifier_init(&m, "resnet18", &config, e, DT_F32, true));
    must(params_fresh(&m.params, 5));
    must(engine_fill(e, m.params.g, 0, (size_t)m.params.total * sizeof(*grad)));
    must(classifier_step(&m, b, 0.1, 1.0 / B, NULL, NULL));
    must(classifier_stats(&m, &s));
    *total = m.params.total;
    if (grad)
        must(engine_download(e, grad, m.params.g,
                             (size_t)*total * sizeof(*grad)));
    classifier_release(&m);
    return s.loss;
}

/* Two batches that are the same thing said in two ways. */
static void same(const struct class_batch *a, const struct class_batch *b,
                 double tol, const char *what)
{
    int64_t total, i;
    double far = 0, all = 0, la, lb;
    float *x, *y;

    step(a, NULL, &total);
    x = xcalloc((size_t)total, sizeof(*x));
    y = xcalloc((size_t)total, sizeof(*y));
    la = step(a, x, &total);
    lb = step(b, y, &total);
    for (i = 0; i < total; i++) {
        far += (double)(x[i] - y[i]) * (double)(x[i] - y[i]);
        all += (double)x[i] * (double)x[i];
    }
    ok(all > 0 && sqrt(far / all) <= tol && fabs(la - lb) <= tol * la,
       "%s: %s: loss %.9g and %.9g, gradients apart by %.2g", engine_name(e),
       what, la, lb, sqrt(far / all));
    free(x);
    free(y);
}

static void classify(void)
{
    static uint8_t rgb[B * IMAGE], rolled[B * IMAGE], cut[B * IMAGE];
    const int64_t label[B] = {1, 7, 3}, before[B] = {3, 1, 7};
    const int32_t all[B][4] = {{0, 0, SIZE, SIZE}, {0, 0, 0, 0}, {0, 0, 9, 9}};
    struct tensor im = TENSOR4(DT_U8, rgb, B, SIZE, SIZE, 3);
    struct tensor rolled_im = TENSOR4(DT_U8, rolled, B, SIZE, SIZE, 3);
    struct tensor cut_im = TENSOR4(DT_U8, cut, B, SIZE, SIZE, 3);
    struct class_batch a = {.image = &im, .label = label};
    struct class_batch b = {.image = &rolled_im, .label = before};
    uint32_t s = 1;
    int i, y;

    for (i = 0; i < B * IMAGE; i++) {
        s = s * 1664525u + 1013904223u;
        rgb[i] = (uint8_t)(s >> 24);
        rolled[(i + IMAGE) % (B * IMAGE)] = rgb[i];
    }
    a.mix = 1;
    same(&a, &b, 0, "mixup of weight 1 is the row before");
    a.cut = true;
    memcpy(a.box, (int32_t[]){0, 0, SIZE, SIZE}, sizeof(a.box));
    same(&a, &b, 0, "so is a cut of everything");

    memcpy(cut, rgb, sizeof(cut));
    for (i = 0; i < B; i++)
        for (y = 5; y < 20; y++)
            memcpy(cut + i * IMAGE + (y * SIZE + 3) * 3,
                   rolled + i * IMAGE + (y * SIZE + 3) * 3, 10 * 3);
    a.mix = b.mix = 150.0 / (SIZE * SIZE);
    a.box[0] = 5, a.box[1] = 3, a.box[2] = 20, a.box[3] = 13;
    b = (struct class_batch){&cut_im, label, NULL, a.mix, true, {0}, NULL};
    same(&a, &b, 0, "a cut is what was cut before");
    a.mix = b.mix = 0;
    b.image = &im;
    same(&a, &b, 0, "a cut of no weight is none");
    a = (struct class_batch){&im, label, all[0], 0.3, false, {0}, NULL};
    b = a;
    b.erase = NULL;
    ok(fabs(step(&a, NULL, &(int64_t){0}) - step(&b, NULL, &(int64_t){0})) >
           1e-3,
       "%s: erasing is seen", engine_name(e));
    b.mix = 0;
    ok(fabs(step(&a, NULL, &(int64_t){0}) - step(&b, NULL, &(int64_t){0})) >
           1e-3,
       "%s: mixing is seen", engine_name(e));
}

int main(void)
{
    struct engine_config config = {.device = -1, .threads = 1};

    config.dir = tap_env("BIN", "bin");
    setenv("OMP_WAIT_POLICY", "passive", 0);
    verbosity = -1;
    must(engine_open(&e, "ref", &config));
    golden();
    engine_close(e);
    if (engine_open(&e, "cpu", &config) < 0) {
        skip(1, "onednn: no cpu engine here");
        return done_testing();
    }
    golden();
    classify();
    engine_close(e);
    return done_testing();
}
