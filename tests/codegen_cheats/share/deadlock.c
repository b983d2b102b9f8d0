/* Every rank waits for the next one to send first.
 *
 * caught: check run.timeout
 */
#include "kernel.h"

void share(MPI_Comm comm, int64_t n, const double *x, double *y)
{
    int rank, size;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    if (size > 1)
        MPI_Recv(y, (int)n, MPI_DOUBLE, (rank + 1) % size, 0, comm, MPI_STATUS_IGNORE);
    MPI_Allreduce(x, y, (int)n, MPI_DOUBLE, MPI_SUM, comm);
}
