/*
 * accel-worker - train, predict, plan: the network, its optimizer and its
 * checkpoints. See accel-worker(1).
 */
#include "accel-worker.h"

#include "io/recipe.h"
#include "util/buf.h"
#include "util/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct worker_engine worker_engine;

enum dtype worker_dtype(void)
{
    static const enum dtype of[] = {[PREC_FP32] = DT_F32,
                                    [PREC_BF16] = DT_BF16,
                                    [PREC_FP16] = DT_F16,
                                    [PREC_FP64] = DT_F64};

    return of[recipe.prec];
}

static int open_engine(struct engine **e, enum engine_tune tune)
{
    struct engine_config c = {.device = (int)worker_engine.device,
                              .threads = (int)worker_engine.threads,
                              .dir = worker_engine.dir,
                              .trace = worker_engine.trace,
                              .deterministic = true,
                              .tf32 = worker_engine.tf32,
                              .tune = worker_engine.tune ? tune : TUNE_OFF,
                              .no_tapes = !worker_engine.graph};
    const char *local = getenv("LOCAL_RANK"), *level = worker_engine.level;
    const char *world = getenv("WORLD_SIZE");
    char text[512];

    if (level && strcmp(level, "B") != 0 && strcmp(level, "C") != 0)
        return err_set(ERR_USAGE, "--engine-level: \"%s\": B or C is meant",
                       level);
    c.level = level ? level[0] : 0;
    if (local)
        c.local = (int)(strtol(local, NULL, 10) & 0xffff);
    if (world && worker_ranks.reduce != COMM_RING)
        c.world = (int)(strtol(world, NULL, 10) & 0xffff);
    if (engine_open(e, worker_engine.name, &c) < 0)
        return -1;
    if (engine_precision(*e, worker_dtype()) < 0) {
        engine_close(*e);
        *e = NULL;
        return -1;
    }
    engine_describe(*e, text, sizeof text);
    note("engine %s", text);
    return 0;
}

static int open_model(struct classifier *m, struct engine *e, int64_t classes,
                      bool train)
{
    struct model_config c = {.classes = recipe.classes,
                             .width = recipe.width,
                             .zero_init = recipe.zero_init,
                             .bn_eps = recipe.bn_eps,
                             .bn_momentum = recipe.bn_momentum};
    int i;

    if (classes > 0 && c.classes > 0 && classes != c.classes)
        return err_set(ERR_CONFIG,
                       "MODEL.CLASSES: %lld, but the data set has "
                       "%lld classes",
                       (long long)c.classes, (long long)classes);
    if (c.classes <= 0)
        c.classes = classes;
    if (c.classes <= 0)
        return err_set(ERR_CONFIG, "MODEL.CLASSES: not stated by the recipe "
                                   "or the data");
    for (i = 0; i < 3; i++) {
        c.mean[i] = (float)recipe.mean.f[i];
        c.std[i] = (float)recipe.std.f[i];
    }
    if (classifier_init(m, recipe.model, &c, e, worker_dtype(), train) < 0)
        return -1;
    m->graph.recompute = worker_engine.recompute;
    return 0;
}

int worker_begin(struct worker *w, int64_t classes, bool train,
                 enum engine_tune tune)
{
    if (open_engine(&w->e, tune) < 0)
        return -1;
    return open_model(&w->m, w->e, classes, train);
}

int worker_begin_alone(struct worker *w, bool train, enum engine_tune tune)
{
    return worker_begin(w, recipe.classes ? 0 : 1000, train, tune);
}

void worker_end(struct worker *w)
{
    classifier_release(&w->m);
    if (w->e)
        engine_close(w->e);
}

static void add_setting(void *arg, const struct opt *o, const char *value)
{
    static const char *const origins[] = {"default", "file", "environment",
                                          "command line"};
    json_t *j = json_object();

    json_object_set_new(j, "value", json_string(value));
    json_object_set_new(j, "origin",
                        json_string(o->where ? o->where : origins[o->origin]));
    json_object_set_new(arg, o->key, j);
}

char *worker_settings(const struct command *c)
{
    json_t *j = json_object();
    struct buf b = BUF_INIT;

    opt_each(c, add_setting, j);
    json_canonical(&b, j);
    json_decref(j);
    return buf_detach(&b);
}

static void versions(void)
{
    engine_list(worker_engine.dir);
}

static const struct command commands[] = {
    {"train", "[KEY VALUE]...", "train on the batches of standard input",
     train_opts, recipe_opts, true, 0, -1, worker_train},
    {"predict", "[KEY VALUE]...", "logits of the batches of standard input",
     predict_opts, recipe_opts, true, 0, -1, worker_predict},
    {"plan", "[KEY VALUE]...", "what a run would take; trains nothing",
     plan_opts, recipe_opts, true, 0, -1, worker_plan},
    {"fit", "[KEY VALUE]...", "the largest micro-batch that memory allows",
     fit_opts, recipe_opts, true, 0, -1, worker_fit},
    {"describe", "[KEY VALUE]...", "the layers of the model, with shapes",
     describe_opts, recipe_opts, true, 0, -1, worker_describe},
    {"bench", "[KEY VALUE]...", "training speed on synthetic images",
     bench_opts, recipe_opts, true, 0, -1, worker_bench},
    {"init", "[KEY VALUE]...", "write fresh weights to a file", init_opts,
     recipe_opts, true, 0, -1, worker_init},
    {NULL, NULL, NULL, NULL, NULL, false, 0, 0, NULL}};

static const struct program program = {
    "accel-worker", "train an image classifier, one rank of it", commands,
    versions};

int main(int argc, char **argv)
{
    return program_main(&program, argc, argv);
}
