/*
 * The NCCL of the toolkit, without a GPU: every call that the engine makes is
 * there, its version fits the header's structures, and what it says where no
 * driver is becomes a sentence. Skips where there is no such library.
 */
#include "lib/tap.h"

#include "engine/cuda/nccllib.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_NCCL

static void test_no_driver(const struct nccl *n)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclComm_t comm = NULL;
    ncclUniqueId id;
    ncclResult_t r;

    memset(&id, 1, sizeof id);
    config.blocking = 0;
    r = n->CommInitRankConfig(&comm, 1, id, 0, &config);
    /* it may be in progress for a while */
    for (int i = 0; i < 10000 && r == ncclInProgress; i++)
        if (n->CommGetAsyncError(comm, &r) != ncclSuccess)
            r = ncclInternalError;
    is_int(nccl_check(n, r, "joining"), -1, "no driver: a team cannot be made");
    is_int(err_code(), ERR_UNAVAILABLE, "no driver: its class");
    has_str(err_text(), "NCCL: joining: unhandled cuda error",
            "no driver: the library's words");
}

int main(void)
{
    struct nccl n;

    unsetenv("ENGINE_DIR");
    if (nccl_open(&n) < 0) {
        has_str(err_text(), "libnccl.so.2", "why there is none");
        skip(1, "nccl: not here");
        return done_testing();
    }
    ok(n.version >= NCCL_OLDEST, "version %d", n.version);
    is_int(n.version / 10000, NCCL_MAJOR, "of the header's kind");
    is_int(sizeof(ncclUniqueId), NCCL_UNIQUE_ID_BYTES, "an identifier");
    ok(n.version < 21903 ||
           (n.MemAlloc && n.MemFree && n.CommRegister && n.CommDeregister),
       "memory that is registered");
    is_str(n.GetErrorString(ncclRemoteError),
           "remote process exited or there was a network error",
           "a lost rank, in its words");
    is_int(nccl_check(&n, ncclRemoteError, "sum"), -1, "a lost rank");
    is_int(err_code(), ERR_PEER, "a lost rank is one");
    is_int(nccl_check(&n, ncclInProgress, "sum"), 0, "in progress is no error");
    if (access("/dev/nvidiactl", F_OK) == 0)
        skip(3, "none: there is a GPU here");
    else
        test_no_driver(&n);
    return done_testing();
}

#else

int main(void)
{
    skip(1, "nccl: this build had no nccl.h");
    return done_testing();
}

#endif
