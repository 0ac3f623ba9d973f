/*
 * flow.h - one TCP connection that carries data between two hosts.
 *
 * A message is a head of 48 bytes, the data, and a tag of 16 bytes. The receiver
 * knows which message must come next, or which of two, their lengths included: a
 * head that is none of them, or a wrong tag, ends the run. Data are read straight to
 * their place, and with them the next head, so that a message takes one call. The
 * counter rises by one with each message of a direction (guard.h). What is received
 * is added to the tag as it comes, while it is in the caches.
 *
 * head (little-endian): u32 "MARF", u8 type, u8 flags, u16 lane, u32 request,
 * u32 bucket, u32 segment, u32 data bytes, u64 elements of the bucket, u64 step,
 * u64 counter
 */
#ifndef RING_FLOW_H
#define RING_FLOW_H

#include "ring/guard.h"
#include "ring/plane.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define FLOW_HEAD 48

enum flow_type {
    FLOW_PART = 1, /* what one host adds to a slice of another */
    FLOW_SUM       /* the sums of the owner of a slice */
};

struct flow_head {
    enum flow_type type;
    bool infinite; /* of FLOW_SUM: a sum up to here is not finite */
    uint16_t lane;
    uint32_t request, bucket, segment, bytes;
    uint64_t count;
    int64_t step;
};

/* A message that may come, and where its data go. */
struct flow_place {
    struct flow_head head;
    void *data;
};
#define FLOW_PLACES 2

/* One direction: counter and guard of the message under way, NULL: data are not
 * protected. */
struct flow_way {
    struct guard *guard;
    uint64_t counter;
    unsigned char head[FLOW_HEAD], tag[GUARD_TAG];
    size_t at; /* bytes of the message that are through */
    bool busy;
};

struct flow {
    int fd, rank; /* of the other end */
    enum plane_protect protect;
    struct flow_way tx, rx;
    unsigned char *data; /* of the message that is sent */
    size_t bytes;
    unsigned char *sealed; /* the same, encrypted */
    size_t sealed_bytes;
    struct flow_place place[FLOW_PLACES];
    int n_places, got;             /* got: which it is, -1: not known yet */
    size_t guarded;                /* received bytes that the guard has seen */
    unsigned char next[FLOW_HEAD]; /* the head that came with the message */
    size_t n_next;
    bool mismatch; /* the failure is a head that was not expected */
};

void flow_head_write(const struct flow_head *h, uint64_t counter,
                     unsigned char p[FLOW_HEAD]);
/* Is this what must come? ERR_CONFIG says what came instead. infinite is taken
 * from the bytes. Fuzzed. */
int flow_head_check(struct flow_head *expected, uint64_t counter,
                    const unsigned char p[FLOW_HEAD]) MUST_CHECK;

/* The descriptor belongs to the flow. */
void flow_open(struct flow *f, int fd, enum plane_protect protect,
               const unsigned char tx[CRYPT_KEY],
               const unsigned char rx[CRYPT_KEY]);
void flow_close(struct flow *f);

static inline bool flow_sending(const struct flow *f)
{
    return f->tx.busy;
}
static inline bool flow_receiving(const struct flow *f)
{
    return f->rx.busy;
}
/* Begin a message; data stay as they are until it is sent. */
void flow_send_begin(struct flow *f, const struct flow_head *h, void *data);
/* Begin to wait for one of n messages. */
void flow_receive_begin(struct flow *f, const struct flow_place *p, int n);
/* 1: the message is through (and proved right; place[got] is which); 0: the socket
 * is full or empty; -1: ERR_PEER the connection is lost or forged, ERR_CONFIG see
 * above. */
int flow_send(struct flow *f) MUST_CHECK;
int flow_receive(struct flow *f) MUST_CHECK;

#endif
