/*
 * media.h - what files lie on, and how much of them memory can hold.
 */
#ifndef IO_MEDIA_H
#define IO_MEDIA_H

#include <stdint.h>

/*
 * Why reading here and there in the files of a directory is slow: "a network
 * file system", "a rotating disk"; NULL if it is not or nobody knows.
 */
const char *media_slow(const char *dir);
/* The same of a block device or a partition, by its directory in /sys. A virtual
 * disk says that it rotates whatever it is made of: that is not believed. */
const char *media_slow_disk(const char *sys);
/* Bytes of memory that can be had without swapping; 0: not known. */
uint64_t media_memory(void);

#endif
