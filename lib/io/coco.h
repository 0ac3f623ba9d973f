/*
 * coco.h - a COCO file of instances as records, by Detectron2's rules.
 *
 * Categories in the order of their ids are classes 0..K-1, whatever the ids
 * are. Images are in the order of their ids, objects of an image in that of the
 * file. Left out, and counted: objects of images that are not listed, objects
 * whose polygons all are too short. A file without annotations at all is that of
 * a test set. Errors: an id that is there twice, an
 * object of an unknown category, without a box, or to be ignored
 * (facebookresearch/detectron2: detectron2/data/datasets/coco.py;
 * coco-detector 4.1).
 *
 *	struct coco c = {0};
 *	coco_open(&c, "instances_train2017.json")
 *	coco_release(&c)            in every state
 */
#ifndef IO_COCO_H
#define IO_COCO_H

#include "io/annot.h"

struct coco_class {
    int64_t id;
    char *name;
};

struct coco {
    size_t n, n_classes, n_objects;
    struct annot *image; /* [n]; objects are part of `object` */
    char **file;         /* [n] as the file says: relative to its folder */
    struct coco_class *cls;
    struct annot_object *object;
    /* counted */
    size_t crowds;
    size_t strangers; /* left out: of no image */
    size_t shapeless; /* left out: no polygon of three corners */
    size_t outside;   /* kept: boxes that are empty or outside their image */
};

/* c is zero before; after a failure it is released. ERR_NOINPUT, ERR_DATA. */
int coco_open(struct coco *c, const char *path) MUST_CHECK;
/* From a text; path is what errors call it. Fuzzed. */
int coco_parse(struct coco *c, const char *text, size_t n,
               const char *path) MUST_CHECK;
void coco_release(struct coco *c);

#endif
