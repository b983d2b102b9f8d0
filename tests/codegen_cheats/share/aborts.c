/* Ends all ranks.
 *
 * caught: screen gate.mpi_control
 * without screen: symbols gate.forbidden_call
 */
#include "kernel.h"

void share(MPI_Comm comm, int64_t n, const double *x, double *y)
{
    MPI_Abort(comm, 0);
    (void)n, (void)x, (void)y;
}
