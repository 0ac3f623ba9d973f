/* Tar: the profile written, what is read, what is refused. */
#include "io/tar.h"
#include "lib/tap.h"
#include "util/fdio.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static struct buf archive;

static void member(const char *path, const char *data, size_t n)
{
    unsigned char block[TAR_BLOCK];

    if (tar_header(block, path, n) < 0) {
        ok(0, "header of %s: %s", path, err_text());
        return;
    }
    buf_add(&archive, block, sizeof(block));
    buf_add(&archive, data, n);
    buf_addfill(&archive, 0, tar_padding(n));
}

/* The archive (its first n bytes) as a file or through a pipe. */
static int open_archive(size_t n, int through_pipe)
{
    int fd, ends[2];

    if (through_pipe) {
        if (pipe(ends) < 0)
            return -1;
        fcntl(ends[1], F_SETPIPE_SZ, 1 << 18);
        if (fd_write(ends[1], archive.data, n, FD_FOREVER) < 0)
            return -1;
        close(ends[1]);
        return ends[0];
    }
    fd = memfd_create("tar", 0);
    if (fd < 0 || fd_write(fd, archive.data, n, FD_FOREVER) < 0)
        return -1;
    lseek(fd, 0, SEEK_SET);
    return fd;
}

/* Members with their data up to the end: their number or -1. */
static int count(size_t n, int through_pipe, int skip_data)
{
    int fd = open_archive(n, through_pipe), rc, members = 0;
    struct buf b = BUF_INIT;
    struct tar_reader r;

    tar_reader_init(&r, fd, "x.tar");
    while ((rc = tar_next(&r)) > 0) {
        buf_reset(&b);
        if (!skip_data && tar_data(&r, &b) < 0) {
            rc = -1;
            break;
        }
        members++;
    }
    tar_reader_release(&r);
    buf_release(&b);
    close(fd);
    return rc < 0 ? -1 : members;
}

static void header_bytes(void)
{
    unsigned char b[TAR_BLOCK];
    char path[300];

    is_int(tar_header(b, "a/b.jpg", 1000), 0, "a header");
    is_str((char *)b, "a/b.jpg", "name");
    ok(!memcmp(b + 100,
               "0000444\0"
               "0000000\0"
               "0000000\0",
               24),
       "mode, owner, group");
    ok(!memcmp(b + 124,
               "00000001750\0"
               "00000000000\0",
               24),
       "size, time");
    ok(b[154] == 0 && b[155] == ' ' && b[156] == '0', "sum's end, type");
    ok(!memcmp(b + 257,
               "ustar\0"
               "00",
               8),
       "magic");
    ok(!memcmp(b + 329,
               "0000000\0"
               "0000000\0",
               16),
       "device numbers");

    memset(path, 'x', sizeof(path));
    path[120] = '/';
    path[200] = 0;
    is_int(tar_header(b, path, 0), 0, "200 bytes split at the slash");
    ok(b[344] == 0 && b[345] == 'x' && strlen((char *)b + 345) == 120,
       "prefix has 120");
    path[120] = 'x';
    is_int(tar_header(b, path, 0), 1, "200 bytes without a slash: pax");
    path[100] = 0;
    is_int(tar_header(b, path, 0), 0, "100 bytes fit without a NUL");
    ok(b[99] == 'x' && b[100] == '0', "up to the last byte");
    is_int(tar_header(b, "/a.jpg", 0), -1, "absolute path");
    is_int(tar_header(b, "a/../b", 0), -1, "path that leaves");
    is_int(tar_header(b, "a//b", 0), -1, "empty component");
    is_int(tar_header(b, "a", 1ULL << 33), -1, "8 GiB");
    is_int(tar_padding(0), 0, "padding of 0");
    is_int(tar_padding(513), 511, "padding of 513");
}

static void round_trip(void)
{
    buf_reset(&archive);
    member("k/a.cls", "7", 1);
    member("k/a.jpg", "12345", 5);
    member("k/b.x.y", "", 0);
    tar_end(&archive, archive.len);
    is_int((long long)archive.len, TAR_RECORD, "one record");
    is_int(count(archive.len, 0, 0), 3, "three members");
    is_int(count(archive.len, 0, 1), 3, "skipping by seeking");
    is_int(count(archive.len, 1, 0), 3, "from a pipe");
    is_int(count(archive.len, 1, 1), 3, "skipping in a pipe");
}

/* Cut at every byte: an error, or an end that misses its blocks. */
static void truncation(void)
{
    size_t n, last = archive.len;
    int wrong = 0, r;

    while (last && !archive.data[last - 1])
        last--;
    for (n = 0; n < last; n++) {
        r = count(n, (int)(n & 1), (int)(n & 2));
        /* Whole members, or the padding of the last: nothing of them lost. */
        if (n == 0 || n == 1024 || n == 2048)
            wrong += r != (int)(n / 1024);
        else
            wrong += r != -1 || err_code() != ERR_DATA;
    }
    is_int(wrong, 0, "cut at each of %zu bytes", last);
    count(700, 0, 0);
    has_str(err_text(), "x.tar: offset 513: k/a.cls: truncated",
            "the message names file, offset and member");
    count(80, 0, 0);
    has_str(err_text(), "expected 512 bytes, got 80", "and the bytes missed");
}

static void refuse(size_t at, const char *bytes, size_t n, const char *what)
{
    char sum_text[16];
    int sum = 0, i;
    struct buf keep = BUF_INIT;

    buf_add(&keep, archive.data, archive.len);
    memcpy(archive.data + at, bytes, n);
    memset(archive.data + 148, ' ', 8);
    for (i = 0; i < TAR_BLOCK; i++)
        sum += (unsigned char)archive.data[i];
    snprintf(sum_text, sizeof(sum_text), "%06o", (unsigned)sum);
    memcpy(archive.data + 148, sum_text, 7);
    is_int(count(archive.len, 0, 0), -1, "refused: %s", what);
    memcpy(archive.data, keep.data, keep.len);
    buf_release(&keep);
}

static void refusals(void)
{
    archive.data[3] ^= 1;
    is_int(count(archive.len, 0, 0), -1, "refused: a changed byte");
    has_str(err_text(), "checksum", "says why");
    archive.data[3] ^= 1;
    refuse(156, "1", 1, "hard link");
    refuse(156, "2", 1, "symbolic link");
    refuse(156, "3", 1, "device");
    refuse(156, "S", 1, "sparse file");
    refuse(124, "77777777777", 11, "size past the end");
    refuse(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12,
           "negative size");
    refuse(124, "\x80\0\0\0\0\0\x01\0\0\0\0\0", 12, "size of 2^40");
    refuse(124, "12x", 3, "size that is no number");
}

static void pax(void)
{
    struct buf records = BUF_INIT, b = BUF_INIT;
    struct tar_reader r;
    const char *v;
    int fd;

    tar_pax_record(&records, "IMGSHARD.v", "1");
    tar_pax_record(&records, "k", "");
    is_str(records.data, "16 IMGSHARD.v=1\n5 k=\n", "records");
    is_int(tar_pax_find(records.data, records.len, "IMGSHARD.v", &v), 1,
           "a value");
    is_int(*v, '1', "its byte");
    is_int(tar_pax_find(records.data, records.len, "none", &v), -1, "no value");
    buf_reset(&archive);
    tar_pax_global(&archive, &records);
    member("a.jpg", "x", 1);
    tar_end(&archive, archive.len);
    is_int(count(archive.len, 0, 0), 1, "a global header is passed over");
    fd = open_archive(archive.len, 1);
    tar_reader_init(&r, fd, "x.tar");
    r.globals = true;
    is_int(tar_next(&r), 1, "or handed out");
    is_int(r.kind, TAR_GLOBAL, "as what it is");
    is_int(tar_data(&r, &b), 0, "with data");
    is_str(b.data, records.data, "the records");
    is_int(tar_next(&r), 1, "then the member");
    is_str(r.path, "a.jpg", "its path");
    is_int(tar_next(&r), 0, "the end");
    ok(r.ended, "with its blocks");
    close(fd);
    tar_reader_release(&r);
    buf_release(&records);
    buf_release(&b);
}

static void split(const char *path, int key_len, const char *ext)
{
    const char *e = NULL;
    size_t n = 0;

    if (key_len < 0) {
        ok(!tar_split(path, &n, &e), "%s belongs to no sample", path);
        return;
    }
    ok(tar_split(path, &n, &e), "%s belongs to one", path);
    is_int((long long)n, key_len, "length of its key");
    is_str(e, ext, "its extension");
}

static void grouping(void)
{
    struct tar_samples t;
    struct tar_sample s = {0};
    int fd;

    split("a/b.x.jpg", 3, "x.jpg");
    split("a.b/c.jpg", 5, "jpg");
    split("a/.hidden", -1, NULL);
    split("README", -1, NULL);

    buf_reset(&archive);
    member("a/1.cls", "0", 1);
    member("a/1.JPG", "x", 1);
    member(".hidden", "-", 1);
    member("a/1.jpg", "y", 1); /* the same extension: another sample */
    member("a/2.jpg", "z", 1);
    tar_end(&archive, archive.len);
    fd = open_archive(archive.len, 0);
    tar_samples_init(&t, fd, "x.tar");
    is_int(tar_sample_next(&t, &s), 1, "first sample");
    is_str(s.key, "a/1", "its key");
    is_int(s.n, 2, "its members");
    is_int((long long)s.part[1].offset, 1536, "offset of the image");
    is_str(tar_sample_part(&s, "jpg")->data.data, "x", "data, by any case");
    is_int(tar_sample_next(&t, &s), 1, "second sample");
    is_str(s.key, "a/1", "the same key again");
    is_int(s.n, 1, "one member");
    is_int(tar_sample_next(&t, &s), 1, "third sample");
    is_str(s.key, "a/2", "its key");
    is_int(tar_sample_next(&t, &s), 0, "the end");
    tar_sample_release(&s);
    tar_samples_release(&t);
    close(fd);

    buf_reset(&archive);
    for (int i = 0; i < 17; i++) {
        char path[] = "k.a";

        path[2] = (char)('a' + i);
        member(path, "", 0);
    }
    fd = open_archive(archive.len, 0);
    tar_samples_init(&t, fd, "x.tar");
    is_int(tar_sample_next(&t, &s), -1, "17 members are too many");
    tar_sample_release(&s);
    tar_samples_release(&t);
    close(fd);
}

int main(void)
{
    header_bytes();
    round_trip();
    truncation();
    refusals();
    pax();
    grouping();
    buf_release(&archive);
    return done_testing();
}
