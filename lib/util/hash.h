/*
 * hash.h - a short digest of bytes: BLAKE2b of libsodium, 16 bytes.
 *
 * For comparing layouts and settings between processes; files are checked with
 * io/digest.h.
 */
#ifndef UTIL_HASH_H
#define UTIL_HASH_H

#include <stddef.h>

/* 32 hex digits and a 0 for n bytes. */
void hash_hex(const void *p, size_t n, char hex[33]);

#endif
