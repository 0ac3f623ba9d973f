/* imgshard bench - how fast this machine decodes: one line of JSON. */
#include "imgshard-pixels.h"

#include "io/ahead.h"
#include "util/fdio.h"
#include "util/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct {
    int64_t images;
    char *set;
} bench;

struct opt bench_opts[] = {
    READING_ROWS,
    IO_THREADS_ROW,
    PIXELS_ROWS,
    {.name = "images",
     .letter = 'n',
     .type = OPT_INT,
     .addr = &bench.images,
     .def = "1000",
     .min = 1,
     .max = 1e9,
     .help = "images to decode in each measurement"},
    {.name = "isa",
     .type = OPT_STRING,
     .addr = &bench.set,
     .arg = "SET",
     .help = "decode and resize with base, avx2 or avx512 (default: the best)"},
    OPT_END};

/* Images in memory, or a reader: the two sources that are measured. */
struct run {
    struct reader *reader;
    struct buf *file; /* [n], of those samples that come; NULL: fetched */
    struct ahead *ahead;
    int64_t rows, images, done;
};

static int next_frame(void *arg, struct batch_head *h)
{
    struct run *r = arg;

    if (r->done >= r->images)
        return 0;
    h->order = "bench";
    h->pos = r->done;
    h->n = r->images - r->done < r->rows ? r->images - r->done : r->rows;
    r->done += h->n;
    return 1;
}

static int next_row(void *arg, int64_t j, struct batch_row *row)
{
    struct run *r = arg;

    (void)j;
    row->index = reader_sample(r->reader, row->pos);
    if (!r->file)
        row->own = ahead_want(r->ahead, (uint32_t)row->index);
    return 0;
}

static int load(void *arg, struct batch_row *row, int try_no)
{
    struct run *r = arg;
    const struct buf *b = &row->bytes;

    (void)try_no;
    if (r->file)
        b = &r->file[row->index];
    else if (ahead_take(r->ahead, row->own, &row->bytes) < 0)
        return -1;
    row->data = b->data;
    row->size = b->len;
    if (shard_is_detection(&r->reader->set))
        return reader_fetch_annot(r->reader, (uint32_t)row->index, &row->annot);
    return 0;
}

static void name(void *arg, const struct batch_row *row, struct buf *b)
{
    struct run *r = arg;

    shard_describe(&r->reader->set, (uint32_t)row->index, b);
}

static int drop(void *arg, struct batch_frame *f)
{
    (void)arg;
    (void)f;
    return 0;
}

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Rates of one run into j: images a second, and a second of one core. */
static int measure(const struct batch_config *c, struct run *r, json_t *j,
                   const char *rate, const char *per_core)
{
    struct batch_source s = {next_frame, next_row, load, name, r};
    double wall = clock_s(), cpu = cpu_s();

    r->done = 0;
    if (batch_run(c, &s, drop, NULL) < 0)
        return -1;
    json_add_real(j, rate, (double)r->images / (clock_s() - wall));
    json_add_real(j, per_core, (double)r->images / (cpu_s() - cpu));
    return 0;
}

/* Bring the images to memory. */
static int fetch(struct run *r)
{
    r->file = xcalloc((size_t)r->reader->set.n, sizeof(*r->file));
    for (int64_t i = 0; i < r->images; i++) {
        uint32_t k = reader_sample(r->reader, i);

        if (!r->file[k].len && reader_fetch(r->reader, k, &r->file[k]) < 0)
            return -1;
    }
    return 0;
}

static int run_bench(struct reader *reader, json_t *j)
{
    struct run r = {.reader = reader, .images = bench.images};
    struct batch_config c;
    struct resizer *z;
    uint32_t i;
    int rc = -1;

    if (pixels_task(&reader->set) < 0 || pixels_config(&c) < 0 ||
        order_epoch(&reader->order, 0) < 0)
        return -1;
    r.rows = c.rows = reader->batch.micro;
    c.instructions = bench.set;
    z = resizer_new();
    json_object_set_new(j, "isa",
                        json_string(bench.set ? bench.set : resizer_set(z)));
    resizer_free(z);
    json_object_set_new(j, "images", json_integer(bench.images));
    json_object_set_new(j, "threads", json_integer(c.threads));
    if (!c.detect)
        json_object_set_new(j, "size", json_integer(c.size));
    json_object_set_new(j, "mode", json_string(c.train ? "train" : "eval"));
    if (fetch(&r) == 0 &&
        measure(&c, &r, j, "decode_img_s", "decode_img_s_core") == 0) {
        for (i = 0; i < reader->set.n; i++)
            buf_release(&r.file[i]);
        free(r.file);
        r.file = NULL;
        r.ahead = ahead_new(reader, (int)reading.io_threads,
                            4 * (int64_t)c.threads, AHEAD_BYTES);
        rc = measure(&c, &r, j, "feed_img_s", "feed_img_s_core");
        ahead_free(r.ahead);
    }
    for (i = 0; r.file && i < reader->set.n; i++)
        buf_release(&r.file[i]);
    free(r.file);
    return rc;
}

int imgshard_bench(const struct command *c, int argc, char **argv)
{
    struct reader reader;
    struct buf line = BUF_INIT;
    json_t *j = json_object();
    int rc;

    (void)argc;
    reading.eval = pixels.eval;
    if (reading_open(&reader, c, argv[0], -1) < 0)
        return -1;
    rc = run_bench(&reader, j);
    if (rc == 0) {
        json_canonical(&line, j);
        printf("%s\n", line.data);
    }
    buf_release(&line);
    json_decref(j);
    reader_close(&reader);
    return rc;
}
