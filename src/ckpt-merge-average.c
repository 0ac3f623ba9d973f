/*
 * ckpt-merge average: the mean of models of one shape. Numbers are added in
 * double, in the order of the operands, and rounded once; whole numbers (the
 * counters of batch normalisation) are the largest.
 */
#include "ckpt-merge.h"

#include <stdlib.h>
#include <string.h>

static char *output;
static bool ema;

struct opt ckpt_merge_average_opts[] = {
    MODEL_OUTPUT(output),
    MODEL_EMA(ema),
    OPT_END,
};

struct sum {
    double *v;    /* of a tensor of numbers */
    int64_t *top; /* of one of whole numbers */
};

static bool is_whole(enum dtype t)
{
    return t == DT_I64;
}

static int check_dtype(const struct frame_item *it, const char *path)
{
    switch (it->t.dtype) {
    case DT_F64:
    case DT_F32:
    case DT_F16:
    case DT_BF16:
    case DT_I64:
        return 0;
    default:
        return err_set(ERR_DATA, "%s: %s: %s has no average", path, it->name,
                       dtype_name(it->t.dtype));
    }
}

static void add(struct sum *sum, const struct tensor *t, const void *data)
{
    int64_t n = tensor_count(t), i, w;

    if (!sum->v && !sum->top) {
        sum->v =
            is_whole(t->dtype) ? NULL : xcalloc((size_t)n + 1, sizeof *sum->v);
        sum->top = is_whole(t->dtype) ? xcalloc((size_t)n + 1, sizeof *sum->top)
                                      : NULL;
    }
    for (i = 0; i < n; i++) {
        if (sum->v) {
            sum->v[i] += dtype_load(t->dtype, data, (size_t)i);
            continue;
        }
        memcpy(&w, (const char *)data + i * 8, 8);
        sum->top[i] = w > sum->top[i] ? w : sum->top[i];
    }
}

/* Add the model at path, which must be like m. */
static int add_model(const struct model *m, char *path, struct sum *sum)
{
    struct source s = {0};
    void *data;
    int i, k, r = source_open(&s, &path, 1);

    if (r == 0)
        r = source_model(&s, ema);
    if (r == 0)
        r = source_verify(&s);
    if (r == 0 && s.n != m->n)
        r = err_set(ERR_DATA, "%s: %d tensors, the first has %d", path, s.n,
                    m->n);
    for (i = 0; i < m->n && r == 0; i++) {
        const struct frame_item *it = &m->item[i];
        const struct tensor *t;

        k = source_find(&s, it->name);
        if (k < 0) {
            r = err_set(ERR_DATA, "%s: %s: not there", path, it->name);
            break;
        }
        t = &s.tensor[k].t;
        if (t->dtype != it->t.dtype || !tensor_same_shape(t, &it->t)) {
            r = err_set(ERR_DATA,
                        "%s: %s: another dtype or shape than in the "
                        "first",
                        path, it->name);
            break;
        }
        data = xmalloc(tensor_bytes(t) + 1);
        r = source_read(&s, k, data);
        if (r == 0)
            add(&sum[i], t, data);
        free(data);
    }
    source_close(&s);
    return r;
}

static void divide(struct model *m, const struct sum *sum, int models)
{
    int64_t n, j;
    int i;

    for (i = 0; i < m->n; i++) {
        struct tensor *t = &m->item[i].t;

        n = tensor_count(t);
        if (!sum[i].v && n > 0)
            memcpy(t->data, sum[i].top, (size_t)n * 8);
        for (j = 0; sum[i].v && j < n; j++)
            dtype_store(t->dtype, t->data, (size_t)j, sum[i].v[j] / models);
    }
}

int ckpt_merge_average(const struct command *c, int argc, char **argv)
{
    struct model m = {0};
    struct source s = {0};
    struct sum *sum = NULL;
    int i, r;

    (void)c;
    if (model_can_write(output) < 0)
        return -1;
    r = source_open(&s, argv, 1);
    if (r == 0)
        r = source_model(&s, ema);
    if (r == 0)
        r = model_take(&m, &s);
    sum = xcalloc((size_t)m.n + 1, sizeof *sum);
    for (i = 0; i < m.n && r == 0; i++) {
        r = check_dtype(&m.item[i], argv[0]);
        if (r == 0)
            add(&sum[i], &m.item[i].t, m.item[i].t.data);
    }
    for (i = 1; i < argc && r == 0; i++)
        r = add_model(&m, argv[i], sum);
    if (r == 0) {
        divide(&m, sum, argc);
        model_origin(&m, &s);
        r = model_write(&m, output);
    }
    for (i = 0; i < m.n; i++) {
        free(sum[i].v);
        free(sum[i].top);
    }
    free(sum);
    model_release(&m);
    source_close(&s);
    return r;
}
