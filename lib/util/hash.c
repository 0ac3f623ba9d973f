#include "util/hash.h"

#include "util/err.h"

#include <sodium.h>

void hash_hex(const void *p, size_t n, char hex[33])
{
    unsigned char d[16];

    if (crypto_generichash(d, sizeof d, p, n, NULL, 0) != 0)
        BUG("BLAKE2b");
    sodium_bin2hex(hex, 33, d, sizeof d);
}
