/*
 * Any bytes as a file of torch.save or a pickle of arrays: refused with a
 * sentence of class ERR_DATA, or tensors of which every byte can be read.
 */
#include "io/foreign.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct foreign f;

    err_clear();
    if (foreign_parse(&f, data, size) < 0) {
        if (err_code() != ERR_DATA || !*err_text())
            BUG("refused without a reason: class %d", (int)err_code());
        return 0;
    }
    for (int i = 0; i < f.n; i++) {
        size_t n = tensor_bytes(&f.tensor[i].t);
        char *p;

        if (n > (size_t)1 << 22)
            continue;
        p = xmalloc(n + 1);
        memset(p, 0x55, n);
        if (foreign_read(&f, i, p) < 0)
            BUG("tensor %s: %s", f.tensor[i].name, err_text());
        free(p);
    }
    foreign_close(&f);
    return 0;
}
