/*
 * rows.h - options that several programs have, with one text: where hosts meet,
 * and the secret that lets them in.
 */
#ifndef SRC_ROWS_H
#define SRC_ROWS_H

#include "util/opt.h"

/* where: char * that gets the value. */
#define ROW_MASTER(where)                                                      \
    {                                                                          \
        .name = "master", .env = "ACCEL_MASTER", .type = OPT_STRING,           \
        .addr = (where), .arg = "HOST:PORT",                                   \
        .help = "where rank 0 waits for the other hosts"                       \
    }
#define ROW_KEY_FILE(where)                                                    \
    {                                                                          \
        .name = "key-file", .env = "ACCEL_KEY_FILE", .type = OPT_STRING,       \
        .addr = (where), .arg = "FILE",                                        \
        .help = "secret of the run, made by allreduce-ring keygen, the same "  \
                "on all hosts"                                                 \
    }

#endif
