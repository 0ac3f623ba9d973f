/*
 * rankout.h - what a rank says: line by line, with its number in front, into a
 * log file of its own, and the last lines kept for the report of a failure.
 *
 * Lines of several ranks never mix: each is one write. A carriage return ends
 * a line, too; a line without end is passed on at 4 KiB and at the end.
 */
#ifndef IO_RANKOUT_H
#define IO_RANKOUT_H

#include "util/buf.h"
#include "util/err.h"

#define RANKOUT_LAST 20
#define RANKOUT_LABEL 256

struct rankout {
    char label[RANKOUT_LABEL]; /* in front of each line */
    int log;                   /* descriptor or -1 */
    char *path;                /* its, or NULL */
    struct buf part[2];        /* of a line, for each of two streams */
    struct buf line;
    char *last[RANKOUT_LAST]; /* a ring; n_lines % RANKOUT_LAST is next */
    unsigned n_lines;
};

/* Of something that is no rank, and without a file. */
void rankout_label(struct rankout *o, const char *label);
/* Label "[N] "; dir may be NULL; else the file DIR/rank-N.log, appended to. */
int rankout_init(struct rankout *o, int rank, const char *dir) MUST_CHECK;
void rankout_release(struct rankout *o);
/* n bytes of stream 0 or 1; n = 0: the stream has ended. A log that cannot be
 * written to ends, with a warning. */
void rankout_add(struct rankout *o, int stream, const char *p, size_t n);
/* The last lines, oldest first, each with its label, appended to b. */
void rankout_last(const struct rankout *o, struct buf *b);

#endif
