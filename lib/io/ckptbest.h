/*
 * ckptbest.h - the best checkpoint of a run by a score of its evaluation.
 *
 *	RUN/ckpt/best/
 *	    rank-*.safetensors state.json     those of the step, the same bytes
 *	    score.json                        {"by":"top1","score":{...},"step":120}
 *
 * It is a directory of its own whose files are links to those of the step (copies
 * where the file system has no links), so that whoever prunes steps need not know
 * of it. It is made under the hidden name .best.tmp and takes the place of the one
 * before by one rename: there is always a whole one. Those who offer a step take
 * turns by a lock on RUN/ckpt, for 10 s at most; training takes no part in that.
 */
#ifndef IO_CKPTBEST_H
#define IO_CKPTBEST_H

#include "util/json.h"

#include <stdbool.h>
#include <stdint.h>

struct ckpt_best {
    int64_t step; /* -1: there is none */
    char by[40];  /* the key that decides */
    double value; /* under it */
};

/* The best one below dir (RUN/ckpt). ERR_DATA if what is there is damaged. */
int ckpt_best_read(const char *dir, struct ckpt_best *b) MUST_CHECK;
/*
 * Make the checkpoint in the directory path the best one below dir, if the number
 * of score, an object, under the key by is larger than that of the best so far, or
 * if it is that step with a new score. 1: it is the best now; 0: it is not; -1:
 * ERR_DATA, the score has no such number or path is no whole checkpoint;
 * ERR_CONFIG, the best so far has no such number; ERR_PEER, the lock was held for
 * 10 s. *was: the best before.
 */
int ckpt_best_offer(const char *dir, const char *path, const char *by,
                    const json_t *score, struct ckpt_best *was) MUST_CHECK;

#endif
