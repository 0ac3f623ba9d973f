#include "io/order.h"

#include "util/rng.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (2LL << 20)
#define WINDOW 512

/* Images that wait for others of their shape. */
struct order_groups {
    const uint8_t *wide;
    int64_t rows, positions;
    int64_t epoch;      /* the next to be walked: what is below is its start */
    uint32_t *queue[2]; /* [rows] */
    int64_t len[2];
    bool late;      /* the last batch of the epoch before is not full yet */
    uint32_t *slot; /* [positions] of the epoch before */
};

/* A run of samples first .. first+n-1, all of one shard. */
struct block {
    uint32_t first, n;
};

/* One number of "block:BYTES:WINDOW:LANES"; moves *p behind it. */
static bool take_number(const char **p, int64_t max, int64_t *v)
{
    char *end;

    if (**p != ':' || (*p)[1] < '1' || (*p)[1] > '9')
        return false;
    errno = 0;
    *v = strtoll(*p + 1, &end, 10);
    *p = end;
    return errno == 0 && *v <= max;
}

int order_parse(struct order *o, const char *text)
{
    const char *p = text + 5;

    memset(o, 0, sizeof(*o));
    o->epoch = -1;
    o->repeat = 1;
    o->block_bytes = BLOCK_BYTES;
    o->window = WINDOW;
    o->lanes = 1;
    if (!strcmp(text, "global")) {
        o->kind = ORDER_GLOBAL;
        return 0;
    }
    if (!strcmp(text, "seq")) {
        o->kind = ORDER_SEQ;
        return 0;
    }
    o->kind = ORDER_BLOCK;
    if (!strcmp(text, "block"))
        return 0;
    if (!strncmp(text, "block:", 6) &&
        take_number(&p, INT64_MAX / 4, &o->block_bytes) &&
        take_number(&p, UINT32_MAX, &o->window) &&
        take_number(&p, 65536, &o->lanes) && !*p)
        return 0;
    return err_set(ERR_USAGE,
                   "order \"%.80s\": want global, seq or "
                   "block:BYTES:WINDOW:LANES",
                   text);
}

void order_name(const struct order *o, struct buf *b)
{
    if (o->kind == ORDER_BLOCK)
        buf_addf(b, "block:%lld:%lld:%lld", (long long)o->block_bytes,
                 (long long)o->window, (long long)o->lanes);
    else
        buf_addstr(b, o->kind == ORDER_SEQ ? "seq" : "global");
    if (o->repeat > 1)
        buf_addf(b, "*%lld", (long long)o->repeat);
    if (o->groups)
        buf_addf(b, "/shape:%lld", (long long)o->groups->rows);
}

int order_bind(struct order *o, uint64_t seed, int64_t group,
               const struct order_set *s)
{
    if (s->n == 0)
        return err_set(ERR_DATA, "order: the data set is empty");
    if (group % o->repeat)
        return err_set(ERR_USAGE,
                       "order: a global batch of %lld does not divide by "
                       "INPUT.REPEAT %lld",
                       (long long)group, (long long)o->repeat);
    group /= o->repeat;
    if (group < 1 || (o->kind == ORDER_BLOCK && group % o->lanes))
        return err_set(ERR_USAGE,
                       "order: a global batch of %lld cannot be dealt from "
                       "%lld lanes",
                       (long long)(group * o->repeat), (long long)o->lanes);
    o->seed = seed;
    o->group = group;
    o->set = *s;
    return 0;
}

void order_release(struct order *o)
{
    free(o->perm);
    o->perm = NULL;
    o->epoch = -1;
    if (o->groups) {
        free(o->groups->slot);
        free(o->groups->queue[0]);
        free(o->groups->queue[1]);
        free(o->groups);
    }
    o->groups = NULL;
    free(o->window_end);
    o->window_end = NULL;
}

/* ---- block order */

/* Cut the shards into blocks; returns their number. */
static uint32_t cut_blocks(const struct order *o, struct block *blocks)
{
    const struct order_set *s = &o->set;
    uint32_t n = 0;

    for (uint32_t k = 0; k < s->shards; k++) {
        uint64_t first = s->shard_first[k], bytes = 0, i;

        for (i = first; i < s->shard_first[k + 1]; i++) {
            bytes += s->size[i];
            if (bytes < (uint64_t)o->block_bytes &&
                i + 1 < s->shard_first[k + 1])
                continue;
            blocks[n].first = (uint32_t)first;
            blocks[n++].n = (uint32_t)(i + 1 - first);
            first = i + 1;
            bytes = 0;
        }
    }
    return n;
}

static void permute_blocks(struct rng *r, struct block *b, uint32_t n)
{
    for (uint32_t i = n; i-- > 1;) {
        uint32_t j = (uint32_t)rng_below(r, (uint64_t)i + 1);
        struct block t = b[i];

        b[i] = b[j];
        b[j] = t;
    }
}

static void shuffle(struct rng *r, uint32_t *p, uint64_t n)
{
    for (uint64_t i = n; i-- > 1;) {
        uint64_t j = rng_below(r, i + 1);
        uint32_t t = p[i];

        p[i] = p[j];
        p[j] = t;
    }
}

/*
 * Shuffle the samples seq[begin..end) of lane q inside groups of block pieces:
 * the first of j0 pieces, the others of a window. Block b covers the places
 * start[b] .. start[b+1]-1 of seq.
 */
static void shuffle_lane(struct order *o, uint32_t *seq, const uint64_t *start,
                         const uint64_t range[2], int64_t q, int64_t j0)
{
    uint64_t b = 0, at = range[0], end;
    int64_t take = j0 ? j0 : o->window;
    struct rng r;

    while (start[b + 1] <= range[0] && range[0] < range[1])
        b++;
    for (uint32_t g = 0; at < range[1]; g++, take = o->window) {
        for (end = at; take > 0 && end < range[1]; take--)
            end = start[++b] < range[1] ? start[b] : range[1];
        rng_init(&r, o->seed, (uint32_t)(g * o->lanes + q), (uint32_t)o->epoch,
                 RNG_WINDOW);
        shuffle(&r, seq + at, end - at);
        at = end;
        if (o->lanes == 1)
            o->window_end[g] = at;
    }
}

/* Deal group/lanes samples of each lane in turn; what is left at the end. */
static void deal(const struct order *o, const uint32_t *seq,
                 const uint64_t *lane, uint32_t *out)
{
    uint64_t part = (uint64_t)(o->group / o->lanes), steps = UINT64_MAX, len;
    uint64_t at = 0;
    int64_t q;

    for (q = 0; q < o->lanes; q++) {
        len = lane[q + 1] - lane[q];
        if (len / part < steps)
            steps = len / part;
    }
    for (uint64_t t = 0; t < steps; t++)
        for (q = 0; q < o->lanes; q++, at += part)
            memcpy(out + at, seq + lane[q] + t * part, part * sizeof(*seq));
    for (q = 0; q < o->lanes; q++) {
        len = lane[q + 1] - lane[q] - steps * part;
        memcpy(out + at, seq + lane[q] + steps * part, len * sizeof(*seq));
        at += len;
    }
}

static void block_order(struct order *o)
{
    uint32_t n = o->set.n, n_blocks, i;
    uint64_t at = 0, *start, *lane;
    struct block *blocks;
    struct rng r;
    uint32_t *seq;
    int64_t j0, q;

    blocks = xreallocarray(NULL, n, sizeof(*blocks));
    n_blocks = cut_blocks(o, blocks);
    rng_init(&r, o->seed, 0, (uint32_t)o->epoch, RNG_BLOCK);
    j0 = (int64_t)rng_below(&r, (uint64_t)o->window);
    permute_blocks(&r, blocks, n_blocks);
    seq = xreallocarray(NULL, n, sizeof(*seq));
    start = xreallocarray(NULL, (size_t)n_blocks + 1, sizeof(*start));
    for (i = 0; i < n_blocks; i++) {
        start[i] = at;
        for (uint32_t k = 0; k < blocks[i].n; k++)
            seq[at++] = blocks[i].first + k;
    }
    start[n_blocks] = at;
    lane = xreallocarray(NULL, (size_t)o->lanes + 1, sizeof(*lane));
    for (q = 0; q <= o->lanes; q++)
        lane[q] = (uint64_t)n * (uint64_t)q / (uint64_t)o->lanes;
    o->window_end = xreallocarray(
        o->window_end, (size_t)(n_blocks / o->window) + 2, sizeof(uint64_t));
    for (q = 0; q < o->lanes; q++)
        shuffle_lane(o, seq, start, lane + q, q, j0);
    deal(o, seq, lane, o->perm);
    free(blocks);
    free(seq);
    free(start);
    free(lane);
}

/* The order of an epoch without groups. */
static void plain_epoch(struct order *o, int64_t epoch)
{
    struct rng r;

    if (epoch == o->epoch)
        return;
    o->epoch = epoch;
    if (o->kind == ORDER_SEQ)
        return;
    if (!o->perm)
        o->perm = xreallocarray(NULL, o->set.n, sizeof(*o->perm));
    if (o->kind == ORDER_BLOCK) {
        block_order(o);
        return;
    }
    rng_init(&r, o->seed, 0, (uint32_t)epoch, RNG_ORDER);
    rng_permute(&r, o->perm, o->set.n);
}

static uint32_t plain_at(const struct order *o, int64_t p)
{
    int64_t step = o->group * o->repeat;
    uint32_t i;

    if (o->repeat > 1)
        p = p / step * o->group + p % o->group;
    i = (uint32_t)(p % o->set.n);
    return o->kind == ORDER_SEQ ? i : o->perm[i];
}

/* ---- groups */

void order_group(struct order *o, const uint8_t *wide, int64_t rows,
                 int64_t positions)
{
    struct order_groups *g = xcalloc(1, sizeof(*g));

    if (rows < 1 || positions < rows || positions % rows)
        BUG("%lld positions in groups of %lld", (long long)positions,
            (long long)rows);
    g->wide = wide;
    g->rows = rows;
    g->positions = positions;
    for (int k = 0; k < 2; k++)
        g->queue[k] = xreallocarray(NULL, (size_t)rows, sizeof(*g->queue[k]));
    g->slot = xreallocarray(NULL, (size_t)positions, sizeof(*g->slot));
    o->groups = g;
}

/* Put a sample into its queue; the queue when it has become full. */
static uint32_t *put(struct order_groups *g, uint32_t sample)
{
    int k = g->wide[sample] != 0;

    g->queue[k][g->len[k]++] = sample;
    if (g->len[k] < g->rows)
        return NULL;
    g->len[k] = 0;
    return g->queue[k];
}

/*
 * Walk the next epoch. All its positions but those of one batch are filled at
 * the end at least: both queues together hold a multiple of a batch, and less
 * than two.
 */
static void walk(struct order *o)
{
    struct order_groups *g = o->groups;
    size_t bytes = (size_t)g->rows * sizeof(*g->slot);
    int64_t at = g->late ? -g->rows : 0, p;
    const uint32_t *full;

    plain_epoch(o, g->epoch++);
    for (p = 0; p < g->positions; p++) {
        full = put(g, plain_at(o, p));
        if (!full)
            continue;
        if (at >= 0)
            memcpy(g->slot + at, full, bytes);
        at += g->rows;
    }
    g->late = at < g->positions;
}

/* The last batch of the epoch walked, by looking into the next one. */
static void look_ahead(struct order *o)
{
    struct order_groups *g = o->groups, saved = *g;
    size_t bytes = (size_t)g->rows * sizeof(*g->slot);
    uint32_t *held = xreallocarray(NULL, (size_t)g->rows, 2 * sizeof(*held));
    const uint32_t *full = NULL;
    int64_t p;

    memcpy(held, g->queue[0], bytes);
    memcpy(held + g->rows, g->queue[1], bytes);
    plain_epoch(o, g->epoch);
    for (p = 0; !full; p++)
        full = put(g, plain_at(o, p));
    memcpy(g->slot + g->positions - g->rows, full, bytes);
    memcpy(g->queue[0], held, bytes);
    memcpy(g->queue[1], held + g->rows, bytes);
    *g = saved;
    free(held);
}

static void grouped_epoch(struct order *o, int64_t epoch)
{
    struct order_groups *g = o->groups;

    if (epoch + 1 == g->epoch)
        return;
    if (epoch < g->epoch) {
        g->epoch = g->len[0] = g->len[1] = 0;
        g->late = false;
    }
    while (g->epoch <= epoch)
        walk(o);
    if (g->late)
        look_ahead(o);
}

int order_epoch(struct order *o, int64_t epoch)
{
    if (epoch < 0 || epoch > UINT32_MAX - 1)
        return err_set(ERR_USAGE, "order: epoch %lld: out of range",
                       (long long)epoch);
    if (o->groups)
        grouped_epoch(o, epoch);
    else
        plain_epoch(o, epoch);
    return 0;
}

int64_t order_window_end(const struct order *o, int64_t p)
{
    const uint64_t *w = o->window_end;

    if (!w || o->lanes > 1 || o->repeat > 1 || o->groups)
        return -1;
    while (*w <= (uint64_t)p % o->set.n)
        w++;
    return (int64_t)*w;
}

uint32_t order_at(const struct order *o, int64_t p)
{
    const struct order_groups *g = o->groups;

    return g ? g->slot[p % g->positions] : plain_at(o, p);
}
