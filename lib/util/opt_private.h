/*
 * opt_private.h - what the files of the settings table share.
 *
 * optval.c turns text into values and back, opt.c holds the table and
 * precedence, optline.c reads the command line and runs, opthelp.c prints.
 * Nobody else includes this.
 */
#ifndef UTIL_OPT_PRIVATE_H
#define UTIL_OPT_PRIVATE_H

#include "util/buf.h"
#include "util/opt.h"

/* A parsed value on its way into a row: one member by type of the row. */
struct opt_value {
    int64_t i; /* OPT_FLAG, OPT_INT, OPT_SIZE, OPT_CHOICE */
    double f;  /* OPT_FLOAT */
    struct opt_list list;
};

/* All rows of a command, its own first: opt_rows, then opt_next until NULL. */
struct opt_iter {
    struct opt *next, *then;
};
struct opt_iter opt_rows(const struct command *c);
struct opt *opt_next(struct opt_iter *it);

/*
 * Text to value by the type and range of the row. item: the text is one word
 * of a repeatable option, not a list. text NULL empties strings and lists. On
 * failure leaves 'value "x": why' of class cls.
 */
int opt_value_parse(const struct opt *o, const char *text, bool item,
                    enum err_class cls, struct opt_value *v) MUST_CHECK;
/* Move the value to the address of the row. OPT_STRING is not stored here: it
 * points to the text of the row. append: OPT_STRINGS grows. */
void opt_value_store(const struct opt *o, struct opt_value *v, bool append);
void opt_list_release(struct opt_list *l);
/* Append the value at the address in one canonical text that reads back. */
void opt_value_text(const struct opt *o, struct buf *b);
/* What --help calls the value: the row's own word or one by type; "" flags. */
const char *opt_placeholder(const struct opt *o);

/* The options every program has; ends with a row of zeros. */
enum {
    BUILTIN_VERBOSE,
    BUILTIN_QUIET,
    BUILTIN_HELP,
    BUILTIN_VERSION,
    BUILTIN_PRINT_CONFIG,
    BUILTIN_DUMP
};
extern const struct opt opt_builtin[];

/* The texts, appended to b. c NULL: of the whole program. */
void opt_help(struct buf *b, const struct program *p, const struct command *c);
void opt_usage(struct buf *b, const struct program *p, const struct command *c);
void opt_version(struct buf *b, const struct program *p);
void opt_dump(struct buf *b, const struct program *p, const struct command *c);
void opt_config(struct buf *b, const struct command *c);

/* ---- opt.c, for the command line */
struct opt *opt_by_name(const struct command *c, const char *name);
struct opt *opt_by_key(const struct command *c, const char *key);
struct opt *opt_by_letter(const struct command *c, char letter);
int opt_builtin_by(const char *name, char letter);
/* The value of a row from text; subject names it in errors. */
int opt_row_set(struct opt *o, const char *subject, const char *text, bool item,
                enum opt_origin origin, const char *where);
int opt_unknown_key(const struct command *c, enum err_class cls,
                    const char *where, const char *key);
int opt_unknown_option(const struct command *c, const char *word);
int opt_apply_env(const struct program *p, const struct command *c);

#endif
