#include "train/cadence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int cadence_parse(const char *text, struct cadence *c)
{
    char *end;
    double v = strtod(text, &end);

    memset(c, 0, sizeof *c);
    if (end == text || !(v >= 0) || v > 1e12)
        goto bad;
    if (!strcmp(end, "ep"))
        c->epochs = v;
    else if (!strcmp(end, "it") || (!*end && v == 0))
        c->steps = (int64_t)v;
    else if (!strcmp(end, "s"))
        c->seconds = (int64_t)v;
    else if (!strcmp(end, "m"))
        c->seconds = (int64_t)(v * 60);
    else if (!strcmp(end, "h"))
        c->seconds = (int64_t)(v * 3600);
    else
        goto bad;
    /* half a step would be none, and no checkpoint */
    if (v > 0 && !c->epochs && !c->steps && !c->seconds)
        goto bad;
    return 0;
bad:
    return err_set(ERR_USAGE,
                   "\"%s\": not a period: give 500it, 2ep, 30m, 90s or 0",
                   text);
}

bool cadence_due(const struct cadence *c, const struct cadence_moment *last,
                 const struct cadence_moment *now)
{
    if (c->steps && now->step % c->steps == 0)
        return true;
    if (c->epochs > 0 &&
        floor(now->epoch / c->epochs) > floor(last->epoch / c->epochs))
        return true;
    return c->seconds && now->time - last->time >= (double)c->seconds;
}
