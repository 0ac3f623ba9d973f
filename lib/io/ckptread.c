#include "io/ckpt_private.h"

#include "io/digest.h"
#include "util/fdio.h"
#include "util/json.h"
#include "util/map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STATE_MAX (16 << 20) /* bytes of a state.json */
#define WORLD_MAX 65536

/* ---- state.json */

static int copy_hex(const json_t *j, const char *key, char hex[33])
{
    const char *s;

    if (json_get_str(j, key, &s) < 0)
        return -1;
    if (strlen(s) > 32)
        return err_set(ERR_DATA, "\"%s\": not a digest", key);
    memcpy(hex, s, strlen(s) + 1);
    return 0;
}

static int parse_state(const json_t *j, struct ckpt_state *s)
{
    const struct {
        const char *key;
        int64_t *v;
    } numbers[] = {{"version", &s->version}, {"step", &s->step},
                   {"samples", &s->samples}, {"epoch", &s->epoch},
                   {"pos", &s->pos},         {"world", &s->world},
                   {"global", &s->global},   {"micro", &s->micro},
                   {"accum", &s->accum},     {"n", &s->n},
                   {"classes", &s->classes}, {"seed", &s->seed},
                   {"attempt", &s->attempt}, {"scale_good", &s->scale_good},
                   {"skipped", &s->skipped}};
    struct buf b = BUF_INIT;
    const char *model, *program;
    json_t *settings;
    size_t i;

    for (i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (json_get_int(j, numbers[i].key, numbers[i].v) < 0)
            return -1;
        /* a seed may be any number */
        if (*numbers[i].v < 0 && numbers[i].v != &s->seed)
            return err_set(ERR_DATA, "\"%s\": %lld", numbers[i].key,
                           (long long)*numbers[i].v);
    }
    if (s->version != CKPT_VERSION)
        return err_set(ERR_DATA, "version %lld: this program reads %d",
                       (long long)s->version, CKPT_VERSION);
    if (s->world < 1 || s->world > WORLD_MAX)
        return err_set(ERR_DATA, "\"world\": %lld", (long long)s->world);
    if (json_get_real(j, "loss_scale", &s->loss_scale) < 0 ||
        copy_hex(j, "dataset", s->dataset) < 0 ||
        copy_hex(j, "recipe", s->recipe) < 0 ||
        copy_hex(j, "tensors", s->tensors) < 0 ||
        (json_object_get(j, "forms") && copy_hex(j, "forms", s->forms) < 0) ||
        json_get_str(j, "model", &model) < 0 ||
        json_get_str(j, "program", &program) < 0 ||
        json_get_object(j, "settings", &settings) < 0)
        return -1;
    s->model = xstrdup(model);
    s->program = xstrdup(program);
    json_canonical(&b, settings);
    s->settings = buf_detach(&b);
    return 0;
}

void ckpt_state_release(struct ckpt_state *s)
{
    free(s->model);
    free(s->program);
    free(s->settings);
    memset(s, 0, sizeof *s);
}

/* The text is the one that was written; takes "crc32" out of j. */
static int check_state(json_t *j)
{
    const char *text;
    char want[9], got[9];

    if (json_get_str(j, "crc32", &text) < 0)
        return -1;
    if (strlen(text) != 8)
        return err_set(ERR_DATA, "member \"crc32\": not a CRC-32");
    memcpy(want, text, sizeof want);
    json_object_del(j, "crc32");
    ckpt_state_crc(j, got);
    if (strcmp(want, got) != 0)
        return err_set(ERR_DATA, "CRC-32: expected %s, got %s", want, got);
    return 0;
}

/* A part that is not there makes a checkpoint damaged, not absent. */
static int damaged(const char *dir)
{
    struct stat st;

    if (err_code() != ERR_NOINPUT || stat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
        return -1;
    return err_give(ERR_DATA, err_text());
}

static int load_state(const char *path, struct ckpt_state *s, json_t **whole)
{
    char *file = xstrfmt("%s/state.json", path);
    json_t *j = json_file(file, STATE_MAX);
    int r = -1;

    memset(s, 0, sizeof *s);
    if (!j)
        damaged(path);
    else if (parse_state(j, s) < 0 || check_state(j) < 0)
        err_wrap("%s", file);
    else
        r = 0;
    free(file);
    if (r < 0 || !whole) {
        json_decref(j);
        j = NULL;
    }
    if (whole)
        *whole = j;
    if (r < 0)
        ckpt_state_release(s);
    return r;
}

int ckpt_read_state(const char *path, struct ckpt_state *s)
{
    return load_state(path, s, NULL);
}

/* ---- a checkpoint */

/* The file says of itself what its name says. */
static int check_rank(const struct frame_file *ff, int rank, int64_t world)
{
    const char *format = frame_meta(&ff->f, "format");
    int64_t r, w;

    if (!format || strcmp(format, CKPT_FORMAT) != 0)
        return err_set(ERR_DATA, "%s: not a part of a checkpoint", ff->path);
    if (frame_meta_int(&ff->f, "rank", &r) < 0 ||
        frame_meta_int(&ff->f, "world", &w) < 0)
        return err_wrap("%s", ff->path);
    if (r != rank || w != world)
        return err_set(ERR_DATA, "%s: is rank %lld of %lld", ff->path,
                       (long long)r, (long long)w);
    return 0;
}

static int open_files(struct ckpt *c)
{
    char name[64], *path;
    int i, r = 0;

    c->file = xcalloc((size_t)c->state.world, sizeof *c->file);
    for (i = 0; i < c->state.world; i++)
        c->file[i] = (struct frame_file)FRAME_FILE_INIT;
    for (i = 0; i < c->state.world && r == 0; i++) {
        ckpt_file_name(name, sizeof name, i, (int)c->state.world);
        path = xstrfmt("%s/%s", c->path, name);
        r = frame_file_open(&c->file[i], path);
        if (r == 0) {
            c->n_files++;
            r = check_rank(&c->file[i], i, c->state.world);
        }
        free(path);
    }
    return r < 0 ? damaged(c->path) : 0;
}

/* Where each tensor lies: name -> file*2^32 + index. */
static int gather(struct ckpt *c, struct map *where)
{
    int i, k;

    for (i = 0; i < c->n_files; i++) {
        const struct frame *f = &c->file[i].f;

        for (k = 0; k < f->n_tensors; k++)
            if (!map_add(where, f->tensor[k].name,
                         ((int64_t)i << 32) | (int64_t)k))
                return err_set(ERR_DATA, "%s: %s: in two files",
                               c->file[i].path, f->tensor[k].name);
    }
    return 0;
}

/* Take the tensors in the order of the list; the union must be the list. */
static int match(struct ckpt *c, const json_t *names, const struct map *where)
{
    size_t n = json_array_size(names), i;
    const char *name;
    int64_t at;

    if (n != where->n)
        return err_set(ERR_DATA, "%s: %zu tensors listed, %zu in the files",
                       c->path, n, where->n);
    c->tensor = xcalloc(n + 1, sizeof *c->tensor);
    for (i = 0; i < n; i++) {
        name = json_string_value(json_array_get(names, i));
        if (!name)
            return err_set(ERR_DATA, "%s: state.json: \"names\": not a string",
                           c->path);
        if (!map_get(where, name, &at))
            return err_set(ERR_DATA, "%s: %s: missing", c->path, name);
        c->tensor[i].file = (int)(at >> 32);
        c->tensor[i].index = (int)(at & 0xffffffff);
        c->tensor[i].name =
            c->file[c->tensor[i].file].f.tensor[c->tensor[i].index].name;
        if (!map_add(c->by_name, c->tensor[i].name, (int64_t)i))
            return err_set(ERR_DATA, "%s: %s: listed twice", c->path, name);
        c->n_tensors++;
    }
    return 0;
}

static int check_digest(const struct ckpt *c)
{
    struct frame_item *items = xcalloc((size_t)c->n_tensors + 1, sizeof *items);
    char hex[33];
    int i;

    for (i = 0; i < c->n_tensors; i++)
        items[i] = (struct frame_item){c->tensor[i].name, *ckpt_tensor(c, i)};
    ckpt_digest_list(items, c->n_tensors, hex);
    free(items);
    if (strcmp(hex, c->state.tensors) != 0)
        return err_set(ERR_DATA,
                       "%s: names, dtypes or shapes are not those that were "
                       "written",
                       c->path);
    return 0;
}

int ckpt_open(struct ckpt *c, const char *path)
{
    struct map where = MAP_INIT;
    json_t *whole = NULL, *names;
    int r = -1;

    memset(c, 0, sizeof *c);
    c->path = xstrdup(path);
    c->by_name = xcalloc(1, sizeof *c->by_name);
    if (load_state(path, &c->state, &whole) < 0)
        goto out;
    if (json_get_array(whole, "names", &names) < 0) {
        err_wrap("%s/state.json", path);
        goto out;
    }
    if (open_files(c) < 0 || gather(c, &where) < 0 ||
        match(c, names, &where) < 0)
        goto out;
    r = check_digest(c);
out:
    json_decref(whole);
    map_release(&where);
    if (r < 0)
        ckpt_close(c);
    return r;
}

void ckpt_close(struct ckpt *c)
{
    int i;

    for (i = 0; i < c->n_files; i++)
        frame_file_close(&c->file[i]);
    if (c->by_name)
        map_release(c->by_name);
    free(c->by_name);
    free(c->file);
    free(c->tensor);
    free(c->path);
    ckpt_state_release(&c->state);
    memset(c, 0, sizeof *c);
}

int ckpt_find(const struct ckpt *c, const char *name)
{
    int64_t i;

    return map_get(c->by_name, name, &i) ? (int)i : -1;
}

const struct tensor *ckpt_tensor(const struct ckpt *c, int i)
{
    return &c->file[c->tensor[i].file].f.tensor[c->tensor[i].index].t;
}

int ckpt_read(struct ckpt *c, int i, void *dst)
{
    return frame_file_data(&c->file[c->tensor[i].file], c->tensor[i].index,
                           dst);
}

int ckpt_verify_file(struct frame_file *file)
{
    const struct frame *f = &file->f;
    const char *want = frame_meta(f, "crc32");
    uint32_t crc = 0;
    char hex[16];
    void *data;
    int k, r = 0;

    for (k = 0; k < f->n_tensors && r == 0; k++) {
        size_t n = tensor_bytes(&f->tensor[k].t);

        data = xmalloc(n + 1);
        r = frame_file_data(file, k, data);
        if (r == 0)
            crc = digest_crc32(crc, data, n);
        free(data);
    }
    snprintf(hex, sizeof hex, "%08x", crc);
    if (r == 0 && (!want || strcmp(want, hex) != 0))
        r = err_set(ERR_DATA, "%s: CRC-32: expected %s, got %s", file->path,
                    want ? want : "one", hex);
    return r;
}

int ckpt_verify_data(struct ckpt *c)
{
    int i, r = 0;

    for (i = 0; i < c->n_files && r == 0; i++)
        r = ckpt_verify_file(&c->file[i]);
    return r;
}
