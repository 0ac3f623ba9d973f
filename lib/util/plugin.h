/*
 * plugin.h - parts of the programs that are loaded only where they are wanted.
 *
 * A plugin is a shared library with one symbol, a function that returns a table
 * of functions. Before it calls anything else of the table the caller compares
 * the number of the interface in it.
 *
 *	char path[PATH_MAX];
 *	plugin_find("engine-cpu.so", dir, path)
 *	plugin_load(path, "engine_entry", RTLD_LOCAL, &dl, &entry)
 */
#ifndef UTIL_PLUGIN_H
#define UTIL_PLUGIN_H

#include "util/err.h"

#include <limits.h>

/* Any function: the caller knows its type. */
typedef void plugin_fn(void);

/*
 * The absolute name of a file: in dir (NULL: not looked for), in the directory of
 * the running program, or in ../lib/millrace of that. ERR_UNAVAILABLE says where
 * it is not.
 */
int plugin_find(const char *file, const char *dir,
                char path[PATH_MAX]) MUST_CHECK;
/*
 * Load it; scope is RTLD_LOCAL or RTLD_GLOBAL. *entry is the function of that
 * name. ERR_UNAVAILABLE with path and reason; *dl is for dlclose, or NULL.
 */
int plugin_load(const char *path, const char *symbol, int scope, void **dl,
                plugin_fn **entry) MUST_CHECK;

#endif
