/* ring-mpi.so: Open MPI behind mpi.h. */
#include "ring/mpi/mpi.h"

#include <mpi.h>
#include <stdio.h>

static MPI_Request request[MPI_PLUGIN_MOST];
static int n_requests;

static int check(int r, char *why, size_t n)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int len;

    if (r == MPI_SUCCESS)
        return 0;
    MPI_Error_string(r, text, &len);
    snprintf(why, n, "%s", text);
    return -1;
}

static int start(int *rank, int *world, char *why, size_t n)
{
    int level;

    if (check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level), why,
              n) < 0 ||
        check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), why,
              n) < 0 ||
        check(MPI_Comm_rank(MPI_COMM_WORLD, rank), why, n) < 0)
        return -1;
    return check(MPI_Comm_size(MPI_COMM_WORLD, world), why, n);
}

static int full(char *why, size_t n)
{
    if (n_requests < MPI_PLUGIN_MOST)
        return 0;
    snprintf(why, n, "more than %d messages", MPI_PLUGIN_MOST);
    return -1;
}

static int send_to(int to, int tag, const float *x, int count, char *why,
                   size_t n)
{
    if (full(why, n) < 0)
        return -1;
    return check(MPI_Isend(x, count, MPI_FLOAT, to, tag, MPI_COMM_WORLD,
                           &request[n_requests++]),
                 why, n);
}

static int receive(int from, int tag, float *x, int count, char *why, size_t n)
{
    if (full(why, n) < 0)
        return -1;
    return check(MPI_Irecv(x, count, MPI_FLOAT, from, tag, MPI_COMM_WORLD,
                           &request[n_requests++]),
                 why, n);
}

static int test(bool *done, char *why, size_t n)
{
    int all;

    if (check(MPI_Testall(n_requests, request, &all, MPI_STATUSES_IGNORE), why,
              n) < 0)
        return -1;
    *done = all;
    if (all)
        n_requests = 0;
    return 0;
}

static void end(void)
{
    MPI_Finalize();
}

static const struct mpi_plugin plugin = {MPI_PLUGIN_ABI, start, send_to,
                                         receive,        test,  end};

__attribute__((visibility("default"))) mpi_plugin_entry ring_mpi;
const struct mpi_plugin *ring_mpi(void)
{
    return &plugin;
}
