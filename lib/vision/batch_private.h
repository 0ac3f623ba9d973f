/*
 * batch_private.h - what the files of batch share: batch.c runs rows and
 * frames, batchdetect.c makes rows of detection and puts them into a frame.
 */
#ifndef VISION_BATCH_PRIVATE_H
#define VISION_BATCH_PRIVATE_H

#include "vision/batch.h"
#include "vision/image.h"

/* What a thread decodes with. */
struct batch_tools {
    struct image_decoder *decoder;
    struct resizer *resizer;
    struct annot annot;
    struct buf upright;
    struct buf scratch; /* of the operations on a picture */
};

/* A row of a detection frame before the size of the frame is known. */
struct batch_part {
    struct buf pixels; /* [h,w,3] */
    int w, h, orig_w, orig_h;
    int64_t image_id;
    struct detect_objects objects;
};

/* The pixels and objects of a row that is loaded. */
int batch_detect(const struct batch_config *c, const struct batch_row *row,
                 struct batch_tools *t, struct batch_part *out) MUST_CHECK;
/* A row that is not there. */
void batch_no_part(struct batch_part *p);
/* The parts of a frame become its arrays; its pixels lie in canvas. */
int batch_join(struct batch_frame *f, struct buf *canvas) MUST_CHECK;

#endif
