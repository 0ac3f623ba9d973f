/*
 * Fuzz target: the bytes of a peer that has not proved anything (ring/login.h),
 * in pieces as the input says. Nobody is let in: the key is not in the input.
 */
#include "ring/login.h"
#include "util/fdio.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char key[CRYPT_KEY] = "not a secret";
    struct login_id id = {.rank = 0, .world = 8, .job = "fuzz"};
    struct login l;
    int r = 0;

    if (size < 1)
        return 0;
    login_begin(&l, -1, data[0] & 1, key, &id, FD_FOREVER);
    for (size_t at = 1; at < size && r == 0;) {
        size_t n = 1 + data[0] / 2;
        if (n > size - at)
            n = size - at;
        r = login_take(&l, data + at, n);
        at += n;
    }
    if (r == 1 || l.have > LOGIN_BYTES || l.ready > LOGIN_BYTES)
        abort();
    login_end(&l);
    return 0;
}
