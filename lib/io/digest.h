/*
 * digest.h - checksums of records and files: zlib's CRC-32, SHA-256.
 *
 * The only place that knows zlib and libcrypto for this purpose: OpenSSL's
 * SHA-256 uses the instructions for it where a processor has them, and is six
 * times as fast there as libsodium's. A digest takes bytes in any pieces and
 * answers once.
 */
#ifndef IO_DIGEST_H
#define IO_DIGEST_H

#include "util/err.h"

#include <stddef.h>
#include <stdint.h>

/* Go on from crc (0 at the start) over n more bytes. */
uint32_t digest_crc32(uint32_t crc, const void *p, size_t n);

struct digest; /* SHA-256 in progress */
struct digest *digest_new(void);
void digest_add(struct digest *d, const void *p, size_t n);
/* 64 hex digits and 0; d starts anew. */
void digest_hex(struct digest *d, char hex[65]);
void digest_free(struct digest *d);

/* Of a whole file: its bytes, CRC-32 and, if hex is not NULL, SHA-256.
 * ERR_NOINPUT, ERR_IO. */
int digest_file(const char *path, uint64_t *bytes, uint32_t *crc,
                char hex[65]) MUST_CHECK;

#endif
