/*
 * Which form a convolution takes: by rule, by a trial, from a file; and that
 * file, whatever is in it and however many write to it.
 */
#include "lib/must.h"
#include "lib/plancache.h"
#include "lib/tap.h"
#include "lib/tapdir.h"

#include "engine/engine.h"
#include "engine/plancache.h"
#include "util/buf.h"
#include "util/fdio.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *top;

/* A folder of its own for each test. */
static void use_folder(const char *name)
{
    char *path = xstrfmt("%s/%s", top, name);

    setenv("MILLRACE_CACHE", path, 1);
    free(path);
}

/* stderr of what follows goes to a file, and comes back from it. */
static int kept_stderr = -1;

static void begin_catch(void)
{
    char *path = xstrfmt("%s/stderr", top);

    fflush(stderr);
    kept_stderr = dup(2);
    if (!freopen(path, "w", stderr))
        exit(1);
    free(path);
}

static char *end_catch(void)
{
    char *path = xstrfmt("%s/stderr", top);
    struct buf b = BUF_INIT;

    fflush(stderr);
    dup2(kept_stderr, 2);
    close(kept_stderr);
    must(buf_read_file(&b, path, 1 << 20));
    buf_addstr(&b, "");
    free(path);
    return buf_detach(&b);
}

static void append(const char *path, const char *text)
{
    FILE *f = fopen(path, "a");

    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        exit(1);
}

/* ---- the file */

static void put(struct plancache *c, const char *key, const char *form)
{
    must(plancache_lock(c, 10));
    plancache_put(c, key, form, 1.5);
    plancache_unlock(c);
}

static void test_file(void)
{
    struct plancache *c, *d;
    char *path, *text;

    use_folder("file/deep");
    c = plancache_open("cpu: a machine");
    ok(!plancache_get(c, "a b"), "nothing is known at first");
    ok(access(getenv("MILLRACE_CACHE"), F_OK) < 0,
       "and looking leaves nothing behind");
    d = plancache_open("cpu: a machine");
    put(c, "a b", "tiles");
    put(c, "c", "product");
    is_str(plancache_get(c, "a b"), "tiles", "what was put is known");
    must(plancache_lock(d, 10));
    is_str(plancache_get(d, "c"), "product",
           "and to another who had opened before, once it has the lock");
    put(d, "a b", "columns");
    plancache_free(d);
    plancache_free(c);
    c = plancache_open("cpu: a machine");
    is_str(plancache_get(c, "a b"), "columns", "the last line of a key counts");
    plancache_free(c);
    path = only_file();
    text = contents(path);
    is_str(text,
           "# forms of convolutions: cpu: a machine\na b\ttiles\t1.500\n"
           "c\tproduct\t1.500\na b\tcolumns\t1.500\n",
           "a text");
    free(text);
    c = plancache_open("cpu: another machine");
    ok(!plancache_get(c, "c"), "another machine has another file");
    plancache_free(c);
    free(path);
}

static void test_damaged(void)
{
    struct plancache *c;
    char *path, *text;

    use_folder("damaged");
    c = plancache_open("cpu: x");
    put(c, "one", "tiles");
    plancache_free(c);
    path = only_file();
    append(path, "two\tproduct\n\tno key\t1\nthree\tcolumns\tfast\n"
                 "four\ta\001b\t1\nfive\tref\t-1\nsix\tref\t2\n");
    begin_catch();
    c = plancache_open("cpu: x");
    text = end_catch();
    has_str(text, "5 lines are passed over: damaged",
            "what is no line is told");
    is_int(lines_of(text), 1, "in one line");
    free(text);
    ok(!plancache_get(c, "two") && !plancache_get(c, "three") &&
           !plancache_get(c, "four") && !plancache_get(c, "five"),
       "and not taken");
    ok(plancache_get(c, "one") && plancache_get(c, "six"), "the others are");
    append(path, "seven\tref");
    begin_catch();
    put(c, "eight", "dense");
    free(end_catch());
    plancache_free(c);
    begin_catch();
    c = plancache_open("cpu: x");
    free(end_catch());
    ok(!plancache_get(c, "seven"), "a line without an end is none");
    is_str(plancache_get(c, "eight"), "dense", "and does not spoil the next");
    plancache_free(c);

    text = xstrfmt("# forms of convolutions: cpu: y\nnine\tref\t1\n");
    must(atomic_write(path, text, strlen(text)));
    free(text);
    begin_catch();
    c = plancache_open("cpu: x");
    ok(!plancache_get(c, "nine"), "a file of another machine is not taken");
    put(c, "ten", "tiles");
    text = end_catch();
    has_str(text, "not of this machine: begun anew", "but begun anew");
    is_int(lines_of(text), 1, "which is told in one line");
    free(text);
    plancache_free(c);
    text = contents(path);
    is_str(text, "# forms of convolutions: cpu: x\nten\ttiles\t1.500\n",
           "with this machine's name");
    free(text);
    free(path);
}

/* Places where nothing can be kept: remembered all the same. */
static void test_unkept(void)
{
    char *absent = xstrfmt("%s/absent", top);
    const char *place[] = {"/dev/null/here", "/proc", absent, NULL};
    struct plancache *c;
    char *home = xstrdup(getenv("HOME") ? getenv("HOME") : "/"), *text;
    int i;

    for (i = 0; i < 4; i++) {
        unsetenv("MILLRACE_CACHE");
        unsetenv("XDG_CACHE_HOME");
        unsetenv("HOME");
        if (place[i])
            setenv(i ? "HOME" : "MILLRACE_CACHE", place[i], 1);
        begin_catch();
        c = plancache_open("cpu: x");
        put(c, "one", "tiles");
        put(c, "two", "product");
        text = end_catch();
        has_str(text, "are not kept", "%s: told",
                place[i] ? place[i] : "no place");
        is_int(lines_of(text), 1, "in one line");
        is_str(plancache_get(c, "one"), "tiles", "known to this process");
        free(text);
        plancache_free(c);
    }
    ok(access(absent, F_OK) < 0, "a home that is not there is not made");
    setenv("HOME", home, 1);
    free(home);
    free(absent);
}

/* Put in for each of 200 keys, unless somebody has, one's own number. */
static void write_all(int who)
{
    struct plancache *c = plancache_open("cpu: many");
    int i;

    for (i = 0; i < 200; i++) {
        char key[20], form[20];

        snprintf(key, sizeof key, "key %d", i);
        snprintf(form, sizeof form, "form-%d", who);
        must(plancache_lock(c, 100));
        if (!plancache_get(c, key))
            plancache_put(c, key, form, who);
        plancache_unlock(c);
    }
    plancache_free(c);
}

static void test_many(void)
{
    pid_t pid[4];
    char *path, *text;
    int i, status, bad = 0;

    use_folder("many");
    for (i = 0; i < 4; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            write_all(i);
            _exit(0);
        }
    }
    for (i = 0; i < 4; i++) {
        if (waitpid(pid[i], &status, 0) < 0 || status != 0)
            bad++;
    }
    is_int(bad, 0, "four processes at once");
    path = only_file();
    text = contents(path);
    is_int(lines_of(text), 201, "each key is written once");
    free(text);
    free(path);
}

static void test_lock(void)
{
    struct plancache *c, *d;

    use_folder("lock");
    c = plancache_open("cpu: x");
    d = plancache_open("cpu: x");
    must(plancache_lock(c, 1));
    is_int(plancache_lock(d, 0.01), -1, "waiting for others has an end");
    plancache_unlock(c);
    is_int(plancache_lock(d, 10), 0, "and they let go");
    plancache_free(c);
    plancache_free(d);
}

/* ---- the engine */

static struct engine *open_cpu(enum engine_tune tune, const char *trace)
{
    struct engine_config c = {.device = -1,
                              .threads = 1,
                              .dir = tap_env("BIN", NULL),
                              .trace = trace,
                              .tune = tune};
    struct engine *e = NULL;

    return engine_open(&e, "cpu", &c) < 0 ? NULL : e;
}

static struct conv_desc desc(enum conv_kind kind, enum dtype t, int64_t n,
                             int64_t size, int64_t c, int64_t k, int64_t r,
                             int stride)
{
    struct conv_desc d = {.kind = kind,
                          .dtype = t,
                          .out = kind == CONV_WGRAD ? DT_F32 : t,
                          .param = DT_F32,
                          .n = n,
                          .h = size,
                          .w = size,
                          .c = c,
                          .k = k,
                          .r = r,
                          .s = r,
                          .stride = stride,
                          .pad = (int)(r / 2)};

    return d;
}

/* By rule, on every machine; what cannot be had there falls out. */
static void test_rule(void)
{
    const struct {
        struct conv_desc d;
        const char *forms;
    } want[] = {
        {desc(CONV_FORWARD, DT_F32, 8, 56, 64, 64, 3, 1), "tiles lanes"},
        {desc(CONV_FORWARD, DT_F32, 8, 14, 256, 256, 3, 1), "tiles lanes"},
        {desc(CONV_FORWARD, DT_F32, 8, 14, 1024, 256, 1, 1), "tiles lanes"},
        {desc(CONV_DGRAD, DT_F32, 8, 14, 1024, 256, 1, 1), "tiles lanes"},
        {desc(CONV_WGRAD, DT_F32, 8, 14, 1024, 256, 1, 1),
         "weight-tiles lanes"},
        {desc(CONV_WGRAD, DT_F32, 8, 28, 256, 512, 1, 2), "weight-tiles lanes"},
        {desc(CONV_FORWARD, DT_F32, 8, 56, 32, 32, 3, 1),
         "tiles convolution columns-product"},
        {desc(CONV_FORWARD, DT_F32, 8, 14, 544, 160, 1, 1), "tiles product"},
        {desc(CONV_FORWARD, DT_F32, 8, 1, 2048, 1000, 1, 1), "tiles dense"},
        {desc(CONV_FORWARD, DT_BF16, 8, 14, 1024, 256, 1, 1),
         "tiles convolution product"},
        {desc(CONV_WGRAD, DT_BF16, 8, 14, 1024, 256, 1, 1),
         "weight-tiles product convolution"},
        {desc(CONV_WGRAD, DT_BF16, 8, 7, 512, 512, 3, 1),
         "weight-tiles columns-product convolution"},
        {desc(CONV_DGRAD, DT_BF16, 8, 28, 256, 512, 1, 2),
         "tiles columns-product convolution columns"}};
    struct engine *e = open_cpu(TUNE_OFF, NULL);
    const char *name[16];
    size_t i;
    int n, k;

    for (i = 0; i < sizeof want / sizeof *want; i++) {
        struct buf b = BUF_INIT;

        n = engine_conv_forms(e, &want[i].d, name, 16);
        for (k = 0; k < n; k++)
            buf_addf(&b, "%s%s", k ? " " : "", name[k]);
        is_str(b.data, want[i].forms, "forms of case %d, the usual one first",
               (int)i);
        buf_release(&b);
    }
    engine_close(e);
}

/* A few that have a choice on every machine. */
static void make_plans(struct engine *e, int64_t n)
{
    const struct conv_desc d[] = {
        desc(CONV_FORWARD, DT_F32, n, 8, 32, 32, 1, 1),
        desc(CONV_DGRAD, DT_F32, n, 8, 32, 32, 1, 1),
        desc(CONV_FORWARD, DT_F32, n, 8, 24, 24, 3, 1)};
    struct conv_plan *plan;
    struct conv_needs needs;
    size_t i;

    for (i = 0; i < sizeof d / sizeof *d; i++) {
        must(engine_conv_plan(e, &d[i], &plan, &needs));
        engine_conv_free(e, plan);
    }
}

struct choices {
    char hex[33];
    int chosen, untried;
};

static struct choices plans_of(enum engine_tune tune, int64_t n,
                               const char *trace)
{
    struct engine *e = open_cpu(tune, trace);
    struct choices c;

    make_plans(e, n);
    engine_choices(e, c.hex, &c.chosen, &c.untried);
    engine_close(e);
    return c;
}

static void test_trial(void)
{
    struct choices a, b;
    char *path, *text, *again;

    use_folder("trial");
    a = plans_of(TUNE_OFF, 4, NULL);
    ok(!a.hex[0] && !a.chosen && !a.untried, "by rule: nothing is chosen");
    a = plans_of(TUNE_KNOWN, 4, NULL);
    ok(!a.hex[0] && !a.chosen && a.untried == 3, "nothing is known yet");
    ok(access(getenv("MILLRACE_CACHE"), F_OK) < 0, "nor tried");
    begin_catch();
    a = plans_of(TUNE_TRY, 4, NULL);
    text = end_catch();
    ok(a.hex[0] && a.chosen == 3 && !a.untried, "trials choose");
    has_str(text, "timing the forms of convolutions", "and say that they do");
    is_int(lines_of(text), 1, "in one line");
    free(text);
    path = only_file();
    text = contents(path);
    is_int(lines_of(text), 4, "a line for each is kept");
    begin_catch();
    b = plans_of(TUNE_TRY, 3, NULL);
    again = end_catch();
    is_str(again, "", "a smaller batch needs no trial");
    is_str(b.hex, a.hex, "and has the same choices");
    free(again);
    b = plans_of(TUNE_KNOWN, 4, NULL);
    is_str(b.hex, a.hex, "so has who only looks");
    again = contents(path);
    is_str(again, text, "nothing was tried again");
    free(again);
    free(text);
    free(path);
}

/* The form of a file is taken, one that is not of this engine is not. */
static void test_taken(void)
{
    struct choices a;
    char *path, *text, *trace = xstrfmt("%s/trace", top), *line;

    use_folder("trial");
    path = only_file();
    text = contents(path);
    line = strstr(text, "n4 8x8x24 k24 3x3/1+1\t");
    if (!ok(line != NULL, "the line of a convolution is there"))
        return;
    append(path, "conv forward F32-F32 n4 8x8x24 k24 3x3/1+1\t"
                 "columns-product\t0.1\n");
    a = plans_of(TUNE_KNOWN, 4, trace);
    is_int(a.chosen, 3, "all are chosen");
    free(text);
    text = contents(trace);
    has_str(text, "product columns", "one as the file says");
    append(path, "conv forward F32-F32 n4 8x8x24 k24 3x3/1+1\tmagic\t0.1\n");
    a = plans_of(TUNE_KNOWN, 4, NULL);
    is_int(a.untried, 1, "a form that is not there is none");
    begin_catch();
    a = plans_of(TUNE_TRY, 4, NULL);
    free(end_catch());
    is_int(a.chosen, 3, "and tried again");
    free(text);
    free(path);
    free(trace);
}

int main(void)
{
    struct engine *e;

    setenv("OMP_WAIT_POLICY", "passive", 0);
    prog_set("35-forms");
    top = tap_dir();
    test_file();
    test_damaged();
    test_unkept();
    test_many();
    test_lock();
    e = open_cpu(TUNE_OFF, NULL);
    if (e) {
        engine_close(e);
        test_rule();
        test_trial();
        test_taken();
    } else {
        skip(1, "onednn: no cpu engine");
    }
    return done_testing();
}
