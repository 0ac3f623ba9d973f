#include "train/save.h"

#include "io/foreign.h"
#include "util/buf.h"
#include "util/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a tensor of a checkpoint is. */
enum part {
    PART_STATE, /* an entry of the parameters */
    PART_MOMENTUM,
    PART_EMA, /* the average of an entry */
    PART_EMA_COUNT
};

/* All tensors of a checkpoint, in one order for all ranks. */
struct items {
    struct frame_item *item;
    enum part *part;
    int *entry; /* state entry it belongs to */
    int n, n_state;
};

static void add(struct items *it, enum part part, int entry, const char *name,
                struct tensor t)
{
    it->item[it->n].name = xstrdup(name);
    it->item[it->n].t = t;
    it->part[it->n] = part;
    it->entry[it->n++] = entry;
}

static void add_named(struct items *it, enum part part, int entry,
                      const char *prefix)
{
    char *name = xstrfmt("%s%s", prefix, it->item[entry].name);

    add(it, part, entry, name, it->item[entry].t);
    free(name);
}

static void items_init(struct items *it, const struct params *ps)
{
    size_t most = (size_t)ps->n_state * 3 + 1;
    int i;

    memset(it, 0, sizeof *it);
    it->item = xcalloc(most, sizeof *it->item);
    it->part = xcalloc(most, sizeof *it->part);
    it->entry = xcalloc(most, sizeof *it->entry);
    for (i = 0; i < ps->n_state; i++) {
        struct tensor t = ps->state[i].disk;

        if (ps->pt == DT_F64 && ps->state[i].what != STATE_COUNTER)
            t.dtype = DT_F64;
        add(it, PART_STATE, i, ps->state[i].name, t);
    }
    it->n_state = it->n;
}

static void items_init_all(struct items *it, const struct save *s)
{
    int i;

    items_init(it, s->ps);
    for (i = 0; i < it->n_state; i++)
        if (s->ps->state[i].what == STATE_PARAM)
            add_named(it, PART_MOMENTUM, i, CKPT_MOMENTUM);
    if (!s->ema->on)
        return;
    for (i = 0; i < it->n_state; i++)
        add_named(it, PART_EMA, i, CKPT_EMA);
    add(it, PART_EMA_COUNT, 0, CKPT_EMA_COUNT,
        tensor_of(DT_I64, 0, NULL, NULL));
}

static void items_release(struct items *it)
{
    int i;

    for (i = 0; i < it->n; i++) {
        free(it->item[i].t.data);
        free((char *)(uintptr_t)it->item[i].name);
    }
    free(it->item);
    free(it->part);
    free(it->entry);
}

/* ---- one tensor */

/* Where the momentum or the average of an entry lies, in an arena of the layout
 * of the parameters. */
static void *place(const struct save *s, enum part part, int entry, void *arena)
{
    const struct params *ps = s->ps;
    const struct state_entry *e = &ps->state[entry];
    int64_t offset;

    if (part == PART_EMA && e->what == STATE_BUFFER) {
        arena = s->ema->buffers;
        offset = ps->buffer[e->index].offset;
    } else {
        offset = ps->p[e->index].offset;
    }
    return (char *)arena + (size_t)offset * dtype_size(ps->pt);
}

/* A number of the average that is not in an arena, or NULL. */
static int64_t *number(const struct save *s, enum part part, int entry)
{
    const struct state_entry *e = &s->ps->state[entry];

    if (part == PART_EMA_COUNT)
        return &s->ema->updates;
    if (part == PART_EMA && e->what == STATE_COUNTER)
        return &s->ema->counter[e->index];
    return NULL;
}

static int item_fetch(struct items *it, int i, const struct save *s,
                      void *arena)
{
    struct tensor *t = &it->item[i].t;
    enum part part = it->part[i];
    int entry = it->entry[i];
    int64_t *v;

    t->data = xmalloc(tensor_bytes(t) + 1);
    if (part == PART_STATE)
        return params_get(s->ps, entry, t->data, true);
    v = number(s, part, entry);
    if (!v)
        return params_fetch(s->ps, entry, place(s, part, entry, arena), t->data,
                            true);
    memcpy(t->data, v, sizeof *v);
    return 0;
}

static int item_put(const struct items *it, int i, const struct save *s,
                    void *arena, const void *data)
{
    enum part part = it->part[i];
    int entry = it->entry[i];
    int64_t *v;

    if (part == PART_STATE)
        return params_set(s->ps, entry, data, true);
    v = number(s, part, entry);
    if (!v)
        return params_put(s->ps, entry, place(s, part, entry, arena), data,
                          true);
    memcpy(v, data, sizeof *v);
    return 0;
}

/* ---- writing */

/* Bring own items of a part to the host. */
static int fetch_part(struct items *it, const struct save *s, const int *owner,
                      enum part part, void *arena)
{
    int i, r = 0;

    for (i = 0; i < it->n && r == 0; i++)
        if (it->part[i] == part && owner[i] == s->comm->rank)
            r = item_fetch(it, i, s, arena);
    return r;
}

static int fetch_share(struct items *it, const struct save *s, const int *owner)
{
    const struct sharding *k = s->optim->shard;
    void *whole;

    if (fetch_part(it, s, owner, PART_STATE, NULL) < 0 ||
        sharding_whole(k, s->optim->m, &whole) < 0 ||
        fetch_part(it, s, owner, PART_MOMENTUM, whole) < 0)
        return -1;
    if (!s->ema->on)
        return 0;
    if (sharding_whole(k, s->ema->w, &whole) < 0 ||
        fetch_part(it, s, owner, PART_EMA, whole) < 0)
        return -1;
    return fetch_part(it, s, owner, PART_EMA_COUNT, NULL);
}

static int write_share(const char *dir, struct items *it, const struct save *s,
                       int64_t step)
{
    int *owner = xcalloc((size_t)it->n + 1, sizeof *owner);
    int r;

    ckpt_share(it->item, it->n, s->comm->world, owner);
    r = fetch_share(it, s, owner);
    free(owner);
    if (r < 0)
        return -1;
    return ckpt_write_share(dir, step, s->comm->rank, s->comm->world, it->item,
                            it->n);
}

/*
 * All ranks have come this far; r is how it went here. 0 if it went well on all,
 * 1 if files could not be written on one: then all leave it at that together.
 */
static int together(struct comm *comm, const char *where, int r)
{
    double failed = r < 0;

    if (r < 0 && err_code() != ERR_IO && err_code() != ERR_CANTCREAT)
        return -1;
    if (comm_barrier(comm, where) < 0 ||
        comm_reduce(comm, COMM_MAX, &failed, 1) < 0)
        return -1;
    if (failed > 0 && r == 0)
        err_set(ERR_IO, "another rank could not write its files");
    return failed > 0;
}

int save_room(const char *dir, const struct save *s)
{
    struct items it;
    int r = ckpt_clean(dir);

    items_init_all(&it, s);
    if (r == 0)
        r = ckpt_room(dir, it.item, it.n, s->comm->world);
    items_release(&it);
    return r;
}

/* What rank 0 does before all: a disk is not filled for nothing. */
static int begin(const char *dir, int64_t step, const struct items *it,
                 int world)
{
    if (ckpt_clean(dir) < 0 || ckpt_write_begin(dir, step) < 0)
        return -1;
    return ckpt_room(dir, it->item, it->n, world);
}

int save_checkpoint(const char *dir, const struct save *s,
                    struct ckpt_state *st, int64_t keep, int64_t keep_every)
{
    struct comm *comm = s->comm;
    bool first = comm->rank == 0;
    struct items it;
    int r;

    items_init_all(&it, s);
    fault_point("ckpt.begin");
    r = together(comm, "checkpoint begin",
                 first ? begin(dir, st->step, &it, comm->world) : 0);
    fault_point("ckpt.write");
    if (r == 0)
        r = together(comm, "checkpoint written",
                     write_share(dir, &it, s, st->step));
    if (r == 0)
        r = together(comm, "checkpoint committed",
                     first ? ckpt_commit(dir, st, it.item, it.n) : 0);
    if (r == 1 && first)
        ckpt_abandon(dir, st->step);
    if (r == 0 && first)
        r = ckpt_prune(dir, keep, keep_every);
    items_release(&it);
    if (r != 0)
        err_wrap("checkpoint of step %lld", (long long)st->step);
    return r;
}

/* ---- reading */

static int restore_one(struct ckpt *c, const struct save *s, struct items *it,
                       int i, void *arena)
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
    if (r == 0)
        r = item_put(it, i, s, arena, data);
    free(data);
    return r;
}

/* state: of the part, or NULL. */
static int restore_part(struct ckpt *c, const struct save *s, struct items *it,
                        enum part part, void *state)
{
    const struct sharding *k = s->optim->shard;
    void *room = state ? sharding_room(k, state) : NULL;
    int i, r = 0;

    for (i = 0; i < it->n && r == 0; i++)
        if (it->part[i] == part)
            r = restore_one(c, s, it, i, room);
    return r == 0 && state ? sharding_take(k, state) : r;
}

int save_restore(struct ckpt *c, const struct save *s)
{
    struct items it;
    int r = 0;

    items_init_all(&it, s);
    if (c->n_tensors != it.n)
        r = err_set(ERR_DATA, "%s: %d tensors, but the model's state has %d",
                    c->path, c->n_tensors, it.n);
    if (r == 0)
        r = ckpt_verify_data(c);
    if (r == 0)
        r = restore_part(c, s, &it, PART_STATE, NULL);
    if (r == 0)
        r = restore_part(c, s, &it, PART_MOMENTUM, s->optim->m);
    if (r == 0)
        r = restore_part(c, s, &it, PART_EMA, s->ema->w);
    if (r == 0)
        r = restore_part(c, s, &it, PART_EMA_COUNT, NULL);
    items_release(&it);
    return r;
}

/* ---- model files */

int save_model(const char *path, struct params *ps, const char *model,
               int64_t classes)
{
    struct save s = {.ps = ps};
    struct items it;
    char number[24];
    struct frame_pair meta[] = {
        {"classes", number}, {"format", "pt"}, {"model", model}};
    int i, r = 0;

    snprintf(number, sizeof number, "%lld", (long long)classes);
    items_init(&it, ps);
    for (i = 0; i < it.n_state && r == 0; i++)
        r = item_fetch(&it, i, &s, NULL);
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

    if (foreign_is(path))
        return err_set(ERR_DATA,
                       "%s: a file of torch.save: ckpt-merge -o "
                       "model.safetensors makes a model file of it",
                       path);
    if (frame_file_open(&f, path) < 0)
        return -1;
    s.n = f.f.n_tensors;
    r = params_load(ps, &s);
    frame_file_close(&f);
    return r < 0 ? err_wrap("%s", path) : 0;
}

/* The model in a checkpoint. */
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

/* Is the directory that of one step? Else who can make a file of it is said. */
static int check_step(const char *path)
{
    char *state = xstrfmt("%s/state.json", path);
    bool there = access(state, F_OK) == 0;

    free(state);
    return there ? 0
                 : err_set(ERR_DATA,
                           "%s: not the directory of a step: ckpt-merge -o "
                           "model.safetensors makes a model file of a run, or "
                           "of what Accelerate saved",
                           path);
}

static int load_ckpt(const char *path, struct params *ps)
{
    struct weights w = {.n = 0};
    struct frame_source s = {0, ckpt_entry_name, ckpt_entry_tensor,
                             ckpt_entry_read, &w};
    int i, r;

    if (check_step(path) < 0 || ckpt_open(&w.c, path) < 0)
        return -1;
    w.index = xcalloc((size_t)w.c.n_tensors + 1, sizeof *w.index);
    for (i = 0; i < w.c.n_tensors; i++)
        if (ckpt_is_model(w.c.tensor[i].name))
            w.index[w.n++] = i;
    s.n = w.n;
    r = ckpt_verify_data(&w.c);
    if (r == 0)
        r = params_load(ps, &s) < 0 ? err_wrap("%s", path) : 0;
    free(w.index);
    ckpt_close(&w.c);
    return r;
}

int save_load_model(const char *path, struct params *ps)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return err_sys(ERR_NOINPUT, "%s", path);
    return S_ISDIR(st.st_mode) ? load_ckpt(path, ps) : load_file(path, ps);
}
