#include "util/opt.h"

#include "util/conf.h"
#include "util/fault.h"
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
    "ACCEL_RANK",
    "ACCEL_WORLD_SIZE",
    "ACCEL_LOCAL_RANK",
    "ACCEL_NODE_RANK",
    "ACCEL_MASTER",
    "ACCEL_LOCAL_WORLD_SIZE",
    "ACCEL_RUN_ID",
    "ACCEL_ATTEMPT",
    "ACCEL_RDZV",
    "ACCEL_REDUCE",
    "ACCEL_LAUNCH",
    "ACCEL_TUNE",
    "ACCEL_RING",
    /* those of accel-worker and allreduce-ring, for the whole pipeline */
    "ACCEL_ENGINE",
    "ACCEL_ENGINE_DIR",
    "ACCEL_THREADS",
    "ACCEL_KEY_FILE",
    "ACCEL_BIND",
    "ACCEL_IFACE",
    "ACCEL_PORTS",
    "ACCEL_STREAMS",
    "ACCEL_WIRE",
    "ACCEL_WIRE_AUTH",
    NULL,
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

struct opt *opt_by_key(const struct command *c, const char *key)
{
    struct opt_iter it = opt_rows(c);
    struct opt *o;

    while ((o = opt_next(&it)) && !same(o->key, key))
        continue;
    return o;
}

struct opt *opt_by_name(const struct command *c, const char *name)
{
    struct opt_iter it = opt_rows(c);
    struct opt *o;

    while ((o = opt_next(&it)) && !same(o->name, name))
        continue;
    return o;
}

struct opt *opt_by_letter(const struct command *c, char letter)
{
    struct opt_iter it = opt_rows(c);
    struct opt *o;

    while ((o = opt_next(&it)) && o->letter != letter)
        continue;
    return o;
}

int opt_builtin_by(const char *name, char letter)
{
    for (int i = 0; opt_builtin[i].name; i++)
        if (same(opt_builtin[i].name, name) ||
            (letter && opt_builtin[i].letter == letter))
            return i;
    return -1;
}

const struct opt *opt_find(const struct command *c, const char *name_or_key)
{
    const struct opt *o = opt_by_key(c, name_or_key);

    return o ? o : opt_by_name(c, name_or_key);
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

int opt_unknown_key(const struct command *c, enum err_class cls,
                    const char *where, const char *key)
{
    struct opt_iter it = opt_rows(c);
    struct nearest n = {.word = key};
    const struct opt *o;

    while ((o = opt_next(&it)))
        nearest_try(&n, o->key);
    return nearest_fail(cls, where, "key", &n, "");
}

int opt_unknown_option(const struct command *c, const char *word)
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

int opt_row_set(struct opt *o, const char *subject, const char *text, bool item,
                enum opt_origin origin, const char *where)
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
    struct opt *o = opt_by_key(c, key);
    bool item = !o;
    char *subject;
    int r;

    if (!o)
        o = opt_by_name(c, key);
    if (!o)
        return opt_unknown_key(c, cls, where ? where : "", key);
    subject = xstrfmt("%s%s%s%s", where ? where : "", where ? ": " : "",
                      item ? "--" : "", key);
    r = opt_row_set(o, subject, text, item, origin, where);
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

    if (opt_by_key(c, key))
        return opt_set(c, key, value, ORIGIN_FILE, where);
    if (!value && is_section(c, key))
        return 0;
    return opt_unknown_key(c, ERR_CONFIG, where, key);
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
    if ((o->name && opt_by_name(c, o->name) != o) ||
        (o->key && opt_by_key(c, o->key) != o) ||
        (o->letter && opt_by_letter(c, o->letter) != o))
        BUG("row \"%s\": name, letter or key is used twice",
            o->name ? o->name : o->key);
    if (o->name && opt_builtin_by(o->name, o->letter) >= 0)
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
        else if (opt_row_set(o, o->name ? o->name : o->key, o->def, false,
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
    if (!strcmp(fault_variable, name))
        return true;
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
int opt_apply_env(const struct program *p, const struct command *c)
{
    struct opt_iter it = opt_rows(c);
    struct opt *o;

    if (check_env(p) < 0)
        return -1;
    while ((o = opt_next(&it))) {
        const char *text = o->env ? getenv(o->env) : NULL;

        if (text && *text &&
            opt_row_set(o, o->env, text, false, ORIGIN_ENV, o->env) < 0)
            return -1;
    }
    return 0;
}
