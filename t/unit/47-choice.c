/*
 * Which engine of cuDNN a convolution takes, and when it is computed apart from
 * what level C has in one pass with it: on the made-up device (t/hostgpu), whose
 * clock goes as FAKECUDNN_US says.
 */
#include "lib/must.h"
#include "lib/plancache.h"
#include "lib/tap.h"
#include "lib/tapdir.h"

#include "engine/engine.h"
#include "util/buf.h"
#include "util/fdio.h"

#include <unistd.h>

static const char *top;
static char *host;

/* A folder of its own for each test; how cuDNN is, or NULL; its times. */
static void begin(const char *folder, const char *cudnn, const char *us)
{
    char *path = xstrfmt("%s/%s", top, folder);

    setenv("MILLRACE_CACHE", path, 1);
    setenv("FAKECUDNN", cudnn ? cudnn : "", 1);
    setenv("FAKECUDNN_US", us ? us : "", 1);
    free(path);
}

static struct engine *open_engine(enum engine_tune tune, const char *trace)
{
    struct engine_config c = {.device = -1,
                              .dir = host,
                              .trace = trace,
                              .deterministic = true,
                              .tune = tune};
    struct engine *e = NULL;

    return engine_open(&e, "cuda", &c) < 0 ? NULL : e;
}

static struct conv_desc desc(enum conv_kind kind, enum dtype t)
{
    struct conv_desc d = {.kind = kind,
                          .dtype = t,
                          .out = kind == CONV_WGRAD ? DT_F32 : t,
                          .param = DT_F32,
                          .n = 3,
                          .h = 5,
                          .w = 5,
                          .c = 16,
                          .k = 8,
                          .r = 3,
                          .s = 3,
                          .stride = 1,
                          .pad = 1};

    return d;
}

static struct conv_desc stats(void)
{
    struct conv_desc d = desc(CONV_FORWARD, DT_F16);

    d.pro = PRO_SBR;
    d.epi = EPI_STATS;
    return d;
}

struct answer {
    char kernel[80];
    char hex[33];
    int chosen, untried;
    size_t scratch;
};

/* Which kernel a new engine takes for it. */
static struct answer plan(enum engine_tune tune, const struct conv_desc *d)
{
    char *trace = xstrfmt("%s/trace", top), *text, *at;
    struct engine *e = open_engine(tune, trace);
    struct conv_plan *p;
    struct conv_needs needs;
    struct answer a;

    memset(&a, 0, sizeof a);
    if (!e)
        must(-1);
    must(engine_conv_plan(e, d, &p, &needs));
    engine_conv_free(e, p);
    engine_choices(e, a.hex, &a.chosen, &a.untried);
    a.scratch = needs.scratch_bytes;
    engine_close(e);
    text = contents(trace);
    for (at = text; (at = strstr(at, " kernel ")); at += 8)
        snprintf(a.kernel, sizeof a.kernel, "%.*s", (int)strcspn(at + 8, ","),
                 at + 8);
    free(text);
    free(trace);
    return a;
}

static void test_forms(void)
{
    struct conv_desc plain = desc(CONV_DGRAD, DT_F32), fused = stats();
    struct engine *e;
    const char *name[16];
    struct buf b = BUF_INIT;
    int n, i;

    begin("forms", NULL, NULL);
    e = open_engine(TUNE_OFF, NULL);
    n = engine_conv_forms(e, &plain, name, 16);
    for (i = 0; i < n; i++)
        buf_addf(&b, "%s|", name[i]);
    is_str(b.data, "engine 2 k2=20|engine 3 k2=30|",
           "engines by name, with their settings; none whose bits vary or "
           "that want too much");
    buf_reset(&b);
    n = engine_conv_forms(e, &fused, name, 16);
    for (i = 0; i < n; i++)
        buf_addf(&b, "%s|", name[i]);
    is_str(b.data,
           "engine 2 k2=20|engine 3 k2=30|apart engine 2 k2=20|"
           "apart engine 3 k2=30|",
           "and of level C the convolution apart");
    is_int(engine_conv_forms(e, &fused, name, 3), 3, "no more than asked for");
    buf_release(&b);
    engine_close(e);
}

static void test_chosen(void)
{
    static const enum conv_kind kinds[] = {CONV_FORWARD, CONV_DGRAD,
                                           CONV_WGRAD};
    struct conv_desc d;
    struct answer a, b;
    char *text;
    int i;

    begin("chosen", NULL, "2=100 3=50");
    for (i = 0; i < 3; i++) {
        d = desc(kinds[i], DT_F16);
        a = plan(TUNE_OFF, &d);
        is_str(a.kernel, "cudnn engine 2", "%d: by rule the first", i);
        a = plan(TUNE_KNOWN, &d);
        ok(strcmp(a.kernel, "cudnn engine 2") == 0 && a.untried == 1,
           "as long as there was no trial");
        a = plan(TUNE_TRY, &d);
        is_str(a.kernel, "cudnn engine 3", "then the fastest");
        ok(a.scratch >= 100000 && a.chosen == 1, "with what it takes");
    }
    text = kept();
    has_str(text,
            "conv wgrad F16-F32 n4 5x5x16 k8 3x3/1+1\tengine 3 k2=30\t0.05",
            "the file says which, and its time on the device");
    is_int(lines_of(text), 4, "a line for each");
    free(text);
    begin("chosen", NULL, "2=50 3=100");
    b = plan(TUNE_TRY, &d);
    is_str(b.kernel, "cudnn engine 3", "what is known is not timed again");
    is_str(b.hex, a.hex, "a known choice is the same choice");
    begin("other", NULL, "2=100 3=97");
    a = plan(TUNE_TRY, &d);
    is_str(a.kernel, "cudnn engine 2", "little is not enough");
    begin("tenth", NULL, "2=100 3=90");
    a = plan(TUNE_TRY, &d);
    is_str(a.kernel, "cudnn engine 3", "a tenth is");
}

static void test_apart(void)
{
    struct conv_desc d = stats();
    struct answer a;

    begin("fused", NULL, NULL);
    a = plan(TUNE_TRY, &d);
    is_str(a.kernel, "cudnn engine 2", "level C in one pass");
    begin("apart", NULL, "fused=1000 3=1");
    a = plan(TUNE_TRY, &d);
    is_str(a.kernel, "apart cudnn engine 3",
           "or in several, if that is faster");
    ok(a.scratch >= 100000 + 3 * 5 * 5 * 16 * 2,
       "with room for what comes before");
    begin("apart", NULL, "apart=1000");
    d.n = 2;
    a = plan(TUNE_KNOWN, &d);
    is_str(a.kernel, "cudnn engine 2", "another class of batches is another");
    d.n = 4;
    a = plan(TUNE_KNOWN, &d);
    is_str(a.kernel, "apart cudnn engine 3", "a batch of the class is not");
}

/* What is proposed is not always there. */
static void test_missing(void)
{
    struct conv_desc d = desc(CONV_FORWARD, DT_BF16);
    struct answer a;
    char *text;

    begin("one", "one", NULL);
    a = plan(TUNE_TRY, &d);
    ok(strcmp(a.kernel, "cudnn engine 2") == 0 && !a.chosen && !a.untried,
       "one alone is no choice");
    begin("fails2", "fails2", NULL);
    a = plan(TUNE_TRY, &d);
    is_str(a.kernel, "cudnn engine 3", "a usual one that does not run is not");
    begin("fails3", "fails3", "2=100 3=1");
    a = plan(TUNE_TRY, &d);
    is_str(a.kernel, "cudnn engine 2", "nor is a fast one that does not");
    d = stats();
    begin("gone", NULL, "2=100 3=1");
    a = plan(TUNE_TRY, &d);
    begin("gone", "one", NULL);
    a = plan(TUNE_KNOWN, &d);
    ok(strcmp(a.kernel, "cudnn engine 2") == 0 && a.untried == 1,
       "one that is gone is unknown");
    a = plan(TUNE_TRY, &d);
    ok(strcmp(a.kernel, "cudnn engine 2") == 0 && a.chosen == 1,
       "and there is another trial");
    text = kept();
    is_int(lines_of(text), 3, "whose line stands behind the old one");
    free(text);
}

/* No memory for a trial: none is made, and nothing is kept. */
static void test_memory(void)
{
    struct conv_desc d = desc(CONV_WGRAD, DT_F16);
    struct conv_plan *p;
    struct conv_needs needs;
    struct engine *e;
    char hex[33], *text;
    int untried;

    begin("memory", NULL, "3=1");
    e = open_engine(TUNE_TRY, NULL);
    setenv("HOSTGPU", "nomemory", 1);
    must(engine_conv_plan(e, &d, &p, &needs));
    unsetenv("HOSTGPU");
    engine_conv_free(e, p);
    engine_choices(e, hex, NULL, &untried);
    ok(!hex[0] && untried == 1, "no memory for a trial: by rule");
    must(engine_conv_plan(e, &d, &p, &needs));
    engine_conv_free(e, p);
    engine_close(e);
    text = kept();
    is_int(lines_of(text), 2, "there is when there is memory again");
    free(text);
}

/* Only what is of the same card and the same arithmetic serves. */
static void test_machine(void)
{
    struct engine_config c = {.device = -1,
                              .dir = host,
                              .deterministic = true,
                              .tf32 = true,
                              .tune = TUNE_KNOWN};
    struct conv_desc d = desc(CONV_FORWARD, DT_F32);
    struct conv_plan *p;
    struct conv_needs needs;
    struct engine *e;
    struct answer a;
    char *text, hex[33];
    int untried;

    begin("machine", NULL, "3=1");
    a = plan(TUNE_TRY, &d);
    is_int(a.chosen, 1, "a trial in fp32");
    text = kept();
    has_str(text, "# forms of convolutions: cuda: the host itself (9.0), ",
            "the card");
    has_str(text, ", cuDNN 9", "the library");
    has_str(text, "; millrace ", "and the version");
    free(text);
    must(engine_open(&e, "cuda", &c));
    must(engine_conv_plan(e, &d, &p, &needs));
    engine_conv_free(e, p);
    engine_choices(e, hex, NULL, &untried);
    is_int(untried, 1, "TF32 has trials of its own");
    engine_close(e);
    setenv("HOSTGPU", "turing", 1);
    a = plan(TUNE_KNOWN, &d);
    is_int(a.untried, 1, "so has another card");
    setenv("HOSTGPU_GPUS", "4", 1);
    setenv("HOSTGPU", "", 1);
    c.tf32 = false;
    c.device = 3;
    must(engine_open(&e, "cuda", &c));
    must(engine_conv_plan(e, &d, &p, &needs));
    engine_conv_free(e, p);
    engine_choices(e, hex, NULL, &untried);
    is_int(untried, 0, "not so the next one of the same kind");
    engine_close(e);
}

int main(void)
{
    struct engine *e;

    prog_set("47-choice");
    verbosity = -1; /* that trials are made */
    top = tap_dir();
    host = xstrfmt("%s/t/hostgpu", tap_env("BIN", "bin"));
    setenv("ENGINE_DIR", host, 1);
    e = open_engine(TUNE_OFF, NULL);
    if (e) {
        engine_close(e);
        test_forms();
        test_chosen();
        test_apart();
        test_missing();
        test_memory();
        test_machine();
    } else {
        skip(1, "cuda: no toolkit to build the engine with");
    }
    free(host);
    return done_testing();
}
