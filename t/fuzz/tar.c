/*
 * Any bytes as a tar, from a file and grouped into samples: members that lie
 * inside the archive, keys and extensions that make up their paths, or one
 * sentence of class ERR_DATA.
 */
#include "io/tar.h"
#include "util/fdio.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_sample(const struct tar_sample *s, const uint8_t *data,
                         size_t size)
{
    size_t len = strlen(s->key);

    for (int i = 0; i < s->n; i++) {
        const struct tar_part *p = &s->part[i];

        if (strncmp(p->path, s->key, len) || p->path[len] != '.' ||
            p->ext != p->path + len + 1)
            BUG("key \"%s\" of \"%s\"", s->key, p->path);
        if (p->offset % TAR_BLOCK || p->offset > size ||
            p->data.len > size - p->offset)
            BUG("\"%s\" lies outside", p->path);
        if (p->data.len && memcmp(p->data.data, data + p->offset, p->data.len))
            BUG("\"%s\" has other bytes", p->path);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tar_samples t;
    struct tar_sample s = {0};
    int fd = memfd_create("tar", 0), r;

    if (fd < 0 || fd_write(fd, data, size, FD_FOREVER) < 0 ||
        lseek(fd, 0, SEEK_SET) < 0)
        BUG("no memory file");
    err_clear();
    tar_samples_init(&t, fd, "x");
    t.tar.globals = size & 1;
    while ((r = tar_sample_next(&t, &s)) > 0)
        if (r == 1)
            check_sample(&s, data, size);
    if (r < 0 && (err_code() != ERR_DATA || !*err_text()))
        BUG("refused without a reason: class %d", (int)err_code());
    tar_sample_release(&s);
    tar_samples_release(&t);
    close(fd);
    return 0;
}
