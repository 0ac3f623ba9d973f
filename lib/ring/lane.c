#include "ring/lane.h"

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
#define AHEAD 4       /* segments of a part that wait to be added */
#define CHUNK 4096    /* elements added at a time */
#define CAUSE_MS 3000 /* for the control plane to tell why */

/* What is under way with one other host. */
struct side {
    struct flow flow;
    int parts_sent, sums_sent, parts_got, sums_got; /* segments */
    float *parts;       /* [AHEAD * SEGMENT] of own slice, as they came */
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
        if (h != l->host)
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

/* Where a segment of the own slice comes to: the place of one that was added. */
static unsigned char *part_at(const struct lane *l, int h, int i)
{
    return (unsigned char *)(l->side[h].parts + (size_t)(i % AHEAD) * SEGMENT);
}

static void expect_part(struct lane *l, int h)
{
    struct side *d = &l->side[h];
    struct flow_head head;
    size_t n;

    (void)segment_at(l, l->host, d->parts_got, &n);
    head = head_of(l, FLOW_PART, d->parts_got, n);
    flow_receive_begin(&d->flow, &head, part_at(l, h, d->parts_got));
}

static void expect_sums(struct lane *l, int h)
{
    struct side *d = &l->side[h];
    size_t n;
    uint64_t at = segment_at(l, h, d->sums_got, &n);
    struct flow_head head = head_of(l, FLOW_SUM, d->sums_got, n);

    flow_receive_begin(&d->flow, &head,
                       l->narrow ? (void *)d->in : sums_at(l, at));
}

static void take_sums(struct lane *l, int h)
{
    struct side *d = &l->side[h];
    size_t n;
    uint64_t at = segment_at(l, h, d->sums_got++, &n);

    if (l->narrow)
        sum_widen(sums_at(l, at), d->in, n, l->half);
    if (d->flow.expected.infinite)
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
    }
    if (l->parts)
        return;
    shm_take_shares(l->s, l->op->offset, l->op->count, l->first[l->host],
                    l->end[l->host]);
    l->added = segments(l, l->host);
}

/* Is there more to send to, or to come from host h? */
static bool wants_out(const struct lane *l, int h)
{
    const struct side *d = &l->side[h];

    return flow_sending(&d->flow) || d->parts_sent < part_segments(l, h) ||
           (l->sums && d->sums_sent < l->added);
}

static bool wants_in(const struct lane *l, int h)
{
    const struct side *d = &l->side[h];

    /* Of a host that is ahead no more than there is room for: TCP holds it back
     * until the others have sent theirs, which nothing here keeps them from. */
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
        if (!flow_sending(&d->flow)) {
            if (d->parts_sent < part_segments(l, h))
                send_part(l, h);
            else
                send_sums(l, h);
        }
        r = flow_send(&d->flow);
        if (r <= 0)
            return r < 0 ? -1 : moved;
        moved = 1;
    }
    return moved;
}

static int move_in(struct lane *l, int h)
{
    struct side *d = &l->side[h];
    int moved = 0, r;

    while (wants_in(l, h)) {
        bool part = d->parts_got < part_segments(l, l->host);
        if (!flow_receiving(&d->flow)) {
            if (part)
                expect_part(l, h);
            else
                expect_sums(l, h);
        }
        r = flow_receive(&d->flow);
        if (r <= 0)
            return r < 0 ? -1 : moved;
        moved = 1;
        if (part)
            d->parts_got++;
        else
            take_sums(l, h);
    }
    return moved;
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
