#include <mpi.h>

void halo(MPI_Comm comm, int n, double *restrict u)
{
    int rank, size;
    MPI_Request requests[4];
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    const int left = rank > 0 ? rank - 1 : MPI_PROC_NULL;
    const int right = rank + 1 < size ? rank + 1 : MPI_PROC_NULL;
    MPI_Irecv(&u[0], 1, MPI_DOUBLE, left, 0, comm, &requests[0]);
    MPI_Irecv(&u[n + 1], 1, MPI_DOUBLE, right, 1, comm, &requests[1]);
    MPI_Isend(&u[n], 1, MPI_DOUBLE, right, 0, comm, &requests[2]);
    MPI_Isend(&u[1], 1, MPI_DOUBLE, left, 1, comm, &requests[3]);
    MPI_Waitall(4, requests, MPI_STATUSES_IGNORE);
}
