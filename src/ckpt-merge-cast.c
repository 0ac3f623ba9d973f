/*
 * ckpt-merge cast: a model in another precision, for exchange. Numbers are
 * rounded to nearest even; whole numbers stay what they are.
 */
#include "ckpt-merge.h"

#include <math.h>
#include <stdlib.h>

static char *output;
static int to;
static bool ema;

struct opt ckpt_merge_cast_opts[] = {
    MODEL_OUTPUT(output),
    MODEL_EMA(ema),
    {.name = "to",
     .type = OPT_CHOICE,
     .addr = &to,
     .arg = "TYPE",
     .choices = "bf16|fp16|fp32|fp64",
     .def = "bf16",
     .help = "the precision"},
    OPT_END,
};

/* The choices in their order. */
static const enum dtype types[] = {DT_BF16, DT_F16, DT_F32, DT_F64};

static bool is_number(enum dtype t)
{
    return t == DT_F64 || t == DT_F32 || t == DT_F16 || t == DT_BF16;
}

static int cast(struct frame_item *it, enum dtype want)
{
    struct tensor new = it->t;
    int64_t n = tensor_count(&it->t), i;
    double v;

    if (!is_number(it->t.dtype) || it->t.dtype == want)
        return 0;
    new.dtype = want;
    new.data = xmalloc(tensor_bytes(&new) + 1);
    for (i = 0; i < n; i++) {
        v = dtype_load(it->t.dtype, it->t.data, (size_t)i);
        dtype_store(want, new.data, (size_t)i, v);
        if (isfinite(v) && !isfinite(dtype_load(want, new.data, (size_t)i))) {
            free(new.data);
            return err_set(ERR_DATA, "%s: element %lld: %g is too large for %s",
                           it->name, (long long)i, v, dtype_name(want));
        }
    }
    free(it->t.data);
    it->t = new;
    return 0;
}

int ckpt_merge_cast(const struct command *c, int argc, char **argv)
{
    struct model m = {0};
    struct source s = {0};
    int i, r;

    (void)c;
    if (model_can_write(output) < 0)
        return -1;
    r = source_open(&s, argv, argc);
    if (r == 0)
        r = source_model(&s, ema);
    if (r == 0)
        r = model_take(&m, &s);
    for (i = 0; i < m.n && r == 0; i++)
        if (cast(&m.item[i], types[to]) < 0)
            r = err_wrap("%s", argv[0]);
    if (r == 0) {
        model_origin(&m, &s);
        r = model_write(&m, output);
    }
    model_release(&m);
    source_close(&s);
    return r;
}
