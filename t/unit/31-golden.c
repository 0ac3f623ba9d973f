/*
 * Known values of the kernels, and how an engine answers wrong calls.
 *
 * The values are those of torch 2.15: batch norm of (1,2,3,6), cross-entropy of
 * (2,1,0,-1), SGD from 1 with gradients 0.5, -0.25, 0.1.
 */
#include "lib/tap.h"
#include "lib/tapdir.h"

#include "engine/engine.h"
#include "util/fdio.h"

#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static struct engine *e;

static void go(enum kernel k, const void *args)
{
    if (engine_run(e, k, args) < 0)
        die();
}

/* ---- values */

static void batch_norm(void)
{
    static const double want[4] = {-1.0690434, -0.5345217, 0, 1.6035652};
    double x[4] = {1, 2, 3, 6}, y[4], mean, var, gamma = 1, beta = 0;
    double invstd, scale, bias, rmean = 0, rvar = 1;
    struct kern_norm_stats s = {x, &mean, &var, 4, 1, DT_F64, DT_F64, false};
    struct kern_norm_final f = {&mean, &var,   &gamma, &beta, &invstd, &scale,
                                &bias, &rmean, &rvar,  4,     1,       1e-5,
                                0.1,   DT_F64, NULL,   NULL,  NULL,    false};
    struct kern_norm_apply a = {.x = x, .scale = &scale, .bias = &bias};
    int i;

    a.y = y;
    a.rows = 4, a.c = 1;
    a.dt = a.pt = DT_F64;
    go(KERN_NORM_STATS, &s);
    go(KERN_NORM_FINAL, &f);
    go(KERN_NORM_APPLY, &a);
    is_double(mean, 3, 0, "batch norm: mean");
    is_double(var, 3.5, 0, "batch norm: biased variance");
    for (i = 0; i < 4; i++)
        is_double(y[i], want[i], 5e-8, "batch norm: output %d", i);
    is_double(rmean, 0.3, 1e-15, "batch norm: running mean");
    is_double(rvar, 1.3666667, 5e-8, "batch norm: running variance, unbiased");
    s.rows = f.rows = 1;
    go(KERN_NORM_STATS, &s);
    go(KERN_NORM_FINAL, &f);
    is_double(rvar, 0.9 * (0.9 + 0.1 * 14 / 3), 1e-12,
              "batch norm: one row keeps its variance");
}

static void cross_entropy(void)
{
    double z[8] = {2, 1, 0, -1, 2, 1, 0, -1}, dz[8], stats[4] = {0}, sum = 0;
    int64_t label[2] = {0, -1};
    struct kern_softmax_ce a = {z, label, dz,     stats, 2, 4,
                                0, 1,     DT_F64, NULL,  0, NULL};
    int i;

    go(KERN_SOFTMAX_CE, &a);
    is_double(stats[0], 0.44018970, 5e-9, "cross-entropy");
    is_double(stats[1] + stats[2] + stats[3], 3, 0, "right, in five, counted");
    for (i = 0; i < 4; i++)
        sum += dz[i];
    is_double(sum, 0, 1e-15, "cross-entropy: gradient of a row sums to 0");
    is_double(dz[4] * dz[4] + dz[7] * dz[7], 0, 0, "no gradient without label");
    a.smoothing = 0.1;
    stats[0] = 0;
    go(KERN_SOFTMAX_CE, &a);
    is_double(stats[0], 0.59018970, 5e-9, "cross-entropy with smoothing 0.1");
    label[0] = 2;
    z[2] = 2;
    go(KERN_SOFTMAX_CE, &a);
    is_double(stats[1], 2, 0, "of equal logits the lower index stands first");
}

static void sgd(bool nesterov)
{
    static const double grads[3] = {0.5, -0.25, 0.1};
    static const double want[2][3] = {{0.949, 0.927151, 0.89655975},
                                      {0.9031, 0.90757411, 0.86918921}};
    double w = 1, m = (double)NAN, g;
    struct kern_sgd a = {.w = &w, .m = &m, .g = &g, .n = 1};
    int i;

    a.lr = 0.1, a.mu = 0.9, a.wd = 0.01, a.gmul = 0.25;
    a.nesterov = nesterov;
    a.pt = DT_F64;
    for (i = 0; i < 3; i++) {
        g = 4 * grads[i]; /* as a loss scale of 4 gives it */
        a.first = i == 0;
        go(KERN_SGD, &a);
        is_double(w, want[nesterov][i], 5e-9, "SGD%s, step %d",
                  nesterov ? " of Nesterov" : "", i + 1);
    }
}

static void clip(void)
{
    double g[2] = {3, 4}, stats[3] = {0}, coef;
    struct kern_grad_check a = {g, stats, 2, DT_F64, 0};

    go(KERN_GRAD_CHECK, &a);
    coef = 1 / (sqrt(stats[0]) + 1e-6);
    is_double(3 * coef, 0.59999988, 5e-9, "clip (3,4) to norm 1: first");
    is_double(4 * coef, 0.79999984, 5e-9, "clip (3,4) to norm 1: second");
    is_double(stats[1], 0, 0, "all finite");
}

/* Image, sum and cast, by hand. */
static void elements(void)
{
    static const double want[8] = {-1, 5, 0, 0, 1, 8, 0, 0};
    const uint8_t bytes[4] = {0, 1, 1, 2};
    double y[8], a[2] = {1, 2}, b[2] = {3, -5};
    uint16_t half[2];
    struct kern_image im = {.x = bytes, .y = y, .rows = 2, .c = 2, .cy = 4};
    struct kern_add add = {a, b, y, 2, DT_F64};
    struct kern_cast cast = {a, half, 2, DT_F64, DT_BF16};

    im.dt = DT_F64;
    im.mul[0] = 2, im.mul[1] = 3;
    im.add[0] = -1, im.add[1] = 2;
    go(KERN_IMAGE, &im);
    ok(memcmp(y, want, sizeof(y)) == 0, "image: two channels into four");
    go(KERN_ADD, &add);
    ok(y[0] == 4 && y[1] == -3, "add");
    a[0] = 1.01171875; /* above the middle of 1 + 1/128 and 1 + 2/128 */
    a[1] = 1.00390625; /* the middle of 1 and 1 + 1/128: even is 1 */
    go(KERN_CAST, &cast);
    ok(half[0] == 0x3f82 && half[1] == 0x3f80, "cast to BF16: ties to even");
}

/* Means, and gradients that are added to what is there. */
static void additions(void)
{
    double x[6] = {1, 2, 3, 4, 5, 9}, y[2], out[2] = {10, 20};
    double one[2] = {1, 1}, two[2] = {2, 3}, dg[2] = {7, 8}, db[2] = {5, 6};
    double coef[6];
    struct kern_avgpool mean = {x, y, 1, 3, 2, DT_F64};
    struct kern_colsum sum = {x, out, 3, 2, DT_F64, DT_F64, true};
    struct kern_norm_grad_final f = {one, two, one,    one,      one,
                                     dg,  db,  coef,   coef + 2, coef + 4,
                                     4,   2,   DT_F64, false};

    go(KERN_AVGPOOL, &mean);
    ok(y[0] == 3 && y[1] == 5, "mean over places");
    go(KERN_COLSUM, &sum);
    ok(out[0] == 19 && out[1] == 35, "sum of columns, added");
    go(KERN_NORM_GRAD_FINAL, &f);
    ok(dg[0] == 9 && dg[1] == 11 && db[0] == 6 && db[1] == 7,
       "batch norm: gradients are added");
    ok(coef[0] == 1 && coef[2] == -0.5 && coef[4] == -0.25 + 0.5,
       "batch norm: coefficients of the gradient");
}

/* The forms of a 1x1 convolution of two pixels, two channels each. */
static double form_x[4] = {1, -2, 3, 4}, form_w[4] = {1, 2, -1, 1};
static double form_dy[4] = {1, -1, 2, 3};

/* Run it: the result must be the four numbers. */
static void form(struct conv_desc d, struct conv_args a, const double want[4],
                 const char *what)
{
    double out[4] = {1, 1, 1, 1}, *scratch;
    struct conv_needs needs;
    struct conv_plan *p;

    d.dtype = d.out = d.param = DT_F64;
    d.n = d.h = d.r = d.s = 1;
    d.w = d.c = d.k = 2;
    d.stride = 1;
    if (engine_conv_plan(e, &d, &p, &needs) < 0 ||
        engine_alloc(e, needs.scratch_bytes, (void **)&scratch) < 0)
        die();
    a.x = d.kind == CONV_DGRAD ? NULL : form_x;
    a.w = d.kind == CONV_WGRAD ? NULL : form_w;
    a.dy = d.kind == CONV_FORWARD ? NULL : form_dy;
    a.out = out;
    a.scratch = scratch;
    if (engine_conv_run(e, p, &a) < 0)
        die();
    engine_free(e, scratch);
    engine_conv_free(e, p);
    if (!ok(memcmp(out, want, sizeof(out)) == 0, "convolution: %s", what))
        printf("# %g %g %g %g\n", out[0], out[1], out[2], out[3]);
}

static void forms(void)
{
    double scale[2] = {2, -1}, bias[2] = {-1, 3}, add[4] = {1, -9, 10, 2};
    double sum[2], sumsq[2];
    struct conv_args a = {.pro_scale = scale, .pro_bias = bias, .sum = sum};

    a.pro_add = a.add = add;
    a.bias = bias;
    a.sumsq = sumsq;
    /* x w' = (1 - 4, -1 - 2), (3 + 8, -3 + 4) */
    form((struct conv_desc){.epi = EPI_STATS}, a,
         (const double[]){-3, -3, 11, 1}, "forward and statistics");
    ok(sum[0] == 8 && sum[1] == -2 && sumsq[0] == 130 && sumsq[1] == 10,
       "convolution: sums and sums of squares");
    form((struct conv_desc){.epi = EPI_BIAS}, a, (const double[]){-4, 0, 10, 4},
         "bias");
    form((struct conv_desc){.epi = EPI_ADD_BIAS, .relu = true}, a,
         (const double[]){0, 0, 20, 6}, "addend, bias, relu");
    /* z = relu(2x - 1), relu(3 - x) = (1, 5), (5, 0) */
    form((struct conv_desc){.pro = PRO_SBR}, a, (const double[]){11, 4, 5, -5},
         "prologue");
    /* z = relu of (1 + 1, 5 - 9), (5 + 10, -1 + 2) = (2, 0), (15, 1) */
    form((struct conv_desc){.pro = PRO_SBAR}, a,
         (const double[]){2, -2, 17, -14}, "prologue with addend");
    /* dw = dy' z = (1,-1)'(1,5) + (2,3)'(5,0) */
    form((struct conv_desc){.kind = CONV_WGRAD, .pro = PRO_SBR}, a,
         (const double[]){11, 5, 14, -5}, "wgrad with prologue");
    a.accumulate = true;
    form((struct conv_desc){.kind = CONV_WGRAD, .pro = PRO_SBR}, a,
         (const double[]){12, 6, 15, -4}, "wgrad adds to what is there");
    a.accumulate = false;
    /* dy w = (1 + 1, 2 - 1), (2 - 3, 4 + 3) */
    form((struct conv_desc){.kind = CONV_DGRAD, .epi = EPI_ADD}, a,
         (const double[]){3, -8, 9, 9}, "dgrad with addend");
    a.y = form_x;
    form((struct conv_desc){.kind = CONV_DGRAD, .epi = EPI_DACT, .add = true},
         a, (const double[]){3, 0, 9, 9}, "dgrad through relu, with addend");
}

/* ---- refusals */

static void refused(int r, enum err_class class, const char *part,
                    const char *what)
{
    is_int(r < 0 ? (int)err_code() : 0, class, "%s: status", what);
    has_str(err_text(), part, "%s: sentence", what);
    err_clear();
}

static void bad_kernels(void)
{
    float x[40] = {0}, y[40], s[4] = {0};
    struct kern_add add = {x, x + 10, y, 10, DT_F32};
    struct kern_norm_apply na = {.x = x, .scale = s, .bias = s, .y = y};
    struct kern_maxpool mp = {x, y, NULL, 1, 2, 2, 1, 3, 1, 0, DT_F32};
    struct kern_softmax_ce ce = {.logits = x, .n = 1, .k = 3, .dt = DT_F32};
    int64_t label = 3;
    double stats[4] = {0};

    refused(engine_run(e, KERN_N, &add), ERR_INTERNAL, "there is none",
            "a kernel that is not");
    refused(engine_run(e, KERN_ADD, NULL), ERR_INTERNAL,
            "ref: add: no arguments", "no arguments");
    add.b = NULL;
    refused(engine_run(e, KERN_ADD, &add), ERR_INTERNAL, "ref: add: b is NULL",
            "NULL");
    add.b = x + 10;
    add.dt = DT_U8;
    refused(engine_run(e, KERN_ADD, &add), ERR_INTERNAL,
            "dt: U8 cannot be computed in", "integers");
    add.dt = (enum dtype)77;
    refused(engine_run(e, KERN_ADD, &add), ERR_INTERNAL, "dt: no dtype",
            "no dtype");
    add.dt = DT_F32;
    add.n = -1;
    refused(engine_run(e, KERN_ADD, &add), ERR_INTERNAL,
            "n: -1, must be at least 0", "a negative size");
    add.n = INT64_MAX / 2;
    refused(engine_run(e, KERN_ADD, &add), ERR_DATA, "too many", "overflow");
    add.n = 10;
    add.y = x + 3;
    refused(engine_run(e, KERN_ADD, &add), ERR_INTERNAL, "y overlaps a",
            "overlap");
    add.y = x + 10;
    is_int(engine_run(e, KERN_ADD, &add), 0, "in place, where it is allowed");
    add.a = (char *)x + 1;
    refused(engine_run(e, KERN_ADD, &add), ERR_INTERNAL,
            "a is not aligned to 4 bytes", "alignment");
    add.n = 0;
    is_int(engine_run(e, KERN_ADD, &add), 0, "nothing to add");

    na.rows = 2, na.c = 4;
    na.dt = DT_F32, na.pt = DT_BF16;
    refused(engine_run(e, KERN_NORM_APPLY, &na), ERR_INTERNAL, "pt: BF16",
            "parameters in halves");
    na.pt = DT_F32;
    na.rscale = s;
    refused(engine_run(e, KERN_NORM_APPLY, &na), ERR_INTERNAL,
            "rscale, rbias: one of them is NULL", "half a pair");
    refused(engine_run(e, KERN_MAXPOOL, &mp), ERR_CONFIG,
            "h: 2 with padding 0 is smaller than the window of 3",
            "a window too large");
    ce.label = &label;
    ce.stats = stats;
    refused(engine_run(e, KERN_SOFTMAX_CE, &ce), ERR_DATA,
            "label 3 in row 0: there are 3 classes", "a label too large");
}

static void bad_convs(void)
{
    struct conv_desc d = {.kind = CONV_FORWARD,
                          .dtype = DT_F32,
                          .out = DT_F32,
                          .param = DT_F32,
                          .n = 1,
                          .h = 4,
                          .w = 4,
                          .c = 2,
                          .k = 2,
                          .r = 3,
                          .s = 3,
                          .stride = 1};
    struct conv_plan *p;
    struct conv_needs needs;
    struct conv_args a = {0};
    float x[32] = {0}, w[36] = {0}, y[8];

    d.epi = EPI_DACT;
    is_int(engine_conv_available(e, &d), 0, "no such form is not available");
    refused(engine_conv_plan(e, &d, &p, &needs), ERR_INTERNAL, "no such form",
            "dgrad's epilogue after forward");
    d.epi = EPI_NONE;
    d.out = DT_BF16;
    refused(engine_conv_plan(e, &d, &p, &needs), ERR_INTERNAL,
            "result in BF16 of F32", "a result in another half");
    d.out = DT_F32;
    d.r = 5;
    refused(engine_conv_plan(e, &d, &p, &needs), ERR_CONFIG,
            "smaller than the window", "a window too high");
    d.r = 3;
    d.c = INT32_MAX, d.k = INT32_MAX;
    refused(engine_conv_plan(e, &d, &p, &needs), ERR_DATA, "too many",
            "more weights than bytes");
    d.c = d.k = 2;
    if (engine_conv_plan(e, &d, &p, &needs) < 0)
        die();
    a.x = x;
    a.w = w;
    a.out = y;
    refused(engine_conv_run(e, p, &a), ERR_INTERNAL, "scratch is NULL",
            "no scratch");
    refused(engine_conv_run(e, NULL, &a), ERR_INTERNAL, "without a plan",
            "no plan");
    refused(engine_conv_pack(e, p, w, y), ERR_INTERNAL, "as they are",
            "packing what is not packed");
    engine_conv_free(e, p);
}

static void memory(void)
{
    size_t now, peak;
    void *a, *b;

    if (engine_alloc(e, 1000, &a) < 0 || engine_alloc(e, 0, &b) < 0)
        die();
    is_int((intptr_t)a % 64 + (intptr_t)b % 64, 0, "aligned to 64 bytes");
    engine_memory(e, &now, &peak);
    is_int((long long)now, 1000, "1000 bytes are held");
    engine_free(e, a);
    engine_free(e, NULL);
    engine_memory(e, &now, &peak);
    is_int((long long)now, 0, "none after free");
    is_int((long long)peak, 1000, "at most 1000");
    engine_free(e, b);
    refused(engine_alloc(e, SIZE_MAX - 10, &a), ERR_SYSTEM,
            "ref: alloc: ", "all memory there is");
    refused(engine_upload(e, NULL, &now, 8), ERR_INTERNAL,
            "upload of 8 bytes: destination is NULL", "upload to nowhere");
    refused(engine_mark(e, 64), ERR_INTERNAL, "mark 64", "mark 64");
    is_int(engine_mark(e, 63) + engine_passed(e, 63), 1, "mark 63 is passed");
}

/* ---- opening */

/* A shared object in dir from one line of C; false without a compiler. */
static bool compile(const char *dir, const char *source)
{
    char *c = xstrfmt("%s/p.c", dir), *so = xstrfmt("%s/engine-cpu.so", dir);
    char inc[300];
    const char *argv[] = {tap_env("CC", "cc"),
                          "-shared",
                          "-fPIC",
                          inc,
                          "-D_GNU_SOURCE",
                          "-o",
                          so,
                          c,
                          NULL};
    int status = -1;
    pid_t pid;

    snprintf(inc, sizeof(inc), "-I%.200s/lib", tap_env("TOP", "."));
    if (atomic_write(c, source, strlen(source)) < 0)
        die();
    if (posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(void *)argv,
                     environ) == 0)
        waitpid(pid, &status, 0);
    free(c);
    free(so);
    return status == 0;
}

static void plugins(const char *dir)
{
    static const char head[] = "#include \"engine/engine.h\"\n"
                               "static int none(char *w, size_t n)\n"
                               "{ (void)n; w[0] = 'x'; w[1] = 0; return 0; }\n"
                               "static const struct engine_ops ops = {";
    static const char tail[] = "};\nconst struct engine_ops *millrace_engine("
                               "void);\nconst struct engine_ops *"
                               "millrace_engine(void) { return &ops; }\n";
    struct engine_config config = {.device = -1, .dir = dir};
    char *file = xstrfmt("%s/engine-cpu.so", dir), *source;
    struct engine *f = NULL;

    if (atomic_write(file, "no", 2) < 0)
        die();
    refused(engine_open(&f, "cpu", &config), ERR_UNAVAILABLE,
            "cpu: cannot load /", "a plugin that is no library");
    /* A file the loader has open must not be written to. */
    unlink(file);
    source =
        xstrfmt("%s .abi = %d, .name = \"cpu\" %s", head, ENGINE_ABI + 1, tail);
    if (!compile(dir, source)) {
        skip(4, "cc: no compiler");
    } else {
        char *why =
            xstrfmt("built for engine interface %d, this program has %d",
                    ENGINE_ABI + 1, ENGINE_ABI);

        refused(engine_open(&f, "cpu", &config), ERR_UNAVAILABLE, why,
                "a plugin of another build");
        free(why);
        free(source);
        unlink(file);
        source = xstrfmt("%s .abi = %d, .name = \"cpu\", .score = none %s",
                         head, ENGINE_ABI, tail);
        compile(dir, source);
        refused(engine_open(&f, "cpu", &config), ERR_UNAVAILABLE, "cpu: x",
                "a plugin that cannot serve here");
    }
    free(source);
    free(file);
}

static void opening(void)
{
    struct engine_config config = {.device = -1};
    const char *dir = tap_dir();
    char text[200];
    struct engine *f = NULL;
    struct stat st;
    char *trace;

    trace = xstrfmt("%s/trace", dir);
    refused(engine_open(&f, "gpu", NULL), ERR_USAGE,
            "unknown engine \"gpu\": there are auto, cuda, cpu and ref",
            "an unknown engine");
    ok(f == NULL, "and there is none");
    config.dir = dir;
    if (engine_open(&f, "cuda", &config) < 0)
        refused(-1, ERR_UNAVAILABLE, "cuda: ", "a missing engine");
    else
        skip(2, "none: there is a cuda engine here");
    plugins(dir);
    is_int(engine_open(&f, "auto", &config), 0, "auto finds one");
    ok(f && strcmp(engine_name(f), "cpu") != 0, "auto passes a broken plugin");
    engine_close(f);
    config.trace = trace;
    config.level = 'B';
    if (engine_open(&f, "ref", &config) < 0)
        die();
    engine_describe(f, text, sizeof(text));
    has_str(text, "ref: plain C", "describe");
    refused(engine_precision(f, DT_U8), ERR_UNAVAILABLE,
            "ref: U8: ", "precision of integers");
    is_int(engine_finish(f), 0, "finish");
    engine_close(f);
    ok(stat(trace, &st) == 0 && st.st_size > 60, "a trace was written");
    config.trace = "/dev/null/trace";
    refused(engine_open(&f, "ref", &config), ERR_CANTCREAT,
            "/dev/null/trace: ", "a trace nowhere");
    free(trace);
}

int main(void)
{
    if (engine_open(&e, "ref", NULL) < 0)
        die();
    batch_norm();
    cross_entropy();
    sgd(false);
    sgd(true);
    clip();
    elements();
    additions();
    forms();
    memory();
    bad_kernels();
    bad_convs();
    engine_close(e);
    opening();
    return done_testing();
}
