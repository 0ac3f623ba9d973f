/*
 * source.h - a folder of class folders, as a sorted list of files with keys.
 *
 *	DIR/n01440764/n01440764_10026.JPEG   class "n01440764",
 *	                                     key "n01440764/n01440764_10026"
 *
 * Classes are the folders of DIR in byte order of their names, or those of a
 * given list. All files below a class folder count, whatever they are called;
 * hidden ones and files beside the class folders do not (counted). The list is
 * in byte order of the keys, so it does not depend on the file system.
 */
#ifndef IO_SOURCE_H
#define IO_SOURCE_H

#include "io/shard.h"
#include "util/err.h"

#include <stddef.h>
#include <stdint.h>

struct source_file {
    char *path, *key;
    int32_t label;
};

struct source {
    size_t n, cap;
    struct source_file *file;
    size_t ignored; /* files outside class folders, hidden files */
};

/*
 * Walk n directories. Classes are added to s; if it has some already (a list
 * from a file), a folder that is not among them is ERR_DATA. Two files with one
 * key are ERR_DATA naming both. ERR_NOINPUT: a directory is not there or
 * without class folders.
 */
int source_walk(struct source *src, struct shard_set *s, char **dirs,
                int n) MUST_CHECK;
void source_release(struct source *src);
/* Key of a relative path: no extension; other than [A-Za-z0-9_/+-] is "_".
 * To be freed. */
char *source_key(const char *relative);

#endif
