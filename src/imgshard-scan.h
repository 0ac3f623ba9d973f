/*
 * imgshard-scan.h - what is in a tar of samples, whoever made it: rows as they
 * stand in an index.
 *
 *	struct scan sc = {.path = "train-000000.tar"};
 *	scan_shard(&sc, PROBE_HEADER, false);
 *	scan_release(&sc);		in every state
 */
#ifndef IMGSHARD_SCAN_H
#define IMGSHARD_SCAN_H

#include "imgshard.h"
#include "io/shardout.h"

struct scan {
    const char *path;
    struct shard sh;
    struct shard_idx idx;
    struct shard_row *row; /* [n], keys are owned */
    size_t n, cap;
    size_t annotated; /* samples with an annotation for detection */
    int32_t most;     /* class in those */
    char *why;        /* the first that has none */
};

/* idx_only: members need not be images; no rows. */
int scan_shard(struct scan *sc, enum probe_check check,
               bool idx_only) MUST_CHECK;
void scan_release(struct scan *sc);

#endif
