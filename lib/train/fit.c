#include "train/fit.h"

#include <stdlib.h>

size_t fit_bytes(const struct plan_cost *c)
{
    return c->weights + c->gradients + c->momentum + c->buffers + c->packed +
           c->activations + c->scratch;
}

/* The divisors of n by rising size; *count of them. The caller frees. */
static int64_t *divisors(int64_t n, int *count)
{
    int64_t *d = NULL;

    *count = 0;
    for (int64_t i = 1; i <= n; i++)
        if (n % i == 0) {
            d = xreallocarray(d, (size_t)*count + 1, sizeof(*d));
            d[(*count)++] = i;
        }
    return d;
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

int fit_micro(struct graph *g, struct engine *e, struct plan_key key,
              int64_t each, size_t room, struct fit *f)
{
    int n, low = 0, high, r;
    int64_t *d = divisors(each, &n);
    struct fit t;

    /* d[low] fits, or is 1; those from d[high] on do not. */
    high = n;
    r = try(g, e, key, each, d[0], f);
    while (r == 0 && f->bytes <= room && high - low > 1) {
        int middle = low + (high - low) / 2;
        r = try(g, e, key, each, d[middle], &t);
        if (r == 0 && t.bytes <= room) {
            low = middle;
            *f = t;
        } else {
            high = middle;
        }
    }
    free(d);
    return r;
}
