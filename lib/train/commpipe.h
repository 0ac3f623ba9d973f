/*
 * commpipe.h - inside the communicator over two descriptors.
 *
 * The caller (commpipe.c) queues requests and waits for what they bring; two
 * threads (commframe.c) write them as frames to allreduce-ring and take its
 * answers. All three meet in struct pipe_comm under its lock. The first failure
 * counts and is what everybody gets from then on.
 *
 * A bucket is written from where the caller has it to the frame, or to its slot in
 * shared memory (io/slots.h), and its sum comes back the same way, unless the caller
 * has it in its slot from the start. Nobody touches the caller's memory once the run
 * has failed (pipe_copy).
 */
#ifndef TRAIN_COMMPIPE_H
#define TRAIN_COMMPIPE_H

#include "train/comm.h"

#include "io/slots.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define PIPE_QUEUE (COMM_BUCKETS + 8)
_Static_assert(COMM_BUCKETS == SLOTS_BUCKETS, "as many buckets");
#define PIPE_GRACE_MS 2000 /* for the reason to come when writing failed */

enum pipe_kind {
    HELLO,
    GRAD,
    REDUCE,
    BCAST,
    BARRIER,
    END,
    FAILURE,
    SCATTER, /* slices of buckets */
    GATHER
};

/* A request on its way to the ring. */
struct pipe_request {
    enum pipe_kind kind;
    int bucket; /* bucket, operation or root */
    int64_t step;
    void *data;
    int64_t count; /* elements or bytes */
    const char *name;
    int64_t at;    /* of the bucket in the shared arena, or -1 */
    int64_t whole; /* elements of a bucket of which data is the part */
    int64_t first; /* from that one on */
};

enum pipe_state {
    IDLE,
    POSTED,
    SUMMED
};

struct pipe_bucket {
    enum pipe_state state;
    float *sum; /* where the answer goes, and how much of it */
    int64_t numel;
    unsigned number; /* of its request */
    int64_t at;      /* in the shared memory, or -1 */
    int64_t first;   /* element of it that the answer begins with */
};

struct pipe_comm {
    struct comm c;
    int fd_in, fd_out;
    int64_t timeout_ms;
    const char *layout, *recipe; /* during hello */
    int64_t samples;
    pthread_t reader, writer;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake;
    struct slots slots;
    struct pipe_request queue[PIPE_QUEUE];
    unsigned head, tail; /* numbers of requests: next to write, next free */
    struct pipe_bucket bucket[COMM_BUCKETS];
    struct pipe_request sync; /* the request that is waited for */
    unsigned sync_number;
    bool answered;
    bool stopping; /* the writer ends when its queue is empty */
    int running;   /* threads */
    int copying;   /* of them */
    bool failed;
    enum err_class class;
    char text[2048];
    struct pipe_comm *next; /* in stuck */
};

/* The error that is set is the end; the first one counts. */
void pipe_fail(struct pipe_comm *p);
/* Wait under the lock; false once the deadline (NULL: none) has passed. */
bool pipe_wait_until(struct pipe_comm *p, const struct timespec *deadline);
/* Numbers to or from the shared memory. Not once the run has failed: its owner
 * may take the caller's memory away, and waits only for a copy that has begun. */
int pipe_copy(struct pipe_comm *p, void *to, const void *from,
              int64_t n) MUST_CHECK;
/* Is g the place in the arena of element first of the bucket at `at`? */
bool pipe_lies(const struct pipe_comm *p, const float *g, int64_t at,
               int64_t first);
/* A thread has ended, or a copy. */
void pipe_one_less(struct pipe_comm *p, int *count);

/* The threads; the argument is the struct pipe_comm. */
void *pipe_writer(void *arg);
void *pipe_reader(void *arg);

#endif
