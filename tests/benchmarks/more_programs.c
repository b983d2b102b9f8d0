/*
 * Times one loop nest of scientific computing as a compiler makes it, and proves the result. Six
 * more, on which nothing of a search was chosen.
 *
 *     more_programs PROGRAM N VARIANT A B REPS SEED
 *
 * heat      two steps of the seven-point stencil over N x N x N, in tiles of A x B of two dimensions
 * paths     shortest paths between N nodes (Floyd and Warshall); VARIANT is how the least is taken,
 *           choice or branch; A rows at a time
 * seidel    two sweeps of Gauss and Seidel over N x N with nine points; VARIANT rows, one after the
 *           other, or wavefront, in blocks of A x B along the diagonals
 * lattice   a step of a lattice Boltzmann fluid, nine velocities, N x N cells; VARIANT aos or soa; A
 *           rows at a time
 * options   prices of N options (Black and Scholes); VARIANT aos or soa; A at a time
 * align     scores of aligning two texts of N letters (Needleman and Wunsch); VARIANT rows or
 *           diagonals; A cells of a diagonal a task
 *
 * Parallel loops are scheduled as OMP_SCHEDULE has it. What a program does not use is 0 or '-', or 1
 * for a size. Output and exit status are those of programs.c.
 */
#include "program_frame.h"

enum { HEAT_STEPS = 2, SEIDEL_SWEEPS = 2, VELOCITIES = 9, GAP = 2 };

static int is(const char *word)
{
    return strcmp(variant, word) == 0;
}

static int once(void)
{
    return n;
}

static int squared(void)
{
    return n * n;
}

static int cubed(void)
{
    return n * n * n;
}

/* --- heat -------------------------------------------------------------------------------------- */

static void cube(uint64_t *state)
{
    fill((size_t)n * n * n, state);
}

static void heat_step(const double *restrict from, double *restrict to)
{
    size_t plane = (size_t)n * n;
#pragma omp parallel for collapse(2) schedule(runtime)
    for (int ii = 1; ii < n - 1; ii += block_a)
        for (int jj = 1; jj < n - 1; jj += block_b)
            for (int i = ii; i < least(ii + block_a, n - 1); i++)
                for (int j = jj; j < least(jj + block_b, n - 1); j++)
                    for (int k = 1; k < n - 1; k++) {
                        size_t at = (size_t)i * plane + (size_t)j * n + k;
                        to[at] = 0.4 * from[at]
                                 + 0.1 * (from[at - 1] + from[at + 1] + from[at - n] + from[at + n]
                                          + from[at - plane] + from[at + plane]);
                    }
}

static void heat(void)
{
    memcpy(out, in, (size_t)cubed() * sizeof *out);
    memcpy(other, in, (size_t)cubed() * sizeof *other);
    heat_step(out, other);
    heat_step(other, out);
}

static double warmed(int i, int j, int k, int steps)
{
    double value = in[((size_t)i * n + j) * n + k];
    if (steps == 0 || i == 0 || j == 0 || k == 0 || i == n - 1 || j == n - 1 || k == n - 1)
        return value;
    steps--;
    return 0.4 * warmed(i, j, k, steps)
           + 0.1 * (warmed(i, j, k - 1, steps) + warmed(i, j, k + 1, steps) + warmed(i, j - 1, k, steps)
                    + warmed(i, j + 1, k, steps) + warmed(i - 1, j, k, steps) + warmed(i + 1, j, k, steps));
}

static double heated(int which, double *size)
{
    return *size = warmed(which / n / n, which / n % n, which % n, HEAT_STEPS);
}

/* --- paths ------------------------------------------------------------------------------------- */

static void square(uint64_t *state)
{
    fill((size_t)n * n, state);
}

static void relax(int i, int k)
{
    double *restrict row = out + (size_t)i * n;
    const double *through = out + (size_t)k * n;
    double first = row[k];
    if (i == k) /* nothing is shorter by way of itself; and the rows are one */
        return;
    if (is("choice"))
        for (int j = 0; j < n; j++)
            row[j] = first + through[j] < row[j] ? first + through[j] : row[j];
    else
        for (int j = 0; j < n; j++)
            if (first + through[j] < row[j])
                row[j] = first + through[j];
}

static void paths(void)
{
    memcpy(out, in, (size_t)squared() * sizeof *out);
    for (int k = 0; k < n; k++)
#pragma omp parallel for schedule(runtime)
        for (int ii = 0; ii < n; ii += block_a)
            for (int i = ii; i < least(ii + block_a, n); i++)
                relax(i, k);
}

/* By Bellman and Ford's way, from the node of the row alone. */
static double shortest(int which, double *size)
{
    int from = which / n, changed = 1;
    double *far = room((size_t)n, sizeof *far), found;
    memcpy(far, in + (size_t)from * n, (size_t)n * sizeof *far);
    while (changed) {
        changed = 0;
        for (int k = 0; k < n; k++)
            for (int j = 0; j < n; j++)
                if (far[k] + in[(size_t)k * n + j] < far[j] * (1 - 4 * DBL_EPSILON))
                    far[j] = far[k] + in[(size_t)k * n + j], changed = 1;
    }
    found = far[which % n];
    free(far);
    return *size = found;
}

/* --- seidel ------------------------------------------------------------------------------------ */

static void smooth(double *grid, int i, int from, int to)
{
    double *row = grid + (size_t)i * n;
    for (int j = from; j < to; j++)
        row[j] = (row[j - n - 1] + row[j - n] + row[j - n + 1] + row[j - 1] + row[j] + row[j + 1] + row[j + n - 1]
                  + row[j + n] + row[j + n + 1]) / 9.0;
}

static void seidel_reference(uint64_t *state)
{
    square(state);
    memcpy(other, in, (size_t)squared() * sizeof *other);
    for (int s = 0; s < SEIDEL_SWEEPS; s++)
        for (int i = 1; i < n - 1; i++)
            smooth(other, i, 1, n - 1);
}

/* A block waits for the one above and to the right of it: two columns of blocks a row. */
static void wavefront(void)
{
    int down = (n - 2 + block_a - 1) / block_a, across = (n - 2 + block_b - 1) / block_b;
    for (int front = 0; front < across + 2 * (down - 1); front++)
#pragma omp parallel for schedule(runtime)
        for (int r = 0; r < down; r++) {
            int c = front - 2 * r, top = 1 + r * block_a, left = 1 + c * block_b;
            if (c < 0 || c >= across)
                continue;
            for (int i = top; i < least(top + block_a, n - 1); i++) {
                /* The rows of a block lean to the left, so that what is above right is done. */
                int lean = i - top, from = left - lean, to = left + block_b - lean;
                from = c == 0 ? 1 : from;
                to = c == across - 1 ? n - 1 : to;
                smooth(out, i, from < 1 ? 1 : from, least(to, n - 1));
            }
        }
}

static void seidel(void)
{
    memcpy(out, in, (size_t)squared() * sizeof *out);
    for (int s = 0; s < SEIDEL_SWEEPS; s++)
        if (is("wavefront"))
            wavefront();
        else
            for (int i = 1; i < n - 1; i++)
                smooth(out, i, 1, n - 1);
}

static double swept(int which, double *size)
{
    return *size = other[which];
}

/* --- lattice ----------------------------------------------------------------------------------- */

static const int X[VELOCITIES] = {0, 1, 0, -1, 0, 1, -1, -1, 1};
static const int Y[VELOCITIES] = {0, 0, 1, 0, -1, 1, 1, -1, -1};
static const double WEIGHT[VELOCITIES] = {4.0 / 9,  1.0 / 9,  1.0 / 9,  1.0 / 9, 1.0 / 9,
                                          1.0 / 36, 1.0 / 36, 1.0 / 36, 1.0 / 36};

static void cells(uint64_t *state)
{
    fill((size_t)VELOCITIES * n * n, state);
}

static int densities(void)
{
    return VELOCITIES * n * n;
}

static double balance(int v, double density, double x, double y)
{
    double along = X[v] * x + Y[v] * y;
    return WEIGHT[v] * density * (1 + 3 * along + 4.5 * along * along - 1.5 * (x * x + y * y));
}

#define CELL(v, i, j, cell, velocity) ((size_t)(v) * (velocity) + ((size_t)(i)*n + (j)) * (cell))

static inline void collide_row(int i, size_t cell, size_t velocity)
{
    for (int j = 0; j < n; j++) {
        double f[VELOCITIES], density = 0, x = 0, y = 0;
        for (int v = 0; v < VELOCITIES; v++) {
            int from_i = (i - Y[v] + n) % n, from_j = (j - X[v] + n) % n;
            f[v] = in[CELL(v, from_i, from_j, cell, velocity)];
            density += f[v], x += X[v] * f[v], y += Y[v] * f[v];
        }
        x /= density, y /= density;
        for (int v = 0; v < VELOCITIES; v++)
            out[CELL(v, i, j, cell, velocity)] = f[v] + 0.6 * (balance(v, density, x, y) - f[v]);
    }
}

static void lattice(void)
{
    int together = is("aos");
#pragma omp parallel for schedule(runtime)
    for (int ii = 0; ii < n; ii += block_a)
        for (int i = ii; i < least(ii + block_a, n); i++)
            if (together)
                collide_row(i, VELOCITIES, 1);
            else
                collide_row(i, 1, (size_t)n * n);
}

static double collided(int which, double *size)
{
    size_t cell = is("aos") ? VELOCITIES : 1, velocity = is("aos") ? 1 : (size_t)n * n;
    int v = is("aos") ? which % VELOCITIES : which / (n * n);
    int place = is("aos") ? which / VELOCITIES : which % (n * n);
    double density = 0, x = 0, y = 0, own = 0;
    for (int u = 0; u < VELOCITIES; u++) {
        int from_i = (place / n - Y[u] + n) % n, from_j = (place % n - X[u] + n) % n;
        double f = in[CELL(u, from_i, from_j, cell, velocity)];
        density += f, x += X[u] * f, y += Y[u] * f;
        own = u == v ? f : own;
    }
    *size = density;
    return own + 0.6 * (balance(v, density, x / density, y / density) - own);
}

/* --- options ----------------------------------------------------------------------------------- */

enum { FIELDS = 4 }; /* spot, strike, years, volatility */

static void market(uint64_t *state)
{
    fill((size_t)FIELDS * n, state);
    for (int i = 0; i < n; i++)
        for (int f = 0; f < FIELDS; f++)
            other[(size_t)f * n + i] = in[(size_t)FIELDS * i + f];
}

static inline double normal(double x) /* Abramowitz and Stegun 26.2.17 */
{
    double t = 1 / (1 + 0.2316419 * fabs(x));
    double sum = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
    double tail = 0.39894228040143268 * exp(-0.5 * x * x) * sum;
    return x > 0 ? 1 - tail : tail;
}

static inline double price(double spot, double strike, double years, double volatility)
{
    double spread = volatility * sqrt(years);
    double high = (log(spot / strike) + (0.02 + 0.5 * volatility * volatility) * years) / spread;
    return spot * normal(high) - strike * exp(-0.02 * years) * normal(high - spread);
}

static void options(void)
{
    const double *spot = other, *strike = other + n, *years = other + 2 * n, *volatility = other + 3 * n;
    int together = is("aos");
#pragma omp parallel for schedule(runtime)
    for (int ii = 0; ii < n; ii += block_a)
        if (together)
            for (int i = ii; i < least(ii + block_a, n); i++)
                out[i] = price(in[4 * i], in[4 * i + 1], in[4 * i + 2], in[4 * i + 3]);
        else
            for (int i = ii; i < least(ii + block_a, n); i++)
                out[i] = price(spot[i], strike[i], years[i], volatility[i]);
}

static double priced(int i, double *size)
{
    *size = in[4 * i] + in[4 * i + 1];
    return price(in[4 * i], in[4 * i + 1], in[4 * i + 2], in[4 * i + 3]);
}

/* --- align ------------------------------------------------------------------------------------- */

static int *letters, *texts, *scores; /* scores: (n + 1) x (n + 1) */

static void pair(uint64_t *state)
{
    fill((size_t)n, state);
    letters = room((size_t)n, sizeof *letters);
    texts = room((size_t)n, sizeof *texts);
    scores = room((size_t)(n + 1) * (n + 1), sizeof *scores);
    for (int i = 0; i < n; i++) {
        letters[i] = (int)((uniform(state) - 0.5) * 4);
        texts[i] = (int)((uniform(state) - 0.5) * 4);
    }
    for (int i = 0; i <= n; i++)
        scores[i] = scores[(size_t)i * (n + 1)] = -GAP * i;
}

static inline void score(int i, int j)
{
    size_t at = (size_t)i * (n + 1) + j, above = at - (n + 1);
    int best = scores[above - 1] + (letters[i - 1] == texts[j - 1] ? 3 : -1);
    int gap = scores[above] > scores[at - 1] ? scores[above] : scores[at - 1];
    scores[at] = best > gap - GAP ? best : gap - GAP;
}

static void align(void)
{
    if (is("rows"))
        for (int i = 1; i <= n; i++)
            for (int j = 1; j <= n; j++)
                score(i, j);
    else
        for (int front = 2; front <= 2 * n; front++) {
            int from = front > n ? front - n : 1, to = least(front - 1, n);
#pragma omp parallel for schedule(runtime)
            for (int ii = from; ii <= to; ii += block_a)
                for (int i = ii; i < least(ii + block_a, to + 1); i++)
                    score(i, front - i);
        }
    for (int i = 0; i < n; i++)
        out[i] = scores[(size_t)n * (n + 1) + i + 1];
}

static double aligned(int which, double *size)
{
    int *row = room((size_t)n + 1, sizeof *row), found;
    for (int j = 0; j <= n; j++)
        row[j] = -GAP * j;
    for (int i = 1; i <= n; i++) {
        int corner = row[0];
        row[0] = -GAP * i;
        for (int j = 1; j <= n; j++) {
            int above = row[j], best = corner + (letters[i - 1] == texts[j - 1] ? 3 : -1);
            int gap = above > row[j - 1] ? above : row[j - 1];
            row[j] = best > gap - GAP ? best : gap - GAP;
            corner = above;
        }
    }
    found = row[which + 1];
    free(row);
    return *size = found, (double)found;
}

static const program PROGRAMS[] = {
    {"heat", cube, heat, heated, cubed},
    {"paths", square, paths, shortest, squared},
    {"seidel", seidel_reference, seidel, swept, squared},
    {"lattice", cells, lattice, collided, densities},
    {"options", market, options, priced, once},
    {"align", pair, align, aligned, once},
};

int main(int argc, char **argv)
{
    return timed(argc, argv, PROGRAMS, sizeof PROGRAMS / sizeof *PROGRAMS);
}
