/* A split written and read again; damaged manifests, indexes and shards. */
#include "io/ahead.h"
#include "io/digest.h"
#include "io/reader.h"
#include "io/shardout.h"
#include "io/tar.h"
#include "lib/tap.h"
#include "lib/tapdir.h"
#include "util/fdio.h"

#include <fcntl.h>
#include <unistd.h>

#define N 40

static const char *dir;
static char manifest[64], index_path[64], shard0[64];

static void add_sample(struct shard_out *o, int i)
{
    unsigned char block[TAR_BLOCK];
    struct buf b = BUF_INIT;
    char key[32], path[40], data[64];
    int n = snprintf(data, sizeof(data), "image %d", i);
    struct shard_row row = {.key = key,
                            .label = i % 3,
                            .width = 10,
                            .height = 20,
                            .flags = SHARD_JPEG};
    struct shard_part part = {"jpg", path, TAR_BLOCK, 0};

    snprintf(key, sizeof(key), "c%d/%04d", i % 3, i);
    snprintf(path, sizeof(path), "%s.jpg", key);
    part.size = row.size = (uint32_t)n;
    row.crc32 = digest_crc32(0, data, (size_t)n);
    row.offset = TAR_BLOCK;
    if (tar_header(block, path, (uint64_t)n) < 0)
        BUG("%s", err_text());
    buf_add(&b, block, sizeof(block));
    buf_add(&b, data, (size_t)n);
    buf_addfill(&b, 0, tar_padding((uint64_t)n));
    if (shard_out_add(o, &row, b.data, b.len, &part, 1) < 0)
        BUG("%s", err_text());
    buf_release(&b);
}

static void write_split(void)
{
    struct shard_set s = {0};
    struct shard_out o;

    s.split = xstrdup("train");
    s.name = xstrdup("test");
    s.task = xstrdup("classification");
    s.pack_order = xstrdup("sorted");
    s.jpeg = xstrdup("keep");
    s.program = xstrdup("test");
    shard_set_class(&s, "c0", "zero", 7);
    shard_set_class(&s, "c\xc3\xa9", NULL, -1);
    shard_set_class(&s, "c2", NULL, -1);
    is_int(shard_out_init(&o, &s, dir, 1 << 30, 15), 0, "begun");
    for (int i = 0; i < N; i++)
        add_sample(&o, i);
    is_int(access(manifest, F_OK), -1, "no manifest before the end");
    is_int(access(shard0, F_OK), -1, "no shard either");
    is_int(shard_out_commit(&o), 0, "committed");
    shard_out_release(&o);
    shard_set_release(&s);
}

static void read_split(void)
{
    struct shard_set s = {0};
    struct buf b = BUF_INIT;
    size_t len;

    is_int(shard_set_open(&s, manifest), 0, "opened: %s", err_text());
    is_int(s.n, N, "samples");
    is_int(s.n_shards, 3, "shards");
    is_int(s.n_classes, 3, "classes");
    is_str(s.cls[0].label, "zero", "a label");
    is_int(s.cls[0].source_id, 7, "a source id");
    is_str(s.cls[1].name, "c\xc3\xa9", "a name in UTF-8");
    is_int((long long)s.shard_first[1], 15, "first sample of shard 1");
    is_int((long long)s.shard[2].samples, 10, "samples of the last");
    ok(!memcmp(shard_key(&s, 17, &len), "c2/0017", 7) && len == 7, "a key");
    is_int(shard_find(&s, "c2/0017"), 17, "found");
    is_int(shard_find(&s, "c2/001"), -1, "a part of a key is not found");
    shard_describe(&s, 16, &b);
    is_str(b.data, "train-000001.tar: offset 1536: c1/0016", "described");
    shard_set_release(&s);
    buf_reset(&b);
    is_int(buf_read_file(&b, index_path, 1 << 20), 0, "index read");
    is_int((long long)b.len > 4096 && b.data[0], 1, "it has its bytes");
    buf_release(&b);
}

/* The manifest with one text replaced by another must be refused. */
static void damaged_manifest(const char *from, const char *to)
{
    struct buf b = BUF_INIT, out = BUF_INIT;
    struct shard_set s = {0};
    char *at;

    if (buf_read_file(&b, manifest, 1 << 20) < 0 ||
        !(at = strstr(b.data, from))) {
        ok(0, "manifest has no %s", from);
        return;
    }
    buf_add(&out, b.data, (size_t)(at - b.data));
    buf_addstr(&out, to);
    buf_addstr(&out, at + strlen(from));
    if (shard_manifest_parse(&s, out.data, out.len, manifest) == 0) {
        int r = shard_index_read(&s, index_path);

        ok(r < 0 && err_code() == ERR_DATA, "%s -> %s: %s", from, to,
           r < 0 ? err_text() : "accepted");
        shard_set_release(&s);
    } else {
        is_int(err_code(), ERR_DATA, "%s -> %s: %s", from, to, err_text());
    }
    buf_release(&b);
    buf_release(&out);
}

static void damaged_manifests(void)
{
    damaged_manifest("\"imgshard\"", "\"other\"");
    damaged_manifest("\"version\":1", "\"version\":2");
    damaged_manifest("\"samples\":40", "\"samples\":41");
    damaged_manifest("\"samples\":40", "\"samples\":-1");
    damaged_manifest("\"samples\":40", "\"samples\":1e99");
    damaged_manifest("\"file\":\"train-000000.tar\"", "\"file\":\"/etc/x\"");
    damaged_manifest("\"file\":\"train-000000.tar\"", "\"file\":\"a/../../x\"");
    damaged_manifest("\"file\":\"train-000000.tar\"", "\"file\":\"\"");
    damaged_manifest("\"id\":1", "\"id\":0");
    damaged_manifest("\"task\":\"classification\"", "\"task\":\"x\"");
    damaged_manifest("\"bytes\":20480", "\"bytes\":512");
    damaged_manifest("\"dataset\":\"", "\"dataset\":\"z");
    damaged_manifest("{", "[");
    damaged_manifest("\"name\":\"test\"", "\"name\":\"test\",\"name\":\"b\"");
}

/* Offsets 1 too far, labels out of range, keys out of order: each row is
 * checked. Tensors are found by their values. */
static void damaged_index(uint64_t at, unsigned char byte, const char *what)
{
    struct buf b = BUF_INIT;
    struct shard_set s = {0};

    if (buf_read_file(&b, index_path, 1 << 20) < 0)
        BUG("%s", err_text());
    unsigned char old = (unsigned char)b.data[at];

    b.data[at] = (char)byte;
    if (atomic_write(index_path, b.data, b.len) < 0)
        BUG("%s", err_text());
    is_int(shard_set_open(&s, manifest), -1, "%s: refused", what);
    is_int(err_code(), ERR_DATA, "%s", err_text());
    b.data[at] = (char)old;
    if (atomic_write(index_path, b.data, b.len) < 0)
        BUG("%s", err_text());
    buf_release(&b);
}

static void damaged_indexes(void)
{
    /* data begins at 4096: key_end, offset, shard_first (8 bytes each), then
     * crc32, label, shard, size, then flags, height, width, then keys */
    uint64_t key_end = 4096, offset = key_end + 8 * N, first = offset + 8 * N;
    uint64_t crc = first + 8 * 4, label = crc + 4 * N, shard = label + 4 * N;

    damaged_index(0, 0, "length of the header");
    damaged_index(key_end, 0, "key_end");
    damaged_index(key_end + 8 * N - 8, 0, "last key_end");
    damaged_index(offset, 1, "offset, not a multiple of 512");
    damaged_index(offset + 6, 1, "offset past the shard");
    damaged_index(first + 8, 1, "shard_first");
    damaged_index(label, 3, "label");
    damaged_index(shard, 1, "shard");
    damaged_index(shard + 4 * N, 0, "size 0");
}

static void reading(void)
{
    struct recipe r = {.epochs = 2, .batch = 16, .tail = TAIL_EXACT, .seed = 3};
    struct reader_want w = {.manifest = manifest,
                            .order = "seq",
                            .rank = 1,
                            .world = 2,
                            .last_epoch = -1};
    struct buf b = BUF_INIT, token = BUF_INIT;
    struct reader_step st;
    struct reader rd;
    int rc, steps = 0, rows = 0, wrong = 0, begins = 0, ends = 0;

    is_int(reader_open(&rd, &r, &w), 0, "reader: %s", err_text());
    while ((rc = reader_next(&rd, &st)) > 0) {
        begins += st.epoch_begin;
        ends += st.epoch_end;
        if (steps == 2)
            wrong += st.first != 36 || st.count != 4 || st.total != 8;
        for (int64_t j = 0; j < st.count; j++, rows++) {
            char want[64];

            snprintf(want, sizeof(want), "image %d", (int)(st.first + j));
            wrong += st.sample[j] != (uint32_t)(st.first + j) ||
                     reader_fetch(&rd, st.sample[j], &b) < 0 ||
                     strcmp(b.data, want) != 0;
        }
        if (++steps == 4)
            reader_token(&rd, &token);
    }
    is_int(rc, 0, "to the end");
    is_int(steps, 6, "steps of two epochs");
    is_int(rows, N, "rows of one rank of two");
    is_int(wrong, 0, "all the right bytes");
    is_int(begins, 2, "epochs begun");
    is_int(ends, 2, "and ended");
    reader_close(&rd);
    has_str(token.data, ",order=seq,seed=3,epoch=1,next=16,tail=exact,group=16",
            "a resume token");

    w.resume = token.data;
    is_int(reader_open(&rd, &r, &w), 0, "resumed: %s", err_text());
    is_int(reader_next(&rd, &st), 1, "at a step");
    is_int(st.pos, 16, "its position");
    is_int(st.epoch, 1, "its epoch");
    is_int(st.step, 4, "its number");
    reader_close(&rd);
    r.seed = 4;
    is_int(reader_open(&rd, &r, &w), -1, "another seed");
    is_int(err_code(), ERR_CONFIG, "%s", err_text());
    r.seed = 3;
    r.batch = 10;
    is_int(reader_open(&rd, &r, &w), -1, "another batch that does not fit");
    is_int(err_code(), ERR_CONFIG, "%s", err_text());
    r.batch = 8;
    is_int(reader_open(&rd, &r, &w), 0, "one that fits");
    reader_close(&rd);
    w.resume = "dataset=x";
    is_int(reader_open(&rd, &r, &w), -1, "no token");
    is_int(err_code(), ERR_CONFIG, "%s", err_text());
    buf_release(&b);
    buf_release(&token);
}

static void damaged_shard(void)
{
    struct recipe r = {.epochs = 1, .batch = 16};
    struct reader_want w = {.manifest = manifest, .world = 1, .last_epoch = -1};
    struct buf b = BUF_INIT, got = BUF_INIT;
    struct reader rd;

    if (buf_read_file(&b, shard0, 1 << 20) < 0)
        BUG("%s", err_text());
    b.data[TAR_BLOCK] ^= 1;
    if (atomic_write(shard0, b.data, b.len) < 0)
        BUG("%s", err_text());
    is_int(reader_open(&rd, &r, &w), 0, "a changed byte is not seen at once");
    is_int(reader_fetch(&rd, 1, &got), 0, "other samples are sound");
    is_int(reader_fetch(&rd, 0, &got), -1, "its sample is not");
    is_int(err_code(), ERR_DATA, "class");
    has_str(err_text(), "train-000000.tar: offset 512: c0/0000: CRC-32 is ",
            "place and key");
    reader_close(&rd);
    w.check = CHECK_NEVER;
    is_int(reader_open(&rd, &r, &w), 0, "without the check");
    is_int(reader_fetch(&rd, 0, &got), 0, "it is read");
    reader_close(&rd);
    if (atomic_write(shard0, b.data, b.len - 512) < 0)
        BUG("%s", err_text());
    is_int(reader_open(&rd, &r, &w), -1, "a short shard is seen at once");
    is_int(err_code(), ERR_DATA, "%s", err_text());
    unlink(shard0);
    is_int(reader_open(&rd, &r, &w), -1, "a missing one too");
    is_int(err_code(), ERR_NOINPUT, "%s", err_text());
    buf_release(&b);
    buf_release(&got);
}

/* Change a byte of shard 0, or change it back. */
static void flip_byte(uint64_t at)
{
    int fd = open(shard0, O_RDWR);
    char c;

    if (fd < 0 || pread(fd, &c, 1, (off_t)at) != 1)
        BUG("%s", shard0);
    c ^= 1;
    if (pwrite(fd, &c, 1, (off_t)at) != 1)
        BUG("%s", shard0);
    close(fd);
}

static void checked_once(void)
{
    struct recipe r = {.epochs = 1, .batch = 1};
    struct reader_want w = {.manifest = manifest,
                            .world = 1,
                            .last_epoch = -1,
                            .check = CHECK_ONCE};
    struct buf b = BUF_INIT;
    struct reader rd;

    is_int(reader_open(&rd, &r, &w), 0, "reader: %s", err_text());
    is_int(reader_fetch(&rd, 0, &b), 0, "sound when first read");
    flip_byte(rd.set.offset[0]);
    flip_byte(rd.set.offset[1]);
    is_int(reader_fetch(&rd, 0, &b), 0, "not looked at again");
    is_int(reader_fetch(&rd, 1, &b), -1, "the other is");
    is_int(reader_fetch(&rd, 1, &b), -1, "as long as it is bad");
    flip_byte(rd.set.offset[0]);
    flip_byte(rd.set.offset[1]);
    is_int(reader_fetch(&rd, 1, &b), 0, "and then no more");
    reader_close(&rd);
    buf_release(&b);
}

/* All samples through threads of a number, within a bound; one is spoilt. */
static void read_ahead(int threads, int64_t least, uint64_t bytes)
{
    struct recipe r = {.epochs = 1, .batch = 1};
    struct reader_want w = {.manifest = manifest, .world = 1, .last_epoch = -1};
    struct ahead_file *file[N];
    struct buf b = BUF_INIT;
    struct reader rd;
    struct ahead *a;
    int i, right = 0, bad = 0, last_bad = -1;
    char want[64];

    is_int(reader_open(&rd, &r, &w), 0, "reader: %s", err_text());
    flip_byte(rd.set.offset[4]);
    a = ahead_new(&rd, threads, least, bytes);
    for (i = 0; i < N; i++)
        file[i] = ahead_want(a, (uint32_t)i);
    /* not quite in order, as threads do; the last are never taken */
    for (i = 0; i < N - 2; i++) {
        int k = i % 2 ? i - 1 : i + 1;

        snprintf(want, sizeof(want), "image %d", k);
        if (ahead_take(a, file[k], &b) == 0) {
            right += !strcmp(b.data, want);
        } else if (err_code() == ERR_DATA && strstr(err_text(), "CRC-32")) {
            bad++;
            last_bad = k;
        }
    }
    ahead_free(a);
    is_int(right, N - 3, "%d threads, %lld files: the right bytes", threads,
           (long long)least);
    is_int(bad, 1, "a bad one");
    is_int(last_bad, 4, "that one");
    flip_byte(rd.set.offset[4]);
    reader_close(&rd);
    buf_release(&b);
}

static void idx_words(void)
{
    struct shard_part p = {"jpg", "a b.jpg", 512, 3};
    struct shard_idx x = {0};

    is_int(shard_idx_add(&x, &p, 1), -1, "a blank in a path");
    is_int(err_code(), ERR_DATA, "%s", err_text());
    shard_idx_release(&x);
}

int main(void)
{
    dir = tap_dir();
    snprintf(manifest, sizeof(manifest), "%s/train.json", dir);
    snprintf(index_path, sizeof(index_path), "%s/train.index.safetensors", dir);
    snprintf(shard0, sizeof(shard0), "%s/train-000000.tar", dir);
    write_split();
    read_split();
    damaged_manifests();
    damaged_indexes();
    reading();
    checked_once();
    read_ahead(0, 8, 1 << 20);
    read_ahead(1, 1, 1);
    read_ahead(4, 2, 30);
    read_ahead(4, 100, 1 << 20);
    damaged_shard();
    idx_words();
    return done_testing();
}
