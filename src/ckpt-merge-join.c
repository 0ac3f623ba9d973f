/* ckpt-merge: one file of a checkpoint. */
#include "ckpt-merge.h"

#include "io/digest.h"
#include "util/fdio.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *output;
static bool all;

struct opt ckpt_merge_join_opts[] = {
    {.name = "output",
     .letter = 'o',
     .type = OPT_STRING,
     .addr = &output,
     .arg = "FILE",
     .help = "write FILE, whole or not at all, instead of standard output"},
    {.name = "all",
     .letter = 'a',
     .type = OPT_FLAG,
     .addr = &all,
     .help = "keep the momentum, too"},
    OPT_END,
};

/* The tensors to write, with their data, and what the file says of itself. */
struct joined {
    int n, n_meta;
    struct frame_item *item;
    struct frame_pair meta[8];
    char classes[24], step[24], samples[24], sha[65];
};

static int fetch(struct joined *j, struct source *s)
{
    struct frame_item *it;
    int i;

    j->item = xcalloc((size_t)s->n + 1, sizeof *j->item);
    for (i = 0; i < s->n; i++) {
        if (!all && is_momentum(s->tensor[i].name))
            continue;
        it = &j->item[j->n++];
        it->name = s->tensor[i].name;
        it->t = s->tensor[i].t;
        it->t.data = xmalloc(tensor_bytes(&it->t) + 1);
        if (source_read(s, i, it->t.data) < 0)
            return -1;
    }
    frame_sort(j->item, j->n);
    return 0;
}

static void add_meta(struct joined *j, const char *key, const char *value)
{
    if (value && *value)
        j->meta[j->n_meta++] = (struct frame_pair){key, value};
}

static void describe(struct joined *j, const struct source *s)
{
    const struct ckpt_state *st = &s->ckpt.state;
    struct digest *d = digest_new();
    int i;

    for (i = 0; i < j->n; i++)
        digest_add(d, j->item[i].t.data, tensor_bytes(&j->item[i].t));
    digest_hex(d, j->sha);
    digest_free(d);
    add_meta(j, "format", "pt");
    add_meta(j, "accel.sha256", j->sha);
    if (!s->is_ckpt) {
        add_meta(j, "model", frame_meta(&s->file[0].f, "model"));
        add_meta(j, "classes", frame_meta(&s->file[0].f, "classes"));
        add_meta(j, "accel.step", frame_meta(&s->file[0].f, "accel.step"));
        add_meta(j, "accel.samples",
                 frame_meta(&s->file[0].f, "accel.samples"));
        add_meta(j, "accel.recipe", frame_meta(&s->file[0].f, "accel.recipe"));
        return;
    }
    snprintf(j->classes, sizeof j->classes, "%" PRId64, st->classes);
    snprintf(j->step, sizeof j->step, "%" PRId64, st->step);
    snprintf(j->samples, sizeof j->samples, "%" PRId64, st->samples);
    add_meta(j, "model", st->model);
    add_meta(j, "classes", j->classes);
    add_meta(j, "accel.step", j->step);
    add_meta(j, "accel.samples", j->samples);
    add_meta(j, "accel.recipe", st->recipe);
}

static int write_stdout(const struct joined *j)
{
    struct iovec *v = xcalloc((size_t)j->n + 2, sizeof *v);
    struct buf head = BUF_INIT;
    uint64_t n;
    int i, r = -1;

    if (frame_header(&head, j->meta, j->n_meta, j->item, j->n, 4096) < 0)
        goto out;
    n = head.len;
    v[0] = (struct iovec){&n, sizeof n};
    v[1] = (struct iovec){head.data, head.len};
    for (i = 0; i < j->n; i++)
        v[i + 2] =
            (struct iovec){j->item[i].t.data, tensor_bytes(&j->item[i].t)};
    r = fd_writev(STDOUT_FILENO, v, j->n + 2, FD_FOREVER);
out:
    if (r < 0)
        err_wrap("standard output");
    buf_release(&head);
    free(v);
    return r;
}

int ckpt_merge_join(const struct command *c, int argc, char **argv)
{
    bool to_stdout = !output || strcmp(output, "-") == 0;
    struct joined j = {0};
    struct source s = {0};
    int i, r = -1;

    (void)c;
    if (to_stdout && isatty(STDOUT_FILENO))
        return err_set(ERR_USAGE, "standard output is a terminal: name a file "
                                  "with -o");
    if (source_open(&s, argv, argc) < 0 || fetch(&j, &s) < 0)
        goto out;
    describe(&j, &s);
    if (to_stdout)
        r = write_stdout(&j);
    else
        r = frame_file_write(output, j.meta, j.n_meta, j.item, j.n);
    if (r == 0)
        note("%s: %d tensors", to_stdout ? "standard output" : output, j.n);
out:
    for (i = 0; i < j.n; i++)
        free(j.item[i].t.data);
    free(j.item);
    source_close(&s);
    return r;
}
