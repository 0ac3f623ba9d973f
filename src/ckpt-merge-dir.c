/*
 * A model in a directory, as Accelerate and the programs around it save one:
 * model.safetensors, or model-00001-of-00003.safetensors and so on beside
 * model.safetensors.index.json, which says for each tensor in which file it is;
 * else pytorch_model.bin, of torch.save, in one file or several.
 * Source: huggingface/accelerate src/accelerate/utils/constants.py.
 */
#include "ckpt-merge.h"

#include "util/json.h"
#include "util/map.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INDEX ".index.json"
#define INDEX_MAX ((size_t)64 << 20)

/* In the order in which they are looked for. */
static const char *const names[] = {
    "model.safetensors", "model.safetensors" INDEX, "pytorch_model.bin",
    "pytorch_model.bin" INDEX};

/* The path of the first that is there, or NULL. */
static char *find(const char *dir)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = xstrfmt("%s/%s", dir, names[i]);
        struct stat st;

        if (stat(path, &st) == 0)
            return path;
        free(path);
    }
    return NULL;
}

static bool is_index(const char *path)
{
    size_t n = strlen(path), m = strlen(INDEX);

    return n > m && strcmp(path + n - m, INDEX) == 0;
}

bool model_dir_is(const char *dir)
{
    char *path = find(dir);
    bool is = path != NULL;

    free(path);
    return is;
}

static void add_file(struct model_dir *m, char *path)
{
    m->file = xreallocarray(m->file, (size_t)m->n + 1, sizeof *m->file);
    m->file[m->n++] = path;
}

/* Each file that the index names, once. */
static int read_index(struct model_dir *m, const char *dir)
{
    struct map seen = MAP_INIT;
    json_t *where, *file;
    const char *tensor;
    int r = 0;

    m->index = json_file(m->path, INDEX_MAX);
    if (!m->index)
        return -1;
    if (json_get_object(m->index, "weight_map", &where) < 0)
        return err_wrap("%s", m->path);
    json_object_foreach(where, tensor, file)
    {
        const char *name = json_string_value(file);

        if (!name || !*name || strchr(name, '/')) {
            r = err_set(
                ERR_DATA,
                "%s: tensor \"%.80s\": not the name of a file beside it",
                m->path, tensor);
            break;
        }
        if (map_add(&seen, name, m->n))
            add_file(m, xstrfmt("%s/%s", dir, name));
    }
    map_release(&seen);
    if (r == 0 && m->n == 0)
        r = err_set(ERR_DATA, "%s: no tensors in it", m->path);
    return r;
}

int model_dir_open(struct model_dir *m, const char *dir)
{
    memset(m, 0, sizeof *m);
    m->path = find(dir);
    if (!m->path)
        return err_set(ERR_NOINPUT, "%s: no model in it", dir);
    if (is_index(m->path))
        return read_index(m, dir);
    add_file(m, xstrdup(m->path));
    return 0;
}

int model_dir_check(const struct model_dir *m, const struct source *s)
{
    json_t *where = json_object_get(m->index, "weight_map"), *file;
    const char *tensor;

    json_object_foreach(where, tensor, file)
    {
        if (source_find(s, tensor) < 0)
            return err_set(ERR_DATA,
                           "%s: tensor \"%.80s\": in none of its %d files",
                           m->path, tensor, m->n);
    }
    return 0;
}

void model_dir_close(struct model_dir *m)
{
    for (int i = 0; i < m->n; i++)
        free(m->file[i]);
    free(m->file);
    free(m->path);
    json_decref(m->index);
    memset(m, 0, sizeof *m);
}
