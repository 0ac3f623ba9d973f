/* Predictions as text. */
#include "eval/preds_private.h"

#include "util/buf.h"
#include "util/fdio.h"
#include "util/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 65536

/* Room for the fields of a line, kept from line to line. */
struct row_room {
    int64_t n, cap;
    double *score;
    int64_t *named;
    char **field;
};

static void room_release(struct row_room *r)
{
    free(r->score);
    free(r->named);
    free(r->field);
}

/* Cut a line at its blanks; the words stay where they are. */
static int split(struct row_room *r, char *line)
{
    char *p = line;

    for (r->n = 0;; r->n++) {
        p += strspn(p, " \t");
        if (!*p)
            return 0;
        if (r->n == r->cap) {
            r->cap = r->cap ? 2 * r->cap : 16;
            r->field =
                xreallocarray(r->field, (size_t)r->cap, sizeof *r->field);
            r->score =
                xreallocarray(r->score, (size_t)r->cap, sizeof *r->score);
            r->named =
                xreallocarray(r->named, (size_t)r->cap, sizeof *r->named);
        }
        if (r->n >= PREDS_CLASSES_MAX + 2)
            return err_set(ERR_DATA, "more than %d fields", PREDS_CLASSES_MAX);
        r->field[r->n] = p;
        p += strcspn(p, " \t");
        if (*p)
            *p++ = 0;
    }
}

static bool is_whole(const char *s)
{
    size_t n = strspn(s, "0123456789");

    return n > 0 && n <= 18 && !s[n];
}

/* What this source's lines hold, from its first line. */
static enum preds_text guess(const struct row_room *r)
{
    int64_t i;

    for (i = 2; i < r->n; i++)
        if (!is_whole(r->field[i]))
            return PREDS_SCORES;
    return PREDS_CLASSES;
}

static int read_scores(struct row_room *r)
{
    char *end;
    int64_t i;

    for (i = 2; i < r->n; i++) {
        r->score[i - 2] = strtod(r->field[i], &end);
        if (*end)
            return err_set(ERR_DATA, "score \"%.40s\": not a number",
                           r->field[i]);
    }
    return 0;
}

static int read_named(struct row_room *r)
{
    int64_t i, k;

    for (i = 2; i < r->n; i++) {
        if (!is_whole(r->field[i]))
            return err_set(ERR_DATA,
                           "\"%.40s\": not a class; the lines before "
                           "name classes",
                           r->field[i]);
        r->named[i - 2] = strtoll(r->field[i], NULL, 10);
        for (k = 0; k < i - 2; k++)
            if (r->named[k] == r->named[i - 2])
                return err_set(ERR_DATA, "class %" PRId64 " is named twice",
                               r->named[k]);
    }
    return 0;
}

static int check_fields(struct preds *p, int64_t n)
{
    int64_t most = topk_most(p->topk);

    if (n < 1)
        return err_set(ERR_DATA, "expected a key, a label and predictions");
    if (p->fields == 0)
        p->fields = n;
    if (n != p->fields)
        return err_set(ERR_DATA,
                       "%" PRId64 " predictions, the lines before "
                       "have %" PRId64,
                       n, p->fields);
    if (p->text == PREDS_CLASSES && most > n)
        return err_set(ERR_USAGE,
                       "%" PRId64 " classes are named: top %" PRId64
                       " cannot be told",
                       n, most);
    return 0;
}

static int read_label(const char *text, int64_t *label)
{
    if (strcmp(text, "-1") == 0) {
        *label = -1;
        return 0;
    }
    if (!is_whole(text))
        return err_set(ERR_DATA, "label \"%.40s\": not a whole number", text);
    *label = strtoll(text, NULL, 10);
    return 0;
}

static int count_line(struct preds *p, struct row_room *r, char *line)
{
    struct preds_row row = {.type = DT_F64};

    if (split(r, line) < 0)
        return -1;
    if (r->n == 0 || r->field[0][0] == '#')
        return 0;
    if (p->text == PREDS_AUTO)
        p->text = guess(r);
    row.n = r->n - 2;
    if (check_fields(p, row.n) < 0 || read_label(r->field[1], &row.label) < 0)
        return -1;
    if (!map_add(&p->keys, r->field[0], 0))
        return err_set(ERR_DATA, "key \"%.80s\": predicted twice", r->field[0]);
    if (p->text == PREDS_CLASSES) {
        row.named = r->named;
        if (read_named(r) < 0)
            return -1;
    } else {
        row.scores = r->score;
        if (read_scores(r) < 0)
            return -1;
    }
    return preds_count(p, &row, r->field[0]);
}

/* Another piece of the file behind what b holds: bytes, 0 at the end. */
static ssize_t more(const struct preds *p, int fd, struct buf *b)
{
    ssize_t r = fd_some(fd, buf_reserve(b, CHUNK), CHUNK, preds_deadline(p));

    if (r < 0)
        return -1;
    b->len += (size_t)r;
    b->data[b->len] = 0;
    return r;
}

/* All whole lines of b; what is left moves to its front. */
static int count_lines(struct preds *p, struct row_room *r, struct buf *b,
                       uint64_t *number, size_t *searched)
{
    char *line = b->data, *end;
    size_t from = *searched;

    while ((end = memchr(b->data + from, '\n', b->len - from))) {
        *end = 0;
        ++*number;
        if (strlen(line) != (size_t)(end - line))
            return err_set(ERR_DATA, "a NUL byte in a line");
        if (end > line && end[-1] == '\r')
            end[-1] = 0;
        if (count_line(p, r, line) < 0)
            return -1;
        line = end + 1;
        from = (size_t)(line - b->data);
    }
    b->len -= (size_t)(line - b->data);
    memmove(b->data, line, b->len + 1);
    *searched = b->len;
    if (b->len > PREDS_LINE_MAX)
        return err_set(ERR_DATA, "a line longer than %d bytes", PREDS_LINE_MAX);
    return 0;
}

int preds_text(struct preds *p, int fd, const char *name, const char *first,
               size_t n_first)
{
    struct row_room room = {0};
    struct buf b = BUF_INIT;
    uint64_t number = 0;
    size_t searched = 0;
    ssize_t n = 1;
    size_t bom = utf8_bom(first, n_first);
    int r = 0;

    buf_add(&b, first + bom, n_first - bom);
    while (r == 0 && n > 0) {
        n = more(p, fd, &b);
        if (n < 0)
            r = -1;
        if (n == 0 && b.len > 0) {
            p->open_end = true;
            buf_addch(&b, '\n');
        }
        if (r == 0)
            r = count_lines(p, &room, &b, &number, &searched);
    }
    buf_release(&b);
    room_release(&room);
    return r < 0 ? err_wrap("%s:%" PRIu64, name, number + (n < 0)) : 0;
}
