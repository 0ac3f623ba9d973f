/*
 * imgsynth.h - what the files of imgsynth share: settings, the folder that
 * appears when all is in it, files in it.
 */
#ifndef IMGSYNTH_H
#define IMGSYNTH_H

#include "util/buf.h"
#include "util/opt.h"

#include <stdbool.h>
#include <stdint.h>

struct synth_settings {
    int64_t classes, train, val, size_min, size_max, seed, threads;
    bool force;
};
extern struct synth_settings synth_set;
/* First lines of README: how a set of ours is known. */
extern const char synth_readme[];

/* imgsynth-coco.c */
extern struct opt coco_opts[];
int imgsynth_coco(const struct command *c, int argc, char **argv);

/* Make the folder dir: `make` fills a hidden one that becomes it. */
int synth_make(const char *dir, int (*make)(const char *tmp)) MUST_CHECK;
/* A new file. */
int synth_file(const char *path, const struct buf *b) MUST_CHECK;
/* README: what it is, what made it. */
int synth_tell(const char *dir, const char *command,
               const char *what) MUST_CHECK;

/* clang-format off */
#define SYNTH_ROWS(least, most)                                                         \
    {.name = "size-min", .type = OPT_INT, .addr = &synth_set.size_min,         \
     .def = least, .min = 16, .max = 4096, .arg = "PIXELS",                 \
     .help = "shortest side"},                                                 \
    {.name = "size-max", .type = OPT_INT, .addr = &synth_set.size_max,         \
     .def = most, .min = 16, .max = 4096, .arg = "PIXELS",                \
     .help = "longest side"},                                                  \
    {.name = "seed", .letter = 's', .type = OPT_INT, .addr = &synth_set.seed,  \
     .def = "0", .min = 0, .max = 9e15,                                        \
     .help = "another seed, another set"},                                     \
    {.name = "threads", .letter = 't', .type = OPT_INT,                        \
     .addr = &synth_set.threads, .def = "0", .min = 0, .max = 1024,            \
     .help = "drawing threads; 0: one for each CPU"},                          \
    {.name = "force", .letter = 'f', .type = OPT_FLAG,                         \
     .addr = &synth_set.force, .help = "replace a set that imgsynth made"}
/* clang-format on */

#endif
