#include "train/sharding.h"

#include "io/ctl.h"

#include <stdlib.h>
#include <string.h>

/* Cut where a tensor ends: small first, so that the exchange begins early; the
 * rest of a size that stays in a core's cache (data-and-collectives 4.3). */
#define FIRST_BUCKET (1 << 20)
#define BUCKET (4 << 20)

static void cut_buckets(struct sharding *s)
{
    const struct params *ps = s->ps;
    int64_t size = (int64_t)dtype_size(ps->pt), begin = 0, end;
    int i;

    s->bucket_end = xcalloc((size_t)ps->n + 1, sizeof *s->bucket_end);
    for (i = ps->n - 1; i >= 0; i--) {
        end = i > 0 ? ps->p[i - 1].offset : ps->total;
        if ((end - begin) * size < (s->n_buckets ? BUCKET : FIRST_BUCKET) &&
            i > 0)
            continue;
        s->bucket_end[s->n_buckets++] = end;
        begin = end;
    }
}

void sharding_slice(const struct sharding *s, int bucket, int share,
                    int64_t *begin, int64_t *end)
{
    int64_t first = bucket ? s->bucket_end[bucket - 1] : 0;

    ctl_slice(s->bucket_end[bucket] - first, share, s->comm->world, begin, end);
    *begin += first;
    *end += first;
}

void sharding_init(struct sharding *s, struct params *ps, struct comm *comm,
                   bool on)
{
    int b;

    memset(s, 0, sizeof *s);
    s->ps = ps;
    s->comm = comm;
    s->on = on && comm->world > 1;
    cut_buckets(s);
    s->piece = xcalloc((size_t)s->n_buckets + 1, sizeof *s->piece);
    for (b = 0; s->on && b < s->n_buckets; b++) {
        struct sharding_piece *p = &s->piece[s->n];

        sharding_slice(s, b, comm->share, &p->begin, &p->end);
        p->at = s->total;
        s->total += p->end - p->begin;
        s->n += p->end > p->begin;
    }
    if (s->on)
        return;
    s->n = 1;
    s->piece[0].end = s->total = ps->total;
}

void sharding_release(struct sharding *s)
{
    free(s->bucket_end);
    free(s->piece);
    memset(s, 0, sizeof *s);
}

int sharding_alloc(const struct sharding *s, void **state)
{
    size_t bytes = (size_t)s->total * dtype_size(s->ps->pt);

    if (engine_alloc(s->ps->e, bytes, state) < 0)
        return err_wrap("state of the optimizer");
    return engine_fill(s->ps->e, *state, 0, bytes);
}

/* ---- whole tensors */

/* Own pieces between a state and an arena of the parameters' layout. */
static int copy_pieces(const struct sharding *s, void *state, void *arena,
                       bool to_state)
{
    size_t size = dtype_size(s->ps->pt);
    int i;

    for (i = 0; i < s->n; i++) {
        const struct sharding_piece *p = &s->piece[i];
        char *a = (char *)state + (size_t)p->at * size;
        char *b = (char *)arena + (size_t)p->begin * size;

        if (engine_copy(s->ps->e, to_state ? a : b, to_state ? b : a,
                        (size_t)(p->end - p->begin) * size) < 0)
            return -1;
    }
    return engine_finish(s->ps->e);
}

/* Every rank has its slices in an arena; all get all. */
static int gather(const struct sharding *s, float *arena)
{
    int64_t begin = 0;
    int b;

    for (b = 0; b < s->n_buckets; b++) {
        if (comm_start(s->comm, COMM_GATHER, b, arena + begin,
                       s->bucket_end[b] - begin) < 0)
            return -1;
        begin = s->bucket_end[b];
    }
    for (b = 0; b < s->n_buckets; b++)
        if (comm_wait(s->comm, b) < 0)
            return -1;
    return 0;
}

int sharding_whole(const struct sharding *s, void *state, void **whole)
{
    *whole = s->on ? (void *)(uintptr_t)s->ps->sum : state;
    if (!s->on)
        return 0;
    return copy_pieces(s, state, s->ps->g, false) < 0 ? -1
                                                      : gather(s, s->ps->g);
}

void *sharding_room(const struct sharding *s, void *state)
{
    return s->on ? s->ps->g : state;
}

int sharding_take(const struct sharding *s, void *state)
{
    return s->on ? copy_pieces(s, state, s->ps->g, true) : 0;
}

int sharding_weights(const struct sharding *s)
{
    return s->on ? gather(s, s->ps->w) : 0;
}
