/*
 * descriptor.h - descriptors of the made-up cuDNN: they hold what they are given.
 */
#ifndef T_HOSTGPU_DESCRIPTOR_H
#define T_HOSTGPU_DESCRIPTOR_H

#include <cudnn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static inline const struct attribute *find(const struct descriptor *d,
                                           cudnnBackendAttributeName_t name)
{
    int i;

    for (i = 0; d && i < d->n; i++)
        if (d->a[i].name == name)
            return &d->a[i];
    return NULL;
}

/* The attribute, or an end: a descriptor that lacks it is an error of ours. */
static inline const void *get(const struct descriptor *d,
                              cudnnBackendAttributeName_t name, int64_t n)
{
    const struct attribute *a = find(d, name);

    if (a && (a->n == n || n == 0))
        return a->v;
    fprintf(stderr, "cudnn: attribute %d of descriptor %d is missing\n",
            (int)name, d ? (int)d->type : -1);
    abort();
}

static inline const struct descriptor *of(const struct descriptor *d,
                                          cudnnBackendAttributeName_t name)
{
    const struct descriptor *v;

    memcpy(&v, get(d, name, 1), sizeof v);
    if (!v->finalized)
        abort();
    return v;
}

#endif
