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

static void *open_library(const char *name, const char *built)
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

int culib_load(void *table, const char *name, const char *built,
               const struct culib_call *call, int n)
{
    void *dl = open_library(name, built), *p;
    int i;

    if (!dl)
        return -1;
    for (i = 0; i < n; i++) {
        p = dlsym(dl, call[i].symbol);
        if (!p && !call[i].optional)
            return err_set(ERR_UNAVAILABLE, "%s: no %s", name, call[i].symbol);
        /* POSIX, dlsym: a function's address comes as an object's. */
        memcpy((char *)table + call[i].at, &p, sizeof p);
    }
    return 0;
}
