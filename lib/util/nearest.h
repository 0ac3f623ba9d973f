/*
 * nearest.h - "unknown option "--bacth" (nearest: --batch)".
 *
 *	struct nearest n = {.word = word};
 *	for each name there is: nearest_try(&n, name);
 *	return nearest_fail(ERR_USAGE, "", "option", &n, "--");
 */
#ifndef UTIL_NEAREST_H
#define UTIL_NEAREST_H

#include "util/err.h"

#include <stddef.h>

struct nearest {
    const char *word; /* what was given */
    const char *best; /* borrowed from the caller of nearest_try; or NULL */
    size_t distance;
};

/*
 * Keep name if it is nearer than what is there: at most two edits or a third
 * of the longer word; half of it for dotted keys, whose section is usually
 * right. The last part of a dotted key alone finds the key. name may be NULL.
 */
void nearest_try(struct nearest *n, const char *name);
/* Leave '[where: ]unknown KIND "word" (nearest: [dashes]name)'; -1. */
int nearest_fail(enum err_class cls, const char *where, const char *kind,
                 const struct nearest *n, const char *dashes);

#endif
