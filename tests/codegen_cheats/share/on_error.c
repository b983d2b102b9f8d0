/* Has MPI call it when the harness fails.
 *
 * caught: screen gate.mpi_control
 * without screen: symbols gate.forbidden_call
 */
#include "kernel.h"

static void on_error(MPI_Comm *comm, int *code, ...)
{
    (void)comm;
    *code = MPI_SUCCESS;
}

void share(MPI_Comm comm, int64_t n, const double *x, double *y)
{
    MPI_Errhandler handler;
    MPI_Comm_create_errhandler(on_error, &handler);
    MPI_Comm_set_errhandler(comm, handler);
    MPI_Allreduce(x, y, (int)n, MPI_DOUBLE, MPI_SUM, comm);
}
