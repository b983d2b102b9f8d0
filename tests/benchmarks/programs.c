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
#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SWEEPS = 6, TAPS = 11, SAMPLES = 64, LONGEST = 400 };

static const char *variant;
static int n, block_a, block_b;
static double *in, *other, *out;
static double taps[TAPS][TAPS];
static int *starts, *columns, *lengths; /* of the sparse matrix, padded by slices for sell */
static double *entries;

static void fail(int status, const char *words)
{
    fprintf(stderr, "programs: %s\n", words);
    exit(status);
}

static void *room(size_t count, size_t size)
{
    void *found = aligned_alloc(64, (count * size + 63) / 64 * 64);
    if (found == NULL)
        fail(3, "out of memory");
    memset(found, 0, count * size);
    return found;
}

static double uniform(uint64_t *state) /* in [0.5, 1.5): no cancellation */
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return 0.5 + (double)(*state >> 11) / 9007199254740992.0;
}

static int least(int one, int two)
{
    return one < two ? one : two;
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

/* --- covariance -------------------------------------------------------------------------------- */

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

static double product(const double *left, int step_left, const double *right, int step_right, double *size)
{
    double sum = 0;
    for (int k = 0; k < n; k++)
        sum += left[(size_t)k * step_left] * right[(size_t)k * step_right];
    *size = sum;
    return sum;
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

static double filtered(int i, int j, double *size)
{
    double sum = 0;
    for (int y = 0; y < TAPS; y++)
        for (int x = 0; x < TAPS; x++)
            sum += taps[y][x] * in[(size_t)(i + y) * (n + TAPS) + j + x];
    *size = sum;
    return sum;
}

/* --- the program ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(void);
} PROGRAMS[] = {{"jacobi", jacobi}, {"nbody", nbody},   {"spmv", spmv},
                {"covariance", covariance}, {"matmul", matmul}, {"filter", filter}};

/* What out[which] should be; `size` is the sum of the magnitudes that it is made of. */
static double expected(const char *program, int which, double *size)
{
    int i = which / n, j = which % n;
    if (program[0] == 'n')
        return pulled(which, size);
    if (program[0] == 's')
        return multiplied(which, size);
    if (program[0] == 'f')
        return filtered(i, j, size);
    if (program[0] == 'm')
        return product(in + (size_t)i * n, 1, other + j, n, size);
    if (program[0] == 'c')
        return j < i ? (*size = 1, 0.0) : product(in + (size_t)i * n, 1, in + (size_t)j * n, 1, size);
    return *size = relaxed(i, j, SWEEPS);
}

/* The largest error of some elements, in units of epsilon times the square root of the terms. */
static double residual(const char *program, int count, uint64_t state)
{
    double worst = 0;
    for (int s = 0; s < SAMPLES; s++) {
        int which = least((int)((uniform(&state) - 0.5) * count), count - 1);
        double size = 0, value = expected(program, which, &size);
        double error = fabs(out[which] - value) / (DBL_EPSILON * sqrt((double)n) * (size + DBL_MIN));
        worst = error > worst ? error : worst;
    }
    return worst;
}

static int number(const char *word)
{
    char *end;
    long value = strtol(word, &end, 10);
    if (*word == '\0' || *end != '\0' || value < 0 || value > 1 << 20)
        fail(2, "not a number that fits");
    return (int)value;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void prepare(const char *program, uint64_t *state)
{
    int is_flat = program[0] == 'n' || program[0] == 's'; /* at most four values a body or row */
    size_t side = (size_t)n + TAPS, room_for = is_flat ? 4 * side : side * side;
    in = room(room_for, sizeof *in);
    other = room(room_for, sizeof *other);
    out = room(room_for, sizeof *out);
    for (size_t i = 0; i < room_for; i++)
        in[i] = uniform(state), other[i] = uniform(state);
    for (int y = 0; y < TAPS; y++)
        for (int x = 0; x < TAPS; x++)
            taps[y][x] = uniform(state);
    for (int i = 0; i < n && program[0] == 'n'; i++)
        for (int d = 0; d < 4; d++)
            other[d * n + i] = in[4 * i + d];
    if (program[0] == 's')
        sparse(state);
}

int main(int argc, char **argv)
{
    void (*run)(void) = NULL;
    uint64_t state;
    int reps, count;
    if (argc != 8)
        fail(2, "usage: programs PROGRAM N VARIANT A B REPS SEED");
    for (size_t i = 0; i < sizeof PROGRAMS / sizeof *PROGRAMS; i++)
        if (strcmp(argv[1], PROGRAMS[i].name) == 0)
            run = PROGRAMS[i].run;
    n = number(argv[2]), variant = argv[3];
    block_a = number(argv[4]), block_b = number(argv[5]), reps = number(argv[6]);
    state = strtoull(argv[7], NULL, 10);
    if (run == NULL || n < 2 || block_a < 1 || block_b < 1)
        fail(2, "no such program, or a size or block below 1");
    prepare(argv[1], &state);
    for (int i = 0; i <= reps; i++) {
        double start = now();
        run();
        if (i > 0) /* the first one warms up */
            printf("time run %.9e\n", now() - start);
    }
    count = run == spmv ? n : run == nbody ? 4 * n : n * n;
    printf("residual run %.6e\n", residual(argv[1], count, state));
    printf("threads %d\ndone\n", omp_get_max_threads());
    return fflush(stdout) == 0 ? 0 : 1;
}
