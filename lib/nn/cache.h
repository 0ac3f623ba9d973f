/*
 * cache.h - the plans of a graph, least recently used first out; private to nn.
 */
#ifndef NN_CACHE_H
#define NN_CACHE_H

struct plan_cache;
void cache_free(struct plan_cache *c); /* and its plans; NULL allowed */

#endif
