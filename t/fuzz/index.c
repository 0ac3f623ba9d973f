/*
 * A manifest, a 0 byte, an index: refused with a sentence of class ERR_DATA, or
 * a set in which every row is what io/shard.h promises.
 */
#include "io/shard.h"
#include "util/fdio.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void refused(void)
{
    if (err_code() != ERR_DATA || !*err_text())
        BUG("refused without a reason: class %d", (int)err_code());
}

static void check_set(const struct shard_set *s)
{
    uint32_t sum = 0;
    size_t len;

    for (uint32_t i = 0; i < s->n; i++) {
        const char *key = shard_key(s, i, &len);
        const struct shard *sh = &s->shard[s->shard_of[i]];

        for (size_t k = 0; k < len; k++)
            sum += (unsigned char)key[k];
        if (s->shard_of[i] >= s->n_shards || s->offset[i] % 512 ||
            s->offset[i] + s->size[i] > sh->bytes || !len ||
            s->label[i] >= (int32_t)s->n_classes)
            BUG("sample %lu (%lu)", (unsigned long)i, (unsigned long)sum);
        if (shard_is_detection(s) &&
            (s->annot_offset[i] % 512 || !s->annot_size[i] || !s->width[i] ||
             s->annot_offset[i] + s->annot_size[i] > sh->bytes))
            BUG("annotation of sample %lu", (unsigned long)i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t n = zero ? (size_t)(zero - data) : size;
    struct shard_set s = {0};
    char path[64];
    int fd;

    err_clear();
    if (shard_manifest_parse(&s, (const char *)data, n, "d/x.json") < 0) {
        refused();
        return 0;
    }
    if (zero) {
        fd = memfd_create("index", 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (fd < 0 || fd_write(fd, zero + 1, size - n - 1, FD_FOREVER) < 0)
            BUG("no memory file");
        if (shard_index_read(&s, path) < 0)
            refused();
        else
            check_set(&s);
        close(fd);
    }
    shard_set_release(&s);
    return 0;
}
