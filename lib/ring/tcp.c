/* The tcp engine: the lanes of this rank, and how their connections are made. */
#include "ring/plane.h"

#include "ring/lane.h"
#include "ring/login.h"
#include "util/fdio.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define OTHER_FILES 64
#define STRANGERS 64   /* that may be there at once */
#define ACCEPT_MOST 32 /* at a time, before all are heard */
#define LOGIN_MS 10000 /* for a stranger to prove himself */
#define AGAIN_MS 200   /* between two tries to connect */
#define TELL_MS 10000  /* between two words on who is missing */

struct plane {
    struct shm *shm;
    int n_lanes;
    struct lane **lane;
};

/* One connection that is wanted. The host with the higher number dials. */
struct link {
    int lane, host; /* lane: of this plane */
    int rank;       /* who serves it there */
    bool done;
    int64_t again; /* dialling: not before */
    struct login login;
};

struct mesh {
    struct plane *p;
    const struct plane_options *o;
    const struct roster *r;
    int n, missing;
    struct link *link;
    int n_guests, most_guests; /* strangers that may become somebody */
    struct login *guest;
    int64_t deadline, tell, complained;
};

static int number_of(const struct mesh *m, int lane)
{
    int list[ROSTER_RANKS], n;
    int host = shm_host(m->p->shm);

    n = roster_locals(m->r, host, list);
    return shm_index(m->p->shm, m->p->shm->rank) + lane * n;
}

static struct login_id id_of(const struct mesh *m, int purpose)
{
    struct login_id id = {.rank = (uint32_t)m->p->shm->rank,
                          .world = m->r->world,
                          .purpose = (uint16_t)purpose,
                          .protect = m->r->protect};

    memcpy(id.job, m->r->salt, sizeof(id.job));
    return id;
}

/* ---- lists */

static void list_links(struct mesh *m)
{
    int host = shm_host(m->p->shm), hosts = (int)m->r->n_hosts;

    m->link = xcalloc((size_t)(m->p->n_lanes * hosts) + 1, sizeof(*m->link));
    for (int i = 0; i < m->p->n_lanes; i++)
        for (int h = 0; h < hosts; h++) {
            struct link *k = &m->link[m->n];
            if (h == host)
                continue;
            k->lane = i;
            k->host = h;
            k->rank = roster_owner(m->r, h, number_of(m, i));
            k->login.fd = -1;
            m->n++;
        }
    m->missing = m->n;
    m->most_guests = m->n + STRANGERS;
    m->guest = xcalloc((size_t)m->most_guests, sizeof(*m->guest));
}

/* The login becomes a flow of its lane. */
static void settle(struct mesh *m, struct link *k, struct login *l)
{
    struct flow *f = lane_flow(m->p->lane[k->lane], k->host);

    flow_open(f, l->fd, (enum plane_protect)m->r->protect, l->tx, l->rx);
    f->rank = k->rank;
    l->fd = -1;
    login_end(l);
    k->done = true;
    m->missing--;
}

/* ---- dialling */

static int dial(struct mesh *m, struct link *k)
{
    struct login_id id = id_of(m, 1 + number_of(m, k->lane));
    struct net_place to;
    int fd;

    if (net_find(&to, m->r->host[k->host].addr, 0) < 0)
        return -1;
    net_set_port(&to, m->r->port[k->rank]);
    fd = net_connect(&to, &m->o->source);
    if (fd < 0)
        return -1;
    login_begin(&k->login, fd, true, m->o->key, &id,
                m->deadline < clock_ms() + LOGIN_MS ? m->deadline
                                                    : clock_ms() + LOGIN_MS);
    return 0;
}

/* Is this who the link is for? Who is dialled does not know for what. */
static bool same_id(const struct mesh *m, const struct link *k,
                    const struct login_id *id)
{
    int purpose = k->host < shm_host(m->p->shm) ? 0 : 1 + number_of(m, k->lane);

    return id->rank == (uint32_t)k->rank && id->world == m->r->world &&
           id->purpose == purpose && id->protect == m->r->protect &&
           memcmp(id->job, m->r->salt, sizeof(id->job)) == 0;
}

/* -1 with the error once there is no hope. */
static int step_link(struct mesh *m, struct link *k)
{
    char where[200];
    int r;

    if (k->login.fd < 0) {
        if (clock_ms() < k->again)
            return 0;
        r = dial(m, k);
    } else {
        r = login_step(&k->login);
        if (r == 1 && !same_id(m, k, &k->login.peer))
            r = err_set(ERR_PEER, "login: somebody else is there");
    }
    if (r == 1)
        settle(m, k, &k->login);
    if (r >= 0)
        return 0;
    if (k->login.fd >= 0)
        login_end(&k->login);
    k->login.fd = -1;
    k->again = clock_ms() + AGAIN_MS;
    if (err_code() == ERR_PEER && clock_ms() < m->deadline)
        return 0;
    roster_describe(m->r, k->host, where, sizeof(where));
    return err_wrap("%s: connection for data", where);
}

/* ---- accepting */

static void complain(struct mesh *m)
{
    if (clock_ms() - m->complained < 1000)
        return;
    m->complained = clock_ms();
    warn("connection for data: %s: turned away", err_text());
}

static void drop_guest(struct mesh *m, int i)
{
    login_end(&m->guest[i]);
    m->guest[i] = m->guest[--m->n_guests];
}

static void take_guest(struct mesh *m, int i)
{
    struct login *l = &m->guest[i];

    for (int j = 0; j < m->n; j++) {
        struct link *k = &m->link[j];
        if (k->done || k->host < shm_host(m->p->shm) ||
            !same_id(m, k, &l->peer))
            continue;
        settle(m, k, l);
        m->guest[i] = m->guest[--m->n_guests];
        return;
    }
    err_set(ERR_PEER, "login: rank %u: not expected", l->peer.rank);
    complain(m);
    drop_guest(m, i);
}

/* For one who waits: who knows the key proves it at once. */
static void drop_oldest(struct mesh *m)
{
    int oldest = 0;

    for (int i = 1; i < m->n_guests; i++)
        if (m->guest[i].deadline < m->guest[oldest].deadline)
            oldest = i;
    err_set(ERR_PEER, "login: silent, and others wait");
    complain(m);
    drop_guest(m, oldest);
}

static void accept_guests(struct mesh *m)
{
    struct login_id id = id_of(m, 0);
    int fd, some = ACCEPT_MOST;

    while (some-- > 0 && (fd = net_accept(m->o->listener, NULL)) >= 0) {
        struct login *l;
        if (m->n_guests == m->most_guests)
            drop_oldest(m);
        l = &m->guest[m->n_guests++];
        login_begin(l, fd, false, m->o->key, &id, clock_ms() + LOGIN_MS);
    }
    for (int i = m->n_guests - 1; i >= 0; i--) {
        int r = login_step(&m->guest[i]);
        if (r == 1) {
            take_guest(m, i);
        } else if (r < 0) {
            complain(m);
            drop_guest(m, i);
        }
    }
}

/* ---- all of them */

static void wait_for_any(struct mesh *m)
{
    size_t most = (size_t)(m->n + m->most_guests + 1);
    struct pollfd *p = xcalloc(most, sizeof(*p));
    nfds_t n = 0;

    p[n++] = (struct pollfd){.fd = m->o->listener, .events = POLLIN};
    for (int i = 0; i < m->n; i++)
        if (!m->link[i].done && m->link[i].login.fd >= 0)
            p[n++] = (struct pollfd){.fd = m->link[i].login.fd,
                                     .events = login_events(&m->link[i].login)};
    for (int i = 0; i < m->n_guests; i++)
        p[n++] = (struct pollfd){.fd = m->guest[i].fd,
                                 .events = login_events(&m->guest[i])};
    (void)poll(p, n, 50);
    free(p);
}

/* A firewall may let the control plane through and not the data. */
static int tell_missing(struct mesh *m)
{
    bool late = clock_ms() >= m->deadline;
    char where[200];
    int i = 0;

    if (!late && clock_ms() < m->tell)
        return 0;
    while (m->link[i].done)
        i++;
    roster_describe(m->r, m->link[i].host, where, sizeof(where));
    if (late)
        return err_set(ERR_PEER, "%s: no connection for data within %lld s",
                       where, (long long)(m->o->timeout_ms / 1000));
    warn("waiting for a connection for data with %s", where);
    m->tell = clock_ms() + TELL_MS;
    return 0;
}

static int connect_all(struct mesh *m)
{
    while (m->missing > 0) {
        if (shm_wait_abort(m->p->shm, 0) < 0)
            return -1;
        if (tell_missing(m) < 0)
            return -1;
        for (int i = 0; i < m->n; i++)
            if (!m->link[i].done && m->link[i].host < shm_host(m->p->shm) &&
                step_link(m, &m->link[i]) < 0)
                return -1;
        if (m->o->listener >= 0)
            accept_guests(m);
        if (m->missing > 0)
            wait_for_any(m);
    }
    return 0;
}

/* A descriptor for each connection: as many as are allowed, if it needs more than
 * a process has by default. */
static void allow_files(const struct mesh *m)
{
    struct rlimit l;
    rlim_t want = (rlim_t)(m->n + m->most_guests + OTHER_FILES);

    if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur >= want)
        return;
    l.rlim_cur = want < l.rlim_max ? want : l.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &l);
}

static int make_mesh(struct plane *p, const struct plane_options *o)
{
    struct mesh m = {.p = p, .o = o, .r = shm_roster(p->shm)};
    int r;

    m.deadline = clock_ms() + o->timeout_ms;
    m.tell = clock_ms() + TELL_MS;
    list_links(&m);
    allow_files(&m);
    r = connect_all(&m);
    for (int i = 0; i < m.n; i++)
        if (m.link[i].login.fd >= 0)
            login_end(&m.link[i].login);
    while (m.n_guests > 0)
        drop_guest(&m, 0);
    free(m.link);
    free(m.guest);
    return r;
}

/* ---- the engine */

static void close_tcp(struct plane *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->n_lanes; i++)
        lane_free(p->lane[i]);
    free(p->lane);
    free(p);
}

static int open_tcp(struct plane **out, struct shm *s,
                    const struct plane_options *o)
{
    const struct roster *r = shm_roster(s);
    int mine = shm_index(s, s->rank), n = 0;
    struct plane *p = xcalloc(1, sizeof(*p));

    p->shm = s;
    p->lane = xcalloc(r->lanes, sizeof(struct lane *));
    for (int l = mine; l < (int)r->lanes; l += s->n_local)
        p->lane[n++] = lane_new(s, l);
    p->n_lanes = n;
    if (make_mesh(p, o) < 0)
        goto fail;
    for (int i = 0; i < n; i++)
        if (lane_start(p->lane[i]) < 0)
            goto fail;
    *out = p;
    return 0;
fail:
    /* Lanes that run end with the run. */
    if (!shm_aborted(s))
        shm_abort(s, err_code(), s->rank, err_text());
    close_tcp(p);
    *out = NULL;
    return -1;
}

static int add_tcp(struct plane *p, uint32_t k, bool *finite)
{
    *finite = true;
    for (int i = 0; i < p->n_lanes; i++)
        if (lane_wait(p->lane[i], k, finite) < 0)
            return -1;
    return 0;
}

const struct plane_kind plane_tcp = {"tcp",   true,      open_tcp,
                                     add_tcp, close_tcp, true};
