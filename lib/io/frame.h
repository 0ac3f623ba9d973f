/*
 * frame.h - the tensor stream: safetensors blobs back to back.
 *
 * A frame is u64 n | n bytes of JSON header | data, each a valid safetensors
 * file by itself. A FILE holds exactly one frame and is complete because it was
 * renamed into place. A STREAM is frames back to back with metadata sft="1",
 * t=type and seq=0,1,2,...; it begins with a "hello" frame and ends with an
 * "end" frame, so that a dead writer is an error downstream. Format, limits and
 * types: man/tensorstream.5.
 *
 * Reading a stream:
 *	struct frame_stream s;
 *	struct frame f = FRAME_INIT;
 *	frame_stream_init(&s, fd, "stdin");
 *	while ((r = frame_next(&s, &f)) > 0) {
 *		if (!strcmp(frame_type(&f), "batch")) {
 *			i = frame_find(&f, "image");
 *			frame_data(&s, &f, i, destination);
 *		}
 *		(tensors not fetched are skipped by the next frame_next)
 *	}
 *	r is 0 after an end frame, -1 on failure, which includes the end of the
 *	file without an end frame (ERR_IO) and an error frame (its own class).
 *	After an end or error frame f holds that frame.
 *
 * Who reads streams that have rows adds those of each frame to s.rows; what the
 * end frame tells must be their number.
 *
 * An error frame has class (decimal exit status), code (its word, "data"), msg
 * and origin; it may be the first frame of a stream. The end frame has frames
 * (how many came before it, the hello included) and rows.
 */
#ifndef IO_FRAME_H
#define IO_FRAME_H

#include "tensor/tensor.h"
#include "util/err.h"

#include <stdint.h>

#define FRAME_META_MAX 256
#define FRAME_NAME_MAX 4096 /* bytes of a tensor name in files; 128 streams */

struct frame_tensor {
    char *name;
    struct tensor t;     /* t.data is NULL */
    uint64_t begin, end; /* bytes in the data section */
};

struct frame {
    int n_meta;
    char **key, **value;
    int n_tensors; /* in the order of their offsets */
    struct frame_tensor *tensor;
    uint64_t header_bytes; /* 8 + n: where the data begins */
    uint64_t data_bytes;
    void *memory; /* what the strings lie in */
};
#define FRAME_INIT                                                             \
    {                                                                          \
        0, NULL, NULL, 0, NULL, 0, 0, NULL                                     \
    }

enum frame_kind {
    FRAME_STREAM,
    FRAME_FILE
}; /* which limits hold */

void frame_release(struct frame *f);
/*
 * Check a header text completely and fill f: dtypes known, offsets from 0
 * without gap or overlap, sizes equal to the shapes, unique names, limits.
 * ERR_DATA otherwise. Fuzzed.
 */
int frame_parse(struct frame *f, const char *header, size_t n,
                enum frame_kind kind) MUST_CHECK;
/* Tensors in the order of their data: by begin, end, name. */
void frame_order(struct frame *f);
/* Value of a metadata key, or NULL. */
const char *frame_meta(const struct frame *f, const char *key);
/* As a decimal number; ERR_DATA if missing or not one. */
int frame_meta_int(const struct frame *f, const char *key,
                   int64_t *v) MUST_CHECK;
/* ERR_CONFIG if a hello is of another protocol than NUMBER.anything; one that
 * says none is taken. */
int frame_check_proto(const struct frame *f, int number) MUST_CHECK;
const char *frame_type(const struct frame *f);           /* metadata t, or "" */
int frame_find(const struct frame *f, const char *name); /* index or -1 */
/* As frame_find; ERR_DATA if it is not there or not of that dtype and rank
 * (rank -1: any). */
int frame_want(const struct frame *f, const char *name, enum dtype dtype,
               int rank, int *index) MUST_CHECK;

/* ---- reading streams */

struct frame_stream {
    int fd;
    const char *name;    /* for messages; not owned */
    uint64_t seq;        /* of the next frame */
    uint64_t rows;       /* that the caller has counted */
    uint64_t offset;     /* bytes read so far */
    uint64_t pos, left;  /* in the data of the current frame */
    int64_t deadline_ms; /* for one frame, 0: none */
    int ended;
    uint64_t max_frame;     /* data bytes allowed, default 4 GiB */
    unsigned char first[8]; /* the first bytes, if the caller has read them */
    bool have_first;
};
void frame_stream_init(struct frame_stream *s, int fd, const char *name);
/* Right after init: the caller read the first 8 bytes to see what it is. */
void frame_stream_first(struct frame_stream *s, const void *first);
int frame_next(struct frame_stream *s, struct frame *f) MUST_CHECK;
/* Data of tensor i to dst (its bytes); in offset order or skipping forward. */
int frame_data(struct frame_stream *s, const struct frame *f, int i,
               void *dst) MUST_CHECK;
/* All data of the frame to dst (data_bytes), tensors at their begin. */
int frame_data_all(struct frame_stream *s, const struct frame *f,
                   void *dst) MUST_CHECK;

/* ---- writing */

/* A named tensor to write; strings and data are lent. */
struct frame_item {
    const char *name;
    struct tensor t;
};
/* A metadata pair; strings are lent. */
struct frame_pair {
    const char *key, *value;
};
/*
 * Header text for items in the order given; the caller has them sorted by
 * falling element size, then name (frame_sort). Metadata is written in byte
 * order of the keys. Padded with spaces so that 8+n is a multiple of align.
 */
int frame_header(struct buf *out, const struct frame_pair *meta, int n_meta,
                 const struct frame_item *items, int n_items,
                 size_t align) MUST_CHECK;
void frame_sort(struct frame_item *items, int n);

struct frame_writer {
    int fd;
    const char *name;
    uint64_t seq, rows;
    struct buf head;
};
void frame_writer_init(struct frame_writer *w, int fd, const char *name);
void frame_writer_release(struct frame_writer *w);
/*
 * One stream frame of a type; meta is without sft, t and seq. Items are sorted
 * in place. Waits until written (deadline_ms relative, 0: none).
 */
int frame_write(struct frame_writer *w, const char *type,
                const struct frame_pair *meta, int n_meta,
                struct frame_item *items, int n_items,
                int64_t deadline_ms) MUST_CHECK;
/* The end frame, with the number of frames and of rows (w->rows). */
int frame_write_end(struct frame_writer *w) MUST_CHECK;
/* The error frame, from the error that is set: code, msg, origin. */
int frame_write_error(struct frame_writer *w) MUST_CHECK;

/* ---- tensors by reference
 *
 * Writer and reader of a stream may have memory in common (lend.h). A frame then
 * has no data but says where it lies there: metadata shm=SLOT, and for each
 * tensor x.NAME=DTYPE:d0,d1,..:OFFSET, bytes from the beginning of the slot.
 */
#define FRAME_REF_ALIGN 64 /* of the offsets */

struct frame_slot {
    int number;
    const char *base;
    size_t bytes;
};
/* As frame_write, with items that lie in the slot. */
int frame_write_ref(struct frame_writer *w, const struct frame_slot *slot,
                    const char *type, const struct frame_pair *meta, int n_meta,
                    const struct frame_item *items, int n_items) MUST_CHECK;
/*
 * Is f by reference into one of n slots of so many bytes? 0: no. 1: *slot says
 * into which, and *there is f with its tensors, whose begin and end are bytes in
 * the slot; it borrows from f, release it before f. ERR_DATA: tensors of another
 * kind as well, a slot that is not there, anything outside of it or twice in it.
 * Fuzzed.
 */
int frame_ref(const struct frame *f, int n, uint64_t bytes, struct frame *there,
              int *slot) MUST_CHECK;

/* ---- files */

struct frame_file {
    int fd;
    char *path;
    struct frame f;
};
#define FRAME_FILE_INIT                                                        \
    {                                                                          \
        -1, NULL, FRAME_INIT                                                   \
    }
/* Open and check against the size of the file. */
int frame_file_open(struct frame_file *ff, const char *path) MUST_CHECK;
int frame_file_data(struct frame_file *ff, int i, void *dst) MUST_CHECK;
void frame_file_close(struct frame_file *ff);
/*
 * The whole file in memory, pages read when they are touched; writing to them
 * changes nothing on disk. Tensor i lies at *map + ff->f.header_bytes + begin.
 * It outlives ff: munmap(*map, *size). Only for files that are replaced, never
 * cut: what is missing then ends the process.
 */
int frame_file_map(struct frame_file *ff, void **map, size_t *size) MUST_CHECK;
/* Write a file atomically; data aligned to 4096. Items sorted in place. */
int frame_file_write(const char *path, const struct frame_pair *meta,
                     int n_meta, struct frame_item *items,
                     int n_items) MUST_CHECK;

#endif
