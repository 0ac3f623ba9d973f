/* Parameters between the host in the order of files and the arenas. */
#include "nn/params.h"

#include "util/buf.h"
#include "util/hash.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- order of elements */

/* One output channel of a weight: [a,b] -> [b,a], elements of size bytes. */
static void transpose(const char *from, char *to, int64_t a, int64_t b,
                      size_t size)
{
    int64_t i, j;

    for (i = 0; i < a; i++)
        for (j = 0; j < b; j++)
            memcpy(to + (size_t)(j * a + i) * size,
                   from + (size_t)(i * b + j) * size, size);
}

/*
 * Copy a parameter between disk order and memory order, changing the dtype.
 * Only convolution weights differ: [K,C,R,S] on disk, [K,R,S,C] in memory.
 */
static void reorder(const struct param *p, const void *from, enum dtype ft,
                    void *to, enum dtype tt, bool to_memory)
{
    int64_t c = p->disk[1], rs = p->rank == 4 ? p->disk[2] * p->disk[3] : 1;
    size_t size = dtype_size(tt);
    char *tmp;
    int64_t k;

    dtype_convert(tt, to, ft, from, (size_t)p->count);
    if (p->kind != PARAM_CONV || rs == 1 || c == 1)
        return;
    tmp = xmalloc((size_t)(c * rs) * size);
    for (k = 0; k < p->disk[0]; k++) {
        char *row = (char *)to + (size_t)(k * c * rs) * size;

        memcpy(tmp, row, (size_t)(c * rs) * size);
        transpose(tmp, row, to_memory ? c : rs, to_memory ? rs : c, size);
    }
    free(tmp);
}

static enum dtype host_type(const struct params *ps, bool f64)
{
    return f64 && ps->pt == DT_F64 ? DT_F64 : DT_F32;
}

/* ---- one entry */

/* An entry that has memory: its elements in memory order. */
struct piece {
    const char *name;
    const struct param *p; /* NULL: a buffer, in one order everywhere */
    int64_t count;
};

static struct piece piece_of(const struct params *ps, int entry)
{
    const struct state_entry *s = &ps->state[entry];

    if (s->what == STATE_COUNTER)
        BUG("%s is a counter", s->name);
    if (s->what == STATE_PARAM)
        return (struct piece){s->name, &ps->p[s->index], ps->p[s->index].count};
    return (struct piece){s->name, NULL, ps->buffer[s->index].count};
}

int params_fetch(struct params *ps, int entry, const void *from, void *host,
                 bool f64)
{
    struct piece e = piece_of(ps, entry);
    enum dtype t = host_type(ps, f64);
    size_t bytes = (size_t)e.count * dtype_size(ps->pt);
    void *tmp = xmalloc(bytes + 1);
    int r = engine_download(ps->e, tmp, from, bytes);

    if (r == 0 && e.p)
        reorder(e.p, tmp, ps->pt, host, t, false);
    else if (r == 0)
        dtype_convert(t, host, ps->pt, tmp, (size_t)e.count);
    free(tmp);
    return r < 0 ? err_wrap("%s", e.name) : 0;
}

static int put(struct params *ps, struct piece e, void *to, const void *host,
               enum dtype t)
{
    size_t bytes = (size_t)e.count * dtype_size(ps->pt);
    void *tmp = xmalloc(bytes + 1);
    int r;

    if (e.p)
        reorder(e.p, host, t, tmp, ps->pt, true);
    else
        dtype_convert(ps->pt, tmp, t, host, (size_t)e.count);
    r = engine_upload(ps->e, to, tmp, bytes);
    if (r == 0)
        r = engine_finish(ps->e); /* tmp ends here */
    free(tmp);
    return r < 0 ? err_wrap("%s", e.name) : 0;
}

int params_put(struct params *ps, int entry, void *to, const void *host,
               bool f64)
{
    return put(ps, piece_of(ps, entry), to, host, host_type(ps, f64));
}

/* Where an entry lies that is no counter. */
static void *place_of(const struct params *ps, const struct state_entry *s)
{
    void *p = s->what == STATE_PARAM ? param_w(ps, s->index)
                                     : param_buffer(ps, s->index);

    if (!p)
        BUG("parameters without memory");
    return p;
}

int params_get(struct params *ps, int entry, void *host, bool f64)
{
    const struct state_entry *s = &ps->state[entry];

    if (s->what != STATE_COUNTER)
        return params_fetch(ps, entry, place_of(ps, s), host, f64);
    memcpy(host, &ps->counter[s->index].value, sizeof(int64_t));
    return 0;
}

int params_set(struct params *ps, int entry, const void *host, bool f64)
{
    const struct state_entry *s = &ps->state[entry];

    if (s->what == STATE_PARAM)
        ps->version++;
    if (s->what != STATE_COUNTER)
        return params_put(ps, entry, place_of(ps, s), host, f64);
    memcpy(&ps->counter[s->index].value, host, sizeof(int64_t));
    return 0;
}

int params_get_grad(struct params *ps, int entry, void *host)
{
    if (ps->state[entry].what != STATE_PARAM)
        BUG("%s is not a parameter", ps->state[entry].name);
    return params_fetch(ps, entry, param_g(ps, ps->state[entry].index), host,
                        false);
}

/* ---- files */

/* What differs, for one message: the first few by name, then a number. */
struct differences {
    struct buf text;
    int n;
};
#define DIFFERENCES_SHOWN 6

PRINTF_LIKE(2, 3)
static void differ(struct differences *d, const char *fmt, ...)
{
    va_list ap;

    if (d->n++ >= DIFFERENCES_SHOWN)
        return;
    if (d->n > 1)
        buf_addstr(&d->text, "; ");
    va_start(ap, fmt);
    buf_vaddf(&d->text, fmt, ap);
    va_end(ap);
}

static int differences_end(struct differences *d)
{
    int n = d->n;

    if (n > DIFFERENCES_SHOWN)
        buf_addf(&d->text, "; and %d more", n - DIFFERENCES_SHOWN);
    if (n)
        err_set(ERR_DATA, "does not fit the model: %s", d->text.data);
    buf_release(&d->text);
    return n ? -1 : 0;
}

static bool type_fits(enum state_what what, enum dtype t)
{
    if (what == STATE_COUNTER)
        return t == DT_I64 || t == DT_I32;
    return t == DT_F32 || t == DT_F64 || t == DT_BF16 || t == DT_F16;
}

/* entry[i] = the state entry that tensor i of the source is. */
static int match(struct params *ps, const struct frame_source *f, int *entry)
{
    struct differences d = {BUF_INIT, 0};
    char *seen = xcalloc((size_t)ps->n_state + 1, 1);
    int i, known = 0;

    for (i = 0; i < f->n; i++) {
        const char *name = f->name(f->arg, i);
        const struct tensor *t = f->tensor(f->arg, i);
        const struct state_entry *s;
        int64_t at;

        entry[i] = -1;
        if (strncmp(name, "module.", 7) == 0)
            name += 7;
        if (!map_get(&ps->by_name, name, &at)) {
            differ(&d, "\"%s\" is unknown", name);
            continue;
        }
        s = &ps->state[at];
        if (seen[at])
            differ(&d, "\"%s\" is there twice", name);
        seen[at] = 1;
        known++;
        entry[i] = (int)at;
        if (!tensor_same_shape(t, &s->disk) || !type_fits(s->what, t->dtype)) {
            struct buf b = BUF_INIT;

            tensor_describe(t, &b);
            buf_addstr(&b, ", expected ");
            tensor_describe(&s->disk, &b);
            differ(&d, "\"%s\" is %s", name, b.data);
            buf_release(&b);
        }
    }
    for (i = 0; i < ps->n_state; i++)
        if (!seen[i] && ps->state[i].what != STATE_COUNTER)
            differ(&d, "\"%s\" is missing", ps->state[i].name);
    free(seen);
    if (known == 0 && f->n > 0) {
        buf_release(&d.text);
        return err_set(ERR_DATA,
                       "none of its %d tensors, as \"%.80s\", is of the model: "
                       "ckpt-merge knows names of other programs",
                       f->n, f->name(f->arg, 0));
    }
    return differences_end(&d);
}

static int load_one(struct params *ps, const struct frame_source *f, int i,
                    int entry)
{
    const struct tensor *t = f->tensor(f->arg, i);
    int64_t n = tensor_count(t), counter;
    bool f64 = ps->pt == DT_F64;
    enum dtype ht = host_type(ps, f64);
    void *raw = xmalloc(tensor_bytes(t)), *host = NULL;
    int e = f->read(f->arg, i, raw);

    if (!e && ps->state[entry].what == STATE_COUNTER) {
        counter = (int64_t)dtype_load(t->dtype, raw, 0);
        e = params_set(ps, entry, &counter, false);
    } else if (!e) {
        host = xmalloc((size_t)n * dtype_size(ht));
        dtype_convert(ht, host, t->dtype, raw, (size_t)n);
        e = params_set(ps, entry, host, f64);
    }
    free(host);
    free(raw);
    return e;
}

int params_load(struct params *ps, const struct frame_source *f)
{
    int *entry = xcalloc((size_t)f->n + 1, sizeof *entry);
    int i, e = match(ps, f, entry);

    for (i = 0; !e && i < ps->n_counters; i++)
        ps->counter[i].value = 0; /* a file may lack them */
    for (i = 0; !e && i < f->n; i++)
        e = load_one(ps, f, i, entry[i]);
    free(entry);
    return e;
}

/* ---- agreement of ranks */

void params_layout(const struct params *ps, char hex[33])
{
    struct buf b = BUF_INIT;
    int i;

    for (i = 0; i < ps->n_state; i++) {
        buf_addf(&b, "%s ", ps->state[i].name);
        tensor_describe(&ps->state[i].disk, &b);
        if (ps->state[i].what == STATE_PARAM) {
            const struct param *p = &ps->p[ps->state[i].index];

            buf_addf(&b, " %" PRId64 "%s", p->offset,
                     p->frozen ? " frozen" : "");
        }
        buf_addch(&b, '\n');
    }
    buf_addf(&b, "%s %" PRId64 " %" PRId64 "\n", dtype_name(ps->pt), ps->total,
             ps->buffer_total);
    hash_hex(b.data, b.len, hex);
    buf_release(&b);
}
