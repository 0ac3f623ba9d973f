/* Frames whose tensors lie in memory that their reader has, too. */
#include "io/frame.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "x."

/* ---- writing */

static int describe(const struct frame_slot *s, const struct frame_item *it,
                    struct buf *key, struct buf *value)
{
    const char *data = it->t.data;
    size_t at = (size_t)(data - s->base);

    if (data < s->base || at > s->bytes ||
        tensor_bytes(&it->t) > s->bytes - at || at % FRAME_REF_ALIGN != 0)
        return err_set(ERR_INTERNAL, "tensor \"%.140s\": not in slot %d",
                       it->name, s->number);
    buf_addf(key, PREFIX "%s", it->name);
    buf_addf(value, "%s:", dtype_name(it->t.dtype));
    for (int i = 0; i < it->t.rank; i++)
        buf_addf(value, "%s%" PRId64, i ? "," : "", it->t.shape[i]);
    buf_addf(value, ":%zu", at);
    return 0;
}

int frame_write_ref(struct frame_writer *w, const struct frame_slot *slot,
                    const char *type, const struct frame_pair *meta, int n_meta,
                    const struct frame_item *items, int n_items)
{
    size_t n = (size_t)n_items;
    struct frame_pair *all =
        xreallocarray(NULL, (size_t)n_meta + n + 1, sizeof(*all));
    struct buf *text = xcalloc(2 * n + 1, sizeof(*text));
    int i, r = 0, n_all = n_meta;

    if (n_meta)
        memcpy(all, meta, (size_t)n_meta * sizeof(*all));
    buf_addf(&text[2 * n], "%d", slot->number);
    all[n_all++] = (struct frame_pair){"shm", text[2 * n].data};
    for (i = 0; i < n_items && r == 0; i++) {
        r = describe(slot, &items[i], &text[2 * i], &text[2 * i + 1]);
        all[n_all++] =
            (struct frame_pair){text[2 * i].data, text[2 * i + 1].data};
    }
    if (r == 0)
        r = frame_write(w, type, all, n_all, NULL, 0, 0);
    for (size_t k = 0; k <= 2 * n; k++)
        buf_release(&text[k]);
    free(text);
    free(all);
    return r;
}

/* ---- reading */

/* Digits, up to what every JSON reader holds exactly. */
static int number_at(const char **p, int64_t *v)
{
    *v = 0;
    if (**p < '0' || **p > '9')
        return err_set(ERR_DATA, "not a number: \"%.40s\"", *p);
    for (; **p >= '0' && **p <= '9'; ++*p) {
        *v = *v * 10 + (**p - '0');
        if (*v > (int64_t)1 << 53)
            return err_set(ERR_DATA, "a number larger than 2^53");
    }
    return 0;
}

static int sign_at(const char **p, char c)
{
    if (**p != c)
        return err_set(ERR_DATA, "'%c' is missing: DTYPE:d0,d1,..:OFFSET", c);
    ++*p;
    return 0;
}

static int dtype_at(const char **p, enum dtype *t)
{
    char name[16];
    size_t n = strcspn(*p, ":");

    if (n >= sizeof(name))
        return err_set(ERR_DATA, "unknown dtype \"%.20s\"", *p);
    memcpy(name, *p, n);
    name[n] = 0;
    *p += n;
    return dtype_find(name, t);
}

/* DTYPE:d0,d1,..:OFFSET */
static int parse(const char *p, uint64_t room, struct frame_tensor *ft)
{
    struct tensor *t = &ft->t;
    uint64_t bytes;
    int64_t at;

    if (dtype_at(&p, &t->dtype) < 0 || sign_at(&p, ':') < 0)
        return -1;
    for (t->rank = 0; *p != ':'; t->rank++) {
        if (t->rank == TENSOR_RANK)
            return err_set(ERR_DATA, "more than %d dimensions", TENSOR_RANK);
        if ((t->rank > 0 && sign_at(&p, ',') < 0) ||
            number_at(&p, &t->shape[t->rank]) < 0)
            return -1;
    }
    p++;
    if (number_at(&p, &at) < 0 || tensor_check(t, &bytes) < 0)
        return -1;
    if (*p)
        return err_set(ERR_DATA, "something behind the offset: \"%.20s\"", p);
    if ((uint64_t)at > room || bytes > room - (uint64_t)at)
        return err_set(ERR_DATA,
                       "%" PRIu64 " bytes at %" PRId64
                       " are outside of a slot of %" PRIu64,
                       bytes, at, room);
    if (at % FRAME_REF_ALIGN != 0)
        return err_set(ERR_DATA, "offset %" PRId64 ": not a multiple of %d", at,
                       FRAME_REF_ALIGN);
    ft->begin = (uint64_t)at;
    ft->end = (uint64_t)at + bytes;
    return 0;
}

static int check_overlap(const struct frame *f)
{
    for (int i = 1; i < f->n_tensors; i++)
        if (f->tensor[i].begin < f->tensor[i - 1].end)
            return err_set(ERR_DATA, "tensors \"%.80s\" and \"%.80s\" overlap",
                           f->tensor[i - 1].name, f->tensor[i].name);
    return 0;
}

static int fill(const struct frame *f, uint64_t room, struct frame *there)
{
    struct frame_tensor *t;

    for (int i = 0; i < f->n_meta; i++) {
        if (strncmp(f->key[i], PREFIX, strlen(PREFIX)) != 0)
            continue;
        t = &there->tensor[there->n_tensors];
        t->name = f->key[i] + strlen(PREFIX);
        if (parse(f->value[i], room, t) < 0)
            return err_wrap("tensor \"%.80s\"", t->name);
        there->n_tensors++;
    }
    frame_order(there);
    return check_overlap(there);
}

int frame_ref(const struct frame *f, int n, uint64_t bytes, struct frame *there,
              int *slot)
{
    int64_t number;

    *there = (struct frame)FRAME_INIT;
    if (!frame_meta(f, "shm"))
        return 0;
    if (frame_meta_int(f, "shm", &number) < 0)
        return -1;
    if (n == 0)
        return err_set(ERR_DATA,
                       "its tensors lie in memory that is not shared with this "
                       "program");
    if (number < 0 || number >= n)
        return err_set(ERR_DATA, "slot %" PRId64 ", there are %d", number, n);
    if (f->n_tensors)
        return err_set(ERR_DATA, "slot %" PRId64 ": with other tensors",
                       number);
    there->n_meta = f->n_meta;
    there->key = f->key;
    there->value = f->value;
    there->memory = xcalloc((size_t)f->n_meta, sizeof(*there->tensor));
    there->tensor = there->memory;
    if (fill(f, bytes, there) < 0) {
        frame_release(there);
        return err_wrap("slot %" PRId64, number);
    }
    *slot = (int)number;
    return 1;
}
