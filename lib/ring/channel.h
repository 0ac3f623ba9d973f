/*
 * channel.h - sealed messages over a TCP connection that has logged in.
 *
 * First the head of the sender's stream (24 bytes), then messages: u32 length,
 * so many sealed bytes (crypt.h). A length beyond the limit is an error before
 * anything is allocated. Nothing blocks: what cannot be sent waits in memory.
 *
 *	channel_open(&c, fd, tx, rx);
 *	channel_put(&c, bytes, n);
 *	after poll(fd, channel_events(&c)): channel_flush(&c), and
 *	while ((r = channel_get(&c, &message)) > 0) ...
 */
#ifndef RING_CHANNEL_H
#define RING_CHANNEL_H

#include "ring/crypt.h"
#include "util/buf.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

struct channel {
    int fd;
    struct crypt_stream push, pull;
    unsigned char rx[CRYPT_KEY];
    bool pulling; /* the head of the other side has come */
    struct buf out, in;
    size_t out_at, in_at; /* what is settled already */
    int64_t heard, said;  /* clock_ms() of the last bytes */
};

/* The descriptor belongs to the channel from now on. */
void channel_open(struct channel *c, int fd, const unsigned char tx[CRYPT_KEY],
                  const unsigned char rx[CRYPT_KEY]);
void channel_close(struct channel *c);
void channel_put(struct channel *c, const void *p, size_t n);
/* Send what the socket takes. ERR_PEER when the connection is gone. */
int channel_flush(struct channel *c) MUST_CHECK;
bool channel_idle(const struct channel *c); /* nothing waits to be sent */
/* 1: a message replaces what is in m; 0: none yet; -1: ERR_PEER, closed or
 * forged. */
int channel_get(struct channel *c, struct buf *m) MUST_CHECK;
short channel_events(const struct channel *c);
/* Send all and get one message, until a deadline; for the time of joining. */
int channel_send_all(struct channel *c, int64_t deadline) MUST_CHECK;

#endif
