/*
 * tar.h - ustar members, streaming both ways, and WebDataset's grouping.
 *
 * Written: one fixed profile of ustar (regular files, mode 0444, no times, no
 * owners), byte for byte what GNU tar makes of the same members with
 * --format=ustar --numeric-owner --owner=0 --group=0 --mtime=@0 --mode=0444.
 * A path that ustar cannot hold has a pax header, which that tar would refuse.
 * Read: ustar, old v7, pax path and size, GNU long names, base-256 sizes;
 * links, devices and sparse files are refused. Bytes come from anywhere: every
 * number is checked before it is used, and each failure is ERR_DATA
 * "NAME: offset N: path: why". A reader never seeks in a pipe.
 *
 *	struct tar_reader r;
 *	tar_reader_init(&r, fd, "train-000000.tar");
 *	while ((rc = tar_next(&r)) > 0)
 *		if (tar_data(&r, &b) < 0)      (or not: it is skipped then)
 *			...   r.path, r.size, r.data_offset
 *	tar_reader_release(&r);
 */
#ifndef IO_TAR_H
#define IO_TAR_H

#include "util/buf.h"
#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAR_BLOCK 512
#define TAR_RECORD 10240   /* an archive is a multiple of it */
#define TAR_PATH_MAX 4096  /* bytes of a path read */
#define TAR_PAX_MAX 65536  /* bytes of pax records of one header */
#define TAR_MEMBERS_MAX 16 /* members of a sample */

/* ---- writing */

/* Bytes of zeros behind size bytes of data. */
size_t tar_padding(uint64_t size);
/*
 * The header block of a regular file. 0; 1 if ustar cannot hold the path, which
 * then must be in a pax header before it. ERR_DATA: a path of over 4096 bytes,
 * or one that has an empty, "." or ".." component or begins with a slash.
 */
int tar_header(unsigned char block[TAR_BLOCK], const char *path,
               uint64_t size) MUST_CHECK;
/* A regular file as it stands in an archive, appended: its headers, n bytes of
 * data and their padding. As tar_header. */
int tar_member(struct buf *b, const char *path, const void *p,
               size_t n) MUST_CHECK;
/* The end of an archive of offset bytes, appended to b. */
void tar_end(struct buf *b, uint64_t offset);
/* A whole pax "g" header appended; records as made by tar_pax_record. */
void tar_pax_global(struct buf *b, const struct buf *records);
/* "LEN key=value\n" appended. */
void tar_pax_record(struct buf *records, const char *key, const char *value);

/* ---- reading */

enum tar_kind {
    TAR_FILE,
    TAR_GLOBAL /* a pax "g" header; its records are the data */
};

/*
 * Bytes from elsewhere than a descriptor. read: exactly n bytes; 1, 0 if the
 * input ended before the first, -1. skip: the same for n bytes nobody wants.
 */
struct tar_input {
    int (*read)(void *arg, void *p, size_t n);
    int (*skip)(void *arg, uint64_t n);
    void *arg;
};

struct tar_reader {
    int fd;
    const struct tar_input *in; /* used instead of fd; lent */
    const char *name;           /* for messages; lent */
    uint64_t max_member;        /* larger members are refused; 64 MiB */
    bool globals;               /* hand out TAR_GLOBAL too */
    /* of the member */
    enum tar_kind kind;
    char *path; /* valid until the next call */
    uint64_t size, data_offset;
    /* state */
    uint64_t offset;    /* bytes consumed */
    uint64_t left;      /* data and padding of the member not read yet */
    uint64_t file_size; /* of a regular file, else UINT64_MAX */
    bool ended;         /* the two zero blocks were there */
    struct buf global, local, long_name, path_buf, scratch;
};

void tar_reader_init(struct tar_reader *r, int fd, const char *name);
/* From an input of size bytes, UINT64_MAX if that is not known. */
void tar_reader_input(struct tar_reader *r, const struct tar_input *in,
                      const char *name, uint64_t size);
void tar_reader_release(struct tar_reader *r);
/* 1: a member; 0: the end (r->ended false: without end blocks); -1. */
int tar_next(struct tar_reader *r) MUST_CHECK;
/* All of the member's data, appended to b. Once, before the next tar_next. */
int tar_data(struct tar_reader *r, struct buf *b) MUST_CHECK;
/*
 * The member's data piece by piece, instead of tar_data: a struct tar_input of
 * {tar_read, tar_skip, r} makes a member that is a tar itself readable.
 */
int tar_read(struct tar_reader *r, void *p, size_t n) MUST_CHECK;
int tar_skip(struct tar_reader *r, uint64_t n) MUST_CHECK;
/*
 * The value of a key in pax records (data of TAR_GLOBAL): its length, with
 * *value at its first byte, or -1 if it is not there.
 */
long tar_pax_find(const char *records, size_t n, const char *key,
                  const char **value);

/* ---- samples: consecutive members with one key */

/*
 * Key (path up to the first dot after the last slash) and extension (the rest).
 * False for members that belong to no sample: no dot, or an empty basename.
 */
bool tar_split(const char *path, size_t *key_len, const char **ext);

struct tar_part {
    char *path;      /* owned by the sample */
    const char *ext; /* inside path, case as written */
    uint64_t offset;
    struct buf data;
};

struct tar_sample {
    char *key; /* owned */
    int n;
    struct tar_part part[TAR_MEMBERS_MAX];
};

struct tar_samples {
    struct tar_reader tar;
    bool held; /* tar stands at a member not used yet */
};

void tar_samples_init(struct tar_samples *t, int fd, const char *name);
void tar_samples_release(struct tar_samples *t);
/*
 * The next sample with its data. A sample ends where the key changes or an
 * extension repeats. 1: a sample; 2: a global header (only with
 * t->tar.globals; its records are s->part[0].data, s->n 0); 0: the end; -1.
 * s is zero before the first call and is reused.
 */
int tar_sample_next(struct tar_samples *t, struct tar_sample *s) MUST_CHECK;
/* The part with an extension (any case), or NULL. */
const struct tar_part *tar_sample_part(const struct tar_sample *s,
                                       const char *ext);
void tar_sample_release(struct tar_sample *s);

#endif
