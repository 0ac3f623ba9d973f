/* Recipe files, and JSON with our errors. */
#include "lib/tap.h"
#include "lib/tapdir.h"

#include "util/conf.h"
#include "util/json.h"

#include <sys/stat.h>
#include <unistd.h>

/* Leaves as "KEY=value@where;", NULL as "~". */
static int collect(void *arg, const char *key, const char *value,
                   const char *where)
{
    if (!strcmp(key, "STOP"))
        return err_set(ERR_CONFIG, "%s: stop", where);
    buf_addf(arg, "%s=%s@%s;", key, value ? value : "~", where);
    return 0;
}

static struct buf got;

static int parse(const char *text)
{
    buf_reset(&got);
    buf_reserve(&got, 1);
    return conf_parse(text, strlen(text), "x", collect, &got);
}

static void gives(const char *text, const char *want)
{
    is_int(parse(text), 0, "taken: %.60s", want);
    is_str(got.data, want, "gives: %.60s", want);
}

static void refuses(const char *text, const char *sentence)
{
    is_int(parse(text), -1, "refused: %s", sentence);
    is_int(err_code(), ERR_CONFIG, "class of: %s", sentence);
    is_str(err_text(), sentence, "says: %s", sentence);
    is_str(got.data, "", "nothing is given of a bad text");
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        exit(99);
}

static int read_file(const char *path)
{
    buf_reset(&got);
    buf_reserve(&got, 1);
    return conf_read(path, collect, &got);
}

static void test_shapes(void)
{
    gives("", "");
    gives("# only a comment\n", "");
    gives("---\n...\n", "");
    gives("A: 1\nB.C: two words  # comment\n", "A=1@x:1;B.C=two words@x:2;");
    gives("A:\n  B:\n    C: 1\n  D: 2\n", "A.B.C=1@x:3;A.D=2@x:4;");
    gives("A: {B: {C: 1}, D: 2}\nA.E: 3", "A.B.C=1@x:1;A.D=2@x:1;A.E=3@x:2;");
    gives("A: [1, 2.5, x y]\nB:\n- p\n- q\n", "A=1,2.5,x y@x:1;B=p,q@x:3;");
    gives("A: []\nB: {}\n", "A=@x:1;");
    gives("A: [[32], [64, 'a,b'], []]\n", "A=[32],[64,'a,b'],[]@x:1;");
    gives("A: ['it''s', \"it's, so\", '', ' s']\n",
          "A=it's,'it''s, so','',' s'@x:1;");
    gives("A: (60000, 80000)\nB: 'q'\nC: \"\\u00e9\"\n",
          "A=(60000, 80000)@x:1;B=q@x:2;C=\303\251@x:3;");
    gives("A:\nB: ~\nC: null\nD: ''\nE: 'null'\n",
          "A=~@x:1;B=~@x:2;C=~@x:3;D=@x:4;E=null@x:5;");
    gives("A: >\n  one\n  two\n", "A=one two\n@x:1;");
    gives("\357\273\277A: 1\n", "A=1@x:1;");
}

static void test_refusals(void)
{
    struct buf b = BUF_INIT;

    refuses("A: 1\nB: 2\nA: 3\n", "x:3: duplicate key \"A\" (first at line 1)");
    refuses("A: {B: 1}\nA.B: 2\n",
            "x:2: duplicate key \"A.B\" (first at line 1)");
    refuses("A: {B: 1}\nA: {C: 2}\n",
            "x:2: duplicate key \"A\" (first at line 1)");
    refuses("A: &a 1\n", "x:1: an anchor is not supported here");
    refuses("A: 1\nB: *a\n", "x:2: an alias is not supported here");
    refuses("A: !!int 1\n", "x:1: a tag is not supported here");
    refuses("A: !!python/tuple [1]\n", "x:1: a tag is not supported here");
    refuses("A: 1\n<<: {B: *x}\n", "x:2: an alias is not supported here");
    refuses("- 1\n", "x:1: expected \"KEY: value\" lines");
    refuses("words\n", "x:1: expected \"KEY: value\" lines");
    refuses("A: 1\n---\nB: 2\n", "x:2: a second document");
    refuses("A: [1, {B: 2}]\n", "x:1: a mapping inside a list");
    refuses("[1, 2]: 3\n", "x:1: a key that is not a word");
    refuses("'': 3\n", "x:1: an empty key");
    refuses("A: \"a\\0b\"\n", "x:1: a zero byte in a text");
    refuses("_BASE_: a.yaml\n", "x:1: _BASE_: only in files");
    refuses("_BASE_: {a: b}\n", "x:1: _BASE_: not a path or a list of paths");
    refuses("_BASE_:\n", "x:1: _BASE_: not a path or a list of paths");
    is_int(parse("A: [1\nB: 2\n"), -1, "not YAML");
    has_str(err_text(), "x:2: ", "line of the mistake");
    is_int(parse("A: \377\n"), -1, "not UTF-8");
    is_int(parse("A: 1\nSTOP: 1\n"), -1, "the receiver stops");
    is_str(err_text(), "x:2: stop", "with its own sentence");

    for (int i = 0; i < CONF_MAX_DEPTH; i++)
        buf_addf(&b, "%sK%d", i ? ": {" : "", i);
    buf_addstr(&b, ": 1");
    buf_addfill(&b, '}', CONF_MAX_DEPTH - 1);
    is_int(parse(b.data), 0, "mappings %d deep", CONF_MAX_DEPTH);
    buf_reset(&b);
    for (int i = 0; i <= CONF_MAX_DEPTH; i++)
        buf_addf(&b, "%sK%d", i ? ": {" : "", i);
    buf_addstr(&b, ": 1");
    buf_addfill(&b, '}', CONF_MAX_DEPTH);
    refuses(b.data, "x:1: nested deeper than 16");
    buf_reset(&b);
    buf_addstr(&b, "A: ");
    buf_addfill(&b, '[', CONF_MAX_DEPTH + 1);
    buf_addfill(&b, ']', CONF_MAX_DEPTH + 1);
    refuses(b.data, "x:1: nested deeper than 16");
    buf_reset(&b);
    for (int i = 0; i < CONF_MAX_KEYS; i++)
        buf_addf(&b, "K%d: 1\n", i);
    is_int(parse(b.data), 0, "%d keys", CONF_MAX_KEYS);
    buf_addstr(&b, "L: 1\n");
    refuses(b.data, "x:4097: more than 4096 keys");
    buf_addfill(&b, '\n', CONF_MAX_BYTES);
    refuses(b.data, "x: larger than 1048576 bytes");
    put("big.yaml", b.data);
    is_int(read_file("big.yaml"), -1, "the same in a file");
    is_int(err_code(), ERR_CONFIG, "class of a large file");
    buf_release(&b);
}

static void test_bases(void)
{
    put("base.yaml", "A: 1\nB: 1\n");
    put("d/mid.yaml", "B: 2\n_BASE_: ../base.yaml\nC: 2\n");
    put("top.yaml", "_BASE_: d/mid.yaml\nC: 3\n");
    is_int(read_file("top.yaml"), 0, "bases");
    is_str(got.data,
           "A=1@d/../base.yaml:1;B=1@d/../base.yaml:2;B=2@d/mid.yaml:1;"
           "C=2@d/mid.yaml:3;C=3@top.yaml:2;",
           "bases first, each relative to the file that names it");
    put("two.yaml", "A: 9\n_BASE_: [base.yaml, d/mid.yaml]\n");
    is_int(read_file("./two.yaml"), 0, "a list of bases, one of them twice");
    has_str(got.data, "@./base.yaml:2;A=1@./d/../base.yaml:1;", "in order");
    has_str(got.data, "A=9@./two.yaml:1;", "the file itself last");

    put("loop.yaml", "_BASE_: d/loop.yaml\n");
    put("d/loop.yaml", "_BASE_: ../loop.yaml\n");
    is_int(read_file("loop.yaml"), -1, "cycle");
    is_int(err_code(), ERR_CONFIG, "class of a cycle");
    is_str(err_text(), "d/../loop.yaml: _BASE_: a cycle", "cycle named");
    put("self.yaml", "_BASE_: ./self.yaml\n");
    is_int(read_file("self.yaml"), -1, "a file that is its own base");
    put("gone.yaml", "A: 1\n\n_BASE_: absent.yaml\n");
    is_int(read_file("gone.yaml"), -1, "missing base");
    is_int(err_code(), ERR_NOINPUT, "class of a missing base");
    has_str(err_text(), "gone.yaml:3: _BASE_: absent.yaml: open: ", "named");
    put("web.yaml", "_BASE_: https://example.org/a.yaml\n");
    is_int(read_file("web.yaml"), -1, "no base from the net");
    is_str(err_text(),
           "web.yaml:1: _BASE_: \"https://example.org/a.yaml\": not a file",
           "said so");
    is_int(read_file("absent.yaml"), -1, "missing file");
    is_int(err_code(), ERR_NOINPUT, "class of a missing file");
    for (int i = 0; i < 18; i++) {
        char name[16], text[32];

        snprintf(name, sizeof name, "deep%d.yaml", i);
        snprintf(text, sizeof text, "_BASE_: deep%d.yaml\n", i + 1);
        put(name, i == 17 ? "A: 1\n" : text);
    }
    is_int(read_file("deep1.yaml"), 0, "16 bases deep");
    is_int(read_file("deep0.yaml"), -1, "17 bases deep");
    has_str(err_text(), "_BASE_: deeper than 16 files", "said so");
    /* each level doubles: must end by count, not by time */
    for (int i = 0; i < 10; i++) {
        char name[16], text[64];

        snprintf(name, sizeof name, "wide%d.yaml", i);
        snprintf(text, sizeof text, "_BASE_: [wide%d.yaml, wide%d.yaml]\n",
                 i + 1, i + 1);
        put(name, i == 9 ? "A: 1\n" : text);
    }
    is_int(read_file("wide0.yaml"), -1, "512 readings of one base");
    has_str(err_text(), "more than 64 files", "said so");
}

static json_t *text(const char *s)
{
    return json_text(s, strlen(s), "t");
}

static void test_json(void)
{
    struct buf b = BUF_INIT;
    const char *s;
    int64_t i;
    double d;
    json_t *o = text("{\"b\": 1, \"a\": [0.1, 1e300, 2.0, null, true], "
                     "\"B\": \"\\u00e9\\n\\\"\", \"o\": {}}");
    json_t *a;

    if (!ok(o != NULL, "text is taken"))
        return;
    json_canonical(&b, o);
    is_str(b.data,
           "{\"B\":\"\303\251\\n\\\"\",\"a\":[0.1,1e+300,2.0,null,true],"
           "\"b\":1,\"o\":{}}",
           "canonical form");
    is_int(json_get_int(o, "b", &i), 0, "int");
    is_int(i, 1, "value of int");
    is_int(json_get_real(o, "b", &d), 0, "an int is a real");
    is_double(d, 1, 0, "value of real");
    is_int(json_get_str(o, "B", &s), 0, "string");
    is_int(json_get_array(o, "a", &a), 0, "array");
    is_int(json_get_object(o, "o", &a), 0, "object");
    is_int(json_get_int(o, "B", &i), -1, "wrong type");
    is_str(err_text(), "member \"B\": not a whole number", "said so");
    is_int(json_get_object(o, "z", &a), -1, "missing");
    is_str(err_text(), "member \"z\": missing", "said so");
    is_int(err_code(), ERR_DATA, "class");
    json_add_real(o, "n", (double)NAN);
    ok(json_is_null(json_object_get(o, "n")), "not a number becomes null");
    json_decref(o);
    buf_release(&b);

    ok(!text("{\"a\": 1,\n\"a\": 2}"), "duplicates refused");
    has_str(err_text(), "t: line 2: duplicate", "named with its line");
    ok(!text("{} x"), "text behind the end refused");
    ok(!text(""), "nothing refused");
    put("a.json", "{\"a\": [1, 2]}\n");
    o = json_file("a.json", 100);
    ok(o != NULL, "file");
    json_decref(o);
    ok(!json_file("a.json", 5), "file larger than allowed");
    ok(!json_file("absent.json", 5), "missing file");
    is_int(err_code(), ERR_NOINPUT, "class of a missing file");
}

int main(void)
{
    if (chdir(tap_dir()) < 0 || mkdir("d", 0777) < 0)
        return 99;
    test_shapes();
    test_refusals();
    test_bases();
    test_json();
    buf_release(&got);
    return done_testing();
}
