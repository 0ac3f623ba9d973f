#include "ring/msg.h"

#include "util/le.h"

#include <string.h>

/* ---- writing */

static void put(struct buf *b, uint64_t v, int bytes)
{
    le_put((unsigned char *)buf_reserve(b, (size_t)bytes), v, bytes);
    b->len += (size_t)bytes;
}

static void put_text(struct buf *b, const char *s)
{
    size_t n = strlen(s);

    put(b, n, 2);
    buf_add(b, s, n);
}

static void put_join(struct buf *b, const struct msg_join *j)
{
    put_text(b, j->host.name);
    put_text(b, j->host.addr);
    put(b, j->world, 4);
    put(b, j->streams, 4);
    put(b, j->wire, 1);
    put(b, j->protect, 1);
    put(b, j->n, 4);
    for (uint32_t i = 0; i < j->n; i++) {
        put(b, j->rank[i], 4);
        put(b, j->port[i], 2);
    }
}

static void put_roster(struct buf *b, const struct roster *r)
{
    put(b, r->n_hosts, 4);
    put(b, r->world, 4);
    put(b, r->lanes, 4);
    put(b, r->wire, 1);
    put(b, r->protect, 1);
    buf_add(b, r->salt, sizeof(r->salt));
    for (uint32_t i = 0; i < r->n_hosts; i++) {
        put_text(b, r->host[i].name);
        put_text(b, r->host[i].addr);
    }
    for (uint32_t i = 0; i < r->world; i++) {
        put(b, r->host_of[i], 2);
        put(b, r->port[i], 2);
    }
}

static void put_op(struct buf *b, const struct msg_op *o)
{
    put(b, o->rank, 4);
    put(b, o->k, 4);
    put(b, o->op.kind, 4);
    put(b, o->op.arg, 4);
    put(b, o->op.count, 8);
    put(b, (uint64_t)o->op.step, 8);
    put_text(b, o->op.name);
    if (o->op.kind == OP_HELLO) {
        put(b, (uint64_t)o->samples, 8);
        put_text(b, o->layout);
        put_text(b, o->recipe);
    }
    put(b, o->n_numbers, 4);
    buf_add(b, o->numbers, (size_t)o->n_numbers * sizeof(double));
}

void msg_put(struct buf *b, const struct msg *m)
{
    put(b, (uint64_t)m->type, 1);
    switch (m->type) {
    case MSG_JOIN:
        put_join(b, &m->join);
        break;
    case MSG_ROSTER:
        put_roster(b, &m->roster);
        break;
    case MSG_OP:
        put_op(b, &m->op);
        break;
    case MSG_DATA:
        put(b, m->data.rank, 4);
        put(b, m->data.offset, 8);
        put(b, m->data.n, 4);
        buf_add(b, m->data.bytes, m->data.n);
        break;
    case MSG_COUNT:
        put(b, m->count.rank, 4);
        put(b, m->count.which, 1);
        put(b, m->count.k, 4);
        break;
    case MSG_ABORT:
        put(b, (uint32_t)m->abort.class, 4);
        put(b, (uint32_t)m->abort.origin, 4);
        put_text(b, m->abort.text);
        break;
    case MSG_BEAT:
        break;
    }
}

/* ---- reading */

/* What is left; bad stays once something did not fit. */
struct rest {
    const unsigned char *p;
    size_t n;
    bool bad;
};

static const unsigned char *take_bytes(struct rest *r, size_t n)
{
    const unsigned char *p = r->p;

    if (r->bad || n > r->n) {
        r->bad = true;
        return NULL;
    }
    r->p += n;
    r->n -= n;
    return p;
}

static uint64_t take(struct rest *r, int bytes)
{
    const unsigned char *p = take_bytes(r, (size_t)bytes);

    return p ? le_get(p, bytes) : 0;
}

static uint32_t take32(struct rest *r)
{
    return (uint32_t)take(r, 4);
}

/* A count that is at most limit; 0 and bad otherwise. */
static uint32_t take_count(struct rest *r, uint32_t limit)
{
    uint32_t v = take32(r);

    if (v > limit)
        r->bad = true;
    return r->bad ? 0 : v;
}

static void take_text(struct rest *r, char *dst, size_t size)
{
    size_t n = (size_t)take(r, 2);
    const unsigned char *p = take_bytes(r, n);

    dst[0] = 0;
    if (!p || n >= size || memchr(p, 0, n)) {
        r->bad = true;
        return;
    }
    memcpy(dst, p, n);
    dst[n] = 0;
}

static void take_join(struct rest *r, struct msg_join *j)
{
    take_text(r, j->host.name, sizeof(j->host.name));
    take_text(r, j->host.addr, sizeof(j->host.addr));
    j->world = take_count(r, ROSTER_RANKS);
    j->streams = take_count(r, ROSTER_LANES);
    j->wire = (uint8_t)take(r, 1);
    j->protect = (uint8_t)take(r, 1);
    j->n = take_count(r, ROSTER_RANKS);
    for (uint32_t i = 0; i < j->n; i++) {
        j->rank[i] = take32(r);
        j->port[i] = (uint16_t)take(r, 2);
    }
    if (j->world == 0 || j->n == 0)
        r->bad = true;
}

static void take_roster(struct rest *r, struct roster *t)
{
    const unsigned char *salt;

    t->n_hosts = take_count(r, ROSTER_HOSTS);
    t->world = take_count(r, ROSTER_RANKS);
    t->lanes = take_count(r, ROSTER_LANES);
    t->wire = (uint8_t)take(r, 1);
    t->protect = (uint8_t)take(r, 1);
    salt = take_bytes(r, sizeof(t->salt));
    if (salt)
        memcpy(t->salt, salt, sizeof(t->salt));
    for (uint32_t i = 0; i < t->n_hosts; i++) {
        take_text(r, t->host[i].name, sizeof(t->host[i].name));
        take_text(r, t->host[i].addr, sizeof(t->host[i].addr));
    }
    for (uint32_t i = 0; i < t->world; i++) {
        t->host_of[i] = (uint16_t)take(r, 2);
        t->port[i] = (uint16_t)take(r, 2);
    }
    if (!r->bad && roster_check(t) < 0)
        r->bad = true;
}

static void take_op(struct rest *r, struct msg_op *o)
{
    o->rank = take32(r);
    o->k = take32(r);
    o->op.kind = take_count(r, OP_KINDS - 1);
    o->op.arg = take32(r);
    o->op.count = take(r, 8);
    o->op.step = (int64_t)take(r, 8);
    take_text(r, o->op.name, sizeof(o->op.name));
    if (o->op.kind == OP_HELLO) {
        o->samples = (int64_t)take(r, 8);
        take_text(r, o->layout, sizeof(o->layout));
        take_text(r, o->recipe, sizeof(o->recipe));
    }
    o->n_numbers = take_count(r, SHM_NUMBERS);
    o->numbers = take_bytes(r, (size_t)o->n_numbers * sizeof(double));
    /* The numbers of a reduction, all of them; nothing else has any. */
    if (o->n_numbers != (o->op.kind == OP_REDUCE ? o->op.count : 0))
        r->bad = true;
}

static void take_data(struct rest *r, struct msg *m)
{
    m->data.rank = take32(r);
    m->data.offset = take(r, 8);
    m->data.n = take_count(r, MSG_DATA_BYTES);
    m->data.bytes = take_bytes(r, m->data.n);
}

static void take_any(struct rest *r, struct msg *m)
{
    switch (m->type) {
    case MSG_JOIN:
        take_join(r, &m->join);
        break;
    case MSG_ROSTER:
        take_roster(r, &m->roster);
        break;
    case MSG_OP:
        take_op(r, &m->op);
        break;
    case MSG_DATA:
        take_data(r, m);
        break;
    case MSG_COUNT:
        m->count.rank = take32(r);
        m->count.which = (uint32_t)take(r, 1);
        m->count.k = take32(r);
        if (m->count.which > SHM_SENT)
            r->bad = true;
        break;
    case MSG_BEAT:
        break;
    case MSG_ABORT:
        m->abort.class = (int32_t)take32(r);
        m->abort.origin = (int32_t)take32(r);
        take_text(r, m->abort.text, sizeof(m->abort.text));
        if (m->abort.class < 1 || m->abort.class > 255)
            r->bad = true;
        break;
    default:
        r->bad = true;
    }
}

int msg_take(struct msg *m, const void *p, size_t n)
{
    struct rest r = {p, n, false};

    memset(m, 0, sizeof(*m));
    m->type = (enum msg_type)take(&r, 1);
    take_any(&r, m);
    if (r.bad || r.n != 0)
        return err_set(ERR_PEER, "control message of type %d: malformed",
                       (int)m->type);
    return 0;
}

double msg_number(const struct msg_op *op, uint32_t i)
{
    double v;

    memcpy(&v, op->numbers + (size_t)i * sizeof(v), sizeof(v));
    return v;
}
