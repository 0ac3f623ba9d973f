/*
 * samplelog.h - which samples a rank has learned from.
 *
 *	RUN/samples-RANK.tsv    step, epoch, position in the epoch, number of the sample
 *
 * One line for each sample, appended as a step takes it. A run that was interrupted
 * takes some steps twice, with the same samples: the lines of all ranks, sorted and
 * each once, are those of the run that was not, whatever the number of ranks.
 */
#ifndef TRAIN_SAMPLELOG_H
#define TRAIN_SAMPLELOG_H

#include "train/input.h"
#include "util/err.h"

#include <stdint.h>

/* The descriptor, to be closed by the caller; -1 with an error. */
int samplelog_open(const char *dir, int rank) MUST_CHECK;
int samplelog_add(int fd, int64_t step, const struct input_batch *b) MUST_CHECK;

#endif
