/*
 * accel-worker.h - what the commands of accel-worker share: the engine, the
 * model that a recipe describes, the effective settings as JSON.
 */
#ifndef SRC_ACCEL_WORKER_H
#define SRC_ACCEL_WORKER_H

#include "engine/engine.h"
#include "model/model.h"
#include "train/comm.h"
#include "util/opt.h"

#define WORKER_PROGRAM "accel-worker " MILLRACE_VERSION

/* Rows that every command with an engine has. */
struct worker_engine {
    char *name, *dir, *trace, *level;
    int64_t threads, device;
    bool tf32, graph, recompute, tune;
};
extern struct worker_engine worker_engine;
#define WORKER_ENGINE_ROWS                                                     \
    {.name = "engine",                                                         \
     .letter = 'e',                                                            \
     .env = "ACCEL_ENGINE",                                                    \
     .type = OPT_STRING,                                                       \
     .addr = &worker_engine.name,                                              \
     .def = "auto",                                                            \
     .arg = "NAME",                                                            \
     .help = "ref, cpu, cuda, or auto: the best that is here"},                \
        {.name = "engine-dir",                                                 \
         .env = "ACCEL_ENGINE_DIR",                                            \
         .type = OPT_STRING,                                                   \
         .addr = &worker_engine.dir,                                           \
         .arg = "DIR",                                                         \
         .help = "look for engine plugins here first"},                        \
        {.name = "threads",                                                    \
         .letter = 't',                                                        \
         .env = "ACCEL_THREADS",                                               \
         .type = OPT_INT,                                                      \
         .addr = &worker_engine.threads,                                       \
         .def = "0",                                                           \
         .min = 0,                                                             \
         .max = 4096,                                                          \
         .arg = "N",                                                           \
         .help = "threads; 0: OMP_NUM_THREADS, or all CPUs allowed"},          \
        {.name = "device",                                                     \
         .letter = 'd',                                                        \
         .type = OPT_INT,                                                      \
         .addr = &worker_engine.device,                                        \
         .def = "-1",                                                          \
         .min = -1,                                                            \
         .max = 1024,                                                          \
         .arg = "N",                                                           \
         .help = "device among those visible; -1: by local rank"},             \
        {.name = "engine-level",                                               \
         .type = OPT_STRING,                                                   \
         .addr = &worker_engine.level,                                         \
         .arg = "LEVEL",                                                       \
         .help = "B: plain convolutions; C: with batch norms inside"},         \
        {.name = "tune",                                                       \
         .env = "ACCEL_TUNE",                                                  \
         .type = OPT_FLAG,                                                     \
         .addr = &worker_engine.tune,                                          \
         .def = "true",                                                        \
         .help = "convolutions in the form that a short trial found fastest"}, \
        {.name = "tf32",                                                       \
         .type = OPT_FLAG,                                                     \
         .addr = &worker_engine.tf32,                                          \
         .help = "cuda: products of fp32 in 10 bits, faster"},                 \
        {.name = "graph",                                                      \
         .type = OPT_FLAG,                                                     \
         .addr = &worker_engine.graph,                                         \
         .def = "true",                                                        \
         .help = "cuda: repeat a step as one CUDA graph"},                     \
    {                                                                          \
        .name = "trace", .type = OPT_STRING, .addr = &worker_engine.trace,     \
        .arg = "FILE", .help = "write every call of the engine to FILE"        \
    }

/* Row of the commands that train, or say what it takes. */
#define WORKER_RECOMPUTE_ROW                                                   \
    {                                                                          \
        .name = "recompute", .type = OPT_FLAG,                                 \
        .addr = &worker_engine.recompute,                                      \
        .help = "keep less between the passes, compute it again"               \
    }

/* Rows of the commands that are one rank of several. */
struct worker_ranks {
    int reduce; /* enum comm_by */
    int wire;
    bool share;
};
extern struct worker_ranks worker_ranks;
#define WORKER_RANKS_ROWS                                                      \
    {.name = "reduce",                                                         \
     .env = "ACCEL_REDUCE",                                                    \
     .type = OPT_CHOICE,                                                       \
     .addr = &worker_ranks.reduce,                                             \
     .def = "auto",                                                            \
     .choices = "auto|ring|nccl",                                              \
     .help = "who adds gradients: allreduce-ring, or the devices by NCCL"},    \
        {.name = "wire",                                                       \
         .type = OPT_CHOICE,                                                   \
         .addr = &worker_ranks.wire,                                           \
         .def = "f32",                                                         \
         .choices = "f32|bf16|f16",                                            \
         .help = "numbers that NCCL adds and carries"},                        \
    {                                                                          \
        .name = "share-device", .type = OPT_FLAG, .addr = &worker_ranks.share, \
        .help = "more ranks than devices: they take turns"                     \
    }
/* Join the others through descriptors CTL_FD_IN and CTL_FD_OUT; sums are taken in
 * the engine's memory. NULL in *comm where it fails. */
int worker_join(struct comm **comm, struct engine *e, const struct params *ps,
                int64_t samples, int64_t timeout_ms) MUST_CHECK;

/* What would be on so many ranks; where: int64_t * that gets the number. */
#define WORKER_WORLD_ROW(where, text)                                          \
    {                                                                          \
        .name = "world", .type = OPT_INT, .addr = (where), .def = "1",         \
        .min = 1, .max = 65536, .arg = "W", .help = (text)                     \
    }

extern struct opt train_opts[], predict_opts[], plan_opts[], describe_opts[],
    bench_opts[], init_opts[], fit_opts[];
int worker_train(const struct command *c, int argc, char **argv);
int worker_predict(const struct command *c, int argc, char **argv);
int worker_plan(const struct command *c, int argc, char **argv);
int worker_describe(const struct command *c, int argc, char **argv);
int worker_bench(const struct command *c, int argc, char **argv);
int worker_fit(const struct command *c, int argc, char **argv);
int worker_init(const struct command *c, int argc, char **argv);

/* The engine that was asked for and the model of the recipe on it. */
struct worker {
    struct engine *e;
    struct classifier m;
};
/*
 * Open both, able to compute in the recipe's precision. classes: those of the
 * data; the recipe's own, where it states some, must agree unless it is 0. tune:
 * unless --no-tune. w is zero before; worker_end in every state.
 */
int worker_begin(struct worker *w, int64_t classes, bool train,
                 enum engine_tune tune) MUST_CHECK;
/* For commands without data: 1000 classes where the recipe states none. */
int worker_begin_alone(struct worker *w, bool train,
                       enum engine_tune tune) MUST_CHECK;
void worker_end(struct worker *w);
enum dtype worker_dtype(void);
/* {"KEY":{"value":"..","origin":".."},...}; caller frees. */
char *worker_settings(const struct command *c);

#endif
