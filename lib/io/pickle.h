/*
 * pickle.h - Python pickles of protocol 2 to 5 as a tree, and nothing more.
 *
 * A pickle is a program for a stack machine. Here it only stacks values: what
 * it wants called becomes a PICKLE_CALL that names the function and holds its
 * arguments, and a function that is not on the list given ends the reading. So
 * no pickle does anything, whoever wrote it. Opcodes: python/cpython
 * Lib/pickletools.py; those that only text protocols and graphs of classes need
 * are refused.
 *
 *	struct pickle p = PICKLE_INIT;
 *	if (pickle_parse(&p, bytes, n, names, &used) == 0)
 *		walk(p.root);
 *	pickle_release(&p);          (allowed after a failure, too)
 *
 * The tree points into the bytes. Values are shared and may contain themselves:
 * whoever walks must bound depth and steps.
 */
#ifndef IO_PICKLE_H
#define IO_PICKLE_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pickle_type {
    PICKLE_NONE,
    PICKLE_BOOL,   /* i */
    PICKLE_INT,    /* i */
    PICKLE_LONG,   /* over 64 bits: text, two's complement, lowest first */
    PICKLE_REAL,   /* d */
    PICKLE_TEXT,   /* text, UTF-8 */
    PICKLE_BYTES,  /* text; strings of Python 2, too */
    PICKLE_TUPLE,  /* item */
    PICKLE_LIST,   /* item */
    PICKLE_DICT,   /* item: key, value, key, value ... */
    PICKLE_GLOBAL, /* text: "module.name" */
    PICKLE_CALL,   /* item[0] the function, item[1] the tuple of arguments;
                      state, or NULL; entries: set afterwards, or NULL, a dict */
    PICKLE_PERSID  /* item[0]: what only the writer of the file knows */
};

struct pickle_value {
    enum pickle_type type;
    size_t n; /* bytes of text, values of item */
    union {
        int64_t i;
        double d;
        const char *text; /* no zero behind it */
        struct pickle_value **item;
    } u;
    struct pickle_value *state, *entries;
};

struct pickle {
    struct pickle_value *root;
    struct pickle_block *blocks; /* what the values lie in */
    size_t n;                    /* values */
};
#define PICKLE_INIT                                                            \
    {                                                                          \
        NULL, NULL, 0                                                          \
    }

/*
 * Read one pickle from the front of n bytes; *used is set to its length. globals
 * ends with NULL: the names that may be asked for. ERR_DATA "offset N: what".
 */
int pickle_parse(struct pickle *p, const void *bytes, size_t n,
                 const char *const *globals, size_t *used) MUST_CHECK;
void pickle_release(struct pickle *p);

/* TEXT or BYTES: keys are either. */
bool pickle_is_text(const struct pickle_value *v);
/* Whether a value is this text, as TEXT or BYTES; of a GLOBAL its name; of a CALL
 * the name of its function. NULL is nothing. */
bool pickle_is(const struct pickle_value *v, const char *text);
/* Argument i of a call, or NULL. */
const struct pickle_value *pickle_arg(const struct pickle_value *call,
                                      size_t i);

#endif
