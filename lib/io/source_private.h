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

/* sourcelist.c: one more folder; path and key are copied. Its number. */
uint32_t source_folder(struct source *src, const char *path, const char *key,
                       enum source_key rule);
/* A new entry of the list, with LABEL_NONE; the name is copied. */
struct source_file *source_add(struct source *src, uint32_t folder,
                               const char *name);
/* Give an entry a place: archive -1, else zero. */
struct source_place *source_put(struct source *src, struct source_file *f);
/* Those that the list has; NULL. */
const struct source_place *source_place(const struct source *src, size_t i);
/* "PATH: " and the rest for the file i: ERR_DATA. */
int source_bad(const struct source *src, size_t i, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* The characters of a key for those of a name, appended. */
void source_spell(const struct source *src, const char *text, size_t n,
                  struct buf *b);
/* By keys, which are spelled if some would be equal; ERR_DATA: two files have
 * the same even so. ERR_NOINPUT: none. */
int source_sort(struct source *src) MUST_CHECK;
/* As they lie in their archives. */
void source_sort_places(struct source *src);
/* Names and folders. */
void source_list_release(struct source *src);
/* The label of a class name; the name is remembered. */
int32_t label_of_name(struct source *src, const char *name);
/* "train", "val", "valid", "test" and such, in any case. */
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
