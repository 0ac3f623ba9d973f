/*
 * plancache.h - which form of each convolution was fastest, kept in a file.
 *
 * One text file for each machine, which is a line of text: device, libraries,
 * threads. It is FIRST-DIGEST.txt, FIRST the first word of that line, in
 * $MILLRACE_CACHE, else $XDG_CACHE_HOME/millrace, else ~/.cache/millrace. Its
 * first line names the machine; others are "KEY<tab>FORM<tab>MILLISECONDS", the
 * last of a key counts. Lines that are none are passed over, with one warning;
 * a file of another machine is begun anew.
 *
 * Lines are appended in one write each, by whoever holds the lock on the file
 * (flock), so that ranks of one job can share it. Where there is no file to
 * write, what is put is known to this process only, and one warning says so.
 * Nothing here fails.
 *
 *	c = plancache_open(machine);
 *	if (!plancache_get(c, key) && plancache_lock(c, 60) == 0 &&
 *	    !plancache_get(c, key)) {
 *		...; plancache_put(c, key, form, ms);
 *	}
 *	plancache_unlock(c); ... plancache_free(c);
 */
#ifndef ENGINE_PLANCACHE_H
#define ENGINE_PLANCACHE_H

#include "util/err.h"

struct plancache;

struct plancache *plancache_open(const char *machine);
void plancache_free(struct plancache *c); /* NULL allowed */
/* Of the file; lent. NULL: there is no place for one. */
const char *plancache_path(const struct plancache *c);
/* The form, lent until the next put or lock; NULL: not known. */
const char *plancache_get(const struct plancache *c, const char *key);
/* Wait so long at most for others, then read what they have added. 0, also where
 * nothing can be kept; -1: they are still at it. */
int plancache_lock(struct plancache *c, double seconds) MUST_CHECK;
void plancache_unlock(struct plancache *c); /* allowed in every state */
/* Without tabs and control characters. */
void plancache_put(struct plancache *c, const char *key, const char *form,
                   double ms);

#endif
