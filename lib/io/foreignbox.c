/* What a file of others is, and the streams that torch.save wrote before 1.6. */
#include "io/foreign_private.h"
#include "util/fdio.h"
#include "util/le.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROTOCOL 1001

/* 0x1950a86a20f9469cfc6c (torch/serialization.py, MAGIC_NUMBER). */
static const unsigned char magic[10] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9,
                                        0x20, 0x6a, 0xa8, 0x50, 0x19};

static bool is_zip(const unsigned char *p, size_t n)
{
    return n >= 4 && memcmp(p, "PK\003\004", 4) == 0;
}

static bool is_pickle(const unsigned char *p, size_t n)
{
    /* A file of safetensors may begin so, too: with a length that it has. */
    return n >= 2 && p[0] == 0x80 && p[1] >= 2 && p[1] <= 5 &&
           !(n > 8 && p[8] == '{' && p[6] == 0 && p[7] == 0);
}

bool foreign_is(const char *path)
{
    unsigned char head[512];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, head, sizeof(head), 0);

    if (fd >= 0)
        close(fd);
    return n > 0 && (is_zip(head, (size_t)n) || is_pickle(head, (size_t)n) ||
                     foreign_tar_is(head, (size_t)n));
}

/* ---- persistent ids */

static bool is_text(const struct pickle_value *v)
{
    return v->type == PICKLE_TEXT || v->type == PICKLE_BYTES;
}

void foreign_whole(const struct foreign_file *ff, int storage,
                   struct foreign_tensor *t)
{
    const struct foreign_storage *s = &ff->storage[storage];

    t->t = TENSOR1(s->dtype, NULL, s->n);
    t->storage = storage;
    t->offset = 0;
    t->stride[0] = 1;
}

int foreign_storage_of(struct foreign_file *ff, const struct pickle_value *id,
                       bool *fresh, const char **key)
{
    static char text[64];
    struct foreign_storage s = {.member = -1};
    struct pickle_value **v = id->u.item;
    int64_t number;

    if (id->type != PICKLE_TUPLE || id->n < 5 || !pickle_is(v[0], "storage") ||
        !foreign_dtype(v[1], &s.dtype) || v[4]->type != PICKLE_INT ||
        !is_text(v[2]) || v[2]->n >= sizeof(text) ||
        memchr(v[2]->u.text, 0, v[2]->n))
        return err_set(ERR_DATA, "a persistent id that is no storage");
    if (id->n > 5 && v[5]->type != PICKLE_NONE)
        return err_set(ERR_DATA, "a storage that is a part of another");
    memcpy(text, v[2]->u.text, v[2]->n);
    text[v[2]->n] = '\0';
    *key = text;
    s.n = v[4]->u.i;
    if (s.n < 0 || s.n > INT64_MAX / 16)
        return err_set(ERR_DATA, "storage %s: of %" PRId64 " elements", text,
                       s.n);
    *fresh = !map_get(&ff->keys, text, &number);
    if (*fresh) {
        number = foreign_add_storage(ff, s);
        if (!map_add(&ff->keys, text, number))
            BUG("storage %s", text);
    } else if (ff->storage[number].dtype != s.dtype ||
               ff->storage[number].n != s.n) {
        return err_set(ERR_DATA, "storage %s: of two kinds", text);
    }
    return (int)number;
}

/* ---- a stream: magic number, protocol, system, object, keys, storages */

static int stream_persistent(struct foreign_file *ff,
                             const struct pickle_value *id,
                             struct foreign_tensor *t)
{
    const char *key;
    bool fresh;
    int s = foreign_storage_of(ff, id, &fresh, &key);

    if (s >= 0 && t)
        foreign_whole(ff, s, t);
    return s;
}

/* The storages lie in the order of the list of keys: their length, elements. */
static int stream_settle(struct foreign_file *ff)
{
    struct pickle list = PICKLE_INIT;
    const unsigned char *p = ff->bytes + ff->rest;
    size_t left = ff->size - ff->rest, used;
    int r = pickle_parse(&list, p, left, foreign_globals, &used);
    int64_t number;
    char key[64];

    if (r == 0 && list.root->type != PICKLE_LIST)
        r = err_set(ERR_DATA, "no list of storages");
    for (size_t i = 0; r == 0 && i < list.root->n; i++) {
        const struct pickle_value *v = list.root->u.item[i];
        struct foreign_storage *s;

        p += used;
        left -= used;
        snprintf(key, sizeof(key), "%.*s", is_text(v) ? (int)v->n : 0,
                 is_text(v) ? v->u.text : "");
        if (!map_get(&ff->keys, key, &number)) {
            r = err_set(ERR_DATA, "storage %s: of no tensor", key);
            break;
        }
        s = &ff->storage[number];
        used = 8 + (size_t)s->n * dtype_size(s->dtype);
        if (left < 8 || le_get(p, 8) != (uint64_t)s->n)
            r = err_set(ERR_DATA, "storage %s: no %" PRId64 " elements", key,
                        s->n);
        else if (left < used)
            r = err_set(ERR_DATA, "storage %s: cut short", key);
        s->p = p + 8;
    }
    pickle_release(&list);
    for (int i = 0; r == 0 && i < ff->n_storages; i++)
        if (!ff->storage[i].p)
            r = err_set(ERR_DATA, "a storage that is not there");
    return r;
}

/* A pickle at ff->rest of the file, which moves behind it. */
static int next_pickle(struct foreign_file *ff, struct pickle *p)
{
    size_t used, at = ff->rest;

    if (pickle_parse(p, ff->bytes + at, ff->size - at, foreign_globals, &used) <
        0)
        return at ? err_wrap("pickle at %zu", at) : -1;
    ff->rest += used;
    return 0;
}

static int stream_unpack(struct foreign_file *ff)
{
    struct pickle p = PICKLE_INIT;
    bool known, little = true;

    if (next_pickle(ff, &p) < 0)
        return -1;
    known = p.root->type == PICKLE_INT && p.root->u.i == PROTOCOL;
    pickle_release(&p);
    if (!known)
        return err_set(ERR_DATA, "a protocol of torch.save other than %d",
                       PROTOCOL);
    if (next_pickle(ff, &p) < 0)
        return -1;
    if (p.root->type == PICKLE_DICT)
        for (size_t i = 0; i + 1 < p.root->n; i += 2)
            if (pickle_is(p.root->u.item[i], "little_endian"))
                little = p.root->u.item[i + 1]->u.i != 0;
    pickle_release(&p);
    if (!little)
        return err_set(ERR_DATA, "written by a big-endian machine");
    ff->persistent = stream_persistent;
    ff->settle = stream_settle;
    return next_pickle(ff, &ff->pickle);
}

/* ---- any of them */

static int pickle_unpack(struct foreign_file *ff)
{
    const struct pickle_value *root;

    if (next_pickle(ff, &ff->pickle) < 0)
        return -1;
    root = ff->pickle.root;
    if (root->type == PICKLE_LONG && root->n == sizeof(magic) &&
        memcmp(root->u.text, magic, sizeof(magic)) == 0) {
        pickle_release(&ff->pickle);
        return stream_unpack(ff);
    }
    return ff->rest == ff->size
               ? 0
               : err_set(ERR_DATA, "%zu bytes after the pickle",
                         ff->size - ff->rest);
}

int foreign_unpack(struct foreign_file *ff)
{
    if (is_zip(ff->bytes, ff->size))
        return foreign_zip_unpack(ff);
    if (is_pickle(ff->bytes, ff->size))
        return pickle_unpack(ff);
    if (foreign_tar_is(ff->bytes, ff->size))
        return foreign_tar_unpack(ff);
    return err_set(ERR_DATA, "neither a file of torch.save nor a pickle");
}

void foreign_repack(struct foreign_file *ff)
{
    foreign_zip_repack(ff);
    foreign_tar_repack(ff);
}
