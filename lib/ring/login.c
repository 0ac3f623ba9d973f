#include "ring/login.h"

#include "ring/net.h"
#include "util/fdio.h"
#include "util/le.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* Where the parts of a hello lie. */
enum {
    AT_MAJOR = 4,
    AT_MINOR = 6,
    AT_ROLE = 8,
    AT_PROTECT = 9,
    AT_PURPOSE = 10,
    AT_RANK = 12,
    AT_WORLD = 16,
    AT_JOB = 20,
    AT_PUBLIC = 36,
    AT_NONCE = 68
};

void login_begin(struct login *l, int fd, bool dial,
                 const unsigned char shared[CRYPT_KEY],
                 const struct login_id *mine, int64_t deadline)
{
    unsigned char *h = l->out;

    memset(l, 0, sizeof(*l));
    l->fd = fd;
    l->dial = l->connecting = dial;
    l->shared = shared;
    l->mine = *mine;
    l->deadline = deadline;
    memcpy(h, "ARNG", 4);
    le_put(h + AT_MAJOR, LOGIN_MAJOR, 2);
    le_put(h + AT_MINOR, LOGIN_MINOR, 2);
    le_put(h + AT_ROLE, dial ? 0 : 1, 1);
    le_put(h + AT_PROTECT, mine->protect, 1);
    le_put(h + AT_PURPOSE, mine->purpose, 2);
    le_put(h + AT_RANK, mine->rank, 4);
    le_put(h + AT_WORLD, mine->world, 4);
    memcpy(h + AT_JOB, mine->job, sizeof(mine->job));
    crypt_pair(l->secret, h + AT_PUBLIC);
    crypt_random(h + AT_NONCE, CRYPT_NONCE);
    l->ready = LOGIN_HELLO;
}

void login_end(struct login *l)
{
    if (l->fd >= 0)
        close(l->fd);
    crypt_forget(l, sizeof(*l));
    l->fd = -1;
}

/* What can be said of a hello before its sender has proved anything. */
static int check_hello(const struct login *l)
{
    const unsigned char *h = l->in;

    if (memcmp(h, "ARNG", 4) != 0)
        return err_set(ERR_PEER, "login: not an allreduce-ring");
    if (le_get(h + AT_MAJOR, 2) != LOGIN_MAJOR)
        return err_set(ERR_CONFIG, "login: protocol %u.%u, here %d.%d",
                       (unsigned)le_get(h + AT_MAJOR, 2),
                       (unsigned)le_get(h + AT_MINOR, 2), LOGIN_MAJOR,
                       LOGIN_MINOR);
    if (le_get(h + AT_ROLE, 1) != (l->dial ? 1u : 0u))
        return err_set(ERR_PEER, "login: both sides have the same role");
    return 0;
}

static int take_hello(struct login *l)
{
    const unsigned char *h = l->in;
    struct crypt_login c = {.shared = l->shared,
                            .secret = l->secret,
                            .peer = h + AT_PUBLIC,
                            .dial_hello = l->dial ? l->out : l->in,
                            .acc_hello = l->dial ? l->in : l->out,
                            .n_hello = LOGIN_HELLO,
                            .dial = l->dial};

    if (check_hello(l) < 0 || crypt_keys(&c, l->tx, l->rx, l->hash) < 0)
        return -1;
    crypt_forget(l->secret, sizeof(l->secret));
    l->peer.rank = (uint32_t)le_get(h + AT_RANK, 4);
    l->peer.world = (uint32_t)le_get(h + AT_WORLD, 4);
    l->peer.purpose = (uint16_t)le_get(h + AT_PURPOSE, 2);
    l->peer.protect = (uint8_t)le_get(h + AT_PROTECT, 1);
    memcpy(l->peer.job, h + AT_JOB, sizeof(l->peer.job));
    crypt_proof(l->tx, l->hash, l->dial, l->mine.rank, l->out + LOGIN_HELLO);
    l->ready = LOGIN_BYTES;
    return 0;
}

static int check_proof(const struct login *l)
{
    unsigned char want[CRYPT_KEY];

    crypt_proof(l->rx, l->hash, !l->dial, l->peer.rank, want);
    if (!crypt_equal(want, l->in + LOGIN_HELLO, sizeof(want)))
        return err_set(ERR_NOPERM, "login: the keys differ");
    return 0;
}

int login_take(struct login *l, const void *p, size_t n)
{
    if (n > LOGIN_BYTES - l->have)
        return err_set(ERR_PEER, "login: more than %d bytes", LOGIN_BYTES);
    memcpy(l->in + l->have, p, n);
    l->have += n;
    if (l->ready == LOGIN_HELLO && l->have >= LOGIN_HELLO && take_hello(l) < 0)
        return -1;
    if (l->have < LOGIN_BYTES)
        return 0;
    return check_proof(l) < 0 ? -1 : 1;
}

size_t login_rest(const struct login *l, const unsigned char **p)
{
    *p = l->out + l->sent;
    return l->ready - l->sent;
}

static int send_rest(struct login *l)
{
    const unsigned char *p;
    size_t n = login_rest(l, &p);
    ssize_t r;

    if (n == 0)
        return 0;
    r = send(l->fd, p, n, MSG_NOSIGNAL);
    if (r > 0)
        l->sent += (size_t)r;
    else if (r < 0 && errno != EAGAIN && errno != EINTR)
        return err_sys(ERR_PEER, "login");
    return 0;
}

/* Never more than a login has: what follows belongs to the caller. And the hello
 * by itself, so that the own proof is sent before that of the peer is judged:
 * both sides of a login with two keys see why it fails. */
static int receive(struct login *l)
{
    unsigned char b[LOGIN_BYTES];
    size_t end = l->have < LOGIN_HELLO ? LOGIN_HELLO : LOGIN_BYTES;
    size_t want = end - l->have;
    ssize_t r;

    if (want == 0)
        return 0;
    r = recv(l->fd, b, want, 0);
    if (r == 0)
        return err_set(ERR_PEER, l->have < LOGIN_HELLO
                                     ? "login: connection closed"
                                     : "login: refused by the other side "
                                       "(another key?)");
    if (r < 0)
        return errno == EAGAIN || errno == EINTR ? 0
                                                 : err_sys(ERR_PEER, "login");
    return login_take(l, b, (size_t)r) < 0 ? -1 : 0;
}

int login_step(struct login *l)
{
    if (clock_ms() >= l->deadline)
        return err_set(ERR_PEER, "login: no answer in time");
    if (l->connecting) {
        struct pollfd p = {.fd = l->fd, .events = POLLOUT};
        if (poll(&p, 1, 0) <= 0)
            return 0;
        if (net_connected(l->fd) < 0)
            return err_sys(ERR_PEER, "connect");
        l->connecting = false;
    }
    if (send_rest(l) < 0 || receive(l) < 0 || send_rest(l) < 0)
        return -1;
    return l->have == LOGIN_BYTES && l->sent == LOGIN_BYTES;
}

short login_events(const struct login *l)
{
    if (l->connecting)
        return POLLOUT;
    return (short)((l->have < LOGIN_BYTES ? POLLIN : 0) |
                   (l->sent < l->ready ? POLLOUT : 0));
}
