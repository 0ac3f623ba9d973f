/*
 * Arrays of numpy in a pickle, as two functions of its rebuild them
 * (numpy/numpy: numpy/_core/multiarray.py, numeric.py).
 */
#include "io/foreign_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Texts, objects, dates and records: what is no tensor anyway. */
static bool is_no_number(const struct pickle_value *dtype)
{
    const struct pickle_value *name =
        dtype && dtype->type == PICKLE_CALL && pickle_is(dtype, "numpy.dtype")
            ? pickle_arg(dtype, 0)
            : NULL;

    return name && pickle_is_text(name) && name->n > 0 &&
           memchr("USOMmV", name->u.text[0], 6);
}

/* dtype("f4"), its state (3, "<", ...) with the order of bytes. */
static int numpy_dtype(const struct pickle_value *v, struct foreign_storage *s)
{
    static const struct {
        const char *name;
        enum dtype t;
    } of[] = {{"f2", DT_F16}, {"f4", DT_F32}, {"f8", DT_F64}, {"i1", DT_I8},
              {"i2", DT_I16}, {"i4", DT_I32}, {"i8", DT_I64}, {"u1", DT_U8},
              {"u2", DT_U16}, {"u4", DT_U32}, {"u8", DT_U64}, {"b1", DT_BOOL}};
    const struct pickle_value *order;

    if (!v || v->type != PICKLE_CALL || !pickle_is(v, "numpy.dtype"))
        return err_set(ERR_DATA, "an array without a dtype");
    order = v->state && v->state->type == PICKLE_TUPLE && v->state->n > 1
                ? v->state->u.item[1]
                : NULL;
    if (!pickle_is(order, "<") && !pickle_is(order, ">") &&
        !pickle_is(order, "|") && !pickle_is(order, "="))
        return err_set(ERR_DATA, "an array without an order of bytes");
    s->swapped = pickle_is(order, ">");
    for (size_t i = 0; i < sizeof(of) / sizeof(*of); i++)
        if (pickle_is(pickle_arg(v, 0), of[i].name)) {
            s->dtype = of[i].t;
            return 0;
        }
    return err_set(ERR_DATA, "an array of other than numbers");
}

/*
 * The bytes of an array: as they are, or _codecs.encode(text, "latin1"), where
 * each character of the text is one byte and takes up to two.
 */
static int numpy_bytes(const struct pickle_value *v, struct foreign_storage *s,
                       size_t *n)
{
    const struct pickle_value *text;
    const unsigned char *p, *end;
    unsigned char *to;

    if (v && v->type == PICKLE_BYTES) {
        s->p = v->u.text;
        *n = v->n;
        return 0;
    }
    if (v && v->type == PICKLE_CALL && pickle_is(v, "__builtin__.bytes") &&
        !pickle_arg(v, 0)) { /* none, by Python 3 for Python 2 */
        s->p = "";
        *n = 0;
        return 0;
    }
    text = v && v->type == PICKLE_CALL && pickle_is(v, "_codecs.encode")
               ? pickle_arg(v, 0)
               : NULL;
    if (!text || text->type != PICKLE_TEXT ||
        (!pickle_is(pickle_arg(v, 1), "latin1") &&
         !pickle_is(pickle_arg(v, 1), "latin-1")))
        return err_set(ERR_DATA, "an array without bytes");
    to = s->own = xmalloc(text->n + 1);
    s->p = to;
    for (p = (const unsigned char *)text->u.text, end = p + text->n; p < end;
         to++)
        if (*p < 0x80) {
            *to = *p++;
        } else if ((*p == 0xc2 || *p == 0xc3) && end - p > 1 &&
                   (p[1] & 0xc0) == 0x80) {
            *to = (unsigned char)(p[0] << 6 | (p[1] & 0x3f));
            p += 2;
        } else {
            free(s->own);
            return err_set(ERR_DATA, "bytes of an array that are no latin-1");
        }
    *n = (size_t)(to - (unsigned char *)s->own);
    return 0;
}

/* Shape, dtype, order and bytes, from either of two ways to store them. */
static int numpy_tensor(struct foreign_file *ff,
                        const struct pickle_value *shape,
                        const struct pickle_value *dtype, bool fortran,
                        const struct pickle_value *bytes,
                        struct foreign_tensor *t)
{
    struct foreign_storage s = {.member = -1};
    int64_t d[TENSOR_RANK], step = 1;
    int rank = foreign_shape(shape, d);
    uint64_t want;
    size_t n = 0;

    if (rank < 0 || numpy_dtype(dtype, &s) < 0)
        return -1;
    t->t = tensor_of(s.dtype, rank, d, NULL);
    if (tensor_check(&t->t, &want) < 0 || numpy_bytes(bytes, &s, &n) < 0)
        return -1;
    s.n = tensor_count(&t->t);
    t->storage = foreign_add_storage(ff, s);
    if (n != want)
        return err_set(ERR_DATA, "an array of %" PRIu64 " bytes has %zu", want,
                       n);
    t->offset = 0;
    for (int i = 0; i < rank; i++) {
        int k = fortran ? i : rank - 1 - i;

        t->stride[k] = step;
        step *= d[k] ? d[k] : 1;
    }
    return 0;
}

/* _reconstruct(...), its state (1, shape, dtype, fortran, bytes). 1: no tensor. */
static int numpy_array(struct foreign_file *ff, const struct pickle_value *v,
                       struct foreign_tensor *t)
{
    struct pickle_value **s;

    if (!v->state || v->state->type != PICKLE_TUPLE || v->state->n != 5)
        return err_set(ERR_DATA, "an array without its state");
    s = v->state->u.item;
    if (s[3]->type != PICKLE_BOOL && s[3]->type != PICKLE_INT)
        return err_set(ERR_DATA, "an array without an order");
    if (is_no_number(s[2]))
        return 1;
    return numpy_tensor(ff, s[1], s[2], s[3]->u.i != 0, s[4], t);
}

/* _frombuffer(bytes, dtype, shape, "C" or "F"). */
static int numpy_buffer(struct foreign_file *ff, const struct pickle_value *v,
                        struct foreign_tensor *t)
{
    bool fortran = pickle_is(pickle_arg(v, 3), "F");

    if (!fortran && !pickle_is(pickle_arg(v, 3), "C"))
        return err_set(ERR_DATA, "an array without an order");
    return numpy_tensor(ff, pickle_arg(v, 2), pickle_arg(v, 1), fortran,
                        pickle_arg(v, 0), t);
}

int foreign_numpy(struct foreign_file *ff, const struct pickle_value *v,
                  struct foreign_tensor *t)
{
    if (pickle_is(v, "numpy.core.multiarray._reconstruct") ||
        pickle_is(v, "numpy._core.multiarray._reconstruct"))
        return numpy_array(ff, v, t);
    if (pickle_is(v, "numpy.core.numeric._frombuffer") ||
        pickle_is(v, "numpy._core.numeric._frombuffer"))
        return numpy_buffer(ff, v, t);
    return 1;
}
