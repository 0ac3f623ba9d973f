#include "ring/net.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_MAX_BYTES 254

/* ---- places */

static int split(const char *text, int port, char host[NAME_MAX_BYTES],
                 char digits[16])
{
    const char *colon = strrchr(text, ':'), *begin = text, *end = NULL;
    size_t n;
    long v = port;

    if (text[0] == '[') {
        end = strchr(text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return err_set(ERR_USAGE, "\"%.80s\": not [ADDRESS]:PORT", text);
        begin++;
        colon = end[1] ? end + 1 : NULL;
    } else if (colon && strchr(text, ':') != colon) {
        colon = NULL; /* an IPv6 address alone */
    }
    if (!end)
        end = colon ? colon : text + strlen(text);
    if (colon) {
        char *rest;
        v = strtol(colon + 1, &rest, 10);
        if (*rest || colon[1] < '0' || colon[1] > '9' || v > 65535)
            return err_set(ERR_USAGE, "\"%.80s\": port: 0 to 65535", text);
    }
    n = (size_t)(end - begin);
    if (n == 0 || n >= NAME_MAX_BYTES || v < 0)
        return err_set(ERR_USAGE, "\"%.80s\": not HOST:PORT", text);
    memcpy(host, begin, n);
    host[n] = 0;
    snprintf(digits, 16, "%ld", v);
    return 0;
}

int net_find(struct net_place *p, const char *text, int port)
{
    struct addrinfo hints, *list;
    char host[NAME_MAX_BYTES], digits[16];
    int r;

    if (split(text, port, host, digits) < 0)
        return -1;
    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    r = getaddrinfo(host, digits, &hints, &list);
    if (r != 0)
        return err_set(ERR_UNAVAILABLE, "host \"%.80s\": %s", host,
                       gai_strerror(r));
    memset(p, 0, sizeof(*p));
    memcpy(&p->a, list->ai_addr, list->ai_addrlen);
    p->n = list->ai_addrlen;
    freeaddrinfo(list);
    return 0;
}

static socklen_t size_of(int family)
{
    return family == AF_INET    ? sizeof(struct sockaddr_in)
           : family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                : 0;
}

int net_iface(struct net_place *p, const char *name,
              const struct net_place *like)
{
    struct ifaddrs *all, *i;

    if (getifaddrs(&all) < 0)
        return err_sys(ERR_SYSTEM, "interfaces");
    memset(p, 0, sizeof(*p));
    for (i = all; i; i = i->ifa_next) {
        int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;
        if (strcmp(i->ifa_name, name) != 0 || !size_of(family))
            continue;
        /* That of the wanted family, or else the first. */
        if (p->n && (!like->n || family != like->a.ss_family))
            continue;
        p->n = size_of(family);
        memcpy(&p->a, i->ifa_addr, p->n);
        if (!like->n || family == like->a.ss_family)
            break;
    }
    freeifaddrs(all);
    if (!p->n)
        return err_set(ERR_UNAVAILABLE, "interface \"%.40s\": has no address",
                       name);
    return 0;
}

int net_source(struct net_place *p, const struct net_place *to)
{
    /* A datagram socket is connected without a packet. */
    int fd = socket(to->a.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), r = 0;
    char text[NET_TEXT];

    net_text(to, text);
    memset(p, 0, sizeof(*p));
    p->n = sizeof(p->a);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to->a, to->n) < 0 ||
        getsockname(fd, (struct sockaddr *)&p->a, &p->n) < 0)
        r = err_sys(ERR_UNAVAILABLE, "no way to %s", text);
    if (fd >= 0)
        close(fd);
    net_set_port(p, 0);
    return r;
}

bool net_is_loopback(const struct net_place *p)
{
    if (p->a.ss_family == AF_INET) {
        const struct sockaddr_in *a = (const void *)&p->a;
        return (ntohl(a->sin_addr.s_addr) >> 24) == 127;
    }
    return p->a.ss_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(
               &((const struct sockaddr_in6 *)(const void *)&p->a)->sin6_addr);
}

bool net_is_any(const struct net_place *p)
{
    if (p->a.ss_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)&p->a)
                   ->sin_addr.s_addr == htonl(INADDR_ANY);
    return p->a.ss_family == AF_INET6 &&
           IN6_IS_ADDR_UNSPECIFIED(
               &((const struct sockaddr_in6 *)(const void *)&p->a)->sin6_addr);
}

int net_port(const struct net_place *p)
{
    /* In both families the port lies at the same place. */
    return ntohs(((const struct sockaddr_in *)(const void *)&p->a)->sin_port);
}

void net_set_port(struct net_place *p, int port)
{
    ((struct sockaddr_in *)(void *)&p->a)->sin_port = htons((uint16_t)port);
}

void net_text(const struct net_place *p, char text[NET_TEXT])
{
    char host[NET_TEXT - 10], port[8];

    if (!p->n ||
        getnameinfo((const struct sockaddr *)&p->a, p->n, host, sizeof(host),
                    port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(text, NET_TEXT, "?");
    else
        snprintf(text, NET_TEXT,
                 p->a.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* ---- sockets */

static void tune(int fd)
{
    static const struct {
        int level, name, value;
    } all[] = {{IPPROTO_TCP, TCP_NODELAY, 1},
               {SOL_SOCKET, SO_KEEPALIVE, 1},
               {IPPROTO_TCP, TCP_KEEPIDLE, 5},
               {IPPROTO_TCP, TCP_KEEPINTVL, 2},
               {IPPROTO_TCP, TCP_KEEPCNT, 3}};

    /* Each is a help, none a need. */
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        (void)setsockopt(fd, all[i].level, all[i].name, &all[i].value,
                         sizeof(all[i].value));
}

static int make_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return err_sys(ERR_SYSTEM, "socket");
    return fd;
}

/* Listens at p; -1 with errno. */
static int listen_at(int fd, const struct net_place *p, int backlog)
{
    int one = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    return bind(fd, (const struct sockaddr *)&p->a, p->n) < 0
               ? -1
               : listen(fd, backlog);
}

/* A port is tried with a socket of its own: of two processes that bind the same
 * one, the second is told by listen(), and what is bound stays bound. */
int net_listen(struct net_place *p, struct net_ports ports, int backlog)
{
    bool range = net_port(p) == 0 && ports.high > 0;
    char text[NET_TEXT];
    int e = 0;

    for (int port = ports.low; !range || port <= ports.high; port++) {
        int fd = make_socket(p->a.ss_family);

        if (fd < 0)
            return -1;
        if (range)
            net_set_port(p, port);
        if (listen_at(fd, p, backlog) == 0) {
            (void)getsockname(fd, (struct sockaddr *)&p->a, &p->n);
            return fd;
        }
        e = errno;
        close(fd);
        if (!range || e != EADDRINUSE)
            break;
    }
    net_text(p, text);
    errno = e;
    return err_sys(e == EADDRINUSE ? ERR_CONFIG : ERR_UNAVAILABLE,
                   "listen at %s%s", text,
                   e == EADDRNOTAVAIL ? " (not an address of this host; "
                                        "--bind or --iface say which)"
                                      : "");
}

int net_accept(int listener, struct net_place *from)
{
    struct net_place p = {.n = sizeof(p.a)};
    int fd = accept4(listener, (struct sockaddr *)&p.a, &p.n,
                     SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return -1;
    tune(fd);
    if (from)
        *from = p;
    return fd;
}

int net_connect(const struct net_place *to, const struct net_place *from)
{
    struct net_place p;
    char text[NET_TEXT];
    int fd = make_socket(to->a.ss_family);

    if (fd < 0)
        return -1;
    if (from && from->n && from->a.ss_family == to->a.ss_family &&
        !net_is_any(from)) {
        p = *from;
        net_set_port(&p, 0);
        if (bind(fd, (const struct sockaddr *)&p.a, p.n) < 0) {
            net_text(&p, text);
            err_sys(ERR_UNAVAILABLE, "send from %s", text);
            close(fd);
            return -1;
        }
    }
    tune(fd);
    if (connect(fd, (const struct sockaddr *)&to->a, to->n) < 0 &&
        errno != EINPROGRESS) {
        net_text(to, text);
        err_sys(ERR_PEER, "connect to %s", text);
        close(fd);
        return -1;
    }
    return fd;
}

int net_connected(int fd)
{
    int e = 0;
    socklen_t n = sizeof(e);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) < 0)
        return -1;
    errno = e;
    return e ? -1 : 0;
}

double net_round_trip(int fd)
{
    struct tcp_info i;
    socklen_t n = sizeof(i);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &n) < 0 ||
        n < offsetof(struct tcp_info, tcpi_min_rtt) + sizeof(i.tcpi_min_rtt))
        return 1e-3;
    return i.tcpi_min_rtt * 1e-6;
}
