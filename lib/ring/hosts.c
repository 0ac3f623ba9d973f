#include "ring/hosts.h"

#include "ring/login.h"
#include "ring/plane.h"
#include "util/fdio.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STRANGERS 64   /* that may be there at once */
#define ACCEPT_MOST 32 /* at a time, before all are heard */
#define LOGIN_MS 10000 /* for a stranger to prove himself */
#define TRY_MS 30000   /* for rank 0 to answer; it may be busy */
/* At least, if nothing is said and hosts are few: a connection rarely fills a
 * fast network. */
#define LANES 4
#define FEW_HOSTS 16
#define TELL_MS 10000 /* between two lists of who is missing */

/* Somebody who has connected: a stranger, a member that has not said which
 * ranks it has, or a host. */
enum guest_state {
    STRANGER,
    MEMBER,
    HOST
};
struct guest {
    enum guest_state state;
    struct net_place from;
    struct login login;
    struct channel channel;
    struct msg_join join;
    int64_t deadline;
};

struct lobby {
    const struct hosts_address *a;
    int n, most;
    struct guest **guest;
    int taken[ROSTER_RANKS]; /* 0: missing, 1: here, 2 + i: of guest i */
    int there;               /* ranks */
    int64_t deadline, tell, complained;
    int turned_away;
};

static struct login_id id_of(const struct hosts_address *a)
{
    struct login_id id = {.rank = a->self.rank[0],
                          .world = a->self.world,
                          .protect = a->self.protect};

    crypt_id(a->run_id, id.job);
    return id;
}

/* ---- words */

static void say_abort(struct channel *c)
{
    struct msg *m = xcalloc(1, sizeof(*m));
    struct buf b = BUF_INIT;

    m->type = MSG_ABORT;
    m->abort.class = (int32_t)err_code();
    m->abort.origin = -1;
    snprintf(m->abort.text, sizeof(m->abort.text), "%s", err_text());
    msg_put(&b, m);
    channel_put(c, b.data, b.len);
    buf_release(&b);
    free(m);
}

static void say(struct channel *c, const struct msg *m)
{
    struct buf b = BUF_INIT;

    msg_put(&b, m);
    channel_put(c, b.data, b.len);
    buf_release(&b);
}

/* Tell a channel the error that is set, and keep it set. */
static void refuse(struct channel *c)
{
    struct err_kept why = err_keep();

    say_abort(c);
    (void)!channel_send_all(c, clock_ms() + 1000);
    err_restore(&why);
}

static void turn_away(struct lobby *l, const struct guest *g)
{
    char from[NET_TEXT];

    l->turned_away++;
    if (clock_ms() - l->complained < 1000)
        return;
    l->complained = clock_ms();
    net_text(&g->from, from);
    warn("%s: %s: turned away%s", from, err_text(),
         l->turned_away > 1 ? " (and others)" : "");
    l->turned_away = 0;
}

/* ---- guests of rank 0 */

static void drop_guest(struct lobby *l, int i)
{
    struct guest *g = l->guest[i];

    if (g->state == STRANGER)
        login_end(&g->login);
    else
        channel_close(&g->channel);
    free(g);
    l->guest[i] = l->guest[--l->n];
}

/* When all places are taken whoever has been silent longest goes: who knows the
 * key proves it at once, and a crowd that says nothing keeps nobody out. */
static bool make_place(struct lobby *l)
{
    int oldest = -1;

    if (l->n < l->most)
        return true;
    for (int i = 0; i < l->n; i++)
        if (l->guest[i]->state == STRANGER &&
            (oldest < 0 || l->guest[i]->deadline < l->guest[oldest]->deadline))
            oldest = i;
    if (oldest < 0)
        return false;
    err_set(ERR_PEER, "login: silent, and others wait");
    turn_away(l, l->guest[oldest]);
    drop_guest(l, oldest);
    return true;
}

static void accept_guests(struct lobby *l, int listener)
{
    struct login_id id = id_of(l->a);
    struct net_place from;
    int fd, some = ACCEPT_MOST;

    while (some-- > 0 && (fd = net_accept(listener, &from)) >= 0) {
        struct guest *g;
        if (!make_place(l)) {
            close(fd);
            continue;
        }
        g = xcalloc(1, sizeof(*g));
        g->from = from;
        g->deadline = clock_ms() + LOGIN_MS;
        login_begin(&g->login, fd, false, l->a->key, &id, g->deadline);
        l->guest[l->n++] = g;
    }
}

/* The key is right. -1: of another run. */
static int become_member(struct guest *g, const struct hosts_address *a)
{
    struct login_id id = id_of(a);
    int fd = g->login.fd;
    bool other = memcmp(g->login.peer.job, id.job, sizeof(id.job)) != 0 ||
                 g->login.peer.purpose != 0;

    channel_open(&g->channel, fd, g->login.tx, g->login.rx);
    g->login.fd = -1;
    login_end(&g->login);
    g->state = MEMBER;
    if (!other)
        return 0;
    err_set(ERR_CONFIG, "this is run \"%s\", not the one that was asked for",
            a->run_id);
    refuse(&g->channel);
    return -1;
}

/* Does a host fit into the run? */
static int check_join(struct lobby *l, const struct guest *g)
{
    const struct msg_join *j = &g->join, *me = &l->a->self;

    if (j->world != me->world)
        return err_set(ERR_CONFIG,
                       "host %s (rank %u): one of %u ranks, rank 0 one of %u",
                       j->host.name, j->rank[0], j->world, me->world);
    if (j->wire != me->wire || j->protect != me->protect ||
        j->streams != me->streams)
        return err_set(ERR_CONFIG,
                       "host %s (rank %u): --wire, --wire-auth or --streams "
                       "are not those of rank 0",
                       j->host.name, j->rank[0]);
    for (uint32_t i = 0; i < j->n; i++) {
        if (j->rank[i] >= me->world)
            return err_set(ERR_CONFIG, "host %s: rank %u of %u", j->host.name,
                           j->rank[i], me->world);
        if (l->taken[j->rank[i]])
            return err_set(
                ERR_CONFIG, "rank %u is there twice: hosts %s and %s",
                j->rank[i],
                l->taken[j->rank[i]] == 1 ? me->host.name : "another",
                j->host.name);
        l->taken[j->rank[i]] = 2;
    }
    l->there += (int)j->n;
    return 0;
}

/* 0, -1: this guest is turned away, -2: the run is over. */
static int hear_member(struct lobby *l, struct guest *g)
{
    struct msg *m;
    struct buf b = BUF_INIT;
    int r = channel_get(&g->channel, &b);

    if (r == 0 && clock_ms() >= g->deadline)
        r = err_set(ERR_PEER, "says nothing");
    if (r == 1) {
        m = xcalloc(1, sizeof(*m));
        r = msg_take(m, b.data, b.len);
        if (r == 0 && m->type != MSG_JOIN)
            r = err_set(ERR_PEER, "does not join");
        if (r == 0) {
            g->join = m->join;
            g->state = HOST;
            r = check_join(l, g) < 0 ? -2 : 0;
        }
        free(m);
    }
    buf_release(&b);
    return r;
}

/* A host has nothing to say before the roster: its end is all that can come. */
static int watch_host(struct guest *g)
{
    struct buf b = BUF_INIT;
    int r = channel_get(&g->channel, &b);

    buf_release(&b);
    if (r == 0)
        return 0;
    return err_set(ERR_PEER, "host %s (rank %u): left before all had joined",
                   g->join.host.name, g->join.rank[0]);
}

/* As hear_member. */
static int step_guest(struct lobby *l, struct guest *g)
{
    int r;

    if (g->state == MEMBER)
        return hear_member(l, g);
    if (g->state == HOST)
        return watch_host(g) < 0 ? -2 : 0;
    r = login_step(&g->login);
    if (r == 1)
        return become_member(g, l->a);
    return r;
}

static void wait_for_any(struct lobby *l, int listener)
{
    struct pollfd *p = xcalloc((size_t)l->n + 1, sizeof(*p));

    p[0] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (int i = 0; i < l->n; i++) {
        struct guest *g = l->guest[i];
        p[1 + i].fd = g->state == STRANGER ? g->login.fd : g->channel.fd;
        p[1 + i].events =
            g->state == STRANGER ? login_events(&g->login) : POLLIN;
    }
    (void)poll(p, (nfds_t)l->n + 1, 250);
    free(p);
}

static int tell_missing(struct lobby *l)
{
    struct buf b = BUF_INIT;
    bool late = clock_ms() >= l->deadline;
    int n = 0;

    if (!late && clock_ms() < l->tell)
        return 0;
    for (uint32_t i = 0; i < l->a->self.world && n < 16; i++)
        if (!l->taken[i])
            buf_addf(&b, "%s%u", n++ ? ", " : "", i);
    l->tell = clock_ms() + TELL_MS;
    if (late)
        err_set(ERR_PEER, "rank %s: not there within %lld s", b.data,
                (long long)(l->a->timeout_ms / 1000));
    else
        warn("waiting for rank %s of %u", b.data, l->a->self.world);
    buf_release(&b);
    return late ? -1 : 0;
}

static int wait_for_all(struct lobby *l, int listener)
{
    while (l->there < (int)l->a->self.world) {
        wait_for_any(l, listener);
        accept_guests(l, listener);
        for (int i = l->n - 1; i >= 0; i--) {
            int r = step_guest(l, l->guest[i]);
            if (r == -2)
                return -1;
            if (r == -1) {
                turn_away(l, l->guest[i]);
                drop_guest(l, i);
            }
        }
        if (tell_missing(l) < 0)
            return -1;
    }
    return 0;
}

/* ---- the roster */

static int by_first_rank(const void *a, const void *b)
{
    const struct guest *const *x = a, *const *y = b;

    return (*x)->join.rank[0] < (*y)->join.rank[0] ? -1 : 1;
}

static void list_host(struct roster *r, const struct msg_join *j)
{
    uint32_t h = r->n_hosts++;

    r->host[h] = j->host;
    for (uint32_t i = 0; i < j->n; i++) {
        r->host_of[j->rank[i]] = (uint16_t)h;
        r->port[j->rank[i]] = j->port[i];
    }
}

static uint32_t count_lanes(const struct lobby *l, uint32_t least)
{
    uint32_t each = l->a->self.streams;

    if (each == 0)
        each = l->n + 1 > FEW_HOSTS ? 1 : (LANES + least - 1) / least;
    return least * each < ROSTER_LANES ? least * each : ROSTER_LANES;
}

/* Guests that are no hosts go; the others get the roster. */
static int make_roster(struct lobby *l, struct roster *r)
{
    struct msg *m;
    uint32_t least = l->a->self.n;

    for (int i = l->n - 1; i >= 0; i--)
        if (l->guest[i]->state != HOST)
            drop_guest(l, i);
    if (l->n + 1 > ROSTER_HOSTS)
        return err_set(ERR_UNAVAILABLE, "%d hosts: at most %d", l->n + 1,
                       ROSTER_HOSTS);
    qsort(l->guest, (size_t)l->n, sizeof(struct guest *), by_first_rank);
    for (int i = 0; i < l->n; i++)
        if (l->guest[i]->join.n < least)
            least = l->guest[i]->join.n;
    memset(r, 0, sizeof(*r));
    r->lanes = count_lanes(l, least);
    r->world = l->a->self.world;
    r->wire = l->a->self.wire;
    r->protect = l->a->self.protect;
    crypt_random(r->salt, sizeof(r->salt));
    list_host(r, &l->a->self);
    for (int i = 0; i < l->n; i++)
        list_host(r, &l->guest[i]->join);
    if (roster_check(r) < 0)
        return -1;
    m = xcalloc(1, sizeof(*m));
    m->type = MSG_ROSTER;
    m->roster = *r;
    for (int i = 0; i < l->n; i++)
        say(&l->guest[i]->channel, m);
    free(m);
    return 0;
}

static int host(struct hosts *h, struct roster *r,
                const struct hosts_address *a)
{
    struct lobby *l = xcalloc(1, sizeof(*l));
    struct net_place place;
    int listener = -1, ok = -1;
    char text[NET_TEXT];

    l->a = a;
    l->most = (int)a->self.world * 2 + STRANGERS;
    l->guest = xcalloc((size_t)l->most, sizeof(struct guest *));
    l->deadline = clock_ms() + a->timeout_ms;
    l->tell = clock_ms() + TELL_MS;
    l->there = (int)a->self.n;
    for (uint32_t i = 0; i < a->self.n; i++)
        l->taken[a->self.rank[i]] = 1;
    if (net_find(&place, a->master, -1) < 0)
        goto out;
    if (a->bind.n) {
        int port = net_port(&place);
        place = a->bind;
        net_set_port(&place, port);
    }
    listener = net_listen(&place, (struct net_ports){0, 0}, 64);
    if (listener < 0)
        goto out;
    net_text(&place, text);
    note("waiting for the other hosts at %s", text);
    ok = wait_for_all(l, listener);
    if (ok == 0)
        ok = make_roster(l, r);
    if (ok < 0)
        for (int i = 0; i < l->n; i++)
            if (l->guest[i]->state != STRANGER)
                refuse(&l->guest[i]->channel);
    if (ok < 0)
        goto out;
    h->n = l->n + 1;
    h->channel = xcalloc((size_t)h->n, sizeof(*h->channel));
    h->channel[0].fd = -1;
    for (int i = 0; i < l->n; i++) {
        h->channel[1 + i] = l->guest[i]->channel;
        free(l->guest[i]);
    }
    l->n = 0;
out:
    while (l->n > 0)
        drop_guest(l, l->n - 1);
    if (listener >= 0)
        close(listener);
    free(l->guest);
    free(l);
    return ok;
}

/* ---- the others */

/* One try: 1 logged in, 0 not yet there, -1 hopeless. */
static int try_login(struct login *l, const struct hosts_address *a,
                     int64_t deadline)
{
    struct login_id id = id_of(a);
    struct net_place to;
    int fd, r;

    if (net_find(&to, a->master, -1) < 0)
        return err_code() == ERR_UNAVAILABLE ? 0 : -1;
    fd = net_connect(&to, &a->source);
    if (fd < 0)
        return err_code() == ERR_PEER ? 0 : -1;
    r = TRY_MS;
    login_begin(l, fd, true, a->key, &id,
                deadline < clock_ms() + r ? deadline : clock_ms() + r);
    while ((r = login_step(l)) == 0) {
        struct pollfd p = {.fd = fd, .events = login_events(l)};
        (void)poll(&p, 1, 250);
    }
    if (r == 1)
        return 1;
    login_end(l);
    return err_code() == ERR_PEER ? 0 : -1;
}

/* The roster, or why there is none. */
static int hear_roster(struct channel *c, struct roster *r, int64_t deadline)
{
    struct msg *m = xcalloc(1, sizeof(*m));
    struct buf b = BUF_INIT;
    int got;

    while ((got = channel_get(c, &b)) == 0) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        if (clock_ms() >= deadline) {
            got = err_set(ERR_PEER, "no roster in time");
            break;
        }
        (void)poll(&p, 1, 250);
    }
    if (got > 0)
        got = msg_take(m, b.data, b.len);
    if (got < 0) {
        err_wrap("rank 0");
    } else if (m->type == MSG_ABORT) {
        got = err_give((enum err_class)m->abort.class, m->abort.text);
    } else if (m->type != MSG_ROSTER) {
        got = err_set(ERR_PEER, "rank 0: sends no roster");
    } else {
        *r = m->roster;
        got = 0;
    }
    buf_release(&b);
    free(m);
    return got;
}

static int visit(struct hosts *h, struct roster *r,
                 const struct hosts_address *a)
{
    int64_t deadline = clock_ms() + a->timeout_ms, pause = 100, tell;
    struct login l = {.fd = -1};
    struct msg *m;
    int got;

    tell = clock_ms() + TELL_MS;
    while ((got = try_login(&l, a, deadline)) == 0) {
        struct timespec t = {pause / 1000, pause % 1000 * 1000000};
        if (clock_ms() >= deadline) {
            err_wrap("rank 0 at %s: not there within %lld s", a->master,
                     (long long)(a->timeout_ms / 1000));
            return -1;
        }
        if (clock_ms() >= tell) {
            warn("waiting for rank 0 at %s: %s", a->master, err_text());
            tell += TELL_MS;
        }
        nanosleep(&t, NULL);
        pause = pause < 1000 ? pause * 3 / 2 : 1000;
    }
    if (got < 0)
        return err_wrap("rank 0 at %s", a->master);
    h->n = 1;
    h->channel = xcalloc(1, sizeof(*h->channel));
    channel_open(&h->channel[0], l.fd, l.tx, l.rx);
    l.fd = -1;
    login_end(&l);
    m = xcalloc(1, sizeof(*m));
    m->type = MSG_JOIN;
    m->join = a->self;
    say(&h->channel[0], m);
    free(m);
    if (channel_send_all(&h->channel[0], deadline) < 0)
        return err_wrap("rank 0 at %s", a->master);
    /* Rank 0 gives up first, with the names of those it misses. */
    return hear_roster(&h->channel[0], r, clock_ms() + a->timeout_ms + 10000);
}

int hosts_join(struct hosts *h, struct roster *r, const struct hosts_address *a)
{
    *h = (struct hosts)HOSTS_INIT;
    return a->self.rank[0] == 0 ? host(h, r, a) : visit(h, r, a);
}

void hosts_refuse(struct hosts *h)
{
    for (int i = 0; i < h->n; i++)
        if (h->channel[i].fd >= 0)
            refuse(&h->channel[i]);
}

void hosts_release(struct hosts *h)
{
    for (int i = 0; i < h->n; i++)
        if (h->channel[i].fd >= 0)
            channel_close(&h->channel[i]);
    free(h->channel);
    *h = (struct hosts)HOSTS_INIT;
}
