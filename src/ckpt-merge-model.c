/* What the commands of ckpt-merge write: a model and where it comes from. */
#include "ckpt-merge.h"

#include "io/digest.h"
#include "util/fault.h"
#include "util/fdio.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int model_take(struct model *m, struct source *s)
{
    struct frame_item *it;
    int i;

    memset(m, 0, sizeof *m);
    if (source_verify(s) < 0)
        return -1;
    m->item = xcalloc((size_t)s->n + 1, sizeof *m->item);
    for (i = 0; i < s->n; i++) {
        it = &m->item[m->n++];
        it->name = s->tensor[i].name;
        it->t = s->tensor[i].t;
        it->t.data = xmalloc(tensor_bytes(&it->t) + 1);
        if (source_read(s, i, it->t.data) < 0)
            return -1;
    }
    frame_sort(m->item, m->n);
    return 0;
}

void model_meta(struct model *m, const char *key, const char *value)
{
    if (value && *value)
        m->meta[m->n_meta++] = (struct frame_pair){key, value};
}

void model_origin(struct model *m, const struct source *s)
{
    const struct ckpt_state *st = &s->ckpt.state;

    if (s->n_foreign)
        return;
    if (!s->is_ckpt) {
        const struct frame *f = &s->file[0].f;

        model_meta(m, "model", frame_meta(f, "model"));
        model_meta(m, "classes", frame_meta(f, "classes"));
        model_meta(m, "accel.step", frame_meta(f, "accel.step"));
        model_meta(m, "accel.samples", frame_meta(f, "accel.samples"));
        model_meta(m, "accel.recipe", frame_meta(f, "accel.recipe"));
        return;
    }
    snprintf(m->classes, sizeof m->classes, "%" PRId64, st->classes);
    snprintf(m->step, sizeof m->step, "%" PRId64, st->step);
    snprintf(m->samples, sizeof m->samples, "%" PRId64, st->samples);
    model_meta(m, "model", st->model);
    model_meta(m, "classes", m->classes);
    model_meta(m, "accel.step", m->step);
    model_meta(m, "accel.samples", m->samples);
    model_meta(m, "accel.recipe", st->recipe);
}

static void add_digest(struct model *m)
{
    struct digest *d = digest_new();
    int i;

    for (i = 0; i < m->n; i++)
        digest_add(d, m->item[i].t.data, tensor_bytes(&m->item[i].t));
    digest_hex(d, m->sha);
    digest_free(d);
    model_meta(m, "format", "pt");
    model_meta(m, "accel.sha256", m->sha);
}

static bool to_stdout(const char *output)
{
    return !output || strcmp(output, "-") == 0;
}

int model_can_write(const char *output)
{
    if (to_stdout(output) && isatty(STDOUT_FILENO))
        return err_set(ERR_USAGE, "standard output is a terminal: name a file "
                                  "with -o");
    return 0;
}

static int write_stdout(const struct model *m)
{
    struct iovec *v = xcalloc((size_t)m->n + 2, sizeof *v);
    struct buf head = BUF_INIT;
    uint64_t n;
    int i, r = -1;

    if (frame_header(&head, m->meta, m->n_meta, m->item, m->n, 4096) < 0)
        goto out;
    n = head.len;
    v[0] = (struct iovec){&n, sizeof n};
    v[1] = (struct iovec){head.data, head.len};
    for (i = 0; i < m->n; i++)
        v[i + 2] =
            (struct iovec){m->item[i].t.data, tensor_bytes(&m->item[i].t)};
    r = fd_writev(STDOUT_FILENO, v, m->n + 2, FD_FOREVER);
out:
    if (r < 0)
        err_wrap("standard output");
    buf_release(&head);
    free(v);
    return r;
}

int model_write(struct model *m, const char *output)
{
    int r;

    add_digest(m);
    fault_point("merge");
    if (to_stdout(output))
        r = write_stdout(m);
    else
        r = frame_file_write(output, m->meta, m->n_meta, m->item, m->n);
    if (r == 0)
        note("%s: %d tensors", to_stdout(output) ? "standard output" : output,
             m->n);
    return r;
}

void model_release(struct model *m)
{
    int i;

    for (i = 0; i < m->n; i++)
        free(m->item[i].t.data);
    free(m->item);
    memset(m, 0, sizeof *m);
}
