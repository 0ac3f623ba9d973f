/*
 * places.h - a convolution as lists of pixels, one for each place of the window.
 *
 * The places of a result lie in one row, image after image, and are cut into
 * chunks of whole groups. For a chunk and a tap (grid.h) the list holds those of
 * its places at which the tap lies inside the image, and the pixels there: what
 * is outside is in no list, so nothing is padded and no zero multiplied. A
 * strided gradient has such a row for each of its jobs.
 *
 * Calling sequence: places_init, places_cut, then places_range of each chunk and
 * its lists.
 */
#ifndef ENGINE_CPU_PLACES_H
#define ENGINE_CPU_PLACES_H

#include "engine/cpu/grid.h"

struct places {
    struct grid grid;           /* its own chunks are not used */
    int64_t group;              /* places that are taken together */
    int64_t most;               /* places of a chunk, at most */
    int64_t span;               /* pixels from its first to its last, at most */
    int64_t chunks;             /* of all jobs */
    int64_t chunk[GRID_PHASES]; /* of each */
};

/* Places from..to of the row of a job. */
struct range {
    int job;
    int64_t from, to;
};

/* Places, counted from the first of a range, and their pixels. */
struct list {
    int32_t *at, *pixel;
    int64_t n;
};

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* False: as grid_init. */
bool places_init(struct places *p, const struct conv_desc *d, bool backward,
                 int group);
/* Chunks of at most n places, where there are few as many for each thread. */
void places_cut(struct places *p, int64_t n, int threads);
struct range places_range(const struct places *p, int64_t chunk);
static inline const struct grid_job *places_job(const struct places *p,
                                                const struct range *r)
{
    return &p->grid.job[r->job];
}
/* Those of the i-th tap of the range's job, in order; with room for most. */
void places_list(const struct places *p, const struct range *r, int i,
                 struct list *s);
/* All, and their pixels of the result. */
void places_result(const struct places *p, const struct range *r,
                   struct list *s);
/* The list becomes one of whole groups, with room for one more: what overhangs is
 * place number most, of the last pixel. */
void places_fill(const struct places *p, struct list *s);
/* Pixels *first..*end of the source hold all that the range reads. */
void places_span(const struct places *p, const struct range *r, int64_t *first,
                 int64_t *end);

#endif
