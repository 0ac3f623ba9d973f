/*
 * net.h - TCP sockets between hosts: places, listening, connecting.
 *
 * Nothing ever listens on all interfaces unless it is told so: a place to
 * listen is an address. All sockets are non-blocking, close-on-exec, without
 * delay of small writes, and the kernel probes a silent peer (5 s, then every
 * 2 s, three times).
 */
#ifndef RING_NET_H
#define RING_NET_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define NET_TEXT 72 /* room for the text of a place */

struct net_place {
    struct sockaddr_storage a;
    socklen_t n; /* 0: none */
};
struct net_ports {
    int low, high; /* both 0: any */
};

/* "HOST:PORT", "[V6]:PORT", or "HOST" where port >= 0 stands in. ERR_USAGE for
 * the form, ERR_UNAVAILABLE for a name that is not found (maybe not yet). */
int net_find(struct net_place *p, const char *text, int port) MUST_CHECK;
/* The first address of an interface, of the family of like if that has one. */
int net_iface(struct net_place *p, const char *name,
              const struct net_place *like) MUST_CHECK;
/* The address that this host would send from. */
int net_source(struct net_place *p, const struct net_place *to) MUST_CHECK;
bool net_is_loopback(const struct net_place *p);
bool net_is_any(const struct net_place *p);
int net_port(const struct net_place *p);
void net_set_port(struct net_place *p, int port);
/* "10.0.0.1:29500" or "[::1]:29500". */
void net_text(const struct net_place *p, char text[NET_TEXT]);

/* Listen at p, in a range of ports if p has port 0; p gets the port. */
int net_listen(struct net_place *p, struct net_ports ports,
               int backlog) MUST_CHECK;
/* The next connection, or -1 without an error. from may be NULL. */
int net_accept(int listener, struct net_place *from) MUST_CHECK;
/* Begin to connect, from an address if it is given; then wait for POLLOUT and
 * ask net_connected: 0, or -1 and errno. */
int net_connect(const struct net_place *to,
                const struct net_place *from) MUST_CHECK;
int net_connected(int fd) MUST_CHECK;
/* Seconds of the shortest round trip that a connection has seen; 1 ms if nobody
 * knows. */
double net_round_trip(int fd);

#endif
