/* What the programs of MPI that record_surface.py compiles have in common: start, timing, end. */
#include <mpi.h>

#include "words_and_clock.h"

static int rank, ranks;

static void begin(int argc, char **argv, int words, const char *usage)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc != words + 1)
        fail(2, usage);
}

static double together(void) /* the time when all processes are here */
{
    MPI_Barrier(MPI_COMM_WORLD);
    return now();
}

static void tell(int round, double seconds) /* round 0 warms up */
{
    if (rank == 0 && round > 0)
        printf("time run %.9e\n", seconds);
}

static void end(double residual)
{
    if (rank == 0)
        printf("residual run %.3e\ndone\n", residual);
    MPI_Finalize();
}
