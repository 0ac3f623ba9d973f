/*
 * launch.h - start the ranks of a run on this host, watch them, end them all.
 *
 * A launcher is one task of a run, usually the only one; each task starts n
 * ranks, so that rank i of task t is rank t n + i of the run. It knows of other
 * tasks only what its own ranks tell: they find each other at ACCEL_RDZV, those
 * of one host, and at ACCEL_MASTER.
 *
 * Each rank is a process group; its leader runs the command with the variables
 * RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE, the same with ACCEL_ in front,
 * ACCEL_RUN_ID, ACCEL_ATTEMPT, ACCEL_LAUNCH, and ACCEL_RDZV, the name of the
 * socket where the ranks of the host meet, random for each attempt if they are
 * all of this task. A leader gets TERM when the launcher dies, whatever kills
 * it.
 *
 * allreduce-ring connects to $ACCEL_LAUNCH and says "rank N"; from then
 * on the signals of that rank go to it alone, so that the shell and the feeder
 * of its pipeline live until its worker has ended. When a rank is lost, each
 * ring says "cause ORIGIN CLASS SENTENCE" before it ends: that is how the rank
 * reported is the one it began with. "status N" is its last word: what is left
 * of its group 2 s later is ended, and N is the status of the rank. The end of
 * the connection tells the ring that the launcher died.
 *
 * After the first failure: rings get 2 s to end by themselves, then every group
 * gets TERM, and KILL after the grace. Descendants that lost their parents come
 * to the launcher (it is their subreaper) and are ended, too.
 */
#ifndef IO_LAUNCH_H
#define IO_LAUNCH_H

#include "util/err.h"
#include "util/ranks.h"

#include <stdint.h>

#define LAUNCH_RANKS 1024

struct launch_options {
    int n;              /* ranks */
    struct ranks task;  /* this launcher among those of the run */
    int64_t retries;    /* restarts after 75, 76 and deaths by signal */
    int64_t grace_ms;   /* between TERM and KILL */
    const char *logdir; /* or NULL */
    int control;        /* where "signal N" lines come from, 0: nowhere; its
                           end, that of who started this, ends the ranks */
    char **argv;        /* the command, ended by NULL */
};

/*
 * Run to the end. The exit status: 0; that of the rank that failed first (128+n
 * for a signal); 75 if all that failed said so. -1 with an error if the ranks
 * could not be started. Reports go to stderr.
 */
int launch_run(const struct launch_options *o) MUST_CHECK;

#endif
