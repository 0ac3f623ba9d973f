#include "ring/roster.h"

#include "util/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void roster_single(struct roster *r, int world)
{
    memset(r, 0, sizeof(*r));
    r->n_hosts = 1;
    r->world = (uint32_t)world;
    r->lanes = 1;
}

int roster_locals(const struct roster *r, int host, int *list)
{
    int n = 0;

    for (int i = 0; i < (int)r->world; i++)
        if (r->host_of[i] == host) {
            if (list)
                list[n] = i;
            n++;
        }
    return n;
}

int roster_share(const struct roster *r, int rank)
{
    int host = r->host_of[rank], before = 0;

    for (int i = 0; i < (int)r->world; i++)
        before += r->host_of[i] < host || (i < rank && r->host_of[i] == host);
    return before;
}

int roster_owner(const struct roster *r, int host, int lane)
{
    int list[ROSTER_RANKS], n = roster_locals(r, host, list);

    return list[lane % n];
}

void roster_describe(const struct roster *r, int host, char *text, size_t size)
{
    struct buf b = BUF_INIT;
    int list[ROSTER_RANKS], n = roster_locals(r, host, list);

    /* Names may be the same in containers: the address, without its port. */
    buf_addf(&b, "host %s at %.*s (rank%s", r->host[host].name,
             (int)strlen(r->host[host].addr) - 2, r->host[host].addr,
             n > 1 ? "s" : "");
    for (int i = 0; i < n && i < 8; i++)
        buf_addf(&b, "%s %d", i ? "," : "", list[i]);
    buf_addstr(&b, n > 8 ? ", ...)" : ")");
    snprintf(text, size, "%s", b.data);
    buf_release(&b);
}

int roster_check(const struct roster *r)
{
    uint32_t seen = 0;

    if (r->world < 1 || r->world > ROSTER_RANKS || r->n_hosts < 1 ||
        r->n_hosts > ROSTER_HOSTS || r->lanes < 1 || r->lanes > ROSTER_LANES)
        return err_set(ERR_PEER, "roster: %u ranks, %u hosts, %u lanes",
                       r->world, r->n_hosts, r->lanes);
    for (uint32_t i = 0; i < r->world; i++) {
        if (r->host_of[i] > seen || r->host_of[i] >= r->n_hosts)
            return err_set(ERR_PEER, "roster: rank %u: host %u of %u", i,
                           r->host_of[i], r->n_hosts);
        seen += r->host_of[i] == seen;
    }
    if (seen != r->n_hosts)
        return err_set(ERR_PEER, "roster: host %u has no rank", seen);
    return 0;
}
