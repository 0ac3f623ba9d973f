/*
 * Lists that people write, divided by 0 bytes: of classes, of labels, of what
 * numbers in them stand for. With a folder of five images they give each a
 * class, or one sentence that says why not.
 */
#include "io/source.h"
#include "util/fdio.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LISTS 3

/* A tar of five empty images. */
static int images(void)
{
    static const char *const name[] = {"a/x_1.jpg", "a/x_2.jpg", "b/x_1.jpg",
                                       "b/y.png", "1/2.jpg"};
    unsigned char block[512] = {0};
    int fd = memfd_create("tar", 0);

    for (size_t i = 0; i < sizeof(name) / sizeof(*name); i++) {
        unsigned sum = 8 * ' ';

        memset(block, 0, sizeof(block));
        memcpy(block, name[i], strlen(name[i]));
        memcpy(block + 124, "00000000000", 11);
        for (size_t k = 0; k < sizeof(block); k++)
            sum += block[k];
        snprintf((char *)block + 148, 8, "%06o", sum);
        if (fd_write(fd, block, sizeof(block), FD_FOREVER) < 0)
            BUG("no memory file");
    }
    memset(block, 0, sizeof(block));
    if (fd_write(fd, block, sizeof(block), FD_FOREVER) < 0 ||
        fd_write(fd, block, sizeof(block), FD_FOREVER) < 0)
        BUG("no memory file");
    return fd;
}

static void refused(void)
{
    if ((err_code() != ERR_DATA && err_code() != ERR_NOINPUT) || !*err_text())
        BUG("refused without a reason: class %d", (int)err_code());
}

static void look(const struct source *src, const struct shard_set *s)
{
    for (size_t i = 0; i < src->n; i++)
        if (src->file[i].label < 0 ||
            src->file[i].label >=
                (s->n_classes ? (int32_t)s->n_classes : src->numbers))
            BUG("label %d", (int)src->file[i].label);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int tar = -1;
    char path[LISTS + 1][64], *paths[] = {path[LISTS]};
    struct source_how how = {.split = "train"};
    struct source src = {0};
    struct shard_set s = {0};
    int fd[LISTS], i;
    bool there[LISTS] = {false};

    if (tar < 0)
        tar = images();
    snprintf(path[LISTS], sizeof(path[LISTS]), "/proc/self/fd/%d", tar);
    for (i = 0; i < LISTS; i++) {
        const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
        size_t n = zero ? (size_t)(zero - data) : size;

        fd[i] = memfd_create("list", 0);
        snprintf(path[i], sizeof(path[i]), "/proc/self/fd/%d", fd[i]);
        if (fd[i] < 0 || fd_write(fd[i], data, n, FD_FOREVER) < 0)
            BUG("no memory file");
        there[i] = n > 0;
        data += n + (zero != NULL);
        size -= n + (zero != NULL);
    }
    how.labels = there[1] ? path[1] : NULL;
    how.synsets = there[1] && there[2] ? path[2] : NULL;
    err_clear();
    if ((there[0] && shard_set_classes(&s, path[0]) < 0) ||
        source_open(&src, &s, paths, 1, &how) < 0)
        refused();
    else
        look(&src, &s);
    source_release(&src);
    shard_set_release(&s);
    for (i = 0; i < LISTS; i++)
        close(fd[i]);
    return 0;
}
