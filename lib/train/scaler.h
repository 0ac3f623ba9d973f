/*
 * scaler.h - the dynamic loss scale of fp16.
 *
 * A number and a counter, kept in checkpoints. The scale enters as the seed of
 * backward and leaves in the pass that unscales; a step whose gradients are not
 * all finite is skipped and halves the scale, 2000 clean steps in a row double
 * it. The engine does that by itself (KERN_STEP); what stands here is what it
 * began with, then what was last read back. Without loss scaling (fp32, bf16)
 * the scale is 1 and a non-finite gradient ends the run.
 */
#ifndef TRAIN_SCALER_H
#define TRAIN_SCALER_H

#include "engine/engine.h"
#include "io/recipe.h"

#include <stdbool.h>
#include <stdint.h>

#define SCALER_START 65536.0
#define SCALER_INTERVAL 2000

struct scaler {
    double scale;    /* 1 when off */
    bool on;         /* steps with non-finite gradients are skipped */
    bool dynamic;    /* the scale moves */
    int64_t good;    /* clean steps since the scale moved */
    int64_t skipped; /* in the whole run */
};

void scaler_init(struct scaler *s, const struct recipe *r);
/* Its rules, as KERN_STEP takes them. */
void scaler_rules(const struct scaler *s, struct kern_step *k);

#endif
