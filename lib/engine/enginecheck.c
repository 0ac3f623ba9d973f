#include "engine/engine_private.h"

#include <stdio.h>
#include <string.h>

const char *conv_kind_name(enum conv_kind k)
{
    static const char *const kinds[] = {"conv forward", "conv dgrad",
                                        "conv wgrad"};

    return (unsigned)k < 3 ? kinds[k] : "conv of no kind";
}

/* ---- describing; the first thing that is wrong stays */

void call_begin(struct call *c, const char *name, bool want_text)
{
    memset(c, 0, sizeof(*c));
    c->name = name;
    c->want_text = want_text;
}

void call_refuse(struct call *c, enum err_class class, const char *fmt, ...)
{
    va_list ap;
    char why[200];

    if (c->failed)
        return;
    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    c->failed = true;
    err_set(class, "%s: %s", c->name, why);
}

PRINTF_LIKE(2, 3) static void say(struct call *c, const char *fmt, ...)
{
    size_t left = sizeof(c->text) - (size_t)c->n_text;
    va_list ap;
    int n;

    if (!c->want_text)
        return;
    va_start(ap, fmt);
    n = vsnprintf(c->text + c->n_text, left, fmt, ap);
    va_end(ap);
    if (n > 0)
        c->n_text += (size_t)n < left ? n : (int)left - 1;
}

void call_dim(struct call *c, const char *name, int64_t v, int64_t least)
{
    if (v < least)
        call_refuse(c, ERR_INTERNAL, "%s: %lld, must be at least %lld", name,
                    (long long)v, (long long)least);
    say(c, " %s %lld", name, (long long)v);
}

/* Product of up to four sizes. */
int64_t call_times(struct call *c, int64_t a, int64_t b, int64_t d, int64_t e)
{
    int64_t r = 0;

    if (c->failed)
        return 0;
    if (!mul_ok(a, b, &r) || !mul_ok(r, d, &r) || !mul_ok(r, e, &r) ||
        r > INT64_MAX / 64) {
        call_refuse(c, ERR_DATA, "%lld x %lld x %lld x %lld elements: too many",
                    (long long)a, (long long)b, (long long)d, (long long)e);
        return 0;
    }
    return r;
}

/* The dtype of activations, or of parameters. */
enum dtype call_computed(struct call *c, const char *what, enum dtype t,
                         bool param)
{
    bool half = t == DT_F16 || t == DT_BF16;
    bool in_range = (unsigned)t < DT_N;

    if (!(t == DT_F32 || t == DT_F64 || (half && !param))) {
        call_refuse(c, ERR_INTERNAL, "%s: %s cannot be computed in", what,
                    in_range ? dtype_name(t) : "no dtype");
        return DT_F32;
    }
    c->dtype[c->n_dtypes++] = t;
    say(c, " %s %s", what, dtype_name(t));
    return t;
}

void call_operand(struct call *c, const char *name, const void *p, enum dtype t,
                  int64_t count, unsigned role)
{
    struct operand *o;

    if (c->n_op == CALL_OPERANDS)
        BUG("%s: too many operands", c->name);
    o = &c->op[c->n_op++];
    o->name = name;
    o->p = p;
    o->align = dtype_size(t);
    o->bytes = (uint64_t)count * o->align;
    o->role = role;
}

/* ---- the rules for all calls */

static bool overlap(const struct operand *a, const struct operand *b)
{
    uintptr_t x = (uintptr_t)a->p, y = (uintptr_t)b->p;

    return x < y ? y - x < a->bytes : x - y < b->bytes;
}

static void check_pair(struct call *c, const struct operand *out,
                       const struct operand *o)
{
    if (!o->p || !overlap(out, o))
        return;
    if ((o->role & OP_SAME) && o->p == out->p && o->bytes == out->bytes)
        return;
    call_refuse(c, ERR_INTERNAL, "%s overlaps %s", out->name, o->name);
}

int call_finish(struct call *c)
{
    int i, j;

    for (i = 0; i < c->n_op && !c->failed && !c->empty; i++) {
        const struct operand *o = &c->op[i];

        if (!o->p && !(o->role & OP_OPTIONAL))
            call_refuse(c, ERR_INTERNAL, "%s is NULL", o->name);
        if ((uintptr_t)o->p % o->align)
            call_refuse(c, ERR_INTERNAL, "%s is not aligned to %zu bytes",
                        o->name, o->align);
        if (!o->p || !(o->role & OP_OUT))
            continue;
        for (j = 0; j < c->n_op; j++) {
            if (j != i)
                check_pair(c, o, &c->op[j]);
        }
    }
    return c->failed ? -1 : 0;
}

/* Number of windows of one dimension, 0 if something is wrong. */
int64_t call_windows(struct call *c, const char *name, int64_t n,
                     const int64_t win[3])
{
    int64_t padded;

    if (c->failed)
        return 0;
    if (n > INT32_MAX || win[0] > INT32_MAX || win[2] > INT32_MAX) {
        call_refuse(c, ERR_DATA, "%s: %lld: too large", name, (long long)n);
        return 0;
    }
    padded = n + 2 * win[2];
    if (padded < win[0]) {
        call_refuse(c, ERR_CONFIG,
                    "%s: %lld with padding %lld is smaller than the "
                    "window of %lld",
                    name, (long long)n, (long long)win[2], (long long)win[0]);
        return 0;
    }
    return (padded - win[0]) / win[1] + 1;
}

/* ---- convolution */

/* Does the epilogue belong to the kind? */
static bool form_ok(const struct conv_desc *d)
{
    if ((unsigned)d->pro > PRO_SBAR ||
        (d->pro != PRO_NONE && d->kind == CONV_DGRAD) ||
        (d->add && (d->epi < EPI_DACT || d->epi > EPI_BNSUMS2)) ||
        (d->residual && d->epi != EPI_BNSUMS1))
        return false;
    switch (d->epi) {
    case EPI_NONE:
        return !d->relu;
    case EPI_STATS:
        return d->kind == CONV_FORWARD && !d->relu;
    case EPI_BIAS:
    case EPI_ADD_BIAS:
        return d->kind == CONV_FORWARD;
    case EPI_ADD:
    case EPI_DACT:
    case EPI_BNSUMS1:
    case EPI_BNSUMS2:
        return d->kind == CONV_DGRAD && !d->relu;
    }
    return false;
}

static void desc(struct call *c, const struct conv_desc *d, int64_t size[4])
{
    int64_t high[3] = {d->r, d->stride, d->pad}, p, q;
    int64_t across[3] = {d->s, d->stride, d->pad};

    if ((unsigned)d->kind > CONV_WGRAD || !form_ok(d))
        call_refuse(c, ERR_INTERNAL, "prologue %d, epilogue %d: no such form",
                    (int)d->pro, (int)d->epi);
    say(c, " pro %d epi %d%s%s%s", (int)d->pro, (int)d->epi,
        d->relu ? " relu" : "", d->add ? " add" : "",
        d->residual ? " residual" : "");
    call_computed(c, "dtype", d->dtype, false);
    call_computed(c, "out", d->out, false);
    call_computed(c, "param", d->param, true);
    if (d->out != d->param && (d->out != d->dtype || d->kind == CONV_WGRAD))
        call_refuse(c, ERR_INTERNAL, "result in %s of %s with parameters in %s",
                    dtype_name(d->out), dtype_name(d->dtype),
                    dtype_name(d->param));
    if (d->out != d->dtype && d->epi > EPI_BIAS)
        call_refuse(c, ERR_INTERNAL, "epilogue %d with a result in %s of %s",
                    (int)d->epi, dtype_name(d->out), dtype_name(d->dtype));
    call_dim(c, "n", d->n, 1);
    call_dim(c, "h", d->h, 1);
    call_dim(c, "w", d->w, 1);
    call_dim(c, "c", d->c, 1);
    call_dim(c, "k", d->k, 1);
    call_dim(c, "r", d->r, 1);
    call_dim(c, "s", d->s, 1);
    call_dim(c, "stride", d->stride, 1);
    call_dim(c, "pad", d->pad, 0);
    if (d->pitch) {
        call_dim(c, "pitch", d->pitch, d->c);
        if (d->kind == CONV_DGRAD || d->pro != PRO_NONE)
            call_refuse(c, ERR_INTERNAL, "pitch: no such form");
    }
    p = call_windows(c, "h", d->h, high);
    q = call_windows(c, "w", d->w, across);
    size[0] = call_times(c, d->n, d->h, d->w, conv_pitch(d)); /* x */
    size[1] = call_times(c, d->n, p, q, d->k);                /* y */
    size[2] = call_times(c, d->k, d->r, d->s, d->c);          /* weights */
    call_times(c, size[1], d->r, d->s, d->c);
}

int call_desc(struct call *c, const struct conv_desc *d, bool want_text)
{
    int64_t size[4];

    call_begin(c, conv_kind_name(d->kind), want_text);
    desc(c, d, size);
    return c->failed ? -1 : 0;
}

/* An operand that is there if the description says so. */
static void optional(struct call *c, const char *name, const void *p,
                     bool there, int64_t n, enum dtype t)
{
    if (there)
        call_operand(c, name, p, t, n, OP_IN);
    else if (p)
        call_refuse(c, ERR_INTERNAL, "%s is not in the description", name);
}

static void conv_epilogue(struct call *c, const struct conv_desc *d,
                          const struct conv_args *a, int64_t out)
{
    enum dtype t = d->out, pt = d->param;
    int b, norms;

    switch (d->epi) {
    case EPI_NONE:
        break;
    case EPI_STATS:
        call_operand(c, "sum", a->sum, pt, d->k, OP_OUT);
        call_operand(c, "sumsq", a->sumsq, pt, d->k, OP_OUT);
        break;
    case EPI_ADD_BIAS:
        call_operand(c, "add", a->add, t, out, OP_IN);
        /* fall through */
    case EPI_BIAS:
        call_operand(c, "bias", a->bias, pt, d->k, OP_IN);
        break;
    case EPI_ADD:
        call_operand(c, "add", a->add, t, out, OP_IN);
        break;
    case EPI_DACT:
        optional(c, "add", a->add, d->add, out, t);
        call_operand(c, "y", a->y, t, out, OP_IN);
        break;
    case EPI_BNSUMS1:
    case EPI_BNSUMS2:
        optional(c, "add", a->add, d->add, out, t);
        optional(c, "residual", a->residual, d->residual, out, t);
        norms = d->epi == EPI_BNSUMS2 ? 2 : 1;
        for (b = 0; b < norms; b++) {
            call_operand(c, "bn.x", a->bn[b].x, d->dtype, out, OP_IN);
            call_operand(c, "bn.dbeta", a->bn[b].dbeta, pt, d->c, OP_OUT);
            call_operand(c, "bn.dgamma", a->bn[b].dgamma, pt, d->c, OP_OUT);
            if (!a->bn[b].mean || !a->bn[b].invstd || !a->bn[b].gamma ||
                !a->bn[b].beta)
                call_refuse(c, ERR_INTERNAL, "a parameter of bn[%d] is NULL",
                            b);
        }
        break;
    }
}

int call_conv(struct call *c, const struct conv_desc *d,
              const struct conv_needs *needs, const struct conv_args *a,
              bool want_text)
{
    bool weights = d->kind != CONV_WGRAD;
    int64_t size[4] = {0}, out;

    call_begin(c, conv_kind_name(d->kind), want_text);
    if (!a)
        return err_set(ERR_INTERNAL, "%s: no arguments", c->name);
    desc(c, d, size);
    out = size[d->kind == CONV_FORWARD ? 1 : d->kind == CONV_DGRAD ? 0 : 2];
    if (a->accumulate && weights)
        call_refuse(c, ERR_INTERNAL, "accumulate: only wgrad does");
    if (d->kind != CONV_DGRAD)
        call_operand(c, "x", a->x, d->dtype, size[0], OP_IN);
    if (d->kind != CONV_FORWARD)
        call_operand(c, "dy", a->dy, d->dtype, size[1], OP_IN);
    if (weights && needs->packed_bytes)
        call_operand(c, "w", a->w, DT_U8, (int64_t)needs->packed_bytes, OP_IN);
    else if (weights)
        call_operand(c, "w", a->w, d->param, size[2], OP_IN);
    call_operand(c, "out", a->out, d->out, out, OP_OUT);
    if (d->pro != PRO_NONE) {
        call_operand(c, "pro_scale", a->pro_scale, d->param, d->c, OP_IN);
        call_operand(c, "pro_bias", a->pro_bias, d->param, d->c, OP_IN);
    }
    if (d->pro == PRO_SBAR)
        call_operand(c, "pro_add", a->pro_add, d->dtype, size[0], OP_IN);
    conv_epilogue(c, d, a, out);
    if (needs->scratch_bytes) {
        call_operand(c, "scratch", a->scratch, DT_U8,
                     (int64_t)needs->scratch_bytes, OP_OUT);
        if ((uintptr_t)a->scratch % 64)
            call_refuse(c, ERR_INTERNAL, "scratch is not aligned to 64 bytes");
    }
    return call_finish(c);
}
