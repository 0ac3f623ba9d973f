#include "engine/engine_private.h"
#include "engine/tune.h"
#include "util/fdio.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What callers hold as a struct conv_plan: the backend's, and its contract. */
struct plan {
    struct conv_desc d;
    struct conv_needs needs;
    struct conv_plan *inner;
};

static struct plan *plan_of(struct conv_plan *p)
{
    return (struct plan *)(void *)p;
}

/* ---- trace and errors */

/* The sentence of a backend, with the engine and the call in front. */
static int failed(struct engine *e, const char *what)
{
    enum err_class c = ERR_NONE;
    const char *text = NULL;

    e->b.ops->last_error(&c, &text);
    return err_set(c ? c : ERR_INTERNAL, "%s: %s: %s", e->name, what,
                   text && text[0] ? text : "failed without a reason");
}

/* Does anybody want to know of every call? */
static bool traced(const struct engine *e)
{
    return e->trace || e->watch;
}

double engine_begin(const struct engine *e)
{
    return traced(e) ? clock_s() : 0;
}

/* A line of the file: seconds since open, microseconds of the call, call,
 * details. */
static void trace_call(struct engine *e, double start, const char *call,
                       const char *detail, int r)
{
    double now = clock_s();

    if (e->trace)
        fprintf(e->trace, "%.6f %.1f %s%s%s\n", start - e->opened,
                (now - start) * 1e6, call, detail, r < 0 ? " failed" : "");
    if (e->watch)
        e->watch(e->watch_arg, call, detail, start, now);
}

void engine_watch(struct engine *e, engine_watch_fn *watch, void *arg)
{
    e->watch = watch;
    e->watch_arg = arg;
}

int engine_done(struct engine *e, double start, const char *call, size_t n,
                int r)
{
    char detail[40];

    if (traced(e)) {
        snprintf(detail, sizeof(detail), " %zu", n);
        trace_call(e, start, call, detail, r);
    }
    return r < 0 ? failed(e, call) : r;
}

/* ---- opening */

static int open_trace(struct engine *e, const char *path)
{
    if (!path)
        return 0;
    e->trace = fopen(path, "we");
    if (!e->trace)
        return err_sys(ERR_CANTCREAT, "%s: trace", path);
    fprintf(e->trace, "# engine %s: seconds, microseconds, call, details\n",
            e->name);
    return 0;
}

int engine_open(struct engine **out, const char *name,
                const struct engine_config *config)
{
    static const struct engine_config none = {.device = -1};
    struct engine *e = xcalloc(1, sizeof(*e));

    *out = NULL;
    config = config ? config : &none;
    memset(e->can, -1, sizeof(e->can));
    if (backend_choose(&e->b, name, config->dir) < 0)
        goto out;
    e->name = e->b.ops->name;
    e->level = config->level;
    e->no_tapes = config->no_tapes;
    e->opened = clock_s();
    if (e->level != 0 && e->level != 'B' && e->level != 'C') {
        err_set(ERR_USAGE, "engine level %d: B or C is meant", e->level);
        goto out;
    }
    if (open_trace(e, config->trace) < 0)
        goto out;
    if (e->b.ops->open(config, &e->dev) < 0) {
        failed(e, "open");
        goto out;
    }
    e->tune = tune_open(e->b.ops, e->dev, config->tune);
    *out = e;
    return 0;
out:
    if (e->trace)
        fclose(e->trace);
    backend_release(&e->b);
    free(e);
    return -1;
}

void engine_close(struct engine *e)
{
    size_t i;

    if (!e)
        return;
    tune_close(e->tune);
    for (i = 0; i < e->n_blocks; i++)
        e->b.ops->free(e->dev, e->block[i].p);
    e->b.ops->close(e->dev);
    if (e->trace && (ferror(e->trace) | fclose(e->trace)))
        warn("%s: trace could not be written in full", e->name);
    backend_release(&e->b);
    free(e->block);
    free(e);
}

const char *engine_name(const struct engine *e)
{
    return e->name;
}

const char *engine_passed_over(const struct engine *e)
{
    return e->b.over;
}

bool engine_is_host(const struct engine *e)
{
    return e->b.ops->host_memory;
}

bool engine_wide_norms(const struct engine *e, enum dtype t)
{
    return t == DT_F32 && e->b.ops->wide_norms;
}

char engine_level(const struct engine *e)
{
    if (e->level)
        return (char)e->level;
    return e->b.ops->leaves_sums ? 'S' : e->b.ops->host_memory ? 'B' : 'C';
}

void engine_describe(struct engine *e, char *text, size_t n)
{
    text[0] = 0;
    e->b.ops->describe(e->dev, text, n);
}

/* The answer of the backend, asked once for each dtype. */
static int can(struct engine *e, enum dtype t, char *why, size_t n)
{
    if (why)
        why[0] = 0;
    if ((unsigned)t >= DT_N)
        return 0;
    if (e->can[t] < 0 || (e->can[t] == 0 && why)) {
        char text[200] = "";

        e->can[t] = (signed char)e->b.ops->precision(
            e->dev, t, why ? why : text, why ? n : sizeof(text));
    }
    return e->can[t];
}

int engine_precision(struct engine *e, enum dtype t)
{
    const char *name = (unsigned)t < DT_N ? dtype_name(t) : "no dtype";
    char why[200];
    int r = can(e, t, why, sizeof(why));

    if (r == 0)
        return err_set(ERR_UNAVAILABLE, "%s: %s: %s", e->name, name,
                       why[0] ? why : "cannot be computed in");
    if (r == 1 && !e->warned[t]) {
        e->warned[t] = true;
        warn("%s: %s is emulated here, which is slow", e->name, name);
    }
    return 0;
}

static int check_dtypes(struct engine *e, const struct call *c)
{
    int i;

    for (i = 0; i < c->n_dtypes; i++) {
        if (!can(e, c->dtype[i], NULL, 0))
            return err_set(ERR_UNAVAILABLE, "%s: %s: %s cannot be computed in",
                           e->name, c->name, dtype_name(c->dtype[i]));
    }
    return 0;
}

/* ---- memory */

static int alloc(struct engine *e, bool sums, size_t bytes, void **p)
{
    const struct engine_ops *ops = e->b.ops;
    double start = engine_begin(e);
    int r;

    *p = NULL;
    sums = sums && ops->alloc_sums;
    r = (sums ? ops->alloc_sums : ops->alloc)(e->dev, bytes ? bytes : 64, p);
    if (engine_done(e, start, "alloc", bytes, r) < 0) {
        *p = NULL;
        return -1;
    }
    if (e->n_blocks == e->cap_blocks) {
        e->cap_blocks = e->cap_blocks ? 2 * e->cap_blocks : 64;
        e->block = xreallocarray(e->block, e->cap_blocks, sizeof(*e->block));
    }
    e->block[e->n_blocks++] = (struct block){*p, bytes, e->numbers++};
    e->now += bytes;
    e->peak = e->now > e->peak ? e->now : e->peak;
    return 0;
}

int engine_alloc(struct engine *e, size_t bytes, void **p)
{
    return alloc(e, false, bytes, p);
}

int engine_alloc_sums(struct engine *e, size_t bytes, void **p)
{
    return alloc(e, true, bytes, p);
}

void engine_free(struct engine *e, void *p)
{
    double start = engine_begin(e);
    size_t i;

    if (!p)
        return;
    /* The youngest first: memory is mostly freed in reverse. */
    for (i = e->n_blocks; i > 0 && e->block[i - 1].p != p; i--)
        ;
    if (i == 0)
        BUG("%s: free of memory that is not of this engine", e->name);
    e->now -= e->block[i - 1].bytes;
    engine_tapes_lose(e, e->block[i - 1].number);
    e->b.ops->free(e->dev, p);
    if (traced(e))
        engine_done(e, start, "free", e->block[i - 1].bytes, 0);
    e->block[i - 1] = e->block[--e->n_blocks];
}

size_t engine_memory(const struct engine *e, size_t *now, size_t *peak)
{
    size_t own = e->b.ops->own ? e->b.ops->own(e->dev) : 0;

    *now = e->now + own;
    *peak = e->peak + own;
    return own;
}

static int check_move(const struct engine *e, const char *what, const void *dst,
                      const void *src, size_t n)
{
    if (!dst || !src)
        return err_set(ERR_INTERNAL, "%s: %s of %zu bytes: %s is NULL", e->name,
                       what, n, dst ? "source" : "destination");
    return 0;
}

typedef int move_fn(void *dev, void *dst, const void *src, size_t n);

static int move(struct engine *e, const char *what, move_fn *by, void *dst,
                const void *src, size_t n)
{
    double start = engine_begin(e);

    if (n == 0)
        return 0;
    if (check_move(e, what, dst, src, n) < 0)
        return -1;
    return engine_done(e, start, what, n, by(e->dev, dst, src, n));
}

int engine_upload(struct engine *e, void *dst, const void *src, size_t n)
{
    return move(e, "upload", e->b.ops->upload, dst, src, n);
}

int engine_download(struct engine *e, void *dst, const void *src, size_t n)
{
    return move(e, "download", e->b.ops->download, dst, src, n);
}

int engine_copy(struct engine *e, void *dst, const void *src, size_t n)
{
    return dst == src ? 0 : move(e, "copy", e->b.ops->copy, dst, src, n);
}

int engine_fill(struct engine *e, void *dst, int byte, size_t n)
{
    double start = engine_begin(e);

    if (n == 0)
        return 0;
    if (check_move(e, "fill", dst, dst, n) < 0)
        return -1;
    return engine_done(e, start, "fill", n,
                       e->b.ops->fill(e->dev, dst, byte, n));
}

/* ---- queue */

int engine_check_mark(const struct engine *e, int mark)
{
    if (mark < 0 || mark > 63)
        return err_set(ERR_INTERNAL, "%s: mark %d: 0 to 63 is meant", e->name,
                       mark);
    return 0;
}

int engine_mark(struct engine *e, int mark)
{
    double start = engine_begin(e);

    if (engine_check_mark(e, mark) < 0)
        return -1;
    return engine_done(e, start, "mark", (size_t)mark,
                       e->b.ops->mark(e->dev, mark));
}

/* Polled, so not in the trace. */
int engine_passed(struct engine *e, int mark)
{
    int r;

    if (engine_check_mark(e, mark) < 0)
        return -1;
    r = e->b.ops->passed(e->dev, mark);
    return r < 0 ? failed(e, "passed") : r;
}

int engine_wait(struct engine *e, int mark)
{
    double start = engine_begin(e);

    if (engine_check_mark(e, mark) < 0)
        return -1;
    if (!e->b.ops->wait)
        return 0;
    return engine_done(e, start, "wait", (size_t)mark,
                       e->b.ops->wait(e->dev, mark));
}

int engine_finish(struct engine *e)
{
    double start = engine_begin(e);

    return engine_done(e, start, "finish", 0, e->b.ops->finish(e->dev));
}

uint64_t engine_identity(const struct engine *e)
{
    return e->b.ops->identity ? e->b.ops->identity(e->dev) : 0;
}

/* ---- convolution */

/* Level B is single convolutions, with at most a bias and an activation. */
static bool level_allows(const struct engine *e, const struct conv_desc *d)
{
    if (e->level != 'B')
        return true;
    return d->pro == PRO_NONE && (d->epi == EPI_NONE || d->epi == EPI_BIAS ||
                                  d->epi == EPI_ADD_BIAS || d->epi == EPI_ADD);
}

static int available(struct engine *e, const struct conv_desc *d)
{
    return level_allows(e, d) && e->b.ops->conv_available(e->dev, d) > 0;
}

int engine_conv_available(struct engine *e, const struct conv_desc *d)
{
    struct call c;

    if (call_desc(&c, d, false) < 0 || check_dtypes(e, &c) < 0) {
        err_clear();
        return 0;
    }
    return available(e, d);
}

/* Is it one that this engine has? */
static int check_desc(struct engine *e, const struct conv_desc *d,
                      struct call *c)
{
    if (call_desc(c, d, traced(e)) < 0 || check_dtypes(e, c) < 0)
        return -1;
    if (!available(e, d))
        return err_set(ERR_INTERNAL,
                       "%s: %s: prologue %d with epilogue %d "
                       "in %s: not offered",
                       e->name, c->name, (int)d->pro, (int)d->epi,
                       dtype_name(d->dtype));
    return 0;
}

int engine_conv_forms(struct engine *e, const struct conv_desc *d,
                      const char **name, int most)
{
    if (!e->b.ops->conv_forms || !engine_conv_available(e, d))
        return 0;
    return e->b.ops->conv_forms(e->dev, d, name, most);
}

void engine_choices(const struct engine *e, char hex[33], int *chosen,
                    int *untried)
{
    tune_choices(e->tune, hex, chosen, untried);
}

int engine_conv_plan(struct engine *e, const struct conv_desc *d,
                     struct conv_plan **plan, struct conv_needs *needs)
{
    const char *form;
    struct call c;
    int again = 0;

    *plan = NULL;
    if (e->tune && check_desc(e, d, &c) < 0)
        return -1;
    /* the next: what the file says is not there, or not for fewer images */
    while (again < 2 && (form = tune_form(e->tune, d, again++ > 0)))
        if (engine_conv_plan_as(e, d, form, plan, needs) == 0)
            return 0;
    err_clear();
    return engine_conv_plan_as(e, d, NULL, plan, needs);
}

int engine_conv_plan_as(struct engine *e, const struct conv_desc *d,
                        const char *form, struct conv_plan **plan,
                        struct conv_needs *needs)
{
    double start = engine_begin(e);
    struct plan *p;
    struct call c;
    int r;

    *plan = NULL;
    if (check_desc(e, d, &c) < 0)
        return -1;
    p = xcalloc(1, sizeof(*p));
    p->d = *d;
    r = e->b.ops->conv_plan(e->dev, d, form, &p->inner, &p->needs);
    if (traced(e))
        trace_call(e, start, "plan ", c.name, r);
    if (e->trace)
        fprintf(e->trace, "#%s macs %.0f packed %zu scratch %zu kernel %s\n",
                c.text, conv_macs(d), p->needs.packed_bytes,
                p->needs.scratch_bytes,
                r < 0 ? "none" : e->b.ops->conv_name(e->dev, p->inner));
    if (r < 0) {
        free(p);
        return failed(e, c.name);
    }
    *needs = p->needs;
    *plan = (struct conv_plan *)(void *)p;
    return 0;
}

int engine_conv_pack(struct engine *e, struct conv_plan *plan,
                     const void *weights, void *packed)
{
    double start = engine_begin(e);
    struct plan *p = plan_of(plan);
    int r;

    if (!plan || !weights || !packed)
        return err_set(ERR_INTERNAL, "%s: pack: NULL", e->name);
    if (!p->needs.packed_bytes)
        return err_set(ERR_INTERNAL,
                       "%s: pack: this plan takes the weights "
                       "as they are",
                       e->name);
    r = e->b.ops->conv_pack(e->dev, p->inner, weights, packed);
    return engine_done(e, start, "pack", p->needs.packed_bytes, r);
}

int engine_conv_run(struct engine *e, struct conv_plan *plan,
                    const struct conv_args *a)
{
    double start = engine_begin(e);
    struct plan *p = plan_of(plan);
    struct call c;
    int r;

    if (!plan)
        return err_set(ERR_INTERNAL, "%s: convolution without a plan", e->name);
    if (call_conv(&c, &p->d, &p->needs, a, traced(e)) < 0)
        return err_wrap("%s", e->name);
    r = e->b.ops->conv_run(e->dev, p->inner, a);
    if (traced(e))
        trace_call(e, start, c.name, c.text, r);
    return r < 0 ? failed(e, c.name) : 0;
}

void engine_conv_free(struct engine *e, struct conv_plan *plan)
{
    struct plan *p = plan_of(plan);

    if (!p)
        return;
    engine_tapes_lose(e, 0);
    e->b.ops->conv_free(e->dev, p->inner);
    free(p);
}

/* ---- kernels */

/* A label that is no class is an error of the data; engines only skip it. */
static int check_labels(const struct engine *e, const struct kern_softmax_ce *a)
{
    const int64_t *of[2] = {a->label, a->label2};
    int64_t i, k;

    for (i = 0; i < 2 * a->n; i++) {
        k = of[i / a->n] ? of[i / a->n][i % a->n] : -1;
        if (k >= a->k)
            return err_set(ERR_DATA,
                           "%s: softmax_ce: label %" PRId64 " in row %" PRId64
                           ": there are %" PRId64 " classes",
                           e->name, k, i % a->n, a->k);
    }
    return 0;
}

int engine_run(struct engine *e, enum kernel k, const void *args)
{
    double start = engine_begin(e);
    struct call c;
    int r;

    if (call_kernel(&c, k, args, traced(e)) < 0)
        return err_wrap("%s", e->name);
    if (check_dtypes(e, &c) < 0)
        return -1;
    if (c.empty)
        return 0;
    if (k == KERN_SOFTMAX_CE && e->b.ops->host_memory &&
        check_labels(e, args) < 0)
        return -1;
    r = e->b.ops->run(e->dev, k, args);
    if (traced(e))
        trace_call(e, start, c.name, c.text, r);
    return r < 0 ? failed(e, c.name) : 0;
}
