#include "engine/engine_private.h"

#include "util/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The engines there can be; which is best is a matter of their scores. */
static const char *const known[] = {"cuda", "cpu", "ref"};
#define N_KNOWN (sizeof(known) / sizeof(known[0]))

static bool is_known(const char *name)
{
    size_t i;

    for (i = 0; i < N_KNOWN; i++) {
        if (strcmp(known[i], name) == 0)
            return true;
    }
    return false;
}

/*
 * Threads that wait for each other burn the cores that decoders and other ranks
 * need: GNU OpenMP spins for milliseconds by default. It reads these variables
 * when it is loaded, so they are set here, unless the user has set either.
 */
static void calm_threads(void)
{
    if (!getenv("OMP_WAIT_POLICY") && !getenv("GOMP_SPINCOUNT"))
        setenv("GOMP_SPINCOUNT", "10000", 0);
}

static int load_plugin(struct backend *b, const char *name, const char *dir)
{
    char path[PATH_MAX], *file = xstrfmt("engine-%s.so", name);
    plugin_fn *entry = NULL;
    int r = plugin_find(file, dir, path);

    free(file);
    if (r == 0) {
        calm_threads();
        r = plugin_load(path, ENGINE_SYMBOL, RTLD_LOCAL, &b->dl, &entry);
    }
    if (r < 0)
        return err_wrap("%s", name);
    b->ops = ((engine_entry *)entry)();
    if (b->ops->abi != ENGINE_ABI)
        return err_set(ERR_UNAVAILABLE,
                       "%s: %s: built for engine interface "
                       "%d, this program has %d",
                       name, path, b->ops->abi, ENGINE_ABI);
    if (strcmp(b->ops->name, name) != 0)
        return err_set(ERR_UNAVAILABLE, "%s: %s: calls itself \"%s\"", name,
                       path, b->ops->name);
    /* It may start threads from now on, so its code must stay when it is
     * closed: the same library once more, never to be unloaded. */
    if (!dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD | RTLD_NODELETE))
        return err_set(ERR_INTERNAL, "%s: %s: cannot be kept", name, path);
    dlclose(b->dl);
    return 0;
}

/* Load and ask for the score; -1 where it cannot serve. */
static int load(struct backend *b, const char *name, const char *dir)
{
    char why[300] = "";
    int r = 0;

    memset(b, 0, sizeof(*b));
    if (strcmp(name, "ref") == 0)
        b->ops = engine_ref();
    else
        r = load_plugin(b, name, dir);
    if (r == 0)
        b->score = b->ops->score(why, sizeof(why));
    if (r == 0 && b->score <= 0)
        r = err_set(ERR_UNAVAILABLE, "%s: %s", name,
                    why[0] ? why : "not usable here");
    if (r < 0)
        backend_release(b);
    return r;
}

void backend_release(struct backend *b)
{
    if (b->dl)
        dlclose(b->dl);
    memset(b, 0, sizeof(*b));
}

/* Is there a plugin? That it is of no use is worth a word. */
static bool is_there(const char *name, const char *dir)
{
    char path[PATH_MAX], *file = xstrfmt("engine-%s.so", name);
    bool found = plugin_find(file, dir, path) == 0;

    free(file);
    return found;
}

int backend_choose(struct backend *b, const char *name, const char *dir)
{
    char over[sizeof b->over] = "";
    struct backend each;
    size_t i;

    memset(b, 0, sizeof(*b));
    if (strcmp(name, "auto") != 0) {
        if (!is_known(name))
            return err_set(ERR_USAGE,
                           "unknown engine \"%.40s\": there are "
                           "auto, cuda, cpu and ref",
                           name);
        return load(b, name, dir);
    }
    for (i = 0; i < N_KNOWN; i++) {
        if (load(&each, known[i], dir) < 0) {
            note("engine %s", err_text());
            snprintf(each.over, sizeof each.over, "%s", err_text());
            if (!over[0] && is_there(known[i], dir))
                memcpy(over, each.over, sizeof over);
            continue;
        }
        if (b->ops && b->score >= each.score) {
            note("engine %s: %s is faster", known[i], b->ops->name);
            backend_release(&each);
            continue;
        }
        backend_release(b);
        *b = each;
    }
    note("engine %s is taken", b->ops->name);
    memcpy(b->over, over, sizeof over);
    err_clear();
    return 0;
}

void engine_list(const char *dir)
{
    struct backend b;
    size_t i;

    for (i = 0; i < N_KNOWN; i++) {
        if (load(&b, known[i], dir) < 0)
            printf("%s\n", err_text());
        else
            printf("%s: score %d\n", known[i], b.score);
        backend_release(&b);
    }
    err_clear();
}
