/*
 * ckpt-merge.h - what the commands of ckpt-merge share: a set of named tensors,
 * wherever it lies.
 *
 *	struct source s;
 *	if (source_open(&s, operands, n) == 0)
 *		for (i = 0; i < s.n; i++)
 *			source_read(&s, i, memory of tensor_bytes(&s.tensor[i].t));
 *	source_close(&s);       (allowed after a failure, too)
 */
#ifndef CKPT_MERGE_H
#define CKPT_MERGE_H

#include "io/ckpt.h"
#include "io/foreign.h"
#include "util/opt.h"

#include <stdbool.h>

/* A model as Accelerate and others save it, in a directory: model.safetensors, or
 * several such files and an index of what is in which; or the same of torch.save,
 * pytorch_model.bin. */
struct model_dir {
    char *path; /* of the index, or of the file */
    int n;
    char **file;
    struct json_t *index; /* names, and where they are; NULL: one file */
};

struct source {
    bool is_ckpt; /* then ckpt is open, else the files, or foreign */
    struct model_dir dir;
    struct ckpt ckpt;
    const char *path; /* of the operand, the first if there are more */
    int n_files;
    struct frame_file *file;
    int n_foreign;
    struct foreign *foreign;
    int n;
    struct source_tensor {
        const char *name; /* lent by its file */
        struct tensor t;  /* data is NULL */
        int file, index;
    } * tensor;
};

/*
 * Open one directory (RUN, RUN/ckpt: the newest committed checkpoint; or the
 * directory of one step, or of a model), one file of torch.save or of pickled
 * arrays, or any number of tensor files, which must not have a tensor in common;
 * rank files must be all those of one checkpoint. operand is lent.
 * ERR_NOINPUT, ERR_DATA; ERR_USAGE for what stands alone among others.
 */
int source_open(struct source *s, char **operand, int n) MUST_CHECK;
/* What remains is the model: the tensors of the training are left out; or, with
 * ema, the average of the weights under their names. Of a file of others it is
 * what lies under the key that programs use for it, "model" or "state_dict", if
 * there is one; what wrappers put before all names goes. ERR_DATA if there is
 * none. */
int source_model(struct source *s, bool ema) MUST_CHECK;
/* Tensor i, little endian, to dst [tensor_bytes]. ERR_IO, ERR_DATA. */
int source_read(struct source *s, int i, void *dst) MUST_CHECK;
/* Compare the check sums of a checkpoint or of its rank files: before anything
 * is made of it. ERR_DATA. */
int source_verify(struct source *s) MUST_CHECK;
/* Index of a name, or -1. */
int source_find(const struct source *s, const char *name);
void source_close(struct source *s);
/* A model on its way out: its tensors, names lent by a source. */
struct model {
    int n, n_meta;
    struct frame_item *item; /* sorted; data is ours */
    struct frame_pair meta[8];
    char classes[24], step[24], samples[24], sha[65];
};
/* Read what s holds. */
int model_take(struct model *m, struct source *s) MUST_CHECK;
/* Metadata: a pair, if there is a value (lent); what s says of itself. */
void model_meta(struct model *m, const char *key, const char *value);
void model_origin(struct model *m, const struct source *s);
/* ERR_USAGE if the output, a path or standard output, is a terminal. */
int model_can_write(const char *output) MUST_CHECK;
/* With format and digest; output NULL or "-": standard output. */
int model_write(struct model *m, const char *output) MUST_CHECK;
void model_release(struct model *m);
#define MODEL_OUTPUT(variable)                                                 \
    {                                                                          \
        .name = "output", .letter = 'o', .type = OPT_STRING,                   \
        .addr = &(variable), .arg = "FILE",                                    \
        .help = "write FILE, whole or not at all, instead of standard output"  \
    }

#define MODEL_EMA(variable)                                                    \
    {                                                                          \
        .name = "ema", .type = OPT_FLAG, .addr = &(variable),                  \
        .help = "take the average of the weights instead of the weights"       \
    }

enum place {
    PLACE_FILE,
    PLACE_STEP,
    PLACE_RUN,
    PLACE_MODEL
};
/*
 * What an operand is. For PLACE_RUN *dir is the directory that holds the steps
 * (freed by the caller), else NULL. -1: there is nothing (ERR_NOINPUT).
 */
int place_of(const char *operand, char **dir) MUST_CHECK;
/* The model in a directory: whether there is one, which files it has, whether they
 * have all that the index names. ERR_DATA. */
bool model_dir_is(const char *dir);
int model_dir_open(struct model_dir *m, const char *dir) MUST_CHECK;
int model_dir_check(const struct model_dir *m,
                    const struct source *s) MUST_CHECK;
void model_dir_close(struct model_dir *m);
/* Has training removed the step in this directory since it was listed? */
bool step_gone(const char *path);

extern struct opt ckpt_merge_join_opts[], ckpt_merge_ls_opts[];
extern struct opt ckpt_merge_strip_opts[], ckpt_merge_reshard_opts[];
extern struct opt ckpt_merge_convert_opts[];
extern struct opt ckpt_merge_best_opts[];
extern struct opt ckpt_merge_average_opts[], ckpt_merge_cast_opts[];
int ckpt_merge_join(const struct command *c, int argc, char **argv);
int ckpt_merge_reshard(const struct command *c, int argc, char **argv);
int ckpt_merge_convert(const struct command *c, int argc, char **argv);
int ckpt_merge_verify(const struct command *c, int argc, char **argv);
int ckpt_merge_ls(const struct command *c, int argc, char **argv);
int ckpt_merge_best(const struct command *c, int argc, char **argv);
int ckpt_merge_average(const struct command *c, int argc, char **argv);
int ckpt_merge_cast(const struct command *c, int argc, char **argv);
int ckpt_merge_diff(const struct command *c, int argc, char **argv);

#endif
