#include "eval/preds_private.h"

#include "io/frame.h"
#include "util/fdio.h"
#include "util/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NAMED_MISSING 5 /* samples named when some are missing */
#define SETS_BYTES_MAX ((size_t)1 << 30)
#define FRAME_BYTES_MAX ((uint64_t)256 << 20)

void preds_init(struct preds *p, struct topk *topk)
{
    memset(p, 0, sizeof *p);
    p->topk = topk;
    p->samples = p->stream_samples = -1;
}

void preds_release(struct preds *p)
{
    free(p->first);
    free(p->dataset);
    free(p->model);
    free(p->seen);
    map_release(&p->keys);
    memset(p, 0, sizeof *p);
}

/* ---- one sample */

/* The number at the end of a key, or -1. */
static int64_t number_of(const char *key)
{
    const char *end = key + strlen(key), *p = end;

    while (p > key && p[-1] >= '0' && p[-1] <= '9')
        p--;
    return p == end || end - p > 18 ? -1 : strtoll(p, NULL, 10);
}

static int64_t rank_of(const struct preds_row *row, int64_t label)
{
    if (row->named)
        return topk_place(row->named, row->n, label);
    return topk_rank(row->type, row->scores, row->n, label);
}

/* Against a set the best placed of its classes counts. */
static int count_set(struct preds *p, const struct preds_row *row,
                     const char *key)
{
    int64_t number = number_of(key), best = TOPK_MISS, rank, label;
    int i, n;

    if (number < 1 || number > p->sets->n)
        return err_set(ERR_DATA,
                       "key \"%.80s\": does not end in the number "
                       "of an image, 1 to %" PRId64,
                       key, p->sets->n);
    n = p->sets->set[number - 1].n;
    for (i = 0; i < n; i++) {
        label = p->sets->set[number - 1].label[i];
        if (!row->named && label >= row->n)
            return err_set(ERR_DATA,
                           "image %" PRId64 ": its set has class "
                           "%" PRId64 ", but there are %" PRId64,
                           number, label, row->n);
        rank = rank_of(row, label);
        if (rank == TOPK_NAN || best < 0 || (rank >= 0 && rank < best))
            best = rank;
        if (rank == TOPK_NAN)
            break;
    }
    if (n > 0)
        topk_add(p->topk, best);
    return 0;
}

int preds_count(struct preds *p, const struct preds_row *row, const char *key)
{
    if (row->label < 0)
        return err_set(ERR_DATA,
                       "label %" PRId64 ": a sample without a label "
                       "cannot be scored",
                       row->label);
    if (!row->named && row->label >= row->n)
        return err_set(ERR_DATA,
                       "label %" PRId64 ": there are %" PRId64 " classes",
                       row->label, row->n);
    p->seen_n++;
    if (p->sets)
        return count_set(p, row, key);
    topk_add(p->topk, rank_of(row, row->label));
    return 0;
}

/* ---- streams */

static int same_or_set(char **have, const char *now, const char *what,
                       const struct preds *p)
{
    if (!now)
        now = "";
    if (!*have)
        *have = xstrdup(now);
    if (strcmp(*have, now) != 0)
        return err_set(ERR_DATA, "%s \"%.80s\", but %s has \"%.80s\"", what,
                       now, p->first, *have);
    return 0;
}

static int same_number(int64_t *have, int64_t now, bool set, const char *what,
                       const struct preds *p)
{
    if (set)
        *have = now;
    if (*have != now)
        return err_set(ERR_DATA, "%" PRId64 " %s, but %s has %" PRId64, now,
                       what, p->first, *have);
    return 0;
}

static int read_hello(struct preds *p, const struct frame *f)
{
    const char *role = frame_meta(f, "role");
    bool first = p->kind == PREDS_NONE;
    int64_t samples, classes;

    if (!role || strcmp(role, "predict") != 0)
        return err_set(ERR_DATA,
                       "a stream of role \"%.40s\", not of "
                       "predictions",
                       role ? role : "");
    if (frame_check_proto(f, 1) < 0)
        return -1;
    if (frame_meta_int(f, "samples", &samples) < 0 ||
        frame_meta_int(f, "classes", &classes) < 0)
        return -1;
    if (samples < -1 || samples > PREDS_SAMPLES_MAX)
        return err_set(ERR_DATA, "%" PRId64 " samples", samples);
    if (classes < 1 || classes > PREDS_CLASSES_MAX)
        return err_set(ERR_DATA, "%" PRId64 " classes", classes);
    if (same_number(&p->stream_samples, samples, first, "samples", p) < 0 ||
        same_number(&p->classes, classes, first, "classes", p) < 0 ||
        same_or_set(&p->dataset, frame_meta(f, "dataset"), "data set", p) < 0 ||
        same_or_set(&p->model, frame_meta(f, "model"), "model", p) < 0)
        return -1;
    if (p->samples >= 0 && samples >= 0 && samples != p->samples)
        return err_set(ERR_DATA,
                       "a data set of %" PRId64 " samples, expected "
                       "%" PRId64,
                       samples, p->samples);
    p->kind = PREDS_STREAM;
    return 0;
}

/* Mark an index as seen; false: it is already. */
static bool mark(struct preds *p, int64_t index)
{
    uint64_t bit = (uint64_t)1 << (index & 63);
    int64_t word = index >> 6, cap;

    if (word >= p->seen_cap) {
        cap = p->seen_cap * 2 > word ? p->seen_cap * 2 : word + 1;
        p->seen = xreallocarray(p->seen, (size_t)cap, sizeof *p->seen);
        memset(p->seen + p->seen_cap, 0,
               (size_t)(cap - p->seen_cap) * sizeof *p->seen);
        p->seen_cap = cap;
    }
    if (p->seen[word] & bit)
        return false;
    p->seen[word] |= bit;
    return true;
}

static int64_t bound(const struct preds *p)
{
    if (p->stream_samples >= 0)
        return p->stream_samples;
    return p->samples >= 0 ? p->samples : PREDS_SAMPLES_MAX;
}

static int count_rows(struct preds *p, const int64_t *index,
                      const int64_t *label, const float *logits, int64_t n)
{
    struct preds_row row = {.type = DT_F32, .n = p->classes};
    int64_t i;

    for (i = 0; i < n; i++) {
        if (index[i] < 0 || index[i] >= bound(p))
            return err_set(ERR_DATA, "sample %" PRId64 ": there are %" PRId64,
                           index[i], bound(p));
        if (!mark(p, index[i]))
            return err_set(ERR_DATA, "sample %" PRId64 ": predicted twice",
                           index[i]);
        row.label = label[i];
        row.scores = logits + i * p->classes;
        if (preds_count(p, &row, "") < 0)
            return err_wrap("sample %" PRId64, index[i]);
    }
    return 0;
}

static int read_pred(struct preds *p, struct frame_stream *s,
                     const struct frame *f)
{
    const struct tensor *t;
    int64_t *index, *label, n;
    float *logits;
    int at[3], i, r = 0;

    if (frame_want(f, "index", DT_I64, 1, &at[0]) < 0 ||
        frame_want(f, "label", DT_I64, 1, &at[1]) < 0 ||
        frame_want(f, "logits", DT_F32, 2, &at[2]) < 0)
        return -1;
    t = &f->tensor[at[2]].t;
    n = t->shape[0];
    if (f->tensor[at[0]].t.shape[0] != n || f->tensor[at[1]].t.shape[0] != n)
        return err_set(ERR_DATA, "index, label and logits of different "
                                 "lengths");
    if (t->shape[1] != p->classes)
        return err_set(ERR_DATA,
                       "logits of %" PRId64 " classes, expected "
                       "%" PRId64,
                       t->shape[1], p->classes);
    index = xreallocarray(NULL, (size_t)n + 1, sizeof *index);
    label = xreallocarray(NULL, (size_t)n + 1, sizeof *label);
    logits = xreallocarray(NULL, (size_t)(n * p->classes) + 1, sizeof *logits);
    for (i = 0; i < f->n_tensors && r == 0; i++) {
        if (i == at[0])
            r = frame_data(s, f, i, index);
        else if (i == at[1])
            r = frame_data(s, f, i, label);
        else if (i == at[2])
            r = frame_data(s, f, i, logits);
    }
    if (r == 0)
        r = count_rows(p, index, label, logits, n);
    s->rows += (uint64_t)n;
    free(logits);
    free(label);
    free(index);
    return r;
}

/* Of streams behind each other only the first would count. */
static int check_last(const struct preds *p, int fd, const char *name)
{
    char more;
    ssize_t n = fd_some(fd, &more, 1, preds_deadline(p));

    if (n < 0)
        return err_wrap("%s", name);
    if (n > 0)
        return err_set(ERR_DATA,
                       "%s: goes on behind its end: give each stream as an "
                       "operand",
                       name);
    return 0;
}

/* Errors of the stream itself carry the place; ours get it here. */
static int read_stream(struct preds *p, int fd, const char *name,
                       const char first[8])
{
    struct frame f = FRAME_INIT;
    struct frame_stream s;
    int r, mine = 0;

    if (p->kind == PREDS_TEXT)
        return err_set(ERR_DATA, "%s: a tensor stream, but %s is text", name,
                       p->first);
    if (p->sets)
        return err_set(ERR_USAGE,
                       "%s: sets of classes need keys, and a "
                       "tensor stream has none",
                       name);
    frame_stream_init(&s, fd, name);
    frame_stream_first(&s, first);
    s.deadline_ms = p->timeout_ms;
    s.max_frame = FRAME_BYTES_MAX;
    while ((r = frame_next(&s, &f)) > 0) {
        if (strcmp(frame_type(&f), "hello") == 0)
            mine = read_hello(p, &f);
        else if (strcmp(frame_type(&f), "pred") == 0)
            mine = read_pred(p, &s, &f);
        if (mine < 0) {
            r = err_wrap("%s: frame %" PRIu64, name, s.seq - 1);
            break;
        }
    }
    frame_release(&f);
    return r == 0 ? check_last(p, fd, name) : r;
}

/* ---- sources */

int64_t preds_deadline(const struct preds *p)
{
    return p->timeout_ms > 0 ? clock_ms() + p->timeout_ms : FD_FOREVER;
}

/* Up to 8 bytes: how many, or -1. */
static int read_first(const struct preds *p, int fd, char first[8])
{
    int64_t deadline = preds_deadline(p);
    size_t n = 0;
    ssize_t r = 1;

    while (n < 8 && r > 0) {
        r = fd_some(fd, first + n, 8 - n, deadline);
        if (r < 0)
            return -1;
        n += (size_t)r;
    }
    return (int)n;
}

int preds_read(struct preds *p, int fd, const char *name)
{
    char first[8];
    int n = read_first(p, fd, first);
    int64_t before = p->seen_n;

    if (n < 0)
        return err_wrap("%s", name);
    if (n == 0)
        return err_set(ERR_DATA, "%s: empty: no predictions", name);
    if (!p->first)
        p->first = xstrdup(name);
    /* the length of a stream's first header is below 2^24; text has no NUL */
    if (memchr(first, 0, (size_t)n)) {
        if (n < 8)
            return err_set(ERR_IO,
                           "%s: expected 8 bytes, got %d: the writer "
                           "died",
                           name, n);
        return read_stream(p, fd, name, first);
    }
    if (p->kind == PREDS_STREAM)
        return err_set(ERR_DATA, "%s: text, but %s is a tensor stream", name,
                       p->first);
    p->kind = PREDS_TEXT;
    if (preds_text(p, fd, name, first, (size_t)n) < 0)
        return -1;
    if (p->seen_n == before)
        return err_set(ERR_DATA, "%s: no predictions", name);
    return 0;
}

static int64_t expected(const struct preds *p)
{
    return p->samples >= 0 ? p->samples : p->stream_samples;
}

int64_t preds_missing(const struct preds *p)
{
    int64_t n = expected(p);

    return n > p->seen_n ? n - p->seen_n : 0;
}

static int fail_missing(const struct preds *p)
{
    struct buf b = BUF_INIT;
    int64_t i, named = 0, missing = preds_missing(p), n = expected(p);
    int r;

    buf_addf(&b, "%" PRId64 " of %" PRId64 " samples are missing", missing, n);
    for (i = 0; p->kind == PREDS_STREAM && i < n && named < NAMED_MISSING; i++)
        if (i >> 6 >= p->seen_cap || !(p->seen[i >> 6] >> (i & 63) & 1))
            buf_addf(&b, "%s %" PRId64, named++ ? "," : ":", i);
    if (named && named < missing)
        buf_addstr(&b, ", ...");
    r = err_set(ERR_DATA, "%s", b.data);
    buf_release(&b);
    return r;
}

int preds_finish(struct preds *p)
{
    int64_t n = expected(p);

    if (p->topk->n == 0)
        return err_set(ERR_DATA, "no predictions");
    if (n >= 0 && p->seen_n > n)
        return err_set(ERR_DATA, "%" PRId64 " samples, expected %" PRId64,
                       p->seen_n, n);
    if (p->allow_missing)
        return 0;
    if (p->kind == PREDS_STREAM && n < 0)
        return err_set(ERR_DATA,
                       "%s: does not say how many samples there "
                       "must be",
                       p->first);
    return preds_missing(p) ? fail_missing(p) : 0;
}

/* ---- sets of classes */

static int read_set(struct preds_sets *s, const json_t *j, int64_t at)
{
    size_t n = json_array_size(j), i;
    const json_t *v;

    if (!json_is_array(j))
        return err_set(ERR_DATA, "image %" PRId64 ": not a list", at + 1);
    s->set[at].label = xcalloc(n + 1, sizeof *s->set[at].label);
    for (i = 0; i < n; i++) {
        v = json_array_get(j, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return err_set(ERR_DATA, "image %" PRId64 ": not a class", at + 1);
        s->set[at].label[i] = json_integer_value(v);
    }
    s->set[at].n = (int)n;
    return 0;
}

int preds_sets_read(struct preds_sets *s, const char *path)
{
    json_t *j = json_file(path, SETS_BYTES_MAX);
    int r = 0;

    memset(s, 0, sizeof *s);
    if (!j)
        return -1;
    if (!json_is_array(j) || json_array_size(j) == 0)
        r = err_set(ERR_DATA, "not a list of lists of classes");
    s->set = xcalloc(json_array_size(j) + 1, sizeof *s->set);
    while (r == 0 && s->n < (int64_t)json_array_size(j)) {
        r = read_set(s, json_array_get(j, (size_t)s->n), s->n);
        s->n++;
    }
    json_decref(j);
    return r < 0 ? err_wrap("%s", path) : 0;
}

void preds_sets_release(struct preds_sets *s)
{
    int64_t i;

    for (i = 0; i < s->n; i++)
        free(s->set[i].label);
    free(s->set);
    memset(s, 0, sizeof *s);
}
