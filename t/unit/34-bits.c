/*
 * What has the same bits: a training step on a fixed number of threads, in every
 * precision, however often and on whatever memory; and packed weights that two
 * plans share because they name the same layout.
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "model/model.h"

enum {
    N = 6,
    SIZE = 32,
    CLASSES = 10,
    STEPS = 2
};

static struct engine *open_engine(const char *name, int threads)
{
    struct engine_config c = {.device = -1, .threads = threads};
    struct engine *e = NULL;

    c.dir = tap_env("BIN", NULL);
    return engine_open(&e, name, &c) < 0 ? NULL : e;
}

/* ---- training */

static void update(struct params *ps, void *velocity, bool first)
{
    struct kern_sgd a = {.w = ps->w,
                         .m = velocity,
                         .g = ps->g,
                         .n = ps->total,
                         .lr = 0.05,
                         .mu = 0.9,
                         .wd = 1e-4,
                         .gmul = 1,
                         .first = first,
                         .pt = ps->pt};

    must(engine_run(ps->e, KERN_SGD, &a));
    ps->version++;
}

/* Weights after some steps, and the gradient of the last of them, as doubles;
 * NULL: not in that precision. */
static double *trained(const char *engine, int threads, enum dtype t, size_t *n)
{
    static uint8_t pixels[N * SIZE * SIZE * 3];
    const struct model_config c = {.classes = CLASSES,
                                   .width = 32, /* for matrix tiles */
                                   .bn_eps = 1e-5,
                                   .bn_momentum = 0.1,
                                   .std = {0.25f, 0.25f, 0.25f}};
    struct tensor image = TENSOR4(DT_U8, pixels, N, SIZE, SIZE, 3);
    struct class_batch b = {.image = &image};
    struct engine *e = open_engine(engine, threads);
    int64_t label[N], i;
    struct classifier m;
    struct params *ps = &m.params;
    double *v;
    void *velocity;
    size_t bytes;
    char *raw;
    int s;

    if (!e || engine_precision(e, t) < 0) {
        engine_close(e);
        return NULL;
    }
    for (i = 0; i < (int64_t)sizeof pixels; i++)
        pixels[i] = (uint8_t)((i * i * 2654435761u) >> 11);
    for (i = 0; i < N; i++)
        label[i] = i % CLASSES;
    b.label = label;
    must(classifier_init(&m, "resnet18", &c, e, t, true));
    must(params_fresh(ps, 1));
    bytes = (size_t)ps->total * dtype_size(ps->pt);
    must(engine_alloc(e, bytes, &velocity));
    must(engine_fill(e, velocity, 0, bytes));
    for (s = 0; s < STEPS; s++) {
        must(engine_fill(e, ps->g, 0, bytes));
        must(classifier_step(&m, &b, 0.1, 1.0 / N, NULL, NULL));
        update(ps, velocity, s == 0);
    }
    *n = 2 * (size_t)ps->total;
    v = xmalloc(*n * sizeof *v);
    raw = xmalloc(2 * bytes);
    must(engine_download(e, raw, ps->w, bytes));
    must(engine_download(e, raw + bytes, ps->g, bytes));
    for (i = 0; i < (int64_t)*n; i++)
        v[i] = dtype_load(ps->pt, raw, (size_t)i);
    free(raw);
    engine_free(e, velocity);
    classifier_release(&m);
    engine_close(e);
    return v;
}

static void test_training(const char *engine, enum dtype t, int threads)
{
    double *v, *again;
    size_t n;

    v = trained(engine, threads, t, &n);
    if (!v) {
        skip(1, "precision: not on this engine here");
        return;
    }
    again = trained(engine, threads, t, &n);
    ok(memcmp(v, again, n * sizeof *v) == 0,
       "%s %s on %d threads: the same bits twice", engine, dtype_name(t),
       threads);
    free(v);
    free(again);
}

/* ---- layouts */

struct packing {
    uint64_t layout;
    size_t n;
    char *bytes;
};

/* What a plan makes of the weights 1, 2, ...; n 0 if it takes them as they are. */
static struct packing pack(struct engine *e, const struct conv_desc *d)
{
    int64_t n = d->k * d->r * d->s * d->c, i;
    struct packing p = {0};
    struct conv_plan *plan;
    struct conv_needs needs;
    float *w = xmalloc((size_t)n * sizeof *w);
    void *master, *packed;

    for (i = 0; i < n; i++)
        w[i] = (float)(i % 251);
    must(engine_conv_plan(e, d, &plan, &needs));
    if (needs.packed_bytes) {
        must(engine_alloc(e, (size_t)n * sizeof *w, &master));
        must(engine_upload(e, master, w, (size_t)n * sizeof *w));
        must(engine_alloc(e, needs.packed_bytes, &packed));
        must(engine_fill(e, packed, 0, needs.packed_bytes));
        must(engine_conv_pack(e, plan, master, packed));
        p.layout = needs.layout;
        p.n = needs.packed_bytes;
        p.bytes = xmalloc(p.n);
        must(engine_download(e, p.bytes, packed, p.n));
        engine_free(e, packed);
        engine_free(e, master);
    }
    engine_conv_free(e, plan);
    free(w);
    return p;
}

/* Every plan for one array of weights [64,r,r,32]. */
static void test_layouts(struct engine *e, enum dtype t, int r)
{
    struct packing p[64] = {{0}};
    int n = 0, i, j, shared = 0, wrong = 0, kind, stride, pad, size;

    for (kind = CONV_FORWARD; kind <= CONV_DGRAD; kind++)
        for (stride = 1; stride <= 2; stride++)
            for (pad = 0; pad < 3; pad++)
                for (size = 9; size <= 12; size += 3) {
                    struct conv_desc d = {.kind = (enum conv_kind)kind,
                                          .dtype = t,
                                          .out = t,
                                          .param = DT_F32,
                                          .n = 4,
                                          .h = size,
                                          .w = size,
                                          .c = 32,
                                          .k = 64,
                                          .r = r,
                                          .s = r,
                                          .stride = stride,
                                          .pad = pad};

                    p[n++] = pack(e, &d);
                }
    for (i = 0; i < n; i++) {
        for (j = 0; j < i; j++) {
            if (!p[i].n || !p[j].n || p[i].layout != p[j].layout)
                continue;
            shared++;
            wrong +=
                p[i].n != p[j].n || memcmp(p[i].bytes, p[j].bytes, p[i].n) != 0;
        }
    }
    ok(wrong == 0,
       "%s %s, window %d: of %d pairs of one layout, %d have other bytes",
       engine_name(e), dtype_name(t), r, shared, wrong);
    for (i = 0; i < n; i++)
        free(p[i].bytes);
}

int main(void)
{
    struct engine *e;

    setenv("OMP_WAIT_POLICY", "passive", 0);
    verbosity = -1;
    test_training("ref", DT_F64, 1);
    test_training("cpu", DT_F32, 2);
    test_training("cpu", DT_F32, 3);
    test_training("cpu", DT_BF16, 2);
    e = open_engine("cpu", 2);
    if (e) {
        test_layouts(e, DT_F32, 3);
        test_layouts(e, DT_BF16, 3);
        test_layouts(e, DT_F32, 2);
        engine_close(e);
    } else {
        skip(3, "onednn: no cpu engine");
    }
    return done_testing();
}
