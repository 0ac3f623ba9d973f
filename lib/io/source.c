#include "io/source.h"

#include "io/coco.h"
#include "io/gz.h"
#include "io/source_private.h"
#include "util/fdio.h"
#include "util/utf8.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 16

struct walk {
    struct source *src;
    size_t root; /* bytes of the path before the relative part */
    int32_t label;
};

char *source_key(const char *relative)
{
    char *key = xstrdup(relative), *base = strrchr(key, '/'), *dot;

    base = base ? base + 1 : key;
    dot = strrchr(base, '.');
    if (dot && dot != base)
        *dot = 0;
    for (char *p = key; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
              (*p >= '0' && *p <= '9') || strchr("_/+-", *p)))
            *p = '_';
    return key;
}

struct source_file *source_add(struct source *src)
{
    struct source_file *f;

    if (src->n == src->cap) {
        src->cap = src->cap ? src->cap * 2 : 1024;
        src->file = xreallocarray(src->file, src->cap, sizeof(*src->file));
    }
    f = &src->file[src->n++];
    *f = (struct source_file){.archive = -1, .label = LABEL_NONE};
    return f;
}

int32_t label_of_name(struct source *src, const char *name)
{
    int64_t i;

    if (!map_get(&src->names, name, &i)) {
        i = (int64_t)src->n_names++;
        src->name = xreallocarray(src->name, src->n_names, sizeof(*src->name));
        src->name[i] = xstrdup(name);
        (void)map_add(&src->names, name, i);
    }
    return (int32_t)(-2 - i);
}

bool is_split_name(const char *name, size_t n)
{
    static const char *const known[] = {"train", "val", "validation", "test"};

    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (strlen(known[i]) == n && !memcmp(known[i], name, n))
            return true;
    return false;
}

bool is_split(const char *folder, size_t n, const char *split)
{
    if (strlen(split) == n && !memcmp(folder, split, n))
        return true;
    return (!strcmp(split, "val") && n == 10 &&
            !memcmp(folder, "validation", n)) ||
           (!strcmp(split, "validation") && n == 3 &&
            !memcmp(folder, "val", n));
}

static void add_file(struct walk *w, const char *path, uint64_t size)
{
    struct source_file *f = source_add(w->src);

    f->path = xstrdup(path);
    f->key = source_key(path + w->root);
    f->label = w->label;
    f->size = size;
}

/* Is it a directory (1), a regular file (0)? Links are followed. */
static int kind_of(const char *path, uint64_t *size)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return err_sys(ERR_NOINPUT, "%s", path);
    *size = (uint64_t)st.st_size;
    if (S_ISDIR(st.st_mode))
        return 1;
    if (S_ISREG(st.st_mode))
        return 0;
    return err_set(ERR_DATA, "%s: neither a file nor a folder", path);
}

static int walk_class(struct walk *w, const char *dir, int depth)
{
    DIR *d = opendir(dir);
    int kind, result = -1;
    struct dirent *e;
    uint64_t size;
    char *path;

    if (!d)
        return err_sys(ERR_NOINPUT, "%s: open", dir);
    if (depth > DEPTH_MAX) {
        err_set(ERR_DATA, "%s: folders nested more than %d deep", dir,
                DEPTH_MAX);
        goto out;
    }
    while (errno = 0, (e = readdir(d))) {
        if (e->d_name[0] == '.') {
            w->src->ignored +=
                strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
            continue;
        }
        path = xstrfmt("%s/%s", dir, e->d_name);
        kind = kind_of(path, &size);
        if (kind > 0)
            kind = walk_class(w, path, depth + 1);
        else if (kind == 0)
            add_file(w, path, size);
        free(path);
        if (kind < 0)
            goto out;
    }
    result = errno ? err_sys(ERR_IO, "%s: read", dir) : 0;
out:
    closedir(d);
    return result;
}

static int by_name(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

/* Names of the folders in dir, sorted; files beside them are counted. */
static int folders(const char *dir, char ***names, size_t *n, size_t *files)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    uint64_t size;
    int kind = 0;

    if (!d)
        return err_sys(ERR_NOINPUT, "%s: open", dir);
    while (kind >= 0 && (errno = 0, (e = readdir(d)))) {
        char *path;

        if (e->d_name[0] == '.')
            continue;
        path = xstrfmt("%s/%s", dir, e->d_name);
        kind = kind_of(path, &size);
        free(path);
        *files += kind == 0;
        if (kind > 0) {
            *names = xreallocarray(*names, *n + 1, sizeof(**names));
            (*names)[(*n)++] = xstrdup(e->d_name);
        }
    }
    if (kind >= 0 && errno)
        kind = err_sys(ERR_IO, "%s: read", dir);
    closedir(d);
    if (kind < 0)
        return -1;
    if (*n)
        qsort(*names, *n, sizeof(**names), by_name);
    return 0;
}

/* Folders called train, val ...: the one of the split, NULL if they are none
 * such; with an error if the split's is not among them. */
static const char *split_folder(const char *dir, char **names, size_t n,
                                const char *split)
{
    const char *found = NULL;

    for (size_t i = 0; i < n; i++) {
        if (!is_split_name(names[i], strlen(names[i])))
            return NULL;
        if (is_split(names[i], strlen(names[i]), split))
            found = names[i];
    }
    if (n > 1 && !found)
        err_set(ERR_DATA,
                "%s: has %s/ and %s/, but none called \"%s\": give "
                "the one that is meant, or --split",
                dir, names[0], names[1], split);
    return n > 1 ? found : NULL;
}

static int list_classes(struct source *src, const char *dir, char **names,
                        size_t n)
{
    struct walk w = {.src = src, .root = strlen(dir) + 1};

    for (size_t i = 0; i < n; i++) {
        char *path = xstrfmt("%s/%s", dir, names[i]);
        int r;

        w.label = label_of_name(src, names[i]);
        r = walk_class(&w, path, 0);
        free(path);
        if (r < 0)
            return -1;
    }
    return 0;
}

static int list_dir(struct source *src, const char *dir,
                    const struct source_how *how, int depth)
{
    struct walk flat = {
        .src = src, .root = strlen(dir) + 1, .label = LABEL_NONE};
    size_t n = 0, files = 0, before = src->n;
    char **names = NULL, *inner = NULL;
    const char *split;
    int r = folders(dir, &names, &n, &files);

    if (r < 0)
        goto out;
    err_clear();
    split = depth == 0 ? split_folder(dir, names, n, how->split) : NULL;
    if (split) {
        src->ignored += files;
        inner = xstrfmt("%s/%s", dir, split);
        note("%s: taken for the split", inner);
        r = list_dir(src, inner, how, 1);
    } else if (err_code()) {
        r = -1;
    } else if (n == 0 || how->labels) {
        r = walk_class(&flat, dir, 0);
    } else {
        src->ignored += files;
        r = list_classes(src, dir, names, n);
    }
    if (r == 0 && !split)
        note("%s: %s of %zu images", dir,
             n == 0 || how->labels ? "a folder" : "class folders",
             src->n - before);
out:
    free(inner);
    for (size_t k = 0; k < n; k++)
        free(names[k]);
    free(names);
    return r;
}

/* ---- the list as a whole */

static int by_key(const void *a, const void *b)
{
    const struct source_file *x = a, *y = b;
    int r = strcmp(x->key, y->key);

    return r ? r : strcmp(x->path, y->path);
}

static int by_place(const void *a, const void *b)
{
    const struct source_file *x = a, *y = b;

    if (x->archive != y->archive)
        return x->archive < y->archive ? -1 : 1;
    if (x->archive >= 0 && x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return by_key(a, b);
}

static int sort_files(struct source *src)
{
    if (!src->n)
        return err_set(ERR_NOINPUT, "no files in the sources");
    qsort(src->file, src->n, sizeof(*src->file), by_key);
    for (size_t i = 1; i < src->n; i++)
        if (!strcmp(src->file[i].key, src->file[i - 1].key))
            return err_set(ERR_DATA, "%s and %s: both have the key %s",
                           src->file[i - 1].path, src->file[i].path,
                           src->file[i].key);
    return 0;
}

/* The classes of s become the names, in byte order. */
static int take_classes(const struct source *src, struct shard_set *s)
{
    char **all;

    for (size_t i = 0; i < src->n_names; i++)
        if (!utf8_valid(src->name[i]))
            return err_set(ERR_DATA, "class \"%s\": the name is not UTF-8",
                           src->name[i]);
    if (!src->n_names)
        return 0;
    all = xreallocarray(NULL, src->n_names, sizeof(*all));
    memcpy(all, src->name, src->n_names * sizeof(*all));
    qsort(all, src->n_names, sizeof(*all), by_name);
    for (size_t i = 0; i < src->n_names; i++)
        shard_set_class(s, all[i], NULL, -1);
    free(all);
    return 0;
}

static int number_classes(const struct shard_set *s, struct map *classes)
{
    for (size_t k = 0; k < s->n_classes; k++)
        if (!map_add(classes, s->cls[k].name, (int64_t)k))
            return err_set(ERR_DATA, "class \"%s\" is there twice",
                           s->cls[k].name);
    return 0;
}

/* A label that is a number. */
static int check_number(struct source *src, const struct shard_set *s,
                        const struct source_file *f)
{
    if (s->n_classes && (uint32_t)f->label >= s->n_classes)
        return err_set(ERR_DATA, "%s: class %ld: there are %lu classes",
                       f->path, (long)f->label, (unsigned long)s->n_classes);
    if (f->label >= src->numbers)
        src->numbers = f->label + 1;
    return 0;
}

/* Names become numbers. */
static int resolve(struct source *src, struct shard_set *s, struct map *classes)
{
    bool listed = s->n_classes > 0;
    int64_t label;

    if (!listed) {
        if (take_classes(src, s) < 0 || number_classes(s, classes) < 0)
            return -1;
    }
    for (size_t i = 0; i < src->n; i++) {
        struct source_file *f = &src->file[i];

        if (f->label >= 0) {
            if (!listed && src->n_names)
                return err_set(ERR_DATA,
                               "%s: class %ld, a number, where others have "
                               "names: --classes says which they are",
                               f->path, (long)f->label);
            if (check_number(src, s, f) < 0)
                return -1;
        } else if (f->label < LABEL_NONE) {
            const char *name = src->name[-2 - f->label];

            if (!map_get(classes, name, &label))
                return err_set(ERR_DATA,
                               "%s: class \"%s\": not in the list of classes",
                               f->path, name);
            f->label = (int32_t)label;
        }
    }
    return 0;
}

/* A folder without files is a class too: it must be in the list as well. */
static int check_names(const struct source *src, const struct map *classes)
{
    for (size_t i = 0; classes->n && i < src->n_names; i++)
        if (!map_get(classes, src->name[i], NULL))
            return err_set(ERR_DATA, "class \"%s\": not in the list of classes",
                           src->name[i]);
    return 0;
}

static char *trimmed(const char *dir)
{
    char *copy = xstrdup(dir);
    size_t n = strlen(copy);

    while (n > 1 && copy[n - 1] == '/')
        copy[--n] = 0;
    return copy;
}

static bool is_json(const char *path)
{
    size_t n = strlen(path);

    return n > 5 && !strcmp(path + n - 5, ".json");
}

/* A file of instances and where its images are. */
static int open_coco(struct source *src, struct shard_set *s, char **paths,
                     int n, const struct source_how *how)
{
    uint64_t size;
    char *images;
    int kind, r;

    if (n != 2)
        return err_set(ERR_USAGE,
                       "%s: a COCO file goes with one folder or tar of images",
                       paths[0]);
    if (how->labels)
        return err_set(ERR_USAGE, "%s: --labels is not for COCO", paths[0]);
    images = trimmed(paths[1]);
    kind = kind_of(images, &size);
    r = kind < 0 ? -1 : source_coco(src, s, paths[0], images, kind > 0);
    free(images);
    if (r == 0)
        r = sort_files(src);
    if (r < 0 || !src->sequential)
        return r;
    qsort(src->file, src->n, sizeof(*src->file), by_place);
    for (size_t i = 1; i < src->n; i++)
        if (!src->file[i].missing &&
            !strcmp(src->file[i].path, src->file[i - 1].path))
            return err_set(ERR_DATA,
                           "%s: is two images of %s, and a compressed tar is "
                           "read once",
                           src->file[i].path, paths[0]);
    return 0;
}

int source_open(struct source *src, struct shard_set *s, char **paths, int n,
                const struct source_how *how)
{
    struct map classes = MAP_INIT;
    int result;

    if (is_json(paths[0]))
        return open_coco(src, s, paths, n, how);
    result = number_classes(s, &classes);
    for (int i = 0; i < n && result == 0; i++) {
        uint64_t size;
        char *path = trimmed(paths[i]);
        int kind = kind_of(path, &size);

        result = kind < 0 ? -1
                 : kind   ? list_dir(src, path, how, 0)
                          : source_tar(src, path, how);
        free(path);
    }
    if (result == 0)
        result = sort_files(src);
    if (result == 0 && how->labels)
        result = source_labels(src, &classes, how);
    if (result == 0)
        result = resolve(src, s, &classes);
    if (result == 0)
        result = check_names(src, &classes);
    if (result == 0 && src->sequential)
        qsort(src->file, src->n, sizeof(*src->file), by_place);
    map_release(&classes);
    return result;
}

/* ---- reading */

/* n bytes at offset of an archive, appended. */
static int read_at(struct source_archive *a, uint64_t offset, size_t n,
                   struct buf *b)
{
    char *to = buf_reserve(b, n);
    int r;

    if (a->fd >= 0) {
        if (fd_pread(a->fd, to, n, offset) < 0)
            return err_wrap("%s", a->path);
    } else {
        if (!a->gz && !(a->gz = gz_open(a->path)))
            return -1;
        if (offset < gz_offset(a->gz))
            BUG("%s: not read in sequence", a->path);
        r = gz_skip(a->gz, offset - gz_offset(a->gz));
        r = r > 0 ? gz_read(a->gz, to, n) : r;
        if (r <= 0)
            return r < 0 ? -1 : err_set(ERR_DATA, "%s: too short", a->path);
    }
    b->len += n;
    b->data[b->len] = 0;
    return 0;
}

int source_read(struct source *src, size_t i, struct buf *image,
                struct buf *json)
{
    const struct source_file *f = &src->file[i];
    struct source_archive *a;
    bool first = f->json_offset < f->offset; /* in sequence */

    if (f->missing)
        return err_set(ERR_DATA, "%s: not there", f->path);
    if (f->archive < 0)
        return buf_read_file(image, f->path, SHARD_MEMBER_MAX);
    if (!f->size)
        return err_set(ERR_DATA, "%s: empty, or a sample without an image",
                       f->path);
    if (f->size > SHARD_MEMBER_MAX)
        return err_set(ERR_DATA, "%s: %llu bytes: over 64 MiB", f->path,
                       (unsigned long long)f->size);
    a = &src->archive[f->archive];
    if (f->json_size && first &&
        read_at(a, f->json_offset, f->json_size, json) < 0)
        return -1;
    if (read_at(a, f->offset, (size_t)f->size, image) < 0)
        return -1;
    return f->json_size && !first
               ? read_at(a, f->json_offset, f->json_size, json)
               : 0;
}

void source_release(struct source *src)
{
    size_t i;

    for (i = 0; i < src->n; i++) {
        free(src->file[i].path);
        free(src->file[i].key);
    }
    for (i = 0; i < src->n_archives; i++) {
        if (src->archive[i].fd >= 0)
            close(src->archive[i].fd);
        gz_close(src->archive[i].gz);
        free(src->archive[i].path);
    }
    for (i = 0; i < src->n_names; i++)
        free(src->name[i]);
    free(src->file);
    free(src->archive);
    free(src->name);
    map_release(&src->names);
    if (src->coco)
        coco_release(src->coco);
    free(src->coco);
    memset(src, 0, sizeof(*src));
}
