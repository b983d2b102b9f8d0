/* Writes into the memory of another rank.
 *
 * caught: screen gate.memory_map
 * without screen: symbols gate.forbidden_call
 */
#define _GNU_SOURCE
#include <sys/uio.h>
#include <unistd.h>
#include "kernel.h"

void share(MPI_Comm comm, int64_t n, const double *x, double *y)
{
    MPI_Allreduce(x, y, (int)n, MPI_DOUBLE, MPI_SUM, comm);
    int rank;
    MPI_Comm_rank(comm, &rank);
    struct iovec here = {y, 8}, there = {y, 8};
    if (rank == 1)
        process_vm_writev(getppid(), &here, 1, &there, 1, 0);
}
