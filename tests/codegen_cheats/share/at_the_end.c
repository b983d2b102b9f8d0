/* Has MPI call it when the harness ends.
 *
 * caught: screen gate.mpi_control
 * without screen: symbols gate.forbidden_call
 */
#include "kernel.h"

static int at_end(MPI_Comm comm, int key, void *value, void *extra)
{
    (void)comm, (void)key, (void)value, (void)extra;
    return MPI_SUCCESS;
}

void share(MPI_Comm comm, int64_t n, const double *x, double *y)
{
    int key;
    MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, at_end, &key, 0);
    MPI_Comm_set_attr(MPI_COMM_SELF, key, 0);
    MPI_Allreduce(x, y, (int)n, MPI_DOUBLE, MPI_SUM, comm);
}
