#include "ring/lane.h"

#include "ring/net.h"
#include "ring/request.h"
#include "ring/sum.h"
#include "util/work.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Elements of a message, 128 KiB of fp32: what came is added, and what was added
 * or tagged is sent, while it is in the caches of a CPU. */
#define SEGMENT 32768
#define AHEAD 32 /* segments of a part on their way, and what waits of them */
#define LINK 12.5e9 /* bytes/s; faster ones need more ranks, or lanes, anyway */
#define CHUNK 4096  /* elements added at a time */
#define CAUSE_MS 3000 /* for the control plane to tell why */

/* What is under way with one other host. */
struct side {
    struct flow flow;
    int parts_sent, sums_sent, parts_got, sums_got; /* segments */
    float *parts;       /* [AHEAD * SEGMENT] of own slice, as they came */
    int room[AHEAD];    /* which of them has segment i, at i % AHEAD */
    uint32_t taken;     /* bits: they wait to be added */
    int window;         /* segments of parts that may be on their way */
    uint16_t *out, *in; /* one segment of 16 bits */
};

struct lane {
    struct shm *s;
    int number, host, hosts;
    bool narrows, half;             /* 16 bits for gradients */
    struct side side[ROSTER_HOSTS]; /* that of host itself is unused */
    pthread_t thread;
    bool started;
    struct shm_count done;
    bool *infinite;    /* [SHM_OPS] by request */
    float *scratch;    /* [hosts * CHUNK] */
    uint16_t *rounded; /* own slice as it is sent */
    size_t rounded_n;
    /* the bucket under way */
    const struct shm_op *op;
    uint32_t k;
    bool narrow, parts, sums;                        /* what is sent of it */
    uint64_t first[ROSTER_HOSTS], end[ROSTER_HOSTS]; /* slices */
    int added;                                       /* segments */
    bool finite;
};

struct lane *lane_new(struct shm *s, int number)
{
    struct lane *l = xcalloc(1, sizeof(*l));
    const struct roster *r = shm_roster(s);

    l->s = s;
    l->number = number;
    l->host = shm_host(s);
    l->hosts = (int)r->n_hosts;
    l->narrows = r->wire != WIRE_F32;
    l->half = r->wire == WIRE_F16;
    l->infinite = xcalloc(SHM_OPS, sizeof(*l->infinite));
    l->scratch =
        xreallocarray(NULL, (size_t)l->hosts * CHUNK, sizeof(*l->scratch));
    for (int h = 0; h < l->hosts; h++) {
        l->side[h].flow.fd = -1;
        l->side[h].window = 1;
        if (h != l->host) /* of which mostly the begin is used */
            l->side[h].parts =
                xreallocarray(NULL, AHEAD * SEGMENT, sizeof(float));
        if (l->narrows) {
            l->side[h].out = xreallocarray(NULL, SEGMENT, sizeof(uint16_t));
            l->side[h].in = xreallocarray(NULL, SEGMENT, sizeof(uint16_t));
        }
    }
    return l;
}

struct flow *lane_flow(struct lane *l, int host)
{
    return &l->side[host].flow;
}

/* ---- places */

static size_t wire_bytes(const struct lane *l)
{
    return l->narrow ? sizeof(uint16_t) : sizeof(float);
}

static int segments(const struct lane *l, int h)
{
    return (int)((l->end[h] - l->first[h] + SEGMENT - 1) / SEGMENT);
}

/* Segments of its slice that host h gets from, or gives to the others. */
static int part_segments(const struct lane *l, int h)
{
    return l->parts ? segments(l, h) : 0;
}

static int sum_segments(const struct lane *l, int h)
{
    return l->sums ? segments(l, h) : 0;
}

/* First element of segment i of the slice of host h, and how many. */
static uint64_t segment_at(const struct lane *l, int h, int i, size_t *n)
{
    uint64_t at = l->first[h] + (uint64_t)i * SEGMENT;

    *n = l->end[h] - at < SEGMENT ? (size_t)(l->end[h] - at) : SEGMENT;
    return at;
}

static float *sums_at(const struct lane *l, uint64_t at)
{
    return shm_sums(l->s) + l->op->offset / sizeof(float) + at;
}

/* Own sums over the ranks of this host, of n <= CHUNK elements: where they lie
 * already, or made in to. */
static const float *local_sums(const struct lane *l, uint64_t at, size_t n,
                               float *to)
{
    const float *in[SHM_RANKS];
    uint64_t base = l->op->offset / sizeof(float) + at;

    for (int i = 0; i < l->s->n_local; i++)
        in[i] = shm_arena(l->s, shm_local(l->s, i)) + base;
    if (l->s->n_local == 1)
        return in[0];
    (void)sum_chunk(to, in, l->s->n_local, n);
    return to;
}

/* ---- what is sent */

static struct flow_head head_of(const struct lane *l, enum flow_type type,
                                int i, size_t n)
{
    return (struct flow_head){.type = type,
                              .infinite = type == FLOW_SUM && !l->finite,
                              .lane = (uint16_t)l->number,
                              .request = l->k,
                              .bucket = l->op->arg,
                              .segment = (uint32_t)i,
                              .bytes = (uint32_t)(n * wire_bytes(l)),
                              .count = l->op->count,
                              .step = l->op->step};
}

static void send_part(struct lane *l, int h)
{
    struct side *d = &l->side[h];
    int i = d->parts_sent++;
    size_t n;
    uint64_t at = segment_at(l, h, i, &n);
    struct flow_head head = head_of(l, FLOW_PART, i, n);

    for (size_t j = 0; j < n; j += CHUNK) {
        size_t m = n - j < CHUNK ? n - j : CHUNK;
        const float *p = local_sums(l, at + j, m, sums_at(l, at + j));
        if (l->narrow)
            sum_narrow(d->out + j, p, m, l->half);
    }
    flow_send_begin(&d->flow, &head,
                    l->narrow ? (void *)d->out : sums_at(l, at));
}

static void send_sums(struct lane *l, int h)
{
    struct side *d = &l->side[h];
    int i = d->sums_sent++;
    size_t n;
    uint64_t at = segment_at(l, l->host, i, &n);
    struct flow_head head = head_of(l, FLOW_SUM, i, n);

    flow_send_begin(&d->flow, &head,
                    l->narrow ? (void *)(l->rounded + at - l->first[l->host])
                              : sums_at(l, at));
}

/* ---- what comes */

/* Where segment i of the own slice is that came from host h. */
static unsigned char *part_at(const struct lane *l, int h, int i)
{
    const struct side *d = &l->side[h];

    return (unsigned char *)(d->parts + (size_t)d->room[i % AHEAD] * SEGMENT);
}

/* The next part comes to the first place that is free: mostly the same one, which
 * is in the caches. */
static struct flow_place expect_part(struct lane *l, int h)
{
    struct side *d = &l->side[h];
    int i = d->parts_got, room = 0;
    size_t n;

    while (d->taken >> room & 1)
        room++;
    d->room[i % AHEAD] = room;
    (void)segment_at(l, l->host, i, &n);
    return (struct flow_place){head_of(l, FLOW_PART, i, n), part_at(l, h, i)};
}

static struct flow_place expect_sums(const struct lane *l, int h)
{
    const struct side *d = &l->side[h];
    size_t n;
    uint64_t at = segment_at(l, h, d->sums_got, &n);

    return (struct flow_place){head_of(l, FLOW_SUM, d->sums_got, n),
                               l->narrow ? (void *)d->in : sums_at(l, at)};
}

static void take_part(struct lane *l, int h)
{
    struct side *d = &l->side[h];

    d->taken |= (uint32_t)1 << d->room[d->parts_got++ % AHEAD];
}

static void take_sums(struct lane *l, int h)
{
    struct side *d = &l->side[h];
    size_t n;
    uint64_t at = segment_at(l, h, d->sums_got++, &n);

    if (l->narrow)
        sum_widen(sums_at(l, at), d->in, n, l->half);
    if (d->flow.place[d->flow.got].head.infinite)
        l->finite = false;
}

/* ---- adding */

/* n <= CHUNK elements of the own slice, from j on in the segment that is to be
 * added, from all hosts in order. */
static void add_chunk(struct lane *l, uint64_t at, size_t j, size_t n)
{
    const float *in[ROSTER_HOSTS], *sum = sums_at(l, at);
    float *out = sums_at(l, at);

    for (int h = 0; h < l->hosts; h++) {
        float *own = l->scratch + (size_t)h * CHUNK;
        const unsigned char *p;
        if (h == l->host) {
            in[h] = local_sums(l, at, n, own);
            continue;
        }
        p = part_at(l, h, l->added) + j * wire_bytes(l);
        in[h] = own;
        if (l->narrow)
            sum_widen(own, (const uint16_t *)(const void *)p, n, l->half);
        else
            in[h] = (const float *)(const void *)p;
    }
    l->finite &= sum_chunk(out, in, l->hosts, n);
    if (l->narrow) {
        uint16_t *rounded = l->rounded + at - l->first[l->host];
        sum_narrow(rounded, out, n, l->half);
        sum_widen(out, rounded, n, l->half);
        /* Rounding may have made infinities. */
        l->finite &= sum_chunk(out, &sum, 1, n);
    }
}

static bool add_ready(struct lane *l)
{
    bool any = false;

    for (;;) {
        size_t n;
        uint64_t at;
        if (l->added >= segments(l, l->host))
            return any;
        for (int h = 0; h < l->hosts; h++)
            if (h != l->host && l->side[h].parts_got <= l->added)
                return any;
        at = segment_at(l, l->host, l->added, &n);
        for (size_t j = 0; j < n; j += CHUNK)
            add_chunk(l, at + j, j, n - j < CHUNK ? n - j : CHUNK);
        for (int h = 0; h < l->hosts; h++)
            l->side[h].taken &=
                ~((uint32_t)1 << l->side[h].room[l->added % AHEAD]);
        l->added++;
        any = true;
    }
}

/* ---- the exchange of one bucket */

/* A host has the shares of its ranks, of these the lane its part. With 16 bits
 * the owner of an element shows in its sum: one cut for all requests. */
static void cut(struct lane *l)
{
    const struct roster *r = shm_roster(l->s);
    uint64_t n = l->op->count, a, b, ignored;
    int share = 0;

    for (int h = 0; h < l->hosts; h++) {
        shm_slice(n, share, l->s->world, &a, &ignored);
        share += roster_locals(r, h, NULL);
        shm_slice(n, share - 1, l->s->world, &ignored, &b);
        shm_slice(b - a, l->number, (int)r->lanes, &l->first[h], &l->end[h]);
        l->first[h] += a;
        l->end[h] += a;
    }
}

/*
 * What is on its way is in the caches as long as it is little: only so much as the
 * link holds for the time of a round trip, and one segment that is worked on.
 * Never more than the other end has room for, so that it never stops reading.
 */
static void open_window(const struct lane *l, struct side *d)
{
    double segment =
        (double)(SEGMENT * wire_bytes(l) * shm_roster(l->s)->lanes);
    double more = LINK * net_round_trip(d->flow.fd) / segment;

    d->window = more < AHEAD - 1 ? 1 + (int)more : AHEAD;
}

static void begin(struct lane *l)
{
    size_t own;

    l->parts = l->op->kind != OP_GATHER;
    l->sums = l->op->kind != OP_SCATTER;
    l->narrow = l->narrows && l->parts;
    cut(l);
    own = (size_t)(l->end[l->host] - l->first[l->host]);
    l->added = 0;
    l->finite = true;
    if (l->narrow && l->rounded_n < own) {
        l->rounded = xreallocarray(l->rounded, own, sizeof(*l->rounded));
        l->rounded_n = own;
    }
    for (int h = 0; h < l->hosts; h++) {
        struct side *d = &l->side[h];
        d->parts_sent = d->sums_sent = d->parts_got = d->sums_got = 0;
        d->taken = 0;
        if (h != l->host && part_segments(l, h) > 1)
            open_window(l, d);
    }
    if (l->parts)
        return;
    shm_take_shares(l->s, l->op->offset, l->op->count, l->first[l->host],
                    l->end[l->host]);
    l->added = segments(l, l->host);
}

/* Is there a part that may be sent? One whose sum (or, where none come back, whose
 * opposite) has come is not on its way any more. */
static bool has_part(const struct lane *l, int h)
{
    const struct side *d = &l->side[h];
    int back = l->sums ? d->sums_got : d->parts_got;

    return d->parts_sent < part_segments(l, h) &&
           (d->parts_sent < back + d->window ||
            (!l->sums && back == part_segments(l, l->host)));
}

static bool has_sums(const struct lane *l, int h)
{
    return l->sums && l->side[h].sums_sent < l->added;
}

/* Is there more to send to, or to come from host h? */
static bool wants_out(const struct lane *l, int h)
{
    return flow_sending(&l->side[h].flow) || has_part(l, h) || has_sums(l, h);
}

static bool wants_in(const struct lane *l, int h)
{
    const struct side *d = &l->side[h];

    /* Nobody sends more than there is room for. */
    if (d->parts_got < part_segments(l, l->host))
        return d->parts_got < l->added + AHEAD;
    return d->sums_got < sum_segments(l, h);
}

/* 1: something moved, 0: nothing can now, -1. */
static int move_out(struct lane *l, int h)
{
    struct side *d = &l->side[h];
    int moved = 0, r;

    while (wants_out(l, h)) {
        /* Sums are in the caches now. A part comes first, so that it is known
         * where the first message goes. */
        if (!flow_sending(&d->flow)) {
            if (has_sums(l, h) && !(has_part(l, h) && d->parts_sent == 0))
                send_sums(l, h);
            else
                send_part(l, h);
        }
        r = flow_send(&d->flow);
        if (r <= 0)
            return r < 0 ? -1 : moved;
        moved = 1;
    }
    return moved;
}

static void expect(struct lane *l, int h)
{
    struct side *d = &l->side[h];
    bool parts = d->parts_got < part_segments(l, l->host);
    struct flow_place p[FLOW_PLACES];
    int n = 0;

    if (parts)
        p[n++] = expect_part(l, h);
    if (d->sums_got < sum_segments(l, h) && !(parts && d->parts_got == 0))
        p[n++] = expect_sums(l, h);
    flow_receive_begin(&d->flow, p, n);
}

/* One message at most: what came is added and sent while it is in the caches. */
static int move_in(struct lane *l, int h)
{
    struct flow *f = &l->side[h].flow;
    int r;

    if (!wants_in(l, h))
        return 0;
    if (!flow_receiving(f))
        expect(l, h);
    r = flow_receive(f);
    if (r <= 0)
        return r;
    if (f->place[f->got].head.type == FLOW_PART)
        take_part(l, h);
    else
        take_sums(l, h);
    return 1;
}

static int wait_for_sockets(struct lane *l)
{
    struct pollfd p[ROSTER_HOSTS];
    int n = 0;

    for (int h = 0; h < l->hosts; h++) {
        int events = h == l->host ? 0
                                  : (wants_out(l, h) ? POLLOUT : 0) |
                                        (wants_in(l, h) ? POLLIN : 0);
        if (events)
            p[n++] = (struct pollfd){.fd = l->side[h].flow.fd,
                                     .events = (short)events};
    }
    (void)poll(p, (nfds_t)n, 100);
    return shm_wait_abort(l->s, 0);
}

static bool complete(const struct lane *l)
{
    if (l->added < segments(l, l->host))
        return false;
    for (int h = 0; h < l->hosts; h++)
        if (h != l->host && (wants_out(l, h) || wants_in(l, h)))
            return false;
    return true;
}

/* -1 with an error; *bad: the host it came from. */
static int exchange(struct lane *l, int *bad)
{
    begin(l);
    for (;;) {
        bool moved = add_ready(l);
        for (int h = 0; h < l->hosts; h++) {
            int out, in;
            if (h == l->host)
                continue;
            out = move_out(l, h);
            in = out < 0 ? -1 : move_in(l, h);
            if (in < 0) {
                *bad = h;
                return -1;
            }
            moved |= out || in;
        }
        if (complete(l))
            return 0;
        if (!moved && wait_for_sockets(l) < 0)
            return -1;
    }
}

/* ---- failure */

/* Another host sent something else than was expected: do the ranks ask for
 * different things? Then that is what to say. */
static void look_for_cause(struct lane *l)
{
    char *text = xstrdup(err_text());
    enum err_class class = err_code();
    bool there = true;

    for (int tries = 0; tries < CAUSE_MS / 50; tries++) {
        there = true;
        for (int r = 0; r < l->s->world; r++)
            there &=
                (int32_t)(atomic_load(&shm_rank(l->s, r)->ready.v) - l->k) >= 0;
        if (there || shm_wait_abort(l->s, 50) < 0)
            break;
    }
    if (!there || shm_aborted(l->s) || request_compare(l->s, l->k) == 0)
        err_give(class, text);
    free(text);
}

static void fail(struct lane *l, int host)
{
    struct flow *f = host >= 0 ? &l->side[host].flow : NULL;
    char where[200], *text;
    enum err_class class;
    int list[ROSTER_RANKS];

    if (shm_aborted(l->s) || !f)
        return;
    if (f->mismatch)
        look_for_cause(l);
    class = err_code();
    roster_describe(shm_roster(l->s), host, where, sizeof(where));
    text = f->mismatch ? xstrdup(err_text())
                       : xstrfmt("%s: %s", where, err_text());
    roster_locals(shm_roster(l->s), host, list);
    if (f->mismatch || shm_wait_abort(l->s, CAUSE_MS) == 0)
        shm_abort(l->s, class, f->mismatch ? -1 : list[0], text);
    free(text);
}

/* ---- the thread */

static void *run(void *arg)
{
    struct lane *l = arg;

    for (uint32_t k = 1;; k++) {
        int bad = -1;
        if (shm_wait_one(l->s, SHM_READY, l->s->rank, k) < 0)
            break;
        l->op = shm_op(l->s, l->s->rank, k);
        l->k = k;
        if (l->op->kind == OP_END)
            break;
        if (request_is_bucket(l->op->kind)) {
            /* Where the ranks of this host disagree, the adder says so. */
            if (shm_wait_local(l->s, SHM_READY, k) < 0 ||
                request_compare_local(l->s, k) < 0)
                break;
            if (exchange(l, &bad) < 0) {
                fail(l, bad);
                break;
            }
            l->infinite[k % SHM_OPS] = !l->finite;
        }
        shm_post(&l->done, k);
    }
    return NULL;
}

int lane_start(struct lane *l)
{
    if (work_thread(&l->thread, run, l) != 0)
        return err_set(ERR_SYSTEM, "threads cannot be started");
    l->started = true;
    return 0;
}

int lane_wait(struct lane *l, uint32_t k, bool *finite)
{
    if (shm_wait(l->s, &l->done, k) < 0)
        return -1;
    if (l->infinite[k % SHM_OPS])
        *finite = false;
    return 0;
}

void lane_free(struct lane *l)
{
    if (l->started)
        pthread_join(l->thread, NULL);
    for (int h = 0; h < l->hosts; h++) {
        struct side *d = &l->side[h];
        if (d->flow.fd >= 0)
            flow_close(&d->flow);
        free(d->parts);
        free(d->out);
        free(d->in);
    }
    free(l->infinite);
    free(l->scratch);
    free(l->rounded);
    free(l);
}
