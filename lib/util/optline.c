#include "util/opt.h"

#include "util/fdio.h"
#include "util/nearest.h"
#include "util/opt_private.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    return opt_row_set(o, as, text, true, ORIGIN_COMMAND, NULL);
}

static int needs_value(const struct opt *o, const char *as)
{
    return err_set(ERR_USAGE, "%s: needs a value: %s", as, opt_placeholder(o));
}

/* word is "--name" or "--no-name", value what stood behind "=", or NULL. */
static int set_long(struct scan *s, const char *word, const char *value)
{
    int which = opt_builtin_by(word + 2, 0);
    struct opt *o = opt_by_name(s->c, word + 2);
    bool negated = false;

    if (!o && which < 0 && !strncmp(word, "--no-", 5)) {
        o = opt_by_name(s->c, word + 5);
        if (o && o->type != OPT_FLAG)
            return err_set(ERR_USAGE, "%s: --%s is not a flag", word, o->name);
        negated = o != NULL;
    }
    if (!o && which < 0)
        return opt_unknown_option(s->c, word);
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
        struct opt *o = opt_by_letter(s->c, *word);
        int which = opt_builtin_by(NULL, *word), r;

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
        r = opt_row_set(s->key, s->key->key, word, false, ORIGIN_COMMAND, NULL);
        s->key = NULL;
        return r;
    }
    key = xstrdup(word);
    key[n] = 0;
    s->key = opt_by_key(s->c, key);
    if (!s->key)
        r = opt_unknown_key(s->c, ERR_USAGE, "", key);
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
        return opt_by_letter(c, word[1]) != NULL;
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
    if (opt_apply_env(s->p, c) < 0)
        return fail(s->p, c);
    config = opt_by_name(c, "config");
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
        which = opt_builtin_by(word + 2, 0);
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
    if (fd_standard() < 0)
        die();
    /* a file too large (ulimit -f) is an error of writing as any other */
    sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
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
