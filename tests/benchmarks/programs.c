/*
 * Times one loop nest of scientific computing as a compiler makes it, and proves the result.
 *
 *     programs PROGRAM N VARIANT A B REPS SEED
 *
 * jacobi      six sweeps of the five-point stencil over N x N, in tiles of A x B
 * nbody       gravity of N bodies on each other; VARIANT aos or soa; A sources at a time
 * spmv        sparse matrix times vector, N rows of very different lengths; VARIANT csr, or sell
 *             (sliced ELLPACK) with A rows a slice
 * covariance  the upper triangle of X X^T, N x N from N rows of N; A of the inner dimension at a time
 * matmul      C = A B, N x N; VARIANT is the order of the loops, ijk, ikj or kij inside tiles of
 *             A of i and B of k
 * filter      an 11 x 11 filter over N x N pixels; VARIANT taps-in or taps-out; B columns at a time,
 *             A rows of tiles a task
 *
 * Parallel loops are scheduled as OMP_SCHEDULE has it. What a program does not use is 0 or '-'.
 * Output: time, residual, threads, done, as that of the benchmark driver.
 *
 * Exit status: 0 done, 2 usage, 3 out of memory.
 */
#include "program_frame.h"

enum { SWEEPS = 6, TAPS = 11, LONGEST = 400 };

static double taps[TAPS][TAPS];
static int *starts, *columns, *lengths; /* of the sparse matrix, padded by slices for sell */
static double *entries;

static void square(uint64_t *state)
{
    fill((size_t)n * n, state);
}

static int squared(void)
{
    return n * n;
}

/* --- jacobi ------------------------------------------------------------------------------------ */

static void sweep(const double *restrict from, double *restrict to)
{
#pragma omp parallel for collapse(2) schedule(runtime)
    for (int ii = 1; ii < n - 1; ii += block_a)
        for (int jj = 1; jj < n - 1; jj += block_b)
            for (int i = ii; i < least(ii + block_a, n - 1); i++)
                for (int j = jj; j < least(jj + block_b, n - 1); j++) {
                    size_t at = (size_t)i * n + j;
                    to[at] = 0.2 * (from[at] + from[at - 1] + from[at + 1] + from[at - n] + from[at + n]);
                }
}

static void jacobi(void)
{
    memcpy(out, in, (size_t)n * n * sizeof *out);
    memcpy(other, in, (size_t)n * n * sizeof *other);
    for (int s = 0; s < SWEEPS; s += 2) {
        sweep(out, other);
        sweep(other, out);
    }
}

/* The value after `sweeps` sweeps, by its definition; small enough for a few points. */
static double relaxed(int i, int j, int sweeps)
{
    if (sweeps == 0 || i == 0 || j == 0 || i == n - 1 || j == n - 1)
        return in[(size_t)i * n + j];
    return 0.2 * (relaxed(i, j, sweeps - 1) + relaxed(i, j - 1, sweeps - 1) + relaxed(i, j + 1, sweeps - 1)
                  + relaxed(i - 1, j, sweeps - 1) + relaxed(i + 1, j, sweeps - 1));
}

static double settled(int which, double *size)
{
    return *size = relaxed(which / n, which % n, SWEEPS);
}

/* --- nbody ------------------------------------------------------------------------------------- */

static void nbody_aos(void)
{
    for (int jj = 0; jj < n; jj += block_a)
#pragma omp parallel for schedule(runtime)
        for (int i = 0; i < n; i++) {
            double x = 0, y = 0, z = 0;
            for (int j = jj; j < least(jj + block_a, n); j++) {
                double dx = in[4 * j] - in[4 * i], dy = in[4 * j + 1] - in[4 * i + 1];
                double dz = in[4 * j + 2] - in[4 * i + 2];
                double near = dx * dx + dy * dy + dz * dz + 0.01;
                double pull = in[4 * j + 3] / (near * sqrt(near));
                x += pull * dx, y += pull * dy, z += pull * dz;
            }
            out[4 * i] += x, out[4 * i + 1] += y, out[4 * i + 2] += z;
        }
}

static void nbody_soa(void)
{
    const double *px = other, *py = other + n, *pz = other + 2 * n, *mass = other + 3 * n;
    for (int jj = 0; jj < n; jj += block_a)
#pragma omp parallel for schedule(runtime)
        for (int i = 0; i < n; i++) {
            double x = 0, y = 0, z = 0;
            for (int j = jj; j < least(jj + block_a, n); j++) {
                double dx = px[j] - px[i], dy = py[j] - py[i], dz = pz[j] - pz[i];
                double near = dx * dx + dy * dy + dz * dz + 0.01;
                double pull = mass[j] / (near * sqrt(near));
                x += pull * dx, y += pull * dy, z += pull * dz;
            }
            out[4 * i] += x, out[4 * i + 1] += y, out[4 * i + 2] += z;
        }
}

static void nbody(void)
{
    memset(out, 0, (size_t)n * 4 * sizeof *out);
    if (strcmp(variant, "soa") == 0)
        nbody_soa();
    else
        nbody_aos();
}

static double pulled(int which, double *size)
{
    int i = which / 4, axis = which % 4;
    double sum = 0;
    for (int j = 0; j < n && axis < 3; j++) {
        double near = 0.01;
        for (int d = 0; d < 3; d++)
            near += (in[4 * j + d] - in[4 * i + d]) * (in[4 * j + d] - in[4 * i + d]);
        double term = in[4 * j + 3] * (in[4 * j + axis] - in[4 * i + axis]) / (near * sqrt(near));
        sum += term, *size += fabs(term);
    }
    return sum;
}

static void bodies(uint64_t *state)
{
    fill((size_t)n * 4, state);
    for (int i = 0; i < n; i++)
        for (int d = 0; d < 4; d++)
            other[d * n + i] = in[4 * i + d];
}

static int axes(void)
{
    return 4 * n;
}

/* --- spmv -------------------------------------------------------------------------------------- */

/* Few rows are long, and these follow each other: 4 to LONGEST entries. */
static int row_length(int i)
{
    double place = (double)i / n;
    return 4 + (int)((LONGEST - 4) * place * place * place * place);
}

static size_t slot(int i, int k) /* of entry k of row i */
{
    int slice = block_a;
    if (strcmp(variant, "sell") == 0)
        return (size_t)starts[i / slice] + (size_t)k * slice + i % slice;
    return (size_t)starts[i] + k;
}

static void sparse(uint64_t *state)
{
    int is_sell = strcmp(variant, "sell") == 0, slice = is_sell ? block_a : 1;
    size_t count = 0;
    fill((size_t)n, state);
    lengths = room((size_t)n + slice, sizeof *lengths);
    starts = room((size_t)n + 1, sizeof *starts);
    for (int s = 0; s * slice < n; s++) {
        int widest = 0;
        for (int i = s * slice; i < least((s + 1) * slice, n); i++)
            lengths[i] = row_length(i), widest = lengths[i] > widest ? lengths[i] : widest;
        starts[s] = (int)count, starts[s + 1] = (int)(count += (size_t)widest * slice);
    }
    entries = room(count, sizeof *entries);
    columns = room(count, sizeof *columns);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < lengths[i]; k++) {
            entries[slot(i, k)] = uniform(state);
            columns[slot(i, k)] = (int)((uniform(state) - 0.5) * n);
        }
}

static void spmv_csr(void)
{
#pragma omp parallel for schedule(runtime)
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int k = starts[i]; k < starts[i + 1]; k++)
            sum += entries[k] * in[columns[k]];
        out[i] = sum;
    }
}

static void spmv_sell(void)
{
    int slice = block_a;
#pragma omp parallel for schedule(runtime)
    for (int s = 0; s < n / slice; s++) {
        double *restrict sums = out + (size_t)s * slice;
        for (int r = 0; r < slice; r++)
            sums[r] = 0;
        for (int k = starts[s]; k < starts[s + 1]; k += slice)
            for (int r = 0; r < slice; r++)
                sums[r] += entries[k + r] * in[columns[k + r]];
    }
}

static void spmv(void)
{
    if (strcmp(variant, "sell") == 0)
        spmv_sell();
    else
        spmv_csr();
}

static double multiplied(int i, double *size)
{
    double sum = 0;
    for (int k = 0; k < lengths[i]; k++)
        sum += entries[slot(i, k)] * in[columns[slot(i, k)]];
    *size = sum;
    return sum;
}

static int rows(void)
{
    return n;
}

/* --- covariance -------------------------------------------------------------------------------- */

static double product(const double *left, int step_left, const double *right, int step_right, double *size)
{
    double sum = 0;
    for (int k = 0; k < n; k++)
        sum += left[(size_t)k * step_left] * right[(size_t)k * step_right];
    return *size = sum;
}

static void covariance(void)
{
    memset(out, 0, (size_t)n * n * sizeof *out);
    for (int kk = 0; kk < n; kk += block_a)
#pragma omp parallel for schedule(runtime)
        for (int i = 0; i < n; i++)
            for (int j = i; j < n; j++) {
                double sum = 0;
                for (int k = kk; k < least(kk + block_a, n); k++)
                    sum += in[(size_t)i * n + k] * in[(size_t)j * n + k];
                out[(size_t)i * n + j] += sum;
            }
}

static double varied(int which, double *size)
{
    int i = which / n, j = which % n;
    if (j < i)
        return *size = 1, 0.0;
    return product(in + (size_t)i * n, 1, in + (size_t)j * n, 1, size);
}

/* --- matmul ------------------------------------------------------------------------------------ */

static void tile_ijk(int ii, int kk)
{
    for (int i = ii; i < least(ii + block_a, n); i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int k = kk; k < least(kk + block_b, n); k++)
                sum += in[(size_t)i * n + k] * other[(size_t)k * n + j];
            out[(size_t)i * n + j] += sum;
        }
}

static void tile_ikj(int ii, int kk)
{
    for (int i = ii; i < least(ii + block_a, n); i++)
        for (int k = kk; k < least(kk + block_b, n); k++) {
            double *restrict row = out + (size_t)i * n;
            double factor = in[(size_t)i * n + k];
            for (int j = 0; j < n; j++)
                row[j] += factor * other[(size_t)k * n + j];
        }
}

static void tile_kij(int ii, int kk)
{
    for (int k = kk; k < least(kk + block_b, n); k++)
        for (int i = ii; i < least(ii + block_a, n); i++) {
            double *restrict row = out + (size_t)i * n;
            double factor = in[(size_t)i * n + k];
            for (int j = 0; j < n; j++)
                row[j] += factor * other[(size_t)k * n + j];
        }
}

static void matmul(void)
{
    void (*tile)(int, int) = variant[0] == 'k' ? tile_kij : variant[1] == 'j' ? tile_ijk : tile_ikj;
    memset(out, 0, (size_t)n * n * sizeof *out);
#pragma omp parallel for schedule(runtime)
    for (int ii = 0; ii < n; ii += block_a)
        for (int kk = 0; kk < n; kk += block_b)
            tile(ii, kk);
}

static double multiplied_out(int which, double *size)
{
    return product(in + (size_t)(which / n) * n, 1, other + which % n, n, size);
}

/* --- filter ------------------------------------------------------------------------------------ */

static void filter_in(int i, int jj, int end)
{
    for (int j = jj; j < end; j++) {
        double sum = 0;
        for (int y = 0; y < TAPS; y++)
            for (int x = 0; x < TAPS; x++)
                sum += taps[y][x] * in[(size_t)(i + y) * (n + TAPS) + j + x];
        out[(size_t)i * n + j] = sum;
    }
}

static void filter_out(int i, int jj, int end)
{
    double *restrict row = out + (size_t)i * n;
    for (int j = jj; j < end; j++)
        row[j] = 0;
    for (int y = 0; y < TAPS; y++)
        for (int x = 0; x < TAPS; x++) {
            const double *from = in + (size_t)(i + y) * (n + TAPS) + x;
            for (int j = jj; j < end; j++)
                row[j] += taps[y][x] * from[j];
        }
}

static void filter(void)
{
    int out_of_loop = strcmp(variant, "taps-out") == 0;
#pragma omp parallel for schedule(runtime)
    for (int ii = 0; ii < n; ii += block_a)
        for (int jj = 0; jj < n; jj += block_b)
            for (int i = ii; i < least(ii + block_a, n); i++)
                if (out_of_loop)
                    filter_out(i, jj, least(jj + block_b, n));
                else
                    filter_in(i, jj, least(jj + block_b, n));
}

static void pixels(uint64_t *state)
{
    fill((size_t)(n + TAPS) * (n + TAPS), state);
    for (int y = 0; y < TAPS; y++)
        for (int x = 0; x < TAPS; x++)
            taps[y][x] = uniform(state);
}

static double filtered(int which, double *size)
{
    int i = which / n, j = which % n;
    double sum = 0;
    for (int y = 0; y < TAPS; y++)
        for (int x = 0; x < TAPS; x++)
            sum += taps[y][x] * in[(size_t)(i + y) * (n + TAPS) + j + x];
    *size = sum;
    return sum;
}

/* --- the program ------------------------------------------------------------------------------- */

static const program PROGRAMS[] = {
    {"jacobi", square, jacobi, settled, squared},
    {"nbody", bodies, nbody, pulled, axes},
    {"spmv", sparse, spmv, multiplied, rows},
    {"covariance", square, covariance, varied, squared},
    {"matmul", square, matmul, multiplied_out, squared},
    {"filter", pixels, filter, filtered, squared},
};

int main(int argc, char **argv)
{
    return timed(argc, argv, PROGRAMS, sizeof PROGRAMS / sizeof *PROGRAMS);
}
