/*
 * mpi.h - what ring-mpi.so gives to mpi.c: messages of floats between the ranks
 * of Open MPI's world, one thread for all calls.
 *
 * The plugin alone sees Open MPI's headers, so that allreduce-ring runs where
 * there is none. Messages with one tag between two ranks arrive in order.
 *
 *	init, (send, recv)*, test until done, ..., finalize
 *
 * Nothing but init and finalize waits. Errors are -1 with a sentence in why [n].
 */
#ifndef RING_MPI_MPI_H
#define RING_MPI_MPI_H

#include <stdbool.h>
#include <stddef.h>

#define MPI_PLUGIN_ABI 1
#define MPI_PLUGIN_SYMBOL "ring_mpi"
#define MPI_PLUGIN_MOST 1024 /* messages under way */

struct mpi_plugin {
    int abi;
    int (*init)(int *rank, int *world, char *why, size_t n);
    int (*send)(int to, int tag, const float *x, int count, char *why,
                size_t n);
    int (*recv)(int from, int tag, float *x, int count, char *why, size_t n);
    /* All of them? */
    int (*test)(bool *done, char *why, size_t n);
    void (*finalize)(void);
};
typedef const struct mpi_plugin *mpi_plugin_entry(void);

#endif
