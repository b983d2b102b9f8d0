/* Ends MPI, so that whatever comes after is not measured.
 *
 * caught: screen gate.mpi_control
 * without screen: symbols gate.forbidden_call
 * without screen, symbols: check gate.exited_early
 */
#include "kernel.h"

void share(MPI_Comm comm, int64_t n, const double *x, double *y)
{
    MPI_Allreduce(x, y, (int)n, MPI_DOUBLE, MPI_SUM, comm);
    MPI_Finalize();
}
