/*
 * Any bytes as a tar of images, plain or compressed: a list in which every file
 * has a key, a class and a place inside the archive, each of which can be read,
 * or one sentence that says why not. The first byte chooses the split.
 */
#include "io/source.h"
#include "util/fdio.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void refused(void)
{
    if ((err_code() != ERR_DATA && err_code() != ERR_NOINPUT) || !*err_text())
        BUG("refused without a reason: class %d", (int)err_code());
    err_clear();
}

static void check_file(struct source *src, const struct shard_set *s, size_t i,
                       const uint8_t *data, size_t size)
{
    static struct buf image, json, key, last;
    const struct source_file *f = &src->file[i];
    const struct source_place *at = &src->place[f->place - 1];
    int32_t classes = s->n_classes ? (int32_t)s->n_classes : src->numbers;

    buf_reset(&last);
    buf_add(&last, key.data, key.len);
    buf_reset(&key);
    source_key(src, i, &key);
    for (const char *p = key.data; *p || p == key.data; p++)
        if (!strchr("_/+-", *p ? *p : ' ') &&
            !((*p | 32) >= 'a' && (*p | 32) <= 'z') &&
            !(*p >= '0' && *p <= '9'))
            BUG("key \"%s\"", key.data);
    if (f->label < -1 || f->label >= classes)
        BUG("label %d of %d", (int)f->label, (int)classes);
    if (i &&
        (src->sequential || src->spelled ? !strcmp(last.data, key.data)
                                         : strcmp(last.data, key.data) >= 0))
        BUG("\"%s\" behind \"%s\"", key.data, last.data);
    buf_reset(&image);
    buf_reset(&json);
    if (source_read(src, i, &image, &json) < 0) {
        refused();
        return;
    }
    if (image.len != at->size || json.len != at->json_size)
        BUG("%zu bytes", image.len);
    if (!src->sequential &&
        (at->offset > size || image.len > size - at->offset ||
         memcmp(image.data, data + at->offset, image.len) != 0))
        BUG("other bytes than those of the archive");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source_how how = {.split = "train"};
    struct source src = {0};
    struct shard_set s = {0};
    char path[64], *paths[] = {path};
    int fd = memfd_create("tar", 0);

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (fd < 0 || fd_write(fd, data, size, FD_FOREVER) < 0)
        BUG("no memory file");
    if (size && *data & 1)
        how.split = "val";
    err_clear();
    if (source_open(&src, &s, paths, 1, &how) < 0)
        refused();
    else
        for (size_t i = 0; i < src.n; i++)
            check_file(&src, &s, i, data, size);
    source_release(&src);
    shard_set_release(&s);
    close(fd);
    return 0;
}
