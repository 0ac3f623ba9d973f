/*
 * imgshard.h - what the files of imgshard share: the subcommands, their rows
 * of options, and the rows of every command that walks epochs.
 *
 * Each subcommand is a function of type command.run in a file of its own and a
 * table NAME_opts; imgshard.c lists them.
 */
#ifndef IMGSHARD_H
#define IMGSHARD_H

#include "io/annot.h"
#include "io/reader.h"
#include "io/recipe.h"
#include "util/opt.h"
#include "util/ranks.h"
#include "vision/image.h"

#define IMGSHARD "imgshard " MILLRACE_VERSION

/* imgshard.c: what is half written is removed when a signal ends the process. */
void clean_on_signals(void);
/* imgshard-pack.c, -index.c, -verify.c */
extern struct opt pack_opts[], index_opts[], verify_opts[];
int imgshard_pack(const struct command *c, int argc, char **argv);
int imgshard_index(const struct command *c, int argc, char **argv);
int imgshard_verify(const struct command *c, int argc, char **argv);
/* imgshard-ls.c; find_sample: by key, or "#" and a number; ERR_NOINPUT */
int find_sample(const struct shard_set *s, const char *word,
                int64_t *sample) MUST_CHECK;
extern struct opt ls_opts[], cat_opts[], order_opts[];
int imgshard_ls(const struct command *c, int argc, char **argv);
int imgshard_cat(const struct command *c, int argc, char **argv);
int imgshard_order(const struct command *c, int argc, char **argv);
/* imgshard-stats.c */
extern struct opt stats_opts[];
int imgshard_stats(const struct command *c, int argc, char **argv);
/* imgshard-sheet.c, imgshard-show.c */
extern struct opt sheet_opts[], show_opts[];
int imgshard_sheet(const struct command *c, int argc, char **argv);
int imgshard_show(const struct command *c, int argc, char **argv);
/* imgshard-read.c */
extern struct opt read_opts[];
int imgshard_read(const struct command *c, int argc, char **argv);
/* imgshard-decode.c, imgshard-feed.c */
extern struct opt decode_opts[], feed_opts[], bench_opts[];
int imgshard_decode(const struct command *c, int argc, char **argv);
int imgshard_feed(const struct command *c, int argc, char **argv);
int imgshard_bench(const struct command *c, int argc, char **argv);

/* imgshard-probe.c: what an image file is. */
enum probe_check {
    PROBE_FULL,
    PROBE_HEADER,
    PROBE_NONE
};
/*
 * Fill width, height and flags of a row. PROBE_FULL decodes the file whole.
 * ERR_DATA says what is wrong with it; with PROBE_NONE only what is neither
 * JPEG nor PNG is refused. d is used by one thread.
 */
int probe_image(struct image_decoder *d, enum probe_check check, const void *p,
                size_t n, struct shard_row *row) MUST_CHECK;
/*
 * The row of a probed image becomes that of a sample with this annotation;
 * ERR_DATA if the image has another size. p, n: the image.
 */
int annot_fit(const struct annot *a, const void *p, size_t n,
              struct shard_row *row) MUST_CHECK;
/*
 * imgshard-rows.c: rewrite a JPEG file that has been probed (jpeg_to_rows), or
 * leave it as it is. The rewritten one takes the place of image, whose memory
 * goes to spare; row gets its flags.
 */
int rows_make(struct buf *image, struct buf *spare, bool exif,
              struct shard_row *row) MUST_CHECK;

/*
 * Commands that walk epochs (read, feed, bench, order): which part of which
 * run, for which rank. Put READING_ROWS into the table, recipe_opts into
 * command.shared, and call reading_open; the recipe then is checked too. The
 * rank is that of the command line, or what the launcher's variables say
 * (util/ranks.h).
 * In imgshard --epochs belongs to these rows ("90" or "A-B"); the recipe row
 * SOLVER.EPOCHS keeps its key and loses its option name (see imgshard.c).
 */
struct reading {
    int64_t rank, world;
    char *epochs, *order, *resume, *from;
    int check;          /* enum reader_check */
    bool eval;          /* each sample once, in the order of the shards */
    bool all_ranks;     /* the command looks at each: --world may be alone */
    int64_t io_threads; /* 0 where a command does not have the row */
};
extern struct reading reading;
/* epoch: this one alone, or -1: those of --epochs. ERR_USAGE: both. c: the
 * command; what its line gave outranks what reading.eval implies. */
int reading_open(struct reader *r, const struct command *c,
                 const char *manifest, int64_t epoch) MUST_CHECK;

/* clang-format off */
#define READING_ROWS                                                           \
    {.name = "rank", .type = OPT_INT, .addr = &reading.rank, .def = "0",       \
     .min = 0, .max = RANKS_MOST - 1, .arg = "R",                              \
     .help = "read the rows of rank R"},                                       \
    {.name = "world", .type = OPT_INT, .addr = &reading.world, .def = "1",     \
     .min = 1, .max = RANKS_MOST, .arg = "W", .help = "number of ranks"},      \
    {.name = "epochs", .type = OPT_STRING, .addr = &reading.epochs,            \
     .arg = "E|A-B",                                                           \
     .help = "the first E epochs, or epochs A to B (from 0)"},                 \
    {.name = "order", .type = OPT_STRING, .addr = &reading.order,              \
     .def = "global", .arg = "ORDER",                                          \
     .help = "global, seq or block:BYTES:WINDOW:LANES"},                       \
    {.name = "resume", .type = OPT_STRING, .addr = &reading.resume,            \
     .arg = "TOKEN", .help = "start at a resume token"},                       \
    {.name = "from", .type = OPT_STRING, .addr = &reading.from, .arg = "DIR",  \
     .help = "start where the newest checkpoint under DIR stands, if any"},    \
    {.name = "verify", .type = OPT_CHOICE, .addr = &reading.check,             \
     .def = "always", .choices = "always|once|never", .arg = "WHEN",                \
     .help = "compare the CRC-32 of what is read"}
#define IO_THREADS_ROW                                                         \
    {.name = "io-threads", .type = OPT_INT, .addr = &reading.io_threads,       \
     .def = "8", .min = 0, .max = 256, .arg = "N",                             \
     .help = "threads that read ahead"}
/* For those that decode nothing; the others have it in PIXELS_ROWS. */
#define READING_EVAL                                                           \
    {.name = "eval", .type = OPT_FLAG, .addr = &reading.eval,                  \
     .help = "each sample once, in the order of the shards"}
/* clang-format on */

#endif
