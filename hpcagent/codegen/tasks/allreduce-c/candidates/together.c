#include "kernel.h"

/* All blocks lie one behind the other, so they are one. */
void reduce_blocks(MPI_Comm comm, int32_t blocks, int32_t length, const double *x, double *y)
{
    MPI_Allreduce(x, y, blocks * length, MPI_DOUBLE, MPI_SUM, comm);
}
