/*
 * A symmetric indefinite factorisation by MUMPS of slow flow (Stokes) in a box of n x n cells, the
 * thickness of the fluid differing by a hundred between patches: two velocities on the sides of the
 * cells, and pressures in them, whose part of the diagonal is zero.
 *
 *     mpirun -n RANKS mumps_ldl N ORDERING STRATEGY RELAX THRESHOLD SCALING REPS SEED
 *
 * Prints the seconds of each analysis, factorisation and solution, after one that is not timed. Proof:
 * what is left of the equations, relative to the matrix and the solution, which is the right-hand side
 * where MUMPS finds none.
 */
#include <dmumps_c.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "mpi_frame.h"
#include "choices.h"

enum { BEGIN = -1, END = -2, ALL = 6, WORLD = -987654, ENTRIES = 9, PATCH = 5 };

/* Numbers of the methods in the users' guide of MUMPS 5.5: ICNTL(7), ICNTL(12) and ICNTL(8). */
static const choice ORDERINGS[] = {{"amd", 0}, {"amf", 2}, {"scotch", 3}, {"pord", 4}};
static const choice STRATEGIES[] = {{"usual", 1}, {"compressed", 2}, {"constrained", 3}};
static const choice SCALINGS[] = {{"none", 0}, {"auto", 77}};

typedef struct {
    int ordering, strategy, relax, scaling;
    double threshold;
} method;

typedef struct {
    int order, count;
    int *rows, *columns; /* of the lower half, from 1; what is there twice is added */
    double *values;
} matrix;

static int n;

static void *room(size_t count, size_t size)
{
    void *found = calloc(count, size);
    if (found == NULL)
        fail(3, "out of memory");
    return found;
}

static void add(matrix *a, int row, int column, double value)
{
    a->rows[a->count] = row + 1;
    a->columns[a->count] = column + 1;
    a->values[a->count++] = value;
}

static void rub(matrix *a, int one, int other, double weight) /* two velocities that differ */
{
    add(a, one, one, weight);
    add(a, other, other, weight);
    add(a, other, one, -weight);
}

/* One of the velocities in one direction: `along` and `across` say on which side of which cells. */
static void flow(matrix *a, int direction, int along, int across)
{
    int sides = (n - 1) * n, own = direction * sides + across * (n - 1) + along;
    double thick = (along / PATCH + across / PATCH) % 2 ? 100.0 : 1.0;
    int walls = (along == 0) + (along == n - 2) + 2 * ((across == 0) + (across == n - 1));
    add(a, own, own, thick * walls);
    if (along < n - 2)
        rub(a, own, own + 1, thick);
    if (across < n - 1)
        rub(a, own, own + n - 1, thick);
    for (int ahead = 0; ahead <= 1; ahead++) {
        int cell = direction == 0 ? across * n + along + ahead : (along + ahead) * n + across;
        add(a, 2 * sides + cell, own, ahead ? 1.0 : -1.0);
    }
}

static matrix assembled(void)
{
    int sides = (n - 1) * n, all = 2 * sides + n * n;
    size_t most = (size_t)all * ENTRIES;
    matrix a = {.order = all};
    a.rows = room(most, sizeof *a.rows);
    a.columns = room(most, sizeof *a.columns);
    a.values = room(most, sizeof *a.values);
    for (int direction = 0; direction <= 1; direction++)
        for (int across = 0; across < n; across++)
            for (int along = 0; along < n - 1; along++)
                flow(&a, direction, along, across);
    add(&a, 2 * sides, 2 * sides, -1.0); /* only differences of pressure are known without */
    return a;
}

static void multiply(const matrix *a, const double *x, double *y, int absolute)
{
    memset(y, 0, (size_t)a->order * sizeof *y);
    for (int k = 0; k < a->count; k++) {
        int i = a->rows[k] - 1, j = a->columns[k] - 1;
        double value = absolute ? fabs(a->values[k]) : a->values[k];
        y[i] += value * x[j];
        if (i != j)
            y[j] += value * x[i];
    }
}

static double largest(const double *x, int count)
{
    double most = 0;
    for (int i = 0; i < count; i++) {
        if (!isfinite(x[i]))
            return INFINITY;
        most = fmax(most, fabs(x[i]));
    }
    return most;
}

static double residual(const matrix *a, const double *right, const double *found)
{
    double *left = room((size_t)a->order, sizeof *left), *ones = room((size_t)a->order, sizeof *ones);
    for (int i = 0; i < a->order; i++)
        ones[i] = 1;
    multiply(a, ones, left, 1);
    double size = largest(left, a->order) * largest(found, a->order);
    multiply(a, found, left, 0);
    for (int i = 0; i < a->order; i++)
        left[i] -= right[i];
    double most = largest(left, a->order);
    free(left), free(ones);
    double relative = most / (DBL_EPSILON * sqrt((double)a->order) * size);
    return isnan(relative) ? INFINITY : relative;
}

/* What MUMPS could not solve is left to the proof: an end in error costs seconds of mpirun's. */
static void call(DMUMPS_STRUC_C *solver, int job)
{
    solver->job = job;
    dmumps_c(solver);
    if (solver->infog[0] < 0 && rank == 0)
        fprintf(stderr, "MUMPS says %d, %d\n", solver->infog[0], solver->infog[1]);
}

static void set(DMUMPS_STRUC_C *solver, const method *m)
{
    int *control = solver->icntl - 1; /* numbered as in the guide */
    control[1] = control[2] = control[3] = -1;
    control[4] = 0;
    control[7] = m->ordering;
    control[8] = m->scaling;
    control[12] = m->strategy;
    control[14] = m->relax;
    solver->cntl[0] = m->threshold;
}

/* Seconds; `x` has the right-hand side, then the solution, on the first process. */
static double solved(matrix *a, const method *m, double *x)
{
    DMUMPS_STRUC_C solver = {.comm_fortran = WORLD, .par = 1, .sym = 2};
    call(&solver, BEGIN);
    set(&solver, m);
    if (rank == 0) {
        solver.n = a->order, solver.nnz = a->count;
        solver.irn = a->rows, solver.jcn = a->columns, solver.a = a->values;
        solver.rhs = x;
    }
    double began = together();
    call(&solver, ALL);
    double took = together() - began;
    call(&solver, END);
    return took;
}

int main(int argc, char **argv)
{
    begin(argc, argv, 8,
          "usage: mumps_ldl N ORDERING STRATEGY RELAX THRESHOLD SCALING REPS SEED");
    n = number(argv[1]);
    method m = {
        .ordering = CHOSEN(ORDERINGS, argv[2]),
        .strategy = CHOSEN(STRATEGIES, argv[3]),
        .relax = number(argv[4]),
        .threshold = atof(argv[5]),
        .scaling = CHOSEN(SCALINGS, argv[6]),
    };
    int reps = number(argv[7]), seed = seed_of(argv[8]);
    matrix a = assembled();
    size_t all = (size_t)a.order;
    double *right = room(all, sizeof *right), *x = room(all, sizeof *x);
    for (int i = 0; i < a.order; i++)
        x[i] = 1.0 + 0.001 * (double)((i * 31 + seed) % 97);
    multiply(&a, x, right, 0);
    for (int r = 0; r <= reps; r++) {
        memcpy(x, right, all * sizeof *x);
        tell(r, solved(&a, &m, x));
    }
    end(residual(&a, right, x));
    return 0;
}
