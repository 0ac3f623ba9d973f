/*
 * The header of a frame: from JSON text to a checked struct frame. The rules
 * are those of the safetensors format, narrowed where it leaves room
 * (huggingface/safetensors: README.md, safetensors/src/tensor.rs, validate).
 */
#include "io/frame.h"

#include "util/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX ((int64_t)1 << 53) /* what every JSON reader holds exactly */
#define META_VALUE_MAX 65536          /* bytes, streams only */
#define STREAM_NAME_MAX 128

static const struct {
    uint64_t header;
    size_t tensors, name;
} limits[] = {
    [FRAME_STREAM] = {1 << 20, 4096, STREAM_NAME_MAX},
    [FRAME_FILE] = {100000000, 65536, FRAME_NAME_MAX},
};

void frame_release(struct frame *f)
{
    free(f->memory);
    memset(f, 0, sizeof(*f));
}

/* ---- one number, one tensor */

static int number_of(const json_t *j, const char *what, int64_t *v)
{
    if (json_is_real(j))
        return err_set(ERR_DATA, "%s: a number with a fraction or an exponent",
                       what);
    if (!json_is_integer(j))
        return err_set(ERR_DATA, "%s: not a number", what);
    *v = json_integer_value(j);
    if (*v < 0)
        return err_set(ERR_DATA, "%s: negative: %" PRId64, what, *v);
    if (*v > NUMBER_MAX)
        return err_set(ERR_DATA, "%s: larger than 2^53: %" PRId64, what, *v);
    return 0;
}

/* Types the format knows and this toolkit does not compute with. */
static bool known_elsewhere(const char *name)
{
    static const char *const names[] = {
        "F4",      "F6_E2M3", "F6_E3M2",     "F8_E5M2",    "F8_E4M3",
        "F8_E8M0", "C64",     "F8_E4M3FNUZ", "F8_E5M2FNUZ"};
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

static int dtype_of(const json_t *j, struct tensor *t)
{
    const char *name = json_string_value(j);

    if (!j)
        return err_set(ERR_DATA, "dtype is missing");
    if (!name)
        return err_set(ERR_DATA, "dtype is not a string");
    if (known_elsewhere(name))
        return err_set(ERR_DATA,
                       "dtype %s is valid but not supported by this reader",
                       name);
    return dtype_find(name, &t->dtype);
}

static int shape_of(const json_t *j, struct tensor *t)
{
    size_t n = json_array_size(j), i;

    if (!j)
        return err_set(ERR_DATA, "shape is missing");
    if (!json_is_array(j))
        return err_set(ERR_DATA, "shape is not a list");
    if (n > TENSOR_RANK)
        return err_set(ERR_DATA, "%zu dimensions, at most %d are allowed", n,
                       TENSOR_RANK);
    t->rank = (int)n;
    for (i = 0; i < n; i++) {
        if (number_of(json_array_get(j, i), "shape", &t->shape[i]) < 0)
            return -1;
    }
    return 0;
}

static int offsets_of(const json_t *j, struct frame_tensor *ft)
{
    int64_t begin, end;

    if (!j)
        return err_set(ERR_DATA, "data_offsets is missing");
    if (!json_is_array(j) || json_array_size(j) != 2)
        return err_set(ERR_DATA, "data_offsets is not a list of two numbers");
    if (number_of(json_array_get(j, 0), "data_offsets", &begin) < 0 ||
        number_of(json_array_get(j, 1), "data_offsets", &end) < 0)
        return -1;
    if (end < begin)
        return err_set(ERR_DATA,
                       "data_offsets end before they begin: %" PRId64
                       ", %" PRId64,
                       begin, end);
    ft->begin = (uint64_t)begin;
    ft->end = (uint64_t)end;
    return 0;
}

static int tensor_entry(const json_t *j, struct frame_tensor *ft)
{
    uint64_t bytes;

    if (!json_is_object(j))
        return err_set(ERR_DATA, "not an object");
    if (dtype_of(json_object_get(j, "dtype"), &ft->t) < 0 ||
        shape_of(json_object_get(j, "shape"), &ft->t) < 0 ||
        offsets_of(json_object_get(j, "data_offsets"), ft) < 0)
        return -1;
    /* A member nobody knows could mean that the data is not what it seems. */
    if (json_object_size(j) != 3)
        return err_set(ERR_DATA, "unknown member beside dtype, shape and "
                                 "data_offsets");
    if (tensor_check(&ft->t, &bytes) < 0)
        return -1;
    if (bytes != ft->end - ft->begin)
        return err_set(ERR_DATA,
                       "shape needs %" PRIu64 " bytes, data_offsets span "
                       "%" PRIu64,
                       bytes, ft->end - ft->begin);
    return 0;
}

/* ---- the whole header */

static int check_counts(const json_t *root, const json_t *meta,
                        enum frame_kind kind)
{
    size_t tensors = json_object_size(root) - (meta ? 1 : 0);
    size_t pairs = json_object_size(meta);

    if (meta && !json_is_object(meta))
        return err_set(ERR_DATA, "__metadata__: not an object");
    if (tensors > limits[kind].tensors)
        return err_set(ERR_DATA, "%zu tensors, at most %zu are allowed",
                       tensors, limits[kind].tensors);
    if (pairs > FRAME_META_MAX)
        return err_set(ERR_DATA, "%zu metadata pairs, at most %d are allowed",
                       pairs, FRAME_META_MAX);
    return 0;
}

/* Bytes of all strings with their zeros; checks the metadata on the way. */
static int measure(json_t *root, json_t *meta, enum frame_kind kind,
                   size_t *bytes)
{
    const char *key;
    size_t n, len;
    json_t *v;

    *bytes = 0;
    json_object_foreach(meta, key, v)
    {
        if (!json_is_string(v))
            return err_set(ERR_DATA, "__metadata__: \"%.80s\": not a string",
                           key);
        n = json_string_length(v);
        len = strlen(key);
        if (kind == FRAME_STREAM &&
            (n > META_VALUE_MAX || len > META_VALUE_MAX))
            return err_set(ERR_DATA,
                           "__metadata__: \"%.80s\": longer than %d bytes", key,
                           META_VALUE_MAX);
        *bytes += n + len + 2;
    }
    json_object_foreach(root, key, v)
    {
        n = strlen(key);
        if (v != meta && n > limits[kind].name)
            return err_set(ERR_DATA,
                           "tensor name of %zu bytes, at most %zu are allowed",
                           n, limits[kind].name);
        *bytes += n + 1;
    }
    return 0;
}

/* Append a string to the frame's memory at *at. */
static char *keep(char **at, const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = memcpy(*at, s, n);

    *at += n;
    return p;
}

static int by_offset(const void *a, const void *b)
{
    const struct frame_tensor *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

void frame_order(struct frame *f)
{
    if (f->n_tensors)
        qsort(f->tensor, (size_t)f->n_tensors, sizeof(*f->tensor), by_offset);
}

/* In order, the tensors have to tile the data from 0 on. */
static int check_tiling(struct frame *f)
{
    const struct frame_tensor *t;
    uint64_t at = 0;
    int i;

    frame_order(f);
    for (i = 0; i < f->n_tensors; i++) {
        t = &f->tensor[i];
        if (t->begin != at)
            return err_set(ERR_DATA,
                           "tensor \"%.80s\": data begins at %" PRIu64
                           ", %s: expected %" PRIu64,
                           t->name, t->begin,
                           t->begin < at ? "an overlap" : "a hole", at);
        at = t->end;
    }
    f->data_bytes = at;
    return 0;
}

static int fill(struct frame *f, json_t *root, enum frame_kind kind)
{
    json_t *meta = json_object_get(root, "__metadata__"), *v;
    size_t text, n_meta, n_tensors;
    const char *key;
    char *at;

    if (check_counts(root, meta, kind) < 0 ||
        measure(root, meta, kind, &text) < 0)
        return -1;
    n_meta = json_object_size(meta);
    n_tensors = json_object_size(root) - (meta ? 1 : 0);
    /* One block: tensors, key and value pointers, then the strings. */
    f->memory = xcalloc(1, n_tensors * sizeof(*f->tensor) +
                               2 * n_meta * sizeof(char *) + text + 1);
    f->tensor = f->memory;
    f->key = (char **)(void *)(f->tensor + n_tensors);
    f->value = f->key + n_meta;
    at = (char *)(f->value + n_meta);
    json_object_foreach(meta, key, v)
    {
        f->key[f->n_meta] = keep(&at, key);
        f->value[f->n_meta++] = keep(&at, json_string_value(v));
    }
    json_object_foreach(root, key, v)
    {
        if (v == meta)
            continue;
        f->tensor[f->n_tensors].name = keep(&at, key);
        if (tensor_entry(v, &f->tensor[f->n_tensors]) < 0)
            return err_wrap("tensor \"%.80s\"", key);
        f->n_tensors++;
    }
    return check_tiling(f);
}

int frame_parse(struct frame *f, const char *header, size_t n,
                enum frame_kind kind)
{
    json_t *root;
    int r = -1;

    frame_release(f);
    if (n > limits[kind].header)
        return err_set(ERR_DATA,
                       "header of %zu bytes, at most %" PRIu64 " are allowed",
                       n, limits[kind].header);
    if (n < 2 || header[0] != '{')
        return err_set(ERR_DATA, "header does not begin with '{'");
    root = json_text(header, n, "header");
    if (!root)
        return -1;
    if (!json_is_object(root))
        err_set(ERR_DATA, "header is not a JSON object");
    else
        r = fill(f, root, kind);
    json_decref(root);
    if (r < 0) {
        frame_release(f);
        return err_wrap("header");
    }
    f->header_bytes = 8 + (uint64_t)n;
    return 0;
}

/* ---- looking things up */

const char *frame_meta(const struct frame *f, const char *key)
{
    int i;

    for (i = 0; i < f->n_meta; i++) {
        if (strcmp(f->key[i], key) == 0)
            return f->value[i];
    }
    return NULL;
}

int frame_meta_int(const struct frame *f, const char *key, int64_t *v)
{
    const char *s = frame_meta(f, key), *digits;
    char *end;

    if (!s)
        return err_set(ERR_DATA, "metadata \"%s\" is missing", key);
    digits = s + (s[0] == '-');
    errno = 0;
    *v = strtoll(s, &end, 10);
    if (digits[0] < '0' || digits[0] > '9' || *end || errno)
        return err_set(ERR_DATA, "metadata \"%s\": not a number: \"%.40s\"",
                       key, s);
    return 0;
}

int frame_check_proto(const struct frame *f, int number)
{
    const char *proto = frame_meta(f, "proto");
    char *end;

    if (!proto)
        return 0;
    if (*proto < '0' || *proto > '9' || strtol(proto, &end, 10) != number ||
        *end != '.')
        return err_set(ERR_CONFIG, "protocol \"%.20s\", here %d.0", proto,
                       number);
    return 0;
}

const char *frame_type(const struct frame *f)
{
    const char *t = frame_meta(f, "t");

    return t ? t : "";
}

int frame_find(const struct frame *f, const char *name)
{
    int i;

    for (i = 0; i < f->n_tensors; i++) {
        if (strcmp(f->tensor[i].name, name) == 0)
            return i;
    }
    return -1;
}

int frame_want(const struct frame *f, const char *name, enum dtype dtype,
               int rank, int *index)
{
    int i = frame_find(f, name);
    const struct tensor *t;
    struct buf b = BUF_INIT;

    if (i < 0)
        return err_set(ERR_DATA, "tensor \"%s\" is missing", name);
    t = &f->tensor[i].t;
    if (t->dtype != dtype || (rank >= 0 && t->rank != rank)) {
        tensor_describe(t, &b);
        if (rank >= 0)
            err_set(ERR_DATA,
                    "tensor \"%s\": expected %s of %d dimensions, got %s", name,
                    dtype_name(dtype), rank, b.data);
        else
            err_set(ERR_DATA, "tensor \"%s\": expected %s, got %s", name,
                    dtype_name(dtype), b.data);
        buf_release(&b);
        return -1;
    }
    *index = i;
    return 0;
}
