/*
 * serve.h - the requests of one worker, from its pipe to the sums and back.
 *
 * Three threads, so that no direction waits for another:
 *	reader	frames of the worker -> requests and data in the shared memory
 *	adder	per request: all ranks ready, compare, add (plane.h), done
 *	writer	per request: all ranks done, answer to the worker, sent
 * They meet only in the counters of shm.h. The reader waits for the writer only
 * where a worker asks for a bucket again before it has read the sums of the last
 * time: the memory has a place for every bucket, and one only.
 *
 * What ends a thread is noted in struct serve, and event becomes readable; the
 * supervisor (loop.h) looks and decides, since it knows how the worker died.
 */
#ifndef RING_SERVE_H
#define RING_SERVE_H

#include "io/slots.h"
#include "ring/plane.h"
#include "ring/shm.h"
#include "util/err.h"

#include <pthread.h>
#include <stdbool.h>

/* Why the reader has ended. */
enum serve_input {
    INPUT_OPEN,
    INPUT_END,    /* end frame: all is well */
    INPUT_CLOSED, /* end of file without one */
    INPUT_ERROR   /* the worker said why it gives up: class and text */
};

struct serve {
    struct shm *shm;
    const struct plane_kind *engine;
    struct plane *plane;
    int in, out; /* of the worker; closed by the threads */
    int event;   /* eventfd */
    int shared;  /* number of the data's descriptor for the worker, or -1 */
    pthread_t reader, adder, writer;
    pthread_mutex_t lock; /* of the rest */
    enum serve_input input;
    uint64_t frames;      /* read from the worker */
    enum err_class class; /* INPUT_ERROR and INPUT_CLOSED */
    char text[2048];
    bool output_closed; /* the worker does not read any more */
    int running;        /* threads */
    /* of one thread each */
    uint32_t n_requests, last_numbers, last_bcast;
    uint32_t last_bucket[SLOTS_BUCKETS]; /* request that asked for it last */
    struct slots slots;
    double *result; /* [SHM_NUMBERS] */
    uint32_t last_result;
    bool wants_slots; /* the worker; before request 1 is posted */
};

/* Where requests meet and who adds. */
struct serve_plane {
    struct shm *shm;
    const struct plane_kind *engine;
    struct plane *plane;
    int shared; /* the worker has SHM_DATA as this descriptor; -1: it has not */
};

/* Start the threads on descriptors that belong to them from now on. */
int serve_start(struct serve *v, const struct serve_plane *p, int in,
                int out) MUST_CHECK;
/* A worker that ended well without a word is one that had nothing to do: post
 * the end in its place. Only after INPUT_CLOSED with 0 frames. */
void serve_post_end(struct serve *v);
/* Wait for the threads, at most ms; false if one is still stuck. */
bool serve_stop(struct serve *v, int ms);

#endif
