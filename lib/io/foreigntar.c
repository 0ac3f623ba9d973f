/*
 * The tar of torch.save before 0.1.10, four members: sys_info; storages and
 * tensors, pickles between raw numbers; and the pickle of the object, which
 * names tensors by their keys (torch/serialization.py, _legacy_tar_load).
 */
#include "io/foreign_private.h"
#include "io/tar.h"
#include "util/le.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 1000000

enum part {
    SYS_INFO,
    STORAGES,
    TENSORS,
    PICKLE,
    PARTS
};
static const char *const part_name[] = {"sys_info", "storages", "tensors",
                                        "pickle"};

/* ---- the tar, out of memory */

static int input_read(void *arg, void *to, size_t n)
{
    struct foreign_piece *in = arg;

    if (in->n == 0)
        return 0;
    if (n > in->n)
        return err_set(ERR_DATA, "cut short");
    memcpy(to, in->p, n);
    in->p += n;
    in->n -= n;
    return 1;
}

static int input_skip(void *arg, uint64_t n)
{
    struct foreign_piece *in = arg;

    if (n > in->n)
        return err_set(ERR_DATA, "cut short");
    in->p += n;
    in->n -= (size_t)n;
    return 1;
}

static int part_of(const char *path)
{
    for (int i = 0; i < PARTS; i++)
        if (strcmp(path, part_name[i]) == 0)
            return i;
    return -1;
}

bool foreign_tar_is(const void *bytes, size_t n)
{
    const char *p = bytes;
    char name[16];

    if (n < TAR_BLOCK)
        return false;
    memcpy(name, p, sizeof(name));
    name[sizeof(name) - 1] = '\0';
    return part_of(name) >= 0 && (p[257] == 'u' || p[257] == '\0');
}

static int find_parts(struct foreign_file *ff, struct foreign_piece part[PARTS])
{
    struct foreign_piece all = {ff->bytes, ff->size};
    struct tar_input in = {input_read, input_skip, &all};
    struct tar_reader r;
    int e, k;

    tar_reader_input(&r, &in, "tar", ff->size);
    r.max_member = ff->size;
    while ((e = tar_next(&r)) > 0) {
        k = part_of(r.path);
        if (k < 0)
            continue;
        if (r.size > ff->size - r.data_offset) {
            e = err_set(ERR_DATA, "%s: cut short", r.path);
            break;
        }
        part[k] =
            (struct foreign_piece){ff->bytes + r.data_offset, (size_t)r.size};
    }
    tar_reader_release(&r);
    for (k = 0; e == 0 && k < PARTS; k++)
        if (!part[k].p)
            e = err_set(ERR_DATA, "no %s in the tar", part_name[k]);
    return e;
}

/* ---- pickles between numbers */

static int next_count(const struct foreign_file *ff, struct foreign_piece *in,
                      int64_t *n)
{
    struct pickle p;
    int r = foreign_next(ff, in, &p);

    if (r < 0)
        return -1;
    *n = p.root->type == PICKLE_INT ? p.root->u.i : -1;
    pickle_release(&p);
    return *n >= 0 && *n <= COUNT_MAX
               ? 0
               : err_set(ERR_DATA, "no number of tensors or storages");
}

/* n numbers of 64 bits. */
static int next_numbers(struct foreign_piece *in, int64_t *to, int n)
{
    if (in->n < (size_t)n * 8)
        return err_set(ERR_DATA, "cut short");
    for (int i = 0; i < n; i++, in->p += 8, in->n -= 8)
        to[i] = (int64_t)le_get(in->p, 8);
    return 0;
}

/* The number of the storage under a key. */
static int storage_of(const struct foreign_file *ff,
                      const struct pickle_value *v)
{
    int64_t number;
    char key[FOREIGN_KEY];

    if (foreign_key(v, key) < 0)
        return -1;
    if (!map_get(&ff->keys, key, &number))
        return err_set(ERR_DATA, "storage %s: not there", key);
    return (int)number;
}

/* ---- storages: (key, device, class), their length, elements; then views */

static int add(struct foreign_file *ff, const struct pickle_value *key,
               struct foreign_storage s)
{
    char text[FOREIGN_KEY];

    if (foreign_key(key, text) < 0)
        return -1;
    if (!map_add(&ff->keys, text, ff->n_storages))
        return err_set(ERR_DATA, "storage %s: there twice", text);
    (void)foreign_add_storage(ff, s);
    return 0;
}

static int read_storage(struct foreign_file *ff, struct foreign_piece *in)
{
    struct foreign_storage s = {.member = -1};
    struct pickle p;
    size_t bytes;
    int r = foreign_next(ff, in, &p);

    if (r < 0)
        return -1;
    if (p.root->type != PICKLE_TUPLE || p.root->n != 3 ||
        !foreign_dtype(p.root->u.item[2], &s.dtype))
        r = err_set(ERR_DATA, "no storage");
    if (r == 0)
        r = next_numbers(in, &s.n, 1);
    bytes = dtype_size(s.dtype);
    if (r == 0 && (s.n < 0 || (uint64_t)s.n > in->n / bytes))
        r = err_set(ERR_DATA, "a storage is cut short");
    if (r == 0) {
        s.p = in->p;
        in->p += (size_t)s.n * bytes;
        in->n -= (size_t)s.n * bytes;
        r = add(ff, p.root->u.item[0], s);
    }
    pickle_release(&p);
    return r;
}

/* (key, key of the whole, offset, elements) */
static int read_view(struct foreign_file *ff, const struct pickle_value *v)
{
    struct foreign_storage s;
    int64_t from, n;
    int whole;

    if (v->type != PICKLE_TUPLE || v->n != 4 ||
        v->u.item[2]->type != PICKLE_INT || v->u.item[3]->type != PICKLE_INT)
        return err_set(ERR_DATA, "no view of a storage");
    whole = storage_of(ff, v->u.item[1]);
    if (whole < 0)
        return -1;
    s = ff->storage[whole];
    from = v->u.item[2]->u.i;
    n = v->u.item[3]->u.i;
    if (from < 0 || n < 0 || from > s.n || n > s.n - from)
        return err_set(ERR_DATA, "a view beyond its storage");
    s.p = (const char *)s.p + (size_t)from * dtype_size(s.dtype);
    s.n = n;
    return add(ff, v->u.item[0], s);
}

static int read_storages(struct foreign_file *ff, struct foreign_piece in)
{
    struct pickle views;
    int64_t n;
    int r = next_count(ff, &in, &n);

    while (r == 0 && n-- > 0)
        r = read_storage(ff, &in);
    if (r < 0 || foreign_next(ff, &in, &views) < 0)
        return -1;
    for (size_t i = 0;
         r == 0 && views.root->type == PICKLE_LIST && i < views.root->n; i++)
        r = read_view(ff, views.root->u.item[i]);
    pickle_release(&views);
    return r;
}

/* ---- tensors: (key, storage, class), dimensions, shape, strides, offset */

static int read_tensor(struct foreign_file *ff, struct foreign_piece *in)
{
    struct foreign_tensor *t = &ff->old[ff->n_old];
    int64_t shape[TENSOR_RANK], rank;
    struct pickle p;
    char key[FOREIGN_KEY];
    int r = foreign_next(ff, in, &p);

    if (r < 0)
        return -1;
    if (p.root->type != PICKLE_TUPLE || p.root->n != 3)
        r = err_set(ERR_DATA, "no tensor");
    if (r == 0)
        r = foreign_key(p.root->u.item[0], key);
    if (r == 0)
        r = t->storage = storage_of(ff, p.root->u.item[1]);
    pickle_release(&p);
    /* the upper half of the rank is filled up */
    if (r < 0 || next_numbers(in, &rank, 1) < 0)
        return -1;
    rank &= 0xffffffff;
    if (rank > TENSOR_RANK)
        return err_set(ERR_DATA, "tensor %s: %" PRId64 " dimensions", key,
                       rank);
    if (next_numbers(in, shape, (int)rank) < 0 ||
        next_numbers(in, t->stride, (int)rank) < 0 ||
        next_numbers(in, &t->offset, 1) < 0)
        return -1;
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0 || t->stride[i] < 0 || t->offset < 0)
            return err_set(ERR_DATA, "tensor %s: a negative shape", key);
    t->t = tensor_of(ff->storage[t->storage].dtype, (int)rank, shape, NULL);
    if (!map_add(&ff->old_keys, key, ff->n_old))
        return err_set(ERR_DATA, "tensor %s: there twice", key);
    ff->n_old++;
    return 0;
}

static int read_tensors(struct foreign_file *ff, struct foreign_piece in)
{
    int64_t n;
    int r = next_count(ff, &in, &n);

    if (r < 0)
        return -1;
    ff->old = xcalloc((size_t)n + 1, sizeof(*ff->old));
    while (r == 0 && n-- > 0)
        r = read_tensor(ff, &in);
    return r;
}

/* The object names tensors, never storages. */
static int persistent(struct foreign_file *ff, const struct pickle_value *id,
                      struct foreign_tensor *t)
{
    int64_t number;
    char key[FOREIGN_KEY];

    if (foreign_key(id, key) < 0)
        return -1;
    if (!t || !map_get(&ff->old_keys, key, &number))
        return err_set(ERR_DATA, "tensor %s: not there", key);
    *t = ff->old[number];
    return t->storage;
}

int foreign_tar_unpack(struct foreign_file *ff)
{
    struct foreign_piece part[PARTS] = {{NULL, 0}};

    ff->persistent = persistent;
    if (find_parts(ff, part) < 0)
        return -1;
    if (read_storages(ff, part[STORAGES]) < 0)
        return err_wrap("storages");
    if (read_tensors(ff, part[TENSORS]) < 0)
        return err_wrap("tensors");
    return foreign_next(ff, &part[PICKLE], &ff->pickle);
}

void foreign_tar_repack(struct foreign_file *ff)
{
    free(ff->old);
    map_release(&ff->old_keys);
}
