/* A program that starts and ends, and does nothing between. Part of hpcagent.
 *
 * What it takes is taken off the times of whole programs. With an MPI compiler it starts MPI too.
 */
#ifdef HPCAGENT_MPI
#include <mpi.h>
#endif

int main(int argc, char **argv)
{
#ifdef HPCAGENT_MPI
    MPI_Init(&argc, &argv);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
#else
    (void)argc, (void)argv;
#endif
    return 0;
}
