#include "util/conf.h"

#include "util/buf.h"
#include "util/map.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

typedef int conf_fn(void *arg, const char *key, const char *value,
                    const char *where);

struct leaf {
    char *key, *value; /* value NULL: a plain null */
    int line;
};

/* One file while it is read: all its leaves, so that bases can go first. */
struct doc {
    const char *name;
    yaml_parser_t yaml;
    struct leaf *leaf;
    int n_leaves;
    struct map seen; /* full key -> line */
    char **base;
    int n_bases, base_line;
    int *n_keys; /* shared by all files of one conf_read */
};

/* One conf_read: where its leaves go and what was counted so far. */
struct reading {
    conf_fn *fn;
    void *arg;
    int n_keys, n_files;
};

/* The chain of files from the one asked for down to this one. */
struct chain {
    const struct chain *up;
    dev_t dev;
    ino_t ino;
    int depth;
};

static int line_of(const yaml_mark_t *m)
{
    return (int)m->line + 1;
}

PRINTF_LIKE(3, 4)
static int doc_fail(const struct doc *d, int line, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0)
        text[0] = 0;
    va_end(ap);
    return err_set(ERR_CONFIG, "%s:%d: %s", d->name, line, text);
}

static int yaml_fail(const struct doc *d)
{
    const yaml_parser_t *y = &d->yaml;
    const char *what = y->problem ? y->problem : "not YAML";

    if (y->error == YAML_MEMORY_ERROR)
        return err_set(ERR_SYSTEM, "%s: out of memory", d->name);
    return doc_fail(d, line_of(&y->problem_mark), "%s", what);
}

/* The next event, without what we do not take: anchors, aliases, tags. */
static int next_event(struct doc *d, yaml_event_t *e)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    const char *what = NULL;

    if (!yaml_parser_parse(&d->yaml, e))
        return yaml_fail(d);
    switch (e->type) {
    case YAML_ALIAS_EVENT:
        what = "an alias";
        break;
    case YAML_SCALAR_EVENT:
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
        break;
    default:
        break;
    }
    if (anchor)
        what = "an anchor";
    if (tag)
        what = "a tag";
    if (!what)
        return 0;
    doc_fail(d, line_of(&e->start_mark), "%s is not supported here", what);
    yaml_event_delete(e);
    return -1;
}

/* The text of a scalar, which must not hold a zero byte. */
static int scalar_text(struct doc *d, const yaml_event_t *e, const char **text)
{
    *text = (const char *)e->data.scalar.value;
    if (strlen(*text) != e->data.scalar.length)
        return doc_fail(d, line_of(&e->start_mark), "a zero byte in a text");
    return 0;
}

static bool is_null(const yaml_event_t *e)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};

    if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp((const char *)e->data.scalar.value, words[i]))
            return true;
    return false;
}

void conf_add_item(struct buf *b, const char *item)
{
    size_t n = strlen(item);
    bool quote = !n || item[strcspn(item, ",()[]")] || *item == '"' ||
                 *item == '\'' || *item == ' ' || item[n - 1] == ' ';

    if (!quote) {
        buf_addstr(b, item);
        return;
    }
    buf_addch(b, '\'');
    for (; *item; item++) {
        if (*item == '\'')
            buf_addch(b, '\'');
        buf_addch(b, *item);
    }
    buf_addch(b, '\'');
}

/* What follows the start of a sequence, as "a,b" or nested "[a,b],[c]". */
static int read_sequence(struct doc *d, struct buf *b, int depth)
{
    bool first = true;
    yaml_event_t e;
    const char *text;
    int r = 0, line;

    for (;;) {
        if (next_event(d, &e) < 0)
            return -1;
        line = line_of(&e.start_mark);
        if (e.type == YAML_SEQUENCE_END_EVENT)
            break;
        if (!first)
            buf_addch(b, ',');
        first = false;
        if (e.type == YAML_SCALAR_EVENT) {
            r = scalar_text(d, &e, &text);
            if (r == 0)
                conf_add_item(b, text);
        } else if (e.type != YAML_SEQUENCE_START_EVENT) {
            r = doc_fail(d, line, "a mapping inside a list");
        } else if (depth >= CONF_MAX_DEPTH) {
            r = doc_fail(d, line, "nested deeper than %d", CONF_MAX_DEPTH);
        } else {
            buf_addch(b, '[');
            r = read_sequence(d, b, depth + 1);
            buf_addch(b, ']');
        }
        yaml_event_delete(&e);
        if (r < 0)
            return -1;
    }
    yaml_event_delete(&e);
    return 0;
}

static int add_key(struct doc *d, const char *key, int line)
{
    int64_t before;

    if (++*d->n_keys > CONF_MAX_KEYS)
        return doc_fail(d, line, "more than %d keys", CONF_MAX_KEYS);
    if (map_get(&d->seen, key, &before))
        return doc_fail(d, line, "duplicate key \"%.80s\" (first at line %d)",
                        key, (int)before);
    map_add(&d->seen, key, line);
    return 0;
}

/* value is taken over. */
static void add_leaf(struct doc *d, const char *key, char *value, int line)
{
    d->leaf = xreallocarray(d->leaf, (size_t)d->n_leaves + 1, sizeof *d->leaf);
    d->leaf[d->n_leaves++] = (struct leaf){xstrdup(key), value, line};
}

static void add_base(struct doc *d, const char *path, int line)
{
    d->base = xreallocarray(d->base, (size_t)d->n_bases + 1, sizeof *d->base);
    d->base[d->n_bases++] = xstrdup(path);
    d->base_line = line;
}

/* The value of _BASE_, whose first event is e: a path or a list of paths. */
static int read_base(struct doc *d, const yaml_event_t *e)
{
    int line = line_of(&e->start_mark), r;
    yaml_event_t item;
    const char *text = NULL;

    if (e->type == YAML_SCALAR_EVENT && !is_null(e)) {
        if (scalar_text(d, e, &text) < 0)
            return -1;
        add_base(d, text, line);
        return 0;
    }
    if (e->type != YAML_SEQUENCE_START_EVENT)
        return doc_fail(d, line, "_BASE_: not a path or a list of paths");
    for (;;) {
        if (next_event(d, &item) < 0)
            return -1;
        if (item.type == YAML_SEQUENCE_END_EVENT)
            break;
        line = line_of(&item.start_mark);
        if (item.type != YAML_SCALAR_EVENT)
            r = doc_fail(d, line, "_BASE_: not a path or a list of paths");
        else
            r = scalar_text(d, &item, &text);
        if (r == 0)
            add_base(d, text, line);
        yaml_event_delete(&item);
        if (r < 0)
            return -1;
    }
    yaml_event_delete(&item);
    return 0;
}

static int read_mapping(struct doc *d, struct buf *key, int depth);

/* The value of the key in the buffer, whose first event is e. */
static int read_value(struct doc *d, const yaml_event_t *e, struct buf *key,
                      int depth)
{
    int line = line_of(&e->start_mark);
    struct buf list = BUF_INIT;
    const char *text;

    if (!strcmp(key->data, "_BASE_"))
        return read_base(d, e);
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        if (scalar_text(d, e, &text) < 0)
            return -1;
        add_leaf(d, key->data, is_null(e) ? NULL : xstrdup(text), line);
        return 0;
    case YAML_SEQUENCE_START_EVENT:
        if (read_sequence(d, &list, 1) < 0) {
            buf_release(&list);
            return -1;
        }
        add_leaf(d, key->data, buf_detach(&list), line);
        return 0;
    default: /* an end cannot follow a key: the parser gives a null */
        if (depth >= CONF_MAX_DEPTH)
            return doc_fail(d, line, "nested deeper than %d", CONF_MAX_DEPTH);
        return read_mapping(d, key, depth + 1);
    }
}

/* One key and its value; e is the event of the key. */
static int read_pair(struct doc *d, const yaml_event_t *e, struct buf *key,
                     int depth)
{
    int line = line_of(&e->start_mark), r;
    yaml_event_t value;
    const char *text;

    if (e->type != YAML_SCALAR_EVENT)
        return doc_fail(d, line, "a key that is not a word");
    if (scalar_text(d, e, &text) < 0)
        return -1;
    if (!*text)
        return doc_fail(d, line, "an empty key");
    if (strlen(text) > 256)
        return doc_fail(d, line, "a key longer than 256 bytes");
    if (key->len)
        buf_addch(key, '.');
    buf_addstr(key, text);
    if (add_key(d, key->data, line) < 0 || next_event(d, &value) < 0)
        return -1;
    r = read_value(d, &value, key, depth);
    yaml_event_delete(&value);
    return r;
}

/* Pairs up to the end of a mapping whose start has been read. */
static int read_mapping(struct doc *d, struct buf *key, int depth)
{
    size_t stem = key->len;
    yaml_event_t e;
    int r = 0;

    for (;;) {
        if (next_event(d, &e) < 0)
            return -1;
        if (e.type == YAML_MAPPING_END_EVENT)
            break;
        r = read_pair(d, &e, key, depth);
        yaml_event_delete(&e);
        if (r < 0)
            return -1;
        key->len = stem;
        key->data[stem] = 0;
    }
    yaml_event_delete(&e);
    return 0;
}

/* The one document: a mapping or nothing. */
static int read_document(struct doc *d)
{
    struct buf key = BUF_INIT;
    bool seen = false;
    yaml_event_t e;
    int r = 0;

    while (r == 0) {
        yaml_event_type_t type;

        if (next_event(d, &e) < 0) {
            r = -1;
            break;
        }
        type = e.type;
        if (type == YAML_MAPPING_START_EVENT)
            r = read_mapping(d, &key, 1);
        else if (type == YAML_SEQUENCE_START_EVENT ||
                 (type == YAML_SCALAR_EVENT && !is_null(&e)))
            r = doc_fail(d, line_of(&e.start_mark),
                         "expected \"KEY: value\" lines");
        else if (type == YAML_DOCUMENT_START_EVENT && seen)
            r = doc_fail(d, line_of(&e.start_mark), "a second document");
        seen |= type == YAML_DOCUMENT_START_EVENT;
        yaml_event_delete(&e);
        if (type == YAML_STREAM_END_EVENT)
            break;
    }
    buf_release(&key);
    return r;
}

/* Fill a doc from text; to be released whatever comes back. */
static int doc_read(struct doc *d, const char *text, size_t n)
{
    int r;

    if (n > CONF_MAX_BYTES)
        return err_set(ERR_CONFIG, "%s: larger than %d bytes", d->name,
                       CONF_MAX_BYTES);
    if (!yaml_parser_initialize(&d->yaml))
        return err_set(ERR_SYSTEM, "%s: out of memory", d->name);
    yaml_parser_set_input_string(&d->yaml, (const unsigned char *)text, n);
    r = read_document(d);
    yaml_parser_delete(&d->yaml);
    return r;
}

static int doc_emit(const struct doc *d, struct reading *g)
{
    for (int i = 0; i < d->n_leaves; i++) {
        const struct leaf *l = &d->leaf[i];
        char *where = xstrfmt("%s:%d", d->name, l->line);
        int r = g->fn(g->arg, l->key, l->value, where);

        free(where);
        if (r < 0)
            return -1;
    }
    return 0;
}

static void doc_release(struct doc *d)
{
    for (int i = 0; i < d->n_leaves; i++) {
        free(d->leaf[i].key);
        free(d->leaf[i].value);
    }
    for (int i = 0; i < d->n_bases; i++)
        free(d->base[i]);
    free(d->leaf);
    free(d->base);
    map_release(&d->seen);
}

/* A path as the file that names it means it; NULL for addresses of the web. */
static char *base_path(const char *from, const char *base)
{
    const char *slash = strrchr(from, '/');

    if (strstr(base, "://"))
        return NULL;
    if (*base == '/' || !slash)
        return xstrdup(base);
    return xstrfmt("%.*s/%s", (int)(slash - from), from, base);
}

static int read_path(struct reading *g, const char *path,
                     const struct chain *up);

static int read_bases(const struct doc *d, struct reading *g,
                      const struct chain *at)
{
    for (int i = 0; i < d->n_bases; i++) {
        char *path = base_path(d->name, d->base[i]);
        int r;

        if (!path)
            return doc_fail(d, d->base_line, "_BASE_: \"%.80s\": not a file",
                            d->base[i]);
        r = read_path(g, path, at);
        free(path);
        if (r < 0 && err_code() == ERR_NOINPUT)
            return err_wrap("%s:%d: _BASE_", d->name, d->base_line);
        if (r < 0)
            return -1;
    }
    return 0;
}

/* Counted by identity, so that links and "../" cannot hide a cycle. */
static int enter(struct chain *at, const char *path, struct reading *g)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return err_sys(ERR_NOINPUT, "%s: open", path);
    at->dev = st.st_dev;
    at->ino = st.st_ino;
    for (const struct chain *c = at->up; c; c = c->up)
        if (c->dev == at->dev && c->ino == at->ino)
            return err_set(ERR_CONFIG, "%s: _BASE_: a cycle", path);
    if (at->depth > CONF_MAX_DEPTH)
        return err_set(ERR_CONFIG, "%s: _BASE_: deeper than %d files", path,
                       CONF_MAX_DEPTH);
    if (++g->n_files > CONF_MAX_FILES)
        return err_set(ERR_CONFIG, "%s: _BASE_: more than %d files", path,
                       CONF_MAX_FILES);
    return 0;
}

static int read_path(struct reading *g, const char *path,
                     const struct chain *up)
{
    struct chain at = {.up = up, .depth = up ? up->depth + 1 : 0};
    struct doc d = {.name = path, .n_keys = &g->n_keys};
    struct buf text = BUF_INIT;
    int r = -1;

    if (enter(&at, path, g) < 0)
        return -1;
    if (buf_read_file(&text, path, CONF_MAX_BYTES) < 0) {
        if (err_code() == ERR_DATA)
            err_give(ERR_CONFIG, err_text());
        goto out;
    }
    if (doc_read(&d, text.data ? text.data : "", text.len) < 0)
        goto out;
    if (read_bases(&d, g, &at) < 0)
        goto out;
    r = doc_emit(&d, g);
out:
    doc_release(&d);
    buf_release(&text);
    return r;
}

int conf_read(const char *path, conf_fn *fn, void *arg)
{
    struct reading g = {.fn = fn, .arg = arg};

    return read_path(&g, path, NULL);
}

int conf_parse(const char *text, size_t n, const char *name, conf_fn *fn,
               void *arg)
{
    struct reading g = {.fn = fn, .arg = arg};
    struct doc d = {.name = name, .n_keys = &g.n_keys};
    int r = doc_read(&d, text, n);

    if (r == 0 && d.n_bases)
        r = doc_fail(&d, d.base_line, "_BASE_: only in files");
    if (r == 0)
        r = doc_emit(&d, &g);
    doc_release(&d);
    return r;
}
