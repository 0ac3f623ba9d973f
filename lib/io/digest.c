#include "io/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#define PIECE (1 << 18)

struct digest {
    EVP_MD_CTX *sum;
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

static void begin(struct digest *d)
{
    if (!EVP_DigestInit_ex(d->sum, EVP_sha256(), NULL))
        BUG("libcrypto has no SHA-256");
}

struct digest *digest_new(void)
{
    struct digest *d = xmalloc(sizeof(*d));

    d->sum = EVP_MD_CTX_new();
    if (!d->sum)
        BUG("libcrypto has no memory");
    begin(d);
    return d;
}

void digest_add(struct digest *d, const void *p, size_t n)
{
    if (!EVP_DigestUpdate(d->sum, p, n))
        BUG("SHA-256 was not begun");
}

void digest_hex(struct digest *d, char hex[65])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (!EVP_DigestFinal_ex(d->sum, sum, &n) || n != 32)
        BUG("SHA-256 of %u bytes", n);
    for (unsigned i = 0; i < n; i++) {
        hex[2 * i] = "0123456789abcdef"[sum[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[sum[i] & 15];
    }
    hex[64] = 0;
    begin(d);
}

void digest_free(struct digest *d)
{
    if (d)
        EVP_MD_CTX_free(d->sum);
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
