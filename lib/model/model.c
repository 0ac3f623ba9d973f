#include "model/model.h"

#include "util/nearest.h"

#include <string.h>

const struct model_kind model_kinds[] = {
    /* of basic blocks: 11.7 and 21.8 million parameters */
    {"resnet18", resnet_build, 18},
    {"resnet34", resnet_build, 34},
    /* of bottlenecks, v1.5: 25.6, 44.5 and 60.2 million */
    {"resnet50", resnet_build, 50},
    {"resnet101", resnet_build, 101},
    {"resnet152", resnet_build, 152},
    {NULL, NULL, 0},
};

int model_find(const char *name, const struct model_kind **k)
{
    struct nearest n = {.word = name};
    const struct model_kind *m;

    for (m = model_kinds; m->name; m++) {
        if (strcmp(m->name, name) == 0) {
            *k = m;
            return 0;
        }
        nearest_try(&n, m->name);
    }
    return nearest_fail(ERR_CONFIG, "", "model", &n, "");
}
