#include "ring/mirror.h"

#include "ring/request.h"
#include "util/fdio.h"
#include "util/work.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BEAT_MS 1000
#define FLUSH_MS 1000 /* for the last words of a run that is aborted */
#define LEAVE_MS 5000 /* for all others to have ended, too */

struct mirror {
    struct shm *s;
    struct hosts hosts;
    int64_t dead_ms;
    pthread_t thread;
    atomic_bool stopping;
    struct shm_counts *told; /* [n_local] what the others know */
    bool told_abort;
    bool silent; /* all is said */
    struct buf out, in;
    struct msg msg;
};

/* ---- telling */

static void say_to_all(struct mirror *m, const void *p, size_t n, int except)
{
    for (int i = 0; !m->silent && i < m->hosts.n; i++)
        if (i != except && m->hosts.channel[i].fd >= 0)
            channel_put(&m->hosts.channel[i], p, n);
}

static void say(struct mirror *m, const struct msg *msg)
{
    buf_reset(&m->out);
    msg_put(&m->out, msg);
    say_to_all(m, m->out.data, m->out.len, -1);
}

/* The data of a broadcast, in pieces. */
static void say_data(struct mirror *m, int rank, uint64_t bytes)
{
    m->msg.type = MSG_DATA;
    m->msg.data.rank = (uint32_t)rank;
    for (uint64_t at = 0; at < bytes; at += MSG_DATA_BYTES) {
        m->msg.data.offset = at;
        m->msg.data.n = bytes - at < MSG_DATA_BYTES ? (uint32_t)(bytes - at)
                                                    : MSG_DATA_BYTES;
        m->msg.data.bytes = (const unsigned char *)shm_bcast(m->s) + at;
        say(m, &m->msg);
    }
}

static void say_request(struct mirror *m, int rank, uint32_t k)
{
    const struct shm_op *op = shm_op(m->s, rank, k);
    const struct shm_rank *r = shm_rank(m->s, rank);
    struct msg_op *o = &m->msg.op;

    if (op->kind == OP_BCAST && (int)op->arg == rank)
        say_data(m, rank, op->count);
    m->msg.type = MSG_OP;
    *o = (struct msg_op){.rank = (uint32_t)rank, .k = k};
    o->op.kind = op->kind;
    o->op.arg = op->arg;
    o->op.count = op->count;
    o->op.step = op->step;
    memcpy(o->op.name, op->name, sizeof(o->op.name));
    if (op->kind == OP_REDUCE) {
        o->n_numbers = (uint32_t)op->count;
        o->numbers = (const unsigned char *)shm_numbers(m->s, rank);
    }
    if (op->kind == OP_HELLO) {
        o->samples = r->samples;
        memcpy(o->layout, r->layout, sizeof(o->layout));
        memcpy(o->recipe, r->recipe, sizeof(o->recipe));
    }
    say(m, &m->msg);
}

static void say_count(struct mirror *m, int rank, enum shm_counter which,
                      uint32_t *told, uint32_t k)
{
    if (k == *told)
        return;
    *told = k;
    m->msg.type = MSG_COUNT;
    m->msg.count.rank = (uint32_t)rank;
    m->msg.count.which = (uint32_t)which;
    m->msg.count.k = k;
    say(m, &m->msg);
}

static void say_news(struct mirror *m)
{
    for (int i = 0; i < m->s->n_local; i++) {
        int rank = shm_local(m->s, i);
        struct shm_counts *t = &m->told[i], now = shm_counts(m->s, rank);
        while (t->ready != now.ready)
            say_request(m, rank, ++t->ready);
        say_count(m, rank, SHM_DONE, &t->done, now.done);
        say_count(m, rank, SHM_SENT, &t->sent, now.sent);
    }
}

static void say_abort(struct mirror *m)
{
    const char *text;
    int origin;
    enum err_class class = shm_cause(m->s, &origin, &text);

    m->msg.type = MSG_ABORT;
    m->msg.abort.class = (int32_t) class;
    m->msg.abort.origin = origin;
    snprintf(m->msg.abort.text, sizeof(m->msg.abort.text), "%s", text);
    say(m, &m->msg);
    m->told_abort = true;
}

static void say_beat(struct mirror *m)
{
    int64_t now = clock_ms();

    buf_reset(&m->out);
    m->msg.type = MSG_BEAT;
    msg_put(&m->out, &m->msg);
    for (int i = 0; !m->silent && i < m->hosts.n; i++)
        if (m->hosts.channel[i].fd >= 0 &&
            now - m->hosts.channel[i].said >= BEAT_MS)
            channel_put(&m->hosts.channel[i], m->out.data, m->out.len);
}

/* ---- hearing */

/* May this host speak for that rank? */
static int check_rank(const struct shm *s, uint32_t rank, int from)
{
    if (rank < (uint32_t)s->world && shm_index(s, (int)rank) < 0 &&
        (from < 0 || shm_roster(s)->host_of[rank] == from))
        return 0;
    return err_set(ERR_PEER, "control: a message of rank %u", rank);
}

static int apply_request(struct shm *s, const struct msg_op *o)
{
    struct shm_rank *r = shm_rank(s, (int)o->rank);
    struct shm_op *op = shm_op(s, (int)o->rank, o->k);

    if (o->k != atomic_load(&r->ready.v) + 1)
        return err_set(ERR_PEER, "control: request %u of rank %u after %u",
                       o->k, o->rank, atomic_load(&r->ready.v));
    op->kind = o->op.kind;
    op->arg = o->op.arg;
    op->count = o->op.count;
    op->step = o->op.step;
    memcpy(op->name, o->op.name, sizeof(op->name));
    for (uint32_t i = 0; i < o->n_numbers; i++)
        shm_numbers(s, (int)o->rank)[i] = msg_number(o, i);
    if (o->op.kind == OP_HELLO) {
        r->samples = o->samples;
        memcpy(r->layout, o->layout, sizeof(r->layout));
        memcpy(r->recipe, o->recipe, sizeof(r->recipe));
    }
    if (request_is_bucket(o->op.kind))
        atomic_store(&r->step, o->op.step);
    if (o->op.kind == OP_END)
        atomic_store(&r->ended, 1);
    shm_post(&r->ready, o->k);
    return 0;
}

int mirror_apply(struct shm *s, const struct msg *m, int from)
{
    struct shm_count *c;

    switch (m->type) {
    case MSG_OP:
        if (check_rank(s, m->op.rank, from) < 0)
            return -1;
        return apply_request(s, &m->op);
    case MSG_DATA:
        if (check_rank(s, m->data.rank, from) < 0)
            return -1;
        if (m->data.offset > shm_room(s) ||
            m->data.n > shm_room(s) - m->data.offset)
            return err_set(ERR_PEER, "control: broadcast beyond %zu bytes",
                           shm_room(s));
        memcpy(shm_bcast(s) + m->data.offset, m->data.bytes, m->data.n);
        return 0;
    case MSG_COUNT:
        if (check_rank(s, m->count.rank, from) < 0)
            return -1;
        c = shm_count(s, (enum shm_counter)m->count.which, (int)m->count.rank);
        if (m->count.which == SHM_READY ||
            (int32_t)(m->count.k - atomic_load(&c->v)) < 0 ||
            (int32_t)(atomic_load(&shm_rank(s, (int)m->count.rank)->ready.v) -
                      m->count.k) < 0)
            return err_set(ERR_PEER, "control: counter of rank %u",
                           m->count.rank);
        shm_post(c, m->count.k);
        return 0;
    case MSG_BEAT:
        return 0;
    case MSG_ABORT:
        shm_abort(s, (enum err_class)m->abort.class, m->abort.origin,
                  m->abort.text);
        return 0;
    default:
        return err_set(ERR_PEER, "control: a message of type %d out of place",
                       (int)m->type);
    }
}

/* The host at the other end of channel i; -1: rank 0, for all. */
static int sender(const struct mirror *m, int i)
{
    return shm_host(m->s) == 0 ? i : -1;
}

static bool host_ended(const struct mirror *m, int host)
{
    const struct roster *r = shm_roster(m->s);

    for (int i = 0; i < m->s->world; i++)
        if ((host < 0 || r->host_of[i] == host) && shm_index(m->s, i) < 0 &&
            !atomic_load(&shm_rank(m->s, i)->ended))
            return false;
    return true;
}

/* The error that is set is what happened to channel i. */
static void lost(struct mirror *m, int i)
{
    struct channel *c = &m->hosts.channel[i];
    int host = sender(m, i), list[ROSTER_RANKS];
    char where[200], *text;
    long long step;

    close(c->fd);
    c->fd = -1;
    if (host_ended(m, host))
        return;
    host = host < 0 ? 0 : host;
    roster_describe(shm_roster(m->s), host, where, sizeof(where));
    roster_locals(shm_roster(m->s), host, list);
    step = (long long)atomic_load(&shm_rank(m->s, list[0])->step);
    text = step >= 0 ? xstrfmt("%s: lost: %s, last seen at step %lld", where,
                               err_text(), step)
                     : xstrfmt("%s: lost: %s, before its first step", where,
                               err_text());
    if (!shm_aborted(m->s))
        shm_abort(m->s, ERR_PEER, list[0], text);
    free(text);
}

static int hear(struct mirror *m, int i)
{
    struct channel *c = &m->hosts.channel[i];
    int r;

    while ((r = channel_get(c, &m->in)) > 0) {
        if (msg_take(&m->msg, m->in.data, m->in.len) < 0 ||
            mirror_apply(m->s, &m->msg, sender(m, i)) < 0)
            return -1;
        if (shm_host(m->s) == 0 && m->msg.type != MSG_BEAT)
            say_to_all(m, m->in.data, m->in.len, i);
    }
    return r;
}

static void check_silence(struct mirror *m, int i)
{
    int64_t silent = clock_ms() - m->hosts.channel[i].heard;

    if (silent < m->dead_ms)
        return;
    err_set(ERR_PEER, "nothing heard for %lld s", (long long)(silent / 1000));
    lost(m, i);
}

/* ---- the thread */

static void wait_for_any(struct mirror *m, int ms)
{
    struct pollfd p[1 + ROSTER_HOSTS];
    int n = 1;
    uint64_t count;

    p[0] = (struct pollfd){.fd = m->s->bell, .events = POLLIN};
    for (int i = 0; i < m->hosts.n; i++)
        if (m->hosts.channel[i].fd >= 0)
            p[n++] =
                (struct pollfd){.fd = m->hosts.channel[i].fd,
                                .events = channel_events(&m->hosts.channel[i])};
    (void)poll(p, (nfds_t)n, ms);
    if (p[0].revents)
        (void)!read(m->s->bell, &count, sizeof(count));
}

static void turn(struct mirror *m)
{
    say_news(m);
    if (shm_aborted(m->s) && !m->told_abort)
        say_abort(m);
    say_beat(m);
    for (int i = 0; i < m->hosts.n; i++) {
        struct channel *c = &m->hosts.channel[i];
        if (c->fd >= 0 && hear(m, i) < 0)
            lost(m, i);
        if (c->fd >= 0)
            check_silence(m, i);
    }
    /* What was heard may be handed on. */
    for (int i = 0; i < m->hosts.n; i++)
        if (m->hosts.channel[i].fd >= 0 &&
            channel_flush(&m->hosts.channel[i]) < 0)
            lost(m, i);
}

static bool all_said(const struct mirror *m)
{
    for (int i = 0; i < m->hosts.n; i++)
        if (m->hosts.channel[i].fd >= 0 && !channel_idle(&m->hosts.channel[i]))
            return false;
    return true;
}

static bool all_closed(const struct mirror *m)
{
    for (int i = 0; i < m->hosts.n; i++)
        if (m->hosts.channel[i].fd >= 0)
            return false;
    return true;
}

/* Say the last things, then hear the others out: a socket closed with something
 * unread would take back what is still on its way. */
static void leave(struct mirror *m)
{
    int64_t begin = clock_ms();

    while (!all_closed(m) &&
           clock_ms() - begin < (shm_aborted(m->s) ? FLUSH_MS : LEAVE_MS)) {
        turn(m);
        for (int i = 0; !m->silent && all_said(m) && i < m->hosts.n; i++)
            if (m->hosts.channel[i].fd >= 0)
                shutdown(m->hosts.channel[i].fd, SHUT_WR);
        m->silent |= all_said(m);
        wait_for_any(m, 20);
    }
}

static void *run(void *arg)
{
    struct mirror *m = arg;

    while (!atomic_load(&m->stopping)) {
        wait_for_any(m, 250);
        turn(m);
    }
    leave(m);
    return NULL;
}

struct mirror *mirror_start(struct shm *s, struct hosts *h, int64_t dead_ms)
{
    struct mirror *m = xcalloc(1, sizeof(*m));

    m->s = s;
    m->hosts = *h;
    *h = (struct hosts)HOSTS_INIT;
    m->dead_ms = dead_ms;
    m->told = xcalloc((size_t)s->n_local, sizeof(*m->told));
    for (int i = 0; i < m->hosts.n; i++)
        m->hosts.channel[i].heard = clock_ms();
    if (work_thread(&m->thread, run, m) != 0)
        BUG("threads cannot be started");
    return m;
}

void mirror_stop(struct mirror *m)
{
    uint64_t one = 1;

    if (!m)
        return;
    atomic_store(&m->stopping, true);
    (void)!write(m->s->bell, &one, sizeof(one));
    pthread_join(m->thread, NULL);
    hosts_release(&m->hosts);
    buf_release(&m->out);
    buf_release(&m->in);
    free(m->told);
    free(m);
}
