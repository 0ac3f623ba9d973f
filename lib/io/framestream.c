/* Reading a stream of frames. */
#include "io/frame.h"

#include "util/fdio.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#    error "frames and tensors are little-endian in memory"
#endif

#define STREAM_HEADER_MAX (1 << 20)

void frame_stream_init(struct frame_stream *s, int fd, const char *name)
{
    memset(s, 0, sizeof(*s));
    s->fd = fd;
    s->name = name;
    s->max_frame = (uint64_t)4 << 30;
}

void frame_stream_first(struct frame_stream *s, const void *first)
{
    memcpy(s->first, first, sizeof(s->first));
    s->have_first = true;
}

static int64_t deadline_of(const struct frame_stream *s)
{
    return s->deadline_ms > 0 ? clock_ms() + s->deadline_ms : FD_FOREVER;
}

/* Put the place in front of the error that is set. */
static int at_place(const struct frame_stream *s)
{
    return err_wrap("%s: frame %" PRIu64 " at byte %" PRIu64, s->name, s->seq,
                    s->offset);
}

/* Read exactly n bytes; the end of the input is an error, too. */
static int take(struct frame_stream *s, void *p, size_t n, int64_t deadline)
{
    int r = fd_read(s->fd, p, n, deadline);

    if (r == 0 && n > 0)
        return err_set(ERR_IO, "expected %zu bytes, got 0: the writer died", n);
    if (r < 0)
        return -1;
    s->offset += n;
    return 0;
}

/* Forget data of the current frame up to pos. */
static int skip_to(struct frame_stream *s, uint64_t pos)
{
    uint64_t n = pos - s->pos;
    int r;

    if (n == 0)
        return 0;
    r = fd_skip(s->fd, n, deadline_of(s));
    if (r == 0)
        return err_set(ERR_IO,
                       "expected %" PRIu64 " bytes, got 0: the writer died", n);
    if (r < 0)
        return -1;
    s->offset += n;
    s->pos = pos;
    s->left -= n;
    return 0;
}

static int read_header(struct frame_stream *s, struct frame *f)
{
    int64_t deadline = deadline_of(s);
    unsigned char len[8];
    uint64_t n;
    char *text;
    int r;

    memcpy(len, s->first, sizeof(len));
    r = s->have_first ? 1 : fd_read(s->fd, len, sizeof(len), deadline);
    s->have_first = false;
    if (r < 0)
        return -1;
    if (r == 0)
        return err_set(ERR_IO,
                       "the input ended without an end frame: the writer died");
    s->offset += sizeof(len);
    memcpy(&n, len, sizeof(n));
    if (n < 2 || n > STREAM_HEADER_MAX)
        return err_set(ERR_DATA,
                       "header of %" PRIu64 " bytes: not a tensor stream, "
                       "2 to %d are allowed",
                       n, STREAM_HEADER_MAX);
    text = xmalloc((size_t)n);
    r = take(s, text, (size_t)n, deadline);
    if (r == 0)
        r = frame_parse(f, text, (size_t)n, FRAME_STREAM);
    free(text);
    return r;
}

/* What every frame of a stream has to say. */
static int check_stream(const struct frame_stream *s, const struct frame *f)
{
    const char *version = frame_meta(f, "sft"), *type = frame_type(f);
    int64_t seq;

    if (!version || strcmp(version, "1") != 0)
        return err_set(ERR_DATA,
                       "metadata \"sft\" is not \"1\": not a tensor stream");
    if (!type[0])
        return err_set(ERR_DATA, "metadata \"t\" (the type) is missing");
    if (frame_meta_int(f, "seq", &seq) < 0)
        return -1;
    if (seq < 0 || (uint64_t)seq != s->seq)
        return err_set(ERR_DATA,
                       "sequence number %" PRId64 ", expected %" PRIu64
                       ": frames were lost or repeated",
                       seq, s->seq);
    if (s->seq == 0 && strcmp(type, "hello") != 0 && strcmp(type, "error") != 0)
        return err_set(ERR_DATA, "stream begins with \"%.40s\", not \"hello\"",
                       type);
    if (s->seq > 0 && strcmp(type, "hello") == 0)
        return err_set(ERR_DATA, "a second \"hello\" frame");
    if (f->data_bytes > s->max_frame)
        return err_set(ERR_DATA,
                       "%" PRIu64 " bytes of data, at most %" PRIu64
                       " are allowed",
                       f->data_bytes, s->max_frame);
    return 0;
}

/* The peer's failure becomes ours. */
static int peer_failed(const struct frame *f)
{
    const char *msg = frame_meta(f, "msg"), *origin = frame_meta(f, "origin");
    enum err_class class = ERR_INTERNAL;
    int64_t n;

    if (frame_meta(f, "class") && frame_meta_int(f, "class", &n) == 0 &&
        (n == ERR_NO || (n >= ERR_USAGE && n <= ERR_CONFIG)))
        class = (enum err_class)n;
    return err_set(class, "peer %.80s: %s",
                   origin && origin[0] ? origin : "unknown",
                   msg && msg[0] ? msg : "failed without a reason");
}

/* A number of the end frame, which other writers may leave out. */
static int check_count(const struct frame *f, const char *key, uint64_t read)
{
    int64_t n;

    if (!frame_meta(f, key))
        return 0;
    if (frame_meta_int(f, key, &n) < 0)
        return -1;
    if (n < 0 || (uint64_t)n != read)
        return err_set(ERR_DATA,
                       "end frame counts %" PRId64 " %s, %" PRIu64 " were read",
                       n, key, read);
    return 0;
}

/* Its counts show a stream that was cut and glued, or whose writer lost rows. */
static int check_end(const struct frame_stream *s, const struct frame *f)
{
    if (check_count(f, "frames", s->seq) < 0)
        return -1;
    return check_count(f, "rows", s->rows);
}

int frame_next(struct frame_stream *s, struct frame *f)
{
    if (s->ended) {
        frame_release(f);
        return 0;
    }
    if (skip_to(s, s->pos + s->left) < 0)
        return at_place(s);
    s->pos = s->left = 0;
    if (read_header(s, f) < 0 || check_stream(s, f) < 0) {
        at_place(s);
        frame_release(f);
        return -1;
    }
    s->left = f->data_bytes;
    if (strcmp(frame_type(f), "error") == 0) {
        s->ended = 1;
        return peer_failed(f);
    }
    if (strcmp(frame_type(f), "end") == 0) {
        if (check_end(s, f) < 0 || skip_to(s, s->left) < 0)
            return at_place(s);
        s->ended = 1;
        return 0;
    }
    s->seq++;
    return 1;
}

int frame_data(struct frame_stream *s, const struct frame *f, int i, void *dst)
{
    const struct frame_tensor *t = &f->tensor[i];
    size_t n = (size_t)(t->end - t->begin);

    if (n == 0)
        return 0;
    if (t->begin < s->pos)
        return err_set(ERR_INTERNAL,
                       "%s: tensor \"%s\" was asked for after a later one",
                       s->name, t->name);
    if (skip_to(s, t->begin) < 0 || take(s, dst, n, deadline_of(s)) < 0)
        return err_wrap("%s: frame %" PRIu64 ": tensor \"%s\"", s->name,
                        s->seq - 1, t->name);
    s->pos += n;
    s->left -= n;
    return 0;
}

int frame_data_all(struct frame_stream *s, const struct frame *f, void *dst)
{
    if (s->pos != 0)
        return err_set(ERR_INTERNAL,
                       "%s: all data was asked for after a part of it",
                       s->name);
    if (f->data_bytes == 0)
        return 0;
    if (take(s, dst, (size_t)f->data_bytes, deadline_of(s)) < 0)
        return err_wrap("%s: frame %" PRIu64, s->name, s->seq - 1);
    s->pos = f->data_bytes;
    s->left = 0;
    return 0;
}
