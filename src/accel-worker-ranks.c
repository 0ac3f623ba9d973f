/* accel-worker, what train and bench have in common: one rank among others. */
#include "accel-worker.h"

#include "io/ctl.h"
#include "io/recipe.h"

#include <stdlib.h>

struct worker_ranks worker_ranks;

int worker_join(struct comm **comm, struct engine *e, const struct params *ps,
                int64_t samples, int64_t timeout_ms)
{
    static const enum dtype wire[] = {DT_F32, DT_BF16, DT_F16};
    struct comm_device_options o = {.by = (enum comm_by)worker_ranks.reduce,
                                    .wire = wire[worker_ranks.wire],
                                    .timeout_ms = timeout_ms,
                                    .share = worker_ranks.share};
    const char *iface = getenv("ACCEL_IFACE");
    char layout[33], digest[33];

    params_layout(ps, layout);
    recipe_digest(&recipe, digest);
    *comm =
        comm_pipe(CTL_FD_IN, CTL_FD_OUT, layout, digest, samples, timeout_ms);
    if (!*comm)
        return -1;
    /* the interface that the ring was told; = is NCCL's "exactly this one" */
    if (iface && iface[0] && !getenv("NCCL_SOCKET_IFNAME")) {
        char *exact = xstrfmt("=%s", iface);

        setenv("NCCL_SOCKET_IFNAME", exact, 0);
        free(exact);
    }
    *comm = comm_device(*comm, e, &o);
    return *comm ? 0 : -1;
}
