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
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, head, sizeof(head), 0);

    if (fd >= 0)
        close(fd);
    return n > 0 && (is_zip(head, (size_t)n) || is_pickle(head, (size_t)n) ||
                     foreign_tar_is(head, (size_t)n));
}

/* ---- pieces, keys, persistent ids */

int foreign_next(const struct foreign_file *ff, struct foreign_piece *in,
                 struct pickle *p)
{
    ptrdiff_t at = in->p - ff->bytes;
    size_t used;

    if (pickle_parse(p, in->p, in->n, foreign_globals, &used) < 0)
        return at ? err_wrap("pickle at %td", at) : -1;
    in->p += used;
    in->n -= used;
    return 0;
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

int foreign_key(const struct pickle_value *v, char key[FOREIGN_KEY])
{
    if (v->type == PICKLE_INT)
        snprintf(key, FOREIGN_KEY, "%" PRId64, v->u.i);
    else if (pickle_is_text(v) && v->n < FOREIGN_KEY &&
             !memchr(v->u.text, 0, v->n))
        snprintf(key, FOREIGN_KEY, "%.*s", (int)v->n, v->u.text);
    else
        return err_set(ERR_DATA, "a key that is no number or short text");
    return 0;
}

int foreign_storage_of(struct foreign_file *ff, const struct pickle_value *id,
                       bool *fresh, char key[FOREIGN_KEY])
{
    struct foreign_storage s = {.member = -1};
    struct pickle_value **v = id->u.item;
    int64_t number;

    if (id->type != PICKLE_TUPLE || id->n < 5 || !pickle_is(v[0], "storage") ||
        !foreign_dtype(v[1], &s.dtype) || v[4]->type != PICKLE_INT ||
        !pickle_is_text(v[2]) || foreign_key(v[2], key) < 0)
        return err_set(ERR_DATA, "a persistent id that is no storage");
    if (id->n > 5 && v[5]->type != PICKLE_NONE)
        return err_set(ERR_DATA, "a storage that is a part of another");
    s.n = v[4]->u.i;
    if (s.n < 0 || s.n > INT64_MAX / 16)
        return err_set(ERR_DATA, "storage %s: of %" PRId64 " elements", key,
                       s.n);
    *fresh = !map_get(&ff->keys, key, &number);
    if (*fresh) {
        number = foreign_add_storage(ff, s);
        if (!map_add(&ff->keys, key, number))
            BUG("storage %s", key);
    } else if (ff->storage[number].dtype != s.dtype ||
               ff->storage[number].n != s.n) {
        return err_set(ERR_DATA, "storage %s: of two kinds", key);
    }
    return (int)number;
}

/* ---- a stream: magic number, protocol, system, object, keys, storages */

static int stream_persistent(struct foreign_file *ff,
                             const struct pickle_value *id,
                             struct foreign_tensor *t)
{
    char key[FOREIGN_KEY];
    bool fresh;
    int s = foreign_storage_of(ff, id, &fresh, key);

    if (s >= 0 && t)
        foreign_whole(ff, s, t);
    return s;
}

/* One storage: its length, its elements. */
static int stream_storage(struct foreign_file *ff, const char *key)
{
    struct foreign_piece *in = &ff->rest;
    struct foreign_storage *s;
    int64_t number;
    size_t bytes;

    if (!map_get(&ff->keys, key, &number))
        return err_set(ERR_DATA, "storage %s: of no tensor", key);
    s = &ff->storage[number];
    bytes = 8 + (size_t)s->n * dtype_size(s->dtype);
    if (in->n < 8 || le_get(in->p, 8) != (uint64_t)s->n)
        return err_set(ERR_DATA, "storage %s: no %" PRId64 " elements", key,
                       s->n);
    if (in->n < bytes)
        return err_set(ERR_DATA, "storage %s: cut short", key);
    s->p = in->p + 8;
    in->p += bytes;
    in->n -= bytes;
    return 0;
}

/* The storages lie in the order of the list of keys. */
static int stream_settle(struct foreign_file *ff)
{
    struct pickle list = PICKLE_INIT;
    int r = foreign_next(ff, &ff->rest, &list);
    char key[FOREIGN_KEY];

    if (r == 0 && list.root->type != PICKLE_LIST)
        r = err_set(ERR_DATA, "no list of storages");
    for (size_t i = 0; r == 0 && i < list.root->n; i++) {
        r = foreign_key(list.root->u.item[i], key);
        if (r == 0)
            r = stream_storage(ff, key);
    }
    pickle_release(&list);
    for (int i = 0; r == 0 && i < ff->n_storages; i++)
        if (!ff->storage[i].p)
            r = err_set(ERR_DATA, "a storage that is not there");
    return r;
}

static int stream_unpack(struct foreign_file *ff)
{
    struct pickle p = PICKLE_INIT;
    bool known, little = true;

    if (foreign_next(ff, &ff->rest, &p) < 0)
        return -1;
    known = p.root->type == PICKLE_INT && p.root->u.i == PROTOCOL;
    pickle_release(&p);
    if (!known)
        return err_set(ERR_DATA, "a protocol of torch.save other than %d",
                       PROTOCOL);
    if (foreign_next(ff, &ff->rest, &p) < 0)
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
    return foreign_next(ff, &ff->rest, &ff->pickle);
}

/* ---- any of them */

static int pickle_unpack(struct foreign_file *ff)
{
    const struct pickle_value *root;

    if (foreign_next(ff, &ff->rest, &ff->pickle) < 0)
        return -1;
    root = ff->pickle.root;
    if (root->type == PICKLE_LONG && root->n == sizeof(magic) &&
        memcmp(root->u.text, magic, sizeof(magic)) == 0) {
        pickle_release(&ff->pickle);
        return stream_unpack(ff);
    }
    return ff->rest.n == 0
               ? 0
               : err_set(ERR_DATA, "%zu bytes after the pickle", ff->rest.n);
}

int foreign_unpack(struct foreign_file *ff)
{
    ff->rest = (struct foreign_piece){ff->bytes, ff->size};
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
