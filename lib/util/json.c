#include "util/json.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

json_t *json_text(const char *text, size_t n, const char *what)
{
    json_error_t e;
    json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);

    if (!j)
        err_set(ERR_DATA, "%s: line %d: %s", what, e.line, e.text);
    return j;
}

json_t *json_file(const char *path, size_t max)
{
    struct buf b = BUF_INIT;
    json_t *j = NULL;

    if (buf_read_file(&b, path, max) == 0)
        j = json_text(b.data ? b.data : "", b.len, path);
    buf_release(&b);
    return j;
}

/* With a dot or exponent, so that it stays real. */
static void add_real(struct buf *b, double v)
{
    size_t at = b->len;

    buf_addreal(b, v);
    if (!b->data[at + strcspn(b->data + at, ".e")])
        buf_addstr(b, ".0");
}

/* The string of n bytes with jansson's escapes. */
static void add_string(struct buf *b, const char *s, size_t n)
{
    json_t *j = json_stringn_nocheck(s, n);
    char *text = j ? json_dumps(j, JSON_ENCODE_ANY) : NULL;

    if (!text)
        BUG("string is not UTF-8");
    buf_addstr(b, text);
    free(text);
    json_decref(j);
}

static int by_bytes(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

static void add_object(struct buf *b, const json_t *o)
{
    size_t n = json_object_size(o), i = 0;
    const char **key = xcalloc(n ? n : 1, sizeof *key);
    union {
        const json_t *in;
        json_t *out; /* jansson's iterator does not change the object */
    } obj = {o};

    for (void *it = json_object_iter(obj.out); it;
         it = json_object_iter_next(obj.out, it))
        key[i++] = json_object_iter_key(it);
    qsort(key, n, sizeof *key, by_bytes);
    buf_addch(b, '{');
    for (i = 0; i < n; i++) {
        if (i)
            buf_addch(b, ',');
        add_string(b, key[i], strlen(key[i]));
        buf_addch(b, ':');
        json_canonical(b, json_object_get(o, key[i]));
    }
    buf_addch(b, '}');
    free(key);
}

void json_canonical(struct buf *b, const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        add_object(b, j);
        break;
    case JSON_ARRAY:
        buf_addch(b, '[');
        for (size_t i = 0; i < json_array_size(j); i++) {
            if (i)
                buf_addch(b, ',');
            json_canonical(b, json_array_get(j, i));
        }
        buf_addch(b, ']');
        break;
    case JSON_STRING:
        add_string(b, json_string_value(j), json_string_length(j));
        break;
    case JSON_INTEGER:
        buf_addf(b, "%" JSON_INTEGER_FORMAT, json_integer_value(j));
        break;
    case JSON_REAL:
        add_real(b, json_real_value(j));
        break;
    case JSON_TRUE:
        buf_addstr(b, "true");
        break;
    case JSON_FALSE:
        buf_addstr(b, "false");
        break;
    case JSON_NULL:
        buf_addstr(b, "null");
        break;
    }
}

/* The member, or NULL with the sentence; o itself may be no object. */
static json_t *member(const json_t *o, const char *key, bool (*is)(json_t *),
                      const char *type)
{
    json_t *v = json_object_get(o, key);

    if (!v)
        err_set(ERR_DATA, "member \"%s\": missing", key);
    else if (!is(v))
        err_set(ERR_DATA, "member \"%s\": not %s", key, type);
    else
        return v;
    return NULL;
}

static bool is_int(json_t *v)
{
    return json_is_integer(v);
}

static bool is_number(json_t *v)
{
    return json_is_number(v);
}

static bool is_str(json_t *v)
{
    return json_is_string(v);
}

static bool is_array(json_t *v)
{
    return json_is_array(v);
}

static bool is_object(json_t *v)
{
    return json_is_object(v);
}

int json_get_int(const json_t *o, const char *key, int64_t *v)
{
    const json_t *m = member(o, key, is_int, "a whole number");

    if (!m)
        return -1;
    *v = json_integer_value(m);
    return 0;
}

int json_get_real(const json_t *o, const char *key, double *v)
{
    const json_t *m = member(o, key, is_number, "a number");

    if (!m)
        return -1;
    *v = json_number_value(m);
    return 0;
}

int json_get_str(const json_t *o, const char *key, const char **v)
{
    const json_t *m = member(o, key, is_str, "a string");

    if (!m)
        return -1;
    *v = json_string_value(m);
    return 0;
}

int json_get_array(const json_t *o, const char *key, json_t **v)
{
    json_t *m = member(o, key, is_array, "an array");

    if (!m)
        return -1;
    *v = m;
    return 0;
}

int json_get_object(const json_t *o, const char *key, json_t **v)
{
    json_t *m = member(o, key, is_object, "an object");

    if (!m)
        return -1;
    *v = m;
    return 0;
}

void json_add_real(json_t *o, const char *key, double v)
{
    json_t *j = isfinite(v) ? json_real(v) : json_null();

    if (json_object_set_new(o, key, j) < 0)
        BUG("member \"%s\" cannot be added", key);
}
