/*
 * plancache.h - of C tests: what engines keep in the folder MILLRACE_CACHE.
 */
#ifndef T_LIB_PLANCACHE_H
#define T_LIB_PLANCACHE_H

#include "lib/tap.h"
#include "util/buf.h"
#include "util/err.h"

#include <dirent.h>

/* A file's text, "" if it cannot be read; the caller frees it. */
TAP_UNUSED static char *contents(const char *path)
{
    struct buf b = BUF_INIT;

    buf_addstr(&b, "");
    if (buf_read_file(&b, path, 1 << 20) < 0)
        err_clear();
    return buf_detach(&b);
}

/* The path of the only file of the folder, "none"; the caller frees it. */
TAP_UNUSED static char *only_file(void)
{
    const char *dir = getenv("MILLRACE_CACHE");
    DIR *d = opendir(dir);
    struct dirent *each;
    char *found = NULL;

    while (d && (each = readdir(d)))
        if (each->d_name[0] != '.') {
            free(found);
            found = xstrfmt("%s/%s", dir, each->d_name);
        }
    if (d)
        closedir(d);
    return found ? found : xstrdup("none");
}

/* The text of that file, "" if there is none; the caller frees it. */
TAP_UNUSED static char *kept(void)
{
    char *path = only_file(), *text = contents(path);

    free(path);
    return text;
}

TAP_UNUSED static int lines_of(const char *text)
{
    int n = 0;

    for (; text && *text; text++)
        n += *text == '\n';
    return n;
}

#endif
