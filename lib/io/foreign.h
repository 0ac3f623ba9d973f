/*
 * foreign.h - tensors in the files of others: what torch.save writes (the zip
 * of today, the streams before 1.6 and the tars before 0.1.10) and pickles of
 * numpy arrays. Nothing in them is called; see pickle.h.
 *
 * A tensor is named by the keys that lead to it, "optimizer.state.0.exp_avg"; it
 * is read as the contiguous tensor that it shows, whatever views it came from.
 * What is no tensor is passed over. Formats: pytorch/pytorch
 * torch/serialization.py and torch/_utils.py; numpy/numpy
 * numpy/core/src/multiarray/methods.c (array_setstate), descriptor.c.
 *
 *	struct foreign f = FOREIGN_INIT;
 *	if (foreign_open(&f, path) == 0)
 *		for (i = 0; i < f.n; i++)
 *			foreign_read(&f, i, memory of tensor_bytes(&f.tensor[i].t));
 *	foreign_close(&f);           (allowed after a failure, too)
 */
#ifndef IO_FOREIGN_H
#define IO_FOREIGN_H

#include "tensor/tensor.h"

#include <stdbool.h>
#include <stddef.h>

struct foreign_tensor {
    char *name;
    size_t key; /* bytes of name that are the first key, which may have dots */
    struct tensor t; /* data is NULL */
    int storage;
    int64_t offset, stride[TENSOR_RANK]; /* in elements of the storage */
};

struct foreign {
    int n;
    struct foreign_tensor *tensor; /* in the order of the file */
    struct foreign_file *file;
};
#define FOREIGN_INIT                                                           \
    {                                                                          \
        0, NULL, NULL                                                          \
    }

/* Whether the file begins as one of these do; false also if it cannot be read. */
bool foreign_is(const char *path);
/* ERR_NOINPUT, ERR_IO; ERR_DATA: damaged, not of tensors, or asks for more than
 * tensors need. Check sums of zips are verified here. */
int foreign_open(struct foreign *f, const char *path) MUST_CHECK;
/* The same of n bytes, which must stay until foreign_close. */
int foreign_parse(struct foreign *f, const void *bytes, size_t n) MUST_CHECK;
/* Whether it has check sums: a zip does. */
bool foreign_has_sums(const struct foreign *f);
/* Tensor i, little endian, to dst [tensor_bytes]. */
int foreign_read(struct foreign *f, int i, void *dst) MUST_CHECK;
void foreign_close(struct foreign *f);

#endif
