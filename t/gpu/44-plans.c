/*
 * cuDNN's plans for the networks, asked for by description of a card, without
 * one: each must exist, with the same bits every time, within the cap on
 * workspace. What is asked for is what the networks ask the engine for, on a
 * device that has everything (t/hostgpu). Figures of the cards are their makers';
 * the form of the description is cuDNN's own and not documented, so a library
 * that does not take it skips this.
 *
 * usage: 44-plans.t [CAPABILITY BATCH [N]]    all of one card, or every Nth; without:
 *                                             some of two
 *        44-plans.t list PRECISION LEVEL BATCH    what is asked for
 *
 * PLANS_VERBOSE: a line for each answer.
 */
#include "lib/tap.h"

#include "engine/cuda/cuconv.h"
#include "model/model.h"
#include "nn/lower.h"
#include "util/buf.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static const struct card {
    const char *name;
    int version, sms, l2_mb, shared, ctas, threads, mhz, memory_mhz, gb;
    /* forms of a dgrad that it lacks: of strided joins with a norm; of large ones,
     * from batch 256 on, with a norm, with two, which want too much workspace */
    int joins, large, large_two;
} cards[] = {
    {"NVIDIA H200", 900, 132, 60, 232448, 32, 2048, 1980, 3201, 141, 3, 0, 0},
    {"NVIDIA A100-SXM4-80GB", 800, 108, 40, 166912, 32, 2048, 1410, 1593, 80, 0,
     0, 0},
    {"NVIDIA B200", 1000, 148, 126, 232448, 32, 2048, 1965, 3996, 180, 0, 0, 0},
    {"NVIDIA GeForce RTX 5090", 1200, 170, 96, 101376, 24, 1536, 2407, 14001,
     32, 0, 2, 1},
    {"Tesla T4", 750, 40, 4, 65536, 16, 1024, 1590, 5001, 15, 0, 0, 0},
};

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

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what is asked for */

static const char *const kinds[] = {"forward", "dgrad", "wgrad"};

static bool known(const struct conv_desc *all, int n, const struct conv_desc *d)
{
    int i;

    for (i = 0; i < n; i++)
        if (conv_same(&all[i], d))
            return true;
    return false;
}

static void print_desc(const struct conv_desc *d)
{
    printf("%d %d %d %d %d %d %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64
           " %" PRId64 " %d %d %" PRId64 "\n",
           (int)d->kind, (int)d->pro, (int)d->epi, (int)d->add,
           (int)d->residual, (int)d->dtype, d->n, d->h, d->c, d->k, d->r,
           d->stride, d->pad, d->pitch);
}

/* Every convolution of a step of every model, once, on the made-up device. */
static int list(const char *dir, enum dtype t, int level, int batch)
{
    struct engine_config config = {.dir = dir, .device = -1, .level = level};
    struct model_config shape = {.classes = 1000};
    struct plan_key key = {batch, 224, 224, t, true};
    const struct model_kind *k;
    struct conv_desc *all = NULL;
    struct engine *e;
    int n = 0, i;

    if (engine_open(&e, "cuda", &config) < 0)
        die();
    for (k = model_kinds; k->name; k++) {
        struct params ps;
        struct graph g;
        struct plan *p;

        params_init(&ps);
        graph_init(&g, &ps);
        k->build(&g, &shape, k->depth);
        graph_seal(&g);
        p = plan_new(&g, e, &key);
        if (!p)
            die();
        for (i = 0; i < p->n_convs; i++) {
            if (known(all, n, &p->conv[i].desc))
                continue;
            all = xreallocarray(all, (size_t)n + 1, sizeof *all);
            all[n++] = p->conv[i].desc;
            print_desc(&p->conv[i].desc);
        }
        plan_free(p);
        graph_release(&g);
        params_release(&ps);
    }
    free(all);
    engine_close(e);
    return 0;
}

struct asked {
    struct conv_desc *d;
    int n;
};

/* By another process: this one has the other libcudnn.so.9. */
static struct asked read_list(const char *self, const char *dir,
                              const char *precision, char level, int batch)
{
    char *command = xstrfmt("ENGINE_DIR='%s' '%s' list %s %c %d", dir, self,
                            precision, level, batch),
         line[200];
    FILE *f = popen(command, "r");
    struct asked a = {NULL, 0};

    while (f && fgets(line, sizeof line, f)) {
        struct conv_desc d;
        int v[6], w[2];

        memset(&d, 0, sizeof d);
        if (sscanf(line,
                   "%d %d %d %d %d %d %" SCNd64 " %" SCNd64 " %" SCNd64
                   " %" SCNd64 " %" SCNd64 " %d %d %" SCNd64,
                   &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &d.n, &d.h, &d.c,
                   &d.k, &d.r, &w[0], &w[1], &d.pitch) != 14)
            break;
        d.kind = (enum conv_kind)v[0];
        d.pro = (enum conv_pro)v[1];
        d.epi = (enum conv_epi)v[2];
        d.add = v[3];
        d.residual = v[4];
        d.dtype = (enum dtype)v[5];
        d.param = DT_F32;
        d.out = d.kind == CONV_WGRAD ? DT_F32 : d.dtype;
        d.w = d.h;
        d.s = d.r;
        d.stride = w[0];
        d.pad = w[1];
        a.d = xreallocarray(a.d, (size_t)a.n + 1, sizeof *a.d);
        a.d[a.n++] = d;
    }
    if (!f || pclose(f) != 0)
        printf("# %s: failed\n", command);
    free(command);
    return a;
}

/* ---- asking */

struct tally {
    int asked, there, compiled, proposed;
    size_t most; /* workspace */
};

static const struct mode {
    const char *name;
    enum dtype t;
    bool exact;
    int since; /* compute capability */
} modes[] = {{"fp16", DT_F16, false, 750},
             {"bf16", DT_BF16, false, 800},
             {"fp32", DT_F32, true, 750},
             {"tf32", DT_F32, false, 800}};

struct query {
    const struct cudnn *lib;
    cudnnBackendDescriptor_t device;
    const struct card *card;
    bool exact;
};

/* Is there a plan as the engine wants it? */
static bool ask(const struct query *q, const struct conv_desc *d,
                struct tally *t)
{
    struct cuplan_want want = cuconv_want(d, (size_t)q->card->gb << 30);
    struct cugraph g;
    struct cuplan p;
    double start = now();
    bool there;

    want.device = q->device;
    want.exact = q->exact;
    want.repeatable = true;
    want.limit = 0; /* a last resort is none here */
    there = cuconv_make(q->lib, d, &want, &g, &p) == 0;
    if (getenv("PLANS_VERBOSE"))
        printf("# %s %s pro %d epi %d%s%s %dx%d %d(%d)->%d %dx%d/%d: engine "
               "%d of %d%s, %zu KB, %.3f s %s\n",
               dtype_name(d->dtype), kinds[d->kind], d->pro, d->epi,
               d->add ? " add" : "", d->residual ? " residual" : "", (int)d->h,
               (int)d->w, (int)d->c, (int)conv_pitch(d), (int)d->k, (int)d->r,
               (int)d->s, d->stride, p.engine, p.candidates,
               p.compiled ? " compiled" : "", p.workspace >> 10, now() - start,
               there ? "" : err_text());
    t->asked++;
    t->there += there;
    t->proposed += !there && p.candidates > 0;
    if (!there)
        return false;
    t->most = p.workspace > t->most ? p.workspace : t->most;
    t->compiled += p.compiled;
    cuplan_release(&p);
    cugraph_release(&g);
    return true;
}

/* The names of candidates: each once; a plan by the first name is the plan of the
 * rule. */
static bool named(const struct query *q, const struct conv_desc *d)
{
    struct cuplan_want want = cuconv_want(d, (size_t)q->card->gb << 30);
    char name[8][CUPLAN_NAME];
    struct cugraph g[2];
    struct cuplan p[2];
    double start = now();
    int n, i, j, twice = 0;
    bool same = false;

    want.device = q->device;
    want.exact = q->exact;
    want.repeatable = true;
    n = cuconv_forms(q->lib, d, &want, name, 8);
    for (i = 0; i < n; i++) {
        for (j = 0; j < i; j++)
            twice += strcmp(name[i], name[j]) == 0;
        if (getenv("PLANS_VERBOSE"))
            printf("# %s, %.3f s\n", name[i], now() - start);
    }
    if (n == 0 || cuconv_make(q->lib, d, &want, &g[0], &p[0]) < 0)
        return false;
    want.form = name[0];
    if (cuconv_make(q->lib, d, &want, &g[1], &p[1]) == 0) {
        same = p[0].engine == p[1].engine && p[0].workspace == p[1].workspace;
        cuplan_release(&p[1]);
        cugraph_release(&g[1]);
    }
    cuplan_release(&p[0]);
    cugraph_release(&g[0]);
    want.form = "engine 0 k999=1";
    if (cuconv_make(q->lib, d, &want, &g[0], &p[0]) == 0)
        return false;
    return same && twice == 0;
}

static void names(const struct query *q, const struct mode *m,
                  const struct asked *a, int every)
{
    int i, n = 0, good = 0;

    for (i = 0; i < a->n; i += every, n++)
        good += named(q, &a->d[i]);
    ok(n > 0 && good == n, "%s %s: names of the candidates of %d of %d",
       q->card->name, m->name, good, n);
}

/* Pictures are padded as far as all that reads them can be had: as nn does. */
static int choose_pitch(const struct query *q, const struct asked *a)
{
    struct tally t = {0, 0, 0, 0, 0};
    int64_t pitch, found = 0;
    int i, there = 0, readers = 1;

    for (pitch = 4; pitch <= 8 && there < readers; pitch *= 2) {
        for (i = there = readers = 0; i < a->n; i++) {
            struct conv_desc d = a->d[i];

            if (!d.pitch)
                continue;
            d.pitch = pitch;
            readers++;
            there += cuconv_has(&d) && ask(q, &d, &t);
        }
        found = readers > 0 && there == readers ? pitch : 0;
    }
    for (i = 0; i < a->n; i++)
        if (a->d[i].pitch)
            a->d[i].pitch = found;
    return (int)found;
}

static void level_b(const struct query *q, const struct mode *m,
                    const struct asked *a, int every)
{
    struct tally t = {0, 0, 0, 0, 0};
    int pitch = choose_pitch(q, a), i;

    for (i = 0; i < a->n; i += every)
        ask(q, &a->d[i], &t);
    ok(t.there == t.asked && t.asked > 0 &&
           (m->t == DT_F32 ? pitch == 0 : pitch >= 4),
       "%s %s batch %d: %d plans of %d, %d compiled, workspace %zu MB, "
       "pictures "
       "of %d channels",
       q->card->name, m->name, a->n ? (int)a->d[0].n : 0, t.there, t.asked,
       t.compiled, t.most >> 20, pitch ? pitch : 3);
}

/* ---- level C: the forms of a bottleneck (gpu-engine 2.3, 2.5) */

static const struct form {
    const char *name;
    enum conv_kind kind;
    enum conv_pro pro;
    enum conv_epi epi;
} forms[] = {
    {"conv, sums", CONV_FORWARD, PRO_NONE, EPI_STATS},
    {"norm, conv, sums", CONV_FORWARD, PRO_SBR, EPI_STATS},
    {"norm, wgrad", CONV_WGRAD, PRO_SBR, EPI_NONE},
    {"dgrad, norm", CONV_DGRAD, PRO_NONE, EPI_BNSUMS1},
    {"dgrad, two norms", CONV_DGRAD, PRO_NONE, EPI_BNSUMS2},
};

/* Is there an engine, be it one that is compiled later? */
static bool proposed(const struct query *q, const struct conv_desc *d)
{
    struct cuplan_want want = cuconv_want(d, (size_t)q->card->gb << 30);
    char name[1][CUPLAN_NAME];

    want.device = q->device;
    want.repeatable = true;
    want.limit = 0;
    return cuconv_forms(q->lib, d, &want, name, 1) > 0;
}

/* Of the descriptions of a form, at this batch. */
static int lacking(const struct card *c, const struct form *f, int64_t batch)
{
    bool large = batch >= 256;

    if (f->epi == EPI_BNSUMS1)
        return c->joins + (large ? c->large : 0);
    return f->epi == EPI_BNSUMS2 && large ? c->large_two : 0;
}

static void one_form(const struct query *q, const struct form *f,
                     const struct asked *a, int every, bool make)
{
    const struct card *c = q->card;
    struct tally t = {0, 0, 0, 0, 0};
    int i, n = 0, lacks = lacking(c, f, a->n ? a->d[0].n : 0);

    for (i = 0; i < a->n; i++) {
        const struct conv_desc *d = &a->d[i];

        if (d->kind != f->kind || d->pro != f->pro || d->epi != f->epi ||
            n++ % every != 0)
            continue;
        if (make)
            ask(q, d, &t);
        t.asked += !make;
        t.proposed += !make && proposed(q, d);
    }
    if (!make) {
        ok(t.asked > 0 && t.proposed == t.asked,
           "%s fp16 level C, %s: %d of %d, to be compiled", c->name, f->name,
           t.proposed, t.asked);
        return;
    }
    if (c->version < 800)
        lacks = t.asked;
    else if (every > 1 && t.asked - t.there < lacks) /* not all were asked */
        lacks = t.asked - t.there;
    ok(t.asked > 0 && t.there == t.asked - lacks,
       "%s fp16 level C, %s: %d plans of %d, %d compiled, workspace %zu MB",
       c->name, f->name, t.there, t.asked, t.compiled, t.most >> 20);
}

static void level_c(const struct query *q, const struct asked *a, int every)
{
    int f;

    /* what newer cards have for sums is compiled by their driver, without which
     * it can be proposed only, and to try that takes long */
    for (f = 0; f < COUNT(forms); f++)
        one_form(q, &forms[f], a, every, q->card->version < 1000 || f >= 2);
}

/* every: the share of all that is asked. */
static void card(const struct query *q, const char *self, int batch, int every,
                 bool fused)
{
    char *dir = xstrfmt("%.*s/hostgpu", (int)(strrchr(self, '/') - self), self);
    int m;

    for (m = 0; m < COUNT(modes); m++) {
        struct query with = *q;
        struct asked a;

        if (q->card->version < modes[m].since || (batch < 256 && m >= 2))
            continue;
        with.exact = modes[m].exact;
        a = read_list(self, dir, modes[m].name, 'B', batch);
        level_b(&with, &modes[m], &a, every);
        names(&with, &modes[m], &a, 5 * every);
        free(a.d);
    }
    if (fused) {
        struct asked a = read_list(self, dir, "fp16", 'C', batch);

        level_c(q, &a, every);
        free(a.d);
    }
    free(dir);
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
    int version = argc > 2 ? (int)strtol(argv[1], NULL, 10) : 0, i, m = 0;
    int batch = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 256;
    int every = argc > 3 ? (int)strtol(argv[3], NULL, 10) : version ? 1 : 7;
    struct cudnn lib;

    if (argc == 5 && strcmp(argv[1], "list") == 0) {
        while (m < COUNT(modes) - 1 && strcmp(modes[m].name, argv[2]) != 0)
            m++;
        return list(getenv("ENGINE_DIR"), modes[m].t, argv[3][0],
                    (int)strtol(argv[4], NULL, 10));
    }
    load_driver();
    if (cudnn_open(&lib) < 0) {
        skip(1, "cudnn: not here");
        printf("# %s\n", err_text());
        return done_testing();
    }
    for (i = 0; i < COUNT(cards); i++) {
        struct query q = {.lib = &lib, .card = &cards[i]};

        if (version ? cards[i].version != version : i >= 2)
            continue;
        q.device = describe(&lib, q.card);
        if (!q.device) {
            skip(1, "cudnn: takes no description of a card");
            continue;
        }
        card(&q, argv[0], batch, every, version || q.card->version == 900);
        lib.BackendDestroyDescriptor(q.device);
    }
    return done_testing();
}
