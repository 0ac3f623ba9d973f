/* Where the tensors come from: a checkpoint, or files. */
#include "ckpt-merge.h"

#include "util/map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEWEST_TRIES 100

/* ---- what an operand is */

static bool is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool holds(const char *dir, const char *name)
{
    char *path = xstrfmt("%s/%s", dir, name);
    struct stat st;
    bool there = stat(path, &st) == 0;

    free(path);
    return there;
}

/* A step directory by its name, even where it has lost its state.json. */
static bool is_step_name(const char *path)
{
    char *copy = xstrdup(path), *base;
    size_t n = strlen(copy);
    bool yes;

    while (n > 1 && copy[n - 1] == '/')
        copy[--n] = 0;
    base = strrchr(copy, '/');
    yes = ckpt_step_of(base ? base + 1 : copy) >= 0;
    free(copy);
    return yes;
}

int place_of(const char *operand, char **dir)
{
    struct stat st;

    *dir = NULL;
    if (stat(operand, &st) < 0)
        return err_sys(ERR_NOINPUT, "%s", operand);
    if (!S_ISDIR(st.st_mode))
        return PLACE_FILE;
    if (holds(operand, "state.json") || is_step_name(operand))
        return PLACE_STEP;
    *dir = xstrfmt("%s/ckpt", operand);
    if (is_dir(*dir))
        return PLACE_RUN;
    free(*dir);
    *dir = NULL;
    if (!holds(operand, "metrics.jsonl") && model_dir_is(operand))
        return PLACE_MODEL;
    *dir = xstrdup(operand);
    return PLACE_RUN;
}

/* ---- opening */

static void add_tensor(struct source *s, const char *name,
                       const struct tensor *t, int file, int index)
{
    s->tensor = xreallocarray(s->tensor, (size_t)s->n + 1, sizeof *s->tensor);
    s->tensor[s->n++] = (struct source_tensor){name, *t, file, index};
}

/* The same of one of several files, which have no name in common. */
static int add_named(struct source *s, struct map *names, char **path,
                     const struct source_tensor *t)
{
    int64_t other;

    if (map_get(names, t->name, &other) && other != t->file)
        return err_set(ERR_DATA, "%s: tensor \"%.80s\": in %s, too",
                       path[t->file], t->name, path[other]);
    map_add(names, t->name, t->file);
    add_tensor(s, t->name, &t->t, t->file, t->index);
    return 0;
}

static int open_step(struct source *s, const char *path)
{
    int i;

    if (ckpt_open(&s->ckpt, path) < 0)
        return -1;
    s->is_ckpt = true;
    for (i = 0; i < s->ckpt.n_tensors; i++)
        add_tensor(s, s->ckpt.tensor[i].name, ckpt_tensor(&s->ckpt, i), 0, i);
    return 0;
}

bool step_gone(const char *path)
{
    return access(path, F_OK) < 0 && errno == ENOENT;
}

/* A run that goes on may remove it before it is open: then there is a newer one. */
static int open_newest(struct source *s, const char *dir)
{
    int64_t step;
    char *path = NULL;
    bool gone;
    int r, tries = 0;

    do {
        free(path);
        path = ckpt_newest(dir, &step);
        if (!path)
            return step == -1 ? err_set(ERR_NOINPUT,
                                        "%s: no committed checkpoint", dir)
                              : -1;
        r = open_step(s, path);
        gone = r < 0 && step_gone(path);
        if (gone)
            source_close(s);
    } while (gone && ++tries < NEWEST_TRIES);
    free(path);
    return r;
}

/* Rank files make sense only together: each rank of one world once. */
static int check_ranks(const struct source *s)
{
    const struct frame *first = &s->file[0].f;
    int64_t world, w;
    const char *format;
    int i, parts = 0;

    for (i = 0; i < s->n_files; i++) {
        format = frame_meta(&s->file[i].f, "format");
        parts += format && strcmp(format, CKPT_FORMAT) == 0;
    }
    if (!parts)
        return 0;
    if (parts < s->n_files)
        return err_set(ERR_DATA, "rank files of a checkpoint and other files "
                                 "cannot be joined");
    if (frame_meta_int(first, "world", &world) < 0)
        return err_wrap("%s", s->file[0].path);
    for (i = 0; i < s->n_files; i++) {
        if (frame_meta_int(&s->file[i].f, "world", &w) < 0)
            return err_wrap("%s", s->file[i].path);
        if (w != world)
            return err_set(ERR_DATA, "%s: of %lld ranks, %s of %lld",
                           s->file[i].path, (long long)w, s->file[0].path,
                           (long long)world);
    }
    /* a rank twice would show as a tensor twice */
    if (parts != world)
        return err_set(ERR_DATA, "%s: %d of %lld rank files given",
                       s->file[0].path, parts, (long long)world);
    return 0;
}

static int open_foreign(struct source *s, char **path, int n)
{
    struct map names = MAP_INIT;
    int i, k, r = 0;

    s->foreign = xcalloc((size_t)n, sizeof *s->foreign);
    for (i = 0; i < n && r == 0; i++) {
        const struct foreign *f = &s->foreign[i];

        r = foreign_open(&s->foreign[i], path[i]);
        s->n_foreign++;
        for (k = 0; k < f->n && r == 0; k++) {
            struct source_tensor t = {f->tensor[k].name, f->tensor[k].t, i, k};
            r = add_named(s, &names, path, &t);
        }
    }
    map_release(&names);
    return r;
}

static int open_files(struct source *s, char **path, int n)
{
    struct map names = MAP_INIT;
    int i, k, r = 0;

    s->file = xcalloc((size_t)n, sizeof *s->file);
    for (i = 0; i < n && r == 0; i++) {
        const struct frame *f = &s->file[i].f;

        r = frame_file_open(&s->file[i], path[i]);
        if (r < 0)
            break;
        s->n_files++;
        for (k = 0; k < f->n_tensors && r == 0; k++) {
            struct source_tensor t = {f->tensor[k].name, f->tensor[k].t, i, k};
            r = add_named(s, &names, path, &t);
        }
    }
    map_release(&names);
    return r < 0 ? -1 : check_ranks(s);
}

/* The files of a directory that other programs wrote. */
static int open_model(struct source *s, const char *dir)
{
    int r = model_dir_open(&s->dir, dir);

    if (r == 0)
        r = foreign_is(s->dir.file[0]) ? open_foreign(s, s->dir.file, s->dir.n)
                                       : open_files(s, s->dir.file, s->dir.n);
    return r < 0 ? -1 : model_dir_check(&s->dir, s);
}

int source_open(struct source *s, char **operand, int n)
{
    char *dir;
    int i, place = PLACE_FILE, r;
    bool foreign = false;

    memset(s, 0, sizeof *s);
    s->path = operand[0];
    for (i = 0; i < n; i++) {
        place = place_of(operand[i], &dir);
        if (place < 0)
            return -1;
        foreign = place == PLACE_FILE && foreign_is(operand[i]);
        if (place == PLACE_FILE && !foreign)
            continue;
        if (n == 1)
            break;
        free(dir);
        return err_set(ERR_USAGE, "%s: %s stands alone", operand[i],
                       foreign ? "a file of torch.save" : "a directory");
    }
    if (foreign)
        return open_foreign(s, operand, 1);
    if (place == PLACE_FILE)
        return open_files(s, operand, n);
    if (place == PLACE_MODEL)
        return open_model(s, operand[0]);
    r = place == PLACE_STEP ? open_step(s, operand[0]) : open_newest(s, dir);
    free(dir);
    return r;
}

int source_read(struct source *s, int i, void *dst)
{
    const struct source_tensor *t = &s->tensor[i];

    if (s->is_ckpt)
        return ckpt_read(&s->ckpt, t->index, dst);
    if (s->n_foreign)
        return foreign_read(&s->foreign[t->file], t->index, dst);
    return frame_file_data(&s->file[t->file], t->index, dst);
}

int source_verify(struct source *s)
{
    const char *format;
    int i, r = 0;

    if (s->is_ckpt)
        return ckpt_verify_data(&s->ckpt);
    for (i = 0; i < s->n_files && r == 0; i++) {
        format = frame_meta(&s->file[i].f, "format");
        if (format && strcmp(format, CKPT_FORMAT) == 0)
            r = ckpt_verify_file(&s->file[i]);
    }
    return r;
}

int source_find(const struct source *s, const char *name)
{
    int i;

    for (i = 0; i < s->n; i++)
        if (strcmp(s->tensor[i].name, name) == 0)
            return i;
    return -1;
}

void source_close(struct source *s)
{
    int i;

    for (i = 0; i < s->n_files; i++)
        frame_file_close(&s->file[i]);
    if (s->is_ckpt)
        ckpt_close(&s->ckpt);
    for (i = 0; i < s->n_foreign; i++)
        foreign_close(&s->foreign[i]);
    model_dir_close(&s->dir);
    free(s->file);
    free(s->foreign);
    free(s->tensor);
    memset(s, 0, sizeof *s);
}
