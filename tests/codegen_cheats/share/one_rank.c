/* Is right on rank 0 only.
 *
 * caught: check numerics.wrong_result
 */
#include "kernel.h"

void share(MPI_Comm comm, int64_t n, const double *x, double *y)
{
    MPI_Reduce(x, y, (int)n, MPI_DOUBLE, MPI_SUM, 0, comm);
}
