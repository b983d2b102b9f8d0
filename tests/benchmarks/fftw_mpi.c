/*
 * Transforms of 36 real fields on n x n x n points, forward and backward, by FFTW's MPI interface.
 *
 *     mpirun -n RANKS fftw_mpi N THREADS RIGOR DATA PLACE ORDER HOWMANY REPS SEED
 *
 * HOWMANY fields are interleaved for one plan. Prints the seconds of the transforms of all fields,
 * after one that is not timed; plans are not timed. Proof: powers along every axis have a known
 * transform, which all coefficients are held against, and come back; both are off relative to their
 * size, in units of the rounding error.
 */
#include <complex.h>
#include <fftw3-mpi.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "mpi_frame.h"

enum { FIELDS = 36, AXES = 3 };

typedef struct {
    int real, inside, transposed, howmany;
    unsigned flags;
    ptrdiff_t last; /* coefficients along the last axis */
    ptrdiff_t slabs, first, columns, first_column;
    fftw_plan forward, backward;
    fftw_complex *fields[FIELDS], *spectra[FIELDS]; /* the same arrays when in place */
} transform;

static int n;
static double *powers[FIELDS][AXES];
static double complex *known[FIELDS][AXES];

static void *room(size_t bytes)
{
    void *found = fftw_malloc(bytes);
    if (found == NULL)
        fail(3, "out of memory");
    return found;
}

static int is(const char *word, const char *yes, const char *no)
{
    if (strcmp(word, yes) != 0 && strcmp(word, no) != 0)
        fail(2, "no such choice");
    return strcmp(word, yes) == 0;
}

static void place(transform *t, const char *word)
{
    t->inside = strcmp(word, "in-place") == 0;
    if (!t->inside)
        t->flags |= is(word, "destroy-input", "out-of-place") ? FFTW_DESTROY_INPUT : 0;
}

static void know(int seed)
{
    for (int f = 0; f < FIELDS; f++)
        for (int axis = 0; axis < AXES; axis++) {
            double base = 0.70 + 0.20 * ((f * 37 + axis * 59 + seed) % 101) / 101.0;
            powers[f][axis] = room((size_t)n * sizeof(double));
            known[f][axis] = room((size_t)n * sizeof(double complex));
            for (int k = 0; k < n; k++) {
                powers[f][axis][k] = pow(base, k);
                known[f][axis][k] = (1 - pow(base, n)) / (1 - base * cexp(-2 * M_PI * I * k / n));
            }
        }
}

/* What this process has of the fields and of their coefficients, and room for it. */
static void share(transform *t)
{
    const ptrdiff_t shape[] = {n, n, t->last}, block = FFTW_MPI_DEFAULT_BLOCK;
    ptrdiff_t count = fftw_mpi_local_size_many_transposed(
        AXES, shape, t->howmany, block, block, MPI_COMM_WORLD, &t->slabs, &t->first, &t->columns,
        &t->first_column);
    size_t bytes = sizeof(fftw_complex) * (size_t)count;
    for (int b = 0; b < FIELDS / t->howmany; b++) {
        t->fields[b] = memset(room(bytes), 0, bytes);
        t->spectra[b] = t->inside ? t->fields[b] : memset(room(bytes), 0, bytes);
    }
}

static void plan(transform *t)
{
    const ptrdiff_t axes[] = {n, n, n}, block = FFTW_MPI_DEFAULT_BLOCK, many = t->howmany;
    MPI_Comm all = MPI_COMM_WORLD;
    unsigned there = t->flags | (t->transposed ? FFTW_MPI_TRANSPOSED_OUT : 0);
    unsigned back = t->flags | (t->transposed ? FFTW_MPI_TRANSPOSED_IN : 0);
    fftw_complex *in = t->fields[0], *out = t->spectra[0];
    if (t->real) {
        t->forward = fftw_mpi_plan_many_dft_r2c(AXES, axes, many, block, block, (double *)in, out,
                                                all, there);
        t->backward = fftw_mpi_plan_many_dft_c2r(AXES, axes, many, block, block, out, (double *)in,
                                                 all, back);
    } else {
        t->forward = fftw_mpi_plan_many_dft(AXES, axes, many, block, block, in, out, all,
                                            FFTW_FORWARD, there);
        t->backward = fftw_mpi_plan_many_dft(AXES, axes, many, block, block, out, in, all,
                                             FFTW_BACKWARD, back);
    }
    if (t->forward == NULL || t->backward == NULL)
        fail(4, "FFTW has no plan for this");
}

static double forward(const transform *t)
{
    double began = together();
    for (int b = 0; b < FIELDS / t->howmany; b++)
        if (t->real)
            fftw_mpi_execute_dft_r2c(t->forward, (double *)t->fields[b], t->spectra[b]);
        else
            fftw_mpi_execute_dft(t->forward, t->fields[b], t->spectra[b]);
    return together() - began;
}

static double backward(const transform *t)
{
    double began = together();
    for (int b = 0; b < FIELDS / t->howmany; b++)
        if (t->real)
            fftw_mpi_execute_dft_c2r(t->backward, t->spectra[b], (double *)t->fields[b]);
        else
            fftw_mpi_execute_dft(t->backward, t->spectra[b], t->fields[b]);
    return together() - began;
}

/* The real part of a field at a point; with real data the imaginary one is not there. */
static double *point(const transform *t, int f, ptrdiff_t x, ptrdiff_t y, ptrdiff_t z)
{
    /* A row of reals is as long as one of their coefficients, out of place too. */
    ptrdiff_t row = 2 * ((x - t->first) * n + y) * t->last * t->howmany;
    ptrdiff_t at = z * t->howmany + f % t->howmany;
    return (double *)t->fields[f / t->howmany] + row + (t->real ? at : 2 * at);
}

static double complex coefficient(const transform *t, int f, ptrdiff_t x, ptrdiff_t y, ptrdiff_t z)
{
    ptrdiff_t row = t->transposed ? (y - t->first_column) * n + x : (x - t->first) * n + y;
    return t->spectra[f / t->howmany][(row * t->last + z) * t->howmany + f % t->howmany];
}

static double value(int f, ptrdiff_t x, ptrdiff_t y, ptrdiff_t z)
{
    return powers[f][0][x] * powers[f][1][y] * powers[f][2][z];
}

static void fill(const transform *t)
{
    for (int f = 0; f < FIELDS; f++)
        for (ptrdiff_t x = t->first; x < t->first + t->slabs; x++)
            for (ptrdiff_t y = 0; y < n; y++)
                for (ptrdiff_t z = 0; z < n; z++) {
                    double *at = point(t, f, x, y, z);
                    at[0] = value(f, x, y, z);
                    if (!t->real)
                        at[1] = 0;
                }
}

static double relative(const double own[2]) /* of the squares of an error and of what is right */
{
    double sums[2];
    MPI_Allreduce(own, sums, 2, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return sqrt(sums[0] / sums[1]) / DBL_EPSILON;
}

static double error_there(const transform *t)
{
    ptrdiff_t x0 = t->transposed ? 0 : t->first, x1 = t->transposed ? n : x0 + t->slabs;
    ptrdiff_t y0 = t->transposed ? t->first_column : 0, y1 = t->transposed ? y0 + t->columns : n;
    double sums[2] = {0, 0};
    for (int f = 0; f < FIELDS; f++)
        for (ptrdiff_t x = x0; x < x1; x++)
            for (ptrdiff_t y = y0; y < y1; y++)
                for (ptrdiff_t z = 0; z < t->last; z++) {
                    double complex right = known[f][0][x] * known[f][1][y] * known[f][2][z];
                    double off = cabs(coefficient(t, f, x, y, z) - right), size = cabs(right);
                    sums[0] += off * off;
                    sums[1] += size * size;
                }
    return relative(sums);
}

static double error_back(const transform *t)
{
    double sums[2] = {0, 0}, count = (double)n * n * n; /* FFTW does not divide by it */
    for (int f = 0; f < FIELDS; f++)
        for (ptrdiff_t x = t->first; x < t->first + t->slabs; x++)
            for (ptrdiff_t y = 0; y < n; y++)
                for (ptrdiff_t z = 0; z < n; z++) {
                    const double *at = point(t, f, x, y, z);
                    double off = at[0] / count - value(f, x, y, z);
                    double imaginary = t->real ? 0 : at[1] / count;
                    sums[0] += off * off + imaginary * imaginary;
                    sums[1] += pow(value(f, x, y, z), 2);
                }
    return relative(sums);
}

int main(int argc, char **argv)
{
    begin(argc, argv, 9,
          "usage: fftw_mpi N THREADS RIGOR DATA PLACE ORDER HOWMANY REPS SEED");
    n = number(argv[1]);
    transform t = {
        .flags = is(argv[3], "estimate", "measure") ? FFTW_ESTIMATE : FFTW_MEASURE,
        .real = is(argv[4], "real", "complex"),
        .transposed = is(argv[6], "transposed", "natural"),
        .howmany = number(argv[7]),
    };
    int reps = number(argv[8]);
    if (t.howmany < 1 || FIELDS % t.howmany != 0)
        fail(2, "fields are not in groups of that many");
    place(&t, argv[5]);
    t.last = t.real ? n / 2 + 1 : n;
    fftw_init_threads();
    fftw_mpi_init();
    fftw_plan_with_nthreads(number(argv[2]));
    know(seed_of(argv[9]));
    share(&t);
    plan(&t);
    double off = 0;
    for (int r = 0; r <= reps; r++) {
        fill(&t);
        double took = forward(&t);
        if (r == reps)
            off = error_there(&t);
        tell(r, took + backward(&t));
    }
    end(off + error_back(&t));
    return 0;
}
