/*
 * Ranks, counts, predictions from streams and text. "80-topk.t stream FIRST
 * COUNT SAMPLES CLASSES" writes a stream for other tests: sample i has label
 * i % CLASSES, and the largest logit at the label if i is even, else behind it.
 */
#include "lib/tap.h"
#include "lib/tapdir.h"

#include "eval/preds.h"
#include "io/frame.h"
#include "util/fdio.h"
#include "util/json.h"

#include <fcntl.h>
#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- ranks */

static void test_rank(void)
{
    static const float v[] = {1, 3, 3, 2, -INFINITY, 3};
    static const int want[] = {4, 0, 1, 3, 5, 2};
    static const double d[] = {1 + 1e-12, 1, 0};
    static const float nan_row[] = {1, NAN, 2};
    static const float one[] = {-7};
    static const float zero[] = {0.0f, -0.0f};
    static const int64_t named[] = {7, 3, 9};

    for (int i = 0; i < 6; i++)
        is_int(topk_rank(DT_F32, v, 6, i), want[i], "rank of class %d", i);
    is_int(topk_rank(DT_F64, d, 3, 1), 1, "double precision is kept");
    is_int(topk_rank(DT_F32, nan_row, 3, 2), TOPK_NAN, "NaN elsewhere");
    is_int(topk_rank(DT_F32, nan_row, 3, 1), TOPK_NAN, "NaN at the label");
    is_int(topk_rank(DT_F32, one, 1, 0), 0, "one class");
    is_int(topk_rank(DT_F32, zero, 2, 1), 1, "-0 is equal to 0");
    is_int(topk_place(named, 3, 9), 2, "a named class");
    is_int(topk_place(named, 3, 8), TOPK_MISS, "another");
}

static void test_count(void)
{
    static const int64_t k[] = {1, 5, 1000}, twice[] = {5, 5}, zero[] = {0};
    struct topk t;

    is_int(topk_init(&t, k, 3), 0, "k of 1, 5 and 1000");
    for (int rank = -2; rank < 7; rank++)
        topk_add(&t, rank);
    is_int(t.n, 9, "samples");
    is_int(t.nan, 1, "one NaN");
    is_int(t.correct[0], 1, "top 1");
    is_int(t.correct[1], 5, "top 5");
    is_int(t.correct[2], 7, "top 1000 has all with an order");
    is_int(topk_init(&t, twice, 2), -1, "k twice");
    is_int(topk_init(&t, zero, 1), -1, "k of 0");
    is_int(topk_init(&t, k, 0), -1, "no k");
    is_int(err_code(), ERR_USAGE, "are wrong usage");
}

/* ---- text */

static int fd_of(const void *p, size_t n)
{
    int fd = memfd_create("preds", MFD_CLOEXEC);

    if (fd < 0 || fd_write(fd, p, n, FD_FOREVER) < 0 ||
        lseek(fd, 0, SEEK_SET) < 0)
        die();
    return fd;
}

static const int64_t one_five[] = {1, 5}, only_one[] = {1};
static struct topk t;

static void begin(struct preds *p, int n_k)
{
    if (topk_init(&t, n_k == 1 ? only_one : one_five, n_k) < 0)
        die();
    preds_init(p, &t);
    err_clear();
}

static int read_bytes(struct preds *p, const void *bytes, size_t n,
                      const char *name)
{
    int fd = fd_of(bytes, n), r = preds_read(p, fd, name);

    close(fd);
    return r;
}

/* One line of TAP for any text. */
static const char *shown(const char *text)
{
    static char s[40];
    size_t i;

    for (i = 0; text[i] && i < sizeof s - 1; i++)
        s[i] = (unsigned char)text[i] < ' ' ? '|' : text[i];
    s[i] = 0;
    return s;
}

static void good_text(const char *text, int n_k, int correct1, int correct5,
                      int n)
{
    struct preds p;

    begin(&p, n_k);
    ok(read_bytes(&p, text, strlen(text), "x") == 0 && preds_finish(&p) == 0,
       "read \"%s\"... %s", shown(text), err_text());
    ok(t.correct[0] == correct1 && (n_k == 1 || t.correct[1] == correct5) &&
           t.n == n,
       "%d and %d of %d", correct1, correct5, n);
    preds_release(&p);
}

static void bad_text(const char *text, const char *why, enum err_class cls)
{
    struct preds p;
    int r;

    begin(&p, 2);
    r = read_bytes(&p, text, strlen(text), "x");
    if (r == 0)
        r = preds_finish(&p);
    ok(r == -1 && err_code() == cls, "\"%s\" is refused", shown(text));
    has_str(err_text(), why, "the reason");
    preds_release(&p);
}

static void test_text(void)
{
    good_text("a 0 0.5 0.2\nb 1 .1 .9\nc 1 3 3\n", 2, 2, 3, 3);
    good_text("# note\n\na 0 .5 .2\r\n\tb  1\t1e-3 1e3  \n", 2, 2, 2, 2);
    good_text("a 7 7 1 2 3 4\nb 7 1 2 3 4 7\nc 7 1 2 3 4 5\n", 2, 1, 2, 3);
    good_text("a 3 3\nb 3 4\n", 1, 1, 0, 2);
    good_text("a 0 nan 1.\nb 1 inf -inf\n", 2, 0, 1, 2);
    good_text("a 0 -1 -2\n", 2, 1, 1, 1);
    good_text("a 0 0.5 0.2", 2, 1, 1, 1);
    good_text("a 0 7.5\n", 2, 1, 1, 1);
    bad_text("", "empty", ERR_DATA);
    bad_text("\n\n# x\n", "no predictions", ERR_DATA);
    bad_text("a\n", "x:1: expected a key", ERR_DATA);
    bad_text("a 1\n", "x:1: expected a key", ERR_DATA);
    bad_text("a 0 .5 .2\nb 2 .1 .9\n", "x:2: label 2: there are 2", ERR_DATA);
    bad_text("a -1 .5 .2\n", "without a label", ERR_DATA);
    bad_text("a 1.5 .5 .2\n", "label \"1.5\"", ERR_DATA);
    bad_text("a 0 .5 .2\na 1 .1 .9\n", "\"a\": predicted twice", ERR_DATA);
    bad_text("a 0 .5 .2\nb 1 .1\n", "1 predictions, the lines", ERR_DATA);
    bad_text("a 0 .5 .2\nb 1 .1 .9x\n", "score \".9x\"", ERR_DATA);
    bad_text("a 3 1 2 3 4 5\nb 3 1 2 3 4 5.5\n", "not a class", ERR_DATA);
    bad_text("a 3 1 2 3 4 4\n", "named twice", ERR_DATA);
    bad_text("a 3 1 2 3\n", "top 5 cannot be told", ERR_USAGE);
    bad_text("a 99999999999999999999 1 2 3 4 5\n", "label", ERR_DATA);
    bad_text("GIF89a rubbish and more\n", "label \"rubbish\"", ERR_DATA);
}

static void test_text_wishes(void)
{
    static const char text[] = "a 2 5 6 7\nb 0 5 6 7\n";
    static const char nul[] = "key-one 0 .5 .\0002\n";
    struct preds p;

    begin(&p, 2);
    p.text = PREDS_SCORES;
    is_int(read_bytes(&p, text, strlen(text), "x"), 0, "whole scores");
    ok(t.correct[0] == 1 && t.correct[1] == 2, "are scores when it is said");
    is_int(read_bytes(&p, "c 1 1 2 3\n", 10, "y"), 0, "another source");
    is_int(read_bytes(&p, "b 1 1 2 3\n", 10, "z"), -1, "a key again in it");
    p.samples = 4;
    is_int(preds_finish(&p), -1, "3 of 4");
    is_str(err_text(), "1 of 4 samples are missing", "one is missing");
    p.allow_missing = true;
    is_int(preds_finish(&p), 0, "which may be allowed");
    is_int(preds_missing(&p), 1, "and is counted");
    p.samples = 2;
    is_int(preds_finish(&p), -1, "3 of 2 never");
    preds_release(&p);
    begin(&p, 2);
    is_int(read_bytes(&p, nul, sizeof nul - 1, "x"), -1, "a NUL byte");
    has_str(err_text(), "NUL", "the reason");
    preds_release(&p);
}

/* ---- streams */

struct stream {
    int64_t first, count, samples, classes;
    const char *dataset, *role;
    int64_t batch;     /* rows of a frame */
    int64_t label_add; /* to every label */
    int64_t bad_index; /* in place of the last, unless -1 */
    int64_t lost;      /* rows that the end frame counts beyond these */
    bool nan;          /* in the first row */
};

static void write_stream(int fd, const struct stream *s)
{
    char samples[24], classes[24], n[24];
    struct frame_pair hello[] = {{"classes", classes},  {"dataset", s->dataset},
                                 {"model", "resnet18"}, {"proto", "1.0"},
                                 {"role", s->role},     {"samples", samples},
                                 {"split", "val"}};
    struct frame_pair meta[] = {{"n", n}};
    int64_t *index = xcalloc((size_t)s->batch, 8), i, k;
    int64_t *label = xcalloc((size_t)s->batch, 8), done;
    float *logits = xcalloc((size_t)(s->batch * s->classes), 4);
    struct frame_writer w;

    snprintf(samples, sizeof samples, "%lld", (long long)s->samples);
    snprintf(classes, sizeof classes, "%lld", (long long)s->classes);
    frame_writer_init(&w, fd, "out");
    if (frame_write(&w, "hello", hello, 7, NULL, 0, 0) < 0)
        die();
    for (done = 0; done < s->count; done += k) {
        struct frame_item it[3];

        k = s->count - done < s->batch ? s->count - done : s->batch;
        memset(logits, 0, (size_t)(s->batch * s->classes) * 4);
        for (i = 0; i < k; i++) {
            int64_t at = s->first + done + i;

            index[i] = at;
            label[i] = at % s->classes + s->label_add;
            logits[i * s->classes + (at + at % 2) % s->classes] = 1;
        }
        if (s->nan && done == 0)
            logits[s->classes - 1] = NAN;
        if (s->bad_index != -1 && done + k == s->count)
            index[k - 1] = s->bad_index;
        it[0] = (struct frame_item){"index", TENSOR1(DT_I64, index, k)};
        it[1] = (struct frame_item){"label", TENSOR1(DT_I64, label, k)};
        it[2] = (struct frame_item){"logits",
                                    TENSOR2(DT_F32, logits, k, s->classes)};
        snprintf(n, sizeof n, "%lld", (long long)k);
        w.rows += (uint64_t)k;
        if (frame_write(&w, "pred", meta, 1, it, 3, 0) < 0)
            die();
    }
    w.rows += (uint64_t)s->lost;
    if (frame_write_end(&w) < 0)
        die();
    frame_writer_release(&w);
    free(index);
    free(label);
    free(logits);
}

#define STREAM(f, c, s)                                                        \
    {                                                                          \
        .first = f, .count = c, .samples = s, .classes = 7, .dataset = "d",    \
        .role = "predict", .batch = 4, .bad_index = -1                         \
    }

static int read_stream(struct preds *p, const struct stream *s,
                       const char *name)
{
    int fd = memfd_create("stream", MFD_CLOEXEC), r;

    write_stream(fd, s);
    lseek(fd, 0, SEEK_SET);
    r = preds_read(p, fd, name);
    close(fd);
    return r;
}

static void test_streams(void)
{
    struct stream whole = STREAM(0, 21, 21), a = STREAM(0, 10, 21);
    struct stream b = STREAM(10, 11, 21);
    struct preds p;
    struct topk once;

    begin(&p, 2);
    is_int(read_stream(&p, &whole, "x"), 0, "21 samples: %s", err_text());
    is_int(preds_finish(&p), 0, "are all");
    is_int(t.correct[0], 11, "the even ones are correct");
    is_int(t.n, 21, "of all");
    once = t;
    preds_release(&p);
    for (int batch = 1; batch <= 22; batch += 7) {
        begin(&p, 2);
        a.batch = b.batch = batch;
        ok(read_stream(&p, &b, "x") == 0 && read_stream(&p, &a, "y") == 0 &&
               preds_finish(&p) == 0,
           "two streams of %d rows a frame", batch);
        ok(memcmp(&t, &once, sizeof t) == 0, "the same integers");
        preds_release(&p);
    }
}

static void test_incomplete(void)
{
    struct stream a = STREAM(0, 10, 21), none = STREAM(0, 0, 21);
    struct stream unknown = STREAM(0, 10, -1);
    struct preds p;

    begin(&p, 2);
    is_int(read_stream(&p, &a, "x"), 0, "10 of 21");
    is_int(preds_finish(&p), -1, "are not all");
    is_int(err_code(), ERR_DATA, "which is bad data");
    is_str(err_text(), "11 of 21 samples are missing: 10, 11, 12, 13, 14, ...",
           "the first few are named");
    is_int(read_stream(&p, &a, "y"), -1, "the same again");
    has_str(err_text(), "y: frame 1: sample 0: predicted twice", "is named");
    p.allow_missing = true;
    is_int(preds_finish(&p), 0, "missing ones may be allowed");
    is_int(t.n, 10, "they are not counted");
    preds_release(&p);
    begin(&p, 2);
    is_int(read_stream(&p, &none, "x"), 0, "a stream of nothing");
    p.allow_missing = true;
    is_int(preds_finish(&p), -1, "cannot be scored");
    preds_release(&p);
    begin(&p, 2);
    is_int(read_stream(&p, &unknown, "x"), 0, "number of samples unknown");
    is_int(preds_finish(&p), -1, "proves nothing");
    p.samples = 10;
    is_int(preds_finish(&p), 0, "unless it is given");
    preds_release(&p);
}

static void refused(const struct stream *second, const char *why)
{
    struct stream a = STREAM(0, 10, 21);
    struct preds p;

    begin(&p, 2);
    if (read_stream(&p, &a, "x") < 0)
        die();
    ok(read_stream(&p, second, "y") == -1 && err_code() == ERR_DATA,
       "refused: %s", why);
    has_str(err_text(), why, "the reason");
    preds_release(&p);
}

static void test_unlike(void)
{
    struct stream s = STREAM(10, 11, 21), b;
    struct preds p;

    b = s, b.dataset = "e", refused(&b, "data set \"e\", but x has \"d\"");
    b = s, b.samples = 22, refused(&b, "22 samples, but x has 21");
    b = s, b.classes = 8, refused(&b, "8 classes, but x has 7");
    b = s, b.role = "feed", refused(&b, "role \"feed\"");
    b = s, b.label_add = 7, refused(&b, "there are 7 classes");
    b = s, b.label_add = -8, refused(&b, "without a label");
    b = s, b.bad_index = 21, refused(&b, "sample 21: there are 21");
    b = s, b.bad_index = -7, refused(&b, "sample -7");
    b = s, b.bad_index = 12, refused(&b, "sample 12: predicted twice");
    b = s, b.lost = 1, refused(&b, "end frame counts 12 rows, 11 were read");
    b = s, b.lost = -1, refused(&b, "end frame counts 10 rows, 11 were read");
    begin(&p, 2);
    b = s, b.nan = true;
    is_int(read_stream(&p, &b, "x"), 0, "a NaN is read");
    is_int(t.nan, 1, "and counted");
    is_int(t.correct[0], 5, "as wrong");
    is_int(t.correct[1], 7, "at every k");
    is_int(read_bytes(&p, "a 0 .5 .2\n", 10, "y"), -1, "text beside streams");
    preds_release(&p);
}

static void test_truncated(void)
{
    struct stream s = STREAM(0, 3, 3);
    int fd = memfd_create("stream", MFD_CLOEXEC), bad = 0;
    struct buf b = BUF_INIT;
    struct preds p;
    off_t size;

    write_stream(fd, &s);
    size = lseek(fd, 0, SEEK_END);
    if (fd_pread(fd, buf_reserve(&b, (size_t)size), (size_t)size, 0) < 0)
        die();
    for (off_t n = 0; n < size; n++) {
        begin(&p, 2);
        if (read_bytes(&p, b.data, (size_t)n, "x") != -1 ||
            (err_code() != ERR_IO && (n > 2 || err_code() != ERR_DATA))) {
            bad++;
            printf("# %lld bytes: %d %s\n", (long long)n, (int)err_code(),
                   err_text());
        }
        preds_release(&p);
    }
    is_int(bad, 0, "each of %lld truncations is an error", (long long)size);
    buf_release(&b);
    close(fd);
}

/* ---- sets of correct classes */

static void test_sets(void)
{
    static const char json[] = "[[], [2, 0], [1]]";
    static const char text[] = "val_001 9 .1 .9 .5\nval_002 0 .1 .5 .9\n"
                               "v3 0 .1 .5 .9\n";
    struct preds_sets s;
    struct preds p;
    char *path = xstrfmt("%s/sets", tap_dir());
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);

    if (fd < 0 || fd_write(fd, json, strlen(json), FD_FOREVER) < 0)
        die();
    is_int(preds_sets_read(&s, path), 0, "sets");
    is_int(s.n, 3, "of three images");
    begin(&p, 2);
    p.sets = &s;
    is_int(read_bytes(&p, text + 20, strlen(text) - 20, "x"), 0, "read: %s",
           err_text());
    ok(t.n == 2 && t.correct[0] == 1 && t.correct[1] == 2,
       "any class of the set counts");
    is_int(read_bytes(&p, "val_1 0 .1 .9 .5\n", 17, "x"), 0, "an empty set");
    is_int(t.n, 2, "does not count");
    is_int(read_bytes(&p, "val_4 0 .1 .9 .5\n", 17, "x"), -1, "no image 4");
    is_int(read_bytes(&p, "val_ 0 .1 .9 .5\n", 16, "x"), -1, "no number");
    preds_release(&p);
    preds_sets_release(&s);
    if (ftruncate(fd, 0) < 0 || pwrite(fd, "[[1],[-1]]", 10, 0) != 10)
        die();
    is_int(preds_sets_read(&s, path), -1, "a class below 0");
    has_str(err_text(), "image 2", "is named");
    preds_sets_release(&s);
    free(path);
    close(fd);
}

/* ---- recorded predictions of others */

static void *npy(const char *dir, const char *name, size_t n)
{
    char *path = xstrfmt("%s/%s", dir, name);
    void *p = xmalloc(n);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fd_pread(fd, p, n, 128) < 0)
        die();
    close(fd);
    free(path);
    return p;
}

static json_t *expected(const char *dir, const char *name)
{
    char *path = xstrfmt("%s/%s", dir, name);
    json_t *j = json_file(path, 1 << 20);

    if (!j)
        die();
    free(path);
    return j;
}

static void recorded_cifar(const char *dir)
{
    double *probs = npy(dir, "cifar10_probs.npy", 800000);
    uint16_t *label = npy(dir, "cifar10_labels.npy", 20000);
    json_t *j = expected(dir, "expected_cifar10.json"), *want, *per;
    struct topk single;
    float row[10];
    int i, k, bad = 0;

    want = json_object_get(j, "float64");
    per = json_object_get(j, "per_class");
    for (k = 0; k < 10; k++) {
        if (topk_init(&t, one_five, 2) < 0)
            die();
        for (i = 0; i < 10000; i++)
            if (label[i] == k)
                topk_add(&t, topk_rank(DT_F64, probs + i * 10, 10, k));
        bad += t.correct[0] !=
               json_integer_value(json_object_get(
                   json_array_get(per, (size_t)k), "top1_correct"));
    }
    is_int(bad, 0, "cifar10: each class as recorded");
    if (topk_init(&t, one_five, 2) < 0 || topk_init(&single, one_five, 2) < 0)
        die();
    for (i = 0; i < 10000; i++) {
        topk_add(&t, topk_rank(DT_F64, probs + i * 10, 10, label[i]));
        for (k = 0; k < 10; k++)
            row[k] = (float)probs[i * 10 + k];
        topk_add(&single, topk_rank(DT_F32, row, 10, label[i]));
    }
    for (i = 0; i < 2; i++) {
        char *key = xstrfmt("top%d_correct_lowest_index_wins_ties", i ? 5 : 1);

        is_int(t.correct[i], json_integer_value(json_object_get(want, key)),
               "cifar10: %s", key);
        is_int(single.correct[i],
               json_integer_value(
                   json_object_get(json_object_get(j, "float32"), key)),
               "cifar10 in single precision: %s", key);
        free(key);
    }
    json_decref(j);
    free(probs);
    free(label);
}

static void recorded_imagenet(const char *dir)
{
    uint16_t *best = npy(dir, "imagenet_argmax.npy", 100000);
    uint16_t *label = npy(dir, "imagenet_labels.npy", 100000);
    char *order = xstrfmt("%s/imagenet_order.txt", dir);
    char *sets = xstrfmt("%s/imagenet_real_labels.json", dir);
    json_t *j = expected(dir, "expected_imagenet.json");
    struct buf names = BUF_INIT, text = BUF_INIT;
    struct preds_sets s;
    struct preds p;
    char *name;
    int i;

    if (buf_read_file(&names, order, 1 << 22) < 0 ||
        preds_sets_read(&s, sets) < 0)
        die();
    for (i = 0, name = names.data; i < 50000; i++) {
        size_t n = strcspn(name, "\n");

        buf_addf(&text, "%.*s %d %d\n", (int)n, name, label[i], best[i]);
        name += n + 1;
    }
    begin(&p, 1);
    ok(read_bytes(&p, text.data, text.len, "x") == 0 && preds_finish(&p) == 0,
       "ImageNet: read");
    is_int(t.correct[0], json_integer_value(json_object_get(j, "top1_correct")),
           "as recorded");
    preds_release(&p);
    begin(&p, 1);
    p.sets = &s;
    p.samples = 50000;
    ok(read_bytes(&p, text.data, text.len, "x") == 0 && preds_finish(&p) == 0,
       "ImageNet with sets of classes: read");
    is_int(t.correct[0], json_integer_value(json_object_get(j, "real_correct")),
           "as recorded");
    is_int(t.n, json_integer_value(json_object_get(j, "real_samples")),
           "of as many");
    preds_release(&p);
    preds_sets_release(&s);
    buf_release(&names);
    buf_release(&text);
    json_decref(j);
    free(order);
    free(sets);
    free(best);
    free(label);
}

static int make(char **argv)
{
    struct stream s =
        STREAM(strtoll(argv[2], NULL, 10), strtoll(argv[3], NULL, 10),
               strtoll(argv[4], NULL, 10));

    s.classes = strtoll(argv[5], NULL, 10);
    s.nan = argv[6] && strcmp(argv[6], "nan") == 0;
    write_stream(STDOUT_FILENO, &s);
    return 0;
}

int main(int argc, char **argv)
{
    const char *dir = tap_data("topk-predictions");

    prog_set("80-topk");
    if (argc > 5 && strcmp(argv[1], "stream") == 0)
        return make(argv);
    test_rank();
    test_count();
    test_text();
    test_text_wishes();
    test_streams();
    test_incomplete();
    test_unlike();
    test_truncated();
    test_sets();
    if (dir) {
        recorded_cifar(dir);
        recorded_imagenet(dir);
    } else {
        skip(10, "data: topk-predictions is not here");
    }
    return done_testing();
}
