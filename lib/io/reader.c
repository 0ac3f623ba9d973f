#include "io/reader.h"

#include "io/ckpt.h"
#include "io/windows.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Every shard there and of the right size, before anything is read. */
static int check_shards(const struct shard_set *s)
{
    struct buf path = BUF_INIT;
    struct stat st;
    int r = 0;

    for (uint32_t i = 0; i < s->n_shards && r == 0; i++) {
        buf_reset(&path);
        shard_path(s, i, &path);
        if (stat(path.data, &st) < 0)
            r = err_sys(ERR_NOINPUT, "%s", path.data);
        else if ((uint64_t)st.st_size != s->shard[i].bytes)
            r = err_set(ERR_DATA, "%s: %lld bytes, the manifest says %llu",
                        path.data, (long long)st.st_size,
                        (unsigned long long)s->shard[i].bytes);
    }
    buf_release(&path);
    return r;
}

/* ---- where to begin */

static const char *const tails[] = {"wrap", "drop", "exact"};

void reader_token(const struct reader *r, struct buf *b)
{
    int64_t epoch, pos;

    recipe_place(&r->batch, r->samples, &epoch, &pos);
    buf_addf(b, "dataset=%s,order=", r->set.dataset);
    order_name(&r->order, b);
    buf_addf(b, ",seed=%llu,epoch=%lld,next=%lld,tail=%s,group=%lld",
             (unsigned long long)r->order.seed, (long long)epoch,
             (long long)pos, tails[r->tail], (long long)r->batch.global);
}

/* The value of a field of a token, in field; false if it is not there. */
static bool token_field(const char *token, const char *key, char *field,
                        size_t room)
{
    size_t klen = strlen(key), n;

    for (const char *p = token; *p; p += n + (p[n] == ',')) {
        n = strcspn(p, ",");
        if (n > klen && p[klen] == '=' && !strncmp(p, key, klen) &&
            n - klen - 1 < room) {
            memcpy(field, p + klen + 1, n - klen - 1);
            field[n - klen - 1] = 0;
            return true;
        }
    }
    return false;
}

static int token_number(const char *token, const char *key, int64_t *v)
{
    char field[32], *end;

    if (!token_field(token, key, field, sizeof(field)))
        return err_set(ERR_USAGE, "resume token: no field %s", key);
    errno = 0;
    *v = strtoll(field, &end, 10);
    if (errno || *end || end == field || *v < 0)
        return err_set(ERR_USAGE, "resume token: %s \"%s\": not a number", key,
                       field);
    return 0;
}

/*
 * A token fits when all but the place is what this reader has. The global
 * batch may differ where the place begins a step of ours too; with lanes the
 * order depends on the batch, so only between epochs.
 */
static int start_at_token(struct reader *r, const char *token)
{
    static const char *const keys[] = {"dataset", "order", "seed", "tail"};
    char ours[200], theirs[200];
    struct buf own = BUF_INIT;
    int64_t epoch, next, group;

    reader_token(r, &own);
    for (int i = 0; i < 4; i++) {
        if (!token_field(own.data, keys[i], ours, sizeof(ours)))
            BUG("own token has no %s", keys[i]);
        if (!token_field(token, keys[i], theirs, sizeof(theirs)))
            err_set(ERR_USAGE, "resume token: no field %s", keys[i]);
        else if (strcmp(ours, theirs) != 0)
            err_set(ERR_CONFIG, "resume token: %s is %s, here it is %s",
                    keys[i], theirs, ours);
        else
            continue;
        buf_release(&own);
        return -1;
    }
    buf_release(&own);
    if (token_number(token, "epoch", &epoch) < 0 ||
        token_number(token, "next", &next) < 0 ||
        token_number(token, "group", &group) < 0)
        return -1;
    if (epoch > UINT32_MAX || next >= r->batch.epoch_samples)
        return err_set(ERR_CONFIG,
                       "resume token: place %lld of epoch %lld: an "
                       "epoch has %lld samples",
                       (long long)next, (long long)epoch,
                       (long long)r->batch.epoch_samples);
    if (next && group != r->batch.global &&
        (next % r->batch.global ||
         (r->order.kind == ORDER_BLOCK && r->order.lanes > 1)))
        return err_set(ERR_CONFIG,
                       "resume token: batch %lld, here %lld: place %lld is not "
                       "where a step begins",
                       (long long)group, (long long)r->batch.global,
                       (long long)next);
    r->samples = epoch * r->batch.epoch_samples + next;
    return 0;
}

static int mismatch(const char *path, const char *what, int64_t theirs,
                    int64_t ours)
{
    return err_set(ERR_CONFIG, "%s: made with %s %lld, here it is %lld", path,
                   what, (long long)theirs, (long long)ours);
}

static int start_at_state(struct reader *r, const struct recipe *cfg,
                          const struct ckpt_state *s, const char *path)
{
    if (s->dataset[0] && strcmp(s->dataset, r->set.dataset) != 0)
        return err_set(ERR_CONFIG, "%s: made with data set %s, here it is %s",
                       path, s->dataset, r->set.dataset);
    if (s->n && s->n != r->batch.n)
        return mismatch(path, "samples", s->n, r->batch.n);
    if (s->seed != cfg->seed)
        return mismatch(path, "SEED", s->seed, cfg->seed);
    if (s->global != r->batch.global)
        return mismatch(path, "SOLVER.BATCH", s->global, r->batch.global);
    if (s->samples < 0)
        return err_set(ERR_DATA, "%s: negative progress", path);
    r->samples = s->samples;
    return 0;
}

/* dir is a checkpoint, RUN/ckpt, or RUN; none inside is a fresh start. */
static int start_at_checkpoint(struct reader *r, const struct recipe *cfg,
                               const char *dir)
{
    char *file = xstrfmt("%s/state.json", dir), *inner, *path = NULL;
    struct ckpt_state state = {0};
    struct stat st;
    int64_t step = -1;
    int result = -1;

    inner = xstrfmt("%s/ckpt", dir);
    if (stat(file, &st) == 0)
        path = xstrdup(dir);
    else
        path = ckpt_newest(stat(inner, &st) == 0 ? inner : dir, &step);
    if (!path && step != -1)
        goto out;
    if (!path) {
        result = 0;
        goto out;
    }
    if (ckpt_read_state(path, &state) == 0)
        result = start_at_state(r, cfg, &state, path);
    ckpt_state_release(&state);
out:
    free(file);
    free(inner);
    free(path);
    return result;
}

static int find_start(struct reader *r, const struct recipe *cfg,
                      const struct reader_want *w)
{
    int64_t begin = w->first_epoch * r->batch.epoch_samples;

    r->samples = begin;
    r->end = r->batch.total_samples;
    if (w->last_epoch >= 0)
        r->end = (w->last_epoch + 1) * r->batch.epoch_samples;
    if (w->resume && w->from)
        return err_set(ERR_USAGE, "a resume token and a checkpoint directory: "
                                  "one of them");
    if (w->resume && start_at_token(r, w->resume) < 0)
        return -1;
    if (w->from && start_at_checkpoint(r, cfg, w->from) < 0)
        return -1;
    if (r->samples < begin)
        r->samples = begin;
    return 0;
}

/* ---- the reader */

/* Which samples there are to train on, and what an order wants of them. */
static int use_objects(struct reader *r, struct order_set *os)
{
    const struct shard_set *s = &r->set;
    uint32_t n = 0, shard = 0;

    r->used = xreallocarray(NULL, s->n, sizeof(*r->used));
    r->size = xreallocarray(NULL, s->n, sizeof(*r->size));
    r->first = xcalloc((size_t)s->n_shards + 1, sizeof(*r->first));
    for (uint32_t i = 0; i < s->n; i++) {
        while (i >= s->shard_first[shard + 1])
            r->first[++shard] = n;
        if (s->flags[i] & SHARD_EMPTY)
            continue;
        r->used[n] = i;
        r->size[n++] = s->size[i];
    }
    while (shard < s->n_shards)
        r->first[++shard] = n;
    if (!n)
        return err_set(ERR_DATA, "%s: no image has an object", s->path);
    os->n = n;
    os->size = r->size;
    os->shard_first = r->first;
    return 0;
}

/* Images of one shape together; after order_bind. */
static void group_shapes(struct reader *r)
{
    uint32_t n = r->order.set.n;

    r->wide = xreallocarray(NULL, n, sizeof(*r->wide));
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = r->used ? r->used[k] : k;

        r->wide[k] = r->set.width[i] > r->set.height[i];
    }
    order_group(&r->order, r->wide, r->batch.micro, r->batch.epoch_samples);
}

int reader_open(struct reader *r, const struct recipe *cfg,
                const struct reader_want *w)
{
    struct order_set os;
    bool objects;

    memset(r, 0, sizeof(*r));
    if (w->rank < 0 || w->rank >= w->world)
        return err_set(ERR_USAGE, "rank %lld of %lld", (long long)w->rank,
                       (long long)w->world);
    if (w->first_epoch < 0 ||
        (w->last_epoch >= 0 && w->last_epoch < w->first_epoch) ||
        w->last_epoch > UINT32_MAX)
        return err_set(ERR_USAGE, "epochs %lld-%lld", (long long)w->first_epoch,
                       (long long)w->last_epoch);
    if (order_parse(&r->order, w->order ? w->order : "global") < 0 ||
        shard_set_open(&r->set, w->manifest) < 0)
        return -1;
    r->order.repeat = cfg->repeat > 1 ? cfg->repeat : 1;
    r->rank = w->rank;
    r->tail = cfg->tail;
    r->check = w->check;
    os = (struct order_set){.n = r->set.n,
                            .size = r->set.size,
                            .shard_first = r->set.shard_first,
                            .shards = r->set.n_shards};
    objects = shard_is_detection(&r->set) && !w->eval;
    if ((objects && cfg->filter_empty && use_objects(r, &os) < 0) ||
        (w->eval ? recipe_divide_eval : recipe_divide)(cfg, os.n, w->world,
                                                       &r->batch) < 0 ||
        order_bind(&r->order, (uint64_t)cfg->seed, r->batch.global, &os) < 0 ||
        check_shards(&r->set) < 0)
        goto fail;
    /* a last step that is short cannot be dealt in whole groups */
    if (objects && cfg->group_shapes && cfg->tail != TAIL_EXACT)
        group_shapes(r);
    if (find_start(r, cfg, w) < 0)
        goto fail;
    r->rows = xreallocarray(NULL, (size_t)r->batch.micro, sizeof(*r->rows));
    r->files = reader_files_new(&r->set, r->order.kind != ORDER_GLOBAL);
    r->windows = windows_new(r);
    if (r->check == CHECK_ONCE)
        r->seen = xcalloc(r->set.n, sizeof(*r->seen));
    return 0;
fail:
    reader_close(r);
    return -1;
}

void reader_close(struct reader *r)
{
    windows_free(r->windows);
    reader_files_free(r->files);
    free(r->rows);
    free(r->seen);
    free(r->used);
    free(r->size);
    free(r->first);
    free(r->wide);
    order_release(&r->order);
    shard_set_release(&r->set);
    memset(r, 0, sizeof(*r));
}

int reader_next(struct reader *r, struct reader_step *st)
{
    const struct recipe_batch *b = &r->batch;
    int64_t epoch, pos;

    if (r->samples >= r->end)
        return 0;
    recipe_place(b, r->samples, &epoch, &pos);
    if (order_epoch(&r->order, epoch) < 0)
        return -1;
    st->epoch = epoch;
    st->step = epoch * b->epoch_steps + pos / b->global;
    st->micro = r->m;
    st->pos = pos;
    st->total =
        b->epoch_samples - pos < b->global ? b->epoch_samples - pos : b->global;
    st->samples = r->samples + st->total;
    st->epoch_begin = pos == 0 && r->m == 0;
    st->epoch_end = pos + st->total == b->epoch_samples && r->m + 1 == b->accum;
    recipe_rows(b, r->tail, pos, r->m, r->rank, &st->first, &st->count);
    for (int64_t j = 0; j < st->count; j++) {
        if (r->windows)
            windows_enter(r->windows, st->first + j);
        r->rows[j] = reader_sample(r, st->first + j);
    }
    st->sample = r->rows;
    if (++r->m == b->accum) {
        r->m = 0;
        r->samples = st->samples;
    }
    return 1;
}

uint32_t reader_sample(const struct reader *r, int64_t p)
{
    uint32_t i = order_at(&r->order, p);

    return r->used ? r->used[i] : i;
}

int reader_fetch_annot(struct reader *r, uint32_t i, struct buf *b)
{
    return reader_files_fetch_annot(r->files, i, r->check == CHECK_ALWAYS, b);
}

int reader_fetch(struct reader *r, uint32_t i, struct buf *b)
{
    bool check = r->check == CHECK_ALWAYS ||
                 (r->seen && i < r->set.n && !atomic_load(&r->seen[i]));

    if (reader_files_fetch(r->files, i, check, b) < 0)
        return -1;
    if (r->seen)
        atomic_store(&r->seen[i], true);
    return 0;
}
