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

/* Limits: depth of mappings and of bases, bytes of a file, keys and files of
 * one conf_read. */
#define CONF_MAX_DEPTH 16
#define CONF_MAX_BYTES (1 << 20)
#define CONF_MAX_KEYS 4096
#define CONF_MAX_FILES 64

/*
 * fn(arg, key, value, "file:line") for each leaf, bases first; -1 stops.
 * value is NULL for a plain null, which may be an empty mapping, string or
 * list: the receiver knows. A file is checked completely before fn sees the
 * first leaf of it. ERR_NOINPUT for a missing file, else ERR_CONFIG.
 */
int conf_read(const char *path,
              int (*fn)(void *arg, const char *key, const char *value,
                        const char *where),
              void *arg) MUST_CHECK;
/* The same for n bytes of text called name in messages. A text has no
 * directory, so _BASE_ is an error here. */
int conf_parse(const char *text, size_t n, const char *name,
               int (*fn)(void *arg, const char *key, const char *value,
                         const char *where),
               void *arg) MUST_CHECK;

struct buf;
/* Append an item to a comma list, quoted where its text needs it; a quote
 * inside quotes is written twice. */
void conf_add_item(struct buf *b, const char *item);

#endif
