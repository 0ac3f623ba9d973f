#include "engine/cuda/culib.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#ifndef CUDA_LIBDIR
#    define CUDA_LIBDIR ""
#endif

static void *open_in(const char *dir, const char *name)
{
    char *path = xstrfmt("%s%s%s", dir, dir[0] ? "/" : "", name);
    void *dl = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    free(path);
    return dl;
}

void *culib_open(const char *name, const char *built)
{
    const char *dir = getenv("ENGINE_DIR"), *why;
    void *dl = NULL;

    if (dir && dir[0]) {
        dl = open_in(dir, name);
        why = dl ? NULL : dlerror();
        if (why && !strstr(why, "No such file")) {
            err_set(ERR_UNAVAILABLE, "cannot load %s", why);
            return NULL;
        }
    }
    if (!dl)
        dl = open_in("", name);
    if (!dl && strlen(CUDA_LIBDIR) > 0)
        dl = open_in(CUDA_LIBDIR, name);
    if (!dl)
        err_set(ERR_UNAVAILABLE,
                "cannot load %s (set LD_LIBRARY_PATH or ENGINE_DIR); built "
                "against %s",
                name, built);
    return dl;
}

int culib_find(void *dl, const char *name, const char *symbol, void *call)
{
    void *p = dlsym(dl, symbol);

    if (!p)
        return err_set(ERR_UNAVAILABLE, "%s: no %s", name, symbol);
    /* POSIX, dlsym: a function's address comes as an object's. */
    memcpy(call, &p, sizeof p);
    return 0;
}
