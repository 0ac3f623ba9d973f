/*
 * launchrank.h - the parts of the launcher: one rank, and the hub where the
 * rings of the ranks report. Used by launch.c only.
 */
#ifndef IO_LAUNCHRANK_H
#define IO_LAUNCHRANK_H

#include "io/rankout.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/ranks.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct launch_rank {
    pid_t pid; /* of the leader and its group; 0: not started */
    int fd[2]; /* its stderr and, but for rank 0, its stdout; -1: ended */
    struct rankout out;
    bool ended;
    bool hollow;     /* a signal ended the leader, its ring goes on */
    int status;      /* 128 + n for a signal */
    bool after;      /* ended after the launcher had asked it to */
    int64_t said_at; /* when its ring said its status and ended, 0: not yet */
    bool pressed;    /* then asked to end, since something hangs on */
};

struct launch_start {
    struct ranks place; /* of the rank; its run is ACCEL_RUN_ID */
    int attempt;
    const char *rdzv, *launch, *logdir;
    const sigset_t *mask; /* signal mask of the ranks */
    char **argv;
};

void launch_rank_init(struct launch_rank *k);
void launch_rank_release(struct launch_rank *k);
int launch_rank_start(struct launch_rank *k,
                      const struct launch_start *s) MUST_CHECK;
/* Pass on what is there in stream 0 or 1. */
void launch_rank_read(struct launch_rank *k, int stream);
/* A signal to each child of this process; there are only leaders and orphans
 * that came to it. */
void launch_orphans(int sig);

/* ---- the hub */

struct launch_conn {
    int fd;
    pid_t pid;
    int rank; /* among those of this launcher, -1 until it has said */
    struct buf text;
};

struct launch_hub {
    int listener;
    struct launch_conn *conn;
    int n_conns;
    int first, n; /* ranks of this launcher: first to first + n - 1 */
    int *said;    /* [n] status of a rank by its ring, -1: not told */
    bool *met;    /* [n] has its ring been there? */
    int origin;   /* rank of the run the failure began with, -1: not told */
    int class;    /* enum err_class of it */
    char *cause;  /* sentence, or NULL */
};

int launch_hub_open(struct launch_hub *h, const char *address, int first,
                    int n) MUST_CHECK;
void launch_hub_close(struct launch_hub *h);
/* Fill p (if not NULL) with what to poll; returns how many. */
int launch_hub_fds(const struct launch_hub *h, struct pollfd *p);
void launch_hub_serve(struct launch_hub *h, const struct pollfd *p);
/* The ring process of rank first + r, 0: none has said hello. */
pid_t launch_hub_ring(const struct launch_hub *h, int r);

#endif
