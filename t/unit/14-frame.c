/* Frames: headers and streams. */
#include "lib/tap.h"
#include "lib/tapdir.h"

#include "io/frame.h"
#include "util/fdio.h"
#include "util/json.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *dir;

/* ---- headers */

static int parses(const char *text, enum frame_kind kind)
{
    struct frame f = FRAME_INIT;
    int r;

    err_clear();
    r = frame_parse(&f, text, strlen(text), kind);
    frame_release(&f);
    return r;
}

static void refused(const char *text, const char *why, const char *name)
{
    int r = parses(text, FRAME_FILE);

    ok(r == -1 && err_code() == ERR_DATA, "refused: %s", name);
    has_str(err_text(), why, "the reason");
}

#define T(name, dtype, shape, offsets)                                         \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape                   \
    ",\"data_offsets\":" offsets "}"

static void test_accepted(void)
{
    static const char *const good[] = {
        "{}",
        "{}        ",
        "{\"__metadata__\":{}}",
        "{\"__metadata__\":{\"a\":\"b\",\"\":\"\"}}",
        "{" T("a", "F32", "[]", "[0,4]") "}",
        "{" T("a", "F32", "[2,3]", "[0,24]") "}",
        "{" T("b", "F32", "[1]", "[4,8]") "," T("a", "F32", "[1]", "[0,4]") "}",
        "{" T("a", "F32", "[0]", "[0,0]") "," T(
            "b", "U8", "[3]", "[0,3]") "," T("c", "I64", "[5,0]", "[3,3]") "}",
        "{" T("\\u00e9\\\"", "BOOL", "[1,1,1,1,1,1,1,1]", "[0,1]") "}",
        "{ " T("a", "U8", "[ 1 ]", "[0 , 1]") "\n}\t\r\n ",
        "{" T("a", "U8", "[9007199254740992]", "[0,9007199254740992]") "}",
        "{\"a\":{\"data_offsets\":[0,2],\"shape\":[1],\"dtype\":\"BF16\"}}",
    };
    size_t i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        is_int(parses(good[i], FRAME_FILE), 0, "accepted: header %zu", i);
}

static void test_syntax(void)
{
    refused("", "begin", "nothing");
    refused("{", "header", "a lone brace");
    refused(" {}", "begin", "a space in front");
    refused("[]", "begin", "a list");
    refused("{}x", "header", "text behind");
    refused("{}{}", "header", "two objects");
    refused("{" T("a", "U8", "[1]", "[0,1]") ",}", "header", "a last comma");
    refused("{\"a\":1}", "not an object", "a number for a tensor");
    refused("{\"a\":[]}", "not an object", "a list for a tensor");
    refused("{\"__metadata__\":[]}", "not an object", "metadata list");
    refused("{\"__metadata__\":{\"a\":1}}", "not a string", "metadata number");
    refused("{\"__metadata__\":{\"a\":null}}", "not a string", "metadata null");
    refused("{\"__metadata__\":{\"a\":\"\xff\"}}", "header", "bad UTF-8");
    refused("{" T("\xc3", "U8", "[1]", "[0,1]") "}", "header",
            "half of a UTF-8 sequence");
    refused("{" T("\\ud800", "U8", "[1]", "[0,1]") "}", "header",
            "a lone surrogate");
    refused("{" T("a\\u0000b", "U8", "[1]", "[0,1]") "}", "header",
            "a NUL in a name");
    refused(
        "{" T("a", "U8", "[1]", "[0,1]") "," T("a", "U8", "[1]", "[1,2]") "}",
        "duplicate", "a name twice");
    refused("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", "duplicate",
            "a metadata key twice");
    refused("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],"
            "\"data_offsets\":[0,1]}}",
            "duplicate", "dtype twice");
    refused("{\"__metadata__\":{},\"__metadata__\":{}}", "duplicate",
            "metadata twice");
}

static void test_members(void)
{
    refused("{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", "dtype is miss",
            "no dtype");
    refused("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}",
            "shape is miss", "no shape");
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", "data_offsets is miss",
            "no data_offsets");
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],"
            "\"strides\":[1]}}",
            "unknown member", "a member too many");
    refused("{\"a\":{\"dtype\":8,\"shape\":[1],\"data_offsets\":[0,1]}}",
            "not a string", "dtype as a number");
    refused("{" T("a", "F33", "[1]", "[0,4]") "}", "unknown dtype",
            "unknown dtype");
    refused("{" T("a", "F8_E4M3", "[4]", "[0,4]") "}", "not supported",
            "dtype of 8-bit floats");
    refused("{" T("a", "C64", "[1]", "[0,8]") "}", "not supported",
            "complex dtype");
    refused("{" T("a", "F4", "[3]", "[0,1]") "}", "not supported",
            "odd sub-byte");
    refused("{" T("a", "U8", "1", "[0,1]") "}", "shape", "shape as a number");
    refused("{" T("a", "U8", "[\"1\"]", "[0,1]") "}", "not a number",
            "a string as dimension");
    refused("{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}",
            "9 dimensions", "rank 9");
}

static void test_numbers(void)
{
    refused("{" T("a", "U8", "[1.0]", "[0,1]") "}", "fraction", "1.0");
    refused("{" T("a", "U8", "[1e0]", "[0,1]") "}", "exponent", "1e0");
    refused("{" T("a", "U8", "[1]", "[0,1E0]") "}", "exponent",
            "1E0 as offset");
    refused("{" T("a", "U8", "[-1]", "[0,1]") "}", "negative", "-1");
    refused("{" T("a", "U8", "[1]", "[-1,0]") "}", "negative", "-1 as offset");
    refused("{" T("a", "U8", "[9007199254740993]", "[0,1]") "}", "2^53",
            "2^53 + 1");
    refused("{" T("a", "U8", "[18446744073709551617]", "[0,1]") "}", "header",
            "2^64 + 1");
    refused("{" T("a", "U8", "[01]", "[0,1]") "}", "header", "leading zero");
    refused("{" T("a", "U8", "[4294967296,4294967296]", "[0,0]") "}",
            "overflows", "2^64 elements");
    refused("{" T("a", "F64", "[4503599627370496,512]", "[0,8]") "}",
            "overflows", "2^61 elements of 8 bytes");
    refused("{" T("a", "F64", "[2305843009213693952]", "[0,0]") "}", "2^53",
            "2^61 in one dimension");
    refused("{" T("a", "U8", "[true]", "[0,1]") "}", "not a number", "true");
}

static void test_offsets(void)
{
    refused("{" T("a", "U8", "[1]", "[1,2]") "}", "a hole", "not from 0 on");
    refused(
        "{" T("a", "U8", "[1]", "[0,1]") "," T("b", "U8", "[1]", "[2,3]") "}",
        "a hole", "a hole");
    refused(
        "{" T("a", "U8", "[2]", "[0,2]") "," T("b", "U8", "[2]", "[1,3]") "}",
        "an overlap", "an overlap");
    refused(
        "{" T("a", "U8", "[2]", "[0,2]") "," T("b", "U8", "[2]", "[0,2]") "}",
        "an overlap", "the same data twice");
    refused("{" T("a", "U8", "[2]", "[2,0]") "}", "before they begin",
            "reversed");
    refused("{" T("a", "F32", "[2]", "[0,4]") "}", "span", "too short");
    refused("{" T("a", "F32", "[0]", "[0,4]") "}", "span", "too long");
    refused("{" T("a", "U8", "[1]", "[0]") "}", "two numbers", "one offset");
    refused("{" T("a", "U8", "[1]", "[0,1,2]") "}", "two numbers",
            "three offsets");
    refused("{" T("a", "U8", "[1]", "{}") "}", "two numbers",
            "offsets as an object");
    refused("{" T("b", "U8", "[1]", "[1,2]") "," T(
                "z", "U8", "[0]", "[5,5]") "," T("a", "U8", "[1]", "[0,1]") "}",
            "a hole", "an empty tensor behind the end");
}

/* Deep nesting, long names, many pairs: limits, not crashes. */
static void test_limits(void)
{
    struct buf b = BUF_INIT;
    int i;

    buf_addstr(&b, "{\"a\":");
    buf_addfill(&b, '[', 100000);
    refused(b.data, "header", "100000 open brackets");
    buf_reset(&b);
    buf_addstr(&b, "{\"");
    buf_addfill(&b, 'n', 129);
    buf_addstr(&b, "\":{\"dtype\":\"U8\",\"shape\":[],"
                   "\"data_offsets\":[0,1]}}");
    is_int(parses(b.data, FRAME_STREAM), -1, "name of 129 bytes in a stream");
    is_int(parses(b.data, FRAME_FILE), 0, "but in a file");
    buf_reset(&b);
    buf_addstr(&b, "{\"");
    buf_addfill(&b, 'n', 4097);
    buf_addstr(&b, "\":{\"dtype\":\"U8\",\"shape\":[],"
                   "\"data_offsets\":[0,1]}}");
    refused(b.data, "4096", "name of 4097 bytes");
    buf_reset(&b);
    buf_addstr(&b, "{\"__metadata__\":{");
    for (i = 0; i < 257; i++)
        buf_addf(&b, "%s\"k%d\":\"\"", i ? "," : "", i);
    buf_addstr(&b, "}}");
    refused(b.data, "256", "257 pairs");
    buf_reset(&b);
    buf_addstr(&b, "{\"__metadata__\":{\"k\":\"");
    buf_addfill(&b, 'v', 65537);
    buf_addstr(&b, "\"}}");
    is_int(parses(b.data, FRAME_STREAM), -1, "65537 bytes in a stream");
    is_int(parses(b.data, FRAME_FILE), 0, "but in a file");
    buf_reset(&b);
    buf_addstr(&b, "{}");
    buf_addfill(&b, ' ', 1 << 20);
    is_int(parses(b.data, FRAME_STREAM), -1, "header over 1 MiB in a stream");
    is_int(parses(b.data, FRAME_FILE), 0, "but in a file");
    buf_reset(&b);
    buf_addch(&b, '{');
    for (i = 0; i < 4097; i++)
        buf_addf(&b,
                 "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[1],"
                 "\"data_offsets\":[%d,%d]}",
                 i ? "," : "", i, i, i + 1);
    buf_addch(&b, '}');
    is_int(parses(b.data, FRAME_STREAM), -1, "4097 tensors in a stream");
    is_int(parses(b.data, FRAME_FILE), 0, "but in a file");
    buf_release(&b);
}

/* ---- what is written */

static float f_data[6] = {1, 2, 3, 4, 5, 6};
static uint8_t u_data[3] = {7, 8, 9};
static int64_t l_data[2] = {-1, INT64_MAX};

static void three_items(struct frame_item it[3])
{
    it[0] = (struct frame_item){"u", TENSOR1(DT_U8, u_data, 3)};
    it[1] = (struct frame_item){"f", TENSOR2(DT_F32, f_data, 2, 3)};
    it[2] = (struct frame_item){"l", TENSOR1(DT_I64, l_data, 2)};
}

static void test_header(void)
{
    struct frame_pair meta[] = {{"z", "tab\tquote\""}, {"a", "\xc3\xa9\x01"}};
    struct frame_item it[3], twice[2];
    struct frame f = FRAME_INIT;
    struct buf b = BUF_INIT;
    size_t n, cut, bad = 0;
    int i = -1;

    three_items(it);
    frame_sort(it, 3);
    is_int(frame_header(&b, meta, 2, it, 3, 64), 0, "frame_header");
    is_int((long long)(8 + b.len) % 64, 0, "padded to 64");
    n = b.len;
    while (b.data[n - 1] == ' ')
        n--;
    is_str(b.data + n + strspn(b.data + n, " "), "", "with spaces");
    b.data[n] = 0;
    is_str(b.data,
           "{\"__metadata__\":{\"a\":\"\xc3\xa9\\u0001\","
           "\"z\":\"tab\\tquote\\\"\"}," T("l", "I64", "[2]", "[0,16]") "," T(
               "f", "F32", "[2,3]", "[16,40]") "," T("u", "U8", "[3]",
                                                     "[40,43]") "}",
           "the text: metadata in order, falling element size");
    is_int(frame_parse(&f, b.data, n, FRAME_STREAM), 0, "it parses");
    is_int((long long)f.header_bytes, (long long)n + 8, "header_bytes");
    is_int((long long)f.data_bytes, 43, "data_bytes");
    is_str(frame_meta(&f, "z"), "tab\tquote\"", "metadata");
    is_str(frame_meta(&f, "x"), NULL, "no such key");
    is_int(frame_find(&f, "u"), 2, "find");
    is_int(frame_find(&f, "x"), -1, "no such tensor");
    is_int(frame_want(&f, "f", DT_F32, 2, &i), 0, "want");
    is_int(i, 1, "its index");
    is_int(frame_want(&f, "f", DT_F32, -1, &i), 0, "want of any rank");
    is_int(frame_want(&f, "f", DT_F32, 1, &i), -1, "want of another rank");
    is_str(err_text(),
           "tensor \"f\": expected F32 of 1 dimensions, got "
           "F32 [2,3]",
           "the reason");
    is_int(frame_want(&f, "f", DT_F16, 2, &i), -1, "want of another dtype");
    is_int(frame_want(&f, "x", DT_F16, 2, &i), -1, "want of nothing");
    for (cut = 0; cut < n; cut++)
        bad += frame_parse(&f, b.data, cut, FRAME_STREAM) != -1 ||
               f.memory != NULL;
    is_int((long long)bad, 0, "every prefix of it is refused");

    buf_reset(&b);
    twice[0] = twice[1] = it[0];
    is_int(frame_header(&b, NULL, 0, twice, 2, 64), -1, "a name twice");
    is_int((long long)b.len, 0, "nothing is added");
    twice[0].name = "__metadata__";
    is_int(frame_header(&b, NULL, 0, twice, 1, 64), -1, "a reserved name");
    twice[0].name = "\xed\xa0\x80";
    is_int(frame_header(&b, NULL, 0, twice, 1, 64), -1, "a bad name");
    meta[0].key = "a";
    is_int(frame_header(&b, meta, 2, it, 3, 64), -1, "a key twice");
    is_int(frame_header(&b, NULL, 0, NULL, 0, 4096), 0, "nothing");
    is_int((long long)b.len, 4088, "padded to 4096");
    frame_release(&f);
    buf_release(&b);
}

static void test_numbers_of_meta(void)
{
    static const char text[] =
        "{\"__metadata__\":{\"a\":\"12\",\"b\":\"-9223372036854775808\","
        "\"c\":\"9223372036854775808\",\"d\":\"\",\"e\":\" 1\",\"f\":\"1x\","
        "\"g\":\"-\",\"h\":\"+1\"}}";
    struct frame f = FRAME_INIT;
    char key[2] = "c";
    int64_t v = 0;
    int bad = 0;

    is_int(frame_parse(&f, text, strlen(text), FRAME_FILE), 0, "parse");
    ok(frame_meta_int(&f, "a", &v) == 0 && v == 12, "a number");
    ok(frame_meta_int(&f, "b", &v) == 0 && v == INT64_MIN, "the least");
    for (; key[0] <= 'i'; key[0]++)
        bad += frame_meta_int(&f, key, &v) != -1 || err_code() != ERR_DATA;
    is_int(bad, 0, "others are refused");
    frame_release(&f);
}

/* ---- streams */

/* hello, a batch of three tensors, an empty batch, end; in a file in memory. */
static int make_stream(void)
{
    int fd = memfd_create("stream", MFD_CLOEXEC);
    struct frame_pair step[] = {{"step", "17"}};
    struct frame_writer w;
    struct frame_item it[3];

    three_items(it);
    frame_writer_init(&w, fd, "out");
    if (fd < 0 || frame_write(&w, "hello", NULL, 0, NULL, 0, 0) < 0 ||
        frame_write(&w, "batch", step, 1, it, 3, 1000) < 0)
        die();
    w.rows = 2;
    if (frame_write(&w, "batch", NULL, 0, NULL, 0, 0) < 0 ||
        frame_write_end(&w) < 0)
        die();
    frame_writer_release(&w);
    return fd;
}

static void test_stream(void)
{
    struct frame f = FRAME_INIT;
    struct frame_stream s;
    float x[6];
    uint8_t u[3], all[43];
    int64_t l[2];
    int fd = make_stream();

    lseek(fd, 0, SEEK_SET);
    frame_stream_init(&s, fd, "stdin");
    is_int(frame_next(&s, &f), 1, "first frame");
    is_str(frame_type(&f), "hello", "is the hello");
    is_int(frame_next(&s, &f), 1, "second frame");
    is_str(frame_meta(&f, "step"), "17", "with its metadata");
    is_int(frame_data(&s, &f, frame_find(&f, "l"), l), 0, "first tensor");
    ok(memcmp(l, l_data, sizeof(l)) == 0, "its data");
    is_int(frame_data(&s, &f, frame_find(&f, "u"), u), 0,
           "third tensor, over the second");
    ok(memcmp(u, u_data, sizeof(u)) == 0, "its data");
    is_int(frame_data(&s, &f, frame_find(&f, "f"), x), -1,
           "no way back to the second");
    is_int(frame_next(&s, &f), 1, "third frame");
    is_int(f.n_tensors, 0, "is empty");
    s.rows = 2;
    is_int(frame_next(&s, &f), 0, "end");
    is_str(frame_meta(&f, "frames"), "3", "counts frames before it");
    is_str(frame_meta(&f, "rows"), "2", "and rows");
    is_int(frame_next(&s, &f), 0, "end again");

    lseek(fd, 0, SEEK_SET);
    frame_stream_init(&s, fd, "stdin");
    ok(frame_next(&s, &f) == 1 && frame_next(&s, &f) == 1, "again");
    is_int(frame_data_all(&s, &f, all), 0, "all data at once");
    ok(memcmp(all, l_data, 16) == 0 && memcmp(all + 16, f_data, 24) == 0 &&
           memcmp(all + 40, u_data, 3) == 0,
       "every byte of it");
    s.rows = 1;
    ok(frame_next(&s, &f) == 1 && frame_next(&s, &f) == -1, "a row too few");
    has_str(err_text(), ": end frame counts 2 rows, 1 were read", "is told");

    lseek(fd, 0, SEEK_SET);
    frame_stream_init(&s, fd, "stdin");
    s.max_frame = 42;
    is_int(frame_next(&s, &f), 1, "hello under a limit");
    is_int(frame_next(&s, &f), -1, "43 bytes above a limit of 42");
    is_int(err_code(), ERR_DATA, "are bad data");
    frame_release(&f);
    close(fd);
}

/* Read a whole stream, fetching the data of every other frame; the result. */
static int drain(int fd)
{
    struct frame f = FRAME_INIT;
    struct frame_stream s;
    char data[64];
    int r;

    err_clear();
    frame_stream_init(&s, fd, "stdin");
    s.rows = 2;
    while ((r = frame_next(&s, &f)) > 0) {
        if (s.seq == 2 && f.data_bytes <= sizeof(data) &&
            frame_data_all(&s, &f, data) < 0) {
            r = -1;
            break;
        }
    }
    frame_release(&f);
    return r;
}

static struct buf bytes_of(int fd)
{
    struct buf b = BUF_INIT;
    struct stat st;

    if (fstat(fd, &st) < 0 || fd_pread(fd, buf_reserve(&b, (size_t)st.st_size),
                                       (size_t)st.st_size, 0) < 0)
        die();
    b.len = (size_t)st.st_size;
    return b;
}

/* Through a pipe, which cannot seek. */
static int drain_bytes(const void *p, size_t n)
{
    int fd[2], r;

    if (pipe(fd) < 0 || fd_write(fd[1], p, n, clock_ms() + 1000) < 0)
        die();
    close(fd[1]);
    r = drain(fd[0]);
    close(fd[0]);
    return r;
}

static void test_prefixes(void)
{
    int fd = make_stream(), bad = 0;
    struct buf b = bytes_of(fd);
    size_t n;

    is_int(drain_bytes(b.data, b.len), 0, "a stream of %zu bytes", b.len);
    for (n = 0; n < b.len; n++) {
        if (drain_bytes(b.data, n) != -1 || err_code() != ERR_IO) {
            bad++;
            printf("# %zu bytes: %s\n", n, err_text());
        }
    }
    is_int(bad, 0, "every shorter one is an I/O error");
    drain_bytes(b.data, 0);
    has_str(err_text(), "stdin: frame 0 at byte 0: the input ended without",
            "nothing at all: the reason");
    buf_release(&b);
    close(fd);
}

/* Bytes changed at the first occurrence of a text, same length. */
static void test_change(const char *from, const char *to, int count,
                        const char *why)
{
    int fd = make_stream();
    struct buf b = bytes_of(fd);
    char *p = b.data;

    do {
        p = memmem(p + 1, b.len - (size_t)(p + 1 - b.data), from, strlen(from));
    } while (p && --count > 0);
    if (p)
        memcpy(p, to, strlen(to));
    ok(p && drain_bytes(b.data, b.len) == -1 && err_code() == ERR_DATA,
       "%s becomes %s: refused", from, to);
    has_str(err_text(), why, "the reason");
    buf_release(&b);
    close(fd);
}

static void test_changes(void)
{
    char junk[] = "GIF89a this is not a stream";
    uint64_t n = (1 << 20) + 1;

    test_change("\"seq\":\"1\"", "\"seq\":\"2\"", 1, "lost or repeated");
    test_change("\"seq\":\"2\"", "\"seq\":\"1\"", 1, "lost or repeated");
    test_change("\"seq\":\"1\"", "\"seq\":\"x\"", 1, "not a number");
    test_change("\"seq\":\"1\"", "\"sex\":\"1\"", 1, "missing");
    test_change("\"sft\":\"1\"", "\"sft\":\"2\"", 1, "\"sft\"");
    test_change("\"hello\"", "\"batch\"", 1, "not \"hello\"");
    test_change("\"batch\"", "\"hello\"", 1, "second");
    test_change("\"t\":", "\"u\":", 1, "type");
    test_change("\"frames\":\"3\"", "\"frames\":\"4\"", 1, "end frame counts");
    test_change("\"rows\":\"2\"", "\"rows\":\"3\"", 1, "counts 3 rows, 2 were");
    test_change("\"rows\":\"2\"", "\"rows\":\"x\"", 1, "not a number");
    is_int(drain_bytes(junk, sizeof(junk)), -1, "something else");
    is_int(err_code(), ERR_DATA, "is bad data");
    is_int(drain_bytes(&n, 8), -1, "a header over 1 MiB");
    is_int(err_code(), ERR_DATA, "is bad data before it is read");
}

static int error_stream(enum err_class c, const char *text, int hello)
{
    int fd = memfd_create("stream", MFD_CLOEXEC);
    struct frame_writer w;

    frame_writer_init(&w, fd, "out");
    if (hello && frame_write(&w, "hello", NULL, 0, NULL, 0, 0) < 0)
        die();
    err_give(c, text);
    is_int(frame_write_error(&w), 0, "error frame is written");
    is_int(err_code(), c ? c : ERR_INTERNAL, "the error stays");
    frame_writer_release(&w);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static void test_error_frames(void)
{
    static const char old[] = "{\"__metadata__\":{\"msg\":\"bad luck\","
                              "\"origin\":\"read\",\"seq\":\"0\","
                              "\"sft\":\"1\",\"t\":\"error\"}}";
    char big[6001];
    struct buf b = BUF_INIT;
    uint64_t n = strlen(old);
    int fd = error_stream(ERR_CONFIG, "size: no \xff such", 1);

    is_int(drain(fd), -1, "an error frame");
    is_int(err_code(), ERR_CONFIG, "has its class");
    is_str(err_text(), "peer 14-frame: size: no ? such", "and sentence");
    close(fd);
    memset(big, 'e', 6000);
    big[6000] = 0;
    fd = error_stream(ERR_NONE, big, 0);
    is_int(drain(fd), -1, "an error frame without a hello");
    is_int(err_code(), ERR_INTERNAL, "no class is internal");
    close(fd);
    buf_add(&b, &n, 8);
    buf_addstr(&b, old);
    is_int(drain_bytes(b.data, b.len), -1, "an error frame without class");
    is_int(err_code(), ERR_INTERNAL, "is internal");
    is_str(err_text(), "peer read: bad luck", "its sentence");
    buf_release(&b);
}

static void test_writer_failures(void)
{
    static uint8_t big[1 << 20];
    struct frame_item it = {"x", TENSOR1(DT_U8, big, 1 << 20)};
    int full = open("/dev/full", O_WRONLY), p[2];
    struct frame_stream s;
    struct frame f = FRAME_INIT;
    struct frame_writer w;

    frame_writer_init(&w, full, "stdout");
    is_int(frame_write(&w, "hello", NULL, 0, NULL, 0, 0), -1, "a full disk");
    is_int(err_code(), ERR_IO, "is an I/O error");
    is_str(err_text(),
           "stdout: frame 0 (hello): write: No space left on device",
           "with a reason");
    is_int(frame_write(&w, "batch", NULL, 0, NULL, 0, 0), -1,
           "a stream has to begin with hello");
    frame_writer_release(&w);
    close(full);
    if (pipe(p) < 0)
        die_with(ERR_SYSTEM, "pipe");
    frame_writer_init(&w, p[1], "stdout");
    is_int(frame_write(&w, "hello", NULL, 0, NULL, 0, 0), 0, "hello");
    is_int(frame_write(&w, "batch", NULL, 0, &it, 1, 50), -1, "nobody reads");
    is_int(err_code(), ERR_PEER, "until the deadline");
    it.name = "a b";
    is_int(frame_write(&w, "batch", NULL, 0, &it, 1, 50), -1, "a bad name");
    it.name = "x";
    it.t.data = NULL;
    is_int(frame_write(&w, "batch", NULL, 0, &it, 1, 50), -1, "no data");
    frame_writer_release(&w);
    close(p[0]);
    close(p[1]);
    if (pipe(p) < 0)
        die_with(ERR_SYSTEM, "pipe");
    frame_stream_init(&s, p[0], "stdin");
    s.deadline_ms = 30;
    is_int(frame_next(&s, &f), -1, "nobody writes");
    is_int(err_code(), ERR_PEER, "until the deadline");
    close(p[0]);
    close(p[1]);
}

int main(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    prog_set("14-frame");
    sigaction(SIGPIPE, &ignore, NULL);
    dir = tap_dir();
    test_accepted();
    test_syntax();
    test_members();
    test_numbers();
    test_offsets();
    test_limits();
    test_header();
    test_numbers_of_meta();
    test_stream();
    test_prefixes();
    test_changes();
    test_error_frames();
    test_writer_failures();
    return done_testing();
}
