/*
 * reader.h - one rank's way through a data set: rows and their bytes.
 *
 * A reader is a manifest, an order, the division of the run (recipe_batch), a
 * rank and a place. It hands out micro-steps one after the other; which rows
 * they hold depends on nothing but those, so any number of threads, and a run
 * that was interrupted and resumed, see the same rows. Each micro-step of every
 * rank is handed out even when it has no rows (tail "exact").
 *
 *	struct reader r;
 *	struct reader_step st;
 *	struct buf b = BUF_INIT;
 *	if (reader_open(&r, &recipe, &want) < 0)
 *		...
 *	while ((rc = reader_next(&r, &st)) > 0)
 *		for (j = 0; j < st.count; j++)
 *			if (reader_fetch(&r, st.sample[j], &b) < 0)
 *				...   row j has position st.first + j
 *	reader_close(&r);
 *
 * reader_next belongs to one thread (its st.sample is lent until the next
 * call); reader_fetch may be called from any number of threads at once.
 * Labels, sizes, keys and flags are columns of r.set (shard.h).
 *
 * Training on a split for detection leaves out images without objects
 * (DATALOADER.FILTER_EMPTY_ANNOTATIONS) and groups them by shape
 * (DATALOADER.ASPECT_RATIO_GROUPING); such a reader has fewer samples than its
 * set, batch.n.
 */
#ifndef IO_READER_H
#define IO_READER_H

#include "io/order.h"
#include "io/recipe.h"
#include "io/shard.h"
#include "util/buf.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

enum reader_check {
    CHECK_ALWAYS,
    CHECK_ONCE, /* each sample when this process reads it first */
    CHECK_NEVER
};

/* What is wanted of a data set. */
struct reader_want {
    const char *manifest;
    const char *order; /* order_parse; NULL: global */
    int64_t rank, world;
    int64_t first_epoch; /* first and last epoch, both included; last -1: all
                            of the run, that is recipe.epochs */
    int64_t last_epoch;
    const char *resume; /* a token (reader_token), or NULL */
    const char *from;   /* a checkpoint directory, one that holds some
                            (RUN or RUN/ckpt), or NULL; none there: start */
    int check;          /* enum reader_check */
    bool eval;          /* batches need not divide; detection: all images, and
                           no groups */
};

struct reader {
    struct shard_set set;
    struct order order;
    struct recipe_batch batch;
    int tail; /* enum recipe_tail */
    int64_t rank;
    int64_t samples, end; /* progress of the next step; where to stop */
    int64_t m;            /* next micro-step in the step */
    int check;
    _Atomic bool *seen; /* [n], with CHECK_ONCE: it was checked */
    uint32_t *rows;     /* sample numbers of the step handed out */
    uint32_t *used;     /* [batch.n] sample numbers; NULL: all */
    /* of the samples used: what order_set lends; NULL: those of the set */
    uint32_t *size;
    uint64_t *first;
    uint8_t *wide; /* wider than high */
    struct reader_files *files;
    struct windows *windows; /* NULL: the order has none */
};

/* One micro-step of this rank. */
struct reader_step {
    int64_t epoch;
    int64_t step;    /* optimizer step of the run, from 0 */
    int64_t micro;   /* number of the micro-step, 0..accum-1 */
    int64_t pos;     /* position in the epoch where the step begins */
    int64_t total;   /* rows of the whole step, all ranks and micro-steps */
    int64_t samples; /* progress when this step is done */
    int64_t first;   /* position of this rank's first row */
    int64_t count;   /* its rows, 0..batch.micro */
    bool epoch_begin, epoch_end; /* first, last micro-step of an epoch */
    const uint32_t *sample;      /* [count] sample numbers, lent */
};

/*
 * Open and check everything. ERR_NOINPUT, ERR_DATA for the files; ERR_USAGE for
 * batches that do not divide; ERR_CONFIG when the token or the checkpoint
 * belongs to another data set, seed, order, tail or batch. r is zero before.
 */
int reader_open(struct reader *r, const struct recipe *cfg,
                const struct reader_want *w) MUST_CHECK;
void reader_close(struct reader *r);
/* 1 with the next micro-step, 0 when the wanted epochs are done. */
int reader_next(struct reader *r, struct reader_step *st) MUST_CHECK;
/*
 * The image file of sample i replaces what is in b. Its CRC-32 is checked as
 * want.check says; a difference is read once more past the page cache and then
 * is ERR_DATA "shard: offset N: key: CRC-32 ...".
 */
int reader_fetch(struct reader *r, uint32_t i, struct buf *b) MUST_CHECK;
/* The annotation of sample i in the same way; ERR_DATA if it has none. */
int reader_fetch_annot(struct reader *r, uint32_t i, struct buf *b) MUST_CHECK;
/* The sample at position p of the epoch that reader_next has begun. */
uint32_t reader_sample(const struct reader *r, int64_t p);
/* The resume token of the next step to be handed out, appended:
 * "dataset=HEX,order=global,seed=0,epoch=3,next=512,tail=wrap,group=256". */
void reader_token(const struct reader *r, struct buf *b);

/* ---- files alone: for programs that need bytes but no order */

struct reader_files; /* open shards, at most 512 at a time */
struct reader_files *reader_files_new(const struct shard_set *s,
                                      bool sequential);
void reader_files_free(struct reader_files *f);
int reader_files_fetch(struct reader_files *f, uint32_t i, bool check,
                       struct buf *b) MUST_CHECK;
/*
 * Tell the kernel that n samples will be wanted soon, or no more; they are
 * sorted. Samples that lie side by side are one range. Failures to open only.
 */
int reader_files_advise(struct reader_files *f, uint32_t *sample, uint64_t n,
                        bool wanted) MUST_CHECK;
int reader_files_fetch_annot(struct reader_files *f, uint32_t i, bool check,
                             struct buf *b) MUST_CHECK;

#endif
