/*
 * sched.h - the learning rate as a pure function of progress.
 *
 * Nothing "steps": the rate of the optimizer step that begins when `samples`
 * samples have been consumed depends on the recipe and on that number, not on
 * ranks, accumulation or interruptions. `accel-worker train --print-lr` prints
 * it for a whole run.
 *
 * With e = progress in epochs (its whole part where SOLVER.PER_EPOCH) and w =
 * SOLVER.WARMUP_EPOCHS:
 *   e < w    linear:   base*(f + (1-f)*e/w)      constant: base*f
 *   then, t = e, or e - w with SOLVER.WARMUP_SHIFT (T likewise),
 *   step     base*gamma^(number of steps <= t); one number s: floor(t/s)
 *   cosine   min + (base-min)*(1+cos(pi*t/T))/2
 *   poly     min + (base-min)*(1-t/T)^power
 * Without the shift a warm-up only scales down the beginning: cosine and poly
 * then run over the whole length. Source: pytorch torch/optim/lr_scheduler.py,
 * restated in closed form.
 */
#ifndef TRAIN_SCHED_H
#define TRAIN_SCHED_H

#include "io/recipe.h"

#include <stdint.h>

/* The rate of the step that begins at progress number samples. */
double sched_lr(const struct recipe *r, const struct recipe_batch *b,
                int64_t samples);

#endif
