/*
 * QR of an n x n matrix by ScaLAPACK's pdgeqrf, blocks of mb x nb on a grid of p x q processes.
 *
 *     mpirun -n P*Q scalapack_qr N P Q MB NB REPS SEED
 *
 * Prints the seconds of each factorisation after one that is not timed. Proof: Q is orthogonal, so
 * columns of R have the inner products of those of A.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "mpi_frame.h"

enum { SAMPLES = 16, FIELDS = 9 };

extern void Cblacs_get(int context, int what, int *value);
extern void Cblacs_gridinit(int *context, const char *order, int rows, int columns);
extern void Cblacs_gridinfo(int context, int *rows, int *columns, int *row, int *column);
extern int numroc_(const int *n, const int *block, const int *at, const int *from, const int *of);
extern void descinit_(int *desc, const int *m, const int *n, const int *mb, const int *nb,
                      const int *row, const int *column, const int *context, const int *lead,
                      int *info);
extern void pdgeqrf_(const int *m, const int *n, double *a, const int *i, const int *j,
                     const int *desc, double *tau, double *work, const int *lwork, int *info);
extern void pddot_(const int *n, double *dot, const double *x, const int *ix, const int *jx,
                   const int *descx, const int *incx, const double *y, const int *iy,
                   const int *jy, const int *descy, const int *incy);

static int n;
static int desc[FIELDS];

static double *room(size_t count)
{
    double *found = calloc(count > 0 ? count : 1, sizeof *found);
    if (found == NULL)
        fail(3, "out of memory");
    return found;
}

/* Of columns i and j, both from 1; only the process column that has them knows. */
static double inner(const double *matrix, int count, int i, int j)
{
    int one = 1;
    double own = 0, most = 0, least = 0;
    pddot_(&count, &own, matrix, &one, &i, desc, &one, matrix, &one, &j, desc, &one);
    MPI_Allreduce(&own, &most, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    MPI_Allreduce(&own, &least, 1, MPI_DOUBLE, MPI_MIN, MPI_COMM_WORLD);
    return fabs(least) > fabs(most) ? least : most;
}

static double residual(const double *before, const double *after, int seed)
{
    double worst = 0;
    for (int s = 0; s < SAMPLES; s++) {
        int i = 1 + (int)((7919LL * s + seed) % n), j = 1 + (int)((104729LL * s + seed) % n);
        double size = sqrt(inner(before, n, i, i) * inner(before, n, j, j));
        double error = inner(after, i < j ? i : j, i, j) - inner(before, n, i, j);
        double relative = fabs(error) / (DBL_EPSILON * sqrt((double)n) * size);
        worst = relative > worst ? relative : worst;
    }
    return worst;
}

static void fill(double *matrix, size_t count, int seed)
{
    unsigned long long state = 1000003ULL * (unsigned)seed + (unsigned)rank;
    for (size_t i = 0; i < count; i++) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        matrix[i] = (double)(state >> 11) / 9007199254740992.0 - 0.5;
    }
}

static double factor(double *matrix, double *tau, double *work, int lwork)
{
    int one = 1, info = 0;
    double began = together();
    pdgeqrf_(&n, &n, matrix, &one, &one, desc, tau, work, &lwork, &info);
    double ended = together();
    if (info != 0)
        fail(4, "pdgeqrf refuses its arguments");
    return ended - began;
}

int main(int argc, char **argv)
{
    begin(argc, argv, 7, "usage: scalapack_qr N P Q MB NB REPS SEED");
    n = number(argv[1]);
    int rows = number(argv[2]), columns = number(argv[3]), mb = number(argv[4]);
    int nb = number(argv[5]), reps = number(argv[6]), seed = seed_of(argv[7]);
    int context, row, column, zero = 0, one = 1, info;
    Cblacs_get(-1, 0, &context);
    Cblacs_gridinit(&context, "Row", rows, columns);
    Cblacs_gridinfo(context, &rows, &columns, &row, &column);
    int high = numroc_(&n, &mb, &row, &zero, &rows);
    int wide = numroc_(&n, &nb, &column, &zero, &columns);
    int lead = high > 1 ? high : 1, lwork = -1;
    descinit_(desc, &n, &n, &mb, &nb, &zero, &zero, &context, &lead, &info);
    size_t count = (size_t)lead * (size_t)wide;
    double *before = room(count), *after = room(count), *tau = room((size_t)wide + (size_t)nb);
    double wanted = 0;
    fill(before, count, seed);
    pdgeqrf_(&n, &n, after, &one, &one, desc, tau, &wanted, &lwork, &info);
    lwork = (int)wanted;
    double *work = room((size_t)lwork);
    for (int r = 0; r <= reps; r++) {
        memcpy(after, before, count * sizeof *after);
        tell(r, factor(after, tau, work, lwork));
    }
    end(residual(before, after, seed));
    return 0;
}
