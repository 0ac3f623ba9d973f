/*
 * err.h - failures as one sentence and a class.
 *
 * A call that can fail returns 0 or -1 (or a pointer or NULL) and leaves, per
 * thread, one sentence and a class. Callers put context in front of it
 * ("record 153", "train-000007.tar") and pass the failure on. Nothing below
 * src/ prints an error or exits; a program calls die(), which prints
 * "prog: sentence" and exits with the number of the class.
 *
 *	if (fd < 0)
 *		return err_sys(ERR_NOINPUT, "%s: open", path);
 *	if (tar_next(t, &m) < 0)
 *		return err_wrap("%s", path);
 *
 * The sentence follows "subject: what: why": lower case, no full stop, numbers
 * with units, values from outside in quotes.
 */
#ifndef UTIL_ERR_H
#define UTIL_ERR_H

#include <stdarg.h>
#include <stddef.h>

/* The classes are the exit statuses (those of sysexits where it has one). */
enum err_class {
    ERR_NONE = 0,
    ERR_NO = 1,           /* the answer is no: below --require, differs */
    ERR_USAGE = 64,       /* unknown option, impossible combination */
    ERR_DATA = 65,        /* input is bad */
    ERR_NOINPUT = 66,     /* input is missing */
    ERR_UNAVAILABLE = 69, /* device, library or plugin not there */
    ERR_INTERNAL = 70,    /* a bug, or a run that diverged */
    ERR_SYSTEM = 71,      /* memory, descriptors, processes */
    ERR_CANTCREAT = 73,   /* an output cannot be created */
    ERR_IO = 74,          /* reading or writing failed */
    ERR_AGAIN = 75,       /* stopped early, state committed: run again */
    ERR_PEER = 76,        /* a peer was lost or a deadline passed */
    ERR_NOPERM = 77,      /* login refused */
    ERR_CONFIG = 78       /* settings do not fit each other or the state */
};

#if defined(__GNUC__)
#    define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#    define MUST_CHECK __attribute__((warn_unused_result))
#    define NEVER_NULL __attribute__((returns_nonnull))
#else
#    define PRINTF_LIKE(f, a)
#    define MUST_CHECK
#    define NEVER_NULL
#endif

/* Leave a sentence and its class; returns -1. */
int err_set(enum err_class c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* As err_set, with ": " and the text of errno behind it; errno is kept. Where it
 * says that descriptors or memory are lacking, the class is ERR_SYSTEM. */
int err_sys(enum err_class c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Put "context: " in front of the sentence that is there; returns -1. */
int err_wrap(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* The sentence ("" if none) and the class of this thread. */
const char *err_text(void);
enum err_class err_code(void);
void err_clear(void);
/* Carry a failure to another thread: copy with err_text/err_code, then this. Or let
 * the one that is there have another class: text may be err_text(). */
int err_give(enum err_class c, const char *text);
/* Who tidies up after a failure may fail too, which is not what is told: keep the
 * sentence that is there, if there is one, and restore it afterwards. */
struct err_kept {
    enum err_class code;
    char *text;
};
struct err_kept err_keep(void);
void err_restore(struct err_kept *k);

/*
 * Set the name in front of all messages, once, at the start of main. If the
 * environment says WORLD_SIZE > 1 the rank is part of it: "accel-worker[3]".
 */
void prog_set(const char *name);
const char *prog_name(void);

/* One message to stderr in one write; control characters and what is not UTF-8
 * are replaced by '?'. */
void warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* As warn, but only from verbosity 1 upwards. */
void note(const char *fmt, ...) PRINTF_LIKE(1, 2);
extern int verbosity; /* -1 quiet (warnings stay), 0 normal, 1.. more */

/* Print the sentence left by a failed call; exit with its class. */
_Noreturn void die(void);
/* Leave a sentence, print it, exit with the class. */
_Noreturn void die_with(enum err_class c, const char *fmt, ...)
    PRINTF_LIKE(2, 3);
/* A broken promise inside the program: file, line, abort. */
_Noreturn void bug_at(const char *file, int line, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
#define BUG(...) bug_at(__FILE__, __LINE__, __VA_ARGS__)

/* Small objects: memory that is there, or the program ends with status 71. */
void *xmalloc(size_t n) NEVER_NULL;
void *xcalloc(size_t n, size_t size) NEVER_NULL;
void *xrealloc(void *p, size_t n) NEVER_NULL;
/* xrealloc for n items of a size; dies on overflow of the product. */
void *xreallocarray(void *p, size_t n, size_t size) NEVER_NULL;
char *xstrdup(const char *s) NEVER_NULL;
char *xstrfmt(const char *fmt, ...) PRINTF_LIKE(1, 2) NEVER_NULL;

#endif
