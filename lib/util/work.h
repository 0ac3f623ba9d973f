/*
 * work.h - threads: a parallel for, a task, and an ordered bounded pipeline.
 *
 * None lets the number of threads change a result: work items know their number,
 * and the pipeline hands results on in the order of the items.
 */
#ifndef UTIL_WORK_H
#define UTIL_WORK_H

#include "util/err.h"

#include <pthread.h>
#include <stddef.h>

/* pthread_create, and the thread takes no signals but of faults of its own: they
 * go to the one that waits for them, or end the process as they did before. 0, or a
 * number of errno. */
int work_thread(pthread_t *t, void *(*fn)(void *arg), void *arg) MUST_CHECK;

/* CPUs this process may run on: affinity mask and cgroup quota, at least 1. */
int work_cpus(void);

/*
 * fn(arg, i, t) for i = 0..n-1 on up to threads threads; t < threads numbers
 * the thread, for scratch memory. fn returns 0 or -1 with an error; the failure
 * of the lowest i that failed is the one reported (as the caller's error), and
 * items after it may not have run.
 */
int work_for(size_t n, int threads, int (*fn)(void *arg, size_t i, int t),
             void *arg) MUST_CHECK;

/*
 * fn(arg) behind the caller's back, on a thread of its own; NULL if there is
 * none to be had. work_join waits for it and returns what it returned; its error
 * is the caller's then. Every task must be joined.
 */
struct work_task;
struct work_task *work_begin(int (*fn)(void *arg), void *arg);
int work_join(struct work_task *t) MUST_CHECK;

/*
 * Pipeline of three stages over items of the caller:
 *	next(arg, item)     serial, in order: fill the item; 1, or 0 at the end
 *	work(arg, item, t)  any thread t < threads, any order
 *	done(arg, item)     serial, in the order of next
 * There are n_items items in flight at most; items[i] is the address of each
 * and belongs to the caller, who may find scratch memory kept in them. next runs
 * on a thread of its own, done on the calling thread. Each returns -1 with an
 * error to stop everything; the error of the earliest item wins. Returns 0 when
 * next said end and all items are done.
 */
struct work_stages {
    int (*next)(void *arg, void *item);
    int (*work)(void *arg, void *item, int t);
    int (*done)(void *arg, void *item);
    void *arg;
};
int work_pipeline(const struct work_stages *s, void **items, int n_items,
                  int threads) MUST_CHECK;

#endif
