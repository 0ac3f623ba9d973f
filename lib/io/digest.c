#include "io/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#define PIECE (1 << 18)

struct digest {
    crypto_hash_sha256_state state;
};

uint32_t digest_crc32(uint32_t crc, const void *p, size_t n)
{
    const unsigned char *at = p;
    uLong c = crc;
    uInt part;

    for (; n > 0; at += part, n -= part) {
        part = n < (1U << 30) ? (uInt)n : 1U << 30;
        c = crc32(c, at, part);
    }
    return (uint32_t)c;
}

struct digest *digest_new(void)
{
    struct digest *d = xmalloc(sizeof(*d));

    crypto_hash_sha256_init(&d->state);
    return d;
}

void digest_add(struct digest *d, const void *p, size_t n)
{
    crypto_hash_sha256_update(&d->state, p, n);
}

void digest_hex(struct digest *d, char hex[65])
{
    unsigned char sum[crypto_hash_sha256_BYTES];

    crypto_hash_sha256_final(&d->state, sum);
    sodium_bin2hex(hex, 65, sum, sizeof(sum));
    crypto_hash_sha256_init(&d->state);
}

void digest_free(struct digest *d)
{
    free(d);
}

int digest_file(const char *path, uint64_t *bytes, uint32_t *crc, char hex[65])
{
    struct digest *d = hex ? digest_new() : NULL;
    unsigned char *piece = xmalloc(PIECE);
    int fd = open(path, O_RDONLY | O_CLOEXEC), result = -1;
    ssize_t r;

    *bytes = 0;
    *crc = 0;
    if (fd < 0) {
        err_sys(ERR_NOINPUT, "%s: open", path);
        goto out;
    }
    while ((r = read(fd, piece, PIECE)) != 0) {
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            err_sys(ERR_IO, "%s: read", path);
            goto out;
        }
        *bytes += (uint64_t)r;
        *crc = digest_crc32(*crc, piece, (size_t)r);
        if (d)
            digest_add(d, piece, (size_t)r);
    }
    if (d)
        digest_hex(d, hex);
    result = 0;
out:
    if (fd >= 0)
        close(fd);
    free(piece);
    digest_free(d);
    return result;
}
