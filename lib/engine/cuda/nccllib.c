#include "engine/cuda/nccllib.h"

#include "engine/cuda/culib.h"

#ifdef HAVE_NCCL

#    define LIBRARY "libnccl.so.2"
#    define TEXT(x) #    x
#    define VERSION(major, minor) "NCCL " TEXT(major) "." TEXT(minor)

int nccl_open(struct nccl *n)
{
#    define X(call) {"nccl" #    call, offsetof(struct nccl, call), false},
#    define MORE(call) {"nccl" #    call, offsetof(struct nccl, call), true},
    static const struct culib_call calls[] = {NCCL_CALLS(X) NCCL_MORE(MORE)};
#    undef X
#    undef MORE

    if (culib_load(n, LIBRARY, VERSION(NCCL_MAJOR, NCCL_MINOR), calls,
                   (int)(sizeof calls / sizeof calls[0])) < 0)
        return -1;
    if (n->GetVersion(&n->version) != ncclSuccess)
        n->version = 0;
    if (n->version < NCCL_OLDEST)
        return err_set(ERR_UNAVAILABLE, "%s is NCCL %d.%d.%d: %d.%d is needed",
                       LIBRARY, n->version / 10000, n->version / 100 % 100,
                       n->version % 100, NCCL_OLDEST / 10000,
                       NCCL_OLDEST / 100 % 100);
    return 0;
}

int nccl_check(const struct nccl *n, ncclResult_t r, const char *what)
{
    const char *more;

    if (r == ncclSuccess || r == ncclInProgress)
        return 0;
    more = n->GetLastError(NULL);
    return err_set(r == ncclRemoteError || r == ncclSystemError ? ERR_PEER
                   : r == ncclUnhandledCudaError ? ERR_UNAVAILABLE
                                                 : ERR_INTERNAL,
                   "NCCL: %s: %s%s%.300s (NCCL_DEBUG=INFO tells more)", what,
                   n->GetErrorString(r), more && more[0] ? ": " : "",
                   more ? more : "");
}

#endif
