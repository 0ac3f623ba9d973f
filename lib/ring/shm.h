/*
 * shm.h - the shared memory of the ranks of one host: requests, gradients,
 * sums, and the word that ends the run.
 *
 * Two sealed memfds per run and host, made by its leader (the first rank of the
 * host). One holds for each rank of the run a page of counters and a table of
 * requests, and no worker ever sees it. The other holds for each rank of this
 * host (local) an arena for its gradients, and for all one region of sums and one
 * of broadcast data: numbers only, so that a worker that has it (io/slots.h) can
 * spoil sums and nothing else. It is sparse: regions are as large as the machine
 * could ever use and only pages touched count.
 *
 * What ranks of other hosts ask and have done is written into the table by the
 * leader (mirror.h). It learns of news from the bell, a descriptor that rings
 * with every counter that a local rank moves; there is none in a run on one
 * host.
 *
 * Requests are numbered 1, 2, ... on each rank; all ranks make the same ones in
 * the same order. Request k of rank r passes three counters, each written by
 * one thread of ring process r and waited for by anybody:
 *	ready[r] >= k   r's request and its data are in the memory
 *	done[r] >= k    r has added its slice / looked at all requests k
 *	sent[r] >= k    r has handed the answer to its worker
 * Invariant: rank r writes its gradient slot of request k+1 only after its
 * worker has the answer k, hence after all are done with k; and an owner writes
 * the sums of a slot only when all ranks are ready for it again, hence when all
 * workers have the former sums.
 *
 * Method (slice owner): the r-th of L local ranks adds elements [n*r/L,
 * n*(r+1)/L), rounded to 16, over the arenas in the order of the ranks in fp32.
 * Timing and the choice of owner change no bit, and all ranks read the same
 * memory.
 *
 * Abort: the first to call shm_abort leaves class, rank and sentence; all waits
 * return within 100 ms with it.
 */
#ifndef RING_SHM_H
#define RING_SHM_H

#include "ring/roster.h"
#include "util/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHM_RANKS ROSTER_RANKS
#define SHM_OPS 8192     /* requests under way of one rank at most */
#define SHM_NUMBERS 4096 /* f64 of one small reduction */
#define SHM_HEX 72

enum shm_kind {
    OP_HELLO,
    OP_GRAD,
    OP_REDUCE,
    OP_BCAST,
    OP_BARRIER,
    OP_END,
    OP_SCATTER, /* as OP_GRAD, but each rank wants its share only */
    OP_GATHER,  /* each rank has its share, all want the whole */
    OP_KINDS
};

struct shm_op {
    uint32_t kind;   /* enum shm_kind */
    uint32_t arg;    /* bucket, operation or root */
    uint64_t count;  /* elements or bytes */
    uint64_t offset; /* in the arenas; known to each rank by itself */
    int64_t step;
    _Atomic uint32_t bad; /* a sum of this owner was not finite */
    uint32_t slot;        /* this rank's worker shares memory (io/slots.h) */
    char name[80];
};

/* A counter alone on its cache line. */
struct shm_count {
    _Atomic uint32_t v;
    _Atomic uint32_t sleepers; /* at least so many must be woken */
    _Atomic int cpu;           /* where it was moved last, from 1 */
    char pad[52];
};

struct shm_rank {
    struct shm_count ready, done, sent;
    _Atomic uint32_t ended; /* its end request is done */
    _Atomic int64_t step;   /* of its last gradients, -1 before */
    int32_t ring_pid;
    _Atomic int32_t worker_pid;
    int64_t samples;
    char layout[SHM_HEX], recipe[SHM_HEX];
};

enum shm_part {
    SHM_TABLE,
    SHM_DATA,
    SHM_PARTS
};

struct shm {
    int fd[SHM_PARTS], rank, world;
    int bell;    /* eventfd, or -1 */
    int n_local; /* ranks of this host, with arenas */
    size_t bytes[SHM_PARTS], arena_bytes;
    struct shm_head *head;
    char *base[SHM_PARTS];
};
#define SHM_INIT                                                               \
    {                                                                          \
        {-1, -1}, 0, 0, -1, 0, {0, 0}, 0, NULL,                                \
        {                                                                      \
            NULL, NULL                                                         \
        }                                                                      \
    }

/* Make the memory of a host, as its first rank; of the only host; or map the
 * one received, whose descriptors are the caller's still when that fails. A bell
 * is made or handed over where there are more hosts. */
int shm_create_host(struct shm *s, const struct roster *r, int host) MUST_CHECK;
int shm_create(struct shm *s, int world) MUST_CHECK;
int shm_attach(struct shm *s, const int fd[SHM_PARTS], int rank,
               int world) MUST_CHECK;
void shm_release(struct shm *s);

const struct roster *shm_roster(const struct shm *s);
int shm_host(const struct shm *s);            /* this one, in the roster */
int shm_local(const struct shm *s, int i);    /* the i-th rank of this host */
int shm_index(const struct shm *s, int rank); /* its i, -1 on another host */

struct shm_rank *shm_rank(const struct shm *s, int rank);
struct shm_op *shm_op(const struct shm *s, int rank, uint32_t k);
double *shm_numbers(const struct shm *s, int rank); /* [SHM_NUMBERS] */
float *shm_arena(const struct shm *s, int rank);    /* of a local rank */
float *shm_sums(const struct shm *s);
char *shm_bcast(const struct shm *s);
/* Bytes of an arena, of the sums and of the broadcast region. */
size_t shm_room(const struct shm *s);
/* Byte offset in SHM_DATA of something that lies there. */
uint64_t shm_data_at(const struct shm *s, const void *p);

/* Store k (release) and wake who sleeps; who still looks needs no system call. */
void shm_post(struct shm_count *c, uint32_t k);
enum shm_counter {
    SHM_READY,
    SHM_DONE,
    SHM_SENT
};
struct shm_count *shm_count(const struct shm *s, enum shm_counter which,
                            int rank);
/* What a rank has done so far: at every moment sent <= done <= ready, and here
 * as well, whoever moves them meanwhile. */
struct shm_counts {
    uint32_t ready, done, sent;
};
struct shm_counts shm_counts(const struct shm *s, int rank);
/* Post this rank's own counter and ring. */
void shm_advance(const struct shm *s, enum shm_counter which, uint32_t k);
/* Until that counter of all ranks (of the local ones, of one, or a counter by
 * itself) is >= k; -1 with the error of shm_abort once there is one. */
int shm_wait(const struct shm *s, struct shm_count *c, uint32_t k) MUST_CHECK;
int shm_wait_local(const struct shm *s, enum shm_counter which,
                   uint32_t k) MUST_CHECK;
int shm_wait_all(const struct shm *s, enum shm_counter which,
                 uint32_t k) MUST_CHECK;
int shm_wait_one(const struct shm *s, enum shm_counter which, int rank,
                 uint32_t k) MUST_CHECK;

/* Add this rank's slice of n elements at a byte offset of the arenas into the
 * sums; returns whether all sums of the slice are finite. */
bool shm_add_slice(const struct shm *s, size_t offset, uint64_t n);
/* Copy elements [from, end) of a bucket of n at that offset into the sums, each
 * from the arena of the local rank whose share (roster.h) it is in. */
void shm_take_shares(const struct shm *s, size_t offset, uint64_t n,
                     uint64_t from, uint64_t end);
/* First and end element of a rank's slice (ctl.h). */
void shm_slice(uint64_t n, int rank, int world, uint64_t *first, uint64_t *end);

/* Leave the cause; the first wins, true if it was this one. The bell rings. */
bool shm_abort(const struct shm *s, enum err_class c, int origin,
               const char *text);
bool shm_aborted(const struct shm *s);
/* Until somebody aborts, at most ms; -1 with that error, else 0. For those who
 * see a connection break and leave the verdict to others. */
int shm_wait_abort(const struct shm *s, int ms) MUST_CHECK;
/* The cause, once shm_aborted: class, rank it began with, sentence. */
enum err_class shm_cause(const struct shm *s, int *origin, const char **text);

#endif
