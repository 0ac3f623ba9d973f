/*
 * ResNets: counts, names and initial values against torchvision's
 * (imagenet-recipe 1.1 to 1.3), the classifier's step.
 */
#include "lib/must.h"
#include "lib/tap.h"

#include "model/model.h"
#include "nn/lower.h"
#include "util/rng.h"

#include <inttypes.h>

static const struct model_config config = {.classes = 1000,
                                           .bn_eps = 1e-5,
                                           .bn_momentum = 0.1,
                                           .mean = {0.485f, 0.456f, 0.406f},
                                           .std = {0.229f, 0.224f, 0.225f}};

static struct engine *ref(void)
{
    static struct engine *e;
    struct engine_config c = {.device = -1, .threads = 1};

    if (!e)
        must(engine_open(&e, "ref", &c));
    return e;
}

static int count_op(const struct graph *g, enum op op)
{
    int i, n = 0;

    for (i = 0; i < g->n; i++)
        n += g->node[i].op == op;
    return n;
}

static void test_counts(void)
{
    static const struct {
        const char *name;
        int64_t params;
        int convs, tensors, state;
        double macs, elements;
    } want[] = {
        {"resnet18", 11689512, 20, 62, 122, 1814073344, 2483712},
        {"resnet34", 21797672, 36, 110, 218, 3663761408, 3738112},
        {"resnet50", 25557032, 53, 161, 320, 4089184256, 11113984},
        {"resnet101", 44549160, 104, 314, 626, 7801405440, 16231936},
        {"resnet152", 60192808, 155, 467, 932, 11513626624, 22554112},
    };
    struct plan_key key = {1, 224, 224, DT_F32, true};
    size_t i;

    for (i = 0; i < sizeof want / sizeof want[0]; i++) {
        const struct model_kind *k;
        struct params ps;
        struct graph g;
        struct plan_cost c;
        int64_t n = 0;
        int j;

        must(model_find(want[i].name, &k));
        params_init(&ps);
        graph_init(&g, &ps);
        k->build(&g, &config, k->depth);
        graph_seal(&g);
        for (j = 0; j < ps.n; j++)
            n += ps.p[j].count;
        is_int(n, want[i].params, "%s: parameters", k->name);
        is_int(ps.n, want[i].tensors, "%s: tensors", k->name);
        is_int(ps.n_state, want[i].state, "%s: state entries", k->name);
        is_int(count_op(&g, OP_CONV), want[i].convs, "%s: convs", k->name);
        is_int(count_op(&g, OP_NORM), want[i].convs, "%s: norms", k->name);
        must(graph_cost(&g, ref(), &key, &c));
        is_double(c.forward_macs, want[i].macs, 0, "%s: multiply-adds",
                  k->name);
        /* no gradient of the image: conv1 has no dgrad */
        is_double(c.backward_macs, 2 * want[i].macs - 118013952, 0,
                  "%s: multiply-adds of the gradients", k->name);
        ok((double)c.activations > want[i].elements * 4 * 1.8 &&
               (double)c.activations < want[i].elements * 4 * 2.7,
           "%s: %zu bytes of activations, %.2f of the convolutions' results",
           k->name, c.activations,
           (double)c.activations / want[i].elements / 4);
        key.train = false;
        must(graph_cost(&g, ref(), &key, &c));
        ok(c.activations < 9 * 1024 * 1024, "%s: %zu bytes to predict", k->name,
           c.activations);
        key.train = true;
        graph_release(&g);
        params_release(&ps);
    }
}

static int count_forms(const struct plan *p, enum conv_kind kind,
                       enum conv_pro pro, enum conv_epi epi)
{
    int i, n = 0;

    for (i = 0; i < p->n_ins; i++) {
        const struct conv_desc *d = &p->conv[p->ins[i].conv].desc;

        n += p->ins[i].kind == INS_CONV && d->kind == kind && d->pro == pro &&
             d->epi == epi;
    }
    return n;
}

/* ResNet-50 at level C: in each of 16 blocks two norms lie inside convolutions;
 * 15 blocks end in front of another one, 4 of them with a projection. */
static void test_level(void)
{
    struct engine_config c[2] = {{.device = -1, .threads = 1, .level = 'B'},
                                 {.device = -1, .threads = 1, .level = 'C'}};
    struct plan_key key = {256, 224, 224, DT_F16, true};
    const struct model_kind *k;
    struct engine *e;
    struct plan *p;
    struct params ps;
    struct graph g;
    size_t bytes[2];
    int i;

    must(model_find("resnet50", &k));
    for (i = 0; i < 2; i++) {
        must(engine_open(&e, "ref", &c[i]));
        params_init(&ps);
        graph_init(&g, &ps);
        k->build(&g, &config, k->depth);
        graph_seal(&g);
        p = plan_new(&g, e, &key);
        must(p ? 0 : -1);
        bytes[i] = p->arena_bytes;
        is_int(count_forms(p, CONV_FORWARD, PRO_SBR, EPI_STATS), i ? 32 : 0,
               "level %c: norm, conv, sums", c[i].level);
        is_int(count_forms(p, CONV_FORWARD, PRO_NONE, EPI_STATS), i ? 20 : 0,
               "conv, sums");
        is_int(count_forms(p, CONV_WGRAD, PRO_SBR, EPI_NONE), i ? 32 : 0,
               "norm, wgrad");
        is_int(count_forms(p, CONV_DGRAD, PRO_NONE, EPI_BNSUMS1), i ? 43 : 0,
               "dgrad, norm");
        is_int(count_forms(p, CONV_DGRAD, PRO_NONE, EPI_BNSUMS2), i ? 4 : 0,
               "dgrad, two norms");
        plan_free(p);
        graph_release(&g);
        params_release(&ps);
        engine_close(e);
    }
    ok((double)bytes[1] < 0.9 * (double)bytes[0],
       "level C keeps %zu MiB of activations, B %zu", bytes[1] >> 20,
       bytes[0] >> 20);
}

static const struct param *param(const struct params *ps, const char *name)
{
    int64_t at = -1;

    if (!map_get(&ps->by_name, name, &at) ||
        ps->state[at].what != STATE_PARAM) {
        ok(0, "%s is a parameter", name);
        exit(1);
    }
    return &ps->p[ps->state[at].index];
}

static void test_names(const struct params *ps)
{
    static const char *const block[] = {
        "layer1.0.conv1.weight",    "layer1.0.bn1.weight",
        "layer1.0.bn1.bias",        "layer1.0.bn1.running_mean",
        "layer1.0.bn1.running_var", "layer1.0.bn1.num_batches_tracked",
        "layer1.0.conv2.weight"};
    static const char *const tail[] = {"layer1.0.conv3.weight",
                                       "layer1.0.bn3.weight",
                                       "layer1.0.bn3.bias",
                                       "layer1.0.bn3.running_mean",
                                       "layer1.0.bn3.running_var",
                                       "layer1.0.bn3.num_batches_tracked",
                                       "layer1.0.downsample.0.weight",
                                       "layer1.0.downsample.1.weight"};
    size_t i;

    is_str(ps->state[0].name, "conv1.weight", "state 0");
    is_str(ps->state[1].name, "bn1.weight", "state 1");
    for (i = 0; i < sizeof block / sizeof block[0]; i++)
        is_str(ps->state[6 + i].name, block[i], "state %zu", 6 + i);
    for (i = 0; i < sizeof tail / sizeof tail[0]; i++)
        is_str(ps->state[18 + i].name, tail[i], "state %zu", 18 + i);
    is_str(ps->state[ps->n_state - 2].name, "fc.weight", "last but one");
    is_str(ps->state[ps->n_state - 1].name, "fc.bias", "last");
    is_int(ps->state[0].disk.shape[1], 3, "weights on disk are [K,C,R,S]");
    is_int(ps->state[5].disk.rank, 0, "counters are scalars");
    is_int(ps->p[ps->n - 1].offset, 0, "the last one lies in front");
    is_int(param(ps, "layer2.0.downsample.0.weight")->disk[0], 512,
           "projection of layer2");
    is_int(param(ps, "layer4.2.conv2.weight")->disk[2], 3,
           "the 3x3 of a bottleneck");
}

/* Deviation of a parameter's fresh values. */
static double deviation(struct params *ps, const char *name, double *mean)
{
    const struct param *p = param(ps, name);
    const float *v = param_w(ps, (int)(p - ps->p));
    double s = 0, q = 0;
    int64_t i;

    for (i = 0; i < p->count; i++) {
        s += (double)v[i];
        q += (double)v[i] * (double)v[i];
    }
    *mean = s / (double)p->count;
    return sqrt(q / (double)p->count - *mean * *mean);
}

/* Drawn by several threads, in parts: one after the other, in disk order. */
static void test_drawn(struct params *ps, const char *name, uint64_t seed)
{
    const struct param *p = param(ps, name);
    float *v = xmalloc((size_t)p->count * sizeof *v);
    int64_t i, wrong = 0;
    struct rng r;
    int e = 0;

    while (strcmp(ps->state[e].name, name) != 0)
        e++;
    must(params_get(ps, e, v, false));
    rng_init(&r, seed, (uint32_t)(p - ps->p), 0, RNG_INIT);
    for (i = 0; i < p->count; i++) {
        double x =
            p->init == INIT_NORMAL ? rng_normal(&r) : 2 * rng_unit(&r) - 1;

        wrong += v[i] != (float)(x * p->arg);
    }
    is_int(wrong, 0, "%s is drawn in order", name);
    free(v);
}

static void test_fresh(void)
{
    static const struct {
        const char *name;
        double std;
    } want[] = {
        {"conv1.weight", 0.025254},
        {"layer1.0.conv1.weight", 0.176777},
        {"layer1.1.conv3.weight", 0.088388},
        {"layer2.0.conv2.weight", 0.041667},
        {"layer4.0.downsample.0.weight", 0.03125},
        {"layer4.1.conv2.weight", 0.020833},
        {"fc.weight", 0.0220971 / 1.7320508},
        {"fc.bias", 0.0220971 / 1.7320508},
        {"bn1.weight", 0},
        {"bn1.bias", 0},
    };
    struct classifier m;
    struct model_config c = config;
    double mean, got, tol;
    size_t i;

    c.zero_init = true;
    must(classifier_init(&m, "resnet50", &c, ref(), DT_F32, true));
    must(params_fresh(&m.params, 5));
    test_names(&m.params);
    test_drawn(&m.params, "conv1.weight", 5);
    test_drawn(&m.params, "layer3.0.conv2.weight", 5);
    test_drawn(&m.params, "fc.weight", 5);
    for (i = 0; i < sizeof want / sizeof want[0]; i++) {
        double n = (double)param(&m.params, want[i].name)->count;

        got = deviation(&m.params, want[i].name, &mean);
        tol = 4 * want[i].std / sqrt(2 * n) + 1e-6;
        is_double(got, want[i].std, tol, "%s: deviation", want[i].name);
    }
    deviation(&m.params, "layer1.0.bn3.weight", &mean);
    is_double(mean, 0, 0, "zero_init: the last gamma of a block");
    deviation(&m.params, "layer1.0.downsample.1.weight", &mean);
    is_double(mean, 1, 0, "zero_init: not that of a projection");
    deviation(&m.params, "layer1.0.bn2.weight", &mean);
    is_double(mean, 1, 0, "zero_init: nor the others");
    classifier_release(&m);
}

static int64_t ends;
static int on_ready(void *arg, int64_t end)
{
    (void)arg;
    ends = end;
    return 0;
}

static void fill_images(uint8_t *v, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        v[i] = (uint8_t)((i * 2654435761u) >> 13);
}

/* Norm-wise distance of the gradient arenas. */
static double distance(const struct params *a, const struct params *b)
{
    const float *x = a->g, *y = b->g;
    double d = 0, n = 0;
    int64_t i;

    for (i = 0; i < a->total; i++) {
        d += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        n += (double)x[i] * (double)x[i];
    }
    return sqrt(d / n);
}

static void test_step(void)
{
    enum {
        N = 4,
        SIZE = 32
    };
    static uint8_t pixels[N * SIZE * SIZE * 3];
    const int64_t all[N] = {1, 3, -1, -1}, cut[2] = {1, 3};
    const int64_t none[N] = {-1, -1, -1, -1}, high[N] = {1, 10, 2, 3};
    struct tensor image = TENSOR4(DT_U8, pixels, N, SIZE, SIZE, 3);
    struct tensor two = TENSOR4(DT_U8, pixels, 2, SIZE, SIZE, 3);
    struct model_config c = config;
    struct class_stats s;
    struct classifier a, b;
    float logits[N * 10];
    size_t bytes;
    int i, finite = 1;

    c.classes = 10;
    fill_images(pixels, sizeof pixels);
    must(classifier_init(&a, "resnet18", &c, ref(), DT_F32, true));
    must(classifier_init(&b, "resnet18", &c, ref(), DT_F32, true));
    bytes = (size_t)a.params.total * sizeof(float);
    must(params_fresh(&a.params, 5));
    must(params_fresh(&b.params, 6));
    ok(memcmp(a.params.w, b.params.w, bytes) != 0, "another seed");
    must(params_fresh(&b.params, 5));
    ok(memcmp(a.params.w, b.params.w, bytes) == 0, "the same seed");
    must(classifier_step(&a,
                         &(struct class_batch){.image = &image, .label = all},
                         0, 0.5, on_ready, NULL));
    is_int(ends, a.params.total, "all gradients are final at the end");
    must(classifier_step(&b, &(struct class_batch){.image = &two, .label = cut},
                         0, 0.5, NULL, NULL));
    is_double(distance(&a.params, &b.params), 0, 0,
              "padding at the end is not seen by the norms");
    must(classifier_stats(&a, &s));
    is_double(s.n, 2, 0, "nor counted");
    ok(s.loss / 2 > 1.2 && s.loss / 2 < 4.5,
       "the first loss %.3f is about ln(10)", s.loss / 2);
    must(classifier_stats(&a, &s));
    is_double(s.n, 0, 0, "statistics are read once");
    ends = 0;
    must(classifier_step(&a,
                         &(struct class_batch){.image = &image, .label = none},
                         0, 0.5, on_ready, NULL));
    is_int(ends, a.params.total, "nothing but padding: gradients are final");
    is_double(distance(&a.params, &b.params), 0, 0, "and what they were");
    ok(classifier_step(&a,
                       &(struct class_batch){.image = &image, .label = high}, 0,
                       1, NULL, NULL) < 0 &&
           err_code() == ERR_DATA,
       "a label too high");
    has_str(err_text(), "label 10 of image 1 with 10 classes", "is named");
    must(classifier_predict(&a, &image, logits));
    for (i = 0; i < N * 10; i++)
        finite = finite && isfinite(logits[i]);
    ok(finite, "logits are finite");
    classifier_release(&a);
    classifier_release(&b);
}

/* The smallest graph: its text, and an image that does not fit. */
static void test_describe(void)
{
    struct plan_key key = {1, 5, 8, DT_F32, false};
    struct buf b = BUF_INIT;
    struct plan *p;
    struct params ps;
    struct graph g;

    params_init(&ps);
    graph_init(&g, &ps);
    graph_output(&g, graph_conv(&g, graph_input(&g, 1, false), "stem", 1, 7, 2,
                                0, false));
    graph_seal(&g);
    must(params_alloc(&ps, ref(), DT_F32, false));
    ok(graph_plan(&g, ref(), &key, &p) < 0, "too small an image");
    is_str(err_text(), "stem: image of 5x8 is smaller than the window of 7x7",
           "and why");
    key.h = 9;
    must(graph_describe(&g, ref(), &key, &b));
    has_str(b.data, "conv 7x7/2", "description: the node");
    has_str(b.data, "49 parameters", "description: its parameters");
    buf_release(&b);
    must(graph_describe(&g, ref(), NULL, &b));
    has_str(b.data, "stem", "description without a shape");
    buf_release(&b);
    graph_release(&g);
    params_release(&ps);
}

/* What torchvision 0.29 refuses, by "Expected more than 1 value per channel when
 * training, got input size torch.Size([1, 512, 1, 1])", and what it does not. */
static void test_single(void)
{
    static const struct {
        const char *model;
        int64_t n, size;
        bool train;
        const char *refuses;
    } t[] = {
        {"resnet50", 1, 32, true, "layer4.0.bn2: one value per channel"},
        {"resnet18", 1, 32, true, "layer4.0.bn1: one value per channel"},
        {"resnet50", 2, 32, true, NULL},
        {"resnet50", 1, 33, true, NULL},
        {"resnet50", 1, 32, false, NULL},
    };
    struct model_config c = {
        .classes = 3, .width = 8, .bn_eps = 1e-5, .bn_momentum = 0.1};
    struct plan_cost cost;
    struct classifier m;
    size_t i;

    for (i = 0; i < sizeof t / sizeof *t; i++) {
        struct plan_key k = {t[i].n, t[i].size, t[i].size, DT_F32, t[i].train};
        int r;

        must(classifier_init(&m, t[i].model, &c, ref(), DT_F32, true));
        err_clear();
        r = graph_cost(&m.graph, ref(), &k, &cost);
        ok((r < 0) == (t[i].refuses != NULL), "%s of %d at %d pixels%s: %s",
           t[i].model, (int)k.n, (int)k.h, k.train ? "" : ", not training",
           r < 0 ? "refused" : "serves");
        if (t[i].refuses) {
            is_int(err_code(), ERR_CONFIG, "as settings that do not fit");
            has_str(err_text(), t[i].refuses, "which is said of the layer");
        }
        classifier_release(&m);
    }
}

/* An allocation that cannot be is NULL under the sanitizer, too. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* What cannot be made is not there in parts, neither here nor in the engine. */
static void test_half(void)
{
    static const struct classifier none;
    struct model_config c = {.width = 8, .bn_eps = 1e-5, .bn_momentum = 0.1};
    size_t before, after, peak;
    struct classifier m;

    engine_memory(ref(), &before, &peak);
    /* a size that no process has */
    c.classes = (int64_t)1 << 48;
    ok(classifier_init(&m, "resnet18", &c, ref(), DT_F32, true) < 0 &&
           err_code() == ERR_SYSTEM,
       "too many classes for memory: %s", err_text());
    ok(memcmp(&m, &none, sizeof m) == 0, "nothing is left of the model");
    engine_memory(ref(), &after, &peak);
    is_int((long long)after, (long long)before, "nor in the engine");
    classifier_release(&m);
    ok(classifier_init(&m, "resnet5", &c, ref(), DT_F32, true) < 0 &&
           memcmp(&m, &none, sizeof m) == 0,
       "nor of one that does not exist");
}

int main(void)
{
    const struct model_kind *k;

    test_counts();
    test_level();
    test_fresh();
    test_step();
    test_describe();
    test_single();
    test_half();
    ok(model_find("resnet5", &k) < 0 && err_code() == ERR_CONFIG,
       "no such model");
    has_str(err_text(), "resnet50", "but one that is near: %s", err_text());
    engine_close(ref());
    return done_testing();
}
