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
/* Add a finite number, or null where it is not (JSON has no NaN). */
void json_add_real(json_t *o, const char *key, double v);

#endif
