/*
 * agree.h - whether ranks that train together still hold the same.
 *
 * Each rank applies the same sums to the same weights, so their bits are equal. If
 * they are not, memory or a program is broken, and what comes after is worthless.
 */
#ifndef TRAIN_AGREE_H
#define TRAIN_AGREE_H

#include "nn/params.h"
#include "train/comm.h"
#include "util/err.h"

/* Compare the weights of all ranks, all of whom call this; with one rank nothing is
 * done. ERR_INTERNAL where they differ, or what comm_reduce or the engine says. */
int agree_weights(const struct params *ps, struct comm *comm) MUST_CHECK;

#endif
