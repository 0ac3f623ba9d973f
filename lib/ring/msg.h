/*
 * msg.h - what the hosts of a run tell each other: one message, as bytes.
 *
 * The control plane is a star: the first rank of each host (its leader) has one
 * sealed channel to rank 0, which hands everything on. Requests and counters of
 * the ranks of a host are told to all others, so that every host has the same
 * table in its shared memory (mirror.h).
 *
 *	JOIN	host -> rank 0	name, address, ranks, ports, settings
 *	ROSTER	rank 0 -> hosts	who runs where
 *	OP	a request of a rank, with its numbers
 *	DATA	a piece of a broadcast, before its OP
 *	COUNT	a rank has done or sent its request k
 *	BEAT	nothing new, still here
 *	ABORT	the run ends: class, rank it began with, sentence
 *
 * Numbers are little-endian, texts have a length of two bytes. msg_take checks
 * everything that can be checked without knowing the run: limits, lengths, no
 * byte left over. What comes out points into the bytes. Fuzzed.
 */
#ifndef RING_MSG_H
#define RING_MSG_H

#include "ring/roster.h"
#include "ring/shm.h"
#include "util/buf.h"

#include <stdint.h>

#define MSG_BYTES 262144 /* longest message */
#define MSG_DATA_BYTES 131072

enum msg_type {
    MSG_JOIN = 1,
    MSG_ROSTER,
    MSG_OP,
    MSG_DATA,
    MSG_COUNT,
    MSG_BEAT,
    MSG_ABORT
};

struct msg_join {
    struct roster_host host;
    uint32_t world, streams; /* streams 0: as many as help */
    uint8_t wire, protect;
    uint32_t n; /* ranks of the host */
    uint32_t rank[ROSTER_RANKS];
    uint16_t port[ROSTER_RANKS];
};

struct msg_op {
    uint32_t rank, k;
    struct shm_op op; /* offset and bad are not told */
    uint32_t n_numbers;
    const unsigned char *numbers; /* see msg_number */
    int64_t samples;              /* of OP_HELLO, with the next two */
    char layout[SHM_HEX], recipe[SHM_HEX];
};

struct msg {
    enum msg_type type;
    union {
        struct msg_join join;
        struct roster roster;
        struct msg_op op;
        struct {
            uint32_t rank, n;
            uint64_t offset;
            const unsigned char *bytes;
        } data;
        struct {
            uint32_t rank, which, k; /* enum shm_counter */
        } count;
        struct {
            int32_t class, origin;
            char text[2048];
        } abort;
    };
};

/* Append the bytes of a message; of MSG_OP, numbers are [n_numbers] doubles. */
void msg_put(struct buf *b, const struct msg *m);
/* ERR_PEER for bytes that are no message. */
int msg_take(struct msg *m, const void *p, size_t n) MUST_CHECK;
double msg_number(const struct msg_op *op, uint32_t i);

#endif
