/*
 * windows.h - the windows of block order, in the page cache when they are due.
 *
 * When a position enters a window the kernel is told, on a thread, to read the
 * next one, block by block; a window that is done is given up, if the data set
 * would fill more than half of memory.
 *
 *	struct windows *w = windows_new(&reader);   NULL: the order has none
 *	for each row: windows_enter(w, position);   one thread
 *	windows_free(w);
 */
#ifndef IO_WINDOWS_H
#define IO_WINDOWS_H

#include "io/reader.h"

struct windows *windows_new(const struct reader *r);
void windows_enter(struct windows *w, int64_t position);
void windows_free(struct windows *w);

#endif
