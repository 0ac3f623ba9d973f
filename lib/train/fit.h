/*
 * fit.h - the micro-batch that memory allows.
 *
 * A global batch is cut as micro x ranks x accum. Less memory means a smaller
 * micro and a larger accum at the same global batch: the same images for each
 * step, other batch statistics. So it is chosen before a run and not during one.
 */
#ifndef TRAIN_FIT_H
#define TRAIN_FIT_H

#include "nn/graph.h"
#include "util/err.h"

#include <stddef.h>
#include <stdint.h>

struct fit {
    int64_t micro, accum;
    size_t bytes; /* of engine memory, all that plan_cost counts */
};

/* All the memory of a plan. */
size_t fit_bytes(const struct plan_cost *c);
/*
 * The largest micro that divides each (images of a rank in a step) and whose
 * plan takes at most room bytes; micro 1 and its bytes, more than room, if there
 * is none. key.n is not looked at. A plan is made for each divisor that does not
 * fit, milliseconds each. Fails as graph_cost of one image.
 */
int fit_micro(struct graph *g, struct engine *e, struct plan_key key,
              int64_t each, size_t room, struct fit *f) MUST_CHECK;

#endif
