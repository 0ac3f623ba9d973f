/* imgshard ls, cat, order - what is in a split, and in which order. */
#include "imgshard.h"
#include "util/fdio.h"
#include "util/json.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    bool json;
} list;

static struct {
    bool json;
} cat;

static struct {
    int64_t epoch;
} walk;

/* clang-format off */
struct opt ls_opts[] = {
    {.name = "json", .type = OPT_FLAG, .addr = &list.json,
     .help = "one JSON object a line, with all columns"},
    OPT_END,
};

struct opt cat_opts[] = {
    {.name = "json", .type = OPT_FLAG, .addr = &cat.json,
     .help = "the annotations, one a line, instead of the images"},
    OPT_END,
};

struct opt order_opts[] = {
    {.name = "epoch", .type = OPT_INT, .addr = &walk.epoch, .def = "-1",
     .min = -1, .max = UINT32_MAX, .arg = "E",
     .help = "this epoch; -1: those of --epochs"},
    READING_ROWS, READING_EVAL,
    OPT_END,
};
/* clang-format on */

/* ---- ls */

static void ls_json(const struct shard_set *s, uint32_t i, struct buf *b)
{
    json_t *o = json_object();
    size_t len;
    const char *key = shard_key(s, i, &len);
    json_t *k = json_stringn(key, len);

    json_object_set_new(o, "sample", json_integer(i));
    json_object_set_new(o, "key", k ? k : json_null());
    json_object_set_new(o, "label", json_integer(s->label[i]));
    json_object_set_new(o, "size", json_integer(s->size[i]));
    json_object_set_new(o, "width", json_integer(s->width[i]));
    json_object_set_new(o, "height", json_integer(s->height[i]));
    json_object_set_new(o, "flags", json_integer(s->flags[i]));
    json_object_set_new(o, "crc32", json_sprintf("%08x", s->crc32[i]));
    json_object_set_new(o, "shard", json_string(s->shard[s->shard_of[i]].file));
    json_object_set_new(o, "offset", json_integer((json_int_t)s->offset[i]));
    if (shard_is_detection(s)) {
        json_object_set_new(o, "ann_offset",
                            json_integer((json_int_t)s->annot_offset[i]));
        json_object_set_new(o, "ann_size", json_integer(s->annot_size[i]));
        json_object_set_new(o, "ann_crc32",
                            json_sprintf("%08x", s->annot_crc32[i]));
    }
    buf_reset(b);
    json_canonical(b, o);
    json_decref(o);
}

int imgshard_ls(const struct command *c, int argc, char **argv)
{
    struct shard_set s = {0};
    struct buf b = BUF_INIT;

    (void)c;
    (void)argc;
    if (shard_set_open(&s, argv[0]) < 0)
        return -1;
    for (uint32_t i = 0; i < s.n && !ferror(stdout); i++) {
        size_t len;
        const char *key = shard_key(&s, i, &len);

        if (list.json) {
            ls_json(&s, i, &b);
        } else {
            buf_reset(&b);
            buf_addplain(&b, key, len);
            buf_addf(&b, "\t%ld\t%lu\t%u\t%u", (long)s.label[i],
                     (unsigned long)s.size[i], s.width[i], s.height[i]);
        }
        puts(b.data);
    }
    buf_release(&b);
    shard_set_release(&s);
    return 0;
}

/* ---- cat */

/* "#12" is a number, anything else a key. */
int find_sample(const struct shard_set *s, const char *word, int64_t *sample)
{
    char *end;

    if (word[0] == '#' && isdigit((unsigned char)word[1])) {
        errno = 0;
        *sample = strtoll(word + 1, &end, 10);
        if (!errno && !*end && *sample < s->n)
            return 0;
        return err_set(ERR_NOINPUT, "%s: no sample %s: there are %lu", s->path,
                       word, (unsigned long)s->n);
    }
    *sample = shard_find(s, word);
    if (*sample < 0)
        return err_set(ERR_NOINPUT, "%s: no key \"%s\"", s->path, word);
    return 0;
}

int imgshard_cat(const struct command *c, int argc, char **argv)
{
    struct shard_set s = {0};
    struct reader_files *files = NULL;
    struct buf b = BUF_INIT;
    int64_t sample;
    int result = -1;

    (void)c;
    if (shard_set_open(&s, argv[0]) < 0)
        return -1;
    files = reader_files_new(&s, false);
    for (int i = 1; i < argc; i++) {
        if (find_sample(&s, argv[i], &sample) < 0 ||
            (cat.json ? reader_files_fetch_annot : reader_files_fetch)(
                files, (uint32_t)sample, true, &b) < 0)
            goto out;
        if (cat.json)
            buf_addch(&b, '\n');
        if (fd_write(STDOUT_FILENO, b.data, b.len, FD_FOREVER) < 0) {
            err_wrap("stdout");
            goto out;
        }
    }
    result = 0;
out:
    buf_release(&b);
    reader_files_free(files);
    shard_set_release(&s);
    return result;
}

/* ---- order */

int imgshard_order(const struct command *c, int argc, char **argv)
{
    struct reader r = {0};
    struct reader_step st;
    struct buf b = BUF_INIT;
    int rc;

    (void)argc;
    if (reading_open(&r, c, argv[0], walk.epoch) < 0)
        return -1;
    while ((rc = reader_next(&r, &st)) > 0 && !ferror(stdout))
        for (int64_t j = 0; j < st.count; j++) {
            size_t len;
            const char *key = shard_key(&r.set, st.sample[j], &len);

            buf_reset(&b);
            buf_addf(&b, "%lld\t%lu\t", (long long)(st.first + j),
                     (unsigned long)st.sample[j]);
            buf_addplain(&b, key, len);
            puts(b.data);
        }
    buf_release(&b);
    reader_close(&r);
    return rc < 0 ? -1 : 0;
}
