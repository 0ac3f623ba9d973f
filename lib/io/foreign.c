/* From a pickle to named tensors, and to their elements. */
#include "io/foreign.h"
#include "io/foreign_private.h"
#include "io/frame.h"
#include "util/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 64
#define STEPS_MAX 8000000
#define TENSORS_MAX 1000000
#define SPREAD_MAX ((int64_t)1 << 24) /* elements of a view of fewer */

/* A type that Python 2 and 3 have under two names. */
#define BUILTIN(name) "__builtin__." name, "builtins." name

/* What pickles of weights, optimizers, schedules and arguments ask for. */
const char *const foreign_globals[] = {"collections.OrderedDict",
                                       "collections.defaultdict",
                                       "collections.Counter",
                                       BUILTIN("bool"),
                                       BUILTIN("bytearray"),
                                       BUILTIN("bytes"),
                                       BUILTIN("complex"),
                                       BUILTIN("dict"),
                                       BUILTIN("float"),
                                       BUILTIN("frozenset"),
                                       BUILTIN("int"),
                                       BUILTIN("list"),
                                       BUILTIN("range"),
                                       BUILTIN("set"),
                                       BUILTIN("slice"),
                                       BUILTIN("str"),
                                       BUILTIN("tuple"),
                                       "__builtin__.long",
                                       "__builtin__.unicode",
                                       "__builtin__.xrange",
                                       "datetime.date",
                                       "datetime.datetime",
                                       "datetime.timedelta",
                                       "datetime.timezone",
                                       "pathlib.PosixPath",
                                       "pathlib.PurePosixPath",
                                       "pathlib.WindowsPath",
                                       "pathlib.PureWindowsPath",
                                       "pathlib._local.PosixPath",
                                       "pathlib._local.PurePosixPath",
                                       "pathlib._local.WindowsPath",
                                       "pathlib._local.PureWindowsPath",
                                       "torch._utils._rebuild_tensor",
                                       "torch._utils._rebuild_tensor_v2",
                                       "torch._utils._rebuild_parameter",
                                       "torch.FloatStorage",
                                       "torch.HalfStorage",
                                       "torch.BFloat16Storage",
                                       "torch.DoubleStorage",
                                       "torch.LongStorage",
                                       "torch.IntStorage",
                                       "torch.ShortStorage",
                                       "torch.CharStorage",
                                       "torch.ByteStorage",
                                       "torch.BoolStorage",
                                       "torch.FloatTensor",
                                       "torch.HalfTensor",
                                       "torch.DoubleTensor",
                                       "torch.LongTensor",
                                       "torch.IntTensor",
                                       "torch.ShortTensor",
                                       "torch.CharTensor",
                                       "torch.ByteTensor",
                                       "torch.Size",
                                       "torch.device",
                                       "torch.float32",
                                       "torch.float64",
                                       "torch.float16",
                                       "torch.bfloat16",
                                       "torch.int64",
                                       "torch.int32",
                                       "torch.int16",
                                       "torch.int8",
                                       "torch.uint8",
                                       "torch.bool",
                                       "argparse.Namespace",
                                       "numpy.core.multiarray._reconstruct",
                                       "numpy._core.multiarray._reconstruct",
                                       "numpy.core.multiarray.scalar",
                                       "numpy._core.multiarray.scalar",
                                       "numpy.core.numeric._frombuffer",
                                       "numpy._core.numeric._frombuffer",
                                       "numpy.ndarray",
                                       "numpy.dtype",
                                       "_codecs.encode",
                                       NULL};

/* ---- small values */

bool foreign_dtype(const struct pickle_value *global, enum dtype *t)
{
    static const struct {
        const char *name;
        enum dtype t;
    } of[] = {{"Float", DT_F32},  {"Half", DT_F16}, {"BFloat16", DT_BF16},
              {"Double", DT_F64}, {"Long", DT_I64}, {"Int", DT_I32},
              {"Short", DT_I16},  {"Char", DT_I8},  {"Byte", DT_U8},
              {"Bool", DT_BOOL}};
    char name[48];

    for (size_t i = 0; i < sizeof(of) / sizeof(*of); i++)
        for (int k = 0; k < 2; k++) {
            snprintf(name, sizeof(name), "torch.%s%s", of[i].name,
                     k ? "Tensor" : "Storage");
            if (pickle_is(global, name)) {
                *t = of[i].t;
                return true;
            }
        }
    return false;
}

int foreign_shape(const struct pickle_value *tuple, int64_t out[TENSOR_RANK])
{
    /* torch.Size((2, 3)) as well as (2, 3) */
    if (tuple && tuple->type == PICKLE_CALL && pickle_is(tuple, "torch.Size"))
        tuple = pickle_arg(tuple, 0);
    if (!tuple || (tuple->type != PICKLE_TUPLE && tuple->type != PICKLE_LIST))
        return err_set(ERR_DATA, "a shape that is no tuple");
    if (tuple->n > TENSOR_RANK)
        return err_set(ERR_DATA, "%zu dimensions, %d are read", tuple->n,
                       TENSOR_RANK);
    for (size_t i = 0; i < tuple->n; i++) {
        const struct pickle_value *v = tuple->u.item[i];

        if (v->type != PICKLE_INT || v->u.i < 0)
            return err_set(ERR_DATA, "a shape of other than whole numbers");
        out[i] = v->u.i;
    }
    return (int)tuple->n;
}

int foreign_add_storage(struct foreign_file *ff, struct foreign_storage s)
{
    if (ff->n_storages == ff->room) {
        ff->room = ff->room * 2 + 16;
        ff->storage =
            xreallocarray(ff->storage, (size_t)ff->room, sizeof(*ff->storage));
    }
    ff->storage[ff->n_storages] = s;
    return ff->n_storages++;
}

/* ---- one tensor */

/* Whether every element lies in the storage. */
static int check_view(const struct foreign_file *ff,
                      const struct foreign_tensor *t)
{
    const struct foreign_storage *s = &ff->storage[t->storage];
    int64_t last = t->offset, step, count;
    uint64_t bytes;

    if (tensor_check(&t->t, &bytes) < 0)
        return -1;
    count = tensor_count(&t->t);
    if (count == 0)
        return 0;
    for (int i = 0; i < t->t.rank; i++)
        if (!mul_ok(t->t.shape[i] - 1, t->stride[i], &step) ||
            !add_ok(last, step, &last))
            return err_set(ERR_DATA, "strides overflow");
    if (last >= s->n)
        return err_set(ERR_DATA,
                       "reaches element %" PRId64 " of a storage of %" PRId64,
                       last, s->n);
    if (count > s->n && count > SPREAD_MAX)
        return err_set(ERR_DATA,
                       "shows %" PRId64 " elements of a storage of %" PRId64,
                       count, s->n);
    return 0;
}

/* Of printable text, and no longer than others write it. */
static bool is_name(const char *name, size_t n)
{
    if (n > FRAME_NAME_MAX || strlen(name) < n || !utf8_valid(name))
        return false;
    for (; *name; name++)
        if ((unsigned char)*name < ' ' || *name == 0x7f)
            return false;
    return true;
}

static int add_tensor(struct foreign_file *ff, const struct foreign_tensor *t,
                      const struct buf *path)
{
    struct foreign *f = ff->f;
    const char *name = path->len ? path->data : "tensor";

    if (f->n >= TENSORS_MAX)
        return err_set(ERR_DATA, "over %d tensors", TENSORS_MAX);
    if (!is_name(name, path->len))
        return err_set(ERR_DATA,
                       "tensor \"%.80s\": a name that is too long or no "
                       "printable text",
                       name);
    if (check_view(ff, t) < 0)
        return err_wrap("tensor \"%.80s\"", name);
    if (!map_add(&ff->names, name, f->n))
        return err_set(ERR_DATA, "tensor \"%.80s\": there twice", name);
    if (f->n == ff->tensor_room) {
        ff->tensor_room = ff->tensor_room * 2 + 64;
        f->tensor = xreallocarray(f->tensor, (size_t)ff->tensor_room,
                                  sizeof(*f->tensor));
    }
    f->tensor[f->n] = *t;
    f->tensor[f->n].key = path->len ? ff->key : strlen(name);
    f->tensor[f->n++].name = xstrdup(name);
    return 0;
}

/* Whether {"neg": True} or the like says that the elements are not the tensor's:
 * a view of what complex numbers were made of. */
static bool is_changed(const struct pickle_value *how)
{
    for (size_t i = 0; how && how->type == PICKLE_DICT && i + 1 < how->n;
         i += 2) {
        const struct pickle_value *v = how->u.item[i + 1];

        if ((pickle_is(how->u.item[i], "neg") ||
             pickle_is(how->u.item[i], "conj")) &&
            (v->type != PICKLE_BOOL || v->u.i))
            return true;
    }
    return false;
}

/* _rebuild_tensor(storage, offset, shape, strides), _v2 with more behind. */
static int torch_tensor(struct foreign_file *ff,
                        const struct pickle_value *call,
                        struct foreign_tensor *t)
{
    const struct pickle_value *id = pickle_arg(call, 0);
    const struct pickle_value *offset = pickle_arg(call, 1);
    int64_t shape[TENSOR_RANK];
    int rank, strides;

    if (!id || id->type != PICKLE_PERSID || !offset ||
        offset->type != PICKLE_INT || offset->u.i < 0)
        return err_set(ERR_DATA, "a tensor without a storage or an offset");
    if (is_changed(pickle_arg(call, 6)))
        return err_set(ERR_DATA, "a view that negates: not read");
    t->storage = ff->persistent ? ff->persistent(ff, id->u.item[0], NULL)
                                : err_set(ERR_DATA, "a storage, but no file "
                                                    "of torch.save");
    rank = t->storage < 0 ? -1 : foreign_shape(pickle_arg(call, 2), shape);
    strides = rank < 0 ? -1 : foreign_shape(pickle_arg(call, 3), t->stride);
    if (strides < 0)
        return -1;
    if (rank != strides)
        return err_set(ERR_DATA, "%d dimensions and %d strides", rank, strides);
    t->offset = offset->u.i;
    t->t = tensor_of(ff->storage[t->storage].dtype, rank, shape, NULL);
    return 0;
}

/* ---- the walk */

static bool has_parts(const struct pickle_value *v)
{
    return v->type >= PICKLE_TUPLE && v->type != PICKLE_GLOBAL;
}

static int walk(struct foreign_file *ff, const struct pickle_value *v,
                struct buf *path, int depth);

/* The value under a key: path becomes path.key, and afterwards what it was. */
static int walk_under(struct foreign_file *ff, const char *key, size_t n,
                      const struct pickle_value *v, struct buf *path, int depth)
{
    size_t len = path->len;
    int r;

    if (len)
        buf_addch(path, '.');
    buf_add(path, key, n);
    if (!len)
        ff->key = n;
    r = walk(ff, v, path, depth + 1);
    path->len = len;
    if (path->data)
        path->data[len] = '\0';
    return r;
}

static int walk_number(struct foreign_file *ff, int64_t i,
                       const struct pickle_value *v, struct buf *path,
                       int depth)
{
    char key[24];
    int n = snprintf(key, sizeof(key), "%" PRId64, i);

    return walk_under(ff, key, (size_t)n, v, path, depth);
}

static int walk_dict(struct foreign_file *ff, const struct pickle_value *d,
                     struct buf *path, int depth)
{
    int r = 0;

    for (size_t i = 0; d && i + 1 < d->n && r == 0; i += 2) {
        const struct pickle_value *key = d->u.item[i], *v = d->u.item[i + 1];

        if (pickle_is_text(key))
            r = walk_under(ff, key->u.text, key->n, v, path, depth);
        else if (key->type == PICKLE_INT)
            r = walk_number(ff, key->u.i, v, path, depth);
        else if (has_parts(v))
            r = err_set(ERR_DATA, "\"%.80s\": a key that is no text or number",
                        path->len ? path->data : "");
    }
    return r;
}

static int walk_items(struct foreign_file *ff, const struct pickle_value *v,
                      struct buf *path, int depth)
{
    int r = 0;

    for (size_t i = 0; i < v->n && r == 0; i++)
        r = walk_number(ff, (int64_t)i, v->u.item[i], path, depth);
    return r;
}

/* OrderedDict(((key, value), ...)), as Python 2 has it. */
static int walk_pairs(struct foreign_file *ff, const struct pickle_value *pairs,
                      struct buf *path, int depth)
{
    int r = 0;

    if (!pairs || pairs->type != PICKLE_LIST)
        return 0;
    for (size_t i = 0; i < pairs->n && r == 0; i++) {
        const struct pickle_value *pair = pairs->u.item[i];

        if ((pair->type != PICKLE_LIST && pair->type != PICKLE_TUPLE) ||
            pair->n != 2)
            return err_set(ERR_DATA, "\"%.80s\": a dict of other than pairs",
                           path->len ? path->data : "");
        r = walk_dict(ff, pair, path, depth);
    }
    return r;
}

static int walk_call(struct foreign_file *ff, const struct pickle_value *v,
                     struct buf *path, int depth)
{
    struct foreign_tensor t;
    int r;

    memset(&t, 0, sizeof(t));
    if (pickle_is(v, "collections.OrderedDict") ||
        pickle_is(v, "collections.defaultdict"))
        return walk_pairs(ff, pickle_arg(v, 0), path, depth) < 0
                   ? -1
                   : walk_dict(ff, v->entries, path, depth);
    if (pickle_is(v, "torch._utils._rebuild_parameter"))
        return pickle_arg(v, 0) ? walk(ff, pickle_arg(v, 0), path, depth + 1)
                                : err_set(ERR_DATA, "an empty parameter");
    if (pickle_is(v, "torch._utils._rebuild_tensor") ||
        pickle_is(v, "torch._utils._rebuild_tensor_v2"))
        r = torch_tensor(ff, v, &t);
    else
        r = foreign_numpy(ff, v, &t);
    if (r < 0)
        return err_wrap("tensor \"%.80s\"", path->len ? path->data : "");
    return r > 0 ? 0 : add_tensor(ff, &t, path);
}

static int walk(struct foreign_file *ff, const struct pickle_value *v,
                struct buf *path, int depth)
{
    struct foreign_tensor t;

    if (depth > DEPTH_MAX)
        return err_set(ERR_DATA, "nested over %d deep", DEPTH_MAX);
    if (++ff->steps > STEPS_MAX)
        return err_set(ERR_DATA, "over %d values", STEPS_MAX);
    switch (v->type) {
    case PICKLE_DICT:
        return walk_dict(ff, v, path, depth);
    case PICKLE_LIST:
    case PICKLE_TUPLE:
        return walk_items(ff, v, path, depth);
    case PICKLE_CALL:
        return walk_call(ff, v, path, depth);
    case PICKLE_PERSID:
        memset(&t, 0, sizeof(t));
        if (!ff->persistent)
            return err_set(ERR_DATA, "a storage, but no file of torch.save");
        if (ff->persistent(ff, v->u.item[0], &t) < 0)
            return -1;
        return add_tensor(ff, &t, path);
    default:
        return 0;
    }
}

/* ---- elements */

/* Elements of size bytes as the view shows them, dimension by dimension. */
static char *copy_view(const struct foreign_tensor *t, int dim,
                       const char *from, size_t size, char *to)
{
    int64_t i, n = dim < t->t.rank ? t->t.shape[dim] : 1;
    int64_t step = dim < t->t.rank ? t->stride[dim] : 1;

    if (dim >= t->t.rank - 1 && (step == 1 || n == 1)) {
        memcpy(to, from, (size_t)n * size);
        return to + (size_t)n * size;
    }
    for (i = 0; i < n; i++, from += step * (int64_t)size)
        if (dim < t->t.rank - 1) {
            to = copy_view(t, dim + 1, from, size, to);
        } else {
            memcpy(to, from, size);
            to += size;
        }
    return to;
}

static void swap_bytes(char *p, size_t bytes, size_t size)
{
    for (char *end = p + bytes; p < end; p += size)
        for (size_t i = 0; i < size / 2; i++) {
            char c = p[i];

            p[i] = p[size - 1 - i];
            p[size - 1 - i] = c;
        }
}

int foreign_read(struct foreign *f, int i, void *dst)
{
    const struct foreign_tensor *t = &f->tensor[i];
    size_t size = dtype_size(t->t.dtype);
    const char *from;

    if (tensor_count(&t->t) == 0)
        return 0;
    from = f->file->storage[t->storage].p;
    if (!from)
        from = foreign_zip_bytes(f->file, t->storage);
    if (!from)
        return err_wrap("tensor \"%.80s\"", t->name);
    copy_view(t, 0, from + (size_t)t->offset * size, size, dst);
    if (f->file->storage[t->storage].swapped)
        swap_bytes(dst, tensor_bytes(&t->t), size);
    return 0;
}

/* ---- open and close */

int foreign_parse(struct foreign *f, const void *bytes, size_t n)
{
    struct foreign_file *ff = xcalloc(1, sizeof(*ff));
    struct buf path = BUF_INIT;
    int r;

    memset(f, 0, sizeof(*f));
    f->file = ff;
    *ff = (struct foreign_file){.f = f,
                                .bytes = bytes,
                                .size = n,
                                .names = MAP_INIT,
                                .keys = MAP_INIT,
                                .old_keys = MAP_INIT,
                                .loaded_number = -1};
    r = foreign_unpack(ff);
    if (r == 0)
        r = walk(ff, ff->pickle.root, &path, 0);
    if (r == 0 && ff->settle)
        r = ff->settle(ff);
    if (r == 0 && f->n == 0)
        r = err_set(ERR_DATA, "no tensors in it");
    buf_release(&path);
    if (r < 0)
        foreign_close(f);
    return r;
}

/* The file in memory: *n of it, NULL with an error. */
static void *map_file(const char *path, size_t *n)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    void *p = NULL;

    if (fd < 0) {
        err_sys(ERR_NOINPUT, "open");
        return NULL;
    }
    if (fstat(fd, &st) < 0)
        err_sys(ERR_IO, "stat");
    else if (!S_ISREG(st.st_mode) || st.st_size == 0)
        err_set(ERR_DATA, st.st_size ? "not a regular file" : "empty");
    else if ((p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd,
                       0)) == MAP_FAILED) {
        err_sys(ERR_SYSTEM, "mmap");
        p = NULL;
    }
    *n = (size_t)st.st_size;
    close(fd);
    return p;
}

int foreign_open(struct foreign *f, const char *path)
{
    size_t n;
    void *map = map_file(path, &n);

    memset(f, 0, sizeof(*f));
    if (!map)
        return err_wrap("%s", path);
    if (foreign_parse(f, map, n) < 0) {
        munmap(map, n);
        return err_wrap("%s", path);
    }
    f->file->map = map;
    return 0;
}

bool foreign_has_sums(const struct foreign *f)
{
    return f->file->zip != NULL;
}

void foreign_close(struct foreign *f)
{
    struct foreign_file *ff = f->file;

    for (int i = 0; i < f->n; i++)
        free(f->tensor[i].name);
    free(f->tensor);
    if (ff) {
        for (int i = 0; i < ff->n_storages; i++)
            free(ff->storage[i].own);
        free(ff->storage);
        pickle_release(&ff->pickle);
        map_release(&ff->names);
        map_release(&ff->keys);
        foreign_repack(ff);
        if (ff->map)
            munmap(ff->map, ff->size);
        free(ff);
    }
    memset(f, 0, sizeof(*f));
}
