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

static bool is_head(struct flow_head *expected, uint64_t counter,
                    const unsigned char p[FLOW_HEAD])
{
    unsigned char want[FLOW_HEAD];
    uint64_t flags = le_get(p + AT_FLAGS, 1);

    expected->infinite = flags & INFINITE && expected->type == FLOW_SUM;
    flow_head_write(expected, counter, want);
    return memcmp(want, p, FLOW_HEAD) == 0;
}

int flow_head_check(struct flow_head *expected, uint64_t counter,
                    const unsigned char p[FLOW_HEAD])
{
    if (is_head(expected, counter, p))
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
    f->data = f->protect == PROTECT_AEAD ? f->sealed : data;
    f->bytes = h->bytes;
    f->tx.at = 0;
    f->tx.busy = true;
}

void flow_receive_begin(struct flow *f, const struct flow_place *p, int n)
{
    memcpy(f->place, p, (size_t)n * sizeof(*p));
    f->n_places = n;
    f->got = -1;
    f->guarded = 0;
    memcpy(f->rx.head, f->next, f->n_next);
    f->rx.at = f->n_next;
    f->n_next = 0;
    f->rx.busy = true;
}

/* Parts of a message, of which `at` bytes are through, as pieces for a call. */
struct pieces {
    struct iovec v[4];
    size_t n, at;
};

static void piece(struct pieces *p, void *data, size_t n)
{
    size_t gone = p->at < n ? p->at : n;

    p->at -= gone;
    if (n > gone)
        p->v[p->n++] = (struct iovec){(char *)data + gone, n - gone};
}

/* Send or receive what can be, all pieces at once: bytes, 0 or -1. */
static ssize_t transfer(int fd, struct pieces *p, bool out)
{
    struct msghdr m;
    ssize_t r;

    memset(&m, 0, sizeof(m));
    m.msg_iov = p->v;
    m.msg_iovlen = p->n;
    r = out ? sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT)
            : recvmsg(fd, &m, MSG_DONTWAIT);
    if (r == 0)
        return err_set(ERR_PEER, "data: connection closed");
    if (r < 0)
        return errno == EAGAIN || errno == EINTR
                   ? 0
                   : err_sys(ERR_PEER, "data: connection lost");
    return r;
}

static size_t tag_bytes(const struct flow_way *w)
{
    return w->guard ? GUARD_TAG : 0;
}

int flow_send(struct flow *f)
{
    struct pieces p = {.at = f->tx.at};
    ssize_t r;

    piece(&p, f->tx.head, FLOW_HEAD);
    piece(&p, f->data, f->bytes);
    piece(&p, f->tx.tag, tag_bytes(&f->tx));
    r = transfer(f->fd, &p, true);
    if (r <= 0)
        return (int)r;
    f->tx.at += (size_t)r;
    f->tx.busy = f->tx.at < FLOW_HEAD + f->bytes + tag_bytes(&f->tx);
    return !f->tx.busy;
}

/* The head is there: which message is it? The data of another may be shorter. */
static int take_head(struct flow *f)
{
    for (int i = 1; i < f->n_places; i++)
        if (is_head(&f->place[i].head, f->rx.counter, f->rx.head))
            f->got = i;
    if (f->got < 0 &&
        flow_head_check(&f->place[0].head, f->rx.counter, f->rx.head) < 0) {
        f->mismatch = err_code() == ERR_CONFIG;
        return -1;
    }
    f->got = f->got < 0 ? 0 : f->got;
    if (f->rx.guard)
        guard_begin(f->rx.guard, f->rx.head, FLOW_HEAD);
    return 0;
}

/* What came of the data since last time, while it is in the caches. */
static void guard_data(struct flow *f, const struct flow_place *p)
{
    size_t have = f->rx.at - FLOW_HEAD;
    unsigned char *from = (unsigned char *)p->data + f->guarded;

    if (have > p->head.bytes)
        have = p->head.bytes;
    guard_add(f->rx.guard, from, from, have - f->guarded);
    f->guarded = have;
}

/* One call of the kernel; as flow_receive, but 0 also where more may be there. */
static int receive_some(struct flow *f, bool *more)
{
    struct flow_way *w = &f->rx;
    bool known = f->got >= 0 || f->n_places == 1;
    const struct flow_place *p = &f->place[f->got > 0 ? f->got : 0];
    size_t end = FLOW_HEAD + p->head.bytes + tag_bytes(w);
    struct pieces v = {.at = w->at};
    ssize_t r;

    piece(&v, w->head, FLOW_HEAD);
    if (known) {
        piece(&v, p->data, p->head.bytes);
        piece(&v, w->tag, tag_bytes(w));
        piece(&v, f->next, FLOW_HEAD);
    }
    r = transfer(f->fd, &v, false);
    if (r <= 0)
        return (int)r;
    w->at += (size_t)r;
    if (f->got < 0 && w->at >= FLOW_HEAD && take_head(f) < 0)
        return -1;
    *more = !known && f->got >= 0;
    if (f->got < 0 || *more)
        return 0;
    if (w->guard)
        guard_data(f, p);
    if (w->at < end)
        return 0;
    if (w->guard && guard_check(w->guard, w->tag) < 0)
        return -1;
    f->n_next = w->at - end;
    w->counter++;
    w->busy = false;
    return 1;
}

int flow_receive(struct flow *f)
{
    bool more = false;
    int r;

    if (f->got < 0 && f->rx.at == FLOW_HEAD && take_head(f) < 0)
        return -1;
    r = receive_some(f, &more);
    return r == 0 && more ? receive_some(f, &more) : r;
}
