#include "util/plugin.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The directory of the executable, no slash behind; 0 or -1. */
static int executable_dir(char *dir, size_t n)
{
    ssize_t len = readlink("/proc/self/exe", dir, n - 1);
    char *slash;

    if (len < 0)
        return -1;
    dir[len] = 0;
    slash = strrchr(dir, '/');
    if (!slash)
        return -1;
    *slash = 0;
    return 0;
}

/* Is the file in base/sub? path: its absolute name. */
static bool is_in(const char *base, const char *sub, const char *file,
                  char *path)
{
    char *name = xstrfmt("%s%s/%s", base, sub, file);
    bool found = realpath(name, path) != NULL;

    free(name);
    return found;
}

int plugin_find(const char *file, const char *dir, char path[PATH_MAX])
{
    char exe[PATH_MAX];
    bool have_exe = executable_dir(exe, sizeof(exe)) == 0;

    if (dir && is_in(dir, "", file, path))
        return 0;
    if (have_exe && (is_in(exe, "", file, path) ||
                     is_in(exe, "/../lib/millrace", file, path)))
        return 0;
    return err_set(ERR_UNAVAILABLE, "no %s in %s%s%s", file, dir ? dir : "",
                   dir ? ", " : "", have_exe ? exe : "any place");
}

int plugin_load(const char *path, const char *symbol, int scope, void **dl,
                plugin_fn **entry)
{
    const char *why;
    void *found;

    *dl = dlopen(path, RTLD_NOW | scope);
    if (!*dl) {
        why = dlerror();
        return err_set(ERR_UNAVAILABLE, "cannot load %s: %s", path,
                       why ? why : "no reason given");
    }
    found = dlsym(*dl, symbol);
    if (!found) {
        dlclose(*dl);
        *dl = NULL;
        return err_set(ERR_UNAVAILABLE, "%s: no symbol %s", path, symbol);
    }
    /* POSIX, dlsym: a function's address comes as an object's. */
    memcpy(entry, &found, sizeof(*entry));
    return 0;
}
