/*
 * source.h - images as people have them, as one sorted list with keys.
 *
 *	DIR/n01440764/n01440764_10026.JPEG   class "n01440764",
 *	                                     key "n01440764/n01440764_10026"
 *
 * What a source is, is found by looking at it: a folder of class folders, a
 * folder of images, a tar of either, a tar of one tar for each class, a tar of
 * samples as WebDataset writes them; a COCO file of instances with a folder or
 * a tar of its images (coco.h), whose keys are the ids. Nothing is unpacked: an
 * image in a tar is a place in it. A tar may be compressed by gzip; it is read
 * through once to list it and once more, in sequence, for the images.
 *
 * Classes are the names found, in byte order, or those of a given list. The
 * list is in byte order of the keys, so it does not depend on the file system
 * or on the order in a tar - except where a compressed tar is among the
 * sources, whose images come in its own order.
 *
 *	struct source src = {0};
 *	source_open(&src, &set, paths, n, &how)
 *	for each i < src.n: source_read(&src, i, &image, &json)
 *	source_release(&src)        in every state
 *
 * The list is small: of a file it holds 24 bytes and its name; the path of a
 * folder is held once, and keys are put together when they are wanted.
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
    const char *name; /* below its folder; behind the bytes of its key */
    uint32_t folder;
    int32_t label;  /* class, -1: none */
    uint32_t place; /* 1 + its number; 0: a file by itself */
    uint32_t bytes; /* of such a file when it was found, at most UINT32_MAX */
};

/* What the paths of files begin with, and their keys, and what of a name the
 * keys end with. */
struct source_folder {
    char *path; /* for messages: "FOLDER/", "TAR: " */
    char *key;  /* before it is spelled */
    enum source_key {
        KEY_STEM,   /* the name without its extension */
        KEY_SAMPLE, /* up to the first dot of its last part */
        KEY_ID      /* none of it: the number of the image */
    } rule;
};

/* Where an image is that is no file by itself, or is one of COCO. */
struct source_place {
    int32_t archive;       /* -1: a file */
    uint32_t json_size;    /* 0: none */
    uint64_t offset, size; /* in the archive, decompressed; size 0: no image */
    uint64_t json_offset;
    const struct annot *annot; /* COCO: what is in it; lent by the source */
    bool missing;              /* there is no such file */
};

struct source_archive {
    char *path;
    int fd;        /* -1 if it is compressed */
    struct gz *gz; /* the second reading, when it has begun */
};

struct source {
    size_t n, cap;
    struct source_file *file;
    size_t n_folders, n_places, places_cap;
    struct source_folder *folder;
    struct source_place *place;
    struct source_text *text; /* names */
    size_t ignored;           /* files outside class folders, hidden files */
    bool sequential; /* read files in their order, one after the other */
    bool spelled;    /* in keys other characters are "+" and two hex digits */
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
/* Path of a file, for messages: FILE, or "TAR: MEMBER". Appended. */
void source_path(const struct source *src, size_t i, struct buf *b);
/* Key of a file, appended. In it other than [A-Za-z0-9_/+-] is "_", unless two
 * files would have the same. */
void source_key(const struct source *src, size_t i, struct buf *b);
/* Bytes of its image, as far as they are known. */
uint64_t source_size(const struct source *src, size_t i);
/* What is in a file of COCO, or NULL. */
const struct annot *source_annot(const struct source *src, size_t i);

#endif
