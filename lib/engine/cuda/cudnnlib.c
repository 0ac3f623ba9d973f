#include "engine/cuda/cudnnlib.h"

#include "engine/cuda/culib.h"

#include <stdbool.h>

#define LIBRARY "libcudnn.so.9"
#define TEXT(x) #x
#define VERSION(major, minor) "cuDNN " TEXT(major) "." TEXT(minor)

int cudnn_open(struct cudnn *c)
{
#define X(call) {"cudnn" #call, offsetof(struct cudnn, call), false},
    static const struct culib_call calls[] = {CUDNN_CALLS(X)};
#undef X

    if (culib_load(c, LIBRARY, VERSION(CUDNN_MAJOR, CUDNN_MINOR), calls,
                   (int)(sizeof calls / sizeof calls[0])) < 0)
        return -1;
    if (c->GetVersion() / 10000 != CUDNN_MAJOR)
        return err_set(ERR_UNAVAILABLE, "%s is version %zu: %d is needed",
                       LIBRARY, c->GetVersion(), CUDNN_MAJOR);
    return 0;
}

int cudnn_check(const struct cudnn *c, cudnnStatus_t s, const char *what)
{
    bool memory = s == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ||
                  s == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
    char text[400] = "";

    if (s == CUDNN_STATUS_SUCCESS)
        return 0;
    c->GetLastErrorString(text, sizeof text);
    return err_set(memory ? ERR_SYSTEM : ERR_UNAVAILABLE,
                   "cuDNN: %s: %s: %.300s (CUDNN_LOGLEVEL_DBG=2 "
                   "CUDNN_LOGDEST_DBG=stderr tells more)",
                   what, c->GetErrorString(s), text);
}
