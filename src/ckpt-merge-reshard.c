/*
 * ckpt-merge reshard: a checkpoint in another number of files, as if so many
 * ranks had written it. Nothing else changes: any number of ranks goes on from
 * either.
 */
#include "ckpt-merge.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

static char *output;
static int64_t ranks;

struct opt ckpt_merge_reshard_opts[] = {
    {.name = "output",
     .letter = 'o',
     .type = OPT_STRING,
     .addr = &output,
     .arg = "RUNDIR",
     .help = "write RUNDIR/ckpt/step-N, whole or not at all (required)"},
    {.name = "ranks",
     .letter = 'n',
     .type = OPT_INT,
     .addr = &ranks,
     .def = "1",
     .min = 1,
     .max = 65536,
     .arg = "N",
     .help = "number of files"},
    OPT_END,
};

/* What is there is never changed. */
static int check_free(const char *dir, int64_t step)
{
    char name[32], *path;
    struct stat st;
    bool there;

    ckpt_name(name, sizeof name, step);
    path = xstrfmt("%s/%s", dir, name);
    there = stat(path, &st) == 0;
    if (there)
        err_set(ERR_CANTCREAT, "%s: is there already", path);
    free(path);
    return there ? -1 : 0;
}

/* Items in the order of the checkpoint, which state.json keeps. */
static int write_step(const char *dir, const struct ckpt_state *from,
                      const struct frame_item *item, int n)
{
    struct ckpt_state s = *from;
    int i;

    s.world = ranks;
    if (check_free(dir, s.step) < 0 || ckpt_write_begin(dir, s.step) < 0)
        return -1;
    for (i = 0; i < ranks; i++)
        if (ckpt_write_share(dir, s.step, i, (int)ranks, item, n) < 0)
            return -1;
    return ckpt_commit(dir, &s, item, n);
}

static int reshard(struct source *s)
{
    struct frame_item *item = xcalloc((size_t)s->n + 1, sizeof *item);
    char *dir = xstrfmt("%s/ckpt", output);
    int i, r = 0;

    for (i = 0; i < s->n && r == 0; i++) {
        item[i] = (struct frame_item){s->tensor[i].name, s->tensor[i].t};
        item[i].t.data = xmalloc(tensor_bytes(&item[i].t) + 1);
        r = source_read(s, i, item[i].t.data);
    }
    if (r == 0)
        r = write_step(dir, &s->ckpt.state, item, s->n);
    if (r == 0)
        note("%s: step %" PRId64 " in %" PRId64 " files", dir,
             s->ckpt.state.step, ranks);
    for (i = 0; i < s->n; i++)
        free(item[i].t.data);
    free(item);
    free(dir);
    return r;
}

int ckpt_merge_reshard(const struct command *c, int argc, char **argv)
{
    struct source s = {0};
    int r;

    (void)c;
    if (!output)
        return err_set(ERR_USAGE, "--output: not given: which directory?");
    r = source_open(&s, argv, argc);
    if (r == 0 && !s.is_ckpt)
        r = err_set(ERR_USAGE,
                    "%s: not a checkpoint: there is nothing to "
                    "share out again",
                    argv[0]);
    if (r == 0)
        r = source_verify(&s);
    if (r == 0)
        r = reshard(&s);
    source_close(&s);
    return r;
}
