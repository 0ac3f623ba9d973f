/* Labels from a file: a list in the order of the files, or a table. */
#include "io/source_private.h"

#include "util/buf.h"
#include "util/utf8.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (256 << 20)
#define FIELDS 8
#define TWICE (-1)

/* A line, cut in place. */
struct line {
    char *field[FIELDS];
    int n;
};

struct labels {
    struct source *src;
    const struct map *classes;
    const char *path;
    struct map synset; /* number to index in name */
    char **name;
    size_t n_names;
    struct map by_key, by_base; /* files; TWICE: not one alone */
    unsigned line;
    int column;   /* of a table */
    bool numbers; /* the column says that it holds class numbers */
};

/* The next line that is not blank, cut into fields. False: the end. */
static bool next_line(char **at, struct line *l, unsigned *number)
{
    while (**at) {
        char *p = *at;
        const char *cut;
        size_t n = strcspn(p, "\n");

        *at = p + n + (p[n] == '\n');
        p[n] = 0;
        (*number)++;
        while (n && strchr("\r \t", p[n - 1]))
            p[--n] = 0;
        /* names may have blanks where tabs divide */
        cut = strchr(p, '\t') ? "\t" : " ,";
        if (*cut == ' ') /* numbers may be aligned at their right */
            p += strspn(p, " ");
        for (l->n = 0; *p && l->n < FIELDS; l->n++) {
            l->field[l->n] = p;
            p += strcspn(p, cut);
            if (*p)
                *p++ = 0;
            while (*cut == ' ' && *p && strchr(cut, *p))
                p++;
        }
        if (l->n)
            return true;
    }
    return false;
}

static bool is_number(const char *s)
{
    size_t n = strlen(s);

    return n > 0 && n < 10 && strspn(s, "0123456789") == n;
}

static int read_text(struct buf *b, const char *path)
{
    size_t bom;

    if (buf_read_file(b, path, TEXT_MAX) < 0)
        return -1;
    buf_reserve(b, 1);
    if (memchr(b->data, 0, b->len))
        return err_set(ERR_DATA, "%s: not a text", path);
    bom = utf8_bom(b->data, b->len);
    b->len -= bom;
    memmove(b->data, b->data + bom, b->len + 1);
    return 0;
}

/* ---- what numbers stand for */

static int read_synsets(struct labels *t, const char *path)
{
    struct buf b = BUF_INIT;
    unsigned number = 0;
    struct line l;
    char *at;
    int r = read_text(&b, path);

    for (at = b.data; r == 0 && next_line(&at, &l, &number);) {
        if (number == 1 && !is_number(l.field[0]))
            continue; /* names of the columns */
        if (l.n < 2 || !is_number(l.field[0])) {
            r = err_set(ERR_DATA, "%s: line %u: not a number and a name", path,
                        number);
        } else if (!map_add(&t->synset, l.field[0], (int64_t)t->n_names)) {
            r = err_set(ERR_DATA, "%s: line %u: %s is there twice", path,
                        number, l.field[0]);
        } else {
            t->name = xreallocarray(t->name, t->n_names + 1, sizeof(*t->name));
            t->name[t->n_names++] = xstrdup(l.field[1]);
        }
    }
    if (r == 0 && !t->n_names)
        r = err_set(ERR_DATA, "%s: nothing in it", path);
    buf_release(&b);
    return r;
}

/* A word of the file as a label. */
static int label_of(struct labels *t, const char *word, int32_t *label)
{
    int64_t i;

    if (t->numbers && is_number(word)) {
        if (!t->classes->n)
            return err_set(ERR_DATA,
                           "%s: line %u: class %s, a number: --classes says "
                           "which it is",
                           t->path, t->line, word);
        *label = (int32_t)strtol(word, NULL, 10);
        return 0;
    }
    if (is_number(word) && !map_get(t->classes, word, NULL)) {
        if (!t->n_names)
            return err_set(ERR_DATA,
                           "%s: line %u: \"%s\" is a bare number: those of "
                           "ILSVRC2012 are no class numbers; --synsets says "
                           "what they stand for",
                           t->path, t->line, word);
        if (!map_get(&t->synset, word, &i))
            return err_set(ERR_DATA, "%s: line %u: %s: not in --synsets",
                           t->path, t->line, word);
        word = t->name[i];
    }
    if (t->classes->n && !map_get(t->classes, word, NULL))
        return err_set(ERR_DATA,
                       "%s: line %u: \"%s\": not in the list of classes",
                       t->path, t->line, word);
    *label = label_of_name(t->src, word);
    return 0;
}

/* ---- a list */

static int read_list(struct labels *t, char *at)
{
    struct source *src = t->src;
    struct line l;
    size_t n = 0;

    for (t->line = 0; next_line(&at, &l, &t->line); n++) {
        if (l.n != 1)
            return err_set(ERR_DATA, "%s: line %u: %d words, others have one",
                           t->path, t->line, l.n);
        if (n < src->n && label_of(t, l.field[0], &src->file[n].label) < 0)
            return -1;
    }
    if (n != src->n)
        return err_set(ERR_DATA, "%s: %zu labels for %zu images", t->path, n,
                       src->n);
    return 0;
}

/* ---- a table */

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static void index_files(struct labels *t)
{
    struct buf key = BUF_INIT;

    for (size_t i = 0; i < t->src->n; i++) {
        buf_reset(&key);
        source_key(t->src, i, &key);
        (void)map_add(&t->by_key, key.data, (int64_t)i);
        if (!map_add(&t->by_base, base_of(key.data), (int64_t)i))
            (void)map_add(&t->by_key, base_of(key.data), TWICE);
    }
    buf_release(&key);
}

/* Key of a relative path, in b. */
static char *key_of(const struct source *src, const char *path, struct buf *b)
{
    const char *base = base_of(path), *dot = strrchr(base, '.');

    source_spell(src, path,
                 dot && dot != base ? (size_t)(dot - path) : strlen(path), b);
    buf_addstr(b, "");
    return b->data;
}

/* The file that a name means, by its whole path or its last part; -1: none. */
static int64_t find_file(const struct labels *t, const char *name)
{
    struct buf b = BUF_INIT;
    int64_t i = -1;
    char *key;

    while (!strncmp(name, "./", 2))
        name += 2;
    key = key_of(t->src, name, &b);
    if (!map_get(&t->by_key, key, &i) &&
        !map_get(&t->by_key, base_of(key), &i) &&
        !map_get(&t->by_base, base_of(key), &i))
        i = -1;
    buf_release(&b);
    return i;
}

/* The first line, if it names the columns. */
static bool take_head(struct labels *t, const struct line *l)
{
    static const char *const known[] = {"wnid", "class", "synset", "label",
                                        "class_index"};

    if (find_file(t, l->field[0]) >= 0)
        return false;
    for (size_t k = 0; k < sizeof(known) / sizeof(*known); k++)
        for (int c = 1; c < l->n; c++)
            if (!strcmp(l->field[c], known[k])) {
                t->column = c;
                t->numbers = k >= 3;
                return true;
            }
    return true;
}

static int read_table(struct labels *t, char *at)
{
    struct source *src = t->src;
    size_t known = 0, others = 0, i;
    struct buf first = BUF_INIT;
    struct line l;

    index_files(t);
    for (t->line = 0; next_line(&at, &l, &t->line);) {
        int64_t k;

        if (t->line == 1 && take_head(t, &l))
            continue;
        k = find_file(t, l.field[0]);
        if (k < 0) {
            others++;
            continue;
        }
        if (l.n <= t->column)
            return err_set(ERR_DATA, "%s: line %u: no label", t->path, t->line);
        if (src->file[k].label != LABEL_NONE)
            return err_set(ERR_DATA, "%s: line %u: \"%s\" is there twice",
                           t->path, t->line, l.field[0]);
        if (label_of(t, l.field[t->column], &src->file[k].label) < 0)
            return -1;
        known++;
    }
    for (i = 0; i < src->n && src->file[i].label != LABEL_NONE; i++)
        ;
    if (known < src->n) {
        source_path(src, i, &first);
        err_set(ERR_DATA, "%s: no label for %zu of %zu images, as %s", t->path,
                src->n - known, src->n, first.data);
        buf_release(&first);
        return -1;
    }
    if (others)
        warn("%s: %zu labels of files that are not there", t->path, others);
    return 0;
}

/* Those that the sources have count no more. */
static void forget_labels(struct source *src)
{
    size_t i;

    for (i = 0; i < src->n; i++)
        src->file[i].label = LABEL_NONE;
    for (i = 0; i < src->n_names; i++)
        free(src->name[i]);
    src->n_names = 0;
    map_release(&src->names);
}

int source_labels(struct source *src, const struct map *classes,
                  const struct source_how *how)
{
    struct labels t = {
        .src = src, .classes = classes, .path = how->labels, .column = 1};
    struct buf text = BUF_INIT, copy = BUF_INIT;
    unsigned number = 0;
    struct line l = {.n = 0};
    char *at;
    int r;

    forget_labels(src);
    r = how->synsets ? read_synsets(&t, how->synsets) : 0;
    if (r == 0)
        r = read_text(&text, how->labels);
    if (r == 0) {
        buf_add(&copy, text.data, text.len);
        buf_reserve(&copy, 1);
        at = copy.data;
        if (!next_line(&at, &l, &number))
            r = err_set(ERR_DATA, "%s: no labels in it", how->labels);
    }
    if (r == 0)
        r = l.n == 1 ? read_list(&t, text.data) : read_table(&t, text.data);
    for (size_t i = 0; i < t.n_names; i++)
        free(t.name[i]);
    free(t.name);
    map_release(&t.synset);
    map_release(&t.by_key);
    map_release(&t.by_base);
    buf_release(&text);
    buf_release(&copy);
    return r;
}
