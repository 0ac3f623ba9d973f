/*
 * imgshard-item.h - one image on its way through pack: read, looked at, made
 * into the members of a sample.
 *
 *	item_read(it, &src), item_make(it, &tools, &how); then it->why says
 *	what is wrong with the image, or tar, row and part are what
 *	shard_out_add wants. Items live in a struct load.
 */
#ifndef IMGSHARD_ITEM_H
#define IMGSHARD_ITEM_H

#include "imgshard.h"
#include "io/shardout.h"
#include "io/source.h"
#include "vision/resize.h"

struct item {
    const struct source *src;
    size_t number; /* of the file in its list */
    struct buf image, json, tar, spare;
    struct shard_row row;
    struct shard_part part[3];
    struct buf key, path[3]; /* of the sample and its parts */
    int parts;
    char *why; /* it is bad */
};

/* What is done to an image. */
struct item_how {
    enum probe_check check;
    bool rows, exif; /* rows_make, and its exif */
    int raw;         /* short side of raw_make; 0: no */
};

/* What one thread does it with. */
struct item_tools {
    struct image_decoder *decoder;
    struct resizer *resizer;
};

/*
 * imgshard-raw.c: the pixels of an image, its short side made at most size as
 * for evaluation, as a PPM file, which takes the place of image, whose memory
 * goes to spare; row gets size and flags. ERR_DATA: it cannot be decoded.
 */
int raw_make(struct item_tools *t, int size, struct buf *image,
             struct buf *spare, struct shard_row *row) MUST_CHECK;

/* The bytes of the file; -1 only for what is no fault of the file. */
int item_read(struct item *it, struct source *src) MUST_CHECK;
int item_make(struct item *it, struct item_tools *t,
              const struct item_how *how) MUST_CHECK;

/*
 * Files that go through the threads together, so that handing over small ones
 * does not cost more than the work on them.
 */
#define LOAD_FILES 64
#define LOAD_BYTES (256 << 10)

struct load {
    struct item item[LOAD_FILES];
    int n;
    uint64_t bytes;
};
/* False: it is full. */
bool load_add(struct load *l, const struct source *src, size_t number);
/* Empty it; memory that large files took is given back. */
void load_reset(struct load *l);
void load_release(struct load *l);

#endif
