/* MPI_Allreduce of one bucket in place, as JSON: mpi_allreduce BYTES ITERS. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    int rank, ranks, iters = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 10;
    long bytes = argc > 1 ? strtol(argv[1], NULL, 10) : 4096;
    float *p;
    double begin;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    p = calloc((size_t)bytes / sizeof(*p), sizeof(*p));
    if (!p)
        return 1;
    for (int i = 0; i < 2; i++)
        MPI_Allreduce(MPI_IN_PLACE, p, (int)(bytes / 4), MPI_FLOAT, MPI_SUM,
                      MPI_COMM_WORLD);
    MPI_Barrier(MPI_COMM_WORLD);
    begin = MPI_Wtime();
    for (int i = 0; i < iters; i++)
        MPI_Allreduce(MPI_IN_PLACE, p, (int)(bytes / 4), MPI_FLOAT, MPI_SUM,
                      MPI_COMM_WORLD);
    if (rank == 0)
        printf("{\"engine\":\"mpi\",\"ranks\":%d,\"bytes\":%ld,\"ms\":%.4f}\n",
               ranks, bytes, (MPI_Wtime() - begin) / iters * 1e3);
    free(p);
    MPI_Finalize();
    return 0;
}
