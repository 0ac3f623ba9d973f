/*
 * source_private.h - what the files of source share: adding to the list.
 *
 * While a list is made, the label of a file is a class number, LABEL_NONE, or
 * label_of_name(): a name whose number is known when all names are.
 */
#ifndef IO_SOURCE_PRIVATE_H
#define IO_SOURCE_PRIVATE_H

#include "io/source.h"

#define LABEL_NONE (-1)

/* A new entry of the list, zero but for archive -1 and label LABEL_NONE. */
struct source_file *source_add(struct source *src);
/* The label of a class name; the name is remembered. */
int32_t label_of_name(struct source *src, const char *name);
/* "train", "val", "validation", "test". */
bool is_split_name(const char *name, size_t n);
/* Is folder the one that --split SPLIT means? */
bool is_split(const char *folder, size_t n, const char *split);

/* sourcetar.c: list a tar, compressed or not. */
int source_tar(struct source *src, const char *path,
               const struct source_how *how) MUST_CHECK;
/* sourcecoco.c: images of a COCO file. */
int source_coco(struct source *src, struct shard_set *s, const char *json,
                const char *images, bool folder) MUST_CHECK;
/* sourcelabel.c: labels from a file, for the sorted list. classes: numbers of
 * the classes of a list (empty without one). */
int source_labels(struct source *src, const struct map *classes,
                  const struct source_how *how) MUST_CHECK;

#endif
