/* Making headers, and writing a stream of frames. */
#include "io/frame.h"

#include "util/fdio.h"
#include "util/map.h"
#include "util/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_ALIGN 64
#define ERROR_WAIT_MS 5000 /* a reader that is stuck too is not waited for */

/* ---- header text */

/* A JSON string, escaped as the reference writer does. */
static int add_string(struct buf *out, const char *s)
{
    static const char letter[] = "btn\0fr"; /* for the codes 8 to 13 */
    unsigned char c;
    size_t n;

    buf_addch(out, '"');
    for (; *s; s += n) {
        n = utf8_len(s);
        if (n == 0)
            return err_set(ERR_DATA, "not UTF-8: \"%.80s\"", s);
        c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            buf_addf(out, "\\%c", c);
        else if (c >= 8 && c <= 13 && letter[c - 8])
            buf_addf(out, "\\%c", letter[c - 8]);
        else if (c < 0x20)
            buf_addf(out, "\\u%04x", c);
        else
            buf_add(out, s, n);
    }
    buf_addch(out, '"');
    return 0;
}

static int by_key(const void *a, const void *b)
{
    const struct frame_pair *x = a, *y = b;

    return strcmp(x->key, y->key);
}

static int add_metadata(struct buf *out, const struct frame_pair *meta,
                        int n_meta)
{
    struct frame_pair *sorted;
    int i, r = -1;

    if (n_meta > FRAME_META_MAX)
        return err_set(ERR_DATA, "%d metadata pairs, at most %d are allowed",
                       n_meta, FRAME_META_MAX);
    sorted = xreallocarray(NULL, (size_t)n_meta, sizeof(*sorted));
    memcpy(sorted, meta, (size_t)n_meta * sizeof(*sorted));
    qsort(sorted, (size_t)n_meta, sizeof(*sorted), by_key);
    buf_addstr(out, "\"__metadata__\":{");
    for (i = 0; i < n_meta; i++) {
        if (i && strcmp(sorted[i - 1].key, sorted[i].key) == 0) {
            err_set(ERR_INTERNAL, "metadata \"%s\" twice", sorted[i].key);
            goto out;
        }
        if (i)
            buf_addch(out, ',');
        if (add_string(out, sorted[i].key) < 0)
            goto out;
        buf_addch(out, ':');
        if (add_string(out, sorted[i].value) < 0) {
            err_wrap("metadata \"%s\"", sorted[i].key);
            goto out;
        }
    }
    buf_addch(out, '}');
    r = 0;
out:
    free(sorted);
    return r;
}

static int add_tensor(struct buf *out, const struct frame_item *it, int64_t *at)
{
    int64_t end;
    uint64_t bytes;
    int i;

    if (strcmp(it->name, "__metadata__") == 0)
        return err_set(ERR_DATA, "reserved name");
    if (strlen(it->name) > FRAME_NAME_MAX)
        return err_set(ERR_DATA, "name longer than %d bytes", FRAME_NAME_MAX);
    if (tensor_check(&it->t, &bytes) < 0)
        return -1;
    if (!add_ok(*at, (int64_t)bytes, &end) || end > (int64_t)1 << 53)
        return err_set(ERR_DATA, "more than 2^53 bytes");
    if (add_string(out, it->name) < 0)
        return -1;
    buf_addf(out, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(it->t.dtype));
    for (i = 0; i < it->t.rank; i++)
        buf_addf(out, "%s%" PRId64, i ? "," : "", it->t.shape[i]);
    buf_addf(out, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", *at, end);
    *at = end;
    return 0;
}

static int add_tensors(struct buf *out, const struct frame_item *items, int n,
                       bool comma)
{
    struct map names = MAP_INIT;
    int64_t at = 0;
    int i, r = -1;

    for (i = 0; i < n; i++) {
        if (comma || i)
            buf_addch(out, ',');
        if (!map_add(&names, items[i].name, i)) {
            err_set(ERR_DATA, "tensor \"%.80s\" twice", items[i].name);
            goto out;
        }
        if (add_tensor(out, &items[i], &at) < 0) {
            err_wrap("tensor \"%.80s\"", items[i].name);
            goto out;
        }
    }
    r = 0;
out:
    map_release(&names);
    return r;
}

int frame_header(struct buf *out, const struct frame_pair *meta, int n_meta,
                 const struct frame_item *items, int n_items, size_t align)
{
    size_t start = out->len, n;

    buf_addch(out, '{');
    if (n_meta && add_metadata(out, meta, n_meta) < 0)
        goto bad;
    if (add_tensors(out, items, n_items, n_meta > 0) < 0)
        goto bad;
    buf_addch(out, '}');
    n = 8 + (out->len - start);
    if (align > 1 && n % align)
        buf_addfill(out, ' ', align - n % align);
    return 0;
bad:
    out->len = start;
    out->data[start] = 0;
    return -1;
}

static int by_size(const void *a, const void *b)
{
    const struct frame_item *x = a, *y = b;
    size_t p = dtype_size(x->t.dtype), q = dtype_size(y->t.dtype);

    if (p != q)
        return p > q ? -1 : 1;
    return strcmp(x->name, y->name);
}

void frame_sort(struct frame_item *items, int n)
{
    if (n > 1)
        qsort(items, (size_t)n, sizeof(*items), by_size);
}

/* ---- streams */

void frame_writer_init(struct frame_writer *w, int fd, const char *name)
{
    memset(w, 0, sizeof(*w));
    w->fd = fd;
    w->name = name;
}

void frame_writer_release(struct frame_writer *w)
{
    buf_release(&w->head);
}

/* Names of streams are plain, so that a reader needs no table for them. */
static int check_items(const struct frame_item *items, int n)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "abcdefghijklmnopqrstuvwxyz0123456789_./-";
    size_t len;
    int i;

    for (i = 0; i < n; i++) {
        len = strlen(items[i].name);
        if (len < 1 || len > 128 || strspn(items[i].name, plain) != len)
            return err_set(ERR_INTERNAL,
                           "tensor \"%.140s\": not a name for a stream",
                           items[i].name);
        if (!items[i].t.data && tensor_bytes(&items[i].t))
            return err_set(ERR_INTERNAL, "tensor \"%s\" has no data",
                           items[i].name);
    }
    return 0;
}

/* The u64 and the header text into w->head. */
static int make_head(struct frame_writer *w, const char *type,
                     const struct frame_pair *meta, int n_meta,
                     const struct frame_item *items, int n_items)
{
    struct frame_pair all[FRAME_META_MAX];
    struct buf text = BUF_INIT;
    char seq[24];
    uint64_t n;
    int r;

    if (n_meta > FRAME_META_MAX - 3)
        return err_set(ERR_INTERNAL, "%d metadata pairs", n_meta);
    snprintf(seq, sizeof(seq), "%" PRIu64, w->seq);
    all[0] = (struct frame_pair){"sft", "1"};
    all[1] = (struct frame_pair){"t", type};
    all[2] = (struct frame_pair){"seq", seq};
    if (n_meta)
        memcpy(all + 3, meta, (size_t)n_meta * sizeof(*meta));
    r = frame_header(&text, all, n_meta + 3, items, n_items, STREAM_ALIGN);
    if (r == 0 && text.len > 1 << 20)
        r = err_set(ERR_DATA, "header of %zu bytes, at most %d are allowed",
                    text.len, 1 << 20);
    n = text.len;
    buf_reset(&w->head);
    if (r == 0) {
        buf_add(&w->head, &n, sizeof(n));
        buf_add(&w->head, text.data, text.len);
    }
    buf_release(&text);
    return r;
}

static int send_all(struct frame_writer *w, const struct frame_item *items,
                    int n_items, int64_t deadline_ms)
{
    int64_t deadline = deadline_ms > 0 ? clock_ms() + deadline_ms : FD_FOREVER;
    struct iovec *v = xreallocarray(NULL, (size_t)n_items + 1, sizeof(*v));
    int i, r;

    v[0].iov_base = w->head.data;
    v[0].iov_len = w->head.len;
    for (i = 0; i < n_items; i++) {
        v[i + 1].iov_base = items[i].t.data;
        v[i + 1].iov_len = tensor_bytes(&items[i].t);
    }
    r = fd_writev(w->fd, v, n_items + 1, deadline);
    free(v);
    return r;
}

int frame_write(struct frame_writer *w, const char *type,
                const struct frame_pair *meta, int n_meta,
                struct frame_item *items, int n_items, int64_t deadline_ms)
{
    frame_sort(items, n_items);
    if (w->seq == 0 && strcmp(type, "hello") != 0 && strcmp(type, "error") != 0)
        return err_set(ERR_INTERNAL,
                       "%s: stream begins with \"%s\", not \"hello\"", w->name,
                       type);
    if (make_head(w, type, meta, n_meta, items, n_items) < 0 ||
        check_items(items, n_items) < 0 ||
        send_all(w, items, n_items, deadline_ms) < 0)
        return err_wrap("%s: frame %" PRIu64 " (%s)", w->name, w->seq, type);
    w->seq++;
    return 0;
}

int frame_write_end(struct frame_writer *w)
{
    char frames[24], rows[24];
    struct frame_pair meta[] = {{"frames", frames}, {"rows", rows}};

    snprintf(frames, sizeof(frames), "%" PRIu64, w->seq);
    snprintf(rows, sizeof(rows), "%" PRIu64, w->rows);
    return frame_write(w, "end", meta, 2, NULL, 0, 0);
}

/* A word for a class; the number goes beside it for the exit status. */
static const char *class_word(enum err_class c)
{
    static const char *const words[] = {
        [ERR_USAGE] = "usage",         [ERR_DATA] = "data",
        [ERR_NOINPUT] = "noinput",     [ERR_UNAVAILABLE] = "unavailable",
        [ERR_INTERNAL] = "internal",   [ERR_SYSTEM] = "system",
        [ERR_CANTCREAT] = "cantcreat", [ERR_IO] = "io",
        [ERR_AGAIN] = "again",         [ERR_PEER] = "peer",
        [ERR_NOPERM] = "noperm",       [ERR_CONFIG] = "config",
    };

    if (c >= ERR_USAGE && c <= ERR_CONFIG && words[c])
        return words[c];
    return c == ERR_NO ? "no" : "internal";
}

int frame_write_error(struct frame_writer *w)
{
    enum err_class c = err_code() ? err_code() : ERR_INTERNAL;
    char *why = xstrdup(err_text()), class[16];
    struct frame_pair meta[] = {{"class", class},
                                {"code", class_word(c)},
                                {"msg", why},
                                {"origin", prog_name()}};
    char *p;
    size_t n;
    int r;

    snprintf(class, sizeof(class), "%d", (int)c);
    /* Names of files in the sentence may be in any coding. */
    for (p = why; *p; p += n) {
        n = utf8_len(p);
        if (n == 0) {
            *p = '?';
            n = 1;
        }
    }
    r = frame_write(w, "error", meta, 4, NULL, 0, ERROR_WAIT_MS);
    /* The first failure stays the one that is reported. */
    err_give(c, why);
    free(why);
    return r;
}
