#include "ring/join.h"

#include "util/fault.h"
#include "util/fdio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool many_hosts(const struct join_options *o)
{
    return o->ranks.local_world < o->ranks.world;
}

/* ---- addresses */

/* A name may become known while this run starts. */
static int find_master(struct net_place *p, const struct join_options *o)
{
    int64_t end = clock_ms() + o->timeout_ms;
    static const struct timespec second = {1, 0};

    while (net_find(p, o->master, -1) < 0) {
        if (err_code() != ERR_UNAVAILABLE || clock_ms() >= end)
            return -1;
        nanosleep(&second, NULL);
    }
    return 0;
}

static int find_source(struct join *j, const struct join_options *o,
                       const struct net_place *master)
{
    if (o->bind)
        return net_find(&j->source, o->bind, 0);
    if (o->iface)
        return net_iface(&j->source, o->iface, master);
    return net_source(&j->source, master);
}

static int find_addresses(struct join *j, const struct join_options *o)
{
    struct net_place master;
    char text[NET_TEXT];

    if (!o->master)
        return err_set(ERR_USAGE,
                       "%d ranks, %d of them on this host: --master HOST:PORT "
                       "says where the hosts meet",
                       o->ranks.world, o->ranks.local_world);
    if (o->key_file) {
        if (crypt_load(o->key_file, j->key) < 0)
            return -1;
    } else {
        /* Whoever reaches the port can join: only processes of this host. */
        memset(j->key, 0, sizeof(j->key));
    }
    if (find_master(&master, o) < 0 || find_source(j, o, &master) < 0)
        return -1;
    net_set_port(&j->source, 0);
    if (!o->key_file &&
        (!net_is_loopback(&master) || !net_is_loopback(&j->source))) {
        net_text(net_is_loopback(&master) ? &j->source : &master, text);
        return err_set(ERR_USAGE,
                       "%s: beyond this host a key is needed: allreduce-ring "
                       "keygen FILE, then --key-file FILE on all hosts",
                       text);
    }
    return 0;
}

/* ---- other hosts */

static int by_number(const void *a, const void *b)
{
    const int *x = a, *y = b;

    return x[0] < y[0] ? -1 : x[0] > y[0];
}

/* What this host tells the others of itself. */
static void describe_self(struct msg_join *self, const struct join *j,
                          const struct join_options *o)
{
    int list[ROSTER_RANKS][2];
    struct net_place said = j->source;
    struct net_place master;

    memset(self, 0, sizeof(*self));
    if (gethostname(self->host.name, sizeof(self->host.name) - 1) < 0 ||
        !self->host.name[0])
        snprintf(self->host.name, sizeof(self->host.name), "?");
    /* Who listens everywhere is reached where he sends from. */
    if (net_is_any(&said) && (net_find(&master, o->master, -1) < 0 ||
                              net_source(&said, &master) < 0))
        said = j->source;
    net_set_port(&said, 0);
    net_text(&said, self->host.addr);
    self->world = (uint32_t)o->ranks.world;
    self->streams = (uint32_t)o->streams;
    self->wire = (uint8_t)o->wire;
    self->protect = (uint8_t)o->protect;
    self->n = (uint32_t)j->peers.n;
    for (int i = 0; i < j->peers.n; i++) {
        list[i][0] = j->peers.rank[i];
        list[i][1] = j->peers.port[i];
    }
    qsort(list, self->n, sizeof(list[0]), by_number);
    for (uint32_t i = 0; i < self->n; i++) {
        self->rank[i] = (uint32_t)list[i][0];
        self->port[i] = (uint16_t)list[i][1];
    }
}

/* The leader: all hosts, then the memory of this one. */
static int lead(struct join *j, const struct join_options *o)
{
    struct roster r;
    struct hosts_address *a;
    int ok, host;

    if (!many_hosts(o)) {
        if (shm_create(&j->shm, o->ranks.world) < 0)
            return -1;
        j->shm.rank = o->ranks.rank;
        return 0;
    }
    a = xcalloc(1, sizeof(*a));
    *a = (struct hosts_address){.master = o->master,
                                .source = j->source,
                                .key = j->key,
                                .run_id = o->run_id,
                                .timeout_ms = o->timeout_ms};
    if (o->bind || o->iface)
        a->bind = j->source;
    describe_self(&a->self, j, o);
    ok = hosts_join(&j->hosts, &r, a);
    free(a);
    if (ok < 0)
        return -1;
    host = r.host_of[o->ranks.rank];
    if (roster_locals(&r, host, NULL) != j->peers.n)
        return err_set(ERR_PEER, "roster: not what this host has said");
    if (shm_create_host(&j->shm, &r, host) < 0) {
        hosts_refuse(&j->hosts);
        return -1;
    }
    j->shm.rank = o->ranks.rank;
    return 0;
}

/* ---- all */

static int open_listener(struct join *j, const struct join_options *o)
{
    struct net_place p;

    if (!many_hosts(o))
        return 0;
    if (find_addresses(j, o) < 0)
        return -1;
    p = j->source;
    j->listener = net_listen(&p, o->ports, ROSTER_LANES);
    return j->listener < 0 ? -1 : net_port(&p);
}

static int meet(struct join *j, const struct join_options *o)
{
    struct peer_address a = {.rank = o->ranks.rank,
                             .world = o->ranks.world,
                             .local_rank = o->ranks.local_rank,
                             .local_world = o->ranks.local_world,
                             .rdzv = o->rdzv,
                             .run_id = o->run_id,
                             .timeout_ms = o->timeout_ms};

    a.port = open_listener(j, o);
    if (a.port < 0 || peers_gather(&j->peers, &a) < 0)
        return -1;
    if (o->ranks.local_rank == 0 && lead(j, o) < 0) {
        peers_refuse(&j->peers);
        return -1;
    }
    if (o->ranks.local_rank == 0 && j->hosts.n > 0)
        j->mirror = mirror_start(&j->shm, &j->hosts, o->dead_ms);
    return peers_share(&j->peers, &j->shm, &a);
}

static int open_plane(struct join *j, const struct join_options *o)
{
    struct plane_options p = {.key = j->key,
                              .listener = j->listener,
                              .source = j->source,
                              .timeout_ms = o->timeout_ms};
    int r = j->engine->open(&j->plane, &j->shm, &p);

    if (j->listener >= 0)
        close(j->listener);
    j->listener = -1;
    crypt_forget(j->key, sizeof(j->key));
    return r;
}

int join_run(struct join *j, const struct join_options *o)
{
    memset(j, 0, sizeof(*j));
    j->shm = (struct shm)SHM_INIT;
    j->listener = -1;
    fault_point("ring.join");
    if (plane_find(&j->engine, o->engine, many_hosts(o) ? 2 : 1) < 0 ||
        meet(j, o) < 0)
        goto fail;
    shm_rank(&j->shm, o->ranks.rank)->ring_pid = getpid();
    if (open_plane(j, o) < 0)
        goto fail;
    return 0;
fail:
    if (j->shm.head && !shm_aborted(&j->shm))
        shm_abort(&j->shm, err_code(), o->ranks.rank, err_text());
    join_leave(j, false);
    return -1;
}

void join_leave(struct join *j, bool quick)
{
    struct err_kept kept = err_keep();

    mirror_stop(j->mirror);
    if (j->plane && !quick)
        j->engine->close(j->plane);
    hosts_release(&j->hosts);
    if (j->listener >= 0)
        close(j->listener);
    if (!quick)
        shm_release(&j->shm);
    peers_release(&j->peers);
    crypt_forget(j->key, sizeof(j->key));
    err_restore(&kept);
}
