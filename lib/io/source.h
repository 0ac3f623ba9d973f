/*
 * source.h - images as people have them, as one sorted list with keys.
 *
 *	DIR/n01440764/n01440764_10026.JPEG   class "n01440764",
 *	                                     key "n01440764/n01440764_10026"
 *
 * What a source is, is found by looking at it: a folder of class folders, a
 * folder of images, a tar of either, a tar of one tar for each class, a tar of
 * samples as WebDataset writes them; a COCO file of instances with a folder or
 * a tar of its images (coco.h), whose keys are the ids. Nothing is unpacked: an image in a tar is
 * a place in it. A tar may be compressed by gzip; it is read through once to
 * list it and once more, in sequence, for the images.
 *
 * Classes are the names found, in byte order, or those of a given list. The
 * list is in byte order of the keys, so it does not depend on the file system
 * or on the order in a tar - except where a compressed tar is among the
 * sources, whose images come in its own order.
 *
 *	struct source src = {0};
 *	source_open(&src, &set, paths, n, &how)
 *	for each src.file[i]: source_read(&src, i, &image, &json)
 *	source_release(&src)        in every state
 */
#ifndef IO_SOURCE_H
#define IO_SOURCE_H

#include "io/annot.h"
#include "io/shard.h"
#include "util/buf.h"
#include "util/err.h"
#include "util/map.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source_file {
    char *path; /* for messages: FILE, or "TAR: MEMBER" */
    char *key;
    int32_t label;         /* class, -1: none */
    int32_t archive;       /* -1: path is a file */
    uint64_t offset, size; /* in the archive, decompressed; size 0: no image;
                              of a file: what it was when it was found */
    uint64_t json_offset;
    uint32_t json_size;        /* 0: none */
    const struct annot *annot; /* COCO: what is in it; lent by the source */
    bool missing;              /* COCO: the image is not there */
};

struct source_archive {
    char *path;
    int fd;        /* -1 if it is compressed */
    struct gz *gz; /* the second reading, when it has begun */
};

struct source {
    size_t n, cap;
    struct source_file *file;
    size_t ignored;  /* files outside class folders, hidden files */
    bool sequential; /* read files in their order, one after the other */
    int32_t numbers; /* labels that came as numbers, without names, are less */
    size_t n_archives;
    struct source_archive *archive;
    /* names of classes while labels are put together */
    char **name;
    size_t n_names;
    struct map names;
    struct coco *coco; /* NULL: another source */
};

struct source_how {
    const char *split;   /* which of train/ and val/ is meant */
    const char *labels;  /* file of labels, or NULL */
    const char *synsets; /* what the numbers in it stand for, or NULL */
};

/*
 * List n sources. Classes are added to s unless it has some already (a list
 * from a file); a name that is not among those is ERR_DATA. If labels are
 * numbers and there is no list, no classes are added and numbers is set. Two
 * files with one key are ERR_DATA naming both. ERR_NOINPUT: a source is not
 * there or has no files. Paths that begin with a file called *.json are COCO:
 * that file and its images; src->coco then is not NULL.
 */
int source_open(struct source *src, struct shard_set *s, char **paths, int n,
                const struct source_how *how) MUST_CHECK;
/*
 * The bytes of a file, and its annotation if it has one, appended. By any
 * thread, unless src->sequential: then each file once, in order. ERR_DATA: too
 * large, or no image.
 */
int source_read(struct source *src, size_t i, struct buf *image,
                struct buf *json) MUST_CHECK;
void source_release(struct source *src);
/* Key of a relative path: no extension; other than [A-Za-z0-9_/+-] is "_".
 * To be freed. */
char *source_key(const char *relative);

#endif
