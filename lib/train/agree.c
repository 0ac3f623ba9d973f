#include "train/agree.h"

#include "util/fnv.h"

/* Of the words of the arena; of it a double holds 53 bits. */
static int digest(const struct params *ps, double *v)
{
    const char *w = ps->w;
    uint32_t part[1 << 14];
    size_t n, bytes = (size_t)ps->total * sizeof *part;
    uint64_t h = FNV_EMPTY;

    for (; bytes > 0; w += n, bytes -= n) {
        n = bytes < sizeof part ? bytes : sizeof part;
        if (engine_download(ps->e, part, w, n) < 0)
            return -1;
        for (size_t i = 0; i < n / sizeof *part; i++)
            h = fnv_add(h, part[i]);
    }
    *v = (double)(h >> 11);
    return 0;
}

int agree_weights(const struct params *ps, struct comm *comm)
{
    double v[2]; /* greatest; least, negative */

    if (comm->world == 1)
        return 0;
    if (digest(ps, v) < 0)
        return -1;
    v[1] = -v[0];
    if (comm_reduce(comm, COMM_MAX, v, 2) < 0)
        return -1;
    if (v[0] != -v[1])
        return err_set(ERR_INTERNAL, "ranks: weights differ");
    return 0;
}
