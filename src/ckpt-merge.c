/* ckpt-merge - join, verify, list, compare and average checkpoints:
 * ckpt-merge(1). */
#include "ckpt-merge.h"

static const struct command commands[] = {
    {.name = "",
     .operands = "DIR|FILE...",
     .help = "join a checkpoint into one file",
     .opts = ckpt_merge_join_opts,
     .n_fixed = 1,
     .max_operands = -1,
     .run = ckpt_merge_join},
    {.name = "verify",
     .operands = "DIR|FILE...",
     .help = "read every byte and compare every checksum",
     .n_fixed = 1,
     .max_operands = -1,
     .run = ckpt_merge_verify},
    {.name = "ls",
     .operands = "DIR|FILE",
     .help = "list the steps of a run, or the tensors of a step or file",
     .opts = ckpt_merge_ls_opts,
     .n_fixed = 1,
     .max_operands = 1,
     .run = ckpt_merge_ls},
    {.name = "diff",
     .operands = "A B",
     .help = "say which tensors differ, and how much (-q: by the status only)",
     .n_fixed = 2,
     .max_operands = 2,
     .run = ckpt_merge_diff},
    {.name = "average",
     .operands = "DIR|FILE...",
     .help = "the mean of models, each an operand",
     .opts = ckpt_merge_average_opts,
     .n_fixed = 1,
     .max_operands = -1,
     .run = ckpt_merge_average},
    {.name = "cast",
     .operands = "DIR|FILE...",
     .help = "join, in another precision",
     .opts = ckpt_merge_cast_opts,
     .n_fixed = 1,
     .max_operands = -1,
     .run = ckpt_merge_cast},
    /* convert comes here */
    {0},
};

static const struct program program = {
    .name = "ckpt-merge",
    .help = "Join the newest committed checkpoint below DIR, or the tensors of "
            "FILEs, into one safetensors file.",
    .commands = commands,
};

int main(int argc, char **argv)
{
    return program_main(&program, argc, argv);
}
