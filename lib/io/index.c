/* The native index: one safetensors file, one row per sample. */
#include "io/annot.h"
#include "io/frame.h"
#include "io/shard_private.h"
#include "io/tar.h"

#include <stdlib.h>
#include <string.h>

/* ---- reading */

/* A tensor of one dimension with n elements, where s->map has it; or NULL. */
static void *column(const struct frame_file *ff, const struct shard_set *s,
                    const char *name, enum dtype t, uint64_t n)
{
    uint64_t at;
    int i;

    if (frame_want(&ff->f, name, t, 1, &i) < 0)
        return NULL;
    if (ff->f.tensor[i].t.shape[0] != (int64_t)n) {
        err_set(ERR_DATA, "tensor \"%s\": %lld rows, want %llu", name,
                (long long)ff->f.tensor[i].t.shape[0], (unsigned long long)n);
        return NULL;
    }
    at = ff->f.header_bytes + ff->f.tensor[i].begin;
    if (at % dtype_size(t)) {
        err_set(ERR_DATA, "tensor \"%s\": not aligned", name);
        return NULL;
    }
    return (char *)s->map + at;
}

static int meta_is(const struct frame *f, const char *key, const char *want)
{
    const char *v = frame_meta(f, key);

    if (!v || strcmp(v, want))
        return err_set(ERR_DATA, "%s is \"%.80s\", the manifest says \"%s\"",
                       key, v ? v : "", want);
    return 0;
}

static int check_meta(const struct shard_set *s, const struct frame *f)
{
    int64_t n;

    if (meta_is(f, "format", "imgshard-index") < 0 ||
        meta_is(f, "version", "1") < 0 || meta_is(f, "split", s->split) < 0 ||
        meta_is(f, "dataset", s->dataset) < 0 ||
        frame_meta_int(f, "samples", &n) < 0)
        return -1;
    if (n != s->n)
        return err_set(ERR_DATA, "samples is %lld, the manifest says %lu",
                       (long long)n, (unsigned long)s->n);
    return 0;
}

static int bad_row(uint32_t i, const char *why)
{
    return err_set(ERR_DATA, "sample %lu: %s", (unsigned long)i, why);
}

static bool lies_in(uint64_t offset, uint64_t size, uint64_t room)
{
    return offset % TAR_BLOCK == 0 && offset <= room && size <= room - offset;
}

/* What a split for detection has beside that. */
static int check_annot(const struct shard_set *s, uint32_t i, uint64_t room)
{
    if (!lies_in(s->annot_offset[i], s->annot_size[i], room))
        return bad_row(i, "annotation outside its shard");
    if (s->annot_size[i] == 0 || s->annot_size[i] > ANNOT_TEXT_MAX)
        return bad_row(i, "size of the annotation out of range");
    if (!s->width[i] || !s->height[i])
        return bad_row(i, "no width or no height");
    return 0;
}

/* Everything that later users rely on. */
static int check_rows(const struct shard_set *s, uint64_t keys)
{
    uint64_t key = 0, room;
    uint32_t sh = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        while (sh < s->n_shards && i >= s->shard_first[sh + 1])
            sh++;
        if (s->shard_of[i] != sh || sh >= s->n_shards)
            return bad_row(i, "in another shard than shard_first says");
        room = s->shard[sh].bytes;
        if (!lies_in(s->offset[i], s->size[i], room))
            return bad_row(i, "offset or size outside its shard");
        if (s->size[i] == 0 || s->size[i] > SHARD_MEMBER_MAX)
            return bad_row(i, "size out of range");
        if (s->key_end[i] <= key || s->key_end[i] > keys ||
            s->key_end[i] - key > SHARD_KEY_MAX)
            return bad_row(i, "key_end out of order");
        if (s->label[i] < -1 ||
            (s->label[i] >= 0 && (uint32_t)s->label[i] >= s->n_classes))
            return bad_row(i, "label out of range");
        for (; key < s->key_end[i]; key++)
            if ((unsigned char)s->keys[key] < ' ' || s->keys[key] == 0x7f)
                return bad_row(i, "control character in the key");
        if (s->annot_offset && check_annot(s, i, room) < 0)
            return -1;
    }
    return key == keys ? 0 : err_set(ERR_DATA, "keys are longer than key_end");
}

/* shard_first must be what the manifest says. */
static int check_shards(const struct frame_file *ff, const struct shard_set *s)
{
    size_t n = (size_t)s->n_shards + 1;
    const uint64_t *first = column(ff, s, "shard_first", DT_U64, n);

    if (!first)
        return -1;
    if (memcmp(first, s->shard_first, n * sizeof(*first)) != 0)
        return err_set(ERR_DATA, "shard_first differs from the manifest");
    return 0;
}

static int read_columns(const struct frame_file *ff, struct shard_set *s)
{
    uint64_t n = s->n, keys;
    int i;

    if (check_meta(s, &ff->f) < 0 || check_shards(ff, s) < 0 ||
        !(s->offset = column(ff, s, "offset", DT_U64, n)) ||
        !(s->key_end = column(ff, s, "key_end", DT_U64, n)) ||
        !(s->size = column(ff, s, "size", DT_U32, n)) ||
        !(s->crc32 = column(ff, s, "crc32", DT_U32, n)) ||
        !(s->shard_of = column(ff, s, "shard", DT_U32, n)) ||
        !(s->label = column(ff, s, "label", DT_I32, n)) ||
        !(s->width = column(ff, s, "width", DT_U16, n)) ||
        !(s->height = column(ff, s, "height", DT_U16, n)) ||
        !(s->flags = column(ff, s, "flags", DT_U16, n)) ||
        frame_want(&ff->f, "keys", DT_U8, 1, &i) < 0)
        return -1;
    if (shard_is_detection(s) &&
        (!(s->annot_offset = column(ff, s, "ann_offset", DT_U64, n)) ||
         !(s->annot_size = column(ff, s, "ann_size", DT_U32, n)) ||
         !(s->annot_crc32 = column(ff, s, "ann_crc32", DT_U32, n))))
        return -1;
    keys = (uint64_t)ff->f.tensor[i].t.shape[0];
    if (!(s->keys = column(ff, s, "keys", DT_U8, keys)))
        return -1;
    return check_rows(s, keys);
}

int shard_index_read(struct shard_set *s, const char *path)
{
    struct frame_file ff = FRAME_FILE_INIT;

    if (frame_file_open(&ff, path) < 0)
        return -1;
    if (frame_file_map(&ff, &s->map, &s->map_size) < 0 ||
        read_columns(&ff, s) < 0) {
        frame_file_close(&ff);
        return err_wrap("%s", path);
    }
    frame_file_close(&ff);
    return 0;
}

/* ---- writing */

int shard_index_write(const struct shard_set *s, const char *path)
{
    int64_t n = s->n, keys = (int64_t)s->key_end[s->n - 1];
    struct frame_item items[] = {
        {"offset", TENSOR1(DT_U64, s->offset, n)},
        {"key_end", TENSOR1(DT_U64, s->key_end, n)},
        {"shard_first",
         TENSOR1(DT_U64, s->shard_first, (int64_t)s->n_shards + 1)},
        {"size", TENSOR1(DT_U32, s->size, n)},
        {"crc32", TENSOR1(DT_U32, s->crc32, n)},
        {"shard", TENSOR1(DT_U32, s->shard_of, n)},
        {"label", TENSOR1(DT_I32, s->label, n)},
        {"width", TENSOR1(DT_U16, s->width, n)},
        {"height", TENSOR1(DT_U16, s->height, n)},
        {"flags", TENSOR1(DT_U16, s->flags, n)},
        {"keys", TENSOR1(DT_U8, s->keys, keys)},
        /* detection */
        {"ann_offset", TENSOR1(DT_U64, s->annot_offset, n)},
        {"ann_size", TENSOR1(DT_U32, s->annot_size, n)},
        {"ann_crc32", TENSOR1(DT_U32, s->annot_crc32, n)},
    };
    int n_items = (int)(sizeof(items) / sizeof(items[0])) -
                  (shard_is_detection(s) ? 0 : 3);
    char *samples = xstrfmt("%lu", (unsigned long)s->n);
    const struct frame_pair meta[] = {
        {"dataset", s->dataset}, {"format", "imgshard-index"},
        {"samples", samples},    {"split", s->split},
        {"version", "1"},
    };
    int r = frame_file_write(path, meta, 5, items, n_items);

    free(samples);
    return r;
}
