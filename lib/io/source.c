#include "io/source.h"

#include "util/map.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

static void add_file(struct walk *w, const char *path)
{
    struct source *src = w->src;
    struct source_file *f;

    if (src->n == src->cap) {
        src->cap = src->cap ? src->cap * 2 : 1024;
        src->file = xreallocarray(src->file, src->cap, sizeof(*src->file));
    }
    f = &src->file[src->n++];
    f->path = xstrdup(path);
    f->key = source_key(path + w->root);
    f->label = w->label;
}

/* Is it a directory (1), a regular file (0)? Links are followed. */
static int kind_of(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return err_sys(ERR_NOINPUT, "%s", path);
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
        kind = kind_of(path);
        if (kind > 0)
            kind = walk_class(w, path, depth + 1);
        else if (kind == 0)
            add_file(w, path);
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

/* Names of the folders in dir, sorted; -1 on failure. */
static int folders(struct source *src, const char *dir, char ***names,
                   size_t *n)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int kind = 0;

    if (!d)
        return err_sys(ERR_NOINPUT, "%s: open", dir);
    while (kind >= 0 && (errno = 0, (e = readdir(d)))) {
        char *path;

        if (e->d_name[0] == '.')
            continue;
        path = xstrfmt("%s/%s", dir, e->d_name);
        kind = kind_of(path);
        free(path);
        if (kind == 0)
            src->ignored++;
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
    if (!*n)
        return err_set(ERR_NOINPUT, "%s: no class folders in it", dir);
    qsort(*names, *n, sizeof(**names), by_name);
    return 0;
}

/* The classes of s become the folders of all directories together. */
static void take_classes(struct shard_set *s, char **names, size_t n)
{
    char **all = xreallocarray(NULL, n, sizeof(*all));

    memcpy(all, names, n * sizeof(*all));
    qsort(all, n, sizeof(*all), by_name);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(all[i], all[i - 1]) != 0)
            shard_set_class(s, all[i], NULL, -1);
    free(all);
}

static int by_key(const void *a, const void *b)
{
    const struct source_file *x = a, *y = b;
    int r = strcmp(x->key, y->key);

    return r ? r : strcmp(x->path, y->path);
}

static int sort_files(struct source *src)
{
    if (!src->n)
        return err_set(ERR_NOINPUT, "no files in the class folders");
    qsort(src->file, src->n, sizeof(*src->file), by_key);
    for (size_t i = 1; i < src->n; i++)
        if (!strcmp(src->file[i].key, src->file[i - 1].key))
            return err_set(ERR_DATA, "%s and %s: both have the key %s",
                           src->file[i - 1].path, src->file[i].path,
                           src->file[i].key);
    return 0;
}

/* Walk the folders [from, to) of one directory. */
static int walk_folders(struct source *src, const struct map *classes,
                        const char *dir, char **names, size_t n)
{
    struct walk w = {.src = src, .root = strlen(dir) + 1};
    int64_t label;

    for (size_t i = 0; i < n; i++) {
        char *path = xstrfmt("%s/%s", dir, names[i]);
        int r;

        if (!map_get(classes, names[i], &label)) {
            err_set(ERR_DATA, "%s: not in the list of classes", path);
            free(path);
            return -1;
        }
        w.label = (int32_t)label;
        r = walk_class(&w, path, 0);
        free(path);
        if (r < 0)
            return -1;
    }
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

int source_walk(struct source *src, struct shard_set *s, char **dirs, int n)
{
    size_t *end = xcalloc((size_t)n + 1, sizeof(*end)), total = 0, k;
    struct map classes = MAP_INIT;
    char **names = NULL;
    int i, result = -1;

    for (i = 0; i < n; i++) {
        char **own = NULL;
        size_t count = 0;
        int r = folders(src, dirs[i], &own, &count);

        names = xreallocarray(names, total + count + 1, sizeof(*names));
        if (count)
            memcpy(names + total, own, count * sizeof(*own));
        free(own);
        total += count;
        end[i + 1] = total;
        if (r < 0)
            goto out;
    }
    if (!s->n_classes)
        take_classes(s, names, total);
    for (k = 0; k < s->n_classes; k++)
        if (!map_add(&classes, s->cls[k].name, (int64_t)k)) {
            err_set(ERR_DATA, "class \"%s\" is there twice", s->cls[k].name);
            goto out;
        }
    for (i = 0; i < n; i++) {
        char *dir = trimmed(dirs[i]);
        int r = walk_folders(src, &classes, dir, names + end[i],
                             end[i + 1] - end[i]);

        free(dir);
        if (r < 0)
            goto out;
    }
    result = sort_files(src);
out:
    for (k = 0; k < total; k++)
        free(names[k]);
    free(names);
    free(end);
    map_release(&classes);
    return result;
}

void source_release(struct source *src)
{
    for (size_t i = 0; i < src->n; i++) {
        free(src->file[i].path);
        free(src->file[i].key);
    }
    free(src->file);
    memset(src, 0, sizeof(*src));
}
