#include "ring/flow.h"

#include "util/le.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAGIC 0x4652414d /* "MARF" */
#define INFINITE 1       /* flag */

/* Where the parts of a head lie. */
enum {
    AT_TYPE = 4,
    AT_FLAGS = 5,
    AT_LANE = 6,
    AT_REQUEST = 8,
    AT_BUCKET = 12,
    AT_SEGMENT = 16,
    AT_BYTES = 20,
    AT_COUNT = 24,
    AT_STEP = 32,
    AT_COUNTER = 40
};

void flow_head_write(const struct flow_head *h, uint64_t counter,
                     unsigned char p[FLOW_HEAD])
{
    le_put(p, MAGIC, 4);
    le_put(p + AT_TYPE, (uint64_t)h->type, 1);
    le_put(p + AT_FLAGS, h->infinite ? INFINITE : 0, 1);
    le_put(p + AT_LANE, h->lane, 2);
    le_put(p + AT_REQUEST, h->request, 4);
    le_put(p + AT_BUCKET, h->bucket, 4);
    le_put(p + AT_SEGMENT, h->segment, 4);
    le_put(p + AT_BYTES, h->bytes, 4);
    le_put(p + AT_COUNT, h->count, 8);
    le_put(p + AT_STEP, (uint64_t)h->step, 8);
    le_put(p + AT_COUNTER, counter, 8);
}

int flow_head_check(struct flow_head *expected, uint64_t counter,
                    const unsigned char p[FLOW_HEAD])
{
    unsigned char want[FLOW_HEAD];
    uint64_t flags = le_get(p + AT_FLAGS, 1);

    expected->infinite = flags & INFINITE && expected->type == FLOW_SUM;
    flow_head_write(expected, counter, want);
    if (memcmp(want, p, FLOW_HEAD) == 0)
        return 0;
    if (le_get(p, 4) != MAGIC || le_get(p + AT_COUNTER, 8) != counter)
        return err_set(ERR_PEER, "data: a head that makes no sense");
    return err_set(ERR_CONFIG,
                   "data: bucket %" PRIu64 " of %" PRIu64
                   " elements at step %" PRIu64 ", segment %" PRIu64
                   " of %" PRIu64 " bytes in place of bucket %" PRIu32
                   " of %" PRIu64 " at step %" PRId64 ", segment %" PRIu32
                   " of %" PRIu32 " bytes",
                   le_get(p + AT_BUCKET, 4), le_get(p + AT_COUNT, 8),
                   le_get(p + AT_STEP, 8), le_get(p + AT_SEGMENT, 4),
                   le_get(p + AT_BYTES, 4), expected->bucket, expected->count,
                   expected->step, expected->segment, expected->bytes);
}

void flow_open(struct flow *f, int fd, enum plane_protect protect,
               const unsigned char tx[CRYPT_KEY],
               const unsigned char rx[CRYPT_KEY])
{
    bool encrypts = protect == PROTECT_AEAD;

    memset(f, 0, sizeof(*f));
    f->fd = fd;
    f->protect = protect;
    if (protect == PROTECT_NONE)
        return;
    f->tx.guard = guard_new(tx, encrypts, false);
    f->rx.guard = guard_new(rx, encrypts, true);
}

void flow_close(struct flow *f)
{
    if (f->fd >= 0)
        close(f->fd);
    guard_free(f->tx.guard);
    guard_free(f->rx.guard);
    free(f->sealed);
    memset(f, 0, sizeof(*f));
    f->fd = -1;
}

static void begin(struct flow_way *w, void *data, size_t n)
{
    w->v[0] = (struct iovec){w->head, FLOW_HEAD};
    w->v[1] = (struct iovec){data, n};
    w->v[2] = (struct iovec){w->tag, GUARD_TAG};
    w->n = w->guard ? 3 : 2;
    w->at = 0;
}

void flow_send_begin(struct flow *f, const struct flow_head *h, void *data)
{
    struct guard *g = f->tx.guard;

    flow_head_write(h, f->tx.counter++, f->tx.head);
    if (f->protect == PROTECT_AEAD && f->sealed_bytes < h->bytes) {
        f->sealed = xrealloc(f->sealed, h->bytes);
        f->sealed_bytes = h->bytes;
    }
    if (g) {
        guard_begin(g, f->tx.head, FLOW_HEAD);
        guard_add(g, data, f->sealed, h->bytes);
        guard_end(g, f->tx.tag);
    }
    begin(&f->tx, f->protect == PROTECT_AEAD ? f->sealed : data, h->bytes);
}

void flow_receive_begin(struct flow *f, const struct flow_head *h, void *data)
{
    f->expected = *h;
    f->data = data;
    f->guarded = 0;
    begin(&f->rx, data, h->bytes);
}

/* n more bytes of the message are through. */
static void advance(struct flow_way *w, size_t n)
{
    while (w->at < w->n && n >= w->v[w->at].iov_len) {
        n -= w->v[w->at].iov_len;
        w->at++;
    }
    if (n) {
        w->v[w->at].iov_base = (char *)w->v[w->at].iov_base + n;
        w->v[w->at].iov_len -= n;
    }
}

/* Send or receive what can be, all pieces at once. 1, 0 or -1. */
static int transfer(int fd, struct flow_way *w, bool out)
{
    struct msghdr m;
    ssize_t r;

    memset(&m, 0, sizeof(m));
    m.msg_iov = w->v + w->at;
    m.msg_iovlen = (size_t)(w->n - w->at);
    r = out ? sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT)
            : recvmsg(fd, &m, MSG_DONTWAIT);
    if (r == 0)
        return err_set(ERR_PEER, "data: connection closed");
    if (r < 0)
        return errno == EAGAIN || errno == EINTR
                   ? 0
                   : err_sys(ERR_PEER, "data: connection lost");
    advance(w, (size_t)r);
    return w->at == w->n;
}

int flow_send(struct flow *f)
{
    int r = transfer(f->fd, &f->tx, true);

    if (r == 1)
        f->tx.n = 0;
    return r;
}

/* Another message may be shorter: look at the head as soon as it is there. */
static int take_head(struct flow *f)
{
    if (flow_head_check(&f->expected, f->rx.counter, f->rx.head) < 0) {
        f->mismatch = err_code() == ERR_CONFIG;
        return -1;
    }
    if (f->rx.guard)
        guard_begin(f->rx.guard, f->rx.head, FLOW_HEAD);
    return 0;
}

/* What came of the data since last time, while it is in the caches. */
static void guard_data(struct flow *f)
{
    size_t have = f->expected.bytes;
    unsigned char *from = f->data + f->guarded;

    if (f->rx.at == 1)
        have -= f->rx.v[1].iov_len;
    guard_add(f->rx.guard, from, from, have - f->guarded);
    f->guarded = have;
}

int flow_receive(struct flow *f)
{
    bool headless = f->rx.at == 0;
    int r = transfer(f->fd, &f->rx, false);

    if (r < 0 || (headless && f->rx.at > 0 && take_head(f) < 0))
        return -1;
    if (f->rx.guard && f->rx.at > 0)
        guard_data(f);
    if (r == 0)
        return 0;
    if (f->rx.guard && guard_check(f->rx.guard, f->rx.tag) < 0)
        return -1;
    f->rx.counter++;
    f->rx.n = 0;
    return 1;
}
