/*
 * Pickles and the tensors in them, made by hand: each opcode, and what must be
 * refused without a crash, a loop or much memory. Protocol 2 unless said.
 */
#include "lib/tap.h"

#include "io/foreign.h"
#include "io/pickle.h"
#include "util/buf.h"

#include <string.h>

static const char *const globals[] = {"collections.OrderedDict", NULL};

#define TEXT(literal) literal, sizeof(literal) - 1

/* NULL: it was read; else why not. */
static const char *parse(struct pickle *p, const char *bytes, size_t n)
{
    size_t used = 0;

    if (pickle_parse(p, bytes, n, globals, &used) < 0)
        return err_text();
    ok(used == n, "to its end");
    return NULL;
}

static void numbers(void)
{
    static const struct {
        const char *bytes;
        size_t n;
        enum pickle_type type;
        int64_t want;
    } v[] = {
        {TEXT("\x80\2K\xff."), PICKLE_INT, 255},
        {TEXT("\x80\2M\xff\xff."), PICKLE_INT, 65535},
        {TEXT("\x80\2J\xfe\xff\xff\xff."), PICKLE_INT, -2},
        {TEXT("\x80\2\x8a\1\x80."), PICKLE_INT, -128},
        {TEXT("\x80\2\x8a\2\x80\0."), PICKLE_INT, 128},
        {TEXT("\x80\2\x8a\0."), PICKLE_INT, 0},
        {TEXT("\x80\2\x8b\3\0\0\0\0\0\1."), PICKLE_INT, 65536},
        {TEXT("\x80\2\x8a\x8\xff\xff\xff\xff\xff\xff\xff\x7f."), PICKLE_INT,
         INT64_MAX},
        {TEXT("\x80\2\x88."), PICKLE_BOOL, 1},
        {TEXT("\x80\2\x89."), PICKLE_BOOL, 0},
    };
    struct pickle p;

    for (size_t i = 0; i < sizeof(v) / sizeof(*v); i++) {
        const char *why = parse(&p, v[i].bytes, v[i].n);

        ok(!why && p.root->type == v[i].type && p.root->u.i == v[i].want,
           "number %zu: %s", i, why ? why : "read");
        pickle_release(&p);
    }
    ok(!parse(&p, TEXT("\x80\2G\xbf\xf8\0\0\0\0\0\0.")), "a real number");
    is_double(p.root->u.d, -1.5, 0, "its value");
    pickle_release(&p);
    ok(!parse(&p, TEXT("\x80\2\x8a\xa"
                       "0123456789.")),
       "80 bits");
    is_int(p.root->type, PICKLE_LONG, "stay bytes");
    pickle_release(&p);
}

static void structure(void)
{
    struct pickle p;

    ok(!parse(&p, TEXT("\x80\4\x95\x12\0\0\0\0\0\0\0}\x94(\x8c\1a\x94K\1"
                       "\x8c\1b\x94]\x94(K\2K\3eu.")),
       "a dict of protocol 4");
    is_int((long long)p.root->n, 4, "keys and values");
    ok(pickle_is(p.root->u.item[0], "a") && pickle_is(p.root->u.item[2], "b"),
       "its keys");
    is_int((long long)p.root->u.item[3]->n, 2, "a list in it");
    pickle_release(&p);
    ok(!parse(&p, TEXT("\x80\2ccollections\nOrderedDict\n)R(X\1\0\0\0aK\1uX"
                       "\1\0\0\0bK\2s}b.")),
       "an OrderedDict");
    ok(pickle_is(p.root, "collections.OrderedDict") &&
           p.root->entries->n == 4 && p.root->state,
       "its entries, its state");
    pickle_release(&p);
    ok(!parse(&p, TEXT("\x80\2]q\0(K\1\x85h\0e.")), "a list in itself");
    ok(p.root->u.item[1] == p.root && p.root->u.item[0]->type == PICKLE_TUPLE,
       "is shared");
    pickle_release(&p);
}

static void refused(void)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *why;
    } v[] = {
        {TEXT(""), "no pickle of protocol 2"},
        {TEXT("(lp0\n."), "no pickle of protocol 2"},
        {TEXT("\x80\1."), "protocol other than 2 to 5"},
        {TEXT("\x80\2"), "cut short"},
        {TEXT("\x80\2."), "other than one value"},
        {TEXT("\x80\2K\1K\2."), "other than one value"},
        {TEXT("\x80\2(."), "other than one value"},
        {TEXT("\x80\2(K\1."), "other than one value"},
        {TEXT("\x80\2X\xff\xff\xff\x7f"
              "abc."),
         "cut short"},
        {TEXT("\x80\4\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), "cut short"},
        {TEXT("\x80\4\x95\xff\0\0\0\0\0\0\0."), "cut short"},
        {TEXT("\x80\2cos\nsystem\n."), "asks for os.system"},
        {TEXT("\x80\4\x8c\2os\x8c\6system\x93."), "asks for os.system"},
        {TEXT("\x80\4K\1K\2\x93."), "whose name is no text"},
        {TEXT("\x80\2cos."), "cut short"},
        {TEXT("\x80\2K\1)R."), "call of what is no function"},
        {TEXT("\x80\2ccollections\nOrderedDict\n]R."), "no function"},
        {TEXT("\x80\2K\1}b."), "state of what has none"},
        {TEXT("\x80\2e."), "no mark"},
        {TEXT("\x80\2(K\1e."), "what is no list"},
        {TEXT("\x80\2K\1(K\1e."), "what is no list"},
        {TEXT("\x80\2](K\1K\2u."), "what is no dict"},
        {TEXT("\x80\2}(K\1u."), "key without a value"},
        {TEXT("\x80\2\x85."), "stack is empty"},
        {TEXT("\x80\2(\x85."), "stack is empty"},
        {TEXT("\x80\2"
              "0."),
         "stack is empty"},
        {TEXT("\x80\2h\0."), "not remembered"},
        {TEXT("\x80\2Nr\xff\xff\xff\xff."), "too many values are remembered"},
        {TEXT("\x80\2i"), "opcode 0x69 is not read"},
        {TEXT("\x80\2Pid\n."), "opcode 0x50 is not read"},
        {TEXT("\x80\2R."), "stack is empty"},
        {TEXT("\x80\2Q."), "stack is empty"},
    };
    struct pickle p;

    for (size_t i = 0; i < sizeof(v) / sizeof(*v); i++) {
        const char *why = parse(&p, v[i].bytes, v[i].n);

        ok(why && strstr(why, v[i].why) && err_code() == ERR_DATA,
           "refused: %s", why ? why : "not");
        if (!why)
            pickle_release(&p);
    }
}

/* An array F32 [1] of numpy under whatever stands around it. */
#define ARRAY(shape, bytes)                                                    \
    "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R"  \
    "(K\1" shape "cnumpy\ndtype\nU\2f4K\0K\1\x87R(K\3U\1<NNNJ\xff\xff\xff\xff" \
    "J\xff\xff\xff\xffK\0tb\x89" bytes "tb"

static void told(const char *bytes, size_t n, const char *why)
{
    struct foreign f;

    if (foreign_parse(&f, bytes, n) < 0) {
        ok(strstr(err_text(), why) && err_code() == ERR_DATA, "%s", err_text());
    } else {
        ok(false, "read, not: %s", why);
        foreign_close(&f);
    }
}

static void arrays(void)
{
    static const char good[] =
        "\x80\2}(U\1a" ARRAY("K\1\x85", "U\4\0\0\x80?") "u.";
    struct foreign f;
    float x = 0;

    ok(foreign_parse(&f, TEXT(good)) == 0 && f.n == 1, "an array");
    is_str(f.tensor[0].name, "a", "its name");
    ok(foreign_read(&f, 0, &x) == 0 && x == 1, "its element");
    foreign_close(&f);
    told(TEXT("\x80\2}(U\1a" ARRAY("K\2\x85", "U\4\0\0\x80?") "u."),
         "an array of 8 bytes has 4");
    told(TEXT("\x80\2}(U\1a" ARRAY("J\xff\xff\xff\xff\x85", "U\0") "u."),
         "other than whole numbers");
    told(TEXT("\x80\2}(U\1a" ARRAY("(J\xff\xff\xff\x7fJ\xff\xff\xff\x7f"
                                   "J\xff\xff\xff\x7ft",
                                   "U\0") "u."),
         "tensor \"a\"");
    told(TEXT("\x80\2}(U\1a" ARRAY("K\1\x85", "U\4\0\0\x80?") "U\1a" ARRAY(
             "K\1\x85", "U\4\0\0\x80?") "u."),
         "there twice");
    told(TEXT("\x80\2}(U\1\n" ARRAY("K\1\x85", "U\4\0\0\x80?") "u."),
         "no printable text");
    told(TEXT("\x80\2}(U\1\xff" ARRAY("K\1\x85", "U\4\0\0\x80?") "u."),
         "no printable text");
    told(TEXT("\x80\2}(K\1\x85" ARRAY("K\1\x85", "U\4\0\0\x80?") "u."),
         "a key that is no text or number");
    told(TEXT("\x80\2}."), "no tensors");
    told(TEXT("\x80\2}.x"), "1 bytes after the pickle");
    told(TEXT("\x80\2N(U\7storagectorch\nFloatStorage\nU\1"
              "0U\3cpuK\1tQ."),
         "other than one value");
    told(TEXT("\x80\2(U\7storagectorch\nFloatStorage\nU\1"
              "0U\3cpuK\1tQ."),
         "no file of torch.save");
}

/* A stream of torch.save with one tensor of a storage of four floats. */
static void stream(struct buf *b, int offset, const char *shape,
                   const char *strides, int n)
{
    static const float x[4] = {1, 2, 3, 4};
    static const char tail[8] = {4};

    buf_reset(b);
    buf_add(b, TEXT("\x80\2\x8a\xal\xfc\x9c\x46\xf9 j\xa8P\x19."
                    "\x80\2M\xe9\3.\x80\2}."
                    "\x80\2ctorch._utils\n_rebuild_tensor_v2\n"
                    "((U\7storagectorch\nFloatStorage\nU\1"
                    "0U\3cpuK"));
    buf_addch(b, (char)n);
    buf_add(b, TEXT("NtQK"));
    buf_addch(b, (char)offset);
    buf_addstr(b, shape);
    buf_addstr(b, strides);
    buf_add(b, TEXT("\x89}tR.\x80\2]U\1"
                    "0a."));
    buf_add(b, tail, sizeof(tail));
    buf_add(b, x, sizeof(x));
}

static void views(void)
{
    struct buf b = BUF_INIT;
    struct foreign f;
    float got[16];

    stream(&b, 1, "K\3\x85", "K\1\x85", 4);
    ok(foreign_parse(&f, b.data, b.len) == 0 && foreign_read(&f, 0, got) == 0 &&
           got[0] == 2 && got[2] == 4,
       "a part");
    is_str(f.tensor[0].name, "tensor", "has a name, though it was given none");
    foreign_close(&f);
    stream(&b, 2, "K\3\x85", "K\1\x85", 4);
    told(b.data, b.len, "reaches element 4 of a storage of 4");
    stream(&b, 0, "K\2K\2\x86", "K\3K\1\x86", 4);
    told(b.data, b.len, "reaches element 4");
    stream(&b, 0, "K\2K\2\x86", "K\1\x85", 4);
    told(b.data, b.len, "2 dimensions and 1 strides");
    stream(&b, 0, "K\1\x85", "J\xff\xff\xff\xff\x85", 4);
    told(b.data, b.len, "other than whole numbers");
    stream(&b, 0, "J\xff\xff\xff\x7f\x85", "J\1\1\1\1\x85", 4);
    told(b.data, b.len, "reaches element");
    stream(&b, 0, "J\1\1\1\x7f\x85", "K\x01\x85", 5);
    told(b.data, b.len, "reaches element");
    stream(&b, 0, "K\4\x85", "K\1\x85", 5);
    told(b.data, b.len, "no 5 elements");
    stream(&b, 0, "K\4\x85", "K\1\x85", 4);
    told(b.data, b.len - 1, "cut short");
    buf_release(&b);
}

/* Few bytes that stand for much. */
static void bombs(void)
{
    struct buf b = BUF_INIT;

    /* a list in itself */
    told(TEXT("\x80\2]q\0h\0a."), "nested over 64 deep");
    /* each list holds the one before twice: 2^60 values */
    buf_add(&b, TEXT("\x80\2]"));
    for (int i = 0; i < 60; i++) { /* x -> [x, x] */
        buf_add(&b, "q", 1);
        buf_addch(&b, (char)i);
        buf_add(&b, TEXT("0](h"));
        buf_addch(&b, (char)i);
        buf_add(&b, TEXT("h"));
        buf_addch(&b, (char)i);
        buf_add(&b, TEXT("e"));
    }
    buf_add(&b, TEXT("."));
    told(b.data, b.len, "over 8000000 values");
    /* 100 lists, one in the other */
    buf_reset(&b);
    buf_add(&b, TEXT("\x80\2"));
    buf_addfill(&b, ']', 100);
    buf_addfill(&b, 'a', 99);
    buf_add(&b, TEXT("."));
    told(b.data, b.len, "nested over 64 deep");
    buf_release(&b);
}

int main(void)
{
    numbers();
    structure();
    refused();
    arrays();
    views();
    bombs();
    return done_testing();
}
