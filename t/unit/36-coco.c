/* COCO: large JSON texts, annotations, records of a file, groups by shape. */
#include "lib/tap.h"

#include "io/annot.h"
#include "io/coco.h"
#include "io/order.h"
#include "util/json.h"
#include "util/rng.h"

#include <stdlib.h>

/* ---- walking a text */

/* Keys and numbers of elements, as text; or the error. */
static char *walked(const char *text, const char *array)
{
    struct json_walk w = {.text = text, .n = strlen(text), .what = "T"};
    struct buf b = BUF_INIT;
    json_t *j;
    int r, e = 0;

    buf_addstr(&b, "");
    while ((r = json_walk_member(&w)) > 0) {
        buf_addf(&b, "%s ", w.key);
        if (strcmp(w.key, array) != 0)
            continue;
        while ((e = json_walk_element(&w, &j)) > 0) {
            buf_addf(&b, "%d ", (int)json_integer_value(j));
            json_decref(j);
        }
        if (e < 0)
            break;
    }
    if (r < 0 || e < 0) {
        buf_addf(&b, "%s", err_text());
        err_clear();
    }
    json_walk_release(&w);
    return buf_detach(&b);
}

static void walk_is(const char *text, const char *want)
{
    char *got = walked(text, "a");

    is_str(got, want, "a text: %.30s", want);
    free(got);
}

static void walks(void)
{
    walk_is("{}", "");
    walk_is(" { } \n", "");
    walk_is("{\"a\":[]}", "a ");
    walk_is("{\"a\":[1, 2 ,3]}", "a 1 2 3 ");
    walk_is("{\"x\":{\"a\":[9]},\"a\":[4],\"y\":[5,6],\"z\":\"s\"}",
            "x a 4 y z ");
    walk_is("{ \"b\" : -1.5e3 , \"a\" :\t[ 7 ]\n}\n", "b a 7 ");
    walk_is("{\"a\":5}", "a T: member \"a\": not an array");
    walk_is("", "T: byte 0: not a JSON object");
    walk_is("[]", "T: byte 0: not a JSON object");
    walk_is("{\"a\":[1,]}", "a 1 T: byte 9: unexpected token near ']'");
    walk_is("{\"a\":[1 2]}", "a 1 T: byte 8: no \",\" behind an element");
    walk_is("{\"a\":[1}", "a 1 T: byte 7: no \",\" behind an element");
    walk_is("{\"a\":[1]", "a 1 T: byte 8: no \",\" behind a member");
    walk_is("{\"a\":[1],}", "a 1 T: byte 9: not the name of a member");
    walk_is("{\"a\" [1]}", "T: byte 5: no \":\" behind a name");
    walk_is("{5:1}", "T: byte 1: not the name of a member");
    walk_is("{\"a\":[1]} x", "a 1 T: byte 10: text behind the object");
    walk_is("{\"y\":[{\"k\":1,\"k\":2}]}",
            "y T: byte 16: duplicate object key near '\"k\"'");
}

/* ---- annotations */

static void annotation(void)
{
    struct annot_object o[] = {
        {.bbox = {473.07, 395.93, 38.65, 28.67},
         .area = 702.1057499999998,
         .id = 1768,
         .cat = 16},
        {.bbox = {-3, 0, 1e6, 0.1}, .area = 1e14, .id = -2, .crowd = true}};
    struct annot a = {.id = 289343, .w = 640, .h = 426, .n = 2, .object = o};
    struct annot back = {0};
    struct buf b = BUF_INIT;
    int wrong = 0;

    annot_text(&a, &b);
    is_str(
        b.data,
        "{\"ann\":[{\"area\":702.1057499999998,\"bbox\":[473.07,395.93,38.65,"
        "28.67],\"cat\":16,\"id\":1768,\"iscrowd\":0},{\"area\":"
        "100000000000000,\"bbox\":[-3,0,1000000,0.1],\"cat\":0,\"id\":-2,"
        "\"iscrowd\":1}],\"h\":426,\"id\":289343,\"w\":640}",
        "canonical");
    o[1].area = 5;
    buf_reset(&b);
    annot_text(&a, &b);
    is_int(annot_parse(&back, b.data, b.len), 0, "read back %s", err_text());
    ok(back.n == 2 && back.w == 640 && back.h == 426 && back.id == 289343,
       "the image");
    for (int k = 0; k < 4; k++)
        wrong += back.object[0].bbox[k] != o[0].bbox[k];
    ok(!wrong && back.object[1].crowd && back.object[0].cat == 16,
       "its objects, bit for bit");
    ok(annot_usable(&back), "it can be trained on");
    back.object[0].crowd = true;
    ok(!annot_usable(&back), "not so one of crowds");
    annot_release(&back);
    buf_release(&b);
}

static void annot_fails(const char *text, const char *why)
{
    static struct annot a;

    is_int(annot_parse(&a, text, strlen(text)), -1, "%.50s", text);
    has_str(err_text(), why, "%s", why);
    ok(!strchr(err_text(), '\n'), "one line");
    err_clear();
    annot_release(&a);
}

#define IMAGE(ann) "{\"ann\":[" ann "],\"h\":2,\"id\":3,\"w\":4}"

static void bad_annotations(void)
{
    annot_fails("", "annotation: line 1");
    annot_fails("[]", "\"ann\": missing");
    annot_fails("{\"ann\":[],\"h\":0,\"id\":1,\"w\":1}", "h 0: out of range");
    annot_fails("{\"ann\":[],\"h\":70000,\"id\":1,\"w\":1}", "out of range");
    annot_fails("{\"ann\":[],\"h\":7,\"id\":-1,\"w\":1}", "id -1");
    annot_fails(IMAGE("5"), "object 0: member \"bbox\": missing");
    annot_fails(IMAGE("{\"area\":1,\"bbox\":[1,2,3],\"cat\":0,\"id\":1,"
                      "\"iscrowd\":0}"),
                "object 0: bbox: 3 numbers");
    annot_fails(IMAGE("{\"area\":1,\"bbox\":[1,2,3,\"4\"],\"cat\":0,\"id\":1,"
                      "\"iscrowd\":0}"),
                "not four numbers");
    annot_fails(IMAGE("{\"area\":1,\"bbox\":[1,2,3,1e30],\"cat\":0,\"id\":1,"
                      "\"iscrowd\":0}"),
                "bbox 1e+30: out of range");
    annot_fails(IMAGE("{\"area\":1,\"bbox\":[1,2,3,4],\"cat\":-1,\"id\":1,"
                      "\"iscrowd\":0}"),
                "cat -1: out of range");
    annot_fails(IMAGE("{\"area\":1,\"bbox\":[1,2,3,4],\"cat\":1,\"id\":1,"
                      "\"iscrowd\":2}"),
                "iscrowd 2: out of range");
    annot_fails(IMAGE("{\"area\":1,\"area\":1}"), "duplicate");
}

/* ---- records */

#define HEAD "{\"images\":["
#define IM(id, name)                                                           \
    "{\"id\":" #id ",\"width\":40,\"height\":30,\"file_name\":\"" name "\"}"
#define ANNS "],\"annotations\":["
#define AN(id, image, cat, more)                                               \
    "{\"id\":" #id ",\"image_id\":" #image ",\"category_id\":" #cat more "}"
#define BOX ",\"bbox\":[1,2,3,4]"
#define CATS "],\"categories\":["
#define CAT(id, name) "{\"id\":" #id ",\"name\":\"" name "\"}"
#define TAIL "]}"

static void records(void)
{
    static const char text[] = HEAD IM(9, "x/b.jpg") "," IM(4, "a.jpg") "," IM(7, "c.jpg") ANNS AN(
        3,
        9,
        90,
        BOX
        ",\"area\":5.5,\"segmentation\":[[1,2,"
        "3,4,5,6]]") "," AN(1, 9, 1,
                            BOX) "," AN(2, 4, 1,
                                        ",\"bbox\":[0,0,-1,2],\"iscrowd\":"
                                        "1") "," AN(5, 4, 1,
                                                    BOX
                                                    ",\"segmentation\":[[1,"
                                                    "2,3,4],[1,2,3,4,5,6,7]"
                                                    "]") "," AN(6, 88, 1,
                                                                BOX) "," AN(8,
                                                                            7,
                                                                            90,
                                                                            BOX
                                                                            ","
                                                                            "\""
                                                                            "se"
                                                                            "gm"
                                                                            "en"
                                                                            "ta"
                                                                            "ti"
                                                                            "on"
                                                                            "\""
                                                                            ":["
                                                                            "]") "," AN(10,
                                                                                        7,
                                                                                        90,
                                                                                        BOX
                                                                                        ",\"iscrowd\":1,\"segmentation\":{\"size\":[1,2]}")
        CATS CAT(90, "zz") "," CAT(1, "aa") TAIL;
    struct coco c = {0};

    is_int(coco_parse(&c, text, strlen(text), "F"), 0, "records %s",
           err_text());
    ok(c.n == 3 && c.image[0].id == 4 && c.image[1].id == 7 &&
           c.image[2].id == 9,
       "images by id");
    is_str(c.file[2], "x/b.jpg", "with their files");
    ok(c.n_classes == 2 && c.cls[0].id == 1 && c.cls[1].id == 90,
       "categories by id");
    is_str(c.cls[1].name, "zz", "with their names");
    ok(c.image[2].n == 2 && c.image[2].object[0].id == 3 &&
           c.image[2].object[1].id == 1,
       "objects in the order of the file");
    ok(c.image[2].object[0].cat == 1 && c.image[2].object[1].cat == 0,
       "classes are ranks");
    ok(c.image[2].object[0].area == 5.5 && c.image[2].object[1].area == 12,
       "area, or that of the box");
    ok(c.n_objects == 5 && c.crowds == 2, "counts");
    is_int((long long)c.strangers, 1, "of no image");
    is_int((long long)c.shapeless, 1, "short polygons");
    is_int((long long)c.outside, 1, "an empty box, kept");
    ok(c.image[0].n == 1 && !annot_usable(&c.image[0]), "a crowd only");
    coco_release(&c);
}

static void file_fails(const char *text, const char *why)
{
    struct coco c = {0};

    is_int(coco_parse(&c, text, strlen(text), "F"), -1, "%.60s", text);
    has_str(err_text(), "F: ", "names the file");
    has_str(err_text(), why, "%s", why);
    err_clear();
    coco_release(&c);
}

#define FILE_OF(im, an, cat) HEAD im ANNS an CATS cat TAIL
#define ONE IM(1, "a.jpg")
#define CLASS CAT(1, "aa")

static void bad_files(void)
{
    struct coco c = {0};
    static const char twice[] =
        FILE_OF(ONE, AN(1, 1, 1, BOX) "," AN(1, 1, 1, BOX), CLASS);

    file_fails("{}", "no \"images\"");
    file_fails(HEAD ONE TAIL, "no \"categories\"");
    file_fails(HEAD ONE ANNS TAIL, "no \"categories\"");
    file_fails(FILE_OF("", "", CLASS), "no images");
    file_fails(FILE_OF(ONE, "", ""), "no categories");
    file_fails(HEAD ONE "],\"images\":[]}", "\"images\" is there twice");
    file_fails(FILE_OF(ONE "," IM(1, "b.jpg"), "", CLASS),
               "image id 1 is there twice");
    file_fails(FILE_OF(ONE, "", CLASS "," CAT(1, "b")),
               "category id 1 is there twice");
    file_fails(twice, "annotation id 1 is there twice");
    is_int(coco_parse(&c, twice, strlen(twice), "a/minival.json"), 0,
           "which minival may have");
    coco_release(&c);
    is_int(coco_parse(&c, HEAD ONE CATS CLASS TAIL,
                      strlen(HEAD ONE CATS CLASS TAIL), "F"),
           0, "a test set has no annotations %s", err_text());
    ok(c.n == 1 && !c.n_objects && !annot_usable(&c.image[0]), "nor objects");
    coco_release(&c);
    file_fails(FILE_OF(ONE, AN(5, 1, 2, BOX), CLASS),
               "annotation id 5: no category id 2");
    file_fails(FILE_OF(ONE, AN(5, 1, 1, ""), CLASS),
               "annotation id 5: member \"bbox\": missing");
    file_fails(FILE_OF(ONE, AN(5, 1, 1, ",\"bbox\":[]"), CLASS),
               "annotation id 5: bbox has 0 numbers");
    file_fails(FILE_OF(ONE, AN(5, 1, 1, ",\"bbox\":[1,2,3,null]"), CLASS),
               "not four numbers");
    file_fails(FILE_OF(ONE, AN(5, 1, 1, BOX ",\"ignore\":1"), CLASS),
               "annotation id 5: ignore is set");
    file_fails(FILE_OF(ONE, "{\"id\":\"x\"}", CLASS), "annotation 0: member");
    file_fails(FILE_OF("{\"id\":\"x\"}", "", CLASS), "image 0: member");
    file_fails(FILE_OF("{\"id\":5,\"width\":0}", "", CLASS),
               "image id 5: width 0");
    file_fails(FILE_OF(IM(1, "../a.jpg"), "", CLASS), "leaves its folder");
    file_fails(FILE_OF(IM(1, "a/../b"), "", CLASS), "leaves its folder");
    file_fails(FILE_OF(IM(1, "/a.jpg"), "", CLASS), "not a relative file");
    file_fails(FILE_OF(IM(1, "a\\nb"), "", CLASS), "control character");
    file_fails(FILE_OF(IM(1000000000000, "a"), "", CLASS), "out of range");
}

/* ---- groups by shape */

struct grouped {
    uint32_t n;
    int64_t rows, positions;
    uint8_t wide[600];
    uint32_t size[600];
    uint64_t first[2];
    struct order o;
};

static void bind(struct grouped *g, uint64_t seed, const char *name)
{
    struct order_set s = {g->n, g->size, g->first, 1};

    g->first[1] = g->n;
    if (order_parse(&g->o, name) < 0 ||
        order_bind(&g->o, seed, g->rows, &s) < 0)
        die();
    order_group(&g->o, g->wide, g->rows, g->positions);
}

/* The plain orders one after the other, dealt by hand to two queues. */
static int dealt(const struct grouped *g, uint64_t seed, const char *name,
                 int64_t epochs, uint32_t *out)
{
    struct order_set s = {g->n, g->size, g->first, 1};
    uint32_t *wait[2];
    int64_t len[2] = {0, 0}, at = 0;
    struct order o;

    if (order_parse(&o, name) < 0 || order_bind(&o, seed, g->rows, &s) < 0)
        die();
    wait[0] = xcalloc((size_t)g->rows, sizeof(**wait));
    wait[1] = xcalloc((size_t)g->rows, sizeof(**wait));
    for (int64_t e = 0; e <= epochs; e++) {
        if (order_epoch(&o, e) < 0)
            die();
        for (int64_t p = 0; p < g->positions; p++) {
            uint32_t i = order_at(&o, p);
            int k = g->wide[i];

            wait[k][len[k]++] = i;
            for (int64_t j = 0; len[k] == g->rows && j < g->rows; j++)
                if (at < epochs * g->positions)
                    out[at++] = wait[k][j];
            len[k] %= g->rows;
        }
    }
    free(wait[0]);
    free(wait[1]);
    order_release(&o);
    return at == epochs * g->positions;
}

static void group(uint32_t n, int64_t rows, int64_t positions, int share,
                  const char *name)
{
    static const int64_t visit[] = {0, 1, 2, 5, 3, 4, 0, 5, 1};
    size_t room = (size_t)positions * 6;
    uint32_t *want = xcalloc(room, sizeof(*want));
    struct grouped g = {.n = n, .rows = rows, .positions = positions};
    int wrong = 0;
    struct rng r;

    rng_init(&r, n, 0, 0, RNG_SYNTH);
    for (uint32_t i = 0; i < n; i++) {
        g.wide[i] = rng_below(&r, 100) < (uint64_t)share;
        g.size[i] = 1 << 20;
    }
    bind(&g, 11, name);
    wrong += !dealt(&g, 11, name, 6, want);
    for (size_t v = 0; v < sizeof(visit) / sizeof(*visit); v++) {
        if (order_epoch(&g.o, visit[v]) < 0)
            die();
        for (int64_t p = 0; p < positions; p++)
            wrong += order_at(&g.o, p) != want[visit[v] * positions + p];
        for (int64_t p = 0; p < positions; p++)
            wrong += g.wide[order_at(&g.o, p)] !=
                     g.wide[order_at(&g.o, p / rows * rows)];
    }
    is_int(wrong, 0, "%s, %u samples, %d wide, in groups of %d, %d an epoch",
           name, n, share, (int)rows, (int)positions);
    order_release(&g.o);
    free(want);
}

static void groups(void)
{
    struct grouped g = {.n = 4, .rows = 2, .positions = 4};
    struct buf b = BUF_INIT;

    group(100, 4, 100, 70, "global");
    group(117, 8, 120, 50, "global");
    group(117, 8, 112, 50, "global");
    group(117, 16, 128, 3, "global");
    group(599, 3, 600, 90, "block:4194304:8:1");
    group(5, 6, 6, 50, "global");
    group(3, 7, 7, 50, "seq");
    group(64, 1, 64, 50, "global");
    group(50, 4, 52, 100, "global");
    group(50, 4, 52, 0, "global");
    bind(&g, 1, "global");
    order_name(&g.o, &b);
    is_str(b.data, "global/shape:2", "name");
    order_release(&g.o);
    buf_release(&b);
}

int main(void)
{
    walks();
    annotation();
    bad_annotations();
    records();
    bad_files();
    groups();
    return done_testing();
}
