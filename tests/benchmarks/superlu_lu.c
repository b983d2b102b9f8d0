/*
 * Sparse LU by SuperLU_DIST of convection and diffusion on an n x n grid, nine points a row.
 *
 *     mpirun -n P*Q superlu_lu N P Q COLUMNS LOOKAHEAD REPS SEED
 *
 * Supernodes are set by SuperLU's own environment (SUPERLU_MAXSUP, SUPERLU_RELAX). Prints the seconds
 * of each ordering, factorisation and solution, after one that is not timed. Proof: the solution is
 * known; its error in units of 1e-10.
 */
#include <math.h>
#include <superlu_ddefs.h>

#include "mpi_frame.h"
#include "choices.h"

enum { NINE = 9 };

static const choice COLUMNS[] = {
    {"mmd-ata", MMD_ATA}, {"mmd-sum", MMD_AT_PLUS_A}, {"metis-sum", METIS_AT_PLUS_A}};

typedef struct {
    int_t first, count, entries;
    int_t *starts, *columns;
    double *values, *right;
} rows_of_a;

static int n;

static double known(int_t row, int seed)
{
    return 1.0 + 0.001 * (double)((row * 31 + seed) % 97);
}

static double weight(int dx, int dy)
{
    if (dx == 0 && dy == 0)
        return 8.5;
    return -1.0 - 0.3 * dx + 0.2 * dy; /* not symmetric: convection */
}

/* This process's rows; SuperLU takes the arrays and frees them. */
static rows_of_a share(int seed)
{
    int_t all = (int_t)n * n;
    rows_of_a r = {.first = all * rank / ranks};
    r.count = all * (rank + 1) / ranks - r.first;
    r.starts = intMalloc_dist(r.count + 1);
    r.columns = intMalloc_dist(r.count * NINE);
    r.values = doubleMalloc_dist(r.count * NINE);
    r.right = doubleMalloc_dist(r.count);
    for (int_t i = 0; i < r.count; i++) {
        int_t row = r.first + i, x = row % n, y = row / n;
        r.starts[i] = r.entries;
        r.right[i] = 0;
        for (int near = 0; near < NINE; near++) {
            int dx = near % 3 - 1, dy = near / 3 - 1;
            if (x + dx < 0 || x + dx >= n || y + dy < 0 || y + dy >= n)
                continue;
            int_t column = row + dx + (int_t)dy * n;
            r.columns[r.entries] = column;
            r.values[r.entries++] = weight(dx, dy);
            r.right[i] += weight(dx, dy) * known(column, seed);
        }
    }
    r.starts[r.count] = r.entries;
    return r;
}

/* Seconds; `worst` becomes the error of the solution. */
static double solved(gridinfo_t *grid, superlu_dist_options_t options, int seed, double *worst)
{
    rows_of_a r = share(seed);
    int_t all = (int_t)n * n;
    SuperMatrix a;
    dScalePermstruct_t scales;
    dLUstruct_t factors;
    dSOLVEstruct_t solver;
    SuperLUStat_t statistics;
    double backward = 0;
    int info;
    dCreate_CompRowLoc_Matrix_dist(&a, all, all, r.entries, r.count, r.first, r.values, r.columns,
                                   r.starts, SLU_NR_loc, SLU_D, SLU_GE);
    dScalePermstructInit(all, all, &scales);
    dLUstructInit(all, &factors);
    PStatInit(&statistics);
    double began = together();
    pdgssvx(&options, &a, &scales, r.right, (int)r.count, 1, grid, &factors, &solver, &backward,
            &statistics, &info);
    double took = together() - began;
    if (info != 0)
        fail(4, "pdgssvx finds the matrix singular");
    double own = 0;
    for (int_t i = 0; i < r.count; i++)
        own = fmax(own, fabs(r.right[i] - known(r.first + i, seed)));
    MPI_Allreduce(&own, worst, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    PStatFree(&statistics);
    Destroy_CompRowLoc_Matrix_dist(&a);
    dScalePermstructFree(&scales);
    dDestroy_LU(all, grid, &factors);
    dLUstructFree(&factors);
    if (options.SolveInitialized)
        dSolveFinalize(&options, &solver);
    SUPERLU_FREE(r.right);
    return took;
}

int main(int argc, char **argv)
{
    begin(argc, argv, 7, "usage: superlu_lu N P Q COLUMNS LOOKAHEAD REPS SEED");
    n = number(argv[1]);
    superlu_dist_options_t options;
    set_default_options_dist(&options);
    options.PrintStat = NO;
    options.ColPerm = (colperm_t)CHOSEN(COLUMNS, argv[4]);
    options.RowPerm = NOROWPERM; /* that of the default, MC64, is not free and not in Debian's */
    options.num_lookaheads = number(argv[5]);
    options.IterRefine = NOREFINE;
    int reps = number(argv[6]), seed = seed_of(argv[7]);
    gridinfo_t grid;
    superlu_gridinit(MPI_COMM_WORLD, number(argv[2]), number(argv[3]), &grid);
    double worst = 0;
    for (int r = 0; r <= reps; r++)
        tell(r, solved(&grid, options, seed, &worst));
    superlu_gridexit(&grid);
    end(worst / 1e-10);
    return 0;
}
