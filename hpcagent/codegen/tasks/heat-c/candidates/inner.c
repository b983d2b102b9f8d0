#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The boundary is no question inside of the loop, rows at the ends of a rank wait for their
 * neighbours while the others are computed, and each rank reads and writes its own part. */

static int first_row(int rows, int ranks, int rank)
{
    return (int)((long long)rows * rank / ranks);
}

static int neighbour(int rows, int ranks, int rank, int step)
{
    for (rank += step; rank >= 0 && rank < ranks; rank += step)
        if (first_row(rows, ranks, rank + 1) > first_row(rows, ranks, rank))
            return rank;
    return MPI_PROC_NULL;
}

static void row(int cols, double c, const double *restrict u, double *restrict v)
{
    v[0] = u[0];
    for (long j = 1; j < cols - 1; j++)
        v[j] = u[j] + c * (u[j - cols] + u[j + cols] + u[j - 1] + u[j + 1] - 4.0 * u[j]);
    v[cols - 1] = u[cols - 1];
}

int main(int argc, char **argv)
{
    int rank, ranks;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc != 7)
        MPI_Abort(MPI_COMM_WORLD, 2);
    int rows = atoi(argv[1]), cols = atoi(argv[2]), steps = atoi(argv[3]);
    double c = atof(argv[4]);
    int first = first_row(rows, ranks, rank), count = first_row(rows, ranks, rank + 1) - first;
    int below = neighbour(rows, ranks, rank, -1), above = neighbour(rows, ranks, rank, 1);
    size_t bytes = (size_t)count * cols * sizeof(double);
    MPI_Offset at = (MPI_Offset)first * cols * (MPI_Offset)sizeof(double);
    double *u = calloc((size_t)(count + 2) * cols, sizeof(double));
    double *v = calloc((size_t)(count + 2) * cols, sizeof(double));
    FILE *in = fopen(argv[5], "rb");
    if (!in || fseek(in, at, SEEK_SET) || fread(u + cols, 1, bytes, in) != bytes)
        MPI_Abort(MPI_COMM_WORLD, 3);
    fclose(in);
    for (int s = 0; s < steps; s++) {
        double *last = u + (size_t)count * cols, *swapped = u;
        MPI_Request requests[4];
        int low = first == 0, high = count - (first + count == rows);
        if (count) {
            MPI_Irecv(u, cols, MPI_DOUBLE, below, 0, MPI_COMM_WORLD, &requests[0]);
            MPI_Irecv(last + cols, cols, MPI_DOUBLE, above, 1, MPI_COMM_WORLD, &requests[1]);
            MPI_Isend(last, cols, MPI_DOUBLE, above, 0, MPI_COMM_WORLD, &requests[2]);
            MPI_Isend(u + cols, cols, MPI_DOUBLE, below, 1, MPI_COMM_WORLD, &requests[3]);
            for (int i = 1; i < count - 1; i++)
                row(cols, c, u + (size_t)(i + 1) * cols, v + (size_t)(i + 1) * cols);
            MPI_Waitall(4, requests, MPI_STATUSES_IGNORE);
            for (int i = 0; i < count; i += count > 1 ? count - 1 : 1) {
                size_t place = (size_t)(i + 1) * cols;
                if (i < low || i >= high)
                    memcpy(v + place, u + place, (size_t)cols * sizeof(double));
                else
                    row(cols, c, u + place, v + place);
            }
        }
        u = v, v = swapped;
    }
    MPI_File out;
    MPI_File_open(MPI_COMM_WORLD, argv[6], MPI_MODE_CREATE | MPI_MODE_WRONLY, MPI_INFO_NULL, &out);
    MPI_File_write_at_all(out, at, u + cols, count * cols, MPI_DOUBLE, MPI_STATUS_IGNORE);
    MPI_File_close(&out);
    free(u), free(v);
    MPI_Finalize();
    return 0;
}
