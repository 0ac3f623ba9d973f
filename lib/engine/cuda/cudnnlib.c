#include "engine/cuda/cudnnlib.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libcudnn.so.9"
#ifndef CUDA_LIBDIR
#    define CUDA_LIBDIR ""
#endif

static void *open_in(const char *dir)
{
    char *path = xstrfmt("%s%s" LIBRARY, dir, dir[0] ? "/" : "");
    void *dl = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    free(path);
    return dl;
}

static int find_calls(struct cudnn *c)
{
    void *p;

/* POSIX, dlsym: a function's address comes as an object's. */
#define X(call)                                                                \
    p = dlsym(c->dl, "cudnn" #call);                                           \
    if (!p)                                                                    \
        return err_set(ERR_UNAVAILABLE, "%s: no cudnn%s", LIBRARY, #call);     \
    memcpy(&c->call, &p, sizeof p);
    CUDNN_CALLS(X)
#undef X
    return 0;
}

int cudnn_open(struct cudnn *c)
{
    const char *dir = getenv("ENGINE_DIR"), *why;

    memset(c, 0, sizeof *c);
    if (dir && dir[0]) {
        c->dl = open_in(dir);
        why = c->dl ? NULL : dlerror();
        if (why && !strstr(why, "No such file"))
            return err_set(ERR_UNAVAILABLE, "cannot load %s", why);
    }
    if (!c->dl)
        c->dl = open_in("");
    if (!c->dl && strlen(CUDA_LIBDIR) > 0)
        c->dl = open_in(CUDA_LIBDIR);
    if (!c->dl)
        return err_set(ERR_UNAVAILABLE,
                       "cannot load %s (set LD_LIBRARY_PATH or ENGINE_DIR); "
                       "built against cuDNN %d.%d",
                       LIBRARY, CUDNN_MAJOR, CUDNN_MINOR);
    if (find_calls(c) < 0)
        return -1;
    if (c->GetVersion() / 10000 != CUDNN_MAJOR)
        return err_set(ERR_UNAVAILABLE, "%s is version %zu: %d is needed",
                       LIBRARY, c->GetVersion(), CUDNN_MAJOR);
    return 0;
}

int cudnn_check(const struct cudnn *c, cudnnStatus_t s, const char *what)
{
    char text[400] = "";

    if (s == CUDNN_STATUS_SUCCESS)
        return 0;
    c->GetLastErrorString(text, sizeof text);
    return err_set(ERR_UNAVAILABLE,
                   "cuDNN: %s: %s: %.300s (CUDNN_LOGLEVEL_DBG=2 "
                   "CUDNN_LOGDEST_DBG=stderr tells more)",
                   what, c->GetErrorString(s), text);
}
