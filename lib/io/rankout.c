#include "io/rankout.h"

#include "util/fdio.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096

void rankout_label(struct rankout *o, const char *label)
{
    memset(o, 0, sizeof(*o));
    snprintf(o->label, sizeof(o->label), "%s", label);
    o->log = -1;
}

int rankout_init(struct rankout *o, int rank, const char *dir)
{
    char *path, label[24];

    snprintf(label, sizeof(label), "[%d] ", rank);
    rankout_label(o, label);
    if (!dir)
        return 0;
    path = xstrfmt("%s/rank-%d.log", dir, rank);
    o->log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (o->log < 0)
        err_sys(ERR_CANTCREAT, "%s", path);
    o->path = path;
    return o->log < 0 ? -1 : 0;
}

void rankout_release(struct rankout *o)
{
    if (o->log >= 0)
        close(o->log);
    free(o->path);
    buf_release(&o->part[0]);
    buf_release(&o->part[1]);
    buf_release(&o->line);
    for (int i = 0; i < RANKOUT_LAST; i++)
        free(o->last[i]);
    memset(o, 0, sizeof(*o));
    o->log = -1;
}

static void emit(struct rankout *o, struct buf *part)
{
    char **slot = &o->last[o->n_lines++ % RANKOUT_LAST];

    free(*slot);
    *slot = xstrdup(part->len ? part->data : "");
    buf_reset(&o->line);
    buf_addstr(&o->line, o->label);
    buf_add(&o->line, part->data, part->len);
    buf_addch(&o->line, '\n');
    /* Nothing better can be done when stderr is full. */
    (void)!fd_write(STDERR_FILENO, o->line.data, o->line.len, FD_FOREVER);
    if (o->log >= 0) {
        buf_addch(part, '\n');
        if (fd_write(o->log, part->data, part->len, FD_FOREVER) < 0) {
            warn("%s: %s: the log ends here", o->path, err_text());
            close(o->log);
            o->log = -1;
        }
    }
    buf_reset(part);
}

void rankout_add(struct rankout *o, int stream, const char *p, size_t n)
{
    struct buf *part = &o->part[stream];

    if (n == 0 && part->len)
        emit(o, part);
    for (size_t i = 0; i < n; i++) {
        /* "\r\n" and "\r" before nothing end one line. */
        if (p[i] == '\r' && part->len == 0)
            continue;
        if (p[i] == '\n' || p[i] == '\r') {
            emit(o, part);
            if (p[i] == '\r' && i + 1 < n && p[i + 1] == '\n')
                i++;
            continue;
        }
        buf_addch(part, p[i]);
        if (part->len >= LINE_MAX_BYTES)
            emit(o, part);
    }
}

void rankout_last(const struct rankout *o, struct buf *b)
{
    unsigned first = o->n_lines > RANKOUT_LAST ? o->n_lines - RANKOUT_LAST : 0;

    for (unsigned i = first; i < o->n_lines; i++)
        buf_addf(b, "%s%s\n", o->label, o->last[i % RANKOUT_LAST]);
}
