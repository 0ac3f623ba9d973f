/*
 * Fuzz target: heads of data between hosts (ring/flow.h). Only the head that is
 * expected is taken, but for the one flag that the sender may set.
 */
#include "ring/flow.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct flow_head h = {.type = FLOW_SUM,
                          .lane = 1,
                          .request = 12,
                          .bucket = 3,
                          .segment = 2,
                          .bytes = 4096,
                          .count = 100000,
                          .step = 11};
    unsigned char want[FLOW_HEAD];

    if (size < FLOW_HEAD)
        return 0;
    if (flow_head_check(&h, 7, data) < 0)
        return 0;
    flow_head_write(&h, 7, want);
    if (memcmp(want, data, FLOW_HEAD) != 0)
        abort();
    return 0;
}
