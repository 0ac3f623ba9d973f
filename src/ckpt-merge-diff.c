/* ckpt-merge diff: equal bit for bit, or which tensors are not. */
#include "ckpt-merge.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void say(const char *name, const char *what)
{
    struct buf b = BUF_INIT;

    buf_addplain(&b, name, strlen(name));
    if (verbosity >= 0)
        printf("%s\t%s\n", b.data, what);
    buf_release(&b);
}

static char *only_in(const char *file)
{
    struct buf b = BUF_INIT;

    buf_addstr(&b, "only in ");
    buf_addplain(&b, file, strlen(file));
    return buf_detach(&b);
}

/* Differing elements, the first of them, the largest difference. */
static void compare(const struct tensor *t, const char *a, const char *b,
                    const char *name)
{
    size_t size = dtype_size(t->dtype), i, first = 0;
    int64_t n = tensor_count(t), count = 0;
    double d, most = 0;
    char *text;

    for (i = 0; i < (size_t)n; i++) {
        if (memcmp(a + i * size, b + i * size, size) == 0)
            continue;
        if (!count++)
            first = i;
        d = fabs(dtype_load(t->dtype, a, i) - dtype_load(t->dtype, b, i));
        if (isnan(d) || d > most)
            most = d;
        if (isnan(d))
            break;
    }
    if (isnan(most))
        text = xstrfmt("differs\tmax nan at element %zu", i);
    else
        text = xstrfmt("differs\tmax %.9g, %" PRId64 " of %" PRId64
                       " elements, first %zu",
                       most, count, n, first);
    say(name, text);
    free(text);
}

static int compare_one(struct source *a, int i, struct source *b, int k,
                       bool *differ)
{
    const struct tensor *x = &a->tensor[i].t, *y = &b->tensor[k].t;
    size_t n = tensor_bytes(x);
    struct buf text = BUF_INIT;
    char *p = NULL, *q = NULL;
    int r = -1;

    if (x->dtype != y->dtype || !tensor_same_shape(x, y)) {
        *differ = true;
        tensor_describe(x, &text);
        buf_addstr(&text, " and ");
        tensor_describe(y, &text);
        say(a->tensor[i].name, text.data);
        buf_release(&text);
        return 0;
    }
    p = xmalloc(n + 1);
    q = xmalloc(n + 1);
    if (source_read(a, i, p) < 0 || source_read(b, k, q) < 0)
        goto out;
    if (memcmp(p, q, n) != 0) {
        *differ = true;
        compare(x, p, q, a->tensor[i].name);
    }
    r = 0;
out:
    free(p);
    free(q);
    return r;
}

static bool is_checkpoint(const struct source *s)
{
    int i;

    for (i = 0; i < s->n; i++)
        if (!ckpt_is_model(s->tensor[i].name))
            return true;
    return false;
}

static int compare_all(struct source *a, struct source *b, char **name)
{
    /* a model file beside a checkpoint: the models are compared */
    bool differ = false;
    char *only = only_in(name[0]);
    int i, k, r = 0;

    if (is_checkpoint(a) != is_checkpoint(b) ||
        !a->n_foreign != !b->n_foreign) {
        note("one may hold more than a model: the models are compared");
        r = source_model(a, false) < 0 ? -1 : source_model(b, false);
    }
    for (i = 0; i < a->n && r == 0; i++) {
        k = source_find(b, a->tensor[i].name);
        if (k >= 0) {
            r = compare_one(a, i, b, k, &differ);
        } else {
            differ = true;
            say(a->tensor[i].name, only);
        }
    }
    free(only);
    only = only_in(name[1]);
    for (i = 0; i < b->n && r == 0; i++) {
        if (source_find(a, b->tensor[i].name) >= 0)
            continue;
        differ = true;
        say(b->tensor[i].name, only);
    }
    free(only);
    return r < 0 ? -1 : differ ? ERR_NO : 0;
}

int ckpt_merge_diff(const struct command *c, int argc, char **argv)
{
    struct source a = {0}, b = {0};
    int r = -1;

    (void)c;
    (void)argc;
    if (source_open(&a, argv, 1) == 0 && source_open(&b, argv + 1, 1) == 0)
        r = compare_all(&a, &b, argv);
    source_close(&a);
    source_close(&b);
    return r;
}
