/*
 * comm.h - what the ranks of a run say to each other: sums of gradient
 * buckets, small reductions, broadcasts, barriers.
 *
 * Every rank makes the same calls in the same order (comm_start and comm_wait
 * of buckets included); the other side checks it. Sums are fp32, added in rank
 * order 0..world-1, and every rank gets the same bits, whatever the timing.
 *
 *	c = comm_pipe(CTL_FD_IN, CTL_FD_OUT, layout, recipe, samples, 600000);
 *	if (!c)
 *		die();
 *	for each step:
 *		c->step = step;
 *		for each bucket b, as soon as its last gradient is there:
 *			comm_start(c, COMM_ALL, b, g[b], numel[b]);
 *		for each bucket b, in the order they were started:
 *			comm_wait(c, b);        g[b] holds the sum
 *		comm_reduce(c, COMM_SUM, &loss, 1);
 *	comm_end(c);                            everybody is done
 *	comm_free(c);
 *
 * Failure: once a peer is lost, a deadline has passed or a descriptor broke,
 * every call returns -1 at once, then and for ever, with the sentence and the
 * class of the root cause where the ring knew it and ERR_PEER where not. The
 * program ends then without saving.
 *
 * One thread of the caller uses a communicator; comm_failed may be called from
 * any. The pipe communicator runs a reader and a writer of its own, so that
 * neither direction ever waits for the other and a failure is seen at once.
 */
#ifndef TRAIN_COMM_H
#define TRAIN_COMM_H

#include "engine/engine.h"
#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What becomes of a bucket. */
enum comm_what {
    COMM_ALL,     /* every rank gets the whole sum */
    COMM_SCATTER, /* each rank the sum of its slice */
    COMM_GATHER,  /* nothing is added: each gives its slice, all get all */
    COMM_MEAN     /* every rank gets the sum over the number of ranks */
};

enum comm_op {
    COMM_SUM,
    COMM_MIN,
    COMM_MAX
};

#define COMM_BUCKETS 4096    /* bucket numbers are below this */
#define COMM_REDUCE_MAX 4096 /* numbers in one comm_reduce */

struct comm_ops;

struct comm {
    int rank, world;
    int share;    /* number of the slice of this rank (ctl_slice, io/ctl.h) */
    int64_t step; /* set by the caller; goes into messages */
    const struct comm_ops *ops;
    /*
     * Memory that buckets go through (io/slots.h), zero at first; room 0: none.
     * Buckets that lie in the arena are not copied: their sums appear in sums, in
     * the same place, and stay until the bucket is started again. They are the
     * first that a run starts, 0, 1, 2 ..., one behind the other without gaps, each
     * a multiple of 16 elements, and always the same.
     */
    struct comm_shared {
        float *arena;
        const float *sums; /* may be the same memory */
        size_t room;       /* bytes of each */
    } shared;
    struct { /* comm.c: a mean that is under way */
        float *g;
        int64_t numel;
        int bucket;
    } mean;
};

/* One rank alone: sums are what is there already. Never fails. */
struct comm *comm_null(void);
/*
 * Over two descriptors, usually CTL_FD_IN and CTL_FD_OUT (io/ctl.h): says
 * hello and waits until all ranks have joined and agree. layout and recipe are
 * digests in hex, samples the progress this rank starts from; a run where
 * these differ is ERR_CONFIG. timeout_ms bounds every wait, 0: for ever.
 * The descriptors stay the caller's but are made close-on-exec. Buckets go
 * through memory that the ring shares where it offers some that can be had, else
 * through the pipe. NULL with an error; SIGPIPE must be ignored.
 */
struct comm *comm_pipe(int fd_in, int fd_out, const char *layout,
                       const char *recipe, int64_t samples,
                       int64_t timeout_ms) MUST_CHECK;
/*
 * On top of comm, which it takes: buckets are in the memory of engine e. If that
 * is the host's, this is comm itself. Else either the device adds them with the
 * devices of the other ranks (engine_team), by its own order, or copies of them
 * go to comm and back, while the network works on; the bits are those of comm
 * then. All ranks call it together. ERR_CONFIG where two ranks have one device and
 * none may.
 */
enum comm_by {
    COMM_AUTO, /* by the device if it can, on all ranks; says why it cannot */
    COMM_RING, /* by comm */
    COMM_NCCL  /* by the device, ERR_UNAVAILABLE if it cannot */
};
struct comm_device_options {
    enum comm_by by;
    enum dtype wire; /* F32, BF16, F16: what travels when the device adds */
    int64_t timeout_ms;
    bool share; /* ranks may have the same device: they take turns */
};
struct comm *comm_device(struct comm *comm, struct engine *e,
                         const struct comm_device_options *o) MUST_CHECK;
/* Does the program run under allreduce-ring? That sets ACCEL_RING and opens
 * CTL_FD_IN and CTL_FD_OUT. */
bool comm_available(void);

/* Post bucket (0..COMM_BUCKETS-1); g [numel] f32 belongs to the communicator until
 * comm_wait(bucket), and then holds the result, but for one that lies in the
 * shared arena. Of COMM_SCATTER the rest of g is undefined then; to COMM_GATHER own
 * slice of g is given. The bits of a sum are the same by each. One COMM_MEAN may be
 * under way. Never blocks on another rank. */
int comm_start(struct comm *c, enum comm_what what, int bucket, float *g,
               int64_t numel) MUST_CHECK;
int comm_wait(struct comm *c, int bucket) MUST_CHECK;
/* v [n] f64 in place, n <= COMM_REDUCE_MAX; sums in rank order. */
int comm_reduce(struct comm *c, enum comm_op op, double *v, int n) MUST_CHECK;
/* bytes of rank root to all, as they are; bytes is the same on every rank. They
 * go over the control plane: made for what is said once, such as the identifier
 * of 128 bytes by which NCCL's ranks find each other (ncclGetUniqueId). */
int comm_bcast(struct comm *c, int root, void *p, size_t bytes) MUST_CHECK;
/* name is checked against the other ranks' and shown when one is missing. */
int comm_barrier(struct comm *c, const char *name) MUST_CHECK;
/* The last call of a run that went well (or stopped early in order): waits
 * until all ranks have called it. */
int comm_end(struct comm *c) MUST_CHECK;
/* Tell the ring that this rank gives up, with the error that is set, so that
 * the other ranks report the root cause. For use just before die(). */
void comm_abort(struct comm *c);
void comm_free(struct comm *c); /* NULL allowed */

/* Has it failed? Does not wait and does not set an error. For long phases
 * without communication (data wait, evaluation). */
bool comm_failed(struct comm *c);

/* What an implementation provides; for comm.c, commpipe.c and the engines'. */
struct comm_ops {
    int (*start)(struct comm *c, enum comm_what what, int bucket, float *g,
                 int64_t numel);
    int (*wait)(struct comm *c, int bucket);
    int (*reduce)(struct comm *c, enum comm_op op, double *v, int n);
    int (*bcast)(struct comm *c, int root, void *p, size_t bytes);
    int (*barrier)(struct comm *c, const char *name);
    int (*end)(struct comm *c);
    void (*abort)(struct comm *c);
    bool (*failed)(struct comm *c);
    void (*free)(struct comm *c);
    bool means; /* start knows COMM_MEAN */
};

#endif
