/* Large JSON texts: the outer two levels here, what is in them by jansson. */
#include "util/json.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    BEGIN,   /* before the object */
    MEMBER,  /* before the value of a member */
    ARRAY,   /* in an array, before its first element */
    ELEMENT, /* behind an element */
    BEHIND,  /* behind the value of a member */
    END
};

static int wrong(const struct json_walk *w, const char *why)
{
    return err_set(ERR_DATA, "%s: byte %zu: %s", w->what, w->at, why);
}

/* The next byte that is no blank, 0 at the end of the text. */
static char peek(struct json_walk *w)
{
    while (w->at < w->n && strchr(" \t\r\n", w->text[w->at]) && w->text[w->at])
        w->at++;
    return w->at < w->n ? w->text[w->at] : 0;
}

static int expect(struct json_walk *w, char c, const char *why)
{
    if (peek(w) != c)
        return wrong(w, why);
    w->at++;
    return 0;
}

/* A value and what is behind it left alone. */
static json_t *value(struct json_walk *w)
{
    json_error_t e;
    json_t *j;

    (void)peek(w);
    j = json_loadb(
        w->text + w->at, w->n - w->at,
        JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &e);
    if (!j) {
        w->at += (size_t)(e.position > 0 ? e.position : 0);
        (void)wrong(w, e.text);
        return NULL;
    }
    w->at += (size_t)e.position;
    return j;
}

/* What is left of the member's value. */
static int pass(struct json_walk *w)
{
    json_t *j;
    int r;

    if (w->state == MEMBER && peek(w) != '[') {
        j = value(w);
        json_decref(j);
        w->state = BEHIND;
        return j ? 0 : -1;
    }
    while ((r = json_walk_element(w, &j)) > 0)
        json_decref(j);
    return r;
}

static int take_key(struct json_walk *w)
{
    json_t *j;

    if (peek(w) != '"')
        return wrong(w, "not the name of a member");
    j = value(w);
    if (!j)
        return -1;
    free(w->key);
    w->key = xstrdup(json_string_value(j));
    json_decref(j);
    w->state = MEMBER;
    return expect(w, ':', "no \":\" behind a name") < 0 ? -1 : 1;
}

int json_walk_member(struct json_walk *w)
{
    bool first = w->state == BEGIN;

    if (w->state == END)
        return 0;
    if (first && expect(w, '{', "not a JSON object") < 0)
        return -1;
    if (!first && w->state != BEHIND && pass(w) < 0)
        return -1;
    if (peek(w) == '}') {
        w->at++;
        w->state = END;
        return peek(w) || w->at < w->n ? wrong(w, "text behind the object") : 0;
    }
    if (!first && expect(w, ',', "no \",\" behind a member") < 0)
        return -1;
    return take_key(w);
}

int json_walk_element(struct json_walk *w, json_t **j)
{
    if (w->state == BEHIND)
        return 0;
    if (w->state == MEMBER) {
        if (peek(w) != '[')
            return err_set(ERR_DATA, "%s: member \"%.80s\": not an array",
                           w->what, w->key);
        w->at++;
        w->state = ARRAY;
    }
    if (peek(w) == ']') {
        w->at++;
        w->state = BEHIND;
        return 0;
    }
    if (w->state == ELEMENT && expect(w, ',', "no \",\" behind an element") < 0)
        return -1;
    *j = value(w);
    w->state = ELEMENT;
    return *j ? 1 : -1;
}

void json_walk_release(struct json_walk *w)
{
    free(w->key);
    w->key = NULL;
}
