#include "kernel.h"

void share(MPI_Comm comm, int64_t n, const double *x, double *y)
{
    MPI_Allreduce(x, y, (int)n, MPI_DOUBLE, MPI_SUM, comm);
}
