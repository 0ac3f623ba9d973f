/* allreduce-ring: the options that say how to join, and keygen. */
#include "allreduce-ring.h"

#include "rows.h"
#include "util/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t rank, world, local_rank, local_world, timeout_s, dead_s, streams;
static char *rdzv, *master, *key_file, *bind_to, *iface;
static struct opt_list ports;
static int engine, wire, protect;

static const char *const engine_names[] = {"auto", "shm", "tcp", "mpi"};

struct opt ring_join_opts[] = {
    {.name = "engine",
     .type = OPT_CHOICE,
     .addr = &engine,
     .def = "auto",
     .choices = "auto|shm|tcp|mpi",
     .help = "who adds the gradients"},
    {.name = "rank",
     .type = OPT_INT,
     .addr = &rank,
     .min = 0,
     .max = 65535,
     .arg = "R",
     .help = "number of this rank; with --world, in place of the environment"},
    {.name = "world",
     .type = OPT_INT,
     .addr = &world,
     .min = 1,
     .max = 65536,
     .arg = "W",
     .help = "number of ranks"},
    {.name = "local-rank",
     .type = OPT_INT,
     .addr = &local_rank,
     .min = 0,
     .max = 65535,
     .arg = "R",
     .help = "with --rank: number among the ranks of this host"},
    {.name = "local-world",
     .type = OPT_INT,
     .addr = &local_world,
     .min = 1,
     .max = 65536,
     .arg = "L",
     .help = "with --rank: how many of the ranks are on this host"},
    {.name = "rdzv",
     .env = "ACCEL_RDZV",
     .type = OPT_STRING,
     .addr = &rdzv,
     .arg = "PATH|@NAME",
     .help = "socket where the ranks of this host meet"},
    ROW_MASTER(&master),
    ROW_KEY_FILE(&key_file),
    {.name = "bind",
     .env = "ACCEL_BIND",
     .type = OPT_STRING,
     .addr = &bind_to,
     .arg = "ADDRESS",
     .help = "address of this host to listen at and to send from"},
    {.name = "iface",
     .env = "ACCEL_IFACE",
     .type = OPT_STRING,
     .addr = &iface,
     .arg = "NAME",
     .help = "the same by its interface"},
    {.name = "ports",
     .env = "ACCEL_PORTS",
     .type = OPT_INTS,
     .addr = &ports,
     .min = 1,
     .max = 65535,
     .arg = "LOW,HIGH",
     .help = "ports to take for data"},
    {.name = "streams",
     .env = "ACCEL_STREAMS",
     .type = OPT_INT,
     .addr = &streams,
     .def = "0",
     .min = 0,
     .max = 64,
     .arg = "N",
     .help = "connections to each host for each rank; 0: at least 4 in all"},
    {.name = "wire",
     .env = "ACCEL_WIRE",
     .type = OPT_CHOICE,
     .addr = &wire,
     .def = "f32",
     .choices = "f32|bf16|f16",
     .help = "numbers between hosts; they are added in fp32"},
    {.name = "wire-auth",
     .env = "ACCEL_WIRE_AUTH",
     .type = OPT_CHOICE,
     .addr = &protect,
     .def = "mac",
     .choices = "mac|aead|none",
     .help = "data between hosts: tagged, encrypted, or as they are"},
    {.name = "timeout",
     .type = OPT_INT,
     .addr = &timeout_s,
     .def = "600",
     .min = 1,
     .max = 1000000,
     .arg = "S",
     .help = "seconds to wait for a rank that does not come"},
    {.name = "dead-after",
     .type = OPT_INT,
     .addr = &dead_s,
     .def = "10",
     .min = 2,
     .max = 1000000,
     .arg = "S",
     .help = "seconds of silence after which a host is lost"},
    OPT_END,
};

/* Where the ranks of this host meet, and where the hosts meet: as told, or as
 * their launcher lets one know. */
static int find_places(struct join_options *o)
{
    static char name[108];
    const struct ranks *r = &o->ranks;

    o->rdzv = rdzv;
    o->master = master;
    if (r->local_world > 1 && !rdzv) {
        if (ranks_place(r, name, sizeof(name)) < 0)
            return -1;
        o->rdzv = name;
    }
    if (r->local_world < r->world && !master && r->master[0])
        o->master = xstrdup(r->master);
    return 0;
}

static int find_ranks(const struct command *c, struct join_options *o)
{
    struct ranks *r = &o->ranks;
    bool by_hand = opt_given(c, "rank");

    if (ranks_find(r, by_hand ? rank : -1, opt_given(c, "world") ? world : -1) <
        0)
        return -1;
    if (!by_hand && (opt_given(c, "local-rank") || opt_given(c, "local-world")))
        return err_set(ERR_USAGE, "--local-rank and --local-world need --rank");
    if (opt_given(c, "local-rank") != opt_given(c, "local-world"))
        return err_set(ERR_USAGE,
                       "--local-rank and --local-world: give both or neither");
    if (opt_given(c, "local-rank")) {
        r->local_rank = (int)local_rank;
        r->local_world = (int)local_world;
    } else if (by_hand && master && !rdzv) {
        /* By hand, one rank on each host. */
        r->local_rank = 0;
        r->local_world = 1;
    }
    if (r->local_rank >= r->local_world || r->local_world > r->world ||
        r->local_rank > r->rank)
        return err_set(ERR_USAGE,
                       "rank %d of %d cannot be rank %d of %d on this host",
                       r->rank, r->world, r->local_rank, r->local_world);
    return 0;
}

int ring_join_options(const struct command *c, struct join_options *o)
{
    const char *run_id = getenv("ACCEL_RUN_ID");

    *o = (struct join_options){.run_id = run_id ? run_id : "",
                               .key_file = key_file,
                               .bind = bind_to,
                               .iface = iface,
                               .engine = engine_names[engine],
                               .wire = (enum plane_wire)wire,
                               .protect = (enum plane_protect)protect,
                               .streams = (int)streams,
                               .timeout_ms = timeout_s * 1000,
                               .dead_ms = dead_s * 1000};
    if (bind_to && iface)
        return err_set(ERR_USAGE, "--bind and --iface: only one");
    if (ports.n > 0) {
        if (ports.n != 2 || ports.i[0] > ports.i[1])
            return err_set(ERR_USAGE, "--ports: LOW,HIGH");
        o->ports = (struct net_ports){(int)ports.i[0], (int)ports.i[1]};
    }
    if (find_ranks(c, o) < 0)
        return -1;
    return find_places(o);
}

int ring_keygen(const struct command *c, int argc, char **argv)
{
    (void)c, (void)argc;
    return crypt_keygen(argv[0]);
}
