/*
 * engine_private.h - a call to an engine as data, so that it can be checked.
 *
 * engineload.c finds backends. enginekern.c and enginecheck.c describe each
 * call by its operands (address, bytes, role) and the dtypes it computes in; the
 * rules for all calls are then in one place: an operand that is needed is there
 * and aligned, and a result overlaps nothing, except exactly where table.h
 * allows it. engine.c checks, traces and passes the call on; so do enginebeside.c
 * and enginetape.c. Nobody else includes this.
 *
 *	struct call c;
 *	if (call_kernel(&c, k, args, trace) < 0) return -1;
 *	if (c.empty) return 0;
 */
#ifndef ENGINE_ENGINE_PRIVATE_H
#define ENGINE_ENGINE_PRIVATE_H

#include "engine/engine.h"

#include <stdio.h>

/* A table and where it came from; all zero is none. */
struct backend {
    const struct engine_ops *ops;
    void *dl; /* of dlopen, NULL for the engine inside */
    int score;
    char over[300]; /* auto: why a plugin that is there is not taken, or "" */
};
/* By name or "auto", see engine_open; ERR_USAGE, ERR_UNAVAILABLE. */
int backend_choose(struct backend *b, const char *name,
                   const char *dir) MUST_CHECK;
void backend_release(struct backend *b);

/* ---- an open engine */

struct block {
    void *p;
    size_t bytes;
    uint64_t number; /* rising */
};

struct engine {
    struct backend b;
    void *dev;
    const char *name;
    int level;
    FILE *trace;
    engine_watch_fn *watch;
    void *watch_arg;
    double opened; /* clock_s() */
    struct tune *tune;
    struct block *block;
    size_t n_blocks, cap_blocks;
    size_t now, peak;
    signed char can[DT_N]; /* answers of precision, -1: not asked */
    bool warned[DT_N];
    uint64_t numbers; /* of blocks so far */
    bool no_tapes;
    struct engine_tape *tapes;
};

/* The end of every small call: trace it, give its error a name. start: what
 * engine_begin said, n: bytes or a number for the trace. */
double engine_begin(const struct engine *e);
int engine_done(struct engine *e, double start, const char *call, size_t n,
                int r);
int engine_check_mark(const struct engine *e, int mark) MUST_CHECK;
/* enginetape.c: block `number` is to be freed, or a plan (0): tapes recorded since
 * it is there are stale. */
void engine_tapes_lose(struct engine *e, uint64_t number);

/* ---- calls as data */

#define CALL_OPERANDS 20

enum operand_role {
    OP_IN = 0,
    OP_OUT = 1,      /* written (and perhaps read) */
    OP_OPTIONAL = 2, /* may be NULL */
    OP_SAME = 4      /* an input at whose address a result may lie */
};

struct operand {
    const char *name;
    const void *p;
    uint64_t bytes;
    size_t align;
    unsigned role;
};

struct call {
    const char *name;
    struct operand op[CALL_OPERANDS];
    int n_op;
    enum dtype dtype[3]; /* computed in */
    int n_dtypes;
    bool empty;     /* nothing to do: no elements */
    bool failed;    /* err_set was called */
    bool want_text; /* keep the shape for the trace */
    int n_text;
    char text[200];
};

/* Building a description; the first thing that is wrong stays. */
void call_begin(struct call *c, const char *name, bool want_text);
void call_refuse(struct call *c, enum err_class class, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* A size, at least so large. */
void call_dim(struct call *c, const char *name, int64_t v, int64_t least);
/* Product of four sizes, 0 if it overflows. */
int64_t call_times(struct call *c, int64_t a, int64_t b, int64_t d, int64_t e);
/* A floating dtype; one of parameters is not a half. */
enum dtype call_computed(struct call *c, const char *what, enum dtype t,
                         bool param);
void call_operand(struct call *c, const char *name, const void *p, enum dtype t,
                  int64_t count, unsigned role);
/* Windows along a dimension of n places; win is size, stride, padding. */
int64_t call_windows(struct call *c, const char *name, int64_t n,
                     const int64_t win[3]);
/* Apply the rules for all calls. */
int call_finish(struct call *c) MUST_CHECK;

const char *kernel_name(enum kernel k); /* "norm_apply" */
const char *conv_kind_name(enum conv_kind k);

/* Describe and check; -1 with ERR_INTERNAL for a broken promise, ERR_CONFIG
 * for a window that is larger than its image, ERR_DATA for overflow. */
int call_kernel(struct call *c, enum kernel k, const void *args,
                bool want_text) MUST_CHECK;
int call_conv(struct call *c, const struct conv_desc *d,
              const struct conv_needs *needs, const struct conv_args *a,
              bool want_text) MUST_CHECK;
/* The description alone; text as call_conv has it. */
int call_desc(struct call *c, const struct conv_desc *d,
              bool want_text) MUST_CHECK;

#endif
