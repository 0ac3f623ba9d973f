#include "train/fit.h"

size_t fit_bytes(const struct plan_cost *c)
{
    return c->weights + c->gradients + c->momentum + c->buffers + c->packed +
           c->activations + c->scratch;
}

static int try(struct graph *g, struct engine *e, struct plan_key key,
               int64_t each, int64_t micro, struct fit *f)
{
    struct plan_cost cost;

    key.n = micro;
    if (graph_cost(g, e, &key, &cost) < 0)
        return -1;
    *f = (struct fit){micro, each / micro, fit_bytes(&cost)};
    return 0;
}

/* From the top: less memory takes fewer images, but not always. The form that a
 * convolution has at 48 may want less scratch than that at 32. */
int fit_micro(struct graph *g, struct engine *e, struct plan_key key,
              int64_t each, size_t room, struct fit *f)
{
    int64_t micro;
    int r;

    for (micro = each;; micro--) {
        if (each % micro)
            continue;
        r = try(g, e, key, each, micro, f);
        /* more images than a plan may have do not fit either */
        if (micro == 1 || (r == 0 && f->bytes <= room))
            return r;
    }
}
