/*
 * shard_private.h - what shard.c, manifest.c and index.c share. Nobody else
 * includes this.
 */
#ifndef IO_SHARD_PRIVATE_H
#define IO_SHARD_PRIVATE_H

#include "io/shard.h"

/* The canonical JSON of the manifest and a newline, appended. */
void shard_manifest_text(const struct shard_set *s, struct buf *b);
/* The index file, atomically. */
int shard_index_write(const struct shard_set *s, const char *path) MUST_CHECK;

#endif
