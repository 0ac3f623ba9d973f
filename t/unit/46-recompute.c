/*
 * Values computed again: the bits of gradients, statistics and loss are those of
 * a run that keeps them, on every engine, in fewer bytes; what is computed again is
 * the insides of blocks and nothing else.
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "model/model.h"
#include "nn/lower.h"
#include "util/rng.h"

#include <inttypes.h>

enum {
    IMAGES = 3,
    SIZE = 64,
    MICROS = 2
};

struct run {
    struct classifier m;
    int64_t end[256]; /* what was ready, in order */
    int n;
};

static int ready(void *arg, int64_t end)
{
    struct run *r = arg;

    r->end[r->n++] = end;
    return 0;
}

static void begin(struct run *r, struct engine *e, const char *name,
                  enum dtype t, bool recompute)
{
    struct model_config c = {.classes = 7,
                             .width = 8,
                             .bn_eps = 1e-5,
                             .bn_momentum = 0.1,
                             .mean = {0.485F, 0.456F, 0.406F},
                             .std = {0.229F, 0.224F, 0.225F}};

    memset(r, 0, sizeof *r);
    must(classifier_init(&r->m, name, &c, e, t, true));
    r->m.graph.recompute = recompute;
    must(params_fresh(&r->m.params, 5));
}

/* Two micro-batches, mixed and erased. */
static void train(struct run *r)
{
    static const int32_t erase[IMAGES][4] = {{3, 4, 30, 40}, {0}, {1, 1, 9, 9}};
    size_t n = (size_t)IMAGES * SIZE * SIZE * 3, i;
    uint8_t *p = xmalloc(n);
    int64_t label[IMAGES];
    struct tensor image = TENSOR4(DT_U8, p, IMAGES, SIZE, SIZE, 3);
    struct class_batch b = {
        .image = &image, .label = label, .erase = erase[0], .mix = 0.3};
    struct params *ps = &r->m.params;
    struct rng g;
    int k;

    must(engine_fill(r->m.e, ps->g, 0, (size_t)ps->total * dtype_size(ps->pt)));
    for (k = 0; k < MICROS; k++) {
        rng_init(&g, 5, (uint32_t)k, 0, RNG_SYNTH);
        for (i = 0; i < n; i++)
            p[i] = (uint8_t)rng_below(&g, 256);
        for (i = 0; i < IMAGES; i++)
            label[i] = (int64_t)rng_below(&g, 7);
        must(classifier_step(&r->m, &b, 0.1, 0.25,
                             k == MICROS - 1 ? ready : NULL, r));
    }
    free(p);
}

static int same(struct run *a, struct run *b, const void *x, const void *y,
                size_t n)
{
    void *u = xmalloc(n), *v = xmalloc(n);
    int r;

    must(engine_download(a->m.e, u, x, n));
    must(engine_download(b->m.e, v, y, n));
    r = memcmp(u, v, n) == 0;
    free(u);
    free(v);
    return r;
}

static void equal(struct engine *e, const char *name, enum dtype t)
{
    struct run a, b;
    struct class_stats sa, sb;
    size_t size = dtype_size(t == DT_F64 ? DT_F64 : DT_F32);
    char *what = xstrfmt("%s %s %s", engine_name(e), name, dtype_name(t));

    begin(&a, e, name, t, false);
    begin(&b, e, name, t, true);
    train(&a);
    train(&b);
    must(classifier_stats(&a.m, &sa));
    must(classifier_stats(&b.m, &sb));
    ok(same(&a, &b, a.m.params.g, b.m.params.g,
            (size_t)a.m.params.total * size),
       "%s: gradients: the same bits", what);
    ok(same(&a, &b, a.m.params.buffers, b.m.params.buffers,
            (size_t)a.m.params.buffer_total * size),
       "%s: running statistics, moved once", what);
    ok(sa.loss == sb.loss && sa.loss > 0, "%s: the loss", what);
    ok(a.n == b.n && a.n > 3 && memcmp(a.end, b.end, sizeof a.end) == 0,
       "%s: gradients are ready in the same order", what);
    classifier_release(&a.m);
    classifier_release(&b.m);
    free(what);
}

/* Forward convolutions in the backward pass. */
static int again(struct engine *e, const char *name)
{
    struct plan_key k = {2, SIZE, SIZE, DT_F32, true};
    struct run r;
    struct plan *p;
    int i, n = 0;

    begin(&r, e, name, DT_F32, true);
    must(graph_plan(&r.m.graph, e, &k, &p));
    for (i = p->n_forward; i < p->n_ins; i++)
        n += p->ins[i].kind == INS_CONV &&
             p->conv[p->ins[i].conv].desc.kind == CONV_FORWARD;
    classifier_release(&r.m);
    return n;
}

static size_t activations(struct engine *e, const char *name, bool recompute)
{
    struct plan_key k = {8, 224, 224, DT_F32, true};
    struct plan_cost cost;
    struct run r;

    begin(&r, e, name, DT_F32, recompute);
    must(graph_cost(&r.m.graph, e, &k, &cost));
    classifier_release(&r.m);
    return cost.activations;
}

static void on(const char *name)
{
    struct engine_config c = {
        .device = -1, .threads = 1, .dir = tap_env("BIN", "bin")};
    struct engine *e;
    size_t kept, less;

    if (engine_open(&e, name, &c) < 0) {
        skip(1, "onednn: no cpu engine");
        return;
    }
    equal(e, "resnet18", DT_F32);
    equal(e, "resnet50", DT_F32);
    equal(e, "resnet50", DT_BF16);
    if (strcmp(name, "ref") == 0) {
        equal(e, "resnet18", DT_F64);
        /* all but the last block: 7 x 2, 3 projections, the stem; 15 x 3, 4,
         * the stem */
        is_int(again(e, "resnet18"), 18, "resnet18: convolutions done again");
        is_int(again(e, "resnet50"), 50, "resnet50: convolutions done again");
    }
    kept = activations(e, "resnet50", false);
    less = activations(e, "resnet50", true);
    ok(less < kept / 2, "%s: resnet50: %zu bytes of activations, not %zu", name,
       less, kept);
    engine_close(e);
}

int main(void)
{
    on("ref");
    on("cpu");
    return done_testing();
}
