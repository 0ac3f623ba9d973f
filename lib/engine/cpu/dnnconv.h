/*
 * dnnconv.h - convolutions by oneDNN, each in up to four ways.
 *
 * As a convolution, or, with windows of one place at stride 1, as a product of
 * matrices [n*h*w, c]. Others can be made such products: the window of each
 * output place is written as a row first ("columns"), or such rows are added up
 * afterwards. Activations are [N,H,W,C], which oneDNN calls the layout acdb of
 * its NCHW; master weights [K,R,S,C] are acdb of its OIHW. The weights' own
 * layout is oneDNN's choice: dnnconv_pack goes there, gradients come back
 * through a reorder that can add.
 *
 * Calling sequence: as the conv_* entries of struct engine_ops.
 */
#ifndef ENGINE_CPU_DNNCONV_H
#define ENGINE_CPU_DNNCONV_H

#include "engine/cpu/cpu.h"

struct dnnconv;

enum {
    DNNCONV_PRODUCT = 1, /* its core is a product of matrices */
    DNNCONV_COLUMNS = 2  /* the core works on columns */
};

/* Can it be done so, as exactly as in the usual way? */
bool dnnconv_takes(const struct conv_desc *d, unsigned way);
/* The way that was fastest on most machines, or is the more exact one. */
unsigned dnnconv_usual(const struct conv_desc *d);
/* ERR_UNAVAILABLE: oneDNN has nothing. To be freed. */
int dnnconv_new(struct cpu *c, const struct conv_desc *d, unsigned way,
                struct conv_needs *needs, struct dnnconv **out) MUST_CHECK;
int dnnconv_pack(struct cpu *c, struct dnnconv *p, const void *weights,
                 void *packed) MUST_CHECK;
int dnnconv_run(struct cpu *c, struct dnnconv *p,
                const struct conv_args *a) MUST_CHECK;
void dnnconv_free(struct dnnconv *p); /* NULL allowed */
const char *dnnconv_name(const struct dnnconv *p);

#endif
