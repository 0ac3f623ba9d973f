/* A shard set in memory: rows, shards, classes, and how both come together. */
#include "io/shard.h"

#include "io/digest.h"
#include "io/shard_private.h"
#include "util/fdio.h"
#include "util/json.h"
#include "util/utf8.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void release_columns(struct shard_set *s)
{
    free(s->offset);
    free(s->key_end);
    free(s->size);
    free(s->crc32);
    free(s->shard_of);
    free(s->label);
    free(s->width);
    free(s->height);
    free(s->flags);
    free(s->annot_offset);
    free(s->annot_size);
    free(s->annot_crc32);
    free(s->keys);
}

void shard_set_release(struct shard_set *s)
{
    uint32_t i;

    for (i = 0; i < s->n_shards; i++)
        free(s->shard[i].file);
    for (i = 0; i < s->n_classes; i++) {
        free(s->cls[i].name);
        free(s->cls[i].label);
    }
    free(s->shard);
    free(s->cls);
    free(s->dir);
    free(s->path);
    free(s->name);
    free(s->split);
    free(s->task);
    free(s->pack_order);
    free(s->jpeg);
    free(s->program);
    free(s->index_file);
    if (s->map)
        munmap(s->map, s->map_size);
    else
        release_columns(s);
    free(s->shard_first);
    memset(s, 0, sizeof(*s));
}

int shard_set_open(struct shard_set *s, const char *manifest)
{
    struct buf text = BUF_INIT, path = BUF_INIT;
    int result = -1;

    if (buf_read_file(&text, manifest, 1 << 30) < 0)
        goto out;
    if (shard_manifest_parse(s, text.data ? text.data : "", text.len,
                             manifest) < 0)
        goto out;
    buf_addf(&path, "%s/%s", s->dir, s->index_file);
    result = shard_index_read(s, path.data);
out:
    if (result < 0)
        shard_set_release(s);
    buf_release(&text);
    buf_release(&path);
    return result;
}

bool shard_is_detection(const struct shard_set *s)
{
    return !strcmp(s->task, "detection");
}

const char *shard_key(const struct shard_set *s, uint32_t i, size_t *len)
{
    uint64_t begin = i ? s->key_end[i - 1] : 0;

    *len = (size_t)(s->key_end[i] - begin);
    return s->keys + begin;
}

int64_t shard_find(const struct shard_set *s, const char *key)
{
    size_t want = strlen(key), len;

    for (uint32_t i = 0; i < s->n; i++) {
        const char *k = shard_key(s, i, &len);

        if (len == want && !memcmp(k, key, len))
            return i;
    }
    return -1;
}

const char *shard_ext(unsigned flags)
{
    return flags & SHARD_PNG ? "png" : flags & SHARD_RAW ? "ppm" : "jpg";
}

void shard_path(const struct shard_set *s, uint32_t shard, struct buf *b)
{
    buf_addf(b, "%s/%s", s->dir, s->shard[shard].file);
}

void shard_describe(const struct shard_set *s, uint32_t i, struct buf *b)
{
    size_t len;
    const char *key = shard_key(s, i, &len);

    buf_addf(b, "%s: offset %llu: %.*s", s->shard[s->shard_of[i]].file,
             (unsigned long long)s->offset[i], (int)len, key);
}

/* ---- writing */

static void grow(struct shard_set *s)
{
    size_t n = s->cap ? s->cap * 2 : 1024;

    s->offset = xreallocarray(s->offset, n, sizeof(*s->offset));
    s->key_end = xreallocarray(s->key_end, n, sizeof(*s->key_end));
    s->size = xreallocarray(s->size, n, sizeof(*s->size));
    s->crc32 = xreallocarray(s->crc32, n, sizeof(*s->crc32));
    s->shard_of = xreallocarray(s->shard_of, n, sizeof(*s->shard_of));
    s->label = xreallocarray(s->label, n, sizeof(*s->label));
    s->width = xreallocarray(s->width, n, sizeof(*s->width));
    s->height = xreallocarray(s->height, n, sizeof(*s->height));
    s->flags = xreallocarray(s->flags, n, sizeof(*s->flags));
    s->cap = n;
    if (!shard_is_detection(s))
        return;
    s->annot_offset =
        xreallocarray(s->annot_offset, n, sizeof(*s->annot_offset));
    s->annot_size = xreallocarray(s->annot_size, n, sizeof(*s->annot_size));
    s->annot_crc32 = xreallocarray(s->annot_crc32, n, sizeof(*s->annot_crc32));
}

void shard_set_add(struct shard_set *s, const struct shard_row *r)
{
    uint64_t keys = s->n ? s->key_end[s->n - 1] : 0;
    size_t len = strlen(r->key);

    if (s->n == s->cap)
        grow(s);
    if (keys + len > s->keys_cap) {
        s->keys_cap = (size_t)(keys + len) * 2 + 4096;
        s->keys = xrealloc(s->keys, s->keys_cap);
    }
    memcpy(s->keys + keys, r->key, len);
    s->key_end[s->n] = keys + len;
    s->offset[s->n] = r->offset;
    s->size[s->n] = r->size;
    s->crc32[s->n] = r->crc32;
    s->shard_of[s->n] = s->n_shards;
    s->label[s->n] = r->label;
    s->width[s->n] = r->width;
    s->height[s->n] = r->height;
    s->flags[s->n] = r->flags;
    if (shard_is_detection(s)) {
        s->annot_offset[s->n] = r->annot_offset;
        s->annot_size[s->n] = r->annot_size;
        s->annot_crc32[s->n] = r->annot_crc32;
    }
    s->n++;
}

void shard_set_shard(struct shard_set *s, const struct shard *sh)
{
    size_t k = s->n_shards;
    struct shard *to;

    s->shard = xreallocarray(s->shard, k + 1, sizeof(*s->shard));
    s->shard_first =
        xreallocarray(s->shard_first, k + 2, sizeof(*s->shard_first));
    to = &s->shard[k];
    *to = *sh;
    to->file = xstrdup(sh->file);
    if (k == 0)
        s->shard_first[0] = 0;
    s->shard_first[k + 1] = s->n;
    to->samples = s->n - s->shard_first[k];
    s->bytes += to->bytes;
    s->n_shards++;
}

int shard_check_names(const char *split, const char *name)
{
    const char *p = split;

    while ((unsigned char)*p > ' ' && *p != 0x7f && *p != '/')
        p++;
    if (!*split || *p || *split == '.' || !utf8_valid(split))
        return err_set(ERR_USAGE, "--split \"%s\": not a file name", split);
    if (name && !utf8_valid(name))
        return err_set(ERR_USAGE, "--name \"%s\": not UTF-8", name);
    return 0;
}

void shard_set_class(struct shard_set *s, const char *name, const char *label,
                     int64_t source_id)
{
    struct shard_class *c;

    s->cls = xreallocarray(s->cls, (size_t)s->n_classes + 1, sizeof(*s->cls));
    c = &s->cls[s->n_classes++];
    c->name = xstrdup(name);
    c->label = xstrdup(label && *label ? label : name);
    c->source_id = source_id;
}

/* The classes of another manifest. */
static int classes_of_manifest(struct shard_set *s, const char *text, size_t n,
                               const char *file)
{
    struct shard_set other = {0};

    if (shard_manifest_parse(&other, text, n, file) < 0)
        return -1;
    for (uint32_t i = 0; i < other.n_classes; i++)
        shard_set_class(s, other.cls[i].name, other.cls[i].label,
                        other.cls[i].source_id);
    shard_set_release(&other);
    return 0;
}

int shard_set_classes(struct shard_set *s, const char *file)
{
    size_t n = strlen(file);
    struct buf b = BUF_INIT;
    char *line, *next, *label;
    int result = -1;

    if (buf_read_file(&b, file, 64 << 20) < 0)
        goto out;
    buf_reserve(&b, 1);
    if (n > 5 && !strcmp(file + n - 5, ".json")) {
        result = classes_of_manifest(s, b.data, b.len, file);
        goto out;
    }
    if (memchr(b.data, 0, b.len)) {
        err_set(ERR_DATA, "%s: not a text", file);
        goto out;
    }
    for (line = b.data + utf8_bom(b.data, b.len); *line; line = next) {
        n = strcspn(line, "\n");
        next = line[n] ? line + n + 1 : line + n;
        while (n > 0 && isspace((unsigned char)line[n - 1]))
            n--;
        line[n] = 0;
        label = line + strcspn(line, " \t");
        if (label == line) {
            err_set(ERR_DATA, "%s: line %u: no class name", file,
                    s->n_classes + 1);
            goto out;
        }
        if (!utf8_valid(line)) {
            err_set(ERR_DATA, "%s: line %u: not UTF-8", file, s->n_classes + 1);
            goto out;
        }
        if (*label) {
            *label++ = 0;
            label += strspn(label, " \t");
        }
        shard_set_class(s, line, label, -1);
    }
    result = s->n_classes ? 0 : err_set(ERR_DATA, "%s: no classes in it", file);
out:
    buf_release(&b);
    return result;
}

void shard_set_classes_of_keys(struct shard_set *s, int32_t n)
{
    char **name = xcalloc((size_t)n + 1, sizeof(*name)), number[16];
    bool good = true;

    for (uint32_t i = 0; i < s->n && good; i++) {
        size_t len;
        const char *key = shard_key(s, i, &len);
        const char *slash = memchr(key, '/', len);
        char **mine = &name[s->label[i] < 0 ? n : s->label[i]];

        good = slash && s->label[i] >= 0;
        if (!good)
            break;
        len = (size_t)(slash - key);
        if (!*mine)
            *mine = xstrfmt("%.*s", (int)len, key);
        good = strlen(*mine) == len && !memcmp(*mine, key, len);
    }
    for (int32_t c = 0; c < n; c++) {
        snprintf(number, sizeof(number), "%ld", (long)c);
        shard_set_class(s, good && name[c] ? name[c] : number, NULL, -1);
    }
    for (int32_t c = 0; c < n; c++)
        free(name[c]);
    free(name);
}

/* SHA-256 over (crc32, size, label, ann_crc32) of each sample, half of it. */
static void dataset_digest(struct shard_set *s)
{
    struct digest *d = digest_new();
    char hex[65];

    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t v[4] = {s->crc32[i], s->size[i], (uint32_t)s->label[i],
                         s->annot_crc32 ? s->annot_crc32[i] : 0};

        digest_add(d, v, sizeof(v));
    }
    digest_hex(d, hex);
    memcpy(s->dataset, hex, 32);
    s->dataset[32] = 0;
    digest_free(d);
}

int shard_set_write(struct shard_set *s, const char *dir)
{
    struct buf path = BUF_INIT, text = BUF_INIT;
    uint64_t bytes;
    uint32_t crc;
    int result = -1;

    if (!s->n || s->shard_first[s->n_shards] != s->n)
        BUG("shard set without samples, or samples without a shard");
    dataset_digest(s);
    free(s->index_file);
    s->index_file = xstrfmt("%s.index.safetensors", s->split);
    buf_addf(&path, "%s/%s", dir, s->index_file);
    if (shard_index_write(s, path.data) < 0 ||
        digest_file(path.data, &bytes, &crc, s->index_sha256) < 0)
        goto out;
    shard_manifest_text(s, &text);
    buf_reset(&path);
    buf_addf(&path, "%s/%s.json", dir, s->split);
    result = atomic_write(path.data, text.data, text.len);
out:
    buf_release(&path);
    buf_release(&text);
    return result;
}
