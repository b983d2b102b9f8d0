#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first row of a rank, and of one behind the last: where the rows end. */
static int first_row(int rows, int ranks, int rank)
{
    return (int)((long long)rows * rank / ranks);
}

/* The nearest rank in a direction that has any rows. */
static int neighbour(int rows, int ranks, int rank, int step)
{
    for (rank += step; rank >= 0 && rank < ranks; rank += step)
        if (first_row(rows, ranks, rank + 1) > first_row(rows, ranks, rank))
            return rank;
    return MPI_PROC_NULL;
}

static void step(int rows, int cols, int first, int count, double c, const double *u, double *v)
{
    for (int i = 0; i < count; i++)
        for (int j = 0; j < cols; j++) {
            size_t at = (size_t)(i + 1) * (size_t)cols + (size_t)j;
            if (first + i == 0 || first + i == rows - 1 || j == 0 || j == cols - 1)
                v[at] = u[at];
            else
                v[at] = u[at] + c * (u[at - cols] + u[at + cols] + u[at - 1] + u[at + 1] - 4.0 * u[at]);
        }
}

int main(int argc, char **argv)
{
    int rank, ranks, *counts, *starts;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argc != 7)
        MPI_Abort(MPI_COMM_WORLD, 2);
    int rows = atoi(argv[1]), cols = atoi(argv[2]), steps = atoi(argv[3]);
    double c = atof(argv[4]);
    int first = first_row(rows, ranks, rank), count = first_row(rows, ranks, rank + 1) - first;
    int below = neighbour(rows, ranks, rank, -1), above = neighbour(rows, ranks, rank, 1);
    double *whole = rank ? NULL : malloc(((size_t)rows * cols + 1) * sizeof(double));
    double *u = calloc((size_t)(count + 2) * cols, sizeof(double));
    double *v = calloc((size_t)(count + 2) * cols, sizeof(double));
    counts = malloc(2 * ranks * sizeof(int)), starts = counts + ranks;
    for (int r = 0; r < ranks; r++) {
        starts[r] = first_row(rows, ranks, r) * cols;
        counts[r] = first_row(rows, ranks, r + 1) * cols - starts[r];
    }
    if (!rank) {
        FILE *file = fopen(argv[5], "rb");
        if (!file || fread(whole, sizeof(double), (size_t)rows * cols, file) != (size_t)rows * cols)
            MPI_Abort(MPI_COMM_WORLD, 3);
        fclose(file);
    }
    MPI_Scatterv(whole, counts, starts, MPI_DOUBLE, u + cols, counts[rank], MPI_DOUBLE, 0,
                 MPI_COMM_WORLD);
    for (int s = 0; s < steps; s++) {
        double *last = u + (size_t)count * cols, *swapped = u;
        if (count) {
            MPI_Sendrecv(last, cols, MPI_DOUBLE, above, 0, u, cols, MPI_DOUBLE, below, 0,
                         MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            MPI_Sendrecv(u + cols, cols, MPI_DOUBLE, below, 1, last + cols, cols, MPI_DOUBLE, above, 1,
                         MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        }
        step(rows, cols, first, count, c, u, v);
        u = v, v = swapped;
    }
    MPI_Gatherv(u + cols, counts[rank], MPI_DOUBLE, whole, counts, starts, MPI_DOUBLE, 0,
                MPI_COMM_WORLD);
    if (!rank) {
        FILE *file = fopen(argv[6], "wb");
        if (!file || fwrite(whole, sizeof(double), (size_t)rows * cols, file) != (size_t)rows * cols
            || fclose(file))
            MPI_Abort(MPI_COMM_WORLD, 4);
    }
    free(u), free(v), free(counts), free(whole);
    MPI_Finalize();
    return 0;
}
