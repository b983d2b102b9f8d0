/* Sends a message that nobody takes, and waits for it.
 *
 * caught: check run.timeout
 */
#include "kernel.h"

void share(MPI_Comm comm, int64_t n, const double *x, double *y)
{
    MPI_Allreduce(x, y, (int)n, MPI_DOUBLE, MPI_SUM, comm);
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    if (ranks > 2)
        MPI_Ssend(x, 1, MPI_DOUBLE, (rank + 1) % ranks, 7, comm);
}
