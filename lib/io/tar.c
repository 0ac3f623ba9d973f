/* Reading: members of any tar, and samples of them. */
#include "io/tar.h"

#include "io/tar_private.h"
#include "util/fdio.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

unsigned tar_checksum(const unsigned char *block, int *as_signed)
{
    unsigned sum = 0;
    int s = 0, i;

    for (i = 0; i < TAR_BLOCK; i++) {
        sum += block[i];
        s += (signed char)block[i];
    }
    for (i = TAR_CHECKSUM; i < TAR_TYPE; i++) {
        sum += ' ' - (unsigned)block[i];
        s += ' ' - (signed char)block[i];
    }
    if (as_signed)
        *as_signed = s;
    return sum;
}

/* As fd_read and fd_skip, wherever the bytes come from. */
static int take(struct tar_reader *r, void *p, size_t n)
{
    return r->in ? r->in->read(r->in->arg, p, n)
                 : fd_read(r->fd, p, n, FD_FOREVER);
}

static int pass(struct tar_reader *r, uint64_t n)
{
    return r->in ? r->in->skip(r->in->arg, n) : fd_skip(r->fd, n, FD_FOREVER);
}

void tar_reader_init(struct tar_reader *r, int fd, const char *name)
{
    struct stat st;

    memset(r, 0, sizeof(*r));
    r->fd = fd;
    r->name = name;
    r->max_member = 64 << 20;
    r->file_size = UINT64_MAX;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        r->file_size = (uint64_t)st.st_size;
}

void tar_reader_input(struct tar_reader *r, const struct tar_input *in,
                      const char *name, uint64_t size)
{
    tar_reader_init(r, -1, name);
    r->in = in;
    r->file_size = size;
}

void tar_reader_release(struct tar_reader *r)
{
    buf_release(&r->global);
    buf_release(&r->local);
    buf_release(&r->long_name);
    buf_release(&r->path_buf);
    buf_release(&r->scratch);
}

static int bad(const struct tar_reader *r, uint64_t offset, const char *why)
{
    return err_set(ERR_DATA, "%s: offset %llu: %s%s%s", r->name,
                   (unsigned long long)offset, r->path ? r->path : "",
                   r->path ? ": " : "", why);
}

/* Give a failed read the class and the place of bad data. */
static int cut_off(const struct tar_reader *r, int rc, const char *what)
{
    if (rc < 0 && err_code() != ERR_IO)
        return err_wrap("%s: offset %llu", r->name,
                        (unsigned long long)r->offset);
    return err_set(ERR_DATA, "%s: offset %llu: %s%struncated %s%s%s", r->name,
                   (unsigned long long)r->offset, r->path ? r->path : "",
                   r->path ? ": " : "", what, rc < 0 ? ": " : "",
                   rc < 0 ? err_text() : "");
}

/* A number field: octal with blanks around it, or base 256. */
static int number(const unsigned char *f, size_t len, uint64_t *v)
{
    size_t i = 0;

    *v = 0;
    if (f[0] & 0x80) {
        if (f[0] != 0x80)
            return -1; /* negative, or more than any file has */
        for (i = 1; i < len; i++) {
            if (*v >> 32)
                return -1; /* 2^40 and more */
            *v = *v << 8 | f[i];
        }
        return 0;
    }
    while (i < len && f[i] == ' ')
        i++;
    for (; i < len && f[i] >= '0' && f[i] <= '7'; i++)
        *v = *v << 3 | (uint64_t)(f[i] - '0');
    /* what is behind its end is nobody's concern, as for other readers */
    return i == len || f[i] == 0 || f[i] == ' ' ? 0 : -1;
}

static bool all_zero(const unsigned char *block)
{
    for (int i = 0; i < TAR_BLOCK; i++)
        if (block[i])
            return false;
    return true;
}

/* 1: a header; 0: the archive ends here. */
static int read_header(struct tar_reader *r, unsigned char *block)
{
    uint64_t sum;
    int rc, as_signed;
    unsigned plain;

    if (r->ended)
        return 0;
    rc = take(r, block, TAR_BLOCK);
    if (rc < 0)
        return cut_off(r, rc, "header");
    if (rc == 0)
        return 0;
    if (all_zero(block)) {
        r->offset += TAR_BLOCK;
        /* a lone one ends an archive as well, whatever follows it */
        if (r->file_size - r->offset < TAR_BLOCK)
            return 0;
        rc = take(r, block, TAR_BLOCK);
        if (rc < 0)
            return cut_off(r, rc, "end");
        r->offset += rc ? TAR_BLOCK : 0;
        r->ended = rc > 0 && all_zero(block);
        return 0;
    }
    plain = tar_checksum(block, &as_signed);
    if (number(block + TAR_CHECKSUM, 8, &sum) < 0 ||
        (sum != plain && sum != (uint64_t)(int64_t)as_signed))
        return bad(r, r->offset, "header: wrong checksum");
    return 1;
}

long tar_pax_find(const char *records, size_t n, const char *key,
                  const char **value)
{
    size_t at = 0, len, i, klen = strlen(key);
    long found = -1;

    while (at < n) {
        for (len = 0, i = at; i < n && records[i] >= '0' && records[i] <= '9';
             i++) {
            len = len * 10 + (size_t)(records[i] - '0');
            if (len > TAR_PAX_MAX)
                return -1;
        }
        if (i >= n || records[i] != ' ' || len < i - at + 2 || len > n - at)
            return -1;
        i++;
        if (len > i - at + klen + 1 && !memcmp(records + i, key, klen) &&
            records[i + klen] == '=') {
            /* the last one of a key rules */
            *value = records + i + klen + 1;
            found = (long)(at + len - 1 - (i + klen + 1));
        }
        at += len;
    }
    return found;
}

/* Is every record sound? A sparse file is refused here too. */
static int check_pax(const struct tar_reader *r, const struct buf *b)
{
    size_t at = 0, len, i;

    while (at < b->len) {
        for (len = 0, i = at; i < b->len && i < at + 6; i++) {
            if (b->data[i] < '0' || b->data[i] > '9')
                break;
            len = len * 10 + (size_t)(b->data[i] - '0');
        }
        if (i == at || i >= b->len || b->data[i] != ' ' || len > b->len - at ||
            len < i - at + 4 || b->data[at + len - 1] != '\n' ||
            !memchr(b->data + i + 1, '=', len - (i - at) - 2))
            return bad(r, r->offset, "pax record: malformed");
        if (!strncmp(b->data + i + 1, "GNU.sparse.", 11))
            return bad(r, r->offset, "sparse file");
        at += len;
    }
    return 0;
}

/* Read size bytes and their padding into b (reset). */
static int read_meta(struct tar_reader *r, struct buf *b, uint64_t size,
                     const char *what)
{
    size_t n;
    int rc;

    buf_reset(b);
    if (size > TAR_PAX_MAX)
        return bad(r, r->offset, "extension header over 64 KiB");
    n = (size_t)size + tar_padding(size);
    buf_reserve(b, n);
    rc = n ? take(r, b->data, n) : 1;
    if (rc <= 0)
        return cut_off(r, rc, what);
    b->len = (size_t)size;
    b->data[b->len] = 0;
    r->offset += n;
    return 0;
}

static int pax_size(const struct tar_reader *r, const char *v, long n,
                    uint64_t *size)
{
    *size = 0;
    if (n < 1 || n > 12)
        return bad(r, r->offset, "pax size: not a number of bytes");
    for (long i = 0; i < n; i++) {
        if (v[i] < '0' || v[i] > '9')
            return bad(r, r->offset, "pax size: not a number of bytes");
        *size = *size * 10 + (uint64_t)(v[i] - '0');
    }
    return *size >> 40 ? bad(r, r->offset, "pax size: too large") : 0;
}

/* What the extension headers in force say of a key. */
static long extended(const struct tar_reader *r, const char *key,
                     const char **v)
{
    long n = tar_pax_find(r->local.data, r->local.len, key, v);

    return n >= 0 ? n : tar_pax_find(r->global.data, r->global.len, key, v);
}

static int set_path(struct tar_reader *r, const unsigned char *block)
{
    size_t prefix = strnlen((const char *)block + TAR_PREFIX, TAR_PREFIX_LEN);
    const char *v;
    long n = extended(r, "path", &v);

    buf_reset(&r->path_buf);
    if (n >= 0) {
        if (memchr(v, 0, (size_t)n))
            return bad(r, r->offset, "pax path: NUL inside");
        buf_add(&r->path_buf, v, (size_t)n);
    } else if (r->long_name.len) {
        buf_addstr(&r->path_buf, r->long_name.data);
    } else {
        if (prefix && !memcmp(block + TAR_MAGIC, "ustar", 6)) {
            buf_add(&r->path_buf, block + TAR_PREFIX, prefix);
            buf_addch(&r->path_buf, '/');
        }
        buf_add(&r->path_buf, block,
                strnlen((const char *)block, TAR_NAME_LEN));
    }
    if (r->path_buf.len > TAR_PATH_MAX)
        return bad(r, r->offset, "path over 4096 bytes");
    buf_reserve(&r->path_buf, 1);
    r->path = r->path_buf.data;
    return 0;
}

/* Headers that speak of the next one. 1: read, go on; 0: none of these. */
static int extension(struct tar_reader *r, char type, uint64_t size)
{
    struct buf *b = type == 'x'   ? &r->local
                    : type == 'g' ? &r->global
                    : type == 'L' ? &r->long_name
                    : type == 'K' ? &r->scratch
                                  : NULL;

    if (!b)
        return 0;
    if (read_meta(r, b, size,
                  type == 'L' || type == 'K' ? "long name" : "pax header") < 0)
        return -1;
    if (b == &r->long_name)
        b->len = strlen(b->data);
    if ((b == &r->local || b == &r->global) && check_pax(r, b) < 0)
        return -1;
    return 1;
}

/* A header that stands for a member; 1: a regular file, 0: a directory. */
static int take_member(struct tar_reader *r, const unsigned char *block,
                       char type, uint64_t size)
{
    uint64_t header = r->offset - TAR_BLOCK;
    const char *v;
    long n;

    if (set_path(r, block) < 0)
        return -1;
    n = extended(r, "size", &v);
    if (n >= 0 && pax_size(r, v, n, &size) < 0)
        return -1;
    buf_reset(&r->local);
    buf_reset(&r->long_name);
    if (type == 0 && r->path_buf.len && r->path[r->path_buf.len - 1] == '/')
        type = '5';
    if (type != '0' && type != 0 && type != '7' && type != '5')
        return bad(r, header,
                   type == '1' || type == '2' ? "link: not a regular file"
                   : type == 'S'              ? "sparse file"
                                              : "not a regular file");
    if (type != '5' && size > r->max_member)
        return bad(r, header, "member is larger than allowed");
    if (r->file_size != UINT64_MAX &&
        (r->offset > r->file_size || size > r->file_size - r->offset))
        return bad(r, header, "member runs past the end of the file");
    r->kind = TAR_FILE;
    r->size = size;
    r->data_offset = r->offset;
    r->left = size + tar_padding(size);
    return type != '5';
}

/* Skip what was not read. A last member may lack its padding. */
static int finish_member(struct tar_reader *r)
{
    uint64_t pad = tar_padding(r->size);
    int rc;

    /* in one go where the file is known to be long enough */
    if (r->left > pad &&
        (r->file_size == UINT64_MAX || r->left > r->file_size - r->offset)) {
        rc = pass(r, r->left - pad);
        if (rc <= 0)
            return cut_off(r, rc, "member");
        r->offset += r->left - pad;
        r->left = pad;
    }
    if (r->left) {
        rc = pass(r, r->left);
        if (rc <= 0)
            return cut_off(r, rc, "padding");
        r->offset += r->left;
    }
    r->left = 0;
    return 0;
}

int tar_next(struct tar_reader *r)
{
    unsigned char block[TAR_BLOCK];
    uint64_t size;
    int rc;

    for (;;) {
        if (finish_member(r) < 0)
            return -1;
        r->path = NULL;
        rc = read_header(r, block);
        if (rc <= 0)
            return rc;
        if (number(block + TAR_SIZE, 12, &size) < 0)
            return bad(r, r->offset, "header: size is not a number");
        r->offset += TAR_BLOCK;
        rc = extension(r, (char)block[TAR_TYPE], size);
        if (rc < 0)
            return -1;
        if (rc > 0 && block[TAR_TYPE] == 'g' && r->globals) {
            r->kind = TAR_GLOBAL;
            r->size = r->global.len;
            return 1;
        }
        if (rc > 0)
            continue;
        rc = take_member(r, block, (char)block[TAR_TYPE], size);
        if (rc)
            return rc;
    }
}

int tar_data(struct tar_reader *r, struct buf *b)
{
    char *to;
    int rc;

    if (r->kind == TAR_GLOBAL) {
        buf_add(b, r->global.data, r->global.len);
        return 0;
    }
    /* what a pipe claims is not allocated before it has come */
    for (uint64_t done = 0; done < r->size;) {
        size_t part = 1 << 20;

        if (r->size - done < part || r->file_size != UINT64_MAX)
            part = (size_t)(r->size - done);
        to = buf_reserve(b, part);
        rc = take(r, to, part);
        if (rc <= 0)
            return cut_off(r, rc, "member");
        b->len += part;
        b->data[b->len] = 0;
        done += part;
        r->offset += part;
        r->left -= part;
    }
    return 0;
}

int tar_read(struct tar_reader *r, void *p, size_t n)
{
    uint64_t pad = tar_padding(r->size), left = r->left - pad;
    int rc;

    if (!left)
        return 0;
    if (n > left)
        return err_set(ERR_DATA, "%s: ends inside", r->path ? r->path : "");
    rc = take(r, p, n);
    if (rc <= 0)
        return cut_off(r, rc, "member");
    r->offset += n;
    r->left -= n;
    return 1;
}

int tar_skip(struct tar_reader *r, uint64_t n)
{
    uint64_t left = r->left - tar_padding(r->size);
    int rc;

    if (n && !left)
        return 0;
    if (n > left)
        return err_set(ERR_DATA, "%s: ends inside", r->path ? r->path : "");
    rc = n ? pass(r, n) : 1;
    if (rc <= 0)
        return cut_off(r, rc, "member");
    r->offset += n;
    r->left -= n;
    return 1;
}

/* ---- samples */

bool tar_split(const char *path, size_t *key_len, const char **ext)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    const char *dot = strchr(base, '.');

    if (!dot || dot == base)
        return false;
    *key_len = (size_t)(dot - path);
    *ext = dot + 1;
    return true;
}

void tar_samples_init(struct tar_samples *t, int fd, const char *name)
{
    tar_reader_init(&t->tar, fd, name);
    t->held = false;
}

void tar_samples_release(struct tar_samples *t)
{
    tar_reader_release(&t->tar);
}

static void sample_reset(struct tar_sample *s)
{
    for (int i = 0; i < s->n; i++) {
        free(s->part[i].path);
        s->part[i].path = NULL;
    }
    free(s->key);
    s->key = NULL;
    s->n = 0;
}

static int sample_add(struct tar_samples *t, struct tar_sample *s,
                      const char *ext)
{
    struct tar_reader *r = &t->tar;
    struct tar_part *p = &s->part[s->n];

    if (s->n == TAR_MEMBERS_MAX)
        return bad(r, r->data_offset, "more than 16 members in a sample");
    p->path = xstrdup(r->path);
    p->ext = p->path + (ext - r->path);
    p->offset = r->data_offset;
    buf_reset(&p->data);
    s->n++;
    return tar_data(r, &p->data);
}

int tar_sample_next(struct tar_samples *t, struct tar_sample *s)
{
    struct tar_reader *r = &t->tar;
    const char *ext;
    size_t len;
    int rc;

    sample_reset(s);
    for (;; t->held = false) {
        rc = t->held ? 1 : tar_next(r);
        if (rc < 0)
            return -1;
        if (rc == 0)
            return s->n > 0;
        t->held = true;
        if (r->kind == TAR_GLOBAL) {
            if (s->n)
                return 1;
            t->held = false;
            buf_reset(&s->part[0].data);
            return tar_data(r, &s->part[0].data) < 0 ? -1 : 2;
        }
        if (!tar_split(r->path, &len, &ext))
            continue;
        if (s->n && (strlen(s->key) != len || memcmp(s->key, r->path, len) ||
                     tar_sample_part(s, ext)))
            return 1;
        if (!s->n)
            s->key = xstrfmt("%.*s", (int)len, r->path);
        if (sample_add(t, s, ext) < 0)
            return -1;
    }
}

const struct tar_part *tar_sample_part(const struct tar_sample *s,
                                       const char *ext)
{
    for (int i = 0; i < s->n; i++)
        if (!strcasecmp(s->part[i].ext, ext))
            return &s->part[i];
    return NULL;
}

void tar_sample_release(struct tar_sample *s)
{
    sample_reset(s);
    for (int i = 0; i < TAR_MEMBERS_MAX; i++)
        buf_release(&s->part[i].data);
}
