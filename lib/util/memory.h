/*
 * memory.h - how much memory of this host a process may still take.
 *
 * The least of what the kernel says is available, what the control group leaves
 * (cgroup v2, or v1's memory controller) and what the limits of the process
 * allow (RLIMIT_AS, RLIMIT_DATA). It is a guess: others take memory, too.
 */
#ifndef UTIL_MEMORY_H
#define UTIL_MEMORY_H

#include <stddef.h>

/* Bytes; SIZE_MAX if nothing is known. bound, unless NULL, says what sets it:
 * "available", "control group", "limit of the process". */
size_t memory_room(const char **bound);

#endif
