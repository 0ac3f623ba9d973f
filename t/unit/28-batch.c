/* Batches: the same bytes with any number of threads, padding, bad images. */
#include "lib/tap.h"

#include "io/digest.h"
#include "vision/batch.h"
#include "vision/synth.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILES 37
#define ROWS 8

static struct buf file[FILES];
static const char junk[] = "\xff\xd8\xff no image";

/* Frames of two epochs over the files; row `broken` of the first is junk. */
struct walk {
    int64_t pos, epoch, broken;
    struct batch_head head;
    /* what came out */
    uint32_t crc;
    int64_t frames, rows, bad, stop;
    struct buf log;
};

static int next_frame(void *arg, struct batch_head *h)
{
    struct walk *w = arg;

    if (w->epoch == 2)
        return 0;
    h->epoch = w->epoch;
    h->step = w->pos / ROWS;
    h->pos = w->pos;
    h->n = FILES - w->pos < ROWS ? FILES - w->pos : ROWS;
    h->total = h->n;
    h->last = true;
    h->epoch_begin = w->pos == 0;
    h->order = "test";
    w->pos += h->n;
    h->epoch_end = w->pos == FILES;
    if (h->epoch_end) {
        w->pos = 0;
        w->epoch++;
    }
    w->head = *h;
    return 1;
}

static int next_row(void *arg, int64_t j, struct batch_row *r)
{
    struct walk *w = arg;

    r->replacement[0] = w->head.pos + j;
    r->replacement[1] = (w->head.pos + j + 1) % FILES;
    return 0;
}

static int load(void *arg, struct batch_row *r, int try_no)
{
    struct walk *w = arg;
    int64_t i = r->replacement[try_no];

    r->index = i;
    r->label = i % 10;
    r->data = i == w->broken ? junk : file[i].data;
    r->size = i == w->broken ? sizeof(junk) : file[i].len;
    return 0;
}

static void name(void *arg, const struct batch_row *r, struct buf *b)
{
    (void)arg;
    buf_addf(b, "file %d", (int)r->index);
}

static int take(void *arg, struct batch_frame *f)
{
    struct walk *w = arg;
    size_t n = (size_t)(f->rows * f->h * f->w * 3);
    int64_t i, pads = 0;

    w->crc = digest_crc32(w->crc, f->image, n);
    w->crc = digest_crc32(w->crc, f->label, (size_t)f->rows * 8);
    w->crc = digest_crc32(w->crc, f->index, (size_t)f->rows * 8);
    w->frames++;
    w->rows += f->head.n;
    w->bad += f->bad;
    for (i = f->head.n; i < f->rows; i++)
        pads += f->label[i] != -1 || f->index[i] != -1 ||
                f->image[n / (size_t)f->rows * (size_t)i] != 0;
    buf_addf(&w->log, "%d:%d:%d ", (int)f->head.epoch, (int)f->head.pos,
             (int)(f->head.n + 100 * pads));
    return w->frames == w->stop ? err_set(ERR_AGAIN, "enough") : 0;
}

static struct batch_config config(bool train, int threads)
{
    struct batch_config c = {.train = train,
                             .size = 64,
                             .resize = 73,
                             .augment = AUGMENT_INIT,
                             .seed = 5,
                             .rows = ROWS,
                             .threads = threads,
                             .queue = 3};

    return c;
}

static int run(const struct batch_config *c, struct walk *w)
{
    struct batch_source s = {next_frame, next_row, load, name, w};

    return batch_run(c, &s, take, w);
}

static void threads(bool train)
{
    static const int count[] = {1, 3, 8, 16};
    struct walk first = {.broken = -1};
    struct batch_config c;
    size_t i;

    for (i = 0; i < 4; i++) {
        struct walk w = {.broken = -1};

        c = config(train, count[i]);
        c.queue = 2 + (int)i;
        is_int(run(&c, &w), 0, "%d threads", count[i]);
        if (i == 0) {
            first = w;
            continue;
        }
        is_int(w.crc, first.crc, "the same bytes");
        is_str(w.log.data, first.log.data, "the same frames");
        buf_release(&w.log);
    }
    is_int(first.frames, 10, "frames");
    is_int(first.rows, 2 * FILES, "rows");
    is_str(first.log.data,
           "0:0:8 0:8:8 0:16:8 0:24:8 0:32:5 1:0:8 1:8:8 1:16:8 1:24:8 1:32:5 ",
           "places, and padding is black with -1");
    buf_release(&first.log);
}

/* What the pixels depend on. */
static void cuts(void)
{
    struct batch_config c = config(true, 2);
    struct walk a = {.broken = -1}, b = {.broken = -1}, e = {.broken = -1};

    is_int(run(&c, &a), 0, "seed 5");
    c.seed = 6;
    is_int(run(&c, &b), 0, "seed 6");
    ok(a.crc != b.crc, "another seed, other pixels");
    c = config(false, 2);
    is_int(run(&c, &e), 0, "evaluation");
    ok(a.crc != e.crc, "evaluation, other pixels");
    buf_release(&a.log);
    buf_release(&b.log);
    buf_release(&e.log);
}

static void bad_images(void)
{
    struct batch_config c = config(true, 3);
    struct walk a = {.broken = 11}, b = {.broken = 11}, s = {.broken = -1};

    is_int(run(&c, &a), -1, "a bad image ends the run");
    is_int(err_code(), ERR_DATA, "as bad data");
    has_str(err_text(), "file 11: jpeg: ", "and is named");
    is_int(a.frames, 1, "after the frames before it");
    c.replace = true;
    is_int(run(&c, &b), 0, "or is replaced");
    is_int(b.bad, 2, "once in each epoch");
    is_int(b.rows, 2 * FILES, "and no row is lost");
    s.stop = 3;
    is_int(run(&c, &s), -1, "emit can stop it");
    is_int(err_code(), ERR_AGAIN, "with its own reason");
    is_int(s.frames, 3, "at once");
    buf_release(&a.log);
    buf_release(&b.log);
    buf_release(&s.log);
}

/* Through a file, as a stream. */
static void written(void)
{
    struct batch_config c = config(false, 2);
    struct walk w = {.broken = -1};
    struct batch_source s = {next_frame, next_row, load, name, &w};
    int fd = memfd_create("batch", 0), frames = 0, epochs = 0, i;
    struct frame f = FRAME_INIT;
    struct frame_stream in;
    struct frame_writer out;
    int64_t n;

    frame_writer_init(&out, fd, "file");
    if (frame_write(&out, "hello", NULL, 0, NULL, 0, 0) < 0 ||
        batch_run(&c, &s, batch_write, &out) < 0 || frame_write_end(&out) < 0)
        ok(0, "%s", err_text());
    lseek(fd, 0, SEEK_SET);
    frame_stream_init(&in, fd, "file");
    while ((i = frame_next(&in, &f)) > 0) {
        epochs += !strcmp(frame_type(&f), "epoch");
        if (strcmp(frame_type(&f), "batch") != 0)
            continue;
        frames += frame_want(&f, "image", DT_U8, 4, &i) == 0 &&
                  f.tensor[i].t.shape[0] == ROWS &&
                  f.tensor[i].t.shape[1] == 64 && f.tensor[i].t.shape[3] == 3;
        if (frame_meta_int(&f, "n", &n) == 0)
            in.rows += (uint64_t)n;
    }
    is_int(i, 0, "the stream ends well");
    is_int(frames, 10, "batch frames");
    is_int(epochs, 4, "epoch frames");
    is_int((long long)in.rows, 2 * FILES, "rows");
    is_int((long long)out.rows, 2 * FILES, "counted");
    frame_release(&f);
    frame_writer_release(&out);
    close(fd);
}

int main(void)
{
    struct synth s = {1, 40, 120};
    int i;

    for (i = 0; i < FILES; i++)
        if (synth_image(&s, 0, i % 10, (uint32_t)i, &file[i]) < 0)
            ok(0, "%s", err_text());
    threads(true);
    threads(false);
    cuts();
    bad_images();
    written();
    for (i = 0; i < FILES; i++)
        buf_release(&file[i]);
    return done_testing();
}
