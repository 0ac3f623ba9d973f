/* evalacc - score predictions: evalacc(1). */
#include "evalacc.h"

static const struct command commands[] = {
    {.name = "top",
     .operands = "PREDICTIONS...",
     .help = "count how often the label is among the first k classes",
     .opts = evalacc_top_opts,
     .n_fixed = 1,
     .max_operands = -1,
     .run = evalacc_top},
    /* coco comes here */
    {0},
};

static const struct program program = {
    .name = "evalacc",
    .help = "Score predictions, every sample once.",
    .commands = commands,
};

int main(int argc, char **argv)
{
    return program_main(&program, argc, argv);
}
