/*
 * tar_private.h - what tar.c and tarwrite.c know of a header block. Nobody else
 * includes this.
 */
#ifndef IO_TAR_PRIVATE_H
#define IO_TAR_PRIVATE_H

#include "io/tar.h"

/* Where fields begin, and how long those are that are read as text. */
#define TAR_SIZE 124
#define TAR_CHECKSUM 148
#define TAR_TYPE 156
#define TAR_MAGIC 257
#define TAR_PREFIX 345
#define TAR_NAME_LEN 100
#define TAR_PREFIX_LEN 155

/* The sum of a header, its own field as spaces; also by signed bytes. */
unsigned tar_checksum(const unsigned char *block, int *as_signed);

#endif
