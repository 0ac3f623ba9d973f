/*
 * shardout.h - writing the shards of a split: all of them appear, or none.
 *
 * Shards and their .idx files are written in a hidden directory beside their
 * place. shard_out_commit takes away an older manifest, moves the files, and
 * writes index and manifest last: a manifest that is there describes what is
 * there. Whatever ends the process before leaves the old split or none.
 *
 * Each shard is summed up and flushed to the disk by a thread that reads behind
 * the writer: SHA-256 is slower than everything else that happens to a byte on
 * its way, and the next shard does not wait for it.
 *
 *	shard_out_init(&o, &set, "shards", SIZE, COUNT)
 *	for each sample: shard_out_add(&o, &row, bytes, n, parts, n_parts)
 *	shard_out_commit(&o)
 *	shard_out_release(&o)       in every state
 */
#ifndef IO_SHARDOUT_H
#define IO_SHARDOUT_H

#include "io/shard.h"
#include "io/tar.h"
#include "util/buf.h"
#include "util/fdio.h"

/* ---- DALI's index of one shard */

/* A member of a sample: its extension, where its data lie, its path. */
struct shard_part {
    const char *ext, *path;
    uint64_t offset, size;
};
struct shard_idx {
    struct buf lines;
    uint64_t n; /* samples */
};
/* One sample. ERR_DATA: white space in a path or an extension. */
int shard_idx_add(struct shard_idx *x, const struct shard_part *p,
                  int n) MUST_CHECK;
/* One sample of a tar. */
int shard_idx_sample(struct shard_idx *x,
                     const struct tar_sample *s) MUST_CHECK;
/* All samples of a tar. ERR_NOINPUT, ERR_DATA: name it. */
int shard_idx_scan(struct shard_idx *x, const char *tar) MUST_CHECK;
/* What the file holds, appended. */
void shard_idx_text(const struct shard_idx *x, struct buf *b);
/* The file, atomically; x is empty again. */
int shard_idx_write(struct shard_idx *x, const char *path) MUST_CHECK;
void shard_idx_release(struct shard_idx *x);

/* ---- shards */

#define SHARD_OUT_TASKS 4 /* shards summed up at the same time */

struct shard_sum; /* one of them */

struct shard_out {
    struct shard_set *set; /* lent: rows and shards are added to it */
    char *dir;
    struct tmp_dir tmp;
    uint64_t max_bytes, max_samples;
    int fd; /* of the shard being written, or -1 */
    uint64_t bytes, samples;
    struct shard_sum *sum[SHARD_OUT_TASKS]; /* shard i is at i % TASKS */
    struct shard_idx idx;
    struct buf out; /* not written yet */
};
#define SHARD_OUT_INIT                                                         \
    {                                                                          \
        .tmp = TMP_DIR_INIT, .fd = -1                                          \
    }

/* Make the directory and the hidden one. set->split is given. */
int shard_out_init(struct shard_out *o, struct shard_set *set, const char *dir,
                   uint64_t max_bytes, uint64_t max_samples) MUST_CHECK;
/*
 * Append a sample: n bytes of members, headers and padding included. Offsets in
 * row and parts count from the beginning of these bytes.
 */
int shard_out_add(struct shard_out *o, const struct shard_row *row,
                  const void *bytes, size_t n, const struct shard_part *parts,
                  int n_parts) MUST_CHECK;
int shard_out_commit(struct shard_out *o) MUST_CHECK;
void shard_out_release(struct shard_out *o);

#endif
