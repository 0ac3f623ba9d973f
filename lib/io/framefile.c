/* Files of exactly one frame. */
#include "io/frame.h"

#include "util/fault.h"
#include "util/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_ALIGN 4096
#define FILE_HEADER_MAX 100000000

/* Open a regular file and find its size. */
static int open_file(struct frame_file *ff, uint64_t *size)
{
    struct stat st;

    /* nobody waits for the writer of a pipe, which is refused */
    ff->fd = open(ff->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (ff->fd < 0)
        return err_sys(ERR_NOINPUT, "open");
    if (fstat(ff->fd, &st) < 0)
        return err_sys(ERR_IO, "stat");
    if (!S_ISREG(st.st_mode))
        return err_set(ERR_DATA, "not a regular file");
    *size = (uint64_t)st.st_size;
    return 0;
}

static int read_file_header(struct frame_file *ff, uint64_t size)
{
    uint64_t n, data;
    char *text;
    int r;

    if (size < 8)
        return err_set(ERR_DATA, "%" PRIu64 " bytes: too small for a header",
                       size);
    if (fd_pread(ff->fd, &n, sizeof(n), 0) < 0)
        return -1;
    if (n < 2 || n > FILE_HEADER_MAX)
        return err_set(ERR_DATA,
                       "not a safetensors file: header of %" PRIu64
                       " bytes, 2 to %d are allowed",
                       n, FILE_HEADER_MAX);
    if (n > size - 8)
        return err_set(ERR_DATA,
                       "cut off, or not a safetensors file: header of %" PRIu64
                       " bytes in a file of %" PRIu64,
                       n, size);
    text = xmalloc((size_t)n);
    r = fd_pread(ff->fd, text, (size_t)n, 8);
    if (r == 0)
        r = frame_parse(&ff->f, text, (size_t)n, FRAME_FILE);
    free(text);
    if (r < 0)
        return -1;
    data = size - ff->f.header_bytes;
    if (data != ff->f.data_bytes)
        return err_set(
            ERR_DATA, "%s: expected %" PRIu64 " bytes of data, got %" PRIu64,
            data < ff->f.data_bytes ? "truncated" : "bytes after the data",
            ff->f.data_bytes, data);
    return 0;
}

int frame_file_open(struct frame_file *ff, const char *path)
{
    uint64_t size = 0;

    memset(ff, 0, sizeof(*ff));
    ff->fd = -1;
    ff->path = xstrdup(path);
    if (open_file(ff, &size) < 0 || read_file_header(ff, size) < 0) {
        err_wrap("%s", path);
        frame_file_close(ff);
        return -1;
    }
    return 0;
}

int frame_file_data(struct frame_file *ff, int i, void *dst)
{
    const struct frame_tensor *t = &ff->f.tensor[i];

    if (fd_pread(ff->fd, dst, (size_t)(t->end - t->begin),
                 ff->f.header_bytes + t->begin) < 0)
        return err_wrap("%s: tensor \"%.80s\"", ff->path, t->name);
    return 0;
}

int frame_file_map(struct frame_file *ff, void **map, size_t *size)
{
    *size = (size_t)(ff->f.header_bytes + ff->f.data_bytes);
    *map = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE, ff->fd, 0);
    if (*map != MAP_FAILED)
        return 0;
    *map = NULL;
    return err_sys(ERR_IO, "%s: map", ff->path);
}

void frame_file_close(struct frame_file *ff)
{
    if (ff->fd >= 0)
        close(ff->fd);
    free(ff->path);
    frame_release(&ff->f);
    ff->fd = -1;
    ff->path = NULL;
}

int frame_file_write(const char *path, const struct frame_pair *meta,
                     int n_meta, struct frame_item *items, int n_items)
{
    struct atomic_file out = ATOMIC_INIT;
    struct buf head = BUF_INIT;
    struct iovec *v = NULL;
    uint64_t n;
    int i, r = -1;

    frame_sort(items, n_items);
    if (frame_header(&head, meta, n_meta, items, n_items, FILE_ALIGN) < 0) {
        err_wrap("%s", path);
        goto out;
    }
    n = head.len;
    v = xreallocarray(NULL, (size_t)n_items + 2, sizeof(*v));
    v[0] = (struct iovec){&n, sizeof(n)};
    v[1] = (struct iovec){head.data, head.len};
    for (i = 0; i < n_items; i++)
        v[i + 2] = (struct iovec){items[i].t.data, tensor_bytes(&items[i].t)};
    if (atomic_open(&out, path) < 0)
        goto out;
    if (fd_writev(out.fd, v, 2, FD_FOREVER) < 0) {
        err_wrap("%s", path);
        goto out;
    }
    fault_point("file.half");
    if (fd_writev(out.fd, v + 2, n_items, FD_FOREVER) < 0) {
        err_wrap("%s", path);
        goto out;
    }
    fault_point("file.rename");
    r = atomic_commit(&out);
out:
    atomic_abort(&out);
    free(v);
    buf_release(&head);
    return r;
}
