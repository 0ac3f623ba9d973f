/*
 * signals.h - signals that a supervisor takes from a descriptor.
 *
 * TERM, INT, HUP, USR1 and USR2 are blocked and come out of a signalfd, so that
 * a loop that polls sees them in order with everything else. HUP is left alone
 * where it is ignored, as nohup wishes. PIPE is ignored: a write that fails says
 * so. Processes that are started get the mask of before.
 */
#ifndef UTIL_SIGNALS_H
#define UTIL_SIGNALS_H

#include "util/err.h"

#include <signal.h>
#include <stdbool.h>

/*
 * children: SIGCHLD, too. old: the mask of before. A non-blocking signalfd that
 * is closed on exec, or -1 (ERR_SYSTEM).
 */
int signals_open(sigset_t *old, bool children) MUST_CHECK;
/* TERM, USR1, HUP: save and end in order. */
bool signals_stop(int sig);
/* Ignored since the start, as HUP under nohup? */
bool signals_ignored(int sig);
/*
 * In a child, before its program: signals as at the start, but INT even where a
 * shell has it ignored, for it is passed on; a group of its own, so that those of
 * a terminal come once; it gets `death` when its parent ends. mask: that of
 * signals_open. False: the parent has ended already.
 */
bool signals_child(pid_t parent, int death, const sigset_t *mask) MUST_CHECK;

#endif
