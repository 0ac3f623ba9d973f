/*
 * cuDNN's plans for the convolutions of ResNet-50, asked for by description of
 * a card, without one: each must exist, with the same bits every time, within
 * the cap on workspace. Figures of the cards are their makers'; the form of the
 * description is cuDNN's own and not documented, so a library that does not take
 * it skips this.
 *
 * usage: 44-plans.t [all]    all: every shape on every card
 */
#include "lib/tap.h"

#include "engine/cuda/cuconv.h"

#include <dlfcn.h>
#include <time.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static const struct card {
    const char *name;
    int version, sms, l2_mb, shared, ctas, threads, mhz, memory_mhz, gb;
    int lacks; /* shapes of a block's front: no room for the workspace */
} cards[] = {
    {"NVIDIA H200", 900, 132, 60, 232448, 32, 2048, 1980, 3201, 141, 0},
    {"NVIDIA A100-SXM4-80GB", 800, 108, 40, 166912, 32, 2048, 1410, 1593, 80,
     0},
    {"NVIDIA B200", 1000, 148, 126, 232448, 32, 2048, 1965, 3996, 180, 0},
    {"NVIDIA GeForce RTX 5090", 1200, 170, 96, 101376, 24, 1536, 2407, 14001,
     32, 2},
    {"Tesla T4", 750, 40, 4, 65536, 16, 1024, 1590, 5001, 15, 0},
};

/* h, c, k, r, stride, pad of the distinct convolutions; h = w. */
static const int shapes[][6] = {
    {224, 3, 64, 7, 2, 3},     {56, 64, 64, 1, 1, 0},
    {56, 64, 64, 3, 1, 1},     {56, 64, 256, 1, 1, 0},
    {56, 256, 64, 1, 1, 0},    {56, 256, 128, 1, 1, 0},
    {56, 128, 128, 3, 2, 1},   {28, 128, 512, 1, 1, 0},
    {56, 256, 512, 1, 2, 0},   {28, 512, 128, 1, 1, 0},
    {28, 128, 128, 3, 1, 1},   {28, 512, 256, 1, 1, 0},
    {28, 256, 256, 3, 2, 1},   {14, 256, 1024, 1, 1, 0},
    {28, 512, 1024, 1, 2, 0},  {14, 1024, 256, 1, 1, 0},
    {14, 256, 256, 3, 1, 1},   {14, 1024, 512, 1, 1, 0},
    {14, 512, 512, 3, 2, 1},   {7, 512, 2048, 1, 1, 0},
    {14, 1024, 2048, 1, 2, 0}, {7, 2048, 512, 1, 1, 0},
    {7, 512, 512, 3, 1, 1},    {1, 2048, 1000, 1, 1, 0},
    {1, 2048, 10, 1, 1, 0},    {32, 5, 7, 3, 1, 1},
};
/* What `make test` asks: stem, a block's, a strided one, classifiers. */
static const int some[] = {0, 2, 3, 4, 8, 23, 24, 25};

static cudnnBackendDescriptor_t describe(const struct cudnn *lib,
                                         const struct card *c)
{
    cudnnBackendDescriptor_t d = NULL;
    char text[1200];
    int n = snprintf(
        text, sizeof text,
        "{\"maxGridSize\":[2147483647,65535,65535],"
        "\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,"
        "\"multiProcessorCount\":%d,\"warpSize\":32,"
        "\"maxSharedMemoryPerBlock\":49152,"
        "\"maxSharedMemoryPerBlockOptin\":%d,"
        "\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,"
        "\"maxCtasPerSM\":%d,\"maxThreadsPerBlock\":1024,"
        "\"maxThreadsPerSM\":%d,\"pciDeviceId\":0,\"isTccDriver\":0,"
        "\"supportCoopLaunch\":1,\"totalGlobalMem\":%lld,"
        "\"smClockRateKHz\":%d,\"memClockRateKHz\":%d,\"l2CacheSize\":%d,"
        "\"cudaDeviceId\":0,\"deviceVer\":%d,\"driverVer\":13000,"
        "\"deviceName\":\"%s\"}",
        c->sms, c->shared, c->ctas, c->threads, (long long)c->gb << 30,
        c->mhz * 1000, c->memory_mhz * 1000, c->l2_mb << 20, c->version,
        c->name);

    if (lib->BackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &d) !=
            CUDNN_STATUS_SUCCESS ||
        lib->BackendSetAttribute(d, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                 CUDNN_TYPE_CHAR, n + 1,
                                 text) != CUDNN_STATUS_SUCCESS ||
        lib->BackendFinalize(d) != CUDNN_STATUS_SUCCESS)
        return NULL;
    return d;
}

struct tally {
    int asked, there, compiled, proposed;
    size_t most; /* workspace */
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const struct {
    const char *name;
    enum dtype t;
    bool exact;
    int since; /* compute capability */
} modes[] = {{"fp16", DT_F16, false, 750},
             {"bf16", DT_BF16, false, 800},
             {"fp32", DT_F32, true, 750},
             {"tf32", DT_F32, false, 800}};

/* All kinds of one shape; the number that have no plan. */
static int ask(const struct cudnn *lib, cudnnBackendDescriptor_t device,
               int mode, const int *s, size_t *most, int *compiled)
{
    static const char *const kinds[] = {"forward", "dgrad", "wgrad"};
    struct cuplan_want want = {.device = device,
                               .exact = modes[mode].exact,
                               .repeatable = true,
                               .workspace = (size_t)256 << 20};
    int kind, bad = 0;

    for (kind = CONV_FORWARD; kind <= CONV_WGRAD; kind++) {
        struct conv_desc d = {.kind = (enum conv_kind)kind,
                              .dtype = modes[mode].t,
                              .out = modes[mode].t,
                              .param = DT_F32,
                              .n = 256,
                              .h = s[0],
                              .w = s[0],
                              .c = s[1],
                              .k = s[2],
                              .r = s[3],
                              .s = s[3],
                              .stride = s[4],
                              .pad = s[5]};
        struct cugraph g;
        struct cuplan p;
        double t = now();

        if (kind == CONV_DGRAD && s[1] == 3)
            continue; /* no gradient of pictures */
        if (cuconv_make(lib, &d, &want, &g, &p) < 0) {
            printf("# %s %dx%d %d->%d %dx%d/%d: %s\n", kinds[kind], s[0], s[0],
                   s[1], s[2], s[3], s[3], s[4], err_text());
            bad++;
            continue;
        }
        if (getenv("PLANS_VERBOSE"))
            printf("# %s %s %dx%d %d->%d %dx%d/%d: engine %d of %d%s, %zu KB, "
                   "%.3f s\n",
                   modes[mode].name, kinds[kind], s[0], s[0], s[1], s[2], s[3],
                   s[3], s[4], p.engine, p.candidates,
                   p.compiled ? " compiled" : "", p.workspace >> 10, now() - t);
        if (p.workspace > *most)
            *most = p.workspace;
        *compiled += p.compiled;
        cuplan_release(&p);
        cugraph_release(&g);
    }
    return bad;
}

/* ---- level C: the forms of a bottleneck (gpu-engine 2.3, 2.5) */

enum place {
    ANY,
    INSIDE, /* a norm of the block is in front of it */
    FRONT   /* the first of a block */
};

static bool stands(const int *s, enum place place)
{
    bool small = s[0] == 1 || s[1] % 8 || s[2] % 8, one = s[3] == 1;

    if (small || place == ANY)
        return !small;
    return place == FRONT ? one && s[4] == 1 && s[2] < s[1]
                          : s[1] == s[2] || (one && s[2] == 4 * s[1]);
}

static const struct form {
    const char *name;
    struct conv_desc d;
    enum place place;
} forms[] = {
    {"conv, sums", {.kind = CONV_FORWARD, .epi = EPI_STATS}, ANY},
    {"norm, conv, sums",
     {.kind = CONV_FORWARD, .pro = PRO_SBR, .epi = EPI_STATS},
     INSIDE},
    {"norm, wgrad", {.kind = CONV_WGRAD, .pro = PRO_SBR}, INSIDE},
    {"dgrad, norm", {.kind = CONV_DGRAD, .epi = EPI_BNSUMS1}, INSIDE},
    {"dgrad + add, norm + residual",
     {.kind = CONV_DGRAD, .epi = EPI_BNSUMS1, .add = true, .residual = true},
     FRONT},
    {"dgrad + add, two norms",
     {.kind = CONV_DGRAD, .epi = EPI_BNSUMS2, .add = true},
     FRONT},
};

/* Does the form exist for the shape? */
static bool ask_form(const struct cudnn *lib, cudnnBackendDescriptor_t device,
                     size_t workspace, const struct form *f, const int *s,
                     struct tally *t)
{
    struct cuplan_want want = {
        .device = device, .repeatable = true, .workspace = workspace};
    struct conv_desc d = f->d;
    struct cugraph g;
    struct cuplan p;
    double start = now();

    d.dtype = d.out = DT_F16;
    d.param = DT_F32;
    d.n = 256;
    d.h = d.w = s[0];
    d.c = s[1];
    d.k = s[2];
    d.r = d.s = s[3];
    d.stride = s[4];
    d.pad = s[5];
    if (cuconv_make(lib, &d, &want, &g, &p) < 0) {
        t->proposed += p.candidates > 0;
        if (getenv("PLANS_VERBOSE"))
            printf("# %s %dx%d %d->%d %dx%d/%d: %s\n", f->name, s[0], s[0],
                   s[1], s[2], s[3], s[3], s[4], err_text());
        return false;
    }
    if (getenv("PLANS_VERBOSE"))
        printf("# %s %dx%d %d->%d %dx%d/%d: engine %d of %d%s, %zu KB, %.3f "
               "s\n",
               f->name, s[0], s[0], s[1], s[2], s[3], s[3], s[4], p.engine,
               p.candidates, p.compiled ? " compiled" : "", p.workspace >> 10,
               now() - start);
    t->most = p.workspace > t->most ? p.workspace : t->most;
    t->compiled += p.compiled;
    cuplan_release(&p);
    cugraph_release(&g);
    return true;
}

static void level_c(const struct cudnn *lib, const struct card *c,
                    cudnnBackendDescriptor_t device, bool all)
{
    size_t workspace = (size_t)(c->gb < 16 ? 16 : c->gb) << 24; /* a 64th */
    int f, i, n;

    for (f = 0; f < COUNT(forms); f++) {
        struct tally t = {0, 0, 0, 0, 0};

        /* to try what cannot be compiled takes long: not for all shapes */
        bool each = all && (c->version < 1000 || f >= 2);

        n = each ? COUNT(shapes) : COUNT(some);
        for (i = 0; i < n; i++) {
            const int *s = shapes[each ? i : some[i]];

            if (!stands(s, forms[f].place))
                continue;
            t.asked++;
            t.there += ask_form(lib, device, workspace, &forms[f], s, &t);
        }
        /* Turing has none; what newer cards have for sums is compiled by their
         * driver, without which it can be proposed only */
        if (c->version >= 1000 && f < 2 && t.there < t.asked) {
            ok(t.there + t.proposed == t.asked,
               "%s fp16 level C, %s: %d of %d shapes to be compiled", c->name,
               forms[f].name, t.proposed, t.asked);
            continue;
        }
        ok(t.there == (c->version < 800          ? 0
                       : forms[f].place == FRONT ? t.asked - c->lacks
                                                 : t.asked),
           "%s fp16 level C, %s: %d plans of %d shapes, %d compiled, workspace "
           "%zu MB",
           c->name, forms[f].name, t.there, t.asked, t.compiled, t.most >> 20);
    }
}

static void card(const struct cudnn *lib, const struct card *c, bool all)
{
    cudnnBackendDescriptor_t device = describe(lib, c);
    int m, i, n = all ? COUNT(shapes) : COUNT(some);

    if (!device) {
        skip(1, "cudnn: takes no description of a card");
        return;
    }
    for (m = 0; m < COUNT(modes); m++) {
        int bad = 0, compiled = 0;
        size_t most = 0;

        if (c->version < modes[m].since)
            continue;
        for (i = 0; i < n; i++)
            bad += ask(lib, device, m, shapes[all ? i : some[i]], &most,
                       &compiled);
        ok(bad == 0, "%s %s: plans of %d shapes, %d compiled, workspace %zu MB",
           c->name, modes[m].name, n, compiled, most >> 20);
    }
    level_c(lib, c, device, all);
    lib->BackendDestroyDescriptor(device);
}

/* Engines that are compiled at run time are proposed where there is a driver's
 * library: without one the toolkit's empty one, which cuDNN finds by its name. */
static void load_driver(void)
{
    if (!dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) &&
        !dlopen(CUDA_LIBDIR "/stubs/libcuda.so", RTLD_NOW | RTLD_GLOBAL))
        printf("# %s\n", dlerror());
}

int main(int argc, char **argv)
{
    bool all = argc > 1 && strcmp(argv[1], "all") == 0;
    struct cudnn lib;
    int i;

    load_driver();
    if (cudnn_open(&lib) < 0) {
        skip(1, "cudnn: not here");
        printf("# %s\n", err_text());
        return done_testing();
    }
    for (i = 0; i < (all ? COUNT(cards) : 2); i++)
        card(&lib, &cards[i], all);
    return done_testing();
}
