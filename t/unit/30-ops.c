/*
 * Every kernel and every form of convolution, on every engine that opens.
 *
 * A case makes its inputs from a seed and runs one operation. It runs twice:
 * on ref in double precision with inputs that were rounded to the dtype under
 * test, and on the engine and dtype under test. Random data is judged by the
 * squared error over the square of what is expected; whole numbers must come
 * out bit for bit. Outputs begin as NaN, so what is not written is seen.
 *
 * usage: 30-ops.t [ENGINE [DIR [DTYPE [kernels]]]]    only that engine, its plugin
 * in DIR; kernels: no convolutions
 */
#include "lib/tap.h"

#include "engine/engine.h"

#define MAX_OUT 12
#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

enum class {
    ACT,
    PAR,
    VEC,
    BYTE,
    LABEL,
    STAT
}; /* of an array: dt, pt, pt or F64 (wide), U8.. */
enum fill {
    NORMAL,
    POSITIVE,
    LARGE_MEAN,
    IMAGE,
    NOTHING
};

struct out {
    const char *name;
    enum class class;
    int64_t n;
    void *dev;
    double *v;
};

struct run {
    struct engine *e;
    enum dtype dt, pt; /* dtypes of this run */
    enum dtype as_dt;  /* what inputs are rounded to */
    bool wide;         /* calls of norms */
    bool whole;        /* whole numbers */
    int way, ways;     /* of the ways that the engine has for this */
    bool absent;       /* the engine has no such form */
    bool loose;        /* parameters come from rounded activations */
    uint64_t g;        /* state of the generator */
    struct out out[MAX_OUT];
    int n_out;
    void *mem[40];
    int n_mem;
    char what[160];
};

static enum dtype type_of(const struct run *r, enum class c)
{
    static const enum dtype other[] = {DT_N, DT_N, DT_N, DT_U8, DT_I64, DT_F64};

    if (c == VEC)
        return kern_vector(r->pt, r->wide);
    return c == ACT ? r->dt : c == PAR ? r->pt : other[c];
}

static void *array(struct run *r, int64_t n, size_t size)
{
    void *p;

    if (engine_alloc(r->e, (size_t)n * size, &p) < 0 ||
        engine_fill(r->e, p, 255, (size_t)n * size) < 0)
        die();
    r->mem[r->n_mem++] = p;
    return p;
}

/* Fast and plain: most of the time of this test would be spent here. Source:
 * Steele, Lea, Flood, Fast splittable pseudorandom number generators, 2014. */
static uint64_t bits(struct run *r)
{
    uint64_t z = r->g += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double below(struct run *r, int n)
{
    return (double)((bits(r) >> 33) % (uint64_t)n);
}

/* Nearly normal, variance 1: four uniform numbers of 16 bits. */
static double normal(struct run *r)
{
    uint64_t u = bits(r);
    double s = (double)(u & 65535) + (double)(u >> 16 & 65535) +
               (double)(u >> 32 & 65535) + (double)(u >> 48);

    return (s / 65536 - 2) * 1.7320508;
}

static double draw(struct run *r, enum fill f)
{
    if (f == IMAGE)
        return below(r, 256);
    if (f == POSITIVE)
        return r->whole ? 1 + below(r, 3) : 0.25 + below(r, 65536) / 65536;
    if (f == LARGE_MEAN)
        return 1000 + normal(r);
    return r->whole ? below(r, 7) - 3 : normal(r);
}

static double rounded(enum dtype t, double v)
{
    char b[8];

    dtype_store(t, b, 0, v);
    return dtype_load(t, b, 0);
}

static bool parameter(enum class c)
{
    return c == PAR || c == VEC;
}

/* An input; weights of convolutions are rounded as activations are. */
static void *in_as(struct run *r, enum class c, int64_t n, enum fill f,
                   bool weights)
{
    enum dtype t = type_of(r, c);
    enum dtype as = c == ACT || weights ? r->as_dt : DT_F32;
    void *dev = array(r, n, dtype_size(t)), *host = xmalloc((size_t)n * 8);
    int64_t i;

    if (c == VEC)
        as = kern_vector(as, r->wide);
    as = parameter(c) && r->as_dt == DT_F64 ? DT_F64 : as;
    for (i = 0; i < n; i++)
        dtype_store(t, host, (size_t)i,
                    c > VEC ? draw(r, f) : rounded(as, draw(r, f)));
    if (engine_upload(r->e, dev, host, (size_t)n * dtype_size(t)) < 0)
        die();
    free(host);
    return dev;
}

static void *in(struct run *r, enum class c, int64_t n)
{
    return in_as(r, c, n, NORMAL, false);
}

static void *watch(struct run *r, const char *name, enum class c, int64_t n,
                   void *dev)
{
    struct out *o = &r->out[r->n_out++];

    o->name = name;
    o->class = c;
    o->n = n;
    o->dev = dev;
    return dev;
}

static void *out(struct run *r, const char *name, enum class c, int64_t n)
{
    return watch(r, name, c, n, array(r, n, dtype_size(type_of(r, c))));
}

static void *inout(struct run *r, const char *name, enum class c, int64_t n)
{
    return watch(r, name, c, n, in(r, c, n));
}

static void *labels(struct run *r, int64_t n, int64_t k)
{
    int64_t *v = xcalloc((size_t)n, sizeof(*v)), i;
    void *dev = array(r, n, sizeof(*v));

    /* One of four or so has no label. */
    for (i = 0; i < n; i++)
        v[i] = below(r, 4) > 0 ? (int64_t)below(r, (int)k) : -1;
    if (engine_upload(r->e, dev, v, (size_t)n * sizeof(*v)) < 0)
        die();
    free(v);
    return dev;
}

static void *numbers(struct run *r, const double *v, int64_t n)
{
    void *dev = array(r, n, sizeof(*v));

    if (engine_upload(r->e, dev, v, (size_t)n * sizeof(*v)) < 0)
        die();
    return dev;
}

static const int32_t *rectangles(struct run *r, int64_t n, int64_t h, int64_t w)
{
    int32_t *v = xcalloc((size_t)n * 4, sizeof(*v));
    void *dev = array(r, n * 4, sizeof(*v));

    for (int64_t i = 0; i < n; i++) {
        v[4 * i] = below(r, (int)h);
        v[4 * i + 1] = below(r, (int)w);
        v[4 * i + 2] = v[4 * i] + below(r, (int)h);
        v[4 * i + 3] = v[4 * i + 1] + below(r, (int)w);
    }
    if (engine_upload(r->e, dev, v, (size_t)n * 4 * sizeof(*v)) < 0)
        die();
    free(v);
    return dev;
}

static void go(struct run *r, enum kernel k, const void *args)
{
    if (engine_run(r->e, k, args) < 0)
        die();
}

/* Behind what they use: bool NAME(struct run *, int variant). */
#include "30-ops-kern.h"

#include "30-ops-conv.h"

/* ---- running and judging */

/* Where whole numbers give the same bits: nowhere (there is a quotient), but
 * for halves (which round twice), everywhere. */
enum exact {
    NEVER,
    NOT_HALVES,
    ALWAYS
};
static const struct {
    const char *name;
    bool (*fn)(struct run *r, int v);
    enum exact whole;
    bool halves; /* has activations */
} cases[] = {
    {"image", c_image, ALWAYS, true},
    {"cast", c_cast, ALWAYS, true},
    {"add", c_add, ALWAYS, true},
    {"relu", c_relu, ALWAYS, true},
    {"relu_grad", c_relu_grad, ALWAYS, true},
    {"colsum", c_colsum, ALWAYS, true},
    {"norm_stats", c_norm_stats, NEVER, true},
    {"norm_final", c_norm_final, NEVER, false},
    {"norm_apply", c_norm_apply, ALWAYS, true},
    {"norm_grad_sums", c_norm_grad_sums, ALWAYS, true},
    {"norm_grad_final", c_norm_grad_final, NEVER, false},
    {"norm_grad_apply", c_norm_grad_apply, ALWAYS, true},
    {"maxpool", c_maxpool, ALWAYS, true},
    {"maxpool_grad", c_maxpool_grad, ALWAYS, true},
    {"norm_apply with a pool", c_norm_pool, ALWAYS, true},
    {"norm_grad_sums with a pool", c_norm_pool_grad, ALWAYS, true},
    {"avgpool", c_avgpool, NEVER, true},
    {"avgpool_grad", c_avgpool_grad, NEVER, true},
    {"softmax_ce", c_softmax_ce, NEVER, true},
    {"grad_check", c_grad_check, ALWAYS, false},
    {"sgd", c_sgd, ALWAYS, false},
    {"ema", c_ema, ALWAYS, false},
    {"conv plain", c_conv_plain, ALWAYS, true},
    {"conv prologue", c_conv_pro, ALWAYS, true},
    {"conv forward epilogue", c_conv_forward, NOT_HALVES, true},
    {"conv dgrad epilogue", c_conv_dgrad, NOT_HALVES, true},
    {"conv of padded pictures", c_conv_pitch, ALWAYS, true},
};

static struct engine *oracle;

/* One variant on one engine; the outputs come to the host. */
static bool perform(struct run *r, int i, int v, enum dtype as)
{
    int j;

    r->as_dt = as;
    r->absent = r->loose = false;
    r->ways = 0;
    r->n_out = r->n_mem = 0;
    r->g = (uint64_t)i << 32 | (unsigned)v;
    if (!cases[i].fn(r, v))
        return false;
    if (engine_finish(r->e) < 0)
        die();
    for (j = 0; j < r->n_out; j++) {
        struct out *o = &r->out[j];
        enum dtype t = type_of(r, o->class);
        void *host = xmalloc((size_t)o->n * 8);
        int64_t k;

        o->v = xmalloc((size_t)o->n * sizeof(double));
        if (engine_download(r->e, host, o->dev, (size_t)o->n * dtype_size(t)) <
            0)
            die();
        for (k = 0; k < o->n; k++)
            o->v[k] = dtype_load(t, host, (size_t)k);
        free(host);
    }
    return true;
}

static void clear(struct run *r)
{
    while (r->n_out > 0)
        free(r->out[--r->n_out].v);
    while (r->n_mem > 0)
        engine_free(r->e, r->mem[--r->n_mem]);
}

/* Normalised squared error of one output; whole numbers: 0 or infinity. */
static double error_of(const struct run *r, const struct out *got,
                       const struct out *want)
{
    bool exact = r->whole || got->class == BYTE;
    enum dtype t = type_of(r, got->class);
    double e = 0, n = 0, d, least;
    int64_t i;

    /* A sum may cancel and be small beside its terms, which are about 1. */
    least =
        parameter(got->class) ? (r->loose ? 1 : 0.01) * (double)got->n : 1e-30;
    if (got->n == 1) /* two roundings of one number do not even out */
        least = 1;

    for (i = 0; i < got->n; i++) {
        double w = want->v[i];

        if (exact) {
            if (got->v[i] != rounded(t, w))
                return (double)INFINITY;
            continue;
        }
        d = got->v[i] - w;
        e += d * d;
        n += w * w;
    }
    if (!(e >= 0))
        return (double)INFINITY;
    return e > 0 ? e / (n > least ? n : least) : 0;
}

static double bound(const struct run *r, const struct out *o)
{
    enum dtype t = o->class == ACT || r->loose ? r->dt : r->pt;

    double sums = r->loose && parameter(o->class) ? 20 : 1;

    t = o->class == STAT ? r->pt : t;
    switch (t) {
    case DT_F64:
        return 1e-26;
    case DT_F16:
        return 1e-6 * sums;
    case DT_BF16:
        return 5e-5 * sums;
    default:
        return 1e-11;
    }
}

/* The number of the next variant: the same in another way, if there is one. */
static int next(struct run *r, int v)
{
    r->way = r->way + 1 < r->ways ? r->way + 1 : 0;
    return r->way ? v : v + 1;
}

/* All variants of a case; one check. */
static void judge(struct engine *e, int i, enum dtype dt, bool whole)
{
    struct run a = {.e = oracle, .dt = DT_F64, .pt = DT_F64, .whole = whole};
    struct run b = {.e = e, .dt = dt, .whole = whole};
    double worst = 0, err;
    int v, j, bad = 0, done = 0;

    b.pt = dt == DT_F64 ? DT_F64 : DT_F32;
    a.wide = b.wide = engine_wide_norms(e, dt);
    for (v = 0; perform(&b, i, v, dt); v = next(&b, v)) {
        perform(&a, i, v, dt);
        for (j = 0; j < b.n_out && !b.absent; j++) {
            err = error_of(&b, &b.out[j], &a.out[j]);
            worst = err > worst ? err : worst;
            if (err <= bound(&b, &b.out[j]))
                continue;
            if (bad++ < 5)
                printf("# %s: %s: error %g above %g\n", b.what, b.out[j].name,
                       err, bound(&b, &b.out[j]));
        }
        done += !b.absent;
        clear(&a);
        clear(&b);
    }
    clear(&b);
    if (done == 0) {
        skip(1, "form: not offered by this engine");
        return;
    }
    ok(bad == 0, "%s %s %s%s: %d cases, worst error %.2g", engine_name(e),
       cases[i].name, dtype_name(dt), whole ? " whole numbers" : "", done,
       worst);
}

/* In all dtypes, or in one, "F16". */
static void judge_engine(struct engine *e, const char *only, bool kernels)
{
    static const enum dtype all[] = {DT_F32, DT_F64, DT_BF16, DT_F16};
    int i, j;

    for (j = 0; j < COUNT(all); j++) {
        bool half = dtype_size(all[j]) == 2;

        if (only && strcmp(only, dtype_name(all[j])) != 0)
            continue;
        if (engine_precision(e, all[j]) < 0) {
            printf("# %s\n", err_text());
            continue;
        }
        for (i = 0; i < COUNT(cases); i++) {
            if ((half && !cases[i].halves) ||
                (kernels && strncmp(cases[i].name, "conv", 4) == 0))
                continue;
            judge(e, i, all[j], false);
            if (cases[i].whole == ALWAYS ||
                (cases[i].whole == NOT_HALVES && !half))
                judge(e, i, all[j], true);
        }
    }
}

/* ---- values that are no numbers */

static void put(struct engine *e, void **p, const float *v, int n)
{
    if (engine_alloc(e, (size_t)n * sizeof(*v), p) < 0 ||
        engine_upload(e, *p, v, (size_t)n * sizeof(*v)) < 0)
        die();
}

static void get(struct engine *e, void *dst, void *p, size_t bytes)
{
    if (engine_finish(e) < 0 || engine_download(e, dst, p, bytes) < 0)
        die();
    engine_free(e, p);
}

static void special_relu(struct engine *e)
{
    const float x[5] = {NAN, INFINITY, -INFINITY, -0.0f, 1e-40f};
    const float y[3] = {NAN, 0, 2}, dy[3] = {1, NAN, NAN};
    struct kern_relu a = {.n = 5, .dt = DT_F32};
    struct kern_relu_grad g = {.n = 3, .dt = DT_F32};
    void *px, *py, *pd;
    float v[5];

    put(e, &px, x, 5);
    a.x = a.y = px;
    if (engine_run(e, KERN_RELU, &a) < 0)
        die();
    get(e, v, px, sizeof(v));
    ok(isnan(v[0]) && v[1] == INFINITY && v[2] == 0 && v[3] == 0,
       "%s relu: NaN stays, infinities as numbers", engine_name(e));
    put(e, &py, y, 3);
    put(e, &pd, dy, 3);
    put(e, &px, y, 3);
    g.y = py;
    g.dy0 = pd;
    g.dx = px;
    if (engine_run(e, KERN_RELU_GRAD, &g) < 0)
        die();
    get(e, v, px, 3 * sizeof(*v));
    ok(v[0] == 0 && v[1] == 0 && isnan(v[2]),
       "%s relu_grad: a gradient of NaN passes where y > 0", engine_name(e));
    engine_free(e, py);
    engine_free(e, pd);
}

static void special_maxpool(struct engine *e)
{
    /* 2x8 of one channel, windows 2x2: NaN in two places, all -inf, ties, an
     * infinity */
    const float x[16] = {1,   NAN, -INFINITY, -INFINITY, 3, 3, 2, INFINITY,
                         NAN, 9,   -INFINITY, -INFINITY, 3, 3, 5, 4};
    const uint8_t want[4] = {1, 0, 0, 1};
    struct kern_maxpool a = {.n = 1, .h = 2, .w = 8, .c = 1, .r = 2};
    void *px, *py, *pi;
    uint8_t index[4];
    float y[4];

    a.stride = 2;
    a.dt = DT_F32;
    put(e, &px, x, 16);
    put(e, &py, x, 4);
    put(e, &pi, x, 1);
    a.x = px;
    a.y = py;
    a.index = pi;
    if (engine_run(e, KERN_MAXPOOL, &a) < 0)
        die();
    get(e, y, py, sizeof(y));
    get(e, index, pi, sizeof(index));
    engine_free(e, px);
    ok(isnan(y[0]) && y[1] == -INFINITY && y[2] == 3 && y[3] == INFINITY,
       "%s maxpool: NaN is largest, -inf is a value", engine_name(e));
    ok(memcmp(index, want, 4) == 0, "%s maxpool: first of equals: %d %d %d %d",
       engine_name(e), index[0], index[1], index[2], index[3]);
}

static void special_sums(struct engine *e)
{
    const float g[6] = {3, NAN, INFINITY, -4, -INFINITY, 0};
    const float z[6] = {NAN, 0, 1, INFINITY, 0, 1};
    const int64_t label[2] = {1, 2};
    struct kern_grad_check a = {.n = 6, .pt = DT_F32, .base = 10};
    struct kern_softmax_ce c = {.n = 2, .k = 3, .gscale = 1, .dt = DT_F32};
    void *px, *ps, *pl;
    double stats[4];

    put(e, &px, g, 6);
    if (engine_alloc(e, sizeof(stats), &ps) < 0 ||
        engine_fill(e, ps, 0, sizeof(stats)) < 0)
        die();
    a.g = px;
    a.stats = ps;
    if (engine_run(e, KERN_GRAD_CHECK, &a) < 0)
        die();
    get(e, stats, ps, 3 * sizeof(*stats));
    engine_free(e, px);
    ok(stats[0] == 25 && stats[1] == 3 && stats[2] == 15,
       "%s grad_check: 3 of 6 are no numbers, the last one the 15th",
       engine_name(e));

    put(e, &px, z, 6);
    if (engine_alloc(e, sizeof(label), &pl) < 0 ||
        engine_upload(e, pl, label, sizeof(label)) < 0 ||
        engine_alloc(e, sizeof(stats), &ps) < 0 ||
        engine_fill(e, ps, 0, sizeof(stats)) < 0)
        die();
    c.logits = px;
    c.label = pl;
    c.stats = ps;
    if (engine_run(e, KERN_SOFTMAX_CE, &c) < 0)
        die();
    get(e, stats, ps, sizeof(stats));
    ok(isnan(stats[0]) && stats[1] == 0 && stats[2] == 2 && stats[3] == 2,
       "%s softmax_ce: NaN makes the loss NaN and is never right",
       engine_name(e));
    engine_free(e, px);
    engine_free(e, pl);
}

/* KERN_STEP again and again: overflows, a scale that moves, one that cannot grow;
 * the states after each, where steps leaves it. */
static void steps(struct engine *e, struct kern_state log[8])
{
    static const double check[8][6] = {
        {9, 0, 0, 16, 0, 0},  {9, 1, 3, 16, 2, 17},      {1e-3, 0, 0, 0, 0, 0},
        {2, 0, 0, 5, 0, 0},   {HUGE_VAL, 0, 0, 5, 0, 0}, {1, 0, 0, 1e-9, 0, 0},
        {1e9, 0, 0, 3, 0, 0}, {7, 0, 0, 7, 0, 0}};
    static const double stats[4] = {1.5, 2, 3, 4};
    struct kern_state s = {.lr = 0.1, .scale = 0x1p127};
    struct kern_step a = {.shares = 2,
                          .logs = 8,
                          .interval = 2,
                          .clip = 0.7,
                          .scaled = true,
                          .dynamic = true};
    void *p, *check_at, *stats_at;
    int i;

    if (engine_alloc(e, 9 * sizeof(s), &p) < 0 ||
        engine_alloc(e, sizeof(check[0]), &check_at) < 0 ||
        engine_alloc(e, sizeof(stats), &stats_at) < 0 ||
        engine_upload(e, p, &s, sizeof(s)) < 0)
        die();
    a.state = p;
    a.log = a.state + 1;
    a.check = check_at;
    a.stats = stats_at;
    for (i = 0; i < 8; i++)
        if (engine_upload(e, check_at, check[i], sizeof(check[i])) < 0 ||
            (i < 5 && engine_upload(e, stats_at, stats, sizeof(stats)) < 0) ||
            engine_run(e, KERN_STEP, &a) < 0)
            die();
    if (engine_download(e, log, a.state + 1, 8 * sizeof(*log)) < 0)
        die();
    engine_free(e, p);
    engine_free(e, check_at);
    engine_free(e, stats_at);
}

static void special_step(struct engine *e)
{
    struct kern_state want[8], got[8];

    steps(oracle, want);
    steps(e, got);
    ok(memcmp(want, got, sizeof(want)) == 0, "%s step: the bits of %s",
       engine_name(e), engine_name(oracle));
    ok(got[1].bad == 17 && !got[1].update && got[1].skipped == 1 &&
           !got[4].update && got[4].bad == 0 && got[7].skipped == 2 &&
           got[7].scale == 0x1p127,
       "%s step: skips and scales", engine_name(e));
    ok(got[4].stats[0] == 1.5 && got[5].stats[0] == 0,
       "%s step: takes the sums of the loss away", engine_name(e));
}

static void special(struct engine *e)
{
    special_step(e);
    special_relu(e);
    special_maxpool(e);
    special_sums(e);
}

int main(int argc, char **argv)
{
    struct engine_config config = {.device = -1, .deterministic = true};
    const char *name = argc > 1 ? argv[1] : "cpu";
    struct engine *e;

    config.dir = argc > 2 ? argv[2] : tap_env("BIN", "bin");
    /* Threads that spin between small loops are slow on a busy machine. */
    setenv("OMP_WAIT_POLICY", "passive", 0);
    verbosity = -1;
    if (engine_open(&oracle, "ref", &config) < 0)
        die();
    if (argc < 2) {
        judge_engine(oracle, NULL, false);
        special(oracle);
    }
    if (engine_open(&e, name, &config) < 0) {
        if (argc > 1)
            die();
        skip(1, "onednn: no cpu engine here");
        printf("# %s\n", err_text());
    } else {
        judge_engine(e, argc > 3 ? argv[3] : NULL,
                     argc > 4 && strcmp(argv[4], "kernels") == 0);
        special(e);
        engine_close(e);
    }
    engine_close(oracle);
    return done_testing();
}
