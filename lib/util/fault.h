/*
 * fault.h - moments of a program at which a test may hurt it.
 *
 *	fault_step(7);              from here on it is step 7
 *	fault_point("ckpt.rename"); a checkpoint is written and not yet there
 *
 * Both do nothing in a program that is built to be used. `make tests` links some
 * programs once more, in bin/t/faulty, with t/lib/fault.c in place of fault.c:
 * these obey the variable ACCEL_FAULT, which the others refuse.
 *
 * Phases of accel-worker: start, data, forward, backward, reduce, step, ckpt
 * (.begin, .write, .rename, .renamed, .prune, .pruned), end, predict; of
 * allreduce-ring: ring (.join, .start, .add, .leave); of accel-launch: launch
 * (.start, .watch, .pause); of imgshard feed: feed (.start, .batch, .end); of
 * ckpt-merge: merge, best (.renamed). Whoever writes a file of tensors passes file
 * (.half, .rename); whoever lends memory passes lend (.meet, .given, .offer,
 * .back), and who borrows it borrow (.meet, .mapped, .taken, .back).
 */
#ifndef UTIL_FAULT_H
#define UTIL_FAULT_H

#include <stdint.h>

void fault_step(int64_t step);
void fault_point(const char *phase);
/* The variable that says what shall happen; "" where none is obeyed. */
extern const char fault_variable[];

#endif
