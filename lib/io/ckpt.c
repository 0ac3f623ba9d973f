#include "io/ckpt_private.h"

#include "io/digest.h"
#include "util/fault.h"
#include "util/fdio.h"
#include "util/json.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PREFIX "step-"

void ckpt_name(char *name, size_t n, int64_t step)
{
    snprintf(name, n, PREFIX "%09lld", (long long)step);
}

static char *hidden_path(const char *dir, int64_t step)
{
    return xstrfmt("%s/." PREFIX "%09lld.tmp", dir, (long long)step);
}

void ckpt_file_name(char *name, size_t n, int rank, int world)
{
    snprintf(name, n, "rank-%05d-of-%05d.safetensors", rank, world);
}

bool ckpt_is_model(const char *name)
{
    return strncmp(name, CKPT_MOMENTUM, strlen(CKPT_MOMENTUM)) != 0 &&
           strncmp(name, CKPT_EMA, strlen(CKPT_EMA)) != 0;
}

/* ---- shares */

struct weight {
    size_t bytes;
    int item;
};

static int heavier(const void *a, const void *b)
{
    const struct weight *x = a, *y = b;

    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->item - y->item;
}

/* The largest first, each to the rank that has least so far. */
void ckpt_share(const struct frame_item *items, int n, int world, int *owner)
{
    struct weight *w = xcalloc((size_t)n + 1, sizeof *w);
    size_t *load = xcalloc((size_t)world, sizeof *load);
    int i, r, best;

    for (i = 0; i < n; i++)
        w[i] = (struct weight){tensor_bytes(&items[i].t), i};
    qsort(w, (size_t)n, sizeof *w, heavier);
    for (i = 0; i < n; i++) {
        best = 0;
        for (r = 1; r < world; r++)
            if (load[r] < load[best])
                best = r;
        owner[w[i].item] = best;
        load[best] += w[i].bytes;
    }
    free(load);
    free(w);
}

/* ---- writing */

/* Hidden directories of earlier attempts; none is being written now. */
int ckpt_clean(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char *path;
    int r = 0;

    if (!d && errno == ENOENT)
        return 0;
    if (!d)
        return err_sys(ERR_IO, "%s: open", dir);
    while (r == 0 && (e = readdir(d))) {
        if (strncmp(e->d_name, "." PREFIX, strlen(PREFIX) + 1) != 0)
            continue;
        path = xstrfmt("%s/%s", dir, e->d_name);
        r = remove_tree(path);
        free(path);
    }
    closedir(d);
    return r;
}

/* Headers, state.json and what a file system adds to each. */
static uint64_t room_needed(const struct frame_item *items, int n, int world)
{
    uint64_t bytes = 65536 + (uint64_t)world * 8192 + (uint64_t)n * 256;
    int i;

    for (i = 0; i < n; i++)
        bytes += tensor_bytes(&items[i].t);
    return bytes;
}

int ckpt_room(const char *dir, const struct frame_item *items, int n, int world)
{
    uint64_t need = room_needed(items, n, world), have;
    struct statvfs st;

    if (statvfs(dir, &st) < 0 || st.f_blocks == 0)
        return 0;
    have = geteuid() == 0 ? st.f_bfree : st.f_bavail;
    if (have >= need / st.f_frsize + 1)
        return 0;
    return err_set(
        ERR_IO, "%s: no room: a checkpoint needs %.1f MB, %.1f MB are free",
        dir, (double)need / 1e6, (double)have * (double)st.f_frsize / 1e6);
}

int ckpt_write_begin(const char *dir, int64_t step)
{
    char *path = hidden_path(dir, step);
    int r = make_dirs(dir);

    if (r == 0)
        r = remove_tree(path);
    if (r == 0)
        r = make_dirs(path);
    if (r == 0)
        tmp_register(path);
    free(path);
    return r;
}

int ckpt_write_share(const char *dir, int64_t step, int rank, int world,
                     const struct frame_item *items, int n)
{
    struct frame_item *mine = xcalloc((size_t)n + 1, sizeof *mine);
    int *owner = xcalloc((size_t)n + 1, sizeof *owner);
    char crc_text[16], rank_text[16], world_text[16], name[64];
    struct frame_pair meta[] = {{"crc32", crc_text},
                                {"format", CKPT_FORMAT},
                                {"rank", rank_text},
                                {"world", world_text}};
    char *parent = hidden_path(dir, step), *path;
    uint32_t crc = 0;
    int i, k = 0, r;

    ckpt_share(items, n, world, owner);
    for (i = 0; i < n; i++)
        if (owner[i] == rank)
            mine[k++] = items[i];
    frame_sort(mine, k);
    for (i = 0; i < k; i++)
        crc = digest_crc32(crc, mine[i].t.data, tensor_bytes(&mine[i].t));
    snprintf(crc_text, sizeof crc_text, "%08x", crc);
    snprintf(rank_text, sizeof rank_text, "%d", rank);
    snprintf(world_text, sizeof world_text, "%d", world);
    ckpt_file_name(name, sizeof name, rank, world);
    path = xstrfmt("%s/%s", parent, name);
    r = frame_file_write(path, meta, 4, mine, k);
    free(path);
    free(parent);
    free(owner);
    free(mine);
    return r;
}

void ckpt_digest_list(const struct frame_item *items, int n, char hex[33])
{
    struct digest *d = digest_new();
    struct buf b = BUF_INIT;
    char all[65];
    int i;

    for (i = 0; i < n; i++) {
        buf_reset(&b);
        buf_addf(&b, "%s ", items[i].name);
        tensor_describe(&items[i].t, &b);
        buf_addch(&b, '\n');
        digest_add(d, b.data, b.len);
    }
    digest_hex(d, all);
    digest_free(d);
    buf_release(&b);
    memcpy(hex, all, 32);
    hex[32] = '\0';
}

void ckpt_state_crc(const json_t *j, char hex[9])
{
    struct buf b = BUF_INIT;

    json_canonical(&b, j);
    snprintf(hex, 9, "%08x", digest_crc32(0, b.data, b.len));
    buf_release(&b);
}

static json_t *state_json(const struct ckpt_state *s,
                          const struct frame_item *items, int n)
{
    json_t *j = json_object(), *names = json_array(), *settings;
    const struct {
        const char *key;
        int64_t v;
    } numbers[] = {{"version", CKPT_VERSION}, {"step", s->step},
                   {"samples", s->samples},   {"epoch", s->epoch},
                   {"pos", s->pos},           {"world", s->world},
                   {"global", s->global},     {"micro", s->micro},
                   {"accum", s->accum},       {"n", s->n},
                   {"classes", s->classes},   {"seed", s->seed},
                   {"attempt", s->attempt},   {"scale_good", s->scale_good},
                   {"skipped", s->skipped}};
    char hex[33], crc[9];
    size_t k;
    int i;

    for (k = 0; k < sizeof numbers / sizeof *numbers; k++)
        json_object_set_new(j, numbers[k].key, json_integer(numbers[k].v));
    json_add_real(j, "loss_scale", s->loss_scale);
    ckpt_digest_list(items, n, hex);
    json_object_set_new(j, "tensors", json_string(hex));
    json_object_set_new(j, "dataset", json_string(s->dataset));
    json_object_set_new(j, "recipe", json_string(s->recipe));
    if (s->forms[0])
        json_object_set_new(j, "forms", json_string(s->forms));
    json_object_set_new(j, "model", json_string(s->model ? s->model : ""));
    json_object_set_new(j, "program",
                        json_string(s->program ? s->program : ""));
    settings = json_loads(s->settings ? s->settings : "{}", 0, NULL);
    json_object_set_new(j, "settings", settings ? settings : json_object());
    for (i = 0; i < n; i++)
        json_array_append_new(names, json_string(items[i].name));
    json_object_set_new(j, "names", names);
    ckpt_state_crc(j, crc);
    json_object_set_new(j, "crc32", json_string(crc));
    return j;
}

void ckpt_abandon(const char *dir, int64_t step)
{
    char *path = hidden_path(dir, step);
    struct err_kept why = err_keep();

    if (remove_tree(path) < 0)
        warn("%s", err_text());
    tmp_forget(path);
    err_restore(&why);
    free(path);
}

int ckpt_commit(const char *dir, const struct ckpt_state *s,
                const struct frame_item *items, int n)
{
    char *tmp = hidden_path(dir, s->step), *path, *target;
    struct buf b = BUF_INIT;
    json_t *j = state_json(s, items, n);
    char name[32];
    int r = -1;

    ckpt_name(name, sizeof name, s->step);
    target = xstrfmt("%s/%s", dir, name);
    path = xstrfmt("%s/state.json", tmp);
    json_canonical(&b, j);
    buf_addch(&b, '\n');
    if (atomic_write(path, b.data, b.len) < 0 || sync_dir(tmp) < 0)
        goto out;
    fault_point("ckpt.rename");
    /* the same step may be there, written by another attempt */
    if (replace_dir(tmp, target) < 0)
        goto out;
    tmp_forget(tmp);
    fault_point("ckpt.renamed");
    r = sync_dir(dir);
out:
    json_decref(j);
    buf_release(&b);
    free(path);
    free(target);
    free(tmp);
    return r;
}

/* ---- the directory of checkpoints */

int64_t ckpt_step_of(const char *name)
{
    char again[32];
    long long v;

    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
        return -1;
    errno = 0;
    v = strtoll(name + strlen(PREFIX), NULL, 10);
    if (errno || v < 0)
        return -1;
    /* two names of one step would hide each other */
    ckpt_name(again, sizeof again, v);
    return strcmp(again, name) == 0 ? v : -1;
}

static bool is_dir_at(DIR *d, const char *name)
{
    struct stat st;

    return fstatat(dirfd(d), name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

int ckpt_list(const char *dir, int64_t **steps, int *n)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int64_t step;

    *steps = NULL;
    *n = 0;
    if (!d && errno == ENOENT)
        return 0;
    if (!d)
        return err_sys(ERR_NOINPUT, "%s: open", dir);
    while ((e = readdir(d))) {
        step = ckpt_step_of(e->d_name);
        if (step < 0 || !is_dir_at(d, e->d_name))
            continue;
        *steps = xreallocarray(*steps, (size_t)*n + 1, sizeof **steps);
        (*steps)[(*n)++] = step;
    }
    closedir(d);
    if (*n)
        qsort(*steps, (size_t)*n, sizeof **steps, ascending);
    return 0;
}

char *ckpt_newest(const char *dir, int64_t *step)
{
    int64_t *steps;
    char name[32];
    int n;

    *step = -2;
    if (ckpt_list(dir, &steps, &n) < 0)
        return NULL;
    *step = n ? steps[n - 1] : -1;
    free(steps);
    if (!n)
        return NULL;
    ckpt_name(name, sizeof name, *step);
    return xstrfmt("%s/%s", dir, name);
}

/* Out of sight first: what is visible is complete. */
static int remove_step(const char *dir, int64_t step)
{
    char *hidden = hidden_path(dir, step), *path, name[32];
    int r = 0;

    ckpt_name(name, sizeof name, step);
    path = xstrfmt("%s/%s", dir, name);
    if (rename(path, hidden) < 0)
        r = err_sys(ERR_IO, "%s: rename", path);
    fault_point("ckpt.pruned");
    if (r == 0)
        r = remove_tree(hidden);
    free(path);
    free(hidden);
    return r;
}

int ckpt_prune(const char *dir, int64_t keep, int64_t keep_every)
{
    int64_t *steps;
    int n, i, r;

    fault_point("ckpt.prune");
    if (ckpt_clean(dir) < 0 || ckpt_list(dir, &steps, &n) < 0)
        return -1;
    for (i = 0, r = 0; keep > 0 && i < n - keep && r == 0; i++) {
        if (keep_every > 0 && steps[i] % keep_every == 0)
            continue;
        r = remove_step(dir, steps[i]);
    }
    free(steps);
    return r;
}
