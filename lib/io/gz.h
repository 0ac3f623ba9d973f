/*
 * gz.h - a gzip file read in sequence, as if it were the bytes inside.
 *
 * Several gzip streams one behind the other count as one. A file that ends too
 * soon or has a wrong checksum is ERR_DATA, at the place where that shows.
 */
#ifndef IO_GZ_H
#define IO_GZ_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Do the bytes begin like a gzip file (1F 8B)? */
bool gz_sniff(const void *p, size_t n);

struct gz;
/* ERR_NOINPUT: it cannot be opened. */
struct gz *gz_open(const char *path) MUST_CHECK;
void gz_close(struct gz *g);
/* As fd_read: 1: n bytes; 0: the end before the first of them; -1. */
int gz_read(struct gz *g, void *p, size_t n) MUST_CHECK;
/* Read and forget n bytes. */
int gz_skip(struct gz *g, uint64_t n) MUST_CHECK;
/* Read and forget the rest: its checksum is at the end. */
int gz_finish(struct gz *g) MUST_CHECK;
/* Bytes given and skipped so far. */
uint64_t gz_offset(const struct gz *g);

#endif
