/*
 * shard.h - a split of a data set: manifest, native index, shards.
 *
 *	DIR/train.json                  manifest; written last, the commit point
 *	DIR/train.index.safetensors     one row per sample
 *	DIR/train-000000.tar ...        ustar, WebDataset grouping
 *	DIR/train-000000.idx ...        the same for DALI
 *
 * Formats: man/shards.5. A struct shard_set is a manifest and its index in
 * memory. Read: shard_set_open checks every row, so that later users may trust
 * offsets, sizes and shard numbers. Write: shard_set_add per sample in order,
 * shard_set_shard after each shard, shard_set_write at the end.
 *
 * In a split for detection (task) samples have an annotation (annot.h) instead
 * of a label, and width and height are those it gives.
 *
 * Invariant: samples of shard s are rows shard_first[s] .. shard_first[s+1]-1.
 */
#ifndef IO_SHARD_H
#define IO_SHARD_H

#include "util/buf.h"
#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARD_KEY_MAX 4096            /* bytes of a key */
#define SHARD_MEMBER_MAX (64LL << 20) /* bytes of an image */

/* Column flags. */
enum shard_flag {
    SHARD_JPEG = 1 << 0,
    SHARD_PNG = 1 << 1,
    SHARD_PROGRESSIVE = 1 << 2,
    SHARD_GRAY = 1 << 3,
    SHARD_FOUR = 1 << 4, /* four components */
    SHARD_420 = 1 << 5,
    SHARD_422 = 1 << 6,
    SHARD_440 = 1 << 7,
    SHARD_ROWS = 1 << 8,     /* a restart marker per MCU row */
    SHARD_WARNED = 1 << 9,   /* the decoder warned */
    SHARD_ROTATED = 1 << 10, /* EXIF orientation is not 1 */
    SHARD_EMPTY = 1 << 11,   /* detection: no object that is no crowd */
    SHARD_16BIT = 1 << 12,
    SHARD_SUBSAMPLED = 1 << 13, /* another subsampling */
    SHARD_RAW = 1 << 14         /* PPM: pixels as they are */
};

struct shard {
    char *file; /* name inside the directory of the manifest */
    uint64_t bytes;
    uint64_t samples;
    uint32_t crc32;  /* of the whole file */
    char sha256[65]; /* hex */
};

struct shard_class {
    char *name, *label;
    int64_t source_id; /* -1: none */
};

/* One sample, for shard_set_add. */
struct shard_row {
    const char *key;
    uint64_t offset; /* of the image in the current shard */
    uint32_t size, crc32;
    int32_t label; /* -1: none */
    uint16_t width, height, flags;
    uint64_t annot_offset; /* detection */
    uint32_t annot_size, annot_crc32;
};

struct shard_set {
    char *dir;  /* of the manifest, "." at least */
    char *path; /* of the manifest */
    char *name, *split, *task;
    char *pack_order, *jpeg, *program; /* how it was packed */
    int64_t pack_seed;
    char dataset[33]; /* digest of contents and labels, 32 hex digits */
    char *index_file; /* name of the index in dir */
    char index_sha256[65];
    uint32_t n, n_shards, n_classes;
    uint64_t bytes; /* of all shards */
    struct shard *shard;
    struct shard_class *cls;
    /* columns [n], as in the index */
    uint64_t *offset, *key_end;
    uint32_t *size, *crc32, *shard_of;
    int32_t *label;
    uint16_t *width, *height, *flags;
    uint64_t *annot_offset; /* detection, else NULL; so are the next two */
    uint32_t *annot_size, *annot_crc32;
    char *keys;            /* all keys, one after the other */
    uint64_t *shard_first; /* [n_shards+1] */
    /* read from a file, the columns and keys lie in a map of it */
    void *map;
    size_t map_size;
    /* while writing */
    size_t cap, keys_cap;
};

/* ---- reading */

/* ERR_NOINPUT: no such file; ERR_DATA: what is wrong in which file. s is zero
 * before; after a failure it is released. */
int shard_set_open(struct shard_set *s, const char *manifest) MUST_CHECK;
void shard_set_release(struct shard_set *s);
/* The manifest alone, from text; path is where it was read: columns are NULL
 * and n is what it claims. Fuzzed. */
int shard_manifest_parse(struct shard_set *s, const char *text, size_t n,
                         const char *path) MUST_CHECK;
/* The index of a parsed manifest, from a file. Fuzzed. */
int shard_index_read(struct shard_set *s, const char *path) MUST_CHECK;
/* Is it for detection? */
bool shard_is_detection(const struct shard_set *s);
/* Key of sample i and its length; not terminated, no control characters. */
const char *shard_key(const struct shard_set *s, uint32_t i, size_t *len);
/* The sample of a key, or -1. Linear. */
int64_t shard_find(const struct shard_set *s, const char *key);
/* Extension of an image by its flags: jpg, png, ppm. */
const char *shard_ext(unsigned flags);
/* Path of a shard, appended. */
void shard_path(const struct shard_set *s, uint32_t shard, struct buf *b);
/* "shard: offset N: key" of a sample, appended: how errors name it. */
void shard_describe(const struct shard_set *s, uint32_t i, struct buf *b);

/* ---- writing */

/* ERR_USAGE: a split that is no part of a file name, or a name (which may be
 * NULL) that is not UTF-8. */
int shard_check_names(const char *split, const char *name) MUST_CHECK;
void shard_set_add(struct shard_set *s, const struct shard_row *r);
/* The rows added since the last call are this shard; file and contents are
 * copied (samples is filled in). */
void shard_set_shard(struct shard_set *s, const struct shard *sh);
/* One more class; name and label, which are UTF-8, are copied (label NULL: the
 * name). */
void shard_set_class(struct shard_set *s, const char *name, const char *label,
                     int64_t source_id);
/*
 * Write SPLIT.index.safetensors and then SPLIT.json to dir, each atomically.
 * Fills dataset and bytes. ERR_CANTCREAT, ERR_IO.
 */
int shard_set_write(struct shard_set *s, const char *dir) MUST_CHECK;
/* The lines of FILE (or the classes of a manifest, if it ends in .json) as
 * classes: "name" or "name<tab or spaces>label". */
int shard_set_classes(struct shard_set *s, const char *file) MUST_CHECK;
/* Without a list: n classes, named by the first part of their samples' keys if
 * each label has one of its own, else by their numbers. */
void shard_set_classes_of_keys(struct shard_set *s, int32_t n);

#endif
