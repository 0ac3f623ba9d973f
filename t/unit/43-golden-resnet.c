/*
 * ResNets beside PyTorch in float64: loss, logits, every gradient and the
 * buffers of one training step, losses of three. The recorded values and the
 * formula of weights and images are those of t/golden/make-resnet.py.
 *
 *	43-golden-resnet.t ENGINE DTYPE MODEL WEIGHTS BATCH OUT STATE [SCALE [LEVEL]]
 *
 * does the same with weights and a batch from files and writes what comes out,
 * for t/peer/41-torch.t and bench/gpu: as many steps as the batch has learning
 * rates. SCALE: of the loss, for halves; what is written and stepped with is
 * divided by it. LEVEL: B or C, of an engine's fused forms.
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "io/frame.h"
#include "model/model.h"
#include "train/save.h"

#include <inttypes.h>

enum {
    CLASSES = 100,
    N = 4,
    SIZE = 64,
    STEPS = 3
};

static double scale = 1; /* of the loss */
static char level;

static struct engine *open_engine(const char *name, enum dtype t)
{
    struct engine_config c = {.device = -1, .deterministic = true};
    struct engine *e = NULL;

    c.dir = tap_env("BIN", NULL);
    c.level = level;
    if (engine_open(&e, name, &c) < 0)
        return NULL;
    if (engine_precision(e, t) < 0) {
        engine_close(e);
        return NULL;
    }
    return e;
}

static void open_model(struct classifier *m, const char *name, int64_t classes,
                       struct engine *e, enum dtype t)
{
    const struct model_config c = {.classes = classes,
                                   .bn_eps = 1e-5,
                                   .bn_momentum = 0.1,
                                   .mean = {0.485f, 0.456f, 0.406f},
                                   .std = {0.229f, 0.224f, 0.225f}};

    must(classifier_init(m, name, &c, e, t, true));
}

/* ---- a step */

static double train_step(struct classifier *m, const struct tensor *image,
                         const int64_t *label)
{
    struct params *ps = &m->params;
    struct class_stats s;

    must(engine_fill(m->e, ps->g, 0, (size_t)ps->total * dtype_size(ps->pt)));
    must(classifier_step(m,
                         &(struct class_batch){.image = image, .label = label},
                         0, scale / (double)image->shape[0], NULL, NULL));
    must(classifier_stats(m, &s));
    return s.loss / s.n;
}

/* v: the velocity; NULL at first. */
static void update(struct classifier *m, void **v, double lr)
{
    struct params *ps = &m->params;
    bool first = !*v;
    struct kern_sgd a = {.w = ps->w,
                         .g = ps->g,
                         .n = ps->total,
                         .lr = lr,
                         .mu = 0.9,
                         .wd = 1e-4,
                         .gmul = 1 / scale,
                         .first = first,
                         .pt = ps->pt};

    if (first)
        must(engine_alloc(m->e, (size_t)ps->total * dtype_size(ps->pt), v));
    a.m = *v;
    must(engine_run(m->e, KERN_SGD, &a));
    ps->version++;
}

/* Logits of the last step, as it left them. */
static double *logits_of(struct classifier *m, const struct tensor *image)
{
    struct plan_key key = {image->shape[0], image->shape[1], image->shape[2],
                           m->compute, true};
    struct plan *p;
    struct tensor y;
    size_t i, n;
    void *raw;
    double *v;

    must(graph_plan(&m->graph, m->e, &key, &p));
    y = plan_output(p, 0);
    n = (size_t)tensor_count(&y);
    raw = xmalloc(tensor_bytes(&y));
    v = xmalloc(n * sizeof *v);
    must(engine_download(m->e, raw, y.data, tensor_bytes(&y)));
    for (i = 0; i < n; i++)
        v[i] = dtype_load(y.dtype, raw, i);
    free(raw);
    return v;
}

/* ---- recorded values */

static double hashed(uint32_t which, uint32_t j)
{
    uint32_t x = which * 2654435761u + j * 40503u + 12345u;
    int i;

    for (i = 0; i < 2; i++)
        x = (x ^ (x >> 16)) * 0x45d9f3bu;
    x ^= x >> 16;
    return x / 2147483648.0 - 1.0;
}

/* Element x of [-1,1) as a value of a parameter: see make-resnet.py. */
static double formula(const struct param *p, bool bottleneck, double x)
{
    const char *last = bottleneck ? ".bn3." : ".bn2.";
    double size = strstr(p->name, last) ? 0.2 : 1;

    switch (p->kind) {
    case PARAM_CONV:
        return x * sqrt(6.0 / (double)(p->disk[0] * p->disk[2] * p->disk[3]));
    case PARAM_LINEAR:
    case PARAM_BIAS:
        return x / sqrt(bottleneck ? 2048 : 512);
    case PARAM_GAMMA:
        return (1 + 0.25 * x) * size;
    case PARAM_BETA:
        break;
    }
    return bottleneck ? ((x < 0 ? -2.0 : 2.0) + x) * size : x * 0.1;
}

static void fill_formula(struct params *ps, bool bottleneck)
{
    int i;
    int64_t j;

    must(params_fresh(ps, 0));
    for (i = 0; i < ps->n_state; i++) {
        uint32_t which = (uint32_t)ps->state[i].index;
        const struct param *p;
        float *v;

        if (ps->state[i].what != STATE_PARAM)
            continue;
        p = &ps->p[which];
        v = xmalloc((size_t)p->count * sizeof *v);
        for (j = 0; j < p->count; j++)
            v[j] = (float)formula(p, bottleneck, hashed(which, (uint32_t)j));
        must(params_set(ps, i, v, false));
        free(v);
    }
}

struct worst {
    double error;
    char name[64];
    int n;
};

static void add_error(struct worst *w, double error, const char *name)
{
    w->n++;
    if (!(error <= w->error)) {
        w->error = error;
        snprintf(w->name, sizeof w->name, "%s", name);
    }
}

/* A tensor against "NORM PROJECTION V0 V1 V2", relative to its norm. */
static double compare(const float *v, size_t n, uint32_t which, const double *g)
{
    const double three[3] = {(double)v[0], (double)v[n / 2], (double)v[n - 1]};
    double norm = 0, product = 0, e;
    size_t j;

    for (j = 0; j < n; j++) {
        norm += (double)v[j] * (double)v[j];
        product += (double)v[j] * hashed(which, (uint32_t)j);
    }
    e = fmax(fabs(sqrt(norm) - g[0]), fabs(product - g[1]));
    for (j = 0; j < 3; j++)
        e = fmax(e, fabs(three[j] - g[2 + j]));
    return g[0] > 0 ? e / g[0] : e;
}

static int entry_of(const struct params *ps, const char *name)
{
    int64_t at;

    if (!map_get(&ps->by_name, name, &at))
        BUG("no %s", name);
    return (int)at;
}

static void compare_line(struct classifier *m, const char *name, bool grad,
                         const double *g, struct worst *w)
{
    struct params *ps = &m->params;
    int i = entry_of(ps, name);
    size_t n = (size_t)tensor_count(&ps->state[i].disk);
    float *v = xmalloc(n * sizeof *v);

    if (grad) {
        must(params_get_grad(ps, i, v));
        add_error(w, compare(v, n, 2000 + (uint32_t)ps->state[i].index, g),
                  name);
    } else {
        must(params_get(ps, i, v, false));
        add_error(w, compare(v, n, 3000, g), name);
    }
    free(v);
}

struct golden {
    FILE *f;
    double loss[STEPS];
    struct worst logit, grad, buffer;
};

/* Compare all lines of a model; m has done one step. */
static void compare_all(struct golden *r, struct classifier *m,
                        const double *logits)
{
    char line[256], kind[16], name[64];
    double g[5], norm = 0;
    int i;

    for (i = 0; i < N * CLASSES; i++)
        norm += logits[i] * logits[i];
    norm = sqrt(norm / (N * CLASSES));
    while (fgets(line, sizeof line, r->f)) {
        if (sscanf(line, "loss %d %lf", &i, g) == 2) {
            r->loss[i] = g[0];
        } else if (sscanf(line, "logit %d %lf", &i, g) == 2) {
            snprintf(name, sizeof name, "%d", i);
            add_error(&r->logit, fabs(logits[i] - g[0]) / norm, name);
        } else if (sscanf(line, "%15s %63s %lf %lf %lf %lf %lf", kind, name, g,
                          g + 1, g + 2, g + 3, g + 4) == 7) {
            bool grad = strcmp(kind, "grad") == 0;

            compare_line(m, name, grad, g, grad ? &r->grad : &r->buffer);
        } else {
            break; /* the next model */
        }
    }
}

static void open_golden(struct golden *r, const char *model)
{
    char line[256], want[80];
    char *path = xstrfmt("%s/t/golden/resnet.txt", tap_env("TOP", "."));

    memset(r, 0, sizeof *r);
    r->f = fopen(path, "r");
    if (!r->f) {
        printf("Bail out! %s is not there\n", path);
        exit(1);
    }
    free(path);
    snprintf(want, sizeof want, "model %s\n", model);
    while (fgets(line, sizeof line, r->f))
        if (strcmp(line, want) == 0)
            return;
    BUG("no recorded values of %s", model);
}

static void say(const struct worst *w, const char *model, const char *engine,
                const char *what, double tolerance)
{
    ok(w->n > 0 && w->error <= tolerance, "%s on %s: %d %s, worst %.1e (%s)",
       model, engine, w->n, what, w->error, w->name);
}

static void test_golden(const char *model, const char *engine, enum dtype t,
                        double tolerance, int steps)
{
    static uint8_t pixels[N * SIZE * SIZE * 3];
    struct tensor image = TENSOR4(DT_U8, pixels, N, SIZE, SIZE, 3);
    struct engine *e = open_engine(engine, t);
    struct classifier m;
    struct golden r;
    double loss[STEPS], *logits;
    int64_t label[N];
    void *velocity = NULL;
    size_t i;
    int s;

    if (!e) {
        skip(4 + (steps > 1), "onednn: no cpu engine");
        return;
    }
    for (i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)((hashed(1003, (uint32_t)i) + 1) * 128);
    for (i = 0; i < N; i++)
        label[i] = (int64_t)(i * 37 + 5) % CLASSES;
    open_model(&m, model, CLASSES, e, t);
    fill_formula(&m.params, strcmp(model, "resnet50") == 0);
    loss[0] = train_step(&m, &image, label);
    logits = logits_of(&m, &image);
    open_golden(&r, model);
    compare_all(&r, &m, logits);
    fclose(r.f);
    is_double(loss[0], r.loss[0], tolerance * r.loss[0], "%s on %s: loss",
              model, engine);
    say(&r.logit, model, engine, "logits", 10 * tolerance);
    say(&r.grad, model, engine, "gradients", tolerance);
    say(&r.buffer, model, engine, "buffers", tolerance);
    for (s = 1; s < steps; s++) {
        update(&m, &velocity, 0.02);
        loss[s] = train_step(&m, &image, label);
    }
    if (steps > 1)
        ok(fabs(loss[1] / r.loss[1] - 1) < 1e-3 &&
               fabs(loss[2] / r.loss[2] - 1) < 1e-3,
           "%s on %s: losses %.6f %.6f, recorded %.6f %.6f", model, engine,
           loss[1], loss[2], r.loss[1], r.loss[2]);
    free(logits);
    if (velocity)
        engine_free(e, velocity);
    classifier_release(&m);
    engine_close(e);
}

/* ---- with files */

static void load_weights(struct params *ps, const char *path)
{
    must(params_fresh(ps, 0));
    must(save_load_model(path, ps));
}

/* A tensor of a file, with memory of its own. */
static struct tensor load_tensor(struct frame_file *f, const char *name,
                                 enum dtype t)
{
    struct tensor r;
    int i;

    must(frame_want(&f->f, name, t, -1, &i));
    r = f->f.tensor[i].t;
    r.data = xmalloc(tensor_bytes(&r));
    must(frame_file_data(f, i, r.data));
    return r;
}

/* Tensors to write; names and data are not freed. */
struct items {
    struct frame_item *v;
    int n;
};

static void add_item(struct items *l, char *name, struct tensor t, void *data)
{
    l->v = xreallocarray(l->v, (size_t)l->n + 1, sizeof *l->v);
    t.data = data;
    l->v[l->n].name = name;
    l->v[l->n++].t = t;
}

static void add_entry(struct items *l, struct classifier *m, int i, bool grad,
                      const char *prefix)
{
    const struct state_entry *s = &m->params.state[i];
    float *v = xmalloc(tensor_bytes(&s->disk));

    if (grad) {
        must(params_get_grad(&m->params, i, v));
        for (int64_t j = 0; j < tensor_count(&s->disk); j++)
            v[j] /= (float)scale;
    } else {
        must(params_get(&m->params, i, v, false));
    }
    add_item(l, xstrfmt("%s%s", prefix, s->name), s->disk, v);
}

static int with_files(char **arg)
{
    struct frame_file f = FRAME_FILE_INIT;
    struct items out = {NULL, 0}, state = {NULL, 0};
    struct tensor image, label, rate;
    struct engine *e;
    struct classifier m;
    void *velocity = NULL;
    double *loss;
    enum dtype t;
    int64_t s;
    int i;

    must(dtype_find(arg[1], &t));
    e = open_engine(arg[0], t);
    if (!e)
        die();
    must(frame_file_open(&f, arg[4]));
    image = load_tensor(&f, "image", DT_U8);
    label = load_tensor(&f, "label", DT_I64);
    rate = load_tensor(&f, "lr", DT_F64);
    frame_file_close(&f);
    open_model(&m, arg[2], CLASSES, e, t);
    load_weights(&m.params, arg[3]);
    loss = xcalloc((size_t)rate.shape[0], sizeof *loss);
    for (s = 0; s < rate.shape[0]; s++) {
        loss[s] = train_step(&m, &image, label.data);
        for (i = 0; s == 0 && i < m.params.n_state; i++)
            if (m.params.state[i].what == STATE_PARAM)
                add_entry(&out, &m, i, true, "grad/");
            else
                add_entry(&out, &m, i, false, "buffer/");
        if (s == 0)
            add_item(&out, xstrdup("logits"),
                     TENSOR2(DT_F64, NULL, image.shape[0], CLASSES),
                     logits_of(&m, &image));
        update(&m, &velocity, ((double *)rate.data)[s]);
    }
    add_item(&out, xstrdup("loss"), TENSOR1(DT_F64, NULL, rate.shape[0]), loss);
    for (i = 0; i < m.params.n_state; i++)
        add_entry(&state, &m, i, false, "");
    must(frame_file_write(arg[5], NULL, 0, out.v, out.n));
    must(frame_file_write(arg[6], NULL, 0, state.v, state.n));
    return 0; /* memory goes with the process */
}

int main(int argc, char **argv)
{
    if (argc >= 8) {
        scale = argc > 8 ? strtod(argv[8], NULL) : 1;
        level = argc > 9 ? argv[9][0] : 0;
        return with_files(argv + 1);
    }
    test_golden("resnet18", "ref", DT_F64, 1e-6, 1);
    test_golden("resnet18", "cpu", DT_F32, 1e-4, 3);
    test_golden("resnet50", "cpu", DT_F32, 1e-4, 3);
    return done_testing();
}
