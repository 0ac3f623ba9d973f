#include "ring/request.h"

#include "io/ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *const request_kind[OP_KINDS] = {
    CTL_HELLO,   CTL_GRAD, CTL_REDUCE,  CTL_BCAST,
    CTL_BARRIER, "end",    CTL_SCATTER, CTL_GATHER,
};
const char *const request_operation[REQUEST_OPERATIONS] = {"sum", "min", "max"};

bool request_is_bucket(uint32_t kind)
{
    return kind == OP_GRAD || kind == OP_SCATTER || kind == OP_GATHER;
}

static void describe(const struct shm_op *op, char *text, size_t size)
{
    switch (op->kind) {
    case OP_GRAD:
        snprintf(text, size,
                 "the sum of bucket %u (%" PRIu64 " elements) at "
                 "step %" PRId64,
                 op->arg, op->count, op->step);
        break;
    case OP_SCATTER:
    case OP_GATHER:
        snprintf(text, size,
                 "the %s of bucket %u (%" PRIu64 " elements) at "
                 "step %" PRId64,
                 op->kind == OP_SCATTER ? "shares" : "whole", op->arg,
                 op->count, op->step);
        break;
    case OP_REDUCE:
        snprintf(text, size, "the %s of %" PRIu64 " numbers",
                 request_operation[op->arg % REQUEST_OPERATIONS], op->count);
        break;
    case OP_BCAST:
        snprintf(text, size,
                 "broadcast \"%s\" of %" PRIu64 " bytes from rank "
                 "%u",
                 op->name, op->count, op->arg);
        break;
    case OP_BARRIER:
        snprintf(text, size, "barrier \"%s\"", op->name);
        break;
    default:
        snprintf(text, size, "%s",
                 op->kind < OP_KINDS ? request_kind[op->kind] : "?");
    }
}

void request_describe(const struct shm *s, int rank, uint32_t k, char *text,
                      size_t size)
{
    describe(shm_op(s, rank, k), text, size);
}

static int compare_hello(const struct shm *s, int one, int other)
{
    const struct shm_rank *a = shm_rank(s, one), *b = shm_rank(s, other);

    if (strcmp(a->layout, b->layout) != 0)
        return err_set(ERR_CONFIG,
                       "ranks %d and %d disagree: parameter layout %s and %s: "
                       "not the same model",
                       one, other, a->layout, b->layout);
    if (strcmp(a->recipe, b->recipe) != 0)
        return err_set(ERR_CONFIG, "ranks %d and %d disagree: recipe %s and %s",
                       one, other, a->recipe, b->recipe);
    if (a->samples != b->samples)
        return err_set(ERR_CONFIG,
                       "ranks %d and %d disagree: resumed at %" PRId64
                       " and %" PRId64 " samples",
                       one, other, a->samples, b->samples);
    return 0;
}

static int compare_two(const struct shm *s, uint32_t k, int one, int other)
{
    const struct shm_op *a = shm_op(s, one, k), *b = shm_op(s, other, k);
    char text[2][200];

    if (a->kind == b->kind && a->arg == b->arg && a->count == b->count &&
        (!request_is_bucket(a->kind) || a->step == b->step) &&
        strcmp(a->name, b->name) == 0)
        return a->kind == OP_HELLO ? compare_hello(s, one, other) : 0;
    describe(a, text[0], sizeof(text[0]));
    describe(b, text[1], sizeof(text[1]));
    return err_set(ERR_CONFIG,
                   "ranks %d and %d disagree: rank %d asks for %s, rank %d for "
                   "%s",
                   one, other, one, text[0], other, text[1]);
}

int request_compare(const struct shm *s, uint32_t k)
{
    for (int r = 1; r < s->world; r++)
        if (compare_two(s, k, 0, r) < 0)
            return -1;
    return 0;
}

int request_compare_local(const struct shm *s, uint32_t k)
{
    for (int i = 1; i < s->n_local; i++)
        if (compare_two(s, k, shm_local(s, 0), shm_local(s, i)) < 0)
            return -1;
    return 0;
}
