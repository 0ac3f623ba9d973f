#include "train/save.h"

#include "util/buf.h"
#include "util/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* All tensors of a checkpoint, in one order for all ranks. */
struct items {
    struct frame_item *item;
    int *entry; /* state entry it belongs to */
    int n, n_state;
};

static void items_init(struct items *it, const struct params *ps)
{
    int i;

    memset(it, 0, sizeof *it);
    it->item = xcalloc((size_t)ps->n_state * 2, sizeof *it->item);
    it->entry = xcalloc((size_t)ps->n_state * 2, sizeof *it->entry);
    for (i = 0; i < ps->n_state; i++) {
        it->item[it->n].name = ps->state[i].name;
        it->item[it->n].t = ps->state[i].disk;
        it->item[it->n].t.data = NULL;
        if (ps->pt == DT_F64 && ps->state[i].what != STATE_COUNTER)
            it->item[it->n].t.dtype = DT_F64;
        it->entry[it->n++] = i;
    }
    it->n_state = it->n;
    for (i = 0; i < ps->n_state; i++) {
        if (ps->state[i].what != STATE_PARAM)
            continue;
        it->item[it->n].name = xstrfmt("momentum.%s", ps->state[i].name);
        it->item[it->n].t = it->item[i].t;
        it->entry[it->n++] = i;
    }
}

static void items_release(struct items *it)
{
    int i;

    for (i = 0; i < it->n; i++) {
        free(it->item[i].t.data);
        if (i >= it->n_state)
            free((char *)(uintptr_t)it->item[i].name);
    }
    free(it->item);
    free(it->entry);
}

static int item_fetch(struct items *it, int i, struct params *ps)
{
    struct tensor *t = &it->item[i].t;

    t->data = xmalloc(tensor_bytes(t) + 1);
    if (i >= it->n_state)
        return params_get_momentum(ps, it->entry[i], t->data);
    return params_get(ps, it->entry[i], t->data, ps->pt == DT_F64);
}

static int write_share(const char *dir, struct items *it, struct params *ps,
                       const struct comm *comm, int64_t step)
{
    int *owner = xcalloc((size_t)it->n + 1, sizeof *owner);
    int i, r = 0;

    ckpt_share(it->item, it->n, comm->world, owner);
    for (i = 0; i < it->n && r == 0; i++)
        if (owner[i] == comm->rank)
            r = item_fetch(it, i, ps);
    free(owner);
    if (r < 0)
        return -1;
    return ckpt_write_share(dir, step, comm->rank, comm->world, it->item,
                            it->n);
}

int save_checkpoint(const char *dir, struct params *ps, struct comm *comm,
                    struct ckpt_state *st, int64_t keep, int64_t keep_every)
{
    struct items it;
    int r = -1;

    items_init(&it, ps);
    fault_point("ckpt.begin");
    if (comm->rank == 0 && ckpt_write_begin(dir, st->step) < 0)
        goto out;
    if (comm_barrier(comm, "checkpoint begin") < 0)
        goto out;
    fault_point("ckpt.write");
    if (write_share(dir, &it, ps, comm, st->step) < 0)
        goto out;
    if (comm_barrier(comm, "checkpoint written") < 0)
        goto out;
    if (comm->rank == 0 && (ckpt_commit(dir, st, it.item, it.n) < 0 ||
                            ckpt_prune(dir, keep, keep_every) < 0))
        goto out;
    r = comm_barrier(comm, "checkpoint committed");
out:
    items_release(&it);
    return r < 0 ? err_wrap("checkpoint of step %lld", (long long)st->step) : 0;
}

static int restore_one(struct ckpt *c, struct params *ps, struct items *it,
                       int i)
{
    const struct tensor *want = &it->item[i].t, *have;
    int at = ckpt_find(c, it->item[i].name);
    void *data;
    int r;

    if (at < 0)
        return err_set(ERR_DATA, "%s: %s: not in the checkpoint", c->path,
                       it->item[i].name);
    have = ckpt_tensor(c, at);
    if (have->dtype != want->dtype || !tensor_same_shape(have, want))
        return err_set(ERR_DATA,
                       "%s: %s: another dtype or shape than the "
                       "model's",
                       c->path, it->item[i].name);
    data = xmalloc(tensor_bytes(want) + 1);
    r = ckpt_read(c, at, data);
    if (r == 0 && i >= it->n_state)
        r = params_set_momentum(ps, it->entry[i], data);
    else if (r == 0)
        r = params_set(ps, it->entry[i], data, ps->pt == DT_F64);
    free(data);
    return r;
}

int save_restore(struct ckpt *c, struct params *ps)
{
    struct items it;
    int i, r = 0;

    items_init(&it, ps);
    if (c->n_tensors != it.n)
        r = err_set(ERR_DATA, "%s: %d tensors, but the model's state has %d",
                    c->path, c->n_tensors, it.n);
    for (i = 0; i < it.n && r == 0; i++)
        r = restore_one(c, ps, &it, i);
    items_release(&it);
    return r;
}

int save_model(const char *path, struct params *ps, const char *model,
               int64_t classes)
{
    struct items it;
    char number[24];
    struct frame_pair meta[] = {
        {"classes", number}, {"format", "pt"}, {"model", model}};
    int i, r = 0;

    snprintf(number, sizeof number, "%lld", (long long)classes);
    items_init(&it, ps);
    for (i = 0; i < it.n_state && r == 0; i++)
        r = item_fetch(&it, i, ps);
    if (r == 0)
        r = frame_file_write(path, meta, 3, it.item, it.n_state);
    /* frame_file_write has sorted them: the names are all lent or all ours */
    items_release(&it);
    return r;
}

/* ---- model files and checkpoints as a source of tensors */

static const char *file_name(void *arg, int i)
{
    return ((struct frame_file *)arg)->f.tensor[i].name;
}

static const struct tensor *file_tensor(void *arg, int i)
{
    return &((struct frame_file *)arg)->f.tensor[i].t;
}

static int file_read(void *arg, int i, void *dst)
{
    return frame_file_data(arg, i, dst);
}

static int load_file(const char *path, struct params *ps)
{
    struct frame_file f = FRAME_FILE_INIT;
    struct frame_source s = {0, file_name, file_tensor, file_read, &f};
    int r;

    if (frame_file_open(&f, path) < 0)
        return -1;
    s.n = f.f.n_tensors;
    r = params_load(ps, &s);
    frame_file_close(&f);
    return r < 0 ? err_wrap("%s", path) : 0;
}

/* A checkpoint without its momentum. */
struct weights {
    struct ckpt c;
    int *index, n;
};

static const char *ckpt_entry_name(void *arg, int i)
{
    struct weights *w = arg;

    return w->c.tensor[w->index[i]].name;
}

static const struct tensor *ckpt_entry_tensor(void *arg, int i)
{
    struct weights *w = arg;

    return ckpt_tensor(&w->c, w->index[i]);
}

static int ckpt_entry_read(void *arg, int i, void *dst)
{
    struct weights *w = arg;

    return ckpt_read(&w->c, w->index[i], dst);
}

static int load_ckpt(const char *path, struct params *ps)
{
    struct weights w = {.n = 0};
    struct frame_source s = {0, ckpt_entry_name, ckpt_entry_tensor,
                             ckpt_entry_read, &w};
    int i, r;

    if (ckpt_open(&w.c, path) < 0)
        return -1;
    w.index = xcalloc((size_t)w.c.n_tensors + 1, sizeof *w.index);
    for (i = 0; i < w.c.n_tensors; i++)
        if (strncmp(w.c.tensor[i].name, "momentum.", 9) != 0)
            w.index[w.n++] = i;
    s.n = w.n;
    r = params_load(ps, &s);
    free(w.index);
    ckpt_close(&w.c);
    return r < 0 ? err_wrap("%s", path) : 0;
}

int save_load_model(const char *path, struct params *ps)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return err_sys(ERR_NOINPUT, "%s", path);
    return S_ISDIR(st.st_mode) ? load_ckpt(path, ps) : load_file(path, ps);
}
