#include "util/opt_private.h"

#include "util/conf.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Beyond this a bound of a range is read as "none". */
#define OPEN_END 9e15

static int bad_value(enum err_class cls, const char *text, const char *why)
{
    return err_set(cls, "value \"%.80s\": %s", text, why);
}

static void add_size(struct buf *b, int64_t v)
{
    static const char suffix[] = "KMG";
    int k = -1;

    while (k < 2 && v != 0 && v % 1024 == 0) {
        v /= 1024;
        k++;
    }
    buf_addf(b, "%" PRId64, v);
    if (k >= 0)
        buf_addch(b, suffix[k]);
}

static void add_bound(struct buf *b, const struct opt *o, double v)
{
    if (o->type == OPT_SIZE)
        add_size(b, (int64_t)v);
    else
        buf_addf(b, "%.15g", v);
}

static int out_of_range(const struct opt *o, const char *text,
                        enum err_class cls)
{
    bool lower = o->min > -OPEN_END, upper = o->max < OPEN_END;
    struct buf b = BUF_INIT;

    if ((o->min == 0 && o->max == 0) || (!lower && !upper))
        return bad_value(cls, text, "too large");
    buf_addstr(&b, "must be ");
    if (!upper)
        buf_addstr(&b, "at least ");
    if (!lower)
        buf_addstr(&b, "at most ");
    if (lower)
        add_bound(&b, o, o->min);
    if (lower && upper)
        buf_addstr(&b, "..");
    if (upper)
        add_bound(&b, o, o->max);
    bad_value(cls, text, b.data);
    buf_release(&b);
    return -1;
}

static bool in_range(const struct opt *o, double v)
{
    if (o->min == 0 && o->max == 0)
        return true;
    return v >= o->min && v <= o->max;
}

static int parse_int(const struct opt *o, const char *text, enum err_class cls,
                     int64_t *v)
{
    const char *s = text;
    char *end;

    if (*s == '-' || *s == '+')
        s++;
    if (!isdigit((unsigned char)*s))
        return bad_value(cls, text, "not a whole number");
    errno = 0;
    *v = strtoll(text, &end, 10);
    if (*end)
        return bad_value(cls, text, "not a whole number");
    if (errno && *text != '-' && o->min > -OPEN_END && o->max >= OPEN_END)
        return bad_value(cls, text, "too large");
    if (errno || !in_range(o, (double)*v))
        return out_of_range(o, text, cls);
    return 0;
}

static int parse_size(const struct opt *o, const char *text, enum err_class cls,
                      int64_t *v)
{
    static const char suffix[] = "KMG";
    const char *at;
    char *end;
    int shift = 0;

    if (!isdigit((unsigned char)*text))
        return bad_value(cls, text, "not a size such as 4096, 64K or 256M");
    errno = 0;
    *v = strtoll(text, &end, 10);
    if (*end && (at = strchr(suffix, *end))) {
        shift = 10 * (int)(at - suffix + 1);
        end++;
    }
    if (*end)
        return bad_value(cls, text, "not a size such as 4096, 64K or 256M");
    if (errno || *v > INT64_MAX >> shift)
        return out_of_range(o, text, cls);
    *v *= (int64_t)1 << shift;
    if (!in_range(o, (double)*v))
        return out_of_range(o, text, cls);
    return 0;
}

static int parse_float(const struct opt *o, const char *text,
                       enum err_class cls, double *v)
{
    char *end;

    /* strtod alone would take spaces, hexadecimal, inf and nan. */
    if (!*text || text[strspn(text, "0123456789+-.eE")])
        return bad_value(cls, text, "not a number");
    *v = strtod(text, &end);
    if (*end || end == text)
        return bad_value(cls, text, "not a number");
    if (!isfinite(*v) || !in_range(o, *v))
        return out_of_range(o, text, cls);
    return 0;
}

static int parse_flag(const char *text, enum err_class cls, int64_t *v)
{
    static const char *const words[] = {"false", "true", "no", "yes",
                                        "off",   "on",   "0",  "1"};

    for (int i = 0; i < 8; i++) {
        if (!strcasecmp(text, words[i])) {
            *v = i & 1;
            return 0;
        }
    }
    return bad_value(cls, text, "must be true or false");
}

static int parse_choice(const struct opt *o, const char *text,
                        enum err_class cls, int64_t *v)
{
    const char *s = o->choices;
    size_t n = strlen(text);

    for (*v = 0; s; (*v)++) {
        size_t len = strcspn(s, "|");

        if (len == n && !memcmp(s, text, n))
            return 0;
        s = s[len] ? s + len + 1 : NULL;
    }
    return err_set(cls, "value \"%.80s\": must be one of %s", text, o->choices);
}

/* The address behind a quoted piece, or NULL if the quote never ends. */
static const char *skip_quoted(const char *s)
{
    char q = *s++;

    for (; *s; s++) {
        if (*s != q)
            continue;
        if (s[1] != q)
            return s + 1;
        s++;
    }
    return NULL;
}

/*
 * The end of the item that starts at s: a comma, the last bracket of an
 * enclosing list, or the end of the text. NULL: brackets or quotes are open.
 * Quotes count at the start of an item only, so that "it's" is a word.
 */
static const char *item_end(const char *s, const char *stop)
{
    int depth = 0;
    bool start = true;

    while (s < stop) {
        if (start && (*s == '"' || *s == '\'')) {
            s = skip_quoted(s);
            if (!s || s > stop)
                return NULL;
            start = false;
            continue;
        }
        if (*s == ',' && depth == 0)
            return s;
        if (*s == '(' || *s == '[')
            depth++;
        if ((*s == ')' || *s == ']') && --depth < 0)
            return NULL;
        start = (start && *s == ' ') || *s == ',' || *s == '(' || *s == '[';
        s++;
    }
    return depth ? NULL : s;
}

static char *unquote(const char *s, size_t n)
{
    struct buf b = BUF_INIT;
    bool quoted = n >= 2 && (*s == '"' || *s == '\'') && s[n - 1] == *s;
    char q = *s;

    buf_reserve(&b, n + 1);
    if (quoted && skip_quoted(s) == s + n) {
        for (const char *p = s + 1; p < s + n - 1; p++) {
            buf_addch(&b, *p);
            if (*p == q)
                p++;
        }
    } else {
        buf_add(&b, s, n);
    }
    if (!b.data)
        return xstrdup("");
    return buf_detach(&b);
}

/* Cut spaces off both ends. */
static void trim(const char **s, const char **stop)
{
    while (*s < *stop && isspace((unsigned char)**s))
        (*s)++;
    while (*stop > *s && isspace((unsigned char)(*stop)[-1]))
        (*stop)--;
}

/* Without the brackets around the whole, if there are such. */
static bool strip_brackets(const char **s, const char **stop)
{
    char open = **s;

    if (*stop - *s < 2 || (open != '(' && open != '['))
        return false;
    if ((*stop)[-1] != (open == '(' ? ')' : ']'))
        return false;
    /* "(1),(2)" starts and ends with brackets of two items */
    for (const char *p = *s + 1; p < *stop - 1;) {
        p = item_end(p, *stop - 1);
        if (!p)
            return false;
        p += *p == ',';
    }
    (*s)++;
    (*stop)--;
    return true;
}

/* "a, b", "(a, b)", "[a, 'b']" to strings in l->s. */
static int split(const char *text, enum err_class cls, struct opt_list *l)
{
    const char *s = text, *stop = text + strlen(text);
    bool tuple;

    trim(&s, &stop);
    tuple = strip_brackets(&s, &stop);
    trim(&s, &stop);
    while (s < stop) {
        const char *end = item_end(s, stop), *from = s, *to = end;

        if (!end)
            return bad_value(cls, text, "brackets or quotes do not match");
        trim(&from, &to);
        if (from == to)
            return bad_value(cls, text, "an item of the list is empty");
        l->s = xreallocarray(l->s, (size_t)l->n + 1, sizeof *l->s);
        l->s[l->n++] = unquote(from, (size_t)(to - from));
        if (end == stop)
            break;
        s = end + 1;
        while (s < stop && *s == ' ')
            s++;
        if (s == stop && !tuple)
            return bad_value(cls, text, "an item of the list is empty");
    }
    return 0;
}

void opt_list_release(struct opt_list *l)
{
    if (l->s)
        for (int i = 0; i < l->n; i++)
            free(l->s[i]);
    free(l->s);
    free(l->i);
    free(l->f);
    *l = (struct opt_list){0};
}

static int parse_list(const struct opt *o, const char *text, enum err_class cls,
                      struct opt_list *l)
{
    struct opt_list words = {0};
    int r = split(text, cls, &words);

    if (r == 0 && o->type == OPT_STRINGS) {
        *l = words;
        return 0;
    }
    if (r == 0 && words.n) {
        l->n = words.n;
        if (o->type == OPT_INTS)
            l->i = xcalloc((size_t)words.n, sizeof *l->i);
        else
            l->f = xcalloc((size_t)words.n, sizeof *l->f);
    }
    for (int k = 0; r == 0 && k < words.n; k++) {
        if (o->type == OPT_INTS)
            r = parse_int(o, words.s[k], cls, &l->i[k]);
        else
            r = parse_float(o, words.s[k], cls, &l->f[k]);
    }
    opt_list_release(&words);
    if (r < 0)
        opt_list_release(l);
    return r;
}

static int parse_null(const struct opt *o, enum err_class cls)
{
    switch (o->type) {
    case OPT_STRING:
    case OPT_INTS:
    case OPT_FLOATS:
    case OPT_STRINGS:
        return 0;
    default:
        return err_set(cls, "value is empty");
    }
}

static bool names_file(const struct opt *o)
{
    static const char *const args[] = {"FILE", "DIR", "RUNDIR"};

    for (size_t i = 0; o->arg && i < sizeof(args) / sizeof(*args); i++)
        if (!strcmp(o->arg, args[i]))
            return true;
    return false;
}

int opt_value_parse(const struct opt *o, const char *text, bool item,
                    enum err_class cls, struct opt_value *v)
{
    *v = (struct opt_value){0};
    if (!text)
        return parse_null(o, cls);
    switch (o->type) {
    case OPT_FLAG:
        return parse_flag(text, cls, &v->i);
    case OPT_INT:
        return parse_int(o, text, cls, &v->i);
    case OPT_SIZE:
        return parse_size(o, text, cls, &v->i);
    case OPT_FLOAT:
        return parse_float(o, text, cls, &v->f);
    case OPT_CHOICE:
        return parse_choice(o, text, cls, &v->i);
    case OPT_STRING:
        /* "$UNSET" would be a place below / or beside what there is */
        if (!*text && names_file(o))
            return bad_value(cls, text, "empty");
        return 0;
    case OPT_STRINGS:
        if (item) {
            v->list.s = xcalloc(1, sizeof *v->list.s);
            v->list.s[v->list.n++] = xstrdup(text);
            return 0;
        }
        break;
    case OPT_INTS:
    case OPT_FLOATS:
        break;
    }
    return parse_list(o, text, cls, &v->list);
}

void opt_value_store(const struct opt *o, struct opt_value *v, bool append)
{
    struct opt_list *l;

    switch (o->type) {
    case OPT_FLAG:
        *(bool *)o->addr = v->i != 0;
        return;
    case OPT_INT:
    case OPT_SIZE:
        *(int64_t *)o->addr = v->i;
        return;
    case OPT_FLOAT:
        *(double *)o->addr = v->f;
        return;
    case OPT_CHOICE:
        *(int *)o->addr = (int)v->i;
        return;
    case OPT_STRING:
        return;
    case OPT_INTS:
    case OPT_FLOATS:
    case OPT_STRINGS:
        break;
    }
    l = o->addr;
    if (!append) {
        opt_list_release(l);
        *l = v->list;
        return;
    }
    l->s = xreallocarray(l->s, (size_t)(l->n + v->list.n), sizeof *l->s);
    memcpy(l->s + l->n, v->list.s, (size_t)v->list.n * sizeof *l->s);
    l->n += v->list.n;
    free(v->list.s);
}

static void add_list(const struct opt *o, struct buf *b)
{
    const struct opt_list *l = o->addr;

    for (int i = 0; i < l->n; i++) {
        if (i)
            buf_addch(b, ',');
        if (o->type == OPT_INTS)
            buf_addf(b, "%" PRId64, l->i[i]);
        else if (o->type == OPT_FLOATS)
            buf_addreal(b, l->f[i]);
        else
            conf_add_item(b, l->s[i]);
    }
}

static void add_choice(const struct opt *o, struct buf *b)
{
    const char *s = o->choices;

    for (int i = *(const int *)o->addr; i > 0 && *s; i--) {
        s += strcspn(s, "|");
        s += *s == '|';
    }
    buf_add(b, s, strcspn(s, "|"));
}

void opt_value_text(const struct opt *o, struct buf *b)
{
    switch (o->type) {
    case OPT_FLAG:
        buf_addstr(b, *(const bool *)o->addr ? "true" : "false");
        break;
    case OPT_INT:
        buf_addf(b, "%" PRId64, *(const int64_t *)o->addr);
        break;
    case OPT_SIZE:
        add_size(b, *(const int64_t *)o->addr);
        break;
    case OPT_FLOAT:
        buf_addreal(b, *(const double *)o->addr);
        break;
    case OPT_STRING:
        if (*(char *const *)o->addr)
            buf_addstr(b, *(char *const *)o->addr);
        break;
    case OPT_CHOICE:
        add_choice(o, b);
        break;
    case OPT_INTS:
    case OPT_FLOATS:
    case OPT_STRINGS:
        add_list(o, b);
        break;
    }
}

const char *opt_placeholder(const struct opt *o)
{
    static const char *const by_type[] = {
        [OPT_FLAG] = "",      [OPT_INT] = "N",        [OPT_SIZE] = "SIZE",
        [OPT_FLOAT] = "X",    [OPT_STRING] = "TEXT",  [OPT_CHOICE] = "",
        [OPT_INTS] = "N,...", [OPT_FLOATS] = "X,...", [OPT_STRINGS] = "TEXT"};

    if (o->type == OPT_FLAG)
        return "";
    if (o->arg)
        return o->arg;
    return o->type == OPT_CHOICE ? o->choices : by_type[o->type];
}
