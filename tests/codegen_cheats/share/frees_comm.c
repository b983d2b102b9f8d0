/* Frees the communicator that it was given.
 *
 * caught: check run.sanitizer
 */
#include "kernel.h"

void share(MPI_Comm comm, int64_t n, const double *x, double *y)
{
    MPI_Allreduce(x, y, (int)n, MPI_DOUBLE, MPI_SUM, comm);
    MPI_Comm_free(&comm);
}
