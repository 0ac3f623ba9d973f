/*
 * must.h - of C tests: what a check stands on, and is not checked itself.
 */
#ifndef T_LIB_MUST_H
#define T_LIB_MUST_H

#include "lib/tap.h"
#include "util/err.h"

/* Without this the test cannot go on: -1 ends it, with the error's sentence. */
TAP_UNUSED static void must(int r)
{
    if (r < 0) {
        printf("Bail out! %s\n", err_text());
        exit(1);
    }
}

#endif
