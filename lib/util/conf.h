/*
 * conf.h - a recipe file: YAML mapping -> dotted keys, with file:line.
 *
 * Nested mappings become dotted keys ("SOLVER: {BASE_LR: 0.1}" and
 * "SOLVER.BASE_LR: 0.1" are the same); sequences become comma lists; _BASE_
 * (a path or a list of paths, relative to the file that names it) is read first
 * and overridden, 16 deep at most. A null for a mapping is an empty one.
 * Duplicate keys in one file, anchors and tags are errors (ERR_CONFIG).
 */
#ifndef UTIL_CONF_H
#define UTIL_CONF_H

#include "util/err.h"

/* fn(arg, key, value, "file:line") for each leaf, bases first; -1 stops. */
int conf_read(const char *path,
              int (*fn)(void *arg, const char *key, const char *value,
                        const char *where),
              void *arg) MUST_CHECK;

#endif
