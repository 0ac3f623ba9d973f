/*
 * Any bytes as JSON: refused with a sentence of class ERR_DATA, or a value whose
 * canonical text is a fixed point: parsed and written again it is the same.
 */
#include "util/json.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct buf one, two;
    json_t *j, *again;

    err_clear();
    j = json_text((const char *)data, size, "x");
    if (!j) {
        if (err_code() != ERR_DATA || !*err_text())
            BUG("refused without a reason: class %d", (int)err_code());
        return 0;
    }
    buf_reset(&one);
    buf_reset(&two);
    json_canonical(&one, j);
    again = json_text(one.data, one.len, "x");
    if (!again)
        BUG("its own text: %s", err_text());
    json_canonical(&two, again);
    if (one.len != two.len || memcmp(one.data, two.data, one.len) != 0)
        BUG("\"%s\" and then \"%s\"", one.data, two.data);
    json_decref(j);
    json_decref(again);
    return 0;
}
