/* The manifest of a split: JSON text to struct shard_set and back. */
#include "io/shard_private.h"
#include "util/json.h"

#include <stdlib.h>
#include <string.h>

/* ---- reading */

/* A file name from outside: no directory, nothing that leaves it. */
static int plain_name(const char *key, const char *v)
{
    if (!*v || v[0] == '/' || strlen(v) > SHARD_KEY_MAX)
        return err_set(ERR_DATA, "%s \"%.80s\": not a relative file", key, v);
    for (const char *p = v; *p; p++)
        if ((unsigned char)*p < 0x20)
            return err_set(ERR_DATA, "%s \"%.80s\": control character", key, v);
    for (const char *p = v; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (!strncmp(p, "..", 2) && (!p[2] || p[2] == '/'))
            return err_set(ERR_DATA, "%s \"%.80s\": leaves its directory", key,
                           v);
    }
    return 0;
}

static int hex_digits(const json_t *o, const char *key, size_t n, char *to)
{
    const char *v;

    if (json_get_str(o, key, &v) < 0)
        return -1;
    if (strlen(v) != n || strspn(v, "0123456789abcdef") != n)
        return err_set(ERR_DATA, "%s \"%.80s\": want %zu hex digits", key, v,
                       n);
    memcpy(to, v, n + 1);
    return 0;
}

static int get_range(const json_t *o, const char *key, int64_t max, int64_t *v)
{
    if (json_get_int(o, key, v) < 0)
        return -1;
    if (*v < 0 || *v > max)
        return err_set(ERR_DATA, "%s %lld: out of range", key, (long long)*v);
    return 0;
}

static int copy_str(const json_t *o, const char *key, char **to)
{
    const char *v;

    if (json_get_str(o, key, &v) < 0)
        return -1;
    *to = xstrdup(v);
    return 0;
}

static int parse_classes(struct shard_set *s, const json_t *root)
{
    json_t *list, *c;
    size_t i;

    if (json_get_array(root, "classes", &list) < 0)
        return -1;
    json_array_foreach(list, i, c)
    {
        const char *name, *label;
        int64_t id, source = -1;

        if (json_get_str(c, "name", &name) < 0 ||
            json_get_str(c, "label", &label) < 0 ||
            json_get_int(c, "id", &id) < 0 ||
            (json_object_get(c, "source_id") &&
             json_get_int(c, "source_id", &source) < 0))
            return err_wrap("class %zu", i);
        if (id != (int64_t)i)
            return err_set(ERR_DATA, "class %zu has id %lld", i, (long long)id);
        shard_set_class(s, name, label, source);
    }
    return 0;
}

static int parse_shard(struct shard_set *s, const json_t *o)
{
    struct shard *sh = &s->shard[s->n_shards];
    int64_t bytes, samples;
    const char *file;
    char crc[9];

    if (json_get_str(o, "file", &file) < 0 || plain_name("file", file) < 0 ||
        get_range(o, "bytes", 1LL << 53, &bytes) < 0 ||
        get_range(o, "samples", UINT32_MAX, &samples) < 0 ||
        hex_digits(o, "crc32", 8, crc) < 0 ||
        hex_digits(o, "sha256", 64, sh->sha256) < 0)
        return -1;
    sh->file = xstrdup(file);
    sh->bytes = (uint64_t)bytes;
    sh->samples = (uint64_t)samples;
    sh->crc32 = (uint32_t)strtoul(crc, NULL, 16);
    s->shard_first[s->n_shards + 1] = s->shard_first[s->n_shards] + sh->samples;
    s->bytes += sh->bytes;
    s->n_shards++;
    return 0;
}

static int parse_shards(struct shard_set *s, const json_t *root)
{
    json_t *list, *o;
    size_t i, n;

    if (json_get_array(root, "shards", &list) < 0)
        return -1;
    n = json_array_size(list);
    if (n < 1 || n > 1 << 24)
        return err_set(ERR_DATA, "shards: %zu of them", n);
    s->shard = xcalloc(n, sizeof(*s->shard));
    s->shard_first = xcalloc(n + 1, sizeof(*s->shard_first));
    json_array_foreach(list, i, o) if (parse_shard(s, o) <
                                       0) return err_wrap("shard %zu", i);
    if (s->shard_first[n] != s->n)
        return err_set(ERR_DATA, "shards hold %llu samples, samples says %lu",
                       (unsigned long long)s->shard_first[n],
                       (unsigned long)s->n);
    return 0;
}

static int parse_root(struct shard_set *s, const json_t *root)
{
    int64_t version, n;
    const char *format;
    json_t *pack, *index;

    if (json_get_str(root, "format", &format) < 0)
        return -1;
    if (strcmp(format, "imgshard"))
        return err_set(ERR_DATA, "format \"%.40s\": not a manifest", format);
    if (json_get_int(root, "version", &version) < 0)
        return -1;
    if (version != 1)
        return err_set(ERR_DATA, "version %lld: this program knows 1",
                       (long long)version);
    if (copy_str(root, "name", &s->name) < 0 ||
        copy_str(root, "split", &s->split) < 0 ||
        plain_name("split", s->split) < 0 ||
        copy_str(root, "task", &s->task) < 0 ||
        hex_digits(root, "dataset", 32, s->dataset) < 0 ||
        get_range(root, "samples", UINT32_MAX, &n) < 0)
        return -1;
    if (strcmp(s->task, "classification") != 0 && !shard_is_detection(s))
        return err_set(ERR_DATA,
                       "task \"%.40s\": this program knows "
                       "classification and detection",
                       s->task);
    if (n < 1)
        return err_set(ERR_DATA, "no samples");
    s->n = (uint32_t)n;
    if (json_get_object(root, "pack", &pack) < 0 ||
        copy_str(pack, "order", &s->pack_order) < 0 ||
        json_get_int(pack, "seed", &s->pack_seed) < 0 ||
        copy_str(pack, "jpeg", &s->jpeg) < 0 ||
        copy_str(pack, "program", &s->program) < 0)
        return -1;
    if (json_get_object(root, "index", &index) < 0 ||
        copy_str(index, "file", &s->index_file) < 0 ||
        plain_name("file", s->index_file) < 0 ||
        hex_digits(index, "sha256", 64, s->index_sha256) < 0)
        return -1;
    return parse_classes(s, root) < 0 ? -1 : parse_shards(s, root);
}

int shard_manifest_parse(struct shard_set *s, const char *text, size_t n,
                         const char *path)
{
    const char *slash = strrchr(path, '/');
    json_t *root = json_text(text, n, path);
    int result = -1;

    memset(s, 0, sizeof(*s));
    if (!root)
        return -1;
    s->path = xstrdup(path);
    s->dir = !slash          ? xstrdup(".")
             : slash == path ? xstrdup("/")
                             : xstrfmt("%.*s", (int)(slash - path), path);
    result = parse_root(s, root);
    json_decref(root);
    if (result < 0) {
        err_wrap("%s", path);
        shard_set_release(s);
    }
    return result;
}

/* ---- writing */

static void set(json_t *o, const char *key, json_t *v)
{
    if (json_object_set_new(o, key, v) < 0)
        BUG("manifest: member %s", key);
}

static json_t *integer(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static json_t *classes(const struct shard_set *s)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < s->n_classes; i++) {
        json_t *c = json_object();

        set(c, "id", integer(i));
        set(c, "name", json_string(s->cls[i].name));
        set(c, "label", json_string(s->cls[i].label));
        if (s->cls[i].source_id >= 0)
            set(c, "source_id", json_integer(s->cls[i].source_id));
        json_array_append_new(list, c);
    }
    return list;
}

/* Our list of shards, and the one of WebDataset's index library. */
static void add_shards(json_t *root, const struct shard_set *s)
{
    json_t *ours = json_array(), *wids = json_array();

    for (uint32_t i = 0; i < s->n_shards; i++) {
        const struct shard *sh = &s->shard[i];
        json_t *o = json_object(), *w = json_object();

        set(o, "file", json_string(sh->file));
        set(o, "bytes", integer(sh->bytes));
        set(o, "samples", integer(sh->samples));
        set(o, "crc32", json_sprintf("%08x", sh->crc32));
        set(o, "sha256", json_string(sh->sha256));
        json_array_append_new(ours, o);
        set(w, "url", json_string(sh->file));
        set(w, "nsamples", integer(sh->samples));
        set(w, "filesize", integer(sh->bytes));
        json_array_append_new(wids, w);
    }
    set(root, "shards", ours);
    set(root, "shardlist", wids);
    set(root, "wids_version", integer(1));
}

void shard_manifest_text(const struct shard_set *s, struct buf *b)
{
    json_t *root = json_object(), *pack = json_object(), *index = json_object();

    set(root, "format", json_string("imgshard"));
    set(root, "version", integer(1));
    set(root, "name", json_string(s->name));
    set(root, "split", json_string(s->split));
    set(root, "task", json_string(s->task));
    set(root, "samples", integer(s->n));
    set(root, "bytes", integer(s->bytes));
    set(root, "dataset", json_string(s->dataset));
    set(root, "classes", classes(s));
    set(pack, "order", json_string(s->pack_order));
    set(pack, "seed", json_integer(s->pack_seed));
    set(pack, "jpeg", json_string(s->jpeg));
    set(pack, "program", json_string(s->program));
    set(root, "pack", pack);
    set(index, "file", json_string(s->index_file));
    set(index, "sha256", json_string(s->index_sha256));
    set(root, "index", index);
    add_shards(root, s);
    json_canonical(b, root);
    buf_addch(b, '\n');
    json_decref(root);
}
