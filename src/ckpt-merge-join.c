/* ckpt-merge: one file of a checkpoint. */
#include "ckpt-merge.h"

static char *output;
static bool all;

struct opt ckpt_merge_join_opts[] = {
    MODEL_OUTPUT(output),
    {.name = "all",
     .letter = 'a',
     .type = OPT_FLAG,
     .addr = &all,
     .help = "keep the momentum, too"},
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
    if (source_open(&s, argv, argc) < 0 || model_take(&m, &s, all) < 0)
        goto out;
    model_origin(&m, &s);
    r = model_write(&m, output);
out:
    model_release(&m);
    source_close(&s);
    return r;
}
