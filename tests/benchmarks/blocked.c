/*
 * Times a blocked algorithm on top of a BLAS, as codes that choose a block size do, and proves the
 * result.
 *
 *     blocked ALGORITHM VARIANT M N K MB NB KB PAD REPS SEED
 *
 * gemm      C = A B, tile by tile: MB x NB tiles of C, KB of the inner dimension at a time
 * cholesky  of N x N with panels of NB columns; VARIANT right or left (looking)
 * lu        of N x N with panels of NB columns and row exchanges; VARIANT library (dgetrf factors
 *           the panel) or columns (one column at a time)
 *
 * Leading dimensions are PAD larger than they need to be. What an algorithm does not use is 0 or
 * '-'. Output is as that of the benchmark driver: time, residual, core, threads, done.
 *
 * Exit status: 0 done, 2 usage, 3 out of memory, 4 the factorisation broke down.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "words_and_clock.h"

typedef size_t length; /* hidden lengths of character arguments, as gfortran passes them */

void dgemm_(const char *, const char *, const int *, const int *, const int *, const double *,
            const double *, const int *, const double *, const int *, const double *, double *,
            const int *, length, length);
void dsyrk_(const char *, const char *, const int *, const int *, const double *, const double *,
            const int *, const double *, double *, const int *, length, length);
void dtrsm_(const char *, const char *, const char *, const char *, const int *, const int *,
            const double *, const double *, const int *, double *, const int *, length, length,
            length, length);
void dger_(const int *, const int *, const double *, const double *, const int *, const double *,
           const int *, double *, const int *);
void dscal_(const int *, const double *, double *, const int *);
void dswap_(const int *, double *, const int *, double *, const int *);
int idamax_(const int *, const double *, const int *);
void dpotrf_(const char *, const int *, double *, const int *, int *, length);
void dgetrf_(const int *, const int *, double *, const int *, int *, int *);
void dlaswp_(const int *, double *, const int *, const int *, const int *, const int *,
             const int *);
char *openblas_get_corename(void);
int openblas_get_num_threads(void);

static const double ONE = 1.0, MINUS_ONE = -1.0, ZERO = 0.0;
static const int STEP = 1;

static const char *variant;
static int m, n, k, mb, nb, kb, pad, lda, ldb;
static double *a, *b, *c, *first;
static int *pivots;
static size_t bytes; /* of what is overwritten: c for gemm, else a */

static int least(int x, int y)
{
    return x < y ? x : y;
}

static double *at(double *matrix, int lead, int i, int j)
{
    return matrix + (size_t)j * (size_t)lead + (size_t)i;
}

/* --- the algorithms --------------------------------------------------------------------------- */

static void gemm(void)
{
    for (int j = 0; j < n; j += nb)
        for (int p = 0; p < k; p += kb)
            for (int i = 0; i < m; i += mb) {
                int rows = least(mb, m - i), columns = least(nb, n - j), inner = least(kb, k - p);
                dgemm_("N", "N", &rows, &columns, &inner, &ONE, at(a, lda, i, p), &lda,
                       at(b, ldb, p, j), &ldb, p ? &ONE : &ZERO, at(c, lda, i, j), &lda, 1, 1);
            }
}

static void cholesky(void)
{
    int left = strcmp(variant, "left") == 0;
    for (int j = 0; j < n; j += nb) {
        int width = least(nb, n - j), rest = n - j - width, info = 0;
        double *corner = at(a, lda, j, j), *below = at(a, lda, j + width, j);
        if (left && j > 0) {
            dsyrk_("L", "N", &width, &j, &MINUS_ONE, at(a, lda, j, 0), &lda, &ONE, corner, &lda,
                   1, 1);
            if (rest > 0)
                dgemm_("N", "T", &rest, &width, &j, &MINUS_ONE, at(a, lda, j + width, 0), &lda,
                       at(a, lda, j, 0), &lda, &ONE, below, &lda, 1, 1);
        }
        dpotrf_("L", &width, corner, &lda, &info, 1);
        if (info != 0)
            fail(4, "not positive definite");
        if (rest == 0)
            continue;
        dtrsm_("R", "L", "T", "N", &rest, &width, &ONE, corner, &lda, below, &lda, 1, 1, 1, 1);
        if (!left)
            dsyrk_("L", "N", &rest, &width, &MINUS_ONE, below, &lda, &ONE,
                   at(a, lda, j + width, j + width), &lda, 1, 1);
    }
}

static int factor_columns(int rows, int columns, double *panel, int *pivot)
{
    for (int j = 0; j < columns; j++) {
        int long_ = rows - j, below = long_ - 1, right = columns - j - 1;
        double *top = at(panel, lda, j, j), inverse;
        int found = j + idamax_(&long_, top, &STEP) - 1;
        pivot[j] = found + 1;
        if (found != j)
            dswap_(&columns, panel + j, &lda, panel + found, &lda);
        if (*top == 0.0)
            return 1;
        inverse = 1.0 / *top;
        dscal_(&below, &inverse, top + 1, &STEP);
        if (right > 0 && below > 0)
            dger_(&below, &right, &MINUS_ONE, top + 1, &STEP, top + lda, &lda, top + lda + 1, &lda);
    }
    return 0;
}

static void lu(void)
{
    int columns_only = strcmp(variant, "columns") == 0;
    for (int j = 0; j < n; j += nb) {
        int width = least(nb, n - j), rows = n - j, rest = rows - width, info = 0;
        int from = j + 1, to = j + width;
        double *corner = at(a, lda, j, j), *right = at(a, lda, j, j + width);
        if (columns_only)
            info = factor_columns(rows, width, corner, pivots + j);
        else
            dgetrf_(&rows, &width, corner, &lda, pivots + j, &info);
        if (info != 0)
            fail(4, "singular");
        for (int i = j; i < j + width; i++)
            pivots[i] += j;
        if (j > 0)
            dlaswp_(&j, a, &lda, &from, &to, pivots, &STEP);
        if (rest == 0)
            continue;
        dlaswp_(&rest, at(a, lda, 0, j + width), &lda, &from, &to, pivots, &STEP);
        dtrsm_("L", "L", "N", "U", &width, &rest, &ONE, corner, &lda, right, &lda, 1, 1, 1, 1);
        dgemm_("N", "N", &rest, &rest, &width, &MINUS_ONE, corner + width, &lda, right, &lda, &ONE,
               right + width, &lda, 1, 1);
    }
}

/* --- the proof: componentwise against n eps |A| |B| |v| (Higham, Accuracy and Stability, 3.5) - */

static double *vector(int count)
{
    double *v = calloc((size_t)count, sizeof *v);
    if (v == NULL)
        fail(3, "out of memory");
    return v;
}

/* y += M x and bound += |M| |x|, with `lower`: 1 L, 2 unit L, 3 L^T, 4 U; 0 all of M. */
static void multiply(int rows, int columns, double *matrix, int lead, int part, const double *x,
                     const double *xs, double *y, double *bound)
{
    for (int j = 0; j < columns; j++)
        for (int i = 0; i < rows; i++) {
            double value = *at(matrix, lead, i, j);
            int to = part == 3 ? j : i, with = part == 3 ? i : j;
            if ((part >= 1 && part <= 3 && i < j) || (part == 4 && i > j))
                continue;
            value = part == 2 && i == j ? 1.0 : value;
            y[to] += value * x[with];
            bound[to] += fabs(value) * xs[with];
        }
}

static double worst(int count, const double *left, const double *right, const double *bound,
                    int inner)
{
    double most = 0.0;
    for (int i = 0; i < count; i++) {
        double ratio = fabs(left[i] - right[i]) / (DBL_EPSILON * (inner + 2) * bound[i]);
        if (!(ratio <= DBL_MAX))
            return HUGE_VAL;
        most = ratio > most ? ratio : most;
    }
    return most;
}

static double residual(const char *algorithm)
{
    int is_gemm = strcmp(algorithm, "gemm") == 0, is_lu = strcmp(algorithm, "lu") == 0;
    int rows = is_gemm ? m : n, inner = is_gemm ? k : n;
    double *v = vector(n), *vs = vector(n), *t = vector(inner), *ts = vector(inner);
    double *left = vector(rows), *right = vector(rows), *ls = vector(rows), *rs = vector(rows);
    for (int i = 0; i < n; i++)
        vs[i] = fabs(v[i] = i % 2 ? -0.5 - 0.25 * (i % 3) : 0.5 + 0.0625 * (i % 5));
    if (is_gemm) {
        multiply(k, n, b, ldb, 0, v, vs, t, ts);
        multiply(m, k, a, lda, 0, t, ts, right, rs);
        multiply(m, n, c, lda, 0, v, vs, left, ls);
        return worst(m, left, right, rs, n + k);
    }
    multiply(n, n, a, lda, is_lu ? 4 : 3, v, vs, t, ts);
    multiply(n, n, a, lda, is_lu ? 2 : 1, t, ts, right, rs);
    multiply(n, n, first, lda, 0, v, vs, left, ls);
    for (int i = 0; is_lu && i < n; i++) {
        double kept = left[i];
        left[i] = left[pivots[i] - 1];
        left[pivots[i] - 1] = kept;
    }
    return worst(n, left, right, rs, n);
}

/* --- main ------------------------------------------------------------------------------------- */

static double *filled(int rows, int columns, int lead, uint64_t *state)
{
    void *memory = NULL;
    double *matrix;
    if (posix_memalign(&memory, 64, (size_t)lead * (size_t)columns * sizeof *matrix) != 0)
        fail(3, "out of memory");
    matrix = memory;
    for (int j = 0; j < columns; j++)
        for (int i = 0; i < lead; i++) {
            uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15)); /* SplitMix64 */
            z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
            z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
            *at(matrix, lead, i, j) = i < rows ? (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1 : 0;
        }
    return matrix;
}

static void prepare(int is_gemm, uint64_t state)
{
    lda = (is_gemm ? m : n) + pad;
    ldb = k + pad;
    a = is_gemm ? filled(m, k, lda, &state) : filled(n, n, lda, &state);
    b = is_gemm ? filled(k, n, ldb, &state) : NULL;
    c = is_gemm ? filled(m, n, lda, &state) : NULL;
    pivots = calloc((size_t)n, sizeof *pivots);
    bytes = (size_t)lda * (size_t)n * sizeof *a;
    first = malloc(bytes);
    if (pivots == NULL || first == NULL)
        fail(3, "out of memory");
    for (int j = 0; !is_gemm && j < n; j++) {
        for (int i = 0; i < j; i++)
            *at(a, lda, i, j) = *at(a, lda, j, i);
        *at(a, lda, j, j) += n; /* positive definite; lu gets its rows mixed below */
    }
    memcpy(first, is_gemm ? c : a, bytes);
}

/* Reverse the rows, so that every column of the LU has its pivot elsewhere. */
static void mix_rows(void)
{
    for (int i = 0; i < n / 2; i++) {
        int other = n - 1 - i;
        dswap_(&n, first + i, &lda, first + other, &lda);
    }
}

int main(int argc, char **argv)
{
    void (*run)(void) = NULL;
    int is_gemm, reps;
    if (argc != 12)
        fail(2, "usage: blocked ALGORITHM VARIANT M N K MB NB KB PAD REPS SEED");
    is_gemm = strcmp(argv[1], "gemm") == 0;
    run = is_gemm ? gemm : strcmp(argv[1], "lu") == 0 ? lu : cholesky;
    variant = argv[2];
    m = number(argv[3]), n = number(argv[4]), k = number(argv[5]);
    mb = number(argv[6]), nb = number(argv[7]), kb = number(argv[8]);
    pad = number(argv[9]), reps = number(argv[10]);
    if (n == 0 || nb == 0 || (is_gemm && (m == 0 || k == 0 || mb == 0 || kb == 0)))
        fail(2, "sizes and blocks must be at least 1");
    prepare(is_gemm, strtoull(argv[11], NULL, 10));
    if (run == lu)
        mix_rows();
    for (int i = 0; i <= reps; i++) {
        double start;
        memcpy(is_gemm ? c : a, first, bytes);
        start = now();
        run();
        if (i > 0) /* the first one warms up */
            printf("time run %.9e\n", now() - start);
    }
    printf("residual run %.6e\n", residual(argv[1]));
    printf("core %s\nthreads %d\ndone\n", openblas_get_corename(), openblas_get_num_threads());
    return fflush(stdout) == 0 ? 0 : 1;
}
