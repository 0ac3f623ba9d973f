/*
 * ahead.h - image files that are read before they are asked for.
 *
 * Whoever hands out rows says in order which samples will be wanted; a few
 * threads read them, as far ahead as the bound on memory lets them; decoding
 * threads take them. One that is taken before its turn came is read by the
 * taker, so nobody waits for a thread that has not begun.
 *
 *	struct ahead *a = ahead_new(&reader, 8, least, AHEAD_BYTES);
 *	row->own = ahead_want(a, sample);            one thread, in order
 *	if (ahead_take(a, row->own, &bytes) < 0)     any thread, each once
 *		...
 *	ahead_free(a);       also with some never taken; before the reader closes
 */
#ifndef IO_AHEAD_H
#define IO_AHEAD_H

#include "io/reader.h"
#include "util/buf.h"
#include "util/err.h"

#include <stdint.h>

#define AHEAD_BYTES (64ULL << 20)

struct ahead;
struct ahead_file; /* one that is wanted */

/* Threads read while fewer than least files, or less than bytes, wait to be
 * taken. Without threads every file is read by its taker. */
struct ahead *ahead_new(struct reader *r, int threads, int64_t least,
                        uint64_t bytes);
void ahead_free(struct ahead *a);
/* The file of a sample is to be read; what is returned is a's until it is taken. */
struct ahead_file *ahead_want(struct ahead *a, uint32_t sample);
/* As reader_fetch; waits where a thread is reading it. w is gone. */
int ahead_take(struct ahead *a, struct ahead_file *w, struct buf *b) MUST_CHECK;

#endif
