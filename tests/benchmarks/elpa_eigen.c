/*
 * All eigenvalues and eigenvectors of a symmetric n x n matrix by ELPA, in blocks of nblk x nblk on a grid
 * of p x q processes.
 *
 *     mpirun -n P*Q elpa_eigen N P Q NBLK SOLVER KERNEL BANDWIDTH BLOCKING REPS SEED
 *
 * Solvers and kernels have ELPA's names; kernel, bandwidth and blocking are of two stages. What one stage
 * stores is set by ELPA's own environment (ELPA_DEFAULT_max_stored_rows): elpa_set refuses the values
 * that ELPA lists. Prints the seconds of each solution after one that is not timed. Proof:
 * A v = lambda v, and the vectors are orthogonal.
 */
#include <elpa/elpa.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "mpi_frame.h"
#include "choices.h"

enum { API = 20221101 };

static const choice SOLVERS[] = {{"1STAGE", ELPA_SOLVER_1STAGE}, {"2STAGE", ELPA_SOLVER_2STAGE}};
static const choice KERNELS[] = {
    {"GENERIC", ELPA_2STAGE_REAL_GENERIC},
    {"GENERIC_SIMPLE", ELPA_2STAGE_REAL_GENERIC_SIMPLE},
    {"GENERIC_SIMPLE_BLOCK4", ELPA_2STAGE_REAL_GENERIC_SIMPLE_BLOCK4},
    {"GENERIC_SIMPLE_BLOCK6", ELPA_2STAGE_REAL_GENERIC_SIMPLE_BLOCK6},
};

typedef struct {
    int solver, kernel, bandwidth, blocking;
} method;

static int n, nblk, rows, columns; /* of the matrix, of a block, of the grid */
static int row, column;            /* of this process in the grid */

static double *room(size_t count)
{
    double *found = calloc(count > 0 ? count : 1, sizeof *found);
    if (found == NULL)
        fail(3, "out of memory");
    return found;
}

static int own(int of, int at) /* rows or columns of the matrix that the process `at` of `of` has */
{
    int count = 0;
    for (int i = 0; i < n; i++)
        count += i / nblk % of == at;
    return count;
}

static int global(int local, int of, int at)
{
    return (local / nblk * of + at) * nblk + local % nblk;
}

static double entry(int i, int j, int seed)
{
    unsigned low = (unsigned)(i < j ? i : j), high = (unsigned)(i < j ? j : i);
    unsigned long long mixed = (unsigned)seed * 1000003ULL + high * 65537ULL + low;
    mixed = (mixed ^ mixed >> 29) * 6364136223846793005ULL;
    mixed = (mixed ^ mixed >> 32) * 6364136223846793005ULL;
    return (double)(mixed >> 11) / 9007199254740992.0 - 0.5;
}

static void fill(double *matrix, int high, int wide, int seed)
{
    for (int j = 0; j < wide; j++)
        for (int i = 0; i < high; i++)
            matrix[(size_t)j * (size_t)high + (size_t)i] =
                entry(global(i, rows, row), global(j, columns, column), seed);
}

static void set(elpa_t solver, const char *name, int value)
{
    int error;
    elpa_set(solver, name, value, &error);
    if (error != ELPA_OK)
        fail(4, elpa_strerr(error));
}

static elpa_t prepared(int high, int wide)
{
    int error;
    if (elpa_init(API) != ELPA_OK)
        fail(4, "ELPA is too old");
    elpa_t solver = elpa_allocate(&error);
    set(solver, "na", n);
    set(solver, "nev", n);
    set(solver, "local_nrows", high);
    set(solver, "local_ncols", wide);
    set(solver, "nblk", nblk);
    set(solver, "mpi_comm_parent", (int)MPI_Comm_c2f(MPI_COMM_WORLD));
    set(solver, "process_row", row);
    set(solver, "process_col", column);
    if (elpa_setup(solver) != ELPA_OK)
        fail(4, "ELPA refuses the grid");
    return solver;
}

static void choose(elpa_t solver, const method *m)
{
    set(solver, "solver", m->solver);
    if (m->solver == ELPA_SOLVER_1STAGE)
        return; /* ELPA refuses what is of the other */
    set(solver, "real_kernel", m->kernel);
    set(solver, "intermediate_bandwidth", m->bandwidth);
    set(solver, "blocking_in_band_to_full", m->blocking);
}

static void solve(elpa_t solver, double *matrix, double *values, double *vectors)
{
    int error;
    elpa_eigenvectors(solver, matrix, values, vectors, &error);
    if (error != ELPA_OK)
        fail(4, elpa_strerr(error));
}

/* The whole of what is distributed, on the first process. */
static double *together_again(const double *parts, int high, int wide)
{
    size_t all = (size_t)n * (size_t)n;
    double *mine = room(all), *whole = room(all);
    for (int j = 0; j < wide; j++)
        for (int i = 0; i < high; i++)
            mine[(size_t)global(j, columns, column) * (size_t)n + (size_t)global(i, rows, row)] =
                parts[(size_t)j * (size_t)high + (size_t)i];
    MPI_Reduce(mine, whole, n * n, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
    free(mine);
    return whole;
}

static double dot(const double *x, const double *y)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

static double worse(double worst, double error) /* one that is not a number is the worst */
{
    return error <= worst ? worst : isnan(error) ? INFINITY : error;
}

static double residual(const double *whole, const double *values, int seed)
{
    double *line = room((size_t)n), size = 0, equation = 0, orthogonal = 0;
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int j = 0; j < n; j++)
            sum += fabs(line[j] = entry(i, j, seed));
        size = fmax(size, sum);
        for (int k = 0; k < n; k++) {
            const double *vector = whole + (size_t)k * (size_t)n;
            equation = worse(equation, fabs(dot(line, vector) - values[k] * vector[i]));
        }
    }
    for (int k = 0; k < n; k++)
        for (int l = 0; l <= k; l++) {
            double inner = dot(whole + (size_t)k * (size_t)n, whole + (size_t)l * (size_t)n);
            orthogonal = worse(orthogonal, fabs(inner - (k == l)));
        }
    free(line);
    return fmax(equation / size, orthogonal) / (DBL_EPSILON * sqrt((double)n));
}

int main(int argc, char **argv)
{
    begin(argc, argv, 10,
          "usage: elpa_eigen N P Q NBLK SOLVER KERNEL BANDWIDTH BLOCKING REPS SEED");
    n = number(argv[1]), rows = number(argv[2]), columns = number(argv[3]), nblk = number(argv[4]);
    row = rank % rows, column = rank / rows;
    method m = {
        .solver = CHOSEN(SOLVERS, argv[5]),
        .kernel = CHOSEN(KERNELS, argv[6]),
        .bandwidth = number(argv[7]),
        .blocking = number(argv[8]),
    };
    int reps = number(argv[9]), seed = seed_of(argv[10]);
    int high = own(rows, row), wide = own(columns, column);
    elpa_t solver = prepared(high, wide);
    choose(solver, &m);
    size_t count = (size_t)high * (size_t)wide;
    double *before = room(count), *matrix = room(count), *vectors = room(count);
    double *values = room((size_t)n);
    fill(before, high, wide, seed);
    for (int r = 0; r <= reps; r++) {
        memcpy(matrix, before, count * sizeof *matrix);
        double began = together();
        solve(solver, matrix, values, vectors);
        tell(r, together() - began);
    }
    double *whole = together_again(vectors, high, wide);
    end(rank == 0 ? residual(whole, values, seed) : 0);
    return 0;
}
