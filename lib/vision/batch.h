/*
 * batch.h - rows of image files in, frames of pixels out, in order, on threads.
 *
 * A source says which frames there are and which rows they have; threads fetch,
 * decode, crop and resize rows in any order into a ring of frames; frames go to
 * the caller in order. What a row looks like depends on its position alone, so
 * the number of threads never changes a byte. All frames have the same number
 * of rows; rows that a frame lacks are black, with label and index -1.
 *
 * Classification: each row is size x size. For training it may be changed by a
 * policy (policy.h); what belongs to normalised numbers is only said in the
 * frame: rectangles to be erased and how rows are mixed (mix.h). Detection
 * (detect.h): each row has a size of its own and objects, and a frame is as
 * large as its largest row, rounded up to DETECT_STRIDE; rows lie at the top
 * left, the rest is 0.
 *
 *	struct batch_source s = {next_frame, next_row, load, name, &mine};
 *	batch_run(&config, &s, emit, &mine);
 *
 * emit usually is batch_write, with a struct frame_writer that has said hello.
 */
#ifndef VISION_BATCH_H
#define VISION_BATCH_H

#include "io/frame.h"
#include "util/buf.h"
#include "util/err.h"
#include "vision/augment.h"
#include "vision/detect.h"
#include "vision/mix.h"
#include "vision/policy.h"

#include <stdbool.h>
#include <stdint.h>

#define BATCH_TRIES 9 /* the sample and 8 replacements */

/* What is said of a frame in its metadata. */
struct batch_head {
    int64_t epoch, step, micro; /* micro: number of the micro-step, "m" */
    int64_t pos;                /* position of its first row in the epoch */
    int64_t n;                  /* rows that count, the first ones */
    int64_t total;              /* rows of the whole step, all ranks, "rows" */
    int64_t samples; /* progress when the step is done; -1: not known */
    bool last;       /* last micro-step of its step */
    bool epoch_begin, epoch_end; /* an epoch frame before, behind it */
    const char *order;           /* lent for ever */
};

struct batch_row {
    int64_t pos; /* position in the epoch: owns the randomness */
    int64_t epoch;
    int64_t label, index;
    const void *data; /* the image file; lent until the row is done */
    size_t size;
    struct buf bytes; /* memory for it, if the source wants some */
    struct buf annot; /* detection: the annotation, as annot_parse wants it */
    int64_t replacement[BATCH_TRIES]; /* for the source's own use */
    void *own;                        /* the same */
    /* private */
    struct batch_frame *frame;
    int64_t j;
    int tries; /* replacements taken */
    char *why; /* the first of them was */
    bool pad;
};

struct batch_source {
    /* Serial: the next frame. 1; 0: the end. */
    int (*frame)(void *arg, struct batch_head *h);
    /* Serial: row j < h->n of that frame; pos and epoch are filled in. */
    int (*row)(void *arg, int64_t j, struct batch_row *r);
    /* Any thread: data, size, annot, label, index. try_no 0 is the sample itself,
     * later ones are replacements of a bad one. NULL: row has done it. */
    int (*load)(void *arg, struct batch_row *r, int try_no);
    /* Any thread: how errors name the row, appended. */
    void (*name)(void *arg, const struct batch_row *r, struct buf *b);
    void *arg;
};

/* A finished frame, lent. */
struct batch_frame {
    struct batch_head head;
    int64_t rows; /* of the arrays */
    int h, w;
    int64_t bad;            /* rows that were replaced */
    uint8_t *image;         /* [rows,h,w,3], RGB unless detect.bgr */
    int64_t *label, *index; /* [rows] */
    /* classification only */
    int32_t *erase; /* [rows,4] top, left, bottom, right; or NULL */
    struct mix mix;
    /* detection only */
    bool bgr;
    int32_t *size, *orig; /* [rows,2] height, width: in image, in the file */
    int64_t *image_id;    /* [rows], -1 where there is no row */
    struct detect_objects objects;
    /* It lies in a slot that its reader has, too (lend.h): batch_write sends only
     * a header. NULL: its arrays. */
    const struct frame_slot *slot;
    struct batch_part *part; /* private: the rows until the frame is whole */
    char *block;             /* private: all its arrays, classification */
};

struct batch_config {
    bool train; /* random crop and flip; else the evaluation crop */
    int size, resize;
    bool squash;            /* augment_eval */
    struct augment augment; /* this and the next two: training only */
    struct policy policy;
    struct mix_config mix;
    const struct detect *detect; /* detection, and none of the above */
    uint64_t seed;
    int64_t rows; /* of each frame */
    int threads, queue;
    bool replace;             /* a bad image is replaced and named on stderr */
    bool strict;              /* decoder warnings make an image bad */
    const char *instructions; /* resizer_use, or NULL: the best */
    /* Classification: memory for a frame in work, of batch_bytes and aligned to 64
     * bytes, batch_queue times. NULL: batch_run has its own. */
    void *(*block)(void *arg);
    void *block_arg;
    /* Serial, arg of the source: is row j of its last frame wanted? If not, it
     * has no pixels, label or objects. NULL: all are. */
    bool (*wanted)(void *arg, int64_t j);
};

/* Bytes of a frame, 0 for detection; how many of them are in work at a time. */
size_t batch_bytes(const struct batch_config *c);
int batch_queue(const struct batch_config *c);
/* For emit: f was config.block's and stays as it is with somebody else; the next
 * frame in its place is made in another block. */
void batch_move(struct batch_frame *f, void *block);
/*
 * Run until the source ends. 0, or -1 with the failure of the earliest row or
 * that of emit.
 */
int batch_run(const struct batch_config *c, const struct batch_source *s,
              int (*emit)(void *arg, struct batch_frame *f),
              void *arg) MUST_CHECK;
/*
 * For eyes: do to the pixels of f, in place and once, what is only said in it.
 * Erased parts become the mean colour (3 numbers, of 1), rows are mixed; rounded.
 * BGR becomes RGB.
 */
void batch_seen(struct batch_frame *f, const double *mean);
/* Write f, and epoch frames around it, to a struct frame_writer. */
int batch_write(void *writer, struct batch_frame *f) MUST_CHECK;

#endif
