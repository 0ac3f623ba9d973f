#include "train/tapes.h"

#include <string.h>

void tapes_init(struct tapes *t, struct params *ps)
{
    memset(t, 0, sizeof *t);
    t->e = ps->e;
    t->ps = ps;
}

static void drop(struct tapes *t, struct tape_slot *s)
{
    engine_tape_free(t->e, s->tape);
    memset(s, 0, sizeof *s);
}

void tapes_release(struct tapes *t)
{
    int i;

    for (i = 0; i < TAPES; i++)
        drop(t, &t->slot[i]);
}

static bool key_equal(const struct tape_key *a, const struct tape_key *b)
{
    return a->plan == b->plan && a->n == b->n && a->rows == b->rows &&
           a->first == b->first && a->last == b->last && a->erased == b->erased;
}

/* The slot of a key; a new one takes the place of what was not used longest. */
static struct tape_slot *find(struct tapes *t, const struct tape_key *key)
{
    struct tape_slot *s = &t->slot[0];
    int i;

    for (i = 0; i < TAPES; i++) {
        if (t->slot[i].used && key_equal(&t->slot[i].key, key))
            return &t->slot[i];
        if (t->slot[i].used < s->used)
            s = &t->slot[i];
    }
    drop(t, s);
    s->key = *key;
    return s;
}

/*
 * The weights are packed into the forms of the plan's convolutions where they
 * are newer than these: so that is on the tape too. If recording fails, the
 * engine has done nothing of what params believe.
 */
static int record(struct tapes *t, struct tape_slot *s, int (*body)(void *arg),
                  void *arg)
{
    int r;

    t->ps->version++;
    if (engine_record(t->e) < 0)
        return -1;
    r = body(arg);
    if (r < 0)
        engine_record_drop(t->e);
    else
        r = engine_recorded(t->e, &s->tape);
    if (r < 0)
        t->ps->version++;
    return r;
}

int tapes_run(struct tapes *t, const struct tape_key *key,
              int (*body)(void *arg), void *arg)
{
    struct tape_slot *s;

    if (t->broken || !engine_records(t->e))
        return body(arg);
    s = find(t, key);
    s->used = ++t->clock;
    if (s->tape && engine_tape_stale(s->tape)) {
        engine_tape_free(t->e, s->tape);
        s->tape = NULL;
        s->warm = false;
    }
    if (!s->warm) {
        s->warm = true;
        return body(arg);
    }
    if (!s->tape && record(t, s, body, arg) < 0) {
        warn("%s: steps go to the device call by call", err_text());
        err_clear();
        t->broken = true;
        return body(arg);
    }
    return engine_replay(t->e, s->tape);
}
