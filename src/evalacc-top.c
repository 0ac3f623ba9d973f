/* evalacc top: one JSON line of counts and shares. */
#include "evalacc.h"

#include "eval/preds.h"
#include "util/buf.h"
#include "util/json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct opt_list ks, bars;
static bool allow_missing;
static int text;
static int64_t samples, timeout_s;
static char *sets_path;

struct opt evalacc_top_opts[] = {
    {.name = "top",
     .letter = 'k',
     .type = OPT_INTS,
     .addr = &ks,
     .def = "1,5",
     .min = 1,
     .max = PREDS_CLASSES_MAX,
     .arg = "K,...",
     .help = "a label counts as found among the first K classes"},
    {.name = "require",
     .type = OPT_STRINGS,
     .addr = &bars,
     .arg = "KEY=VALUE",
     .help = "status 1 if KEY of the result is below VALUE; may be repeated"},
    {.name = "samples",
     .letter = 'n',
     .type = OPT_INT,
     .addr = &samples,
     .def = "0",
     .min = 0,
     .max = (double)PREDS_SAMPLES_MAX,
     .help = "how many samples there must be; 0: as the stream says"},
    {.name = "allow-missing",
     .type = OPT_FLAG,
     .addr = &allow_missing,
     .help = "score what is there, and warn"},
    {.name = "text",
     .type = OPT_CHOICE,
     .addr = &text,
     .choices = "auto|scores|classes",
     .def = "auto",
     .help = "what text lines hold behind the label"},
    {.name = "real",
     .type = OPT_STRING,
     .addr = &sets_path,
     .arg = "FILE",
     .help = "correct classes of each image, a JSON list of lists, instead of "
             "the labels"},
    {.name = "timeout",
     .type = OPT_INT,
     .addr = &timeout_s,
     .def = "600",
     .min = 0,
     .max = 1000000,
     .arg = "SECONDS",
     .help = "deadline of every wait for predictions; 0: none"},
    OPT_END,
};

/* ---- the result */

/* Value of a key of the result; false: it has no such key. */
static bool result_value(const struct topk *t, const char *key, double *v)
{
    char name[40];
    int i;

    for (i = 0; i < t->n_k; i++) {
        snprintf(name, sizeof name, "top%" PRId64, t->k[i]);
        *v = (double)t->correct[i] / (double)t->n;
        if (strcmp(key, name) == 0)
            return true;
        snprintf(name, sizeof name, "correct%" PRId64, t->k[i]);
        *v = (double)t->correct[i];
        if (strcmp(key, name) == 0)
            return true;
    }
    *v = (double)t->n;
    return strcmp(key, "n") == 0;
}

static void add_real(struct buf *b, double v)
{
    json_t *j = json_real(v);

    json_canonical(b, j);
    json_decref(j);
}

/* In the order that people read. */
static void print_result(const struct topk *t)
{
    struct buf b = BUF_INIT;
    int i;

    buf_addch(&b, '{');
    for (i = 0; i < t->n_k; i++) {
        buf_addf(&b, "\"top%" PRId64 "\":", t->k[i]);
        add_real(&b, (double)t->correct[i] / (double)t->n);
        buf_addch(&b, ',');
    }
    for (i = 0; i < t->n_k; i++)
        buf_addf(&b, "\"correct%" PRId64 "\":%" PRId64 ",", t->k[i],
                 t->correct[i]);
    buf_addf(&b, "\"n\":%" PRId64 "}\n", t->n);
    fwrite(b.data, 1, b.len, stdout);
    buf_release(&b);
}

/* ---- bars */

struct bar {
    char key[40];
    double value;
};

/* KEY=VALUE, the key known: before hours of reading, not after. */
static int parse_bar(const struct topk *t, const char *s, struct bar *bar)
{
    struct topk one = *t;
    size_t n = strcspn(s, "=");
    char *end;
    double v;

    if (!s[n] || n >= sizeof bar->key)
        return err_set(ERR_USAGE, "--require \"%.80s\": expected KEY=VALUE", s);
    memcpy(bar->key, s, n);
    bar->key[n] = 0;
    bar->value = strtod(s + n + 1, &end);
    if (!s[n + 1] || *end || !(bar->value >= 0 && bar->value <= 1e18))
        return err_set(ERR_USAGE, "--require %s: not a number \"%.40s\"",
                       bar->key, s + n + 1);
    one.n = 1;
    if (!result_value(&one, bar->key, &v))
        return err_set(ERR_USAGE,
                       "--require %s: the result has top%" PRId64
                       ", correct%" PRId64 "%s and n",
                       bar->key, t->k[0], t->k[0],
                       t->n_k > 1 ? " (and more)" : "");
    if (strncmp(bar->key, "top", 3) == 0 && bar->value > 1)
        return err_set(ERR_USAGE, "--require %s: %g: a share from 0 to 1",
                       bar->key, bar->value);
    return 0;
}

static int check_bars(const struct topk *t, const struct bar *bar, int n)
{
    struct buf b = BUF_INIT;
    double v;
    int i, r = 0;

    for (i = 0; i < n; i++) {
        if (!result_value(t, bar[i].key, &v) || v >= bar[i].value)
            continue;
        buf_addf(&b, "%s%s: ", b.len ? "; " : "", bar[i].key);
        add_real(&b, v);
        buf_addstr(&b, " is below the required ");
        add_real(&b, bar[i].value);
    }
    if (b.len)
        r = err_set(ERR_NO, "%s", b.data);
    buf_release(&b);
    return r;
}

/* ---- reading */

/* Of a pipe with a name that nobody has opened yet the beginning is waited for,
 * with a deadline, and not the writer. */
static int open_source(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | (timeout_s ? O_NONBLOCK : 0));

    if (fd < 0)
        return err_sys(ERR_NOINPUT, "%s: open", path);
    return fd;
}

static int read_one(struct preds *p, const char *path)
{
    int fd, r;

    if (strcmp(path, "-") == 0)
        return preds_read(p, STDIN_FILENO, "stdin");
    fd = open_source(path);
    if (fd < 0)
        return -1;
    r = preds_read(p, fd, path);
    close(fd);
    return r;
}

static void say_doubts(const struct preds *p, const struct topk *t)
{
    if (preds_missing(p))
        warn("%" PRId64 " samples are missing: not counted", preds_missing(p));
    if (t->nan)
        warn("%" PRId64 " of %" PRId64 " samples have NaN among their scores: "
             "counted as wrong",
             t->nan, t->n);
    if (p->open_end)
        warn("the last line has no line end: is the text whole?");
    if (p->classes && topk_most(t) >= p->classes)
        note("%" PRId64 " classes: top%" PRId64 " is always right", p->classes,
             topk_most(t));
}

int evalacc_top(const struct command *c, int argc, char **argv)
{
    struct preds_sets sets = {0};
    struct bar *bar = NULL;
    struct preds p;
    struct topk t;
    int i, r = -1;

    (void)c;
    preds_init(&p, &t);
    if (topk_init(&t, ks.i, ks.n) < 0)
        goto out;
    bar = xcalloc((size_t)bars.n + 1, sizeof *bar);
    for (i = 0; i < bars.n; i++)
        if (parse_bar(&t, bars.s[i], &bar[i]) < 0)
            goto out;
    if (sets_path && preds_sets_read(&sets, sets_path) < 0)
        goto out;
    p.sets = sets_path ? &sets : NULL;
    p.samples = samples ? samples : -1;
    p.allow_missing = allow_missing;
    p.text = (enum preds_text)text;
    p.timeout_ms = timeout_s * 1000;
    for (i = 0; i < argc; i++)
        if (read_one(&p, argv[i]) < 0)
            goto out;
    if (preds_finish(&p) < 0)
        goto out;
    say_doubts(&p, &t);
    print_result(&t);
    r = check_bars(&t, bar, bars.n);
out:
    free(bar);
    preds_release(&p);
    preds_sets_release(&sets);
    return r;
}
