/*
 * slots.h - gradients in shared memory between a worker and its allreduce-ring.
 *
 * Where both ends can, the numbers of a bucket do not pass the pipe (ctl.h): the
 * worker has inherited a descriptor of sealed memory, writes gradients to a slot
 * of its arena there and reads the sums where the ring has added them; frames
 * only say which slot. Where one cannot, frames carry the numbers. No frame
 * decides where anybody reads or writes: the slot of a bucket follows from the
 * buckets so far, both ends work it out, and one that says another is wrong.
 *
 *	struct slots s;
 *	slots_init(&s, room);
 *	slots_offered(&hello, &offer)           worker: what the ring offers
 *	slots_map(&s, &offer)
 *	slots_place(&s, bucket, bytes, &at)     both: for each bucket, in order
 *	slots_release(&s);
 */
#ifndef IO_SLOTS_H
#define IO_SLOTS_H

#include "io/frame.h"
#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOTS_BUCKETS 4096 /* bucket numbers are below this */

struct slot {
    size_t offset, bytes;
};

struct slots {
    struct slot *slot; /* [SLOTS_BUCKETS] */
    size_t used, room;
    char *arena;      /* [room] of the worker, once mapped, else NULL */
    const char *sums; /* [room] */
};

/* Where the parts lie in the memory behind a descriptor. */
struct slots_offer {
    int fd;
    uint64_t arena, sums, room; /* bytes, whole pages */
};

/* Not if the environment says off (ctl.h). */
bool slots_allowed(void);
/* What the hello of a ring offers: 1, 0 if nothing, ERR_DATA. */
int slots_offered(const struct frame *hello, struct slots_offer *o) MUST_CHECK;
void slots_init(struct slots *s, size_t room);
void slots_release(struct slots *s);
/*
 * The slot of a bucket: that of last time if it is large enough, else new bytes
 * behind all others, a multiple of 64. The same for all who place the same buckets
 * in the same order. ERR_SYSTEM when there is no room.
 */
int slots_place(struct slots *s, int64_t bucket, size_t bytes,
                size_t *offset) MUST_CHECK;
/*
 * Map arena (to write) and sums (to read) and take over the room. The descriptor
 * stays the caller's. ERR_UNAVAILABLE when it is not there or is not memory that
 * is sealed against shrinking and holds all that is offered.
 */
int slots_map(struct slots *s, const struct slots_offer *o) MUST_CHECK;

#endif
