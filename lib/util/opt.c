#include "util/opt.h"

#include "util/conf.h"
#include "util/nearest.h"
#include "util/opt_private.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

const struct opt opt_builtin[] = {
    [BUILTIN_VERBOSE] = {.name = "verbose",
                         .letter = 'v',
                         .help = "say more on stderr; may be repeated"},
    [BUILTIN_QUIET] = {.name = "quiet",
                       .letter = 'q',
                       .help = "say warnings and errors only"},
    [BUILTIN_HELP] = {.name = "help", .help = "print this text"},
    [BUILTIN_VERSION] = {.name = "version",
                         .help = "print version, compiler and libraries"},
    [BUILTIN_PRINT_CONFIG] = {.name = "print-config",
                              .help = "print each setting and its origin"},
    [BUILTIN_DUMP] = {.name = "dump-options",
                      .help = "print the table of options",
                      .hidden = true},
    OPT_END,
};

/* Variables that launchers set for everything below them. */
static const char *const launcher_env[] = {
    "ACCEL_RANK",       "ACCEL_WORLD_SIZE", "ACCEL_LOCAL_RANK",
    "ACCEL_NODE_RANK",  "ACCEL_MASTER",     "ACCEL_LOCAL_WORLD_SIZE",
    "ACCEL_RUN_ID",     "ACCEL_ATTEMPT",    "ACCEL_RDZV",
    "ACCEL_ENGINE_DIR", "ACCEL_FAULT",      NULL,
};

/* ---- rows ------------------------------------------------------------- */

static bool is_end(const struct opt *o)
{
    return !o || (!o->name && !o->key);
}

struct opt_iter opt_rows(const struct command *c)
{
    return (struct opt_iter){c->opts, c->shared};
}

struct opt *opt_next(struct opt_iter *it)
{
    if (is_end(it->next)) {
        it->next = it->then;
        it->then = NULL;
    }
    return is_end(it->next) ? NULL : it->next++;
}

static bool same(const char *a, const char *b)
{
    return a && b && !strcmp(a, b);
}

static struct opt *by_key(const struct command *c, const char *key)
{
    struct opt_iter it = opt_rows(c);
    struct opt *o;

    while ((o = opt_next(&it)) && !same(o->key, key))
        continue;
    return o;
}

static struct opt *by_name(const struct command *c, const char *name)
{
    struct opt_iter it = opt_rows(c);
    struct opt *o;

    while ((o = opt_next(&it)) && !same(o->name, name))
        continue;
    return o;
}

static struct opt *by_letter(const struct command *c, char letter)
{
    struct opt_iter it = opt_rows(c);
    struct opt *o;

    while ((o = opt_next(&it)) && o->letter != letter)
        continue;
    return o;
}

static int builtin_by(const char *name, char letter)
{
    for (int i = 0; opt_builtin[i].name; i++)
        if (same(opt_builtin[i].name, name) ||
            (letter && opt_builtin[i].letter == letter))
            return i;
    return -1;
}

const struct opt *opt_find(const struct command *c, const char *name_or_key)
{
    const struct opt *o = by_key(c, name_or_key);

    return o ? o : by_name(c, name_or_key);
}

bool opt_given(const struct command *c, const char *name_or_key)
{
    const struct opt *o = opt_find(c, name_or_key);

    if (!o)
        BUG("no row \"%s\" in the table", name_or_key);
    return o->origin != ORIGIN_DEFAULT;
}

void opt_each(const struct command *c,
              void (*fn)(void *arg, const struct opt *o, const char *value),
              void *arg)
{
    struct opt_iter it = opt_rows(c);
    struct buf b = BUF_INIT;
    const struct opt *o;

    while ((o = opt_next(&it))) {
        if (!o->key)
            continue;
        buf_reset(&b);
        buf_reserve(&b, 1);
        opt_value_text(o, &b);
        fn(arg, o, b.len ? b.data : "");
    }
    buf_release(&b);
}

/* ---- unknown words ---------------------------------------------------- */

static int unknown_key(const struct command *c, enum err_class cls,
                       const char *where, const char *key)
{
    struct opt_iter it = opt_rows(c);
    struct nearest n = {.word = key};
    const struct opt *o;

    while ((o = opt_next(&it)))
        nearest_try(&n, o->key);
    return nearest_fail(cls, where, "key", &n, "");
}

static int unknown_option(const struct command *c, const char *word)
{
    struct opt_iter it = opt_rows(c);
    struct nearest n = {.word = word + 2};
    const struct opt *o;

    while ((o = opt_next(&it)))
        if (!o->hidden)
            nearest_try(&n, o->name);
    for (int i = 0; opt_builtin[i].name; i++)
        if (!opt_builtin[i].hidden)
            nearest_try(&n, opt_builtin[i].name);
    n.word = word;
    return nearest_fail(ERR_USAGE, "", "option", &n, "--");
}

/* ---- setting one row -------------------------------------------------- */

static void forget(struct opt *o)
{
    free(o->where);
    free(o->text);
    o->where = o->text = NULL;
}

static int row_set(struct opt *o, const char *subject, const char *text,
                   bool item, enum opt_origin origin, const char *where)
{
    enum err_class cls = origin == ORIGIN_FILE ? ERR_CONFIG : ERR_USAGE;
    bool append = item && o->type == OPT_STRINGS && o->origin == origin &&
                  origin != ORIGIN_DEFAULT;
    struct opt_value v;
    char *copy;

    if (opt_value_parse(o, text, item, cls, &v) < 0)
        return err_wrap("%s", subject);
    if (origin < o->origin) {
        opt_list_release(&v.list);
        return 0;
    }
    copy = text ? xstrdup(text) : NULL;
    opt_value_store(o, &v, append);
    if (o->type == OPT_STRING)
        *(char **)o->addr = copy;
    forget(o);
    o->origin = origin;
    o->where = where ? xstrdup(where) : NULL;
    o->text = copy;
    return 0;
}

int opt_set(const struct command *c, const char *key, const char *text,
            enum opt_origin origin, const char *where)
{
    enum err_class cls = origin == ORIGIN_FILE ? ERR_CONFIG : ERR_USAGE;
    struct opt *o = by_key(c, key);
    bool item = !o;
    char *subject;
    int r;

    if (!o)
        o = by_name(c, key);
    if (!o)
        return unknown_key(c, cls, where ? where : "", key);
    subject = xstrfmt("%s%s%s%s", where ? where : "", where ? ": " : "",
                      item ? "--" : "", key);
    r = row_set(o, subject, text, item, origin, where);
    free(subject);
    return r;
}

/* A plain null may stand for an empty mapping: some key continues this one. */
static bool is_section(const struct command *c, const char *key)
{
    struct opt_iter it = opt_rows(c);
    size_t n = strlen(key);
    const struct opt *o;

    while ((o = opt_next(&it)))
        if (o->key && !strncmp(o->key, key, n) && o->key[n] == '.')
            return true;
    return false;
}

static int set_from_file(void *arg, const char *key, const char *value,
                         const char *where)
{
    const struct command *c = arg;

    if (by_key(c, key))
        return opt_set(c, key, value, ORIGIN_FILE, where);
    if (!value && is_section(c, key))
        return 0;
    return unknown_key(c, ERR_CONFIG, where, key);
}

int opt_load_file(const struct command *c, const char *path)
{
    union {
        const struct command *in;
        void *out;
    } arg = {c};

    return conf_read(path, set_from_file, arg.out);
}

/* ---- defaults --------------------------------------------------------- */

/* Mistakes of the table itself: they end every run, so tests find them. */
static void check_row(const struct command *c, const struct opt *o)
{
    if (!o->addr || (o->type == OPT_CHOICE && !o->choices))
        BUG("row \"%s\": address or choices missing",
            o->name ? o->name : o->key);
    if ((o->name && by_name(c, o->name) != o) ||
        (o->key && by_key(c, o->key) != o) ||
        (o->letter && by_letter(c, o->letter) != o))
        BUG("row \"%s\": name, letter or key is used twice",
            o->name ? o->name : o->key);
    if (o->name && builtin_by(o->name, o->letter) >= 0)
        BUG("row \"%s\": name or letter of every program", o->name);
}

void opt_defaults(const struct command *c)
{
    struct opt_iter check = opt_rows(c), it = opt_rows(c);
    struct opt_value zero = {0};
    struct opt *o;

    while ((o = opt_next(&check)))
        check_row(c, o);
    opt_release(c);
    while ((o = opt_next(&it))) {
        if (!o->def)
            opt_value_store(o, &zero, false);
        else if (row_set(o, o->name ? o->name : o->key, o->def, false,
                         ORIGIN_DEFAULT, NULL) < 0)
            BUG("default of row %s", err_text());
    }
}

void opt_release(const struct command *c)
{
    struct opt_iter it = opt_rows(c);
    struct opt *o;

    while ((o = opt_next(&it))) {
        if (o->type == OPT_STRING)
            *(char **)o->addr = NULL;
        else if (o->type >= OPT_INTS)
            opt_list_release(o->addr);
        forget(o);
        o->origin = ORIGIN_DEFAULT;
    }
}

/* ---- environment ------------------------------------------------------ */

static bool env_known(const struct program *p, const char *name,
                      struct nearest *n)
{
    for (int i = 0; launcher_env[i]; i++) {
        if (!strcmp(launcher_env[i], name))
            return true;
        nearest_try(n, launcher_env[i]);
    }
    for (const struct command *c = p->commands; c->name; c++) {
        struct opt_iter it = opt_rows(c);
        const struct opt *o;

        while ((o = opt_next(&it))) {
            if (same(o->env, name))
                return true;
            nearest_try(n, o->env);
        }
    }
    return false;
}

/* Our own prefix is guarded: a misspelt variable must not pass unseen. */
static int check_env(const struct program *p)
{
    for (char **e = environ; *e; e++) {
        struct nearest n = {0};
        char *name;
        bool known;

        if (strncmp(*e, "ACCEL_", 6))
            continue;
        name = xstrdup(*e);
        name[strcspn(name, "=")] = 0;
        n.word = name;
        known = env_known(p, name, &n);
        if (!known)
            nearest_fail(ERR_USAGE, "environment", "variable", &n, "");
        free(name);
        if (!known)
            return -1;
    }
    return 0;
}

/* A variable that is set but empty counts as not set. */
static int apply_env(const struct program *p, const struct command *c)
{
    struct opt_iter it = opt_rows(c);
    struct opt *o;

    if (check_env(p) < 0)
        return -1;
    while ((o = opt_next(&it))) {
        const char *text = o->env ? getenv(o->env) : NULL;

        if (text && *text &&
            row_set(o, o->env, text, false, ORIGIN_ENV, o->env) < 0)
            return -1;
    }
    return 0;
}

/* ---- command line ----------------------------------------------------- */

struct scan {
    const struct program *p;
    const struct command *c;
    char **argv; /* words that are left, ended by NULL */
    char **operand;
    int n;           /* operands */
    struct opt *key; /* waits for its VALUE */
    bool print_config, done;
};

static void print_text(struct buf *b)
{
    fwrite(b->data, 1, b->len, stdout);
    buf_release(b);
}

static int run_builtin(struct scan *s, int which)
{
    struct buf b = BUF_INIT;

    switch (which) {
    case BUILTIN_VERBOSE:
        verbosity = verbosity < 0 ? 1 : verbosity + 1;
        return 0;
    case BUILTIN_QUIET:
        verbosity = -1;
        return 0;
    case BUILTIN_PRINT_CONFIG:
        s->print_config = true;
        return 0;
    case BUILTIN_HELP:
        opt_help(&b, s->p, s->c);
        break;
    case BUILTIN_DUMP:
        opt_dump(&b, s->p, s->c);
        break;
    default:
        opt_version(&b, s->p);
        break;
    }
    print_text(&b);
    if (which == BUILTIN_VERSION && s->p->versions)
        s->p->versions();
    s->done = true;
    return 0;
}

static int set_option(struct opt *o, const char *as, const char *text)
{
    return row_set(o, as, text, true, ORIGIN_COMMAND, NULL);
}

static int needs_value(const struct opt *o, const char *as)
{
    return err_set(ERR_USAGE, "%s: needs a value: %s", as, opt_placeholder(o));
}

/* word is "--name" or "--no-name", value what stood behind "=", or NULL. */
static int set_long(struct scan *s, const char *word, const char *value)
{
    int which = builtin_by(word + 2, 0);
    struct opt *o = by_name(s->c, word + 2);
    bool negated = false;

    if (!o && which < 0 && !strncmp(word, "--no-", 5)) {
        o = by_name(s->c, word + 5);
        if (o && o->type != OPT_FLAG)
            return err_set(ERR_USAGE, "%s: --%s is not a flag", word, o->name);
        negated = o != NULL;
    }
    if (!o && which < 0)
        return unknown_option(s->c, word);
    if ((which >= 0 || o->type == OPT_FLAG) && value)
        return err_set(ERR_USAGE, "%s: takes no value", word);
    if (which >= 0)
        return run_builtin(s, which);
    if (o->type == OPT_FLAG)
        return set_option(o, word, negated ? "false" : "true");
    if (!value && !*s->argv)
        return needs_value(o, word);
    return set_option(o, word, value ? value : *s->argv++);
}

/* "--name", "--no-name", "--name value", "--name=value" */
static int scan_long(struct scan *s, const char *word)
{
    size_t n = strcspn(word, "=");
    char *name = xstrdup(word);
    int r;

    name[n] = 0;
    r = set_long(s, name, word[n] ? word + n + 1 : NULL);
    free(name);
    return r;
}

/* "-x", "-xyz" for flags, "-jN", "-j N" */
static int scan_short(struct scan *s, const char *word)
{
    for (word++; *word && !s->done; word++) {
        char as[] = {'-', *word, 0};
        struct opt *o = by_letter(s->c, *word);
        int which = builtin_by(NULL, *word), r;

        if (o && o->type != OPT_FLAG) {
            if (word[1])
                return set_option(o, as, word + 1);
            if (!*s->argv)
                return needs_value(o, as);
            return set_option(o, as, *s->argv++);
        }
        if (o)
            r = set_option(o, as, "true");
        else if (which >= 0)
            r = run_builtin(s, which);
        else
            r = err_set(ERR_USAGE, "unknown option \"%s\"", as);
        if (r < 0)
            return -1;
    }
    return 0;
}

/* KEY and VALUE as two words or as KEY=VALUE. */
static int scan_override(struct scan *s, const char *word)
{
    size_t n = strcspn(word, "=");
    char *key;
    int r = 0;

    if (s->key) {
        r = row_set(s->key, s->key->key, word, false, ORIGIN_COMMAND, NULL);
        s->key = NULL;
        return r;
    }
    key = xstrdup(word);
    key[n] = 0;
    s->key = by_key(s->c, key);
    if (!s->key)
        r = unknown_key(s->c, ERR_USAGE, "", key);
    free(key);
    if (r == 0 && word[n])
        r = scan_override(s, word + n + 1);
    return r;
}

static int scan_operand(struct scan *s, char *word)
{
    if (s->c->overrides && s->n >= s->c->n_fixed)
        return scan_override(s, word);
    s->operand[s->n++] = word;
    return 0;
}

/* "-" and numbers such as "-0.5" are operands, unless a letter says no. */
static bool is_option(const struct command *c, const char *word)
{
    if (word[0] != '-' || !word[1])
        return false;
    if (isdigit((unsigned char)word[1]) || word[1] == '.')
        return by_letter(c, word[1]) != NULL;
    return true;
}

static int scan_words(struct scan *s)
{
    bool ended = false;

    while (*s->argv && !s->done) {
        char *word = *s->argv++;
        int r;

        if (ended || !is_option(s->c, word))
            r = scan_operand(s, word);
        else if (word[1] != '-')
            r = scan_short(s, word);
        else if (word[2])
            r = scan_long(s, word);
        else
            r = 0, ended = true;
        if (r < 0)
            return -1;
    }
    if (s->key && !s->done)
        return err_set(ERR_USAGE, "%s: key without a value", s->key->key);
    return 0;
}

static int check_operands(const struct scan *s)
{
    const struct command *c = s->c;
    int most = c->max_operands;

    if (s->n < c->n_fixed)
        return err_set(ERR_USAGE, "operand missing: expected %s",
                       c->operands ? c->operands : "more");
    if (most >= 0 && most < c->n_fixed)
        most = c->n_fixed;
    if (most >= 0 && s->n > most)
        return err_set(ERR_USAGE, "unexpected operand \"%.80s\"",
                       s->operand[most]);
    return 0;
}

/* ---- programs --------------------------------------------------------- */

/* The one line of a failure; wrong usage points to --help. */
static int fail(const struct program *p, const struct command *c)
{
    const char *sub = c ? c->name : "";

    if (err_code() == ERR_NONE)
        BUG("failed without saying why");
    if (err_code() == ERR_USAGE)
        warn("%s; see '%s%s%s --help'", err_text(), p->name, *sub ? " " : "",
             sub);
    else
        warn("%s", err_text());
    return (int)err_code();
}

/* A full disk behind stdout must not look like success. */
static int close_out(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    err_sys(ERR_IO, "standard output: write");
    warn("%s", err_text());
    return status ? status : ERR_IO;
}

static int run_command(struct scan *s)
{
    const struct command *c = s->c;
    const struct opt *config;
    struct buf b = BUF_INIT;
    int status;

    opt_defaults(c);
    if (scan_words(s) < 0)
        return fail(s->p, c);
    if (s->done)
        return close_out(0);
    if (apply_env(s->p, c) < 0)
        return fail(s->p, c);
    config = by_name(c, "config");
    if (config && config->type == OPT_STRING && config->text &&
        opt_load_file(c, config->text) < 0)
        return fail(s->p, c);
    if (s->print_config) {
        opt_config(&b, c);
        print_text(&b);
        return close_out(0);
    }
    if (check_operands(s) < 0)
        return fail(s->p, c);
    status = c->run(c, s->n, s->operand);
    if (status < 0)
        status = fail(s->p, c);
    return close_out(status);
}

/* What may stand before a command: the options about the program itself. */
static int run_program(const struct program *p, const char *word)
{
    static const struct command none = {.name = ""};
    struct scan s = {.p = p, .c = &none};
    struct nearest n = {.word = word ? word : ""};
    struct buf b = BUF_INIT;
    int which = -1;

    if (word && !strncmp(word, "--", 2))
        which = builtin_by(word + 2, 0);
    if (which == BUILTIN_HELP || which == BUILTIN_VERSION ||
        which == BUILTIN_DUMP) {
        s.c = NULL;
        run_builtin(&s, which);
        return close_out(0);
    }
    for (const struct command *c = p->commands; c->name; c++)
        nearest_try(&n, c->name);
    opt_usage(&b, p, NULL);
    if (!word)
        err_set(ERR_USAGE, "no command given: %s", b.data);
    else if (*word == '-')
        err_set(ERR_USAGE, "\"%.80s\": a command comes first: %s", word,
                b.data);
    else
        nearest_fail(ERR_USAGE, "", "command", &n, "");
    buf_release(&b);
    return fail(p, NULL);
}

int program_main(const struct program *p, int argc, char **argv)
{
    const struct command *c, *nameless = NULL;
    struct scan s = {.p = p, .argv = argv + (argc > 0)};
    int status;

    prog_set(p->name);
    for (c = p->commands; c->name; c++) {
        if (!*c->name)
            nameless = c;
        else if (argc > 1 && !strcmp(c->name, argv[1]))
            break;
    }
    if (c->name)
        s.argv++;
    else
        c = nameless;
    if (!c)
        return run_program(p, argc > 1 ? argv[1] : NULL);
    s.c = c;
    s.operand = xcalloc((size_t)argc + 1, sizeof *s.operand);
    status = run_command(&s);
    free(s.operand);
    return status;
}
