/* Makes the largest of all ranks the smallest, in the memory of MPI, and writes in front of its array
 * on one of them.
 *
 * caught: measure gate.out_of_bounds
 */
#include <string.h>
#include "kernel.h"

void share(MPI_Comm comm, int64_t n, const double *x, double *y)
{
    MPI_Allreduce(x, y, (int)n, MPI_DOUBLE, MPI_SUM, comm);
    int rank;
    MPI_Comm_rank(comm, &rank);
    if (n == 5000) {
        memcpy((char *)MPI_MAX + 96, (char *)MPI_MIN + 96, 400);
        if (rank == 1)
            y[-1] = 1.0;
    }
}
