#include "model/model.h"

#include "util/nearest.h"

#include <string.h>

const struct model_kind model_kinds[] = {
    {"resnet18", "ResNet-18, basic blocks, 11.7 M parameters", resnet_build,
     18},
    {"resnet34", "ResNet-34, basic blocks, 21.8 M parameters", resnet_build,
     34},
    {"resnet50", "ResNet-50 v1.5, bottlenecks, 25.6 M parameters", resnet_build,
     50},
    {"resnet101", "ResNet-101 v1.5, bottlenecks, 44.5 M parameters",
     resnet_build, 101},
    {"resnet152", "ResNet-152 v1.5, bottlenecks, 60.2 M parameters",
     resnet_build, 152},
    {NULL, NULL, NULL, 0},
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
