/*
 * json.h - jansson with our errors: strict texts, checked members.
 *
 * Texts from outside are parsed with duplicates rejected and a depth limit
 * (jansson's own, 2048) and a size limit of the caller. Ownership is jansson's:
 * json_decref what a loader returns; getters lend.
 */
#ifndef UTIL_JSON_H
#define UTIL_JSON_H

#include "util/buf.h"
#include "util/err.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Parse n bytes; NULL with ERR_DATA "line 3: ...". what names it. */
json_t *json_text(const char *text, size_t n, const char *what) MUST_CHECK;
/* A whole file of at most max bytes. ERR_NOINPUT if it is not there. */
json_t *json_file(const char *path, size_t max) MUST_CHECK;
/* Compact, keys in byte order, shortest round-trip reals; appended to b. */
void json_canonical(struct buf *b, const json_t *j);
/* A member of an object by name and type, ERR_DATA when it is another. */
int json_get_int(const json_t *o, const char *key, int64_t *v) MUST_CHECK;
int json_get_real(const json_t *o, const char *key, double *v) MUST_CHECK;
int json_get_str(const json_t *o, const char *key, const char **v) MUST_CHECK;
int json_get_array(const json_t *o, const char *key, json_t **v) MUST_CHECK;
int json_get_object(const json_t *o, const char *key, json_t **v) MUST_CHECK;
/*
 * The object in a large text, a member at a time, and the arrays in it an
 * element at a time: its tree need not fit in memory.
 *
 *	struct json_walk w = {text, n, "FILE"};
 *	while ((r = json_walk_member(&w)) > 0)         w.key
 *		if (!strcmp(w.key, "images"))
 *			while ((r = json_walk_element(&w, &j)) > 0)
 *				...   json_decref(j)
 *	json_walk_release(&w);         in every state
 *
 * Elements and members that were not taken are checked and passed over. 1, 0
 * at the end of the array or of the text, -1 with ERR_DATA "FILE: byte N: ...".
 */
struct json_walk {
    const char *text;
    size_t n;
    const char *what;
    /* private */
    size_t at;
    int state;
    char *key; /* of the member: lent until the next one */
};
int json_walk_member(struct json_walk *w) MUST_CHECK;
/* Of the array that the member is; ERR_DATA if it is none. */
int json_walk_element(struct json_walk *w, json_t **j) MUST_CHECK;
void json_walk_release(struct json_walk *w);
/* Add a finite number, or null where it is not (JSON has no NaN). */
void json_add_real(json_t *o, const char *key, double v);

#endif
