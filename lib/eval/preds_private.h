/*
 * preds_private.h - what preds.c and predstext.c share. Nobody else includes
 * this.
 */
#ifndef EVAL_PREDS_PRIVATE_H
#define EVAL_PREDS_PRIVATE_H

#include "eval/preds.h"

/* One sample: scores of all n classes, or the n best classes in order. */
struct preds_row {
    enum dtype type; /* of scores */
    const void *scores;
    const int64_t *named;
    int64_t n, label;
};
/* Count it; with sets, the key ends in the number of the image. */
int preds_count(struct preds *p, const struct preds_row *row,
                const char *key) MUST_CHECK;
/* For fdio.h: when the wait that begins now is over. */
int64_t preds_deadline(const struct preds *p);
/* The whole of a text source, of which n_first bytes have been read. */
int preds_text(struct preds *p, int fd, const char *name, const char *first,
               size_t n_first) MUST_CHECK;

#endif
