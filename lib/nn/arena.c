/* Where buffers lie: those that live at different times share memory. */
#include "nn/lower.h"

#include <stdlib.h>

/* The workspace of cuDNN stands behind the last one. */
#define ARENA_ALIGN 256

static size_t aligned(size_t n)
{
    return (n + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

static bool meet(const struct buffer *a, const struct buffer *b)
{
    return a->first <= b->last && b->first <= a->last;
}

static int by_size(const void *pa, const void *pb)
{
    const struct buffer *a = *(struct buffer *const *)pa;
    const struct buffer *b = *(struct buffer *const *)pb;

    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? 1 : -1;
    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    return a < b ? -1 : a > b;
}

/*
 * The smallest gap that holds b among the n placed ones that live at the same
 * time (by rising offset), or behind them all.
 */
static size_t best_gap(struct buffer *const *placed, int n,
                       const struct buffer *b)
{
    size_t end = 0, best = 0, best_size = SIZE_MAX, gap;
    int i;

    for (i = 0; i < n; i++) {
        if (!meet(placed[i], b))
            continue;
        if (placed[i]->offset > end) {
            gap = placed[i]->offset - end;
            if (gap >= aligned(b->bytes) && gap < best_size) {
                best_size = gap;
                best = end;
            }
        }
        gap = placed[i]->offset + aligned(placed[i]->bytes);
        if (gap > end)
            end = gap;
    }
    return best_size < SIZE_MAX ? best : end;
}

/* Greedy by falling size: large ones have few neighbours to fit between. */
size_t arena_place(struct buffer *buf, int n)
{
    struct buffer **todo = xcalloc((size_t)n + 1, sizeof(struct buffer *));
    struct buffer **placed = xcalloc((size_t)n + 1, sizeof(struct buffer *));
    size_t total = 0, end;
    int i, j, n_todo = 0;

    for (i = 0; i < n; i++)
        if (buf[i].bytes > 0 && buf[i].first <= buf[i].last)
            todo[n_todo++] = &buf[i];
    qsort(todo, (size_t)n_todo, sizeof(struct buffer *), by_size);
    for (i = 0; i < n_todo; i++) {
        todo[i]->offset = best_gap(placed, i, todo[i]);
        for (j = i; j > 0 && placed[j - 1]->offset > todo[i]->offset; j--)
            placed[j] = placed[j - 1];
        placed[j] = todo[i];
        end = todo[i]->offset + aligned(todo[i]->bytes);
        if (end > total)
            total = end;
    }
    free(todo);
    free(placed);
    return total;
}
