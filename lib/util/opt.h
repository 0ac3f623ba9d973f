/*
 * opt.h - the settings table: one array says everything about an option.
 *
 * From it come the parsing of the command line, --help, the keys of a recipe
 * file, range errors, --print-config (the effective settings and where each
 * came from) and --dump-options (tab-separated, for the tests of the man page).
 *
 * Order of precedence, one rule: command line > environment > file > default.
 * Among command-line words the later wins. An unknown key is an error that
 * names file and line and the nearest key there is.
 *
 * Calling sequence, in every program:
 *
 *	static struct command commands[] = {{"pack", "SRC...", "...", rows, pack},
 *	                                    ...};
 *	int main(int argc, char **argv)
 *	{
 *		return program_main(&program, argc, argv);
 *	}
 *
 * program_main finds the command, parses, and calls its run function with the
 * operands that are left; it also serves --help, --version, --print-config,
 * --dump-options, -v and -q, which every program has.
 */
#ifndef UTIL_OPT_H
#define UTIL_OPT_H

#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

enum opt_type {
    OPT_FLAG,   /* bool; --x and --no-x; in files true/false */
    OPT_INT,    /* int64_t; min..max */
    OPT_SIZE,   /* int64_t bytes; suffix K, M, G (1024) */
    OPT_FLOAT,  /* double; min..max */
    OPT_STRING, /* char *, owned by the table */
    OPT_CHOICE, /* int: index into choices "a|b|c" */
    OPT_INTS,   /* struct opt_list of int64_t in .i */
    OPT_FLOATS, /* struct opt_list of double in .f */
    OPT_STRINGS /* struct opt_list of char * in .s; option repeatable */
};

struct opt_list {
    int n;
    int64_t *i;
    double *f;
    char **s;
};

/* Where a value came from, and the text of it. Kept by the table. */
enum opt_origin {
    ORIGIN_DEFAULT,
    ORIGIN_FILE,
    ORIGIN_ENV,
    ORIGIN_COMMAND
};

struct opt {
    const char *name; /* long option without "--", or NULL: key only */
    char letter;      /* short option or 0 */
    const char *key;  /* recipe key such as "SOLVER.BASE_LR", or NULL */
    const char *env;  /* environment variable, or NULL */
    enum opt_type type;
    void *addr;          /* where the value goes, of the type's C type */
    const char *def;     /* default as text; NULL: the zero of the type */
    double min, max;     /* range of numbers; both 0: none */
    const char *choices; /* OPT_CHOICE only */
    const char *arg;     /* placeholder in --help, such as "DIR" */
    const char *help;    /* one line, no full stop */
    bool hidden;         /* not in --help (tests only) */
    /* filled by the parser */
    enum opt_origin origin;
    char *where; /* "configs/x.yaml:12", variable name, ... */
    char *text;  /* the value as given */
};
/* Tables end with a row of zeros. */
#define OPT_END                                                                \
    {                                                                          \
        0                                                                      \
    }

struct command {
    const char *name;     /* "" for a program without subcommands */
    const char *operands; /* "MANIFEST", "FILE...", "[KEY VALUE]..." */
    const char *help;     /* one line */
    struct opt *opts;     /* rows of its own, ended by OPT_END */
    struct opt *shared;   /* more rows, such as recipe_opts; or NULL */
    bool overrides;       /* operands are KEY VALUE pairs for the table,
                             after n_fixed operands */
    int n_fixed;          /* least operands; with overrides: exactly */
    int max_operands;     /* -1: any number */
    /* Returns the exit status; -1: die() with the error that was left. */
    int (*run)(const struct command *c, int argc, char **argv);
};

struct program {
    const char *name, *help;
    const struct command *commands; /* ends with name NULL */
    /* Lines for --version about libraries and engines, or NULL. */
    void (*versions)(void);
};

int program_main(const struct program *p, int argc, char **argv);

/*
 * The two steps of program_main that a test or a tool may want alone.
 * opt_defaults gives every row its default (and ends the program where the
 * table is wrong: a name twice, a default out of range). What the addresses of
 * strings and lists point to must be zero before the first call.
 * opt_release frees what the table owns; strings and lists are empty then.
 */
void opt_defaults(const struct command *c);
void opt_release(const struct command *c);
/*
 * Set by key or option name from text, as the command line would; ERR_USAGE or
 * ERR_CONFIG with the nearest name when there is none. A value from a weaker
 * origin than the one that is there is checked and dropped; an equal one
 * replaces it (by option name, OPT_STRINGS grows instead). text NULL (a null in
 * a file) empties a string or a list. where: "file:line", the variable; NULL
 * for the command line.
 */
int opt_set(const struct command *c, const char *key, const char *text,
            enum opt_origin origin, const char *where) MUST_CHECK;
/* Read a recipe file into the table (conf.h), below command line and
 * environment. Called by the parser for the row whose name is "config". */
int opt_load_file(const struct command *c, const char *path) MUST_CHECK;
const struct opt *opt_find(const struct command *c, const char *name_or_key);
/* Was it given anywhere but by default? */
bool opt_given(const struct command *c, const char *name_or_key);
/* All rows with a key, as "KEY<tab>value<tab>origin" through fn. */
void opt_each(const struct command *c,
              void (*fn)(void *arg, const struct opt *o, const char *value),
              void *arg);

#endif
