/*
 * imgshard - image records: packs them, checks them, reads them in the order
 * of a training run, decodes them into batches.
 */
#include "imgshard.h"

#include "util/fdio.h"

#include <signal.h>
#include <string.h>

struct reading reading;

/* clang-format off */
static struct command commands[] = {
    {.name = "pack", .operands = "SRC...", .help = "make shards of images",
     .opts = pack_opts, .n_fixed = 1, .max_operands = -1,
     .run = imgshard_pack},
    {.name = "index", .operands = "SHARD...",
     .help = "make the indexes and the manifest of tars", .opts = index_opts,
     .n_fixed = 1, .max_operands = -1, .run = imgshard_index},
    {.name = "verify", .operands = "MANIFEST",
     .help = "compare shards with their checksums", .opts = verify_opts,
     .n_fixed = 1, .max_operands = 1, .run = imgshard_verify},
    {.name = "ls", .operands = "MANIFEST", .help = "list the samples",
     .opts = ls_opts, .n_fixed = 1, .max_operands = 1, .run = imgshard_ls},
    {.name = "cat", .operands = "MANIFEST KEY|#N...",
     .help = "write image files to stdout", .opts = cat_opts, .n_fixed = 2,
     .max_operands = -1, .run = imgshard_cat},
    {.name = "stats", .operands = "MANIFEST",
     .help = "classes, sizes and kinds of the images", .opts = stats_opts,
     .n_fixed = 1, .max_operands = 1, .run = imgshard_stats},
    {.name = "order", .operands = "MANIFEST [KEY VALUE]...",
     .help = "list positions and samples as a rank reads them",
     .opts = order_opts, .shared = recipe_opts, .overrides = true,
     .n_fixed = 1, .max_operands = -1, .run = imgshard_order},
    {.name = "read", .operands = "MANIFEST [KEY VALUE]...",
     .help = "write a rank's samples as a tar stream", .opts = read_opts,
     .shared = recipe_opts, .overrides = true, .n_fixed = 1,
     .max_operands = -1, .run = imgshard_read},
    {.name = "decode", .operands = "[KEY VALUE]...",
     .help = "decode a tar stream on stdin into batch frames",
     .opts = decode_opts, .shared = recipe_opts, .overrides = true,
     .max_operands = -1, .run = imgshard_decode},
    {.name = "feed", .operands = "MANIFEST [KEY VALUE]...",
     .help = "read and decode a rank's samples into batch frames",
     .opts = feed_opts, .shared = recipe_opts, .overrides = true,
     .n_fixed = 1, .max_operands = -1, .run = imgshard_feed},
    {.name = "sheet", .operands = "MANIFEST [KEY VALUE]...",
     .help = "a picture of the images as an epoch feeds them",
     .opts = sheet_opts, .shared = recipe_opts, .overrides = true,
     .n_fixed = 1, .max_operands = -1, .run = imgshard_sheet},
    {.name = "show", .operands = "MANIFEST KEY|#N [KEY VALUE]...",
     .help = "what an epoch sees of an image", .opts = show_opts,
     .shared = recipe_opts, .overrides = true, .n_fixed = 2,
     .max_operands = -1, .run = imgshard_show},
    {.name = "bench", .operands = "MANIFEST [KEY VALUE]...",
     .help = "measure decoding; prints one line of JSON", .opts = bench_opts,
     .shared = recipe_opts, .overrides = true, .n_fixed = 1,
     .max_operands = -1, .run = imgshard_bench},
    {.name = NULL},
};
/* clang-format on */

static const struct program program = {
    .name = "imgshard",
    .help = "image records in tar shards: pack, check, read, decode",
    .commands = commands,
};

static void clean_and_die(int s)
{
    tmp_cleanup();
    raise(s); /* SA_RESETHAND: this time it ends the process */
}

void clean_on_signals(void)
{
    static const int fatal[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction a = {.sa_handler = clean_and_die,
                          .sa_flags = SA_RESETHAND | SA_NODEFER},
                     old;

    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
        if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(fatal[i], &a, NULL);
}

int main(int argc, char **argv)
{
    /* here --epochs may be a range: see READING_ROWS */
    for (struct opt *o = recipe_opts; o->name || o->key; o++)
        if (o->key && !strcmp(o->key, "SOLVER.EPOCHS"))
            o->name = NULL;
    return program_main(&program, argc, argv);
}
