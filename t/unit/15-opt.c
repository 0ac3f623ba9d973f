/* The settings table: command line, environment, file, help, messages. */
#include "lib/tap.h"
#include "lib/tapdir.h"

#include "util/buf.h"
#include "util/opt.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

static char *config, *out_dir, *weights;
static int64_t batch, shard, threads;
static double rate;
static int engine;
static bool fast, augment;
static struct opt_list steps, scales, roots;

static struct opt rows[] = {
    {.name = "config",
     .letter = 'c',
     .type = OPT_STRING,
     .addr = &config,
     .arg = "FILE",
     .help = "recipe file"},
    {.name = "out",
     .letter = 'o',
     .type = OPT_STRING,
     .addr = &out_dir,
     .def = "-",
     .arg = "DIR",
     .help = "a directory for everything that comes out of the run, made when "
             "it is not there yet"},
    {.name = "batch",
     .letter = 'b',
     .key = "SOLVER.IMS_PER_BATCH",
     .env = "ACCEL_BATCH",
     .type = OPT_INT,
     .addr = &batch,
     .def = "32",
     .min = 1,
     .max = 1048576,
     .help = "images per step"},
    {.name = "engine",
     .type = OPT_CHOICE,
     .addr = &engine,
     .choices = "auto|ref|cpu",
     .def = "auto",
     .help = "what computes"},
    {.name = "fast",
     .letter = 'f',
     .type = OPT_FLAG,
     .addr = &fast,
     .help = "hurry"},
    {.name = "augment",
     .letter = 'a',
     .key = "DATA.AUGMENT",
     .env = "ACCEL_AUGMENT",
     .type = OPT_FLAG,
     .addr = &augment,
     .def = "true",
     .help = "change pictures"},
    {.name = "shard-size",
     .key = "DATA.SHARD",
     .type = OPT_SIZE,
     .addr = &shard,
     .def = "256M",
     .min = 1024,
     .max = 1099511627776,
     .help = "bytes of a shard"},
    {.name = "root",
     .key = "DATA.ROOTS",
     .type = OPT_STRINGS,
     .addr = &roots,
     .arg = "DIR",
     .help = "where to look"},
    {.name = "threads",
     .letter = 'j',
     .type = OPT_INT,
     .addr = &threads,
     .help = "decoders"},
    {.name = "secret",
     .type = OPT_INT,
     .addr = &(int64_t){0},
     .help = "for tests",
     .hidden = true},
    OPT_END,
};

static struct opt recipe[] = {
    {.key = "SOLVER.BASE_LR",
     .type = OPT_FLOAT,
     .addr = &rate,
     .def = "0.1",
     .min = 0,
     .max = 1000,
     .help = "rate at the full batch"},
    {.key = "SOLVER.STEP_EPOCHS",
     .type = OPT_INTS,
     .addr = &steps,
     .def = "30,60",
     .min = 0,
     .max = 1000,
     .help = "epochs at which the rate falls"},
    {.key = "INPUT.SCALES",
     .type = OPT_FLOATS,
     .addr = &scales,
     .help = "sizes"},
    {.key = "MODEL.WEIGHTS",
     .type = OPT_STRING,
     .addr = &weights,
     .def = "none",
     .help = "start from these"},
    OPT_END,
};

static void show(void *arg, const struct opt *o, const char *value)
{
    (void)arg;
    printf("%s=%s;", o->key, value);
}

static int run_show(const struct command *c, int argc, char **argv)
{
    opt_each(c, show, NULL);
    printf("fast=%d;engine=%d;out=%s;j=%lld;verbosity=%d;", fast, engine,
           out_dir ? out_dir : "(null)", (long long)threads, verbosity);
    for (int i = 0; i < argc; i++)
        printf("[%s]", argv[i]);
    return argv[argc] != NULL;
}

static int run_list(const struct command *c, int argc, char **argv)
{
    (void)c;
    for (int i = 0; i < argc; i++)
        printf("[%s]", argv[i]);
    if (argc && !strcmp(argv[0], "fail"))
        return err_set(ERR_DATA, "a.tar: record 3: truncated");
    if (argc && !strcmp(argv[0], "clash"))
        return err_set(ERR_USAGE, "--fast and --slow exclude each other");
    return argc && !strcmp(argv[0], "no") ? 1 : 0;
}

static struct command commands[] = {
    {"train", "MANIFEST [KEY VALUE]...", "train a network", rows, recipe, true,
     1, 0, run_show},
    {"ls", "[FILE...]", "list files", NULL, NULL, false, 0, -1, run_list},
    {"one", "FILE", "exactly one", NULL, NULL, false, 1, 1, run_list},
    {0},
};
static const struct program worker = {"accel-worker", "Computes steps.",
                                      commands, NULL};

static struct command single_commands[] = {
    {"", "DIR...", "join shards", rows, NULL, false, 1, -1, run_list},
    {0},
};
static const struct program single = {"ckpt-merge", "Joins shards.",
                                      single_commands, NULL};

static struct command mixed_commands[] = {
    {"", "DIR...", "join shards", rows, NULL, false, 1, -1, run_list},
    {"verify", "DIR...", "check shards", NULL, NULL, false, 1, -1, run_list},
    {0},
};
static const struct program mixed = {"ckpt-merge", "Joins shards.",
                                     mixed_commands, NULL};

static struct buf out, err;
static int status;

static void slurp(struct buf *b, const char *path)
{
    buf_reset(b);
    buf_reserve(b, 1);
    if (buf_read_file(b, path, 1 << 20) < 0)
        buf_addstr(b, "(no file)");
}

/* Run in a child, so that tables, stdio and verbosity start fresh. */
static void run(const struct program *p, const char *const *words,
                const char *to)
{
    char *argv[32];
    int argc = 0, st;
    pid_t pid;

    argv[argc++] = xstrdup(p->name);
    for (; words[argc - 1]; argc++)
        argv[argc] = xstrdup(words[argc - 1]);
    argv[argc] = NULL;
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        if (!freopen(to, "w", stdout) || !freopen("err", "w", stderr))
            _exit(99);
        st = program_main(p, argc, argv);
        fflush(stdout);
        _exit(st);
    }
    while (argc)
        free(argv[--argc]);
    waitpid(pid, &st, 0);
    status = WIFEXITED(st) ? WEXITSTATUS(st) : -WTERMSIG(st);
    slurp(&out, "out");
    slurp(&err, "err");
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define CLI(...) run(&worker, WORDS(__VA_ARGS__), "out")
#define SINGLE(...) run(&single, WORDS(__VA_ARGS__), "out")
#define MIXED(...) run(&mixed, WORDS(__VA_ARGS__), "out")

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        exit(99);
}

static void has(const char *part)
{
    is_int(status, 0, "status 0 for %s", part);
    has_str(out.data, part, "sets %s", part);
}

#define SEE "; see 'accel-worker train --help'\n"
/* The one line on stderr, whole. */
static void refuses(int want, const char *line)
{
    struct buf b = BUF_INIT;

    buf_addf(&b, "accel-worker: %s%s", line, want == 64 ? SEE : "\n");
    is_int(status, want, "status %d: %s", want, line);
    is_str(err.data, b.data, "says: %s", line);
    is_str(out.data, "", "stdout stays empty");
    buf_release(&b);
}

static void test_types(void)
{
    CLI("train", "m");
    has("SOLVER.IMS_PER_BATCH=32;DATA.AUGMENT=true;DATA.SHARD=256M;"
        "DATA.ROOTS=;SOLVER.BASE_LR=0.1;SOLVER.STEP_EPOCHS=30,60;"
        "INPUT.SCALES=;MODEL.WEIGHTS=none;fast=0;engine=0;out=-;j=0;"
        "verbosity=0;[m]");
    CLI("train", "m", "--batch", "7", "--fast", "--engine=cpu");
    has("IMS_PER_BATCH=7;");
    has("fast=1;engine=2;");
    CLI("train", "-b7", "m", "-faj", "4", "-vv", "--no-fast");
    has("IMS_PER_BATCH=7;DATA.AUGMENT=true;");
    has("fast=0;engine=0;out=-;j=4;verbosity=2;[m]");
    CLI("train", "m", "-o", "-", "--no-augment", "--shard-size=1536K", "-q");
    has("AUGMENT=false;DATA.SHARD=1536K;");
    has("out=-;j=0;verbosity=-1;");
    CLI("train", "m", "--root", "a,b", "--root=c", "--root", "it's");
    has("DATA.ROOTS='a,b',c,it's;");
    CLI("train", "m", "--threads", "-5");
    has("j=-5;");
    CLI("train", "m", "SOLVER.BASE_LR", "1e-4", "INPUT.SCALES", "(1.5, -2,)");
    has("BASE_LR=0.0001;SOLVER.STEP_EPOCHS=30,60;INPUT.SCALES=1.5,-2;");
    CLI("train", "m", "SOLVER.STEP_EPOCHS=[1]", "INPUT.SCALES", "-0.5");
    has("STEP_EPOCHS=1;INPUT.SCALES=-0.5;");
    CLI("train", "m", "DATA.ROOTS", "('a,''b', \"c\",)", "MODEL.WEIGHTS=x=y");
    has("DATA.ROOTS='a,''b',c;");
    has("MODEL.WEIGHTS=x=y;");
    CLI("train", "m", "SOLVER.STEP_EPOCHS", "()", "DATA.AUGMENT", "False");
    has("AUGMENT=false;DATA.SHARD=256M;DATA.ROOTS=;SOLVER.BASE_LR=0.1;"
        "SOLVER.STEP_EPOCHS=;");
    CLI("train", "--", "-b", "SOLVER.BASE_LR", "2");
    has("BASE_LR=2;");
    has("[-b]");
    CLI("train", "--batch", "3", "m", "SOLVER.IMS_PER_BATCH", "4");
    has("IMS_PER_BATCH=4;");
    CLI("train", "m", "SOLVER.IMS_PER_BATCH", "4", "--batch", "3");
    has("IMS_PER_BATCH=3;");
}

static void test_refusals(void)
{
    CLI("train", "m", "--batch", "0");
    refuses(64, "--batch: value \"0\": must be 1..1048576");
    CLI("train", "m", "-b", "12x");
    refuses(64, "-b: value \"12x\": not a whole number");
    CLI("train", "m", "--batch=1K");
    refuses(64, "--batch: value \"1K\": not a whole number");
    CLI("train", "m", "--batch= 3");
    refuses(64, "--batch: value \" 3\": not a whole number");
    CLI("train", "m", "--batch=");
    refuses(64, "--batch: value \"\": not a whole number");
    CLI("train", "m", "-o", "");
    refuses(64, "-o: value \"\": empty");
    CLI("train", "m", "--config=");
    refuses(64, "--config: value \"\": empty");
    CLI("train", "m", "-j", "99999999999999999999");
    refuses(64, "-j: value \"99999999999999999999\": too large");
    CLI("train", "m", "--shard-size", "1k");
    refuses(64, "--shard-size: value \"1k\": not a size such as 4096, 64K or "
                "256M");
    CLI("train", "m", "--shard-size", "1000");
    refuses(64, "--shard-size: value \"1000\": must be 1K..1024G");
    CLI("train", "m", "--shard-size", "9999999999G");
    refuses(64, "--shard-size: value \"9999999999G\": must be "
                "1K..1024G");
    CLI("train", "m", "SOLVER.BASE_LR", "1/256");
    refuses(64, "SOLVER.BASE_LR: value \"1/256\": not a number");
    CLI("train", "m", "SOLVER.BASE_LR", "nan");
    refuses(64, "SOLVER.BASE_LR: value \"nan\": not a number");
    CLI("train", "m", "SOLVER.BASE_LR", "0x10");
    refuses(64, "SOLVER.BASE_LR: value \"0x10\": not a number");
    CLI("train", "m", "SOLVER.BASE_LR", "1e999");
    refuses(64, "SOLVER.BASE_LR: value \"1e999\": must be 0..1000");
    CLI("train", "m", "INPUT.SCALES", "1e999");
    refuses(64, "INPUT.SCALES: value \"1e999\": too large");
    CLI("train", "m", "SOLVER.STEP_EPOCHS", "30,6000");
    refuses(64, "SOLVER.STEP_EPOCHS: value \"6000\": must be 0..1000");
    CLI("train", "m", "SOLVER.STEP_EPOCHS", "30,");
    refuses(64, "SOLVER.STEP_EPOCHS: value \"30,\": an item of the list is "
                "empty");
    CLI("train", "m", "SOLVER.STEP_EPOCHS", "(30");
    refuses(64, "SOLVER.STEP_EPOCHS: value \"(30\": brackets or quotes do not "
                "match");
}

static void test_words(void)
{
    CLI("train", "m", "--engine", "gpu");
    refuses(64, "--engine: value \"gpu\": must be one of auto|ref|cpu");
    CLI("train", "m", "DATA.AUGMENT", "maybe");
    refuses(64, "DATA.AUGMENT: value \"maybe\": must be true or false");
    CLI("train", "m", "--fast=1");
    refuses(64, "--fast: takes no value");
    CLI("train", "m", "--no-batch");
    refuses(64, "--no-batch: --batch is not a flag");
    CLI("train", "m", "--batch");
    refuses(64, "--batch: needs a value: N");
    CLI("train", "m", "-c");
    refuses(64, "-c: needs a value: FILE");
    CLI("train", "m", "--bacth", "3");
    refuses(64, "unknown option \"--bacth\" (nearest: --batch)");
    CLI("train", "m", "--batc", "3");
    refuses(64, "unknown option \"--batc\" (nearest: --batch)");
    CLI("train", "m", "--entirely-else");
    refuses(64, "unknown option \"--entirely-else\"");
    CLI("train", "m", "-x");
    refuses(64, "unknown option \"-x\"");
    CLI("train", "m", "SOLVER.LRR", "3");
    refuses(64, "unknown key \"SOLVER.LRR\" (nearest: SOLVER.BASE_LR)");
    CLI("train", "m", "solver.base_lr", "3");
    refuses(64, "unknown key \"solver.base_lr\" (nearest: SOLVER.BASE_LR)");
    CLI("train", "m", "BASE_LR=3");
    refuses(64, "unknown key \"BASE_LR\" (nearest: SOLVER.BASE_LR)");
    CLI("train", "m", "batch", "3");
    refuses(64, "unknown key \"batch\"");
    CLI("train", "m", "SOLVER.BASE_LR");
    refuses(64, "SOLVER.BASE_LR: key without a value");
    CLI("train");
    refuses(64, "operand missing: expected MANIFEST [KEY VALUE]...");
}

static void test_programs(void)
{
    run(&worker, (const char *const[]){NULL}, "out");
    is_int(status, 64, "no command: 64");
    is_str(err.data,
           "accel-worker: no command given: usage: accel-worker COMMAND "
           "[options]; see 'accel-worker --help'\n",
           "no command: one line with the usage");
    CLI("trian");
    is_int(status, 64, "unknown command: 64");
    has_str(err.data, "unknown command \"trian\" (nearest: train)", "nearest");
    CLI("-v", "train");
    is_int(status, 64, "options stand behind the command");
    CLI("one", "a", "b");
    is_int(status, 64, "too many operands: 64");
    has_str(err.data, "unexpected operand \"b\"; see", "names the operand");
    CLI("ls", "--", "-x", "--", "-");
    has("[-x][--][-]");
    CLI("ls", "-", "-5", "-.5");
    has("[-][-5][-.5]");
    CLI("ls", "no");
    is_int(status, 1, "the status of run is the status");
    CLI("ls", "fail");
    is_int(status, 65, "-1: the class of the sentence is the status");
    is_str(err.data, "accel-worker: a.tar: record 3: truncated\n", "sentence");
    CLI("ls", "clash");
    is_int(status, 64, "usage found by run");
    has_str(err.data, "other; see 'accel-worker ls --help'\n", "points");
    SINGLE("d", "-b", "3", "e");
    has("[d][e]");
    SINGLE("-b", "3");
    is_int(status, 64, "nameless command: operand missing");
    is_str(err.data,
           "ckpt-merge: operand missing: expected DIR...; see 'ckpt-merge "
           "--help'\n",
           "nameless command: pointer without a command");
    MIXED("verify", "d");
    has("[d]");
    MIXED("d", "verify");
    has("[d][verify]");
    MIXED("--help");
    has("usage: ckpt-merge [options] DIR...\n");
    has("\nCommands:\n  verify  check shards\n");
    setenv("WORLD_SIZE", "4", 1);
    setenv("RANK", "3", 1);
    CLI("ls", "fail");
    has_str(err.data, "accel-worker[3]: a.tar", "rank in front");
    unsetenv("WORLD_SIZE");
    unsetenv("RANK");
    if (access("/dev/full", W_OK) == 0) {
        run(&worker, WORDS("ls", "a"), "/dev/full");
        is_int(status, 74, "full disk behind stdout: 74");
        run(&worker, WORDS("train", "--help"), "/dev/full");
        is_int(status, 74, "full disk behind --help: 74");
    } else {
        skip(2, "devfull: no /dev/full");
    }
}

static int longest_line(const char *s)
{
    size_t longest = 0, n;

    for (; *s; s += n + (s[n] == '\n')) {
        n = strcspn(s, "\n");
        longest = n > longest ? n : longest;
    }
    return (int)longest;
}

static void test_help(void)
{
    CLI("--help");
    has("usage: accel-worker COMMAND [options]\nComputes steps.\n");
    has("  train  train a network\n");
    has("      --print-config  print each setting");
    CLI("train", "--batch", "3", "--help", "--bogus");
    has("usage: accel-worker train [options] MANIFEST [KEY VALUE]...\n"
        "train a network\n");
    has("  -b, --batch N              images per step (default: 32) "
        "[$ACCEL_BATCH]\n");
    has("      --engine auto|ref|cpu  what computes (default: auto)\n");
    has("  -f, --fast                 hurry\n");
    has("  -a, --[no-]augment         change pictures (default: on) "
        "[$ACCEL_AUGMENT]\n");
    has("of the\n                             run, made when");
    has("Settings (in a recipe file or as KEY VALUE):\n");
    has("  SOLVER.IMS_PER_BATCH      the same as --batch\n");
    has("  SOLVER.STEP_EPOCHS N,...  epochs at which the rate falls "
        "(default: 30,60)\n");
    is_int(longest_line(out.data) <= 80, 1, "80 columns at most");
    ok(!strstr(out.data, "secret"), "hidden rows stay hidden");
    is_str(err.data, "", "nothing on stderr");
    CLI("--version");
    has("accel-worker millrace ");
    has("\ncompiler: ");
    has("\nflags: ");
    SINGLE("--help");
    has("usage: ckpt-merge [options] DIR...\nJoins shards.\n");
    CLI("--dump-options");
    has("train\t--config\tc\t\t\tFILE\t\trecipe file\n");
    has("train\t--batch\tb\tSOLVER.IMS_PER_BATCH\tACCEL_BATCH\tN\t32\t"
        "images per step\n");
    has("train\t\t\tSOLVER.BASE_LR\t\tX\t0.1\trate at the full batch\n");
    has("*\t--quiet\tq\t\t\t\t\tsay warnings and errors only\n");
    ok(!strstr(out.data, "secret"), "hidden rows are not dumped");
    CLI("ls", "--dump-options");
    ok(!strstr(out.data, "--batch"), "dump of one command");
}

static void test_environment(void)
{
    setenv("ACCEL_BATCH", "9", 1);
    setenv("ACCEL_RANK", "1", 1);
    setenv("ACCEL_ENGINE_DIR", "/x", 1);
    CLI("train", "m");
    has("IMS_PER_BATCH=9;");
    CLI("ls", "x");
    is_int(status, 0, "a variable of another command is known");
    setenv("ACCEL_BATCH", "0", 1);
    CLI("train", "m", "--batch", "3");
    refuses(64, "ACCEL_BATCH: value \"0\": must be 1..1048576");
    setenv("ACCEL_BATCH", "", 1);
    CLI("train", "m");
    has("IMS_PER_BATCH=32;");
    unsetenv("ACCEL_BATCH");
    setenv("ACCEL_BATHC", "1", 1);
    CLI("train", "m");
    refuses(64, "environment: unknown variable \"ACCEL_BATHC\" (nearest: "
                "ACCEL_BATCH)");
    CLI("train", "--help");
    is_int(status, 0, "--help comes before the environment");
    unsetenv("ACCEL_BATHC");
    setenv("ACCEL_AUGMENT", "0", 1);
    CLI("train", "m");
    has("AUGMENT=false;");
    unsetenv("ACCEL_AUGMENT");
}

/* Every subset of file, environment and command line, in both word orders. */
static void test_precedence(void)
{
    static const char *const origin[] = {"32\tdefault", "11\tb.yaml:2",
                                         "22\tenvironment ACCEL_BATCH",
                                         "33\tcommand line"};

    put("b.yaml", "SOLVER:\n  IMS_PER_BATCH: 11\n");
    for (int set = 0; set < 16; set++) {
        const char *words[12] = {"train", "m", "--print-config"}, *part;
        int n = 3, best = set & 4 ? 3 : set & 2 ? 2 : set & 1;
        bool late = set & 8;

        if ((set & 1) && !late)
            words[n++] = "-c", words[n++] = "b.yaml";
        if (set & 4)
            words[n++] = "--batch", words[n++] = "33";
        if ((set & 1) && late)
            words[n++] = "-c", words[n++] = "b.yaml";
        if (set & 2)
            setenv("ACCEL_BATCH", "22", 1);
        run(&worker, words, "out");
        unsetenv("ACCEL_BATCH");
        part = strstr(out.data, "SOLVER.IMS_PER_BATCH\t");
        ok(status == 0 && part &&
               !strncmp(part + 21, origin[best], strlen(origin[best])),
           "precedence, subset %d: %s", set, origin[best]);
    }
}

static void test_files(void)
{
    put("r.yaml", "SOLVER: {BASE_LR: 1e-4, STEP_EPOCHS: \"(3, 4)\"}\n"
                  "INPUT.SCALES:\n  - 0.5\n  - 2\n"
                  "DATA:\n  ROOTS: [a, 'b,c']\n  SHARD: 1M\n"
                  "  AUGMENT: False\nMODEL:\n");
    CLI("train", "-c", "r.yaml", "m");
    has("DATA.AUGMENT=false;DATA.SHARD=1M;DATA.ROOTS=a,'b,c';"
        "SOLVER.BASE_LR=0.0001;SOLVER.STEP_EPOCHS=3,4;INPUT.SCALES=0.5,2;");
    CLI("train", "-c", "r.yaml", "m", "--root", "z", "--print-config");
    has("--config\tr.yaml\tcommand line\n");
    has("DATA.ROOTS\tz\tcommand line\n");
    has("SOLVER.BASE_LR\t0.0001\tr.yaml:1\n");
    has("INPUT.SCALES\t0.5,2\tr.yaml:3\n");
    has("--engine\tauto\tdefault\n");
    CLI("train", "-c", "r.yaml", "--print-config");
    is_int(status, 0, "--print-config needs no operands");
    put("n.yaml", "MODEL.WEIGHTS:\nSOLVER.STEP_EPOCHS: null\n");
    CLI("train", "-c", "n.yaml", "m");
    has("SOLVER.STEP_EPOCHS=;INPUT.SCALES=;MODEL.WEIGHTS=;");

    put("n.yaml", "SOLVER.BASE_LR:\n");
    CLI("train", "-c", "n.yaml", "m");
    refuses(78, "n.yaml:1: SOLVER.BASE_LR: value is empty");
    put("n.yaml", "\nSOLVER.LRR: 2\n");
    CLI("train", "-c", "n.yaml", "m");
    refuses(78, "n.yaml:2: unknown key \"SOLVER.LRR\" (nearest: "
                "SOLVER.BASE_LR)");
    put("n.yaml", "batch: 2\n");
    CLI("train", "-c", "n.yaml", "m");
    refuses(78, "n.yaml:1: unknown key \"batch\"");
    put("n.yaml", "KWARGS:\n");
    CLI("train", "-c", "n.yaml", "m");
    refuses(78, "n.yaml:1: unknown key \"KWARGS\"");
    put("n.yaml", "SOLVER:\n  IMS_PER_BATCH: 0\n");
    CLI("train", "-c", "n.yaml", "m", "-b", "3");
    refuses(78, "n.yaml:2: SOLVER.IMS_PER_BATCH: value \"0\": must be "
                "1..1048576");
    put("n.yaml", "SOLVER.STEP_EPOCHS: [[1], 2]\n");
    CLI("train", "-c", "n.yaml", "m");
    refuses(78, "n.yaml:1: SOLVER.STEP_EPOCHS: value \"[1]\": not a whole "
                "number");
    CLI("train", "-c", "absent.yaml", "m");
    refuses(66, "absent.yaml: open: No such file or directory");
}

static void test_calls(void)
{
    struct command *c = &commands[0];

    opt_defaults(c);
    ok(!opt_given(c, "batch"), "default is not given");
    ok(opt_find(c, "SOLVER.IMS_PER_BATCH") == opt_find(c, "batch"),
       "one row by key and by name");
    ok(!opt_find(c, "nothing"), "no row");
    is_int(opt_set(c, "batch", "5", ORIGIN_ENV, "X"), 0, "set by name");
    is_int(opt_set(c, "SOLVER.IMS_PER_BATCH", "6", ORIGIN_FILE, "f:1"), 0,
           "a weaker origin is no error");
    is_int(batch, 5, "but changes nothing");
    is_int(opt_set(c, "SOLVER.IMS_PER_BATCH", "x", ORIGIN_FILE, "f:1"), -1,
           "yet it is checked");
    is_int(err_code(), ERR_CONFIG, "class of files");
    is_int(opt_set(c, "batch", "7", ORIGIN_ENV, "Y"), 0, "same origin");
    is_int(batch, 7, "the later wins");
    is_str(opt_find(c, "batch")->where, "Y", "where");
    is_str(opt_find(c, "batch")->text, "7", "text");
    ok(opt_given(c, "batch"), "given");
    is_int(opt_set(c, "engin", "cpu", ORIGIN_COMMAND, NULL), -1, "unknown");
    is_int(err_code(), ERR_USAGE, "class of command lines");
    is_int(opt_set(c, "MODEL.WEIGHTS", "a", ORIGIN_FILE, "f:2"), 0, "string");
    is_int(opt_set(c, "MODEL.WEIGHTS", weights, ORIGIN_FILE, "f:3"), 0,
           "a value may be its own text");
    is_str(weights, "a", "string kept");
    opt_defaults(c);
    is_int(batch, 32, "defaults again");
    is_str(weights, "none", "default string");
    is_int(steps.n, 2, "default list");
    opt_release(c);
    ok(!weights && !steps.i && steps.n == 0, "released");
}

int main(void)
{
    if (chdir(tap_dir()) < 0)
        return 99;
    unsetenv("WORLD_SIZE");
    unsetenv("RANK");
    test_types();
    test_refusals();
    test_words();
    test_programs();
    test_help();
    test_environment();
    test_precedence();
    test_files();
    test_calls();
    buf_release(&out);
    buf_release(&err);
    return done_testing();
}
