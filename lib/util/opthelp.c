#include "util/opt_private.h"

#include "util/utf8.h"

#include <stdio.h>
#include <string.h>

#ifndef MILLRACE_VERSION
#    define MILLRACE_VERSION "unknown"
#endif
#ifndef MILLRACE_CFLAGS
#    define MILLRACE_CFLAGS "unknown"
#endif

#define WIDTH 80
/* A left part longer than this puts its help on a line of its own. */
#define LEFT_MAX 30

/* Text broken at spaces; the cursor stands at column at, lines start there. */
static void add_wrapped(struct buf *b, const char *text, size_t at)
{
    size_t column = at;

    while (*text) {
        size_t n = strcspn(text, " ");

        if (column > at && column + 1 + n > WIDTH) {
            buf_addch(b, '\n');
            buf_addfill(b, ' ', at);
            column = at;
        } else if (column > at) {
            buf_addch(b, ' ');
            column++;
        }
        buf_add(b, text, n);
        column += n;
        text += n;
        text += strspn(text, " ");
    }
    buf_addch(b, '\n');
}

/* "left  right" with the right column at a fixed place. */
static void add_pair(struct buf *b, const char *left, const char *right,
                     size_t at)
{
    size_t n = strlen(left);

    buf_addstr(b, left);
    if (!*right) {
        buf_addch(b, '\n');
        return;
    }
    if (n + 2 > at) {
        buf_addch(b, '\n');
        n = 0;
    }
    buf_addfill(b, ' ', at - n);
    add_wrapped(b, right, at);
}

static bool is_on(const struct opt *o)
{
    return o->type == OPT_FLAG && o->def && !strcmp(o->def, "true");
}

static void left_option(struct buf *b, const struct opt *o)
{
    const char *arg = opt_placeholder(o);

    buf_reset(b);
    if (o->letter)
        buf_addf(b, "  -%c, ", o->letter);
    else
        buf_addstr(b, "      ");
    buf_addf(b, "--%s%s", is_on(o) ? "[no-]" : "", o->name);
    if (*arg)
        buf_addf(b, " %s", arg);
}

static void left_key(struct buf *b, const struct opt *o)
{
    const char *arg = o->type == OPT_FLAG ? "true|false" : opt_placeholder(o);

    buf_reset(b);
    buf_addf(b, "  %s", o->key);
    if (!o->name)
        buf_addf(b, " %s", arg);
}

static void right_help(struct buf *b, const struct opt *o)
{
    buf_reset(b);
    buf_addstr(b, o->help ? o->help : "");
    if (o->type == OPT_FLAG && is_on(o))
        buf_addstr(b, " (default: on)");
    else if (o->type != OPT_FLAG && o->def && *o->def)
        buf_addf(b, " (default: %s)", o->def);
    if (o->env)
        buf_addf(b, " [$%s]", o->env);
}

static size_t column_of(struct buf *left, const struct command *c,
                        void (*make)(struct buf *, const struct opt *),
                        bool keys)
{
    struct opt_iter it = opt_rows(c);
    const struct opt *o;
    size_t widest = 0;

    while ((o = opt_next(&it))) {
        if (o->hidden || !(keys ? o->key : o->name))
            continue;
        make(left, o);
        if (left->len <= LEFT_MAX && left->len > widest)
            widest = left->len;
    }
    return widest + 2;
}

static void add_builtins(struct buf *b, size_t at)
{
    struct buf left = BUF_INIT;

    for (const struct opt *o = opt_builtin; o->name; o++) {
        if (o->hidden)
            continue;
        left_option(&left, o);
        add_pair(b, left.data, o->help, at);
    }
    buf_release(&left);
}

#define BUILTIN_COLUMN 22 /* "      --print-config" and two spaces */

static void add_options(struct buf *b, const struct command *c)
{
    struct buf left = BUF_INIT, right = BUF_INIT;
    size_t at = column_of(&left, c, left_option, false);
    struct opt_iter it = opt_rows(c);
    const struct opt *o;

    if (at < BUILTIN_COLUMN)
        at = BUILTIN_COLUMN;
    buf_addstr(b, "\nOptions:\n");
    while ((o = opt_next(&it))) {
        if (o->hidden || !o->name)
            continue;
        left_option(&left, o);
        right_help(&right, o);
        add_pair(b, left.data, right.data, at);
    }
    add_builtins(b, at);
    buf_release(&left);
    buf_release(&right);
}

static void add_settings(struct buf *b, const struct command *c)
{
    struct buf left = BUF_INIT, right = BUF_INIT;
    size_t at = column_of(&left, c, left_key, true);
    struct opt_iter it = opt_rows(c);
    const struct opt *o;
    bool any = false;

    while ((o = opt_next(&it))) {
        if (o->hidden || !o->key)
            continue;
        if (!any)
            buf_addf(b, "\nSettings (in a recipe file%s):\n",
                     c->overrides ? " or as KEY VALUE" : "");
        any = true;
        left_key(&left, o);
        if (o->name) {
            buf_reset(&right);
            buf_addf(&right, "the same as --%s", o->name);
        } else {
            right_help(&right, o);
        }
        add_pair(b, left.data, right.data, at);
    }
    buf_release(&left);
    buf_release(&right);
}

static const struct command *nameless(const struct program *p)
{
    for (const struct command *c = p->commands; c->name; c++)
        if (!*c->name)
            return c;
    return NULL;
}

void opt_usage(struct buf *b, const struct program *p, const struct command *c)
{
    if (!c) {
        buf_addf(b, "usage: %s COMMAND [options]", p->name);
        return;
    }
    buf_addf(b, "usage: %s%s%s [options]", p->name, *c->name ? " " : "",
             c->name);
    if (c->operands && *c->operands)
        buf_addf(b, " %s", c->operands);
}

static void add_commands(struct buf *b, const struct program *p)
{
    struct buf left = BUF_INIT;
    size_t at = 0;

    for (const struct command *c = p->commands; c->name; c++)
        if (strlen(c->name) + 4 > at)
            at = strlen(c->name) + 4;
    buf_addstr(b, "\nCommands:\n");
    for (const struct command *c = p->commands; c->name; c++) {
        if (!*c->name)
            continue;
        buf_reset(&left);
        buf_addf(&left, "  %s", c->name);
        add_pair(b, left.data, c->help ? c->help : "", at);
    }
    buf_addf(b, "\n'%s COMMAND --help' tells the options of a command.\n",
             p->name);
    buf_release(&left);
}

void opt_help(struct buf *b, const struct program *p, const struct command *c)
{
    opt_usage(b, p, c);
    buf_addch(b, '\n');
    add_wrapped(b, c && *c->name && c->help ? c->help : p->help, 0);
    if (c) {
        add_options(b, c);
        add_settings(b, c);
    }
    if (!c || (!*c->name && (c != p->commands || c[1].name)))
        add_commands(b, p);
    if (!c) {
        buf_addstr(b, "\nOptions of every command:\n");
        add_builtins(b, BUILTIN_COLUMN);
    }
}

void opt_version(struct buf *b, const struct program *p)
{
    buf_addf(b, "%s millrace %s\n", p->name, MILLRACE_VERSION);
#if defined(__clang__)
    buf_addf(b, "compiler: %s\n", __VERSION__);
#else
    buf_addf(b, "compiler: gcc %s\n", __VERSION__);
#endif
    buf_addf(b, "flags: %s\n", MILLRACE_CFLAGS);
}

/* command, --name, letter, key, env, placeholder, default, help */
static void add_dump_row(struct buf *b, const char *command,
                         const struct opt *o)
{
    char letter[] = {o->letter, 0};

    buf_addf(b, "%s\t%s%s\t%s\t%s\t%s\t%s\t%s\t%s\n", command,
             o->name ? "--" : "", o->name ? o->name : "", letter,
             o->key ? o->key : "", o->env ? o->env : "", opt_placeholder(o),
             o->def ? o->def : "", o->help ? o->help : "");
}

static void dump_command(struct buf *b, const struct command *c)
{
    struct opt_iter it = opt_rows(c);
    const struct opt *o;

    while ((o = opt_next(&it)))
        if (!o->hidden)
            add_dump_row(b, c->name, o);
}

void opt_dump(struct buf *b, const struct program *p, const struct command *c)
{
    /* The nameless command is asked for in the name of the whole program. */
    if (c && c == nameless(p))
        c = NULL;
    if (c)
        dump_command(b, c);
    else
        for (const struct command *each = p->commands; each->name; each++)
            dump_command(b, each);
    for (const struct opt *o = opt_builtin; o->name; o++)
        if (!o->hidden)
            add_dump_row(b, "*", o);
}

void opt_config(struct buf *b, const struct command *c)
{
    static const char *const origin[] = {
        [ORIGIN_DEFAULT] = "default",
        [ORIGIN_FILE] = "file",
        [ORIGIN_ENV] = "environment",
        [ORIGIN_COMMAND] = "command line",
    };
    struct opt_iter it = opt_rows(c);
    const struct opt *o;

    buf_reserve(b, 1);
    while ((o = opt_next(&it))) {
        size_t from;

        if (o->hidden)
            continue;
        buf_addf(b, "%s%s\t", o->key ? "" : "--", o->key ? o->key : o->name);
        from = b->len;
        opt_value_text(o, b);
        /* a tab or a line end inside of it would break the columns */
        utf8_plain(b->data + from, b->len - from);
        if (o->where && o->origin == ORIGIN_ENV)
            buf_addf(b, "\tenvironment %s\n", o->where);
        else
            buf_addf(b, "\t%s\n", o->where ? o->where : origin[o->origin]);
    }
}
