/*
 * foreign_private.h - between the containers (foreignbox.c, foreignzip.c,
 * foreigntar.c) and the tree of tensors (foreign.c).
 *
 * A container parses the pickle and knows the storages that it names: the walk
 * through the tree asks for each, and settle is called when it is done.
 */
#ifndef IO_FOREIGN_PRIVATE_H
#define IO_FOREIGN_PRIVATE_H

#include "io/foreign.h"
#include "io/pickle.h"
#include "util/buf.h"
#include "util/map.h"

/* Elements one behind the other; views share them. */
struct foreign_storage {
    enum dtype dtype;
    int64_t n;     /* elements */
    const void *p; /* their bytes; NULL: in a member of the zip */
    int64_t member;
    bool swapped; /* the highest byte first */
    void *own;    /* to be freed, or NULL */
};

/* Bytes that are read from the front. */
struct foreign_piece {
    const unsigned char *p;
    size_t n;
};

struct foreign_file {
    struct foreign *f;
    const unsigned char *bytes;
    size_t size;
    void *map; /* what foreign_open mapped */
    struct pickle pickle;
    struct foreign_storage *storage;
    int n_storages, room, tensor_room;
    struct map names, keys; /* of tensors; of storages, by their keys */
    long steps;             /* of the walk */
    size_t key;             /* bytes of the first key of the path */
    /* The storage of a persistent id, its number; *t, unless NULL, gets the
     * tensor that the id stands for by itself. */
    int (*persistent)(struct foreign_file *ff, const struct pickle_value *id,
                      struct foreign_tensor *t);
    int (*settle)(struct foreign_file *ff); /* or NULL */
    struct foreign_piece rest;  /* foreignbox.c: what was not read yet */
    struct zip *zip;            /* foreignzip.c */
    char *folder;               /* in it, with its slash */
    void *pickle_bytes;         /* what pickle points into, or NULL */
    void *loaded;               /* the storage that was read last */
    int loaded_number;          /* -1: none */
    struct foreign_tensor *old; /* foreigntar.c: by number */
    struct map old_keys;
    int n_old;
};

extern const char *const foreign_globals[]; /* that a pickle may name */

/* By the name of a global, torch.FloatStorage or torch.FloatTensor. */
bool foreign_dtype(const struct pickle_value *global, enum dtype *t);
/* Its number. */
int foreign_add_storage(struct foreign_file *ff, struct foreign_storage s);
/* The next pickle of a piece, which moves behind it. */
int foreign_next(const struct foreign_file *ff, struct foreign_piece *in,
                 struct pickle *p) MUST_CHECK;
/* The key of a storage or a tensor, text or a number, as text. */
#define FOREIGN_KEY 64
int foreign_key(const struct pickle_value *v, char key[FOREIGN_KEY]) MUST_CHECK;
/* A shape or strides: how many, at most TENSOR_RANK. */
int foreign_shape(const struct pickle_value *tuple,
                  int64_t out[TENSOR_RANK]) MUST_CHECK;
/* The tensor of a call that makes an array of numbers; 1: of any other call. */
int foreign_numpy(struct foreign_file *ff, const struct pickle_value *v,
                  struct foreign_tensor *t) MUST_CHECK;
/* A whole storage as a tensor of one dimension. */
void foreign_whole(const struct foreign_file *ff, int storage,
                   struct foreign_tensor *t);
/*
 * A persistent id ("storage", class, key, device, elements, view): its storage
 * by key, or with a new number; *fresh says which. A view is refused. key gets
 * the key.
 */
int foreign_storage_of(struct foreign_file *ff, const struct pickle_value *id,
                       bool *fresh, char key[FOREIGN_KEY]) MUST_CHECK;

/* Find the container and parse the pickle; foreign_repack gives back what that
 * opened. */
int foreign_unpack(struct foreign_file *ff) MUST_CHECK;
void foreign_repack(struct foreign_file *ff);

int foreign_zip_unpack(struct foreign_file *ff) MUST_CHECK;
void foreign_zip_repack(struct foreign_file *ff);
/* The bytes of a storage in the zip, until the next call; NULL: an error. */
const void *foreign_zip_bytes(struct foreign_file *ff, int storage);

/* Whether n bytes begin as a tar of torch.save. */
bool foreign_tar_is(const void *bytes, size_t n);
int foreign_tar_unpack(struct foreign_file *ff) MUST_CHECK;
void foreign_tar_repack(struct foreign_file *ff);

#endif
