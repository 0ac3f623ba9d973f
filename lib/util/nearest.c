#include "util/nearest.h"

#include <ctype.h>
#include <string.h>

#define NEAR_MAX 63

static size_t unlike(char a, char b)
{
    return tolower((unsigned char)a) != tolower((unsigned char)b);
}

/* Levenshtein's distance, blind to case; words of at most NEAR_MAX bytes. */
static size_t edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t row[NEAR_MAX + 1];

    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t d = diagonal + unlike(a[i - 1], b[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < d)
                d = row[j] + 1;
            if (row[j - 1] + 1 < d)
                d = row[j - 1] + 1;
            row[j] = d;
        }
    }
    return row[nb];
}

/*
 * Within one section the last parts of keys are compared from each '_' on, so
 * that SOLVER.LRR is nearer to SOLVER.BASE_LR than to SOLVER.STEPS.
 */
static size_t tail_distance(const char *word, const char *name)
{
    const char *a = strrchr(word, '.'), *b = strrchr(name, '.');
    size_t best = NEAR_MAX;

    if (!a || !b || a - word != b - name ||
        memcmp(word, name, (size_t)(a - word)))
        return best;
    for (b = strchr(b, '_'); b; b = strchr(b + 1, '_')) {
        size_t d =
            1 + edit_distance(a + 1, strlen(a + 1), b + 1, strlen(b + 1));

        if (d < best)
            best = d;
    }
    return best;
}

void nearest_try(struct nearest *n, const char *name)
{
    size_t na = strlen(n->word), nb = name ? strlen(name) : 0;
    size_t longer = na > nb ? na : nb, d, limit;

    if (!na || !nb || longer > NEAR_MAX)
        return;
    limit = longer / (strchr(n->word, '.') ? 2 : 3);
    if (limit < 2)
        limit = 2;
    d = edit_distance(n->word, na, name, nb);
    if (tail_distance(n->word, name) < d)
        d = tail_distance(n->word, name);
    if (nb > na && name[nb - na - 1] == '.') {
        size_t tail = edit_distance(n->word, na, name + nb - na, na);

        if (tail < d && tail <= (na > 8 ? na / 3 : 2))
            d = tail;
    }
    if (d > limit || d >= longer || (n->best && d >= n->distance))
        return;
    n->best = name;
    n->distance = d;
}

int nearest_fail(enum err_class cls, const char *where, const char *kind,
                 const struct nearest *n, const char *dashes)
{
    const char *colon = *where ? ": " : "";

    if (!n->best)
        return err_set(cls, "%s%sunknown %s \"%.80s\"", where, colon, kind,
                       n->word);
    return err_set(cls, "%s%sunknown %s \"%.80s\" (nearest: %s%s)", where,
                   colon, kind, n->word, dashes, n->best);
}
