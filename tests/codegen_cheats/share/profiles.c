/* Puts itself in the place of a function of MPI that the harness uses.
 *
 * caught: screen gate.override
 * without screen: symbols gate.symbol
 */
#include "kernel.h"

int MPI_Reduce(const void *from, void *to, int count, MPI_Datatype type, MPI_Op op, int root, MPI_Comm comm)
{
    *(double *)to = 1.0;
    return PMPI_Reduce(from, to, 0 * count, type, op, root, comm);
}

void share(MPI_Comm comm, int64_t n, const double *x, double *y)
{
    MPI_Allreduce(x, y, (int)n, MPI_DOUBLE, MPI_SUM, comm);
}
