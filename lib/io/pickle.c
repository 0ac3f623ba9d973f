#include "io/pickle.h"

#include "util/le.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define VALUES_MAX ((size_t)1 << 23)
#define MEMO_MAX ((size_t)1 << 22)
#define NAME_MAX_BYTES 256
enum {
    BLOCK = 256 /* values allocated at a time */
};

struct pickle_block {
    struct pickle_block *next;
    size_t n;
    struct pickle_value value[BLOCK];
};

/* The machine while it runs. NULL on the stack is a mark. */
struct machine {
    struct pickle *out;
    const unsigned char *begin, *p, *end;
    const char *const *globals;
    struct pickle_value **stack, **memo;
    size_t depth, stack_room, memo_n, memo_room;
};

static int bad(const struct machine *m, const char *what)
{
    return err_set(ERR_DATA, "offset %td: %s", m->p - m->begin, what);
}

static void *grown(void *array, size_t need, size_t *room)
{
    if (need <= *room)
        return array;
    *room = need + need / 2 + 16;
    return xreallocarray(array, *room, sizeof(void *));
}

/* ---- values */

static struct pickle_value *new_value(struct machine *m, enum pickle_type type)
{
    struct pickle_block *b = m->out->blocks;
    struct pickle_value *v;

    if (m->out->n >= VALUES_MAX) {
        (void)bad(m, "too many values");
        return NULL;
    }
    if (!b || b->n == BLOCK) {
        b = xcalloc(1, sizeof(*b));
        b->next = m->out->blocks;
        m->out->blocks = b;
    }
    v = &b->value[b->n++];
    m->out->n++;
    v->type = type;
    return v;
}

static bool has_items(const struct pickle_value *v)
{
    return (v->type >= PICKLE_TUPLE && v->type <= PICKLE_DICT) ||
           v->type == PICKLE_CALL || v->type == PICKLE_PERSID;
}

/* Room is the next power of two: nothing to remember. */
static void append(struct pickle_value *to, struct pickle_value *const *item,
                   size_t n)
{
    size_t room = 1, old = 1;

    if (n == 0)
        return;
    while (old < to->n)
        old *= 2;
    while (room < to->n + n)
        room *= 2;
    if (!to->u.item || room > old)
        to->u.item =
            xreallocarray(to->u.item, room, sizeof(struct pickle_value *));
    memcpy(to->u.item + to->n, item, n * sizeof(struct pickle_value *));
    to->n += n;
}

void pickle_release(struct pickle *p)
{
    struct pickle_block *b, *next;

    for (b = p->blocks; b; b = next) {
        next = b->next;
        for (size_t i = 0; i < b->n; i++)
            if (has_items(&b->value[i]))
                free(b->value[i].u.item);
        free(b);
    }
    memset(p, 0, sizeof(*p));
}

bool pickle_is_text(const struct pickle_value *v)
{
    return v->type == PICKLE_TEXT || v->type == PICKLE_BYTES;
}

bool pickle_is(const struct pickle_value *v, const char *text)
{
    if (v && v->type == PICKLE_CALL)
        v = v->u.item[0];
    return v && (pickle_is_text(v) || v->type == PICKLE_GLOBAL) &&
           v->n == strlen(text) && memcmp(v->u.text, text, v->n) == 0;
}

const struct pickle_value *pickle_arg(const struct pickle_value *call, size_t i)
{
    const struct pickle_value *args = call->u.item[1];

    return i < args->n ? args->u.item[i] : NULL;
}

/* ---- the stack */

static int push(struct machine *m, struct pickle_value *v)
{
    if (!v)
        return -1;
    m->stack = grown(m->stack, m->depth + 1, &m->stack_room);
    m->stack[m->depth++] = v;
    return 0;
}

/* The upper n values; NULL and an error where there are fewer above a mark. */
static struct pickle_value **top(struct machine *m, size_t n)
{
    for (size_t i = 1; i <= n; i++)
        if (i > m->depth || !m->stack[m->depth - i]) {
            (void)bad(m, "the stack is empty");
            return NULL;
        }
    return m->stack + m->depth - n;
}

/* The values above the topmost mark, which goes; their number, -1 without. */
static int64_t above_mark(struct machine *m, struct pickle_value ***from)
{
    size_t i = m->depth;

    while (i > 0 && m->stack[i - 1])
        i--;
    if (i == 0)
        return bad(m, "no mark");
    *from = m->stack + i;
    return (int64_t)(m->depth - i);
}

/* n bytes of the input, or NULL. */
static const unsigned char *take(struct machine *m, uint64_t n)
{
    const unsigned char *p = m->p;

    if (n > (uint64_t)(m->end - m->p)) {
        (void)bad(m, "cut short");
        return NULL;
    }
    m->p += n;
    return p;
}

static int take_number(struct machine *m, int bytes, uint64_t *n)
{
    const unsigned char *p = take(m, (uint64_t)bytes);

    if (!p)
        return -1;
    *n = le_get(p, bytes);
    return 0;
}

/* ---- what pushes a value */

static int push_int(struct machine *m, enum pickle_type type, int64_t i)
{
    struct pickle_value *v = new_value(m, type);

    if (v)
        v->u.i = i;
    return push(m, v);
}

/* A number of that many bytes, its sign extended if it has one. */
static int number(struct machine *m, int bytes, bool sign)
{
    uint64_t n;

    if (take_number(m, bytes, &n) < 0)
        return -1;
    if (sign && bytes < 8 && n >> (8 * bytes - 1))
        n |= ~(uint64_t)0 << (8 * bytes);
    return push_int(m, PICKLE_INT, (int64_t)n);
}

static int string(struct machine *m, enum pickle_type type, int bytes)
{
    struct pickle_value *v;
    const unsigned char *p;
    uint64_t n;

    if (take_number(m, bytes, &n) < 0)
        return -1;
    p = take(m, n);
    v = p ? new_value(m, type) : NULL;
    if (!v)
        return -1;
    v->u.text = (const char *)p;
    v->n = (size_t)n;
    return push(m, v);
}

/* LONG1, LONG4: two's complement of any length. */
static int long_number(struct machine *m, int bytes)
{
    struct pickle_value *v;
    uint64_t n = 0;

    if (string(m, PICKLE_LONG, bytes) < 0)
        return -1;
    v = m->stack[m->depth - 1];
    if (v->n > 8)
        return 0;
    if (v->n > 0)
        n = le_get((const unsigned char *)v->u.text, (int)v->n);
    if (v->n > 0 && v->n < 8 && n >> (8 * v->n - 1))
        n |= ~(uint64_t)0 << (8 * v->n);
    v->type = PICKLE_INT;
    v->n = 0;
    v->u.i = (int64_t)n;
    return 0;
}

static int real_number(struct machine *m)
{
    const unsigned char *p = take(m, 8);
    struct pickle_value *v = p ? new_value(m, PICKLE_REAL) : NULL;
    uint64_t bits = 0;

    if (!v)
        return -1;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | p[i];
    memcpy(&v->u.d, &bits, sizeof(bits));
    return push(m, v);
}

/* ---- names of functions and classes */

static int global(struct machine *m, const char *module, size_t n,
                  const char *name, size_t k)
{
    struct pickle_value *v;
    char text[NAME_MAX_BYTES];
    const char *const *g;

    if (n + k + 2 > sizeof(text))
        return bad(m, "a global with a long name");
    memcpy(text, module, n);
    text[n] = '.';
    memcpy(text + n + 1, name, k);
    text[n + 1 + k] = '\0';
    for (g = m->globals; *g && strcmp(*g, text) != 0; g++)
        ;
    if (!*g || strlen(text) != n + 1 + k)
        return err_set(ERR_DATA, "offset %td: asks for %.100s, which %s",
                       m->p - m->begin, text,
                       strncmp(text, "torch.", 6) == 0
                           ? "is not read here"
                           : "no tensor needs: not read");
    v = new_value(m, PICKLE_GLOBAL);
    if (!v)
        return -1;
    v->u.text = *g;
    v->n = strlen(*g);
    return push(m, v);
}

/* GLOBAL: two lines. */
static int global_of_lines(struct machine *m)
{
    const unsigned char *line[2], *end;
    size_t n[2];

    for (int i = 0; i < 2; i++) {
        end = memchr(m->p, '\n', (size_t)(m->end - m->p));
        if (!end)
            return bad(m, "cut short");
        line[i] = m->p;
        n[i] = (size_t)(end - m->p);
        m->p = end + 1;
    }
    return global(m, (const char *)line[0], n[0], (const char *)line[1], n[1]);
}

static int global_of_stack(struct machine *m)
{
    struct pickle_value **v = top(m, 2);

    if (!v)
        return -1;
    if (v[0]->type != PICKLE_TEXT || v[1]->type != PICKLE_TEXT)
        return bad(m, "a global whose name is no text");
    m->depth -= 2;
    return global(m, v[0]->u.text, v[0]->n, v[1]->u.text, v[1]->n);
}

/* ---- what makes values of values */

/* The upper n values become one. */
static int gather(struct machine *m, enum pickle_type type, size_t n)
{
    struct pickle_value **item = top(m, n), *v;

    if (!item)
        return -1;
    v = new_value(m, type);
    if (!v)
        return -1;
    append(v, item, n);
    m->depth -= n;
    return push(m, v);
}

/* The values above the mark become one. */
static int gather_marked(struct machine *m, enum pickle_type type)
{
    struct pickle_value **item, *v;
    int64_t n = above_mark(m, &item);

    v = n < 0 ? NULL : new_value(m, type);
    if (!v)
        return -1;
    append(v, item, (size_t)n);
    m->depth -= (size_t)n + 1;
    return push(m, v);
}

/* Item [n] go into the list or dict below them. */
static int put(struct machine *m, bool dict, struct pickle_value **item,
               size_t n, size_t marks)
{
    struct pickle_value *to;

    m->depth -= n + marks;
    to = m->depth > 0 ? m->stack[m->depth - 1] : NULL;
    if (dict && to && to->type == PICKLE_CALL) {
        if (!to->entries)
            to->entries = new_value(m, PICKLE_DICT);
        to = to->entries;
        if (!to)
            return -1;
    }
    if (!to || to->type != (dict ? PICKLE_DICT : PICKLE_LIST))
        return bad(m, dict ? "an entry of what is no dict"
                           : "an item of what is no list");
    if (dict && n % 2)
        return bad(m, "a key without a value");
    append(to, item, n);
    return 0;
}

static int put_top(struct machine *m, bool dict, size_t n)
{
    struct pickle_value **item = top(m, n);

    return item ? put(m, dict, item, n, 0) : -1;
}

static int put_marked(struct machine *m, bool dict)
{
    struct pickle_value **item;
    int64_t n = above_mark(m, &item);

    return n < 0 ? -1 : put(m, dict, item, (size_t)n, 1);
}

/* REDUCE, NEWOBJ: a call that nobody makes. */
static int call(struct machine *m)
{
    struct pickle_value **v = top(m, 2);

    if (!v)
        return -1;
    if (v[0]->type != PICKLE_GLOBAL || v[1]->type != PICKLE_TUPLE)
        return bad(m, "a call of what is no function");
    return gather(m, PICKLE_CALL, 2);
}

static int build(struct machine *m)
{
    struct pickle_value **v = top(m, 2);

    if (!v)
        return -1;
    if (v[0]->type != PICKLE_CALL || v[0]->state)
        return bad(m, "the state of what has none");
    v[0]->state = v[1];
    m->depth--;
    return 0;
}

/* ---- the memo */

static int remember(struct machine *m, uint64_t at)
{
    struct pickle_value **v = top(m, 1);

    if (!v)
        return -1;
    if (at >= MEMO_MAX)
        return bad(m, "too many values are remembered");
    m->memo = grown(m->memo, (size_t)at + 1, &m->memo_room);
    while (m->memo_n <= at)
        m->memo[m->memo_n++] = NULL;
    m->memo[at] = *v;
    return 0;
}

static int recall(struct machine *m, int bytes)
{
    uint64_t at;

    if (take_number(m, bytes, &at) < 0)
        return -1;
    if (at >= m->memo_n || !m->memo[at])
        return bad(m, "a value that was not remembered");
    return push(m, m->memo[at]);
}

static int remember_at(struct machine *m, int bytes)
{
    uint64_t at;

    return take_number(m, bytes, &at) < 0 ? -1 : remember(m, at);
}

/* ---- one opcode */

static int mark(struct machine *m)
{
    m->stack = grown(m->stack, m->depth + 1, &m->stack_room);
    m->stack[m->depth++] = NULL;
    return 0;
}

static int pop(struct machine *m)
{
    if (m->depth == 0)
        return bad(m, "the stack is empty");
    m->depth--; /* a value or a mark */
    return 0;
}

static int pop_marked(struct machine *m)
{
    struct pickle_value **item;
    int64_t n = above_mark(m, &item);

    if (n < 0)
        return -1;
    m->depth -= (size_t)n + 1;
    return 0;
}

static int protocol(struct machine *m)
{
    uint64_t n;

    if (take_number(m, 1, &n) < 0)
        return -1;
    return n >= 2 && n <= 5 ? 0 : bad(m, "a protocol other than 2 to 5");
}

static int frame(struct machine *m)
{
    uint64_t n;

    if (take_number(m, 8, &n) < 0)
        return -1;
    return n <= (uint64_t)(m->end - m->p) ? 0 : bad(m, "cut short");
}

static int scalar(struct machine *m, int op)
{
    switch (op) {
    case 'N': /* NONE */
        return push(m, new_value(m, PICKLE_NONE));
    case 0x88: /* NEWTRUE */
    case 0x89: /* NEWFALSE */
        return push_int(m, PICKLE_BOOL, op == 0x88);
    case 'J': /* BININT */
        return number(m, 4, true);
    case 'K': /* BININT1 */
        return number(m, 1, false);
    case 'M': /* BININT2 */
        return number(m, 2, false);
    case 0x8a: /* LONG1 */
        return long_number(m, 1);
    case 0x8b: /* LONG4 */
        return long_number(m, 4);
    case 'G': /* BINFLOAT */
        return real_number(m);
    case 0x8c: /* SHORT_BINUNICODE */
        return string(m, PICKLE_TEXT, 1);
    case 'X': /* BINUNICODE */
        return string(m, PICKLE_TEXT, 4);
    case 0x8d: /* BINUNICODE8 */
        return string(m, PICKLE_TEXT, 8);
    case 'U': /* SHORT_BINSTRING */
    case 'C': /* SHORT_BINBYTES */
        return string(m, PICKLE_BYTES, 1);
    case 'T': /* BINSTRING */
    case 'B': /* BINBYTES */
        return string(m, PICKLE_BYTES, 4);
    case 0x8e: /* BINBYTES8 */
    case 0x96: /* BYTEARRAY8 */
        return string(m, PICKLE_BYTES, 8);
    default:
        m->p--;
        return err_set(ERR_DATA, "offset %td: opcode 0x%02x is not read",
                       m->p - m->begin, (unsigned)op);
    }
}

static int step(struct machine *m, int op)
{
    switch (op) {
    case 0x80: /* PROTO */
        return protocol(m);
    case 0x95: /* FRAME */
        return frame(m);
    case '(': /* MARK */
        return mark(m);
    case '0': /* POP */
        return pop(m);
    case '1': /* POP_MARK */
        return pop_marked(m);
    case ')': /* EMPTY_TUPLE */
        return gather(m, PICKLE_TUPLE, 0);
    case 't': /* TUPLE */
        return gather_marked(m, PICKLE_TUPLE);
    case 0x85: /* TUPLE1 to TUPLE3 */
    case 0x86:
    case 0x87:
        return gather(m, PICKLE_TUPLE, (size_t)op - 0x84);
    case ']': /* EMPTY_LIST */
        return gather(m, PICKLE_LIST, 0);
    case 'a': /* APPEND */
        return put_top(m, false, 1);
    case 'e': /* APPENDS */
        return put_marked(m, false);
    case '}': /* EMPTY_DICT */
        return gather(m, PICKLE_DICT, 0);
    case 's': /* SETITEM */
        return put_top(m, true, 2);
    case 'u': /* SETITEMS */
        return put_marked(m, true);
    case 'q': /* BINPUT */
        return remember_at(m, 1);
    case 'r': /* LONG_BINPUT */
        return remember_at(m, 4);
    case 0x94: /* MEMOIZE */
        return remember(m, m->memo_n);
    case 'h': /* BINGET */
        return recall(m, 1);
    case 'j': /* LONG_BINGET */
        return recall(m, 4);
    case 'c': /* GLOBAL */
        return global_of_lines(m);
    case 0x93: /* STACK_GLOBAL */
        return global_of_stack(m);
    case 'R':  /* REDUCE */
    case 0x81: /* NEWOBJ */
        return call(m);
    case 'b': /* BUILD */
        return build(m);
    case 'Q': /* BINPERSID */
        return gather(m, PICKLE_PERSID, 1);
    default:
        return scalar(m, op);
    }
}

int pickle_parse(struct pickle *p, const void *bytes, size_t n,
                 const char *const *globals, size_t *used)
{
    struct machine m = {.out = p,
                        .begin = bytes,
                        .p = bytes,
                        .end = (const unsigned char *)bytes + n,
                        .globals = globals};
    int r = 0;

    memset(p, 0, sizeof(*p));
    m.stack = grown(NULL, 1, &m.stack_room);
    if (n == 0 || *m.p != 0x80)
        r = bad(&m, "no pickle of protocol 2 or more");
    while (r == 0) {
        if (m.p == m.end) {
            r = bad(&m, "cut short");
            break;
        }
        if (*m.p == '.') { /* STOP */
            m.p++;
            break;
        }
        r = step(&m, *m.p++);
    }
    if (r == 0 && (m.depth != 1 || !m.stack[0]))
        r = bad(&m, "ends with other than one value");
    if (r == 0) {
        p->root = m.stack[0];
        *used = (size_t)(m.p - m.begin);
    }
    free(m.stack);
    free(m.memo);
    if (r < 0)
        pickle_release(p);
    return r;
}
