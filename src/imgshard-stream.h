/*
 * imgshard-stream.h - the tar stream that decode reads: samples, and the
 * headers in which imgshard read says where in a run they lie.
 *
 *	stream_init(&s);
 *	while ((rc = stream_epoch(&s)) > 0)     headers, if any, are taken
 *		if (stream_gather(&s, want) < 0)
 *			...    s.n samples in s.held
 *	stream_release(&s);
 */
#ifndef IMGSHARD_STREAM_H
#define IMGSHARD_STREAM_H

#include "imgshard.h"

#include "io/tar.h"

/* A sample waiting for its row. */
struct held {
    struct buf image, annot; /* its .json, if it has one */
    char *key;
    uint64_t offset;
    int64_t label, index; /* -1: not known */
};

struct stream {
    struct tar_samples tar;
    struct tar_sample sample;
    int rc; /* of the sample that was looked at: 1, 2, 0 */
    bool looked;
    bool ours;         /* from imgshard read: it says where its rows lie */
    struct buf header; /* its first; what follows of it is so to the end */
    struct recipe_batch b;
    int tail;
    int64_t rank;
    uint64_t seed;
    char order[64];
    char dataset[33];
    int64_t epoch, pos, m; /* of the next frame */
    struct held *held;     /* [micro] */
    int64_t n;
};

void stream_init(struct stream *s, int fd);
void stream_release(struct stream *s);
/* Is there more? 1: a sample, after taking headers in front of it; 0: the end
 * of the stream; ERR_DATA when that comes without the end of the archive. */
int stream_epoch(struct stream *s) MUST_CHECK;
/* Take up to want samples; fewer when the stream or the epoch ends. Memory for
 * held is the caller's. */
int stream_gather(struct stream *s, int64_t want) MUST_CHECK;

#endif
