/* imgshard read - a rank's samples, in order, as a tar stream. */
#include "imgshard.h"
#include "io/media.h"
#include "io/tar.h"
#include "util/fdio.h"
#include "util/work.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* clang-format off */
struct opt read_opts[] = {
    READING_ROWS,
    READING_EVAL,
    IO_THREADS_ROW,
    OPT_END,
};
/* clang-format on */

/* ---- what the commands that walk epochs share */

/* "A-B": both; "E": the first E epochs, perhaps a fraction of one. */
static int parse_epochs(const char *text, struct reader_want *w)
{
    const char *dash = strchr(text, '-');
    char *end;

    errno = 0;
    if (!dash) {
        recipe.epochs = strtod(text, &end);
        if (!errno && end != text && !*end && isfinite(recipe.epochs) &&
            recipe.epochs >= 0 && recipe.epochs <= 1e6)
            return 0;
    } else if (strspn(text, "0123456789-") == strlen(text) && dash != text) {
        w->first_epoch = strtoll(text, &end, 10);
        if (!errno && end == dash && dash[1]) {
            w->last_epoch = strtoll(dash + 1, &end, 10);
            if (!errno && !*end && w->last_epoch >= w->first_epoch)
                return 0;
        }
    }
    return err_set(ERR_USAGE, "--epochs \"%.40s\": want E or A-B", text);
}

/* The order is what was asked for even so: another would train another way. */
static void say_slow(const struct reader *r)
{
    const char *why = NULL;

    if (r->order.kind == ORDER_GLOBAL && r->rank == 0)
        why = media_slow(r->set.dir);
    if (why)
        warn("%s: is on %s: until it is in memory, images in global order come "
             "slowly, a rotating disk reads 100 a second; --order block reads "
             "in sequence",
             r->set.dir, why);
}

int reading_open(struct reader *r, const struct command *c,
                 const char *manifest, int64_t epoch)
{
    const char *order = reading.order;
    struct reader_want w = {
        .manifest = manifest,
        .last_epoch = -1,
        .resume = reading.resume,
        .from = reading.from,
        .check = reading.check,
        .eval = reading.eval,
    };
    const char *epochs = reading.epochs;
    bool world = opt_given(c, "world");
    /* of several ranks at once one may be any */
    bool rank = opt_given(c, "rank") || (reading.all_ranks && world);
    struct ranks me;

    if (ranks_find(&me, rank ? reading.rank : -1, world ? reading.world : -1) <
        0)
        return -1;
    w.rank = me.rank;
    w.world = me.world;
    if (epoch >= 0 && reading.epochs)
        return err_set(ERR_USAGE, "--epoch and --epochs: one of them");
    if (reading.eval) {
        recipe.tail = TAIL_EXACT;
        recipe.repeat = 1;
        if (!opt_given(c, "order"))
            order = "seq";
        if (!epochs)
            epochs = "1";
    }
    w.order = order;
    if (epoch >= 0)
        w.first_epoch = w.last_epoch = epoch;
    else if (epochs && parse_epochs(epochs, &w) < 0)
        return -1;
    if (recipe_check(&recipe) < 0)
        return -1;
    if (reader_open(r, &recipe, &w) < 0)
        return -1;
    say_slow(r);
    return 0;
}

/* ---- the stream */

/* A row: its members, header to padding. A row of epoch begin has no sample. */
struct row {
    uint32_t sample;
    bool header; /* the global header goes in front */
    bool empty;  /* and nothing else */
    int64_t epoch, first;
    struct buf image, annot, tar;
};

struct reading_on {
    struct reader r;
    struct reader_step st;
    int64_t j;       /* next row of st */
    bool header_due; /* the epoch's global header was not handed out */
    int64_t epoch;   /* of the last header, -1 none */
    uint64_t offset;
    struct buf order; /* its name */
};

static int next_row(void *arg, void *item)
{
    struct reading_on *s = arg;
    struct row *row = item;
    int rc;

    while (s->j >= s->st.count) {
        rc = reader_next(&s->r, &s->st);
        if (rc <= 0)
            return rc;
        s->j = 0;
        if (s->st.epoch == s->epoch)
            continue;
        s->epoch = s->st.epoch;
        s->header_due = true;
        if (s->st.count == 0)
            break;
    }
    row->header = s->header_due;
    row->empty = s->st.count == 0;
    row->epoch = s->st.epoch;
    row->first = s->st.first;
    s->header_due = false;
    if (!row->empty)
        row->sample = s->st.sample[s->j++];
    return 1;
}

/* IMGSHARD.name with a text or, where that is NULL, a number. */
static void add_record(struct buf *b, const char *name, const char *text,
                       long long v)
{
    char key[32], value[32];

    snprintf(key, sizeof(key), "IMGSHARD.%s", name);
    snprintf(value, sizeof(value), "%lld", v);
    tar_pax_record(b, key, text ? text : value);
}

static void add_header(const struct reading_on *s, struct row *row)
{
    static const char *const tails[] = {"wrap", "drop", "exact"};
    struct buf b = BUF_INIT;
    const struct reader *r = &s->r;

    add_record(&b, "v", NULL, 1);
    add_record(&b, "dataset", r->set.dataset, 0);
    add_record(&b, "seed", NULL, (long long)r->order.seed);
    add_record(&b, "epoch", NULL, row->epoch);
    add_record(&b, "first", NULL, row->first);
    add_record(&b, "rank", NULL, r->rank);
    add_record(&b, "world", NULL, r->batch.world);
    add_record(&b, "batch", NULL, r->batch.micro);
    add_record(&b, "accum", NULL, r->batch.accum);
    add_record(&b, "global", NULL, r->batch.global);
    add_record(&b, "tail", tails[r->tail], 0);
    add_record(&b, "order", s->order.data, 0);
    add_record(&b, "samples", NULL, r->batch.n);
    tar_pax_global(&row->tar, &b);
    buf_release(&b);
}

static int add_member(struct buf *tar, const char *key, const char *ext,
                      const void *p, size_t n)
{
    char *path = xstrfmt("%s.%s", key, ext);
    int r = tar_member(tar, path, p, n);

    free(path);
    return r;
}

static int add_annot(struct row *row, const char *key)
{
    return row->annot.len ? add_member(&row->tar, key, "json", row->annot.data,
                                       row->annot.len)
                          : 0;
}

static int fill_row(void *arg, void *item, int t)
{
    struct reading_on *s = arg;
    const struct shard_set *split = &s->r.set;
    struct row *row = item;
    const char *at;
    char *key, number[16];
    size_t len;
    bool last = !(split->flags[row->sample] & SHARD_JPEG); /* behind json */
    int r = 0;

    (void)t;
    buf_reset(&row->tar);
    if (row->header)
        add_header(s, row);
    if (row->empty)
        return 0;
    buf_reset(&row->annot);
    if (reader_fetch(&s->r, row->sample, &row->image) < 0 ||
        (shard_is_detection(split) &&
         reader_fetch_annot(&s->r, row->sample, &row->annot) < 0))
        return -1;
    at = shard_key(split, row->sample, &len);
    key = xstrfmt("%.*s", (int)len, at);
    snprintf(number, sizeof(number), "%ld", (long)split->label[row->sample]);
    if (split->label[row->sample] >= 0)
        r = add_member(&row->tar, key, "cls", number, strlen(number));
    /* no header can tell: block order depends on the sizes of all samples */
    snprintf(number, sizeof(number), "%lu", (unsigned long)row->sample);
    if (r == 0)
        r = add_member(&row->tar, key, "index", number, strlen(number));
    if (r == 0 && last)
        r = add_annot(row, key);
    if (r == 0)
        r = add_member(&row->tar, key, shard_ext(split->flags[row->sample]),
                       row->image.data, row->image.len);
    if (r == 0 && !last)
        r = add_annot(row, key);
    free(key);
    return r;
}

static int write_row(void *arg, void *item)
{
    struct reading_on *s = arg;
    struct row *row = item;

    s->offset += row->tar.len;
    if (fd_write(STDOUT_FILENO, row->tar.data, row->tar.len, FD_FOREVER) < 0)
        return err_wrap("stdout");
    return 0;
}

static int write_end(uint64_t offset)
{
    struct buf b = BUF_INIT;
    int r;

    tar_end(&b, offset);
    r = fd_write(STDOUT_FILENO, b.data, b.len, FD_FOREVER);
    buf_release(&b);
    return r < 0 ? err_wrap("stdout") : 0;
}

int imgshard_read(const struct command *c, int argc, char **argv)
{
    struct reading_on s = {.epoch = -1};
    struct work_stages stages = {next_row, fill_row, write_row, &s};
    int threads = reading.io_threads ? (int)reading.io_threads : 1;
    int n = threads * 2, i, r;
    struct row *rows;
    void **items;

    (void)argc;
    if (reading_open(&s.r, c, argv[0], -1) < 0)
        return -1;
    order_name(&s.r.order, &s.order);
    fd_grow_pipe(STDOUT_FILENO);
    rows = xcalloc((size_t)n, sizeof(*rows));
    items = xcalloc((size_t)n, sizeof(*items));
    for (i = 0; i < n; i++)
        items[i] = &rows[i];
    r = work_pipeline(&stages, items, n, threads);
    if (r == 0)
        r = write_end(s.offset);
    for (i = 0; i < n; i++) {
        buf_release(&rows[i].image);
        buf_release(&rows[i].annot);
        buf_release(&rows[i].tar);
    }
    free(rows);
    free(items);
    buf_release(&s.order);
    reader_close(&s.r);
    return r;
}
