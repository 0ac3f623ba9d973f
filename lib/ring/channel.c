#include "ring/channel.h"

#include "ring/msg.h"
#include "util/fdio.h"
#include "util/le.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEALED_MOST (MSG_BYTES + CRYPT_EXTRA)
#define READ_BYTES 65536

void channel_open(struct channel *c, int fd, const unsigned char tx[CRYPT_KEY],
                  const unsigned char rx[CRYPT_KEY])
{
    memset(c, 0, sizeof(*c));
    c->fd = fd;
    memcpy(c->rx, rx, CRYPT_KEY);
    crypt_push_begin(&c->push, tx,
                     (unsigned char *)buf_reserve(&c->out, CRYPT_HEAD));
    c->out.len = CRYPT_HEAD;
    c->heard = c->said = clock_ms();
}

void channel_close(struct channel *c)
{
    if (c->fd >= 0)
        close(c->fd);
    buf_release(&c->out);
    buf_release(&c->in);
    crypt_forget(c, sizeof(*c));
    c->fd = -1;
}

/* Forget what is settled before more is read behind it. */
static void compact(struct buf *b, size_t *at)
{
    b->len -= *at;
    if (b->len && *at)
        memmove(b->data, b->data + *at, b->len);
    *at = 0;
}

void channel_put(struct channel *c, const void *p, size_t n)
{
    size_t sealed = n + CRYPT_EXTRA;
    unsigned char *to;

    if (n > MSG_BYTES)
        BUG("message of %zu bytes", n);
    if (c->out_at > 1 << 20 || c->out_at == c->out.len)
        compact(&c->out, &c->out_at);
    to = (unsigned char *)buf_reserve(&c->out, 4 + sealed);
    le_put(to, sealed, 4);
    crypt_push(&c->push, p, n, to + 4);
    c->out.len += 4 + sealed;
    c->said = clock_ms();
}

bool channel_idle(const struct channel *c)
{
    return c->out_at == c->out.len;
}

int channel_flush(struct channel *c)
{
    while (!channel_idle(c)) {
        ssize_t r = send(c->fd, c->out.data + c->out_at, c->out.len - c->out_at,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (r > 0)
            c->out_at += (size_t)r;
        else if (r < 0 && errno == EAGAIN)
            return 0;
        else if (r < 0 && errno != EINTR)
            return err_sys(ERR_PEER, "connection lost");
    }
    return 0;
}

short channel_events(const struct channel *c)
{
    return (short)(POLLIN | (channel_idle(c) ? 0 : POLLOUT));
}

static const unsigned char *input(const struct channel *c)
{
    return (const unsigned char *)c->in.data + c->in_at;
}

/* A message out of the bytes that are there: 1, 0 or -1. */
static int unseal(struct channel *c, struct buf *m)
{
    size_t n;

    if (!c->pulling) {
        if (c->in.len - c->in_at < CRYPT_HEAD)
            return 0;
        if (crypt_pull_begin(&c->pull, c->rx, input(c)) < 0)
            return -1;
        c->pulling = true;
        c->in_at += CRYPT_HEAD;
    }
    if (c->in.len - c->in_at < 4)
        return 0;
    n = (size_t)le_get(input(c), 4);
    if (n < CRYPT_EXTRA || n > SEALED_MOST)
        return err_set(ERR_PEER, "control message of %zu bytes, at most %d", n,
                       SEALED_MOST);
    if (c->in.len - c->in_at < 4 + n)
        return 0;
    buf_reset(m);
    buf_reserve(m, n);
    if (crypt_pull(&c->pull, input(c) + 4, n, m->data) < 0)
        return -1;
    m->len = n - CRYPT_EXTRA;
    m->data[m->len] = 0;
    c->in_at += 4 + n;
    return 1;
}

int channel_get(struct channel *c, struct buf *m)
{
    int r;

    for (;;) {
        ssize_t n;
        r = unseal(c, m);
        if (r != 0)
            return r;
        compact(&c->in, &c->in_at);
        n = recv(c->fd, buf_reserve(&c->in, READ_BYTES), READ_BYTES,
                 MSG_DONTWAIT);
        if (n == 0)
            return err_set(ERR_PEER, "connection closed");
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return errno == EAGAIN ? 0 : err_sys(ERR_PEER, "connection lost");
        }
        c->in.len += (size_t)n;
        c->heard = clock_ms();
    }
}

int channel_send_all(struct channel *c, int64_t deadline)
{
    while (!channel_idle(c)) {
        struct pollfd p = {.fd = c->fd, .events = POLLOUT};
        if (channel_flush(c) < 0)
            return -1;
        if (clock_ms() >= deadline)
            return err_set(ERR_PEER, "connection takes no bytes");
        if (!channel_idle(c))
            (void)poll(&p, 1, 100);
    }
    return 0;
}
