/*
 * stop.h - signals as flags that the loops look at.
 *
 * INT: finish the step, commit a checkpoint, end with 130; a second INT dies at
 * once. TERM, USR1, HUP: commit and end with 75 (HUP stays ignored where nohup
 * ignored it). USR2: commit and go on. If a safe point is not reached within
 * the grace period the process dies of the signal, as if nothing were caught.
 */
#ifndef TRAIN_STOP_H
#define TRAIN_STOP_H

#include "util/err.h"

enum {
    STOP_INT = 1,
    STOP_TERM = 2,
    STOP_SAVE = 4
};

/* grace in seconds, 0: for ever. Ignores SIGPIPE. */
int stop_install(int grace) MUST_CHECK;
/* The flags raised so far. */
int stop_flags(void);
/* Lower flags that have been served. */
void stop_clear(int flags);

#endif
