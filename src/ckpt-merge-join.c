/* ckpt-merge: one file of a checkpoint; strip, the same without --all. */
#include "ckpt-merge.h"

static char *output;
static bool all, ema;

struct opt ckpt_merge_join_opts[] = {
    MODEL_OUTPUT(output),
    {.name = "all",
     .letter = 'a',
     .type = OPT_FLAG,
     .addr = &all,
     .help = "keep what belongs to the training, too: momentum, average"},
    MODEL_EMA(ema),
    OPT_END,
};

struct opt ckpt_merge_strip_opts[] = {
    MODEL_OUTPUT(output),
    MODEL_EMA(ema),
    OPT_END,
};

int ckpt_merge_join(const struct command *c, int argc, char **argv)
{
    struct model m = {0};
    struct source s = {0};
    int r = -1;

    (void)c;
    if (model_can_write(output) < 0)
        return -1;
    if (all && ema)
        return err_set(ERR_USAGE, "--all and --ema: one of them");
    if (source_open(&s, argv, argc) < 0 ||
        (!all && source_model(&s, ema) < 0) || model_take(&m, &s) < 0)
        goto out;
    model_origin(&m, &s);
    r = model_write(&m, output);
out:
    model_release(&m);
    source_close(&s);
    return r;
}
