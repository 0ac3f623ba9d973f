/* descriptor.h - what the files of the made-up cuDNN share. */
#ifndef T_HOSTGPU_DESCRIPTOR_H
#define T_HOSTGPU_DESCRIPTOR_H

#include "hostgpu.h"

#include <cudnn.h>

#include <stdint.h>

#define ATTRIBUTES 16

struct attribute {
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int64_t n;
    int64_t v[64]; /* whatever it is, at most 512 bytes */
};

struct descriptor {
    cudnnBackendDescriptorType_t type;
    bool finalized;
    int engine;  /* of engines and their configurations */
    bool matrix; /* and do they multiply halves in matrix units? */
    int n;
    struct attribute a[ATTRIBUTES];
};

/* An attribute, or NULL. */
HIDDEN const struct attribute *find(const struct descriptor *d,
                                    cudnnBackendAttributeName_t name);
/* Its n values (0: however many); a descriptor that lacks it ends the program: it
 * is an error of ours. */
HIDDEN const void *get(const struct descriptor *d,
                       cudnnBackendAttributeName_t name, int64_t n);
/* The descriptor that it holds, which is complete. */
HIDDEN const struct descriptor *of(const struct descriptor *d,
                                   cudnnBackendAttributeName_t name);
/* By kind of convolution: its windows, x, w, y. */
extern HIDDEN const cudnnBackendAttributeName_t conv_parts[3][4];

/* cudnncompute.c: do what a graph says with the memory that a pack says. */
HIDDEN void compute(const struct descriptor *graph,
                    const struct descriptor *pack);

#endif
