/*
 * tune.h - which form of a convolution: by rule, from an earlier trial, or from
 * one that is made now. For engine.c only.
 *
 * A trial computes the convolution in every form on memory of its own, in turns,
 * on the host with a part of a large batch, and takes the fastest; one that is
 * not faster than the usual form by a seventh is not taken, and one that is a third
 * slower than another is not run again. Time is the host's, or a device's own, its
 * caches cold (conv_time), where a twentieth is enough. What is found is kept
 * (plancache.h) for all batch sizes up to the next power of two, so that a batch
 * that is not full needs no trial of its own.
 *
 * So the choice, and with it the last bits of results, is the same for all ranks
 * of a machine and in every later run, until the file is deleted.
 */
#ifndef ENGINE_TUNE_H
#define ENGINE_TUNE_H

#include "engine/engine.h"

struct tune;

/* NULL for TUNE_OFF, and where the engine has no choice. */
struct tune *tune_open(const struct engine_ops *ops, void *dev,
                       enum engine_tune mode);
void tune_close(struct tune *t); /* NULL allowed */
/* The form to plan d in; NULL: by rule. Lent until the next call. Where it takes
 * long to ask which forms there are, what the file says is believed; again: it
 * was not to be had. */
const char *tune_form(struct tune *t, const struct conv_desc *d, bool again);
/* See engine_choices. */
void tune_choices(const struct tune *t, char hex[33], int *chosen,
                  int *untried);

#endif
