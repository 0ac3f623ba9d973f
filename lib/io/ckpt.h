/*
 * ckpt.h - checkpoint directories: a checkpoint exists or it does not.
 *
 *	RUN/ckpt/step-000000120/
 *	    rank-00000-of-00002.safetensors   whole tensors, a share each
 *	    rank-00001-of-00002.safetensors
 *	    state.json                        progress, digests, list of tensors
 *
 * A checkpoint is written under the hidden name .step-000000120.tmp; each rank
 * writes and flushes its own file there; when all have (a barrier of the
 * caller), rank 0 writes state.json, flushes, renames the directory and flushes
 * its parent. What is visible is complete. Old ones are pruned only after that,
 * by renaming them to a hidden name first. state.json carries a CRC-32 of
 * itself ("crc32"), each rank file one of its data.
 * Any world size can read any checkpoint: a reader asks for tensors by name.
 *
 * Writing:   ckpt_write_begin (all ranks; makes the hidden directory)
 *            ckpt_write_share (all ranks) | barrier of the caller
 *            ckpt_commit (rank 0) | barrier | ckpt_prune (rank 0)
 * Reading:   ckpt_newest, ckpt_open, ckpt_find/ckpt_read, ckpt_close
 *
 * Tensors in it: the names of the model file for weights and BN buffers
 * (F32, file layout, num_batches_tracked I64 []), "momentum.NAME" for momentum.
 * Where the run keeps an average of the weights: "ema.NAME" of each of the first,
 * and "ema.n_averaged" I64 [], the averages since the last copy.
 */
#ifndef IO_CKPT_H
#define IO_CKPT_H

#include "io/frame.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

#define CKPT_VERSION 1
#define CKPT_FORMAT "millrace-checkpoint" /* metadata of rank files */

/* Names of what belongs to the training and not to the model begin so. */
#define CKPT_MOMENTUM "momentum."
#define CKPT_EMA "ema."
#define CKPT_EMA_COUNT "ema.n_averaged"
bool ckpt_is_model(const char *name);

/* What state.json holds beside the tensors. */
struct ckpt_state {
    int64_t version;
    int64_t step, samples; /* optimizer steps, samples consumed */
    int64_t epoch, pos;    /* the place that samples means */
    int64_t world, global, micro, accum;
    int64_t n; /* samples of the data set */
    int64_t classes;
    int64_t seed;
    int64_t attempt;             /* how often the run was started */
    double loss_scale;           /* 0: none */
    int64_t scale_good, skipped; /* clean steps since growth; skipped in all */
    char dataset[33];            /* hex digest of the data set, or "" */
    char recipe[33];             /* recipe_digest */
    char tensors[33]; /* digest of the list of names, dtypes, shapes */
    char forms[33];   /* digest of the forms of convolutions, "rule", or "" */
    char *model;      /* MODEL.NAME */
    char *settings;   /* JSON object: effective settings, for people */
    char *program;    /* "accel-worker 0.1" */
};
void ckpt_state_release(struct ckpt_state *s);

/* step-%09d; buffer of at least 24 bytes. */
void ckpt_name(char *name, size_t n, int64_t step);
/* The step of such a name, or -1. */
int64_t ckpt_step_of(const char *name);
/* rank-%05d-of-%05d.safetensors; at least 48 bytes. */
void ckpt_file_name(char *name, size_t n, int rank, int world);
/* Digest of names, dtypes and shapes in this order: SHA-256, the first half. */
void ckpt_digest_list(const struct frame_item *items, int n, char hex[33]);
/*
 * The newest committed checkpoint under dir (RUN/ckpt): its path (caller frees)
 * and step, or NULL with *step = -1 and no error when there is none or dir is
 * not there. NULL with an error otherwise (*step = -2).
 */
char *ckpt_newest(const char *dir, int64_t *step);
/* All committed steps, ascending; caller frees *steps. */
int ckpt_list(const char *dir, int64_t **steps, int *n) MUST_CHECK;

/* ---- writing */
/* Remove leftovers of attempts that were killed. None may be written now. */
int ckpt_clean(const char *dir) MUST_CHECK;
/*
 * ERR_IO, with what is needed and what is free, if the file system of dir has no
 * room for a checkpoint of these items by so many ranks; 0, too, if it does not
 * tell. Quotas show only when one writes.
 */
int ckpt_room(const char *dir, const struct frame_item *items, int n,
              int world) MUST_CHECK;
int ckpt_write_begin(const char *dir, int64_t step) MUST_CHECK;
/*
 * Write this rank's file from its share of items (the caller gives ALL items in
 * the same order on every rank; the share is chosen here: greedy by falling
 * bytes, ties by order, whole tensors). Only data of the share is touched.
 */
int ckpt_write_share(const char *dir, int64_t step, int rank, int world,
                     const struct frame_item *items, int n) MUST_CHECK;
/* Does rank write item i? (which data must be brought to the host) */
void ckpt_share(const struct frame_item *items, int n, int world, int *owner);
/* Remove what has been written and will not be committed. */
void ckpt_abandon(const char *dir, int64_t step);
int ckpt_commit(const char *dir, const struct ckpt_state *s,
                const struct frame_item *items, int n) MUST_CHECK;
/*
 * Keep the newest `keep` (0: all) and every step divisible by keep_every (0:
 * none); removes leftovers of hidden directories too. Never the newest one.
 */
int ckpt_prune(const char *dir, int64_t keep, int64_t keep_every) MUST_CHECK;

/* ---- reading */
struct ckpt {
    char *path;
    struct ckpt_state state;
    int n_files;
    struct frame_file *file;
    int n_tensors; /* of all files together, in the order of state.json */
    struct ckpt_entry {
        const char *name; /* lent by the file */
        int file, index;
    } * tensor;
    struct map *by_name;
};
/*
 * Open DIR (a step directory) and check it: state.json sound, every rank file
 * there and whole, the union of their tensors exactly the list, each once.
 * ERR_NOINPUT if there is no such directory, otherwise ERR_DATA names what is
 * missing or wrong.
 */
int ckpt_open(struct ckpt *c, const char *path) MUST_CHECK;
/* Index of a tensor or -1; its description (data NULL). */
int ckpt_find(const struct ckpt *c, const char *name);
const struct tensor *ckpt_tensor(const struct ckpt *c, int i);
/* The data of tensor i as it lies in the file, to dst [tensor_bytes]. ERR_IO,
 * ERR_DATA: the file became shorter. */
int ckpt_read(struct ckpt *c, int i, void *dst) MUST_CHECK;
void ckpt_close(struct ckpt *c);
/* Read every byte and compare the CRC-32 of each file; ERR_DATA names it. Who
 * goes on from a checkpoint, or makes something of it, does this first. */
int ckpt_verify_data(struct ckpt *c) MUST_CHECK;
/* The same of one rank file. */
int ckpt_verify_file(struct frame_file *file) MUST_CHECK;
/* state.json alone, without opening tensors (for readers of the position). */
int ckpt_read_state(const char *path, struct ckpt_state *s) MUST_CHECK;

#endif
