/*
 * sealed.h - memory that processes share, whose size is settled.
 *
 * It has no name: it is a descriptor, handed over (local.h) or inherited, and it
 * is gone with the last process that has it. Its maker seals its size, so that
 * nobody can make it shorter under a reader; whoever is given some asks
 * sealed_size before he maps it.
 */
#ifndef IO_SEALED_H
#define IO_SEALED_H

#include "util/err.h"

#include <stdint.h>

/* A descriptor, close-on-exec, of so many bytes of zeros; ERR_SYSTEM. */
int sealed_new(uint64_t bytes) MUST_CHECK;
/* How large it is; ERR_UNAVAILABLE: it is not open, is no memory or could become
 * shorter. */
int sealed_size(int fd, uint64_t *bytes) MUST_CHECK;

#endif
