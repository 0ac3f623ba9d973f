#include "train/samplelog.h"

#include "util/buf.h"
#include "util/fdio.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

int samplelog_open(const char *dir, int rank)
{
    char *path = xstrfmt("%s/samples-%d.tsv", dir, rank);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

    if (fd < 0)
        err_sys(ERR_CANTCREAT, "%s: open", path);
    free(path);
    return fd;
}

int samplelog_add(int fd, int64_t step, const struct input_batch *b)
{
    struct buf lines = BUF_INIT;
    int64_t i;
    int r;

    for (i = 0; i < b->n; i++)
        buf_addf(&lines, "%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\n",
                 step, b->epoch, b->pos + i, b->index[i]);
    r = fd_write(fd, lines.data, lines.len, FD_FOREVER);
    buf_release(&lines);
    return r < 0 ? err_wrap("sample log") : 0;
}
