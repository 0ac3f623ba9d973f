#include "io/source.h"

#include "io/coco.h"
#include "io/gz.h"
#include "io/source_private.h"
#include "util/fdio.h"
#include "util/utf8.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 16

/* A folder that is walked: its path, and the part of it that keys have. */
struct walk {
    struct source *src;
    struct buf path; /* ends in "/" */
    size_t root;
    int32_t label;
};

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

/* Which split a name stands for: 1 training, 2 validation, 3 test, 0: none. */
static int split_of(const char *name, size_t n)
{
    static const struct {
        const char *name;
        int split;
    } known[] = {{"train", 1},  {"training", 1},   {"val", 2},
                 {"valid", 2},  {"validation", 2}, {"test", 3},
                 {"testing", 3}};

    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (strlen(known[i].name) == n && !strncasecmp(known[i].name, name, n))
            return known[i].split;
    return 0;
}

bool is_split_name(const char *name, size_t n)
{
    return split_of(name, n) > 0;
}

bool is_split(const char *folder, size_t n, const char *split)
{
    int wanted = split_of(split, strlen(split));

    return (strlen(split) == n && !memcmp(folder, split, n)) ||
           (wanted && wanted == split_of(folder, n));
}

enum kind {
    KIND_FILE,
    KIND_FOLDER,
    KIND_NEITHER /* a link to nothing or to itself, a pipe */
};

/* What an entry of a folder is, links followed, or -1. */
static int kind_in(int dir, const char *folder, const char *name,
                   uint64_t *size)
{
    struct stat st;

    if (fstatat(dir, name, &st, 0) < 0)
        return (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) &&
                       !fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW)
                   ? KIND_NEITHER
                   : err_sys(ERR_NOINPUT, "%s%s", folder, name);
    *size = (uint64_t)st.st_size;
    return S_ISDIR(st.st_mode)   ? KIND_FOLDER
           : S_ISREG(st.st_mode) ? KIND_FILE
                                 : KIND_NEITHER;
}

/* The same of a path that was given, which must be one of both. */
static int kind_of(const char *path, uint64_t *size)
{
    int kind = kind_in(AT_FDCWD, "", path, size);

    return kind == KIND_NEITHER
               ? err_set(ERR_DATA, "%s: neither a file nor a folder", path)
               : kind;
}

/* An entry that is no hidden one; NULL at the end and for errors. */
static struct dirent *next_entry(DIR *d, size_t *hidden)
{
    struct dirent *e;

    while (errno = 0, (e = readdir(d)) && e->d_name[0] == '.')
        *hidden += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    return e;
}

static int walk_class(struct walk *w, int depth)
{
    size_t len = w->path.len;
    DIR *d = opendir(w->path.data);
    int64_t folder = -1;
    struct dirent *e;
    uint64_t size = 0;
    int kind = 0;

    if (!d)
        return err_sys(ERR_NOINPUT, "%s: open", w->path.data);
    if (depth > DEPTH_MAX)
        kind = err_set(ERR_DATA, "%s: folders nested more than %d deep",
                       w->path.data, DEPTH_MAX);
    while (kind >= 0 && (e = next_entry(d, &w->src->ignored))) {
        kind = kind_in(dirfd(d), w->path.data, e->d_name, &size);
        if (kind == KIND_FOLDER) {
            buf_addf(&w->path, "%s/", e->d_name);
            kind = walk_class(w, depth + 1);
            w->path.data[w->path.len = len] = 0;
        } else if (kind >= 0) {
            struct source_file *f;

            if (folder < 0)
                folder = source_folder(w->src, w->path.data,
                                       w->path.data + w->root, KEY_STEM);
            f = source_add(w->src, (uint32_t)folder, e->d_name);
            f->label = w->label;
            f->bytes = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;
            if (kind == KIND_NEITHER)
                source_put(w->src, f)->missing = true;
        }
    }
    if (kind >= 0 && errno)
        kind = err_sys(ERR_IO, "%s: read", w->path.data);
    closedir(d);
    return kind < 0 ? -1 : 0;
}

/* The files in DIR/NAME, or in DIR itself without a name. */
static int walk(struct source *src, const char *dir, const char *name,
                int32_t label)
{
    struct walk w = {.src = src, .label = label};
    int r;

    buf_addf(&w.path, "%s/", dir);
    w.root = w.path.len;
    if (name)
        buf_addf(&w.path, "%s/", name);
    r = walk_class(&w, 0);
    buf_release(&w.path);
    return r;
}

static int by_name(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

/* Names of the folders in dir, sorted; files beside them are counted. */
static int folders(const char *dir, char ***names, size_t *n, size_t *files)
{
    size_t hidden = 0;
    DIR *d = opendir(dir);
    struct buf path = BUF_INIT;
    struct dirent *e;
    uint64_t size;
    int kind = 0;

    if (!d)
        return err_sys(ERR_NOINPUT, "%s: open", dir);
    buf_addf(&path, "%s/", dir);
    while (kind >= 0 && (e = next_entry(d, &hidden))) {
        kind = kind_in(dirfd(d), path.data, e->d_name, &size);
        *files += kind == KIND_FILE || kind == KIND_NEITHER;
        if (kind == KIND_FOLDER) {
            *names = xreallocarray(*names, *n + 1, sizeof(**names));
            (*names)[(*n)++] = xstrdup(e->d_name);
        }
    }
    if (kind >= 0 && errno)
        kind = err_sys(ERR_IO, "%s: read", dir);
    buf_release(&path);
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
    for (size_t i = 0; i < n; i++)
        if (walk(src, dir, names[i], label_of_name(src, names[i])) < 0)
            return -1;
    return 0;
}

static int list_dir(struct source *src, const char *dir,
                    const struct source_how *how, int depth)
{
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
        r = walk(src, dir, NULL, LABEL_NONE);
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
        return source_bad(src, (size_t)(f - src->file),
                          "class %ld: there are %lu classes", (long)f->label,
                          (unsigned long)s->n_classes);
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
                return source_bad(src, i,
                                  "class %ld, a number, where others have "
                                  "names: --classes says which they are",
                                  (long)f->label);
            if (check_number(src, s, f) < 0)
                return -1;
        } else if (f->label < LABEL_NONE) {
            const char *name = src->name[-2 - f->label];

            if (!map_get(classes, name, &label))
                return source_bad(
                    src, i, "class \"%s\": not in the list of classes", name);
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
        r = source_sort(src);
    if (r < 0 || !src->sequential)
        return r;
    source_sort_places(src);
    for (size_t i = 1; i < src->n; i++) {
        const struct source_place *p = source_place(src, i - 1);
        const struct source_place *q = source_place(src, i);

        if (!q->missing && p->archive == q->archive && p->offset == q->offset)
            return source_bad(src, i,
                              "is two images of %s, and a compressed tar is "
                              "read once",
                              paths[0]);
    }
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
        result = source_sort(src);
    if (result == 0 && how->labels)
        result = source_labels(src, &classes, how);
    if (result == 0)
        result = resolve(src, s, &classes);
    if (result == 0)
        result = check_names(src, &classes);
    if (result == 0 && src->sequential)
        source_sort_places(src);
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

/* A file of n bytes when it was found; of what it is now. */
static int read_file(const char *path, size_t n, struct buf *b)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0)
        return err_sys(ERR_NOINPUT, "%s: open", path);
    do
        got = read(fd, buf_reserve(b, n + 1), n + 1);
    while (got < 0 && errno == EINTR);
    close(fd);
    if (got < 0)
        return err_sys(ERR_IO, "%s: read", path);
    /* no more and no less: it was read whole */
    if ((size_t)got != n)
        return buf_read_file(b, path, SHARD_MEMBER_MAX);
    b->len += n;
    b->data[b->len] = 0;
    return 0;
}

static int read_member(struct source *src, const struct source_place *p,
                       struct buf *image, struct buf *json)
{
    bool first = p->json_offset < p->offset; /* in sequence */
    struct source_archive *a = &src->archive[p->archive];

    if (p->json_size && first &&
        read_at(a, p->json_offset, p->json_size, json) < 0)
        return -1;
    if (read_at(a, p->offset, (size_t)p->size, image) < 0)
        return -1;
    return p->json_size && !first
               ? read_at(a, p->json_offset, p->json_size, json)
               : 0;
}

int source_read(struct source *src, size_t i, struct buf *image,
                struct buf *json)
{
    const struct source_place *p = source_place(src, i);
    uint64_t size = source_size(src, i);
    struct buf path = BUF_INIT;
    int r;

    if (p && p->missing)
        return source_bad(
            src, i,
            p->annot ? "not there, or no file"
                     : "neither a file nor a folder, nor a link to one");
    if (p && p->archive >= 0 && !size)
        return source_bad(src, i, "empty, or a sample without an image");
    if (size > SHARD_MEMBER_MAX)
        return source_bad(src, i, "%llu bytes: over 64 MiB",
                          (unsigned long long)size);
    if (p && p->archive >= 0)
        return read_member(src, p, image, json);
    source_path(src, i, &path);
    r = read_file(path.data, (size_t)size, image);
    buf_release(&path);
    return r;
}

void source_release(struct source *src)
{
    size_t i;

    source_list_release(src);
    for (i = 0; i < src->n_archives; i++) {
        if (src->archive[i].fd >= 0)
            close(src->archive[i].fd);
        gz_close(src->archive[i].gz);
        free(src->archive[i].path);
    }
    for (i = 0; i < src->n_names; i++)
        free(src->name[i]);
    free(src->archive);
    free(src->name);
    map_release(&src->names);
    if (src->coco)
        coco_release(src->coco);
    free(src->coco);
    memset(src, 0, sizeof(*src));
}
