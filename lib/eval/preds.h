/*
 * preds.h - predictions of one data set, from any number of sources.
 *
 * A source is a descriptor with either a tensor stream of `accel-worker
 * predict` (hello with role=predict, samples, classes, dataset; frames "pred"
 * with index I64 [n], label I64 [n], logits F32 [n,classes]; end) or text: one
 * line a sample, fields parted by blanks,
 *
 *	KEY LABEL SCORE...      a score of each class, class 0 first
 *	KEY LABEL CLASS...      the best classes, best first
 *
 * Lines that are empty or begin with "#" are skipped. Each sample must be there
 * exactly once over all sources; which ones must be there is known from the
 * stream (0..samples-1) or from the caller. Nothing but the rank of each
 * sample's label is kept, so sources may be of any size.
 *
 *	struct preds p;
 *	preds_init(&p, &topk);
 *	p.samples = 50000;               (and other wishes)
 *	for (each source)
 *		if (preds_read(&p, fd, name) < 0) ...
 *	if (preds_finish(&p) < 0) ...    the counts are in topk
 *	preds_release(&p);
 */
#ifndef EVAL_PREDS_H
#define EVAL_PREDS_H

#include "eval/topk.h"
#include "util/err.h"
#include "util/map.h"

#include <stdbool.h>
#include <stdint.h>

#define PREDS_SAMPLES_MAX ((int64_t)1 << 32)
#define PREDS_CLASSES_MAX 1000000
#define PREDS_LINE_MAX (64 << 20) /* bytes */

/* What the fields behind the label are. AUTO: whole numbers without sign, point
 * or exponent in the first line are classes, anything else is a score. */
enum preds_text {
    PREDS_AUTO,
    PREDS_SCORES,
    PREDS_CLASSES
};

/* Correct classes of each image, by its number (the first is 1). */
struct preds_sets {
    int64_t n;
    struct {
        int n;
        int64_t *label;
    } * set;
};

struct preds {
    struct topk *topk; /* lent */
    /* wishes, set between init and the first read */
    int64_t samples; /* how many there must be; -1: as the stream says */
    bool allow_missing;
    enum preds_text text;
    const struct preds_sets *sets; /* instead of the labels; or NULL */
    int64_t timeout_ms;            /* of every wait for a source; 0: none */
    /* state */
    enum {
        PREDS_NONE,
        PREDS_STREAM,
        PREDS_TEXT
    } kind;
    int64_t seen_n; /* samples read */
    int64_t classes;
    char *first; /* name of the first source */
    /* streams */
    int64_t stream_samples; /* as the first hello said, or -1 */
    char *dataset, *model;
    uint64_t *seen;   /* one bit an index */
    int64_t seen_cap; /* words */
    /* text */
    int64_t fields; /* of every line, behind the label */
    bool open_end;  /* a source's last line had no line end */
    struct map keys;
};

void preds_init(struct preds *p, struct topk *topk);
void preds_release(struct preds *p);
/*
 * Read one source to its end; the descriptor stays the caller's. ERR_DATA: a
 * line or frame that is wrong, a sample for the second time, a source of
 * another data set, no predictions at all; ERR_IO: a stream without its end;
 * ERR_USAGE: fewer classes named than the largest k.
 */
int preds_read(struct preds *p, int fd, const char *name) MUST_CHECK;
/* All there? ERR_DATA names how many are missing, and the first few. */
int preds_finish(struct preds *p) MUST_CHECK;
/* How many are, as far as is known. */
int64_t preds_missing(const struct preds *p);

/* A JSON list of lists of classes; ERR_NOINPUT, ERR_DATA. */
int preds_sets_read(struct preds_sets *s, const char *path) MUST_CHECK;
void preds_sets_release(struct preds_sets *s);

#endif
