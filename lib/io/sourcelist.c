/* The list of a source: names, folders, places, the keys they make, its order. */
#include "io/source_private.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES (1 << 16)

/* Names, one after the other, each behind the bytes of it that make the key. */
struct source_text {
    struct source_text *next;
    size_t len, cap;
    char data[];
};

/* Memory for n more bytes, which stays where it is. */
static char *text_room(struct source *src, size_t n)
{
    struct source_text *t = src->text;

    if (!t || t->cap - t->len < n) {
        size_t cap = n > TEXT_BYTES ? n : TEXT_BYTES;

        t = xmalloc(sizeof(*t) + cap);
        *t = (struct source_text){.next = src->text, .cap = cap};
        src->text = t;
    }
    t->len += n;
    return t->data + t->len - n;
}

/* ---- keys */

static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '_' || c == '/' || c == '+' ||
           c == '-';
}

void source_spell(const struct source *src, const char *text, size_t n,
                  struct buf *b)
{
    static const char hex[] = "0123456789ABCDEF";
    char *begin = buf_reserve(b, 3 * n), *to = begin;

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];

        if (src->spelled && (!is_plain(c) || c == '+')) {
            *to++ = '+';
            *to++ = hex[c >> 4];
            *to++ = hex[c & 15];
        } else {
            *to++ = is_plain(c) ? (char)c : '_';
        }
    }
    *to = 0;
    b->len += (size_t)(to - begin);
}

/* How much of a name belongs to the key. */
static size_t stem_of(const char *name, enum source_key rule)
{
    const char *base = strrchr(name, '/'), *dot;

    if (rule == KEY_ID)
        return 0;
    base = base ? base + 1 : name;
    dot = rule == KEY_SAMPLE ? strchr(base, '.') : strrchr(base, '.');
    return dot && dot != base ? (size_t)(dot - name) : strlen(name);
}

static size_t stem(const struct source_file *f)
{
    uint16_t n;

    memcpy(&n, f->name - sizeof(n), sizeof(n));
    return n;
}

void source_key(const struct source *src, size_t i, struct buf *b)
{
    const struct source_file *f = &src->file[i];
    const struct source_folder *in = &src->folder[f->folder];

    source_spell(src, in->key, strlen(in->key), b);
    if (in->rule == KEY_ID)
        buf_addf(b, "%012lld", (long long)source_annot(src, i)->id);
    else
        source_spell(src, f->name, stem(f), b);
}

/* ---- the list */

uint32_t source_folder(struct source *src, const char *path, const char *key,
                       enum source_key rule)
{
    struct source_folder *f;

    src->folder =
        xreallocarray(src->folder, src->n_folders + 1, sizeof(*src->folder));
    f = &src->folder[src->n_folders];
    *f = (struct source_folder){xstrdup(path), xstrdup(key), rule};
    return (uint32_t)src->n_folders++;
}

struct source_file *source_add(struct source *src, uint32_t folder,
                               const char *name)
{
    size_t n = strlen(name) + 1, key;
    struct source_file *f;
    uint16_t part;
    char *to;

    key = stem_of(name, src->folder[folder].rule);
    part = key < UINT16_MAX ? (uint16_t)key : UINT16_MAX;
    if (src->n == src->cap) {
        src->cap = src->cap ? src->cap * 2 : 1024;
        src->file = xreallocarray(src->file, src->cap, sizeof(*src->file));
    }
    to = text_room(src, sizeof(part) + n);
    memcpy(to, &part, sizeof(part));
    memcpy(to + sizeof(part), name, n);
    f = &src->file[src->n++];
    *f = (struct source_file){
        .name = to + sizeof(part), .folder = folder, .label = LABEL_NONE};
    return f;
}

struct source_place *source_put(struct source *src, struct source_file *f)
{
    struct source_place *p;

    if (src->n_places == src->places_cap) {
        src->places_cap = src->places_cap ? src->places_cap * 2 : 1024;
        src->place =
            xreallocarray(src->place, src->places_cap, sizeof(*src->place));
    }
    p = &src->place[src->n_places++];
    *p = (struct source_place){.archive = -1};
    f->place = (uint32_t)src->n_places;
    return p;
}

const struct source_place *source_place(const struct source *src, size_t i)
{
    uint32_t place = src->file[i].place;

    return place ? &src->place[place - 1] : NULL;
}

uint64_t source_size(const struct source *src, size_t i)
{
    const struct source_place *p = source_place(src, i);

    return p ? p->size : src->file[i].bytes;
}

const struct annot *source_annot(const struct source *src, size_t i)
{
    const struct source_place *p = source_place(src, i);

    return p ? p->annot : NULL;
}

void source_path(const struct source *src, size_t i, struct buf *b)
{
    buf_addstr(b, src->folder[src->file[i].folder].path);
    buf_addstr(b, src->file[i].name);
}

int source_bad(const struct source *src, size_t i, const char *fmt, ...)
{
    struct buf b = BUF_INIT;
    va_list ap;

    source_path(src, i, &b);
    buf_addstr(&b, ": ");
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    err_set(ERR_DATA, "%s", b.data);
    buf_release(&b);
    return -1;
}

void source_list_release(struct source *src)
{
    while (src->text) {
        struct source_text *next = src->text->next;

        free(src->text);
        src->text = next;
    }
    for (size_t i = 0; i < src->n_folders; i++) {
        free(src->folder[i].path);
        free(src->folder[i].key);
    }
    free(src->folder);
    free(src->place);
    free(src->file);
}

/* ---- its order */

static const struct source *sorting; /* qsort hands nothing on */

/* A key, a character at a time. */
struct walk {
    const char *prefix, *name, *end;
};

static unsigned char step(struct walk *w)
{
    if (*w->prefix)
        return (unsigned char)*w->prefix++;
    return w->name < w->end ? (unsigned char)*w->name++ : 0;
}

/* Spelled keys are in the order of what they spell. */
static unsigned char in_key(unsigned char c)
{
    return !c || is_plain(c) || sorting->spelled ? c : '_';
}

static struct walk walk_of(const struct source_file *f)
{
    return (struct walk){sorting->folder[f->folder].key, f->name,
                         f->name + stem(f)};
}

static int by_id(const struct source_file *x, const struct source_file *y)
{
    int64_t a = sorting->place[x->place - 1].annot->id;
    int64_t b = sorting->place[y->place - 1].annot->id;

    return (a > b) - (a < b); /* all have 12 digits */
}

static int by_key(const void *a, const void *b)
{
    const struct source_file *x = a, *y = b;
    struct walk v = walk_of(x), w = walk_of(y);
    unsigned char c, d;

    if (sorting->folder[x->folder].rule == KEY_ID)
        return by_id(x, y);
    if (x->folder == y->folder)
        v.prefix = w.prefix = "";
    do {
        c = step(&v);
        d = step(&w);
        if (c != d) {
            c = in_key(c);
            d = in_key(d);
        }
    } while (c == d && c);
    return (c > d) - (c < d);
}

static int by_key_and_path(const void *a, const void *b)
{
    const struct source_file *x = a, *y = b;
    int r = by_key(a, b);

    if (!r)
        r = strcmp(sorting->folder[x->folder].path,
                   sorting->folder[y->folder].path);
    return r ? r : strcmp(x->name, y->name);
}

static int by_place(const void *a, const void *b)
{
    const struct source_file *x = a, *y = b;
    const struct source_place *p, *q;

    /* files by themselves come first */
    if (!x->place || !y->place)
        return x->place || y->place ? (x->place ? 1 : -1) : by_key(a, b);
    p = &sorting->place[x->place - 1];
    q = &sorting->place[y->place - 1];
    if (p->archive != q->archive)
        return p->archive < q->archive ? -1 : 1;
    if (p->archive >= 0 && p->offset != q->offset)
        return p->offset < q->offset ? -1 : 1;
    return by_key(a, b);
}

/* Two neighbours have one key. */
static int same_key(const struct source *src, size_t i)
{
    struct buf a = BUF_INIT, b = BUF_INIT, key = BUF_INIT;

    source_path(src, i - 1, &a);
    source_path(src, i, &b);
    source_key(src, i, &key);
    err_set(ERR_DATA, "%s and %s: both have the key %s: rename one", a.data,
            b.data, key.data);
    buf_release(&a);
    buf_release(&b);
    buf_release(&key);
    return -1;
}

/* Sort; the second of two that have one key, or 0. */
static size_t sort_keys(struct source *src)
{
    sorting = src;
    qsort(src->file, src->n, sizeof(*src->file), by_key_and_path);
    for (size_t i = 1; i < src->n; i++)
        if (!by_key(&src->file[i - 1], &src->file[i]))
            return i;
    return 0;
}

int source_sort(struct source *src)
{
    if (!src->n)
        return err_set(ERR_NOINPUT, "no files in the sources");
    if (!sort_keys(src))
        return 0;
    src->spelled = true;
    if (!sort_keys(src)) {
        note("keys: other characters are written as +XX, for with \"_\" some "
             "files would have the same");
        return 0;
    }
    /* "_" is easier to read */
    src->spelled = false;
    return same_key(src, sort_keys(src));
}

void source_sort_places(struct source *src)
{
    sorting = src;
    qsort(src->file, src->n, sizeof(*src->file), by_place);
}
