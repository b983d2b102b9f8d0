/*
 * An anisotropic Poisson equation on n^3 points (seven of them in a row of the matrix), solved to
 * 1e-8 by hypre's BoomerAMG alone or as the preconditioner of conjugate gradients.
 *
 *     mpirun -n RANKS hypre_amg N SOLVER COARSENING INTERPOLATION SMOOTHER THRESHOLD AGGRESSIVE REPS SEED
 *
 * Prints the seconds of each set-up with its solution, after one that is not timed. Proof: what is
 * left of the equations, relative to the right-hand side, over 1e-8.
 */
#include <HYPRE.h>
#include <HYPRE_IJ_mv.h>
#include <HYPRE_krylov.h>
#include <HYPRE_parcsr_ls.h>
#include <math.h>

#include "mpi_frame.h"
#include "choices.h"

#define TOLERANCE 1e-8
enum { MOST_ITERATIONS = 200, ENTRIES = 7 };

/* Numbers of the methods in the reference manual of hypre 2.26 (HYPRE_BoomerAMGSet...). */
static const choice SOLVERS[] = {{"amg", 0}, {"pcg", 1}};
static const choice COARSENINGS[] = {{"falgout", 6}, {"pmis", 8}, {"hmis", 10}};
static const choice INTERPOLATIONS[] = {{"classical", 0}, {"direct", 3}, {"extended", 6}};
static const choice SMOOTHERS[] = {
    {"jacobi", 0}, {"gauss-seidel", 3}, {"symmetric", 6}, {"l1", 8}, {"chebyshev", 16}};

typedef struct {
    int conjugate, coarsening, interpolation, smoother, aggressive;
    double threshold;
} method;

typedef struct {
    HYPRE_ParCSRMatrix matrix;
    HYPRE_ParVector right, left;
    HYPRE_IJMatrix ij;
    HYPRE_IJVector b, x;
    HYPRE_BigInt first, last;
} equations;

static int n;

static void set_row(HYPRE_IJMatrix matrix, HYPRE_BigInt row)
{
    static const double WEIGHTS[] = {1.0, 1.0, 0.1}; /* along x, y, z */
    HYPRE_BigInt columns[ENTRIES], stride = 1, at = row;
    double values[ENTRIES];
    int count = 1;
    columns[0] = row, values[0] = 0;
    for (int axis = 0; axis < 3; axis++) {
        HYPRE_BigInt place = at % n;
        at /= n;
        values[0] += 2 * WEIGHTS[axis];
        if (place > 0)
            columns[count] = row - stride, values[count++] = -WEIGHTS[axis];
        if (place < n - 1)
            columns[count] = row + stride, values[count++] = -WEIGHTS[axis];
        stride *= n;
    }
    HYPRE_IJMatrixSetValues(matrix, 1, &count, &row, columns, values);
}

static equations assembled(int seed)
{
    equations e;
    HYPRE_BigInt all = (HYPRE_BigInt)n * n * n;
    e.first = all * rank / ranks, e.last = all * (rank + 1) / ranks - 1;
    HYPRE_IJMatrixCreate(MPI_COMM_WORLD, e.first, e.last, e.first, e.last, &e.ij);
    HYPRE_IJMatrixSetObjectType(e.ij, HYPRE_PARCSR);
    HYPRE_IJMatrixInitialize(e.ij);
    HYPRE_IJVectorCreate(MPI_COMM_WORLD, e.first, e.last, &e.b);
    HYPRE_IJVectorCreate(MPI_COMM_WORLD, e.first, e.last, &e.x);
    HYPRE_IJVectorSetObjectType(e.b, HYPRE_PARCSR);
    HYPRE_IJVectorSetObjectType(e.x, HYPRE_PARCSR);
    HYPRE_IJVectorInitialize(e.b);
    HYPRE_IJVectorInitialize(e.x);
    for (HYPRE_BigInt row = e.first; row <= e.last; row++) {
        unsigned long long mixed = (unsigned long long)(row + seed) * 6364136223846793005ULL;
        double value = 0.5 + (double)(mixed >> 11) / 9007199254740992.0;
        set_row(e.ij, row);
        HYPRE_IJVectorSetValues(e.b, 1, &row, &value);
    }
    HYPRE_IJMatrixAssemble(e.ij);
    HYPRE_IJVectorAssemble(e.b);
    HYPRE_IJVectorAssemble(e.x);
    HYPRE_IJMatrixGetObject(e.ij, (void **)&e.matrix);
    HYPRE_IJVectorGetObject(e.b, (void **)&e.right);
    HYPRE_IJVectorGetObject(e.x, (void **)&e.left);
    return e;
}

static HYPRE_Solver multigrid(const method *m)
{
    HYPRE_Solver amg;
    HYPRE_BoomerAMGCreate(&amg);
    HYPRE_BoomerAMGSetCoarsenType(amg, m->coarsening);
    HYPRE_BoomerAMGSetInterpType(amg, m->interpolation);
    HYPRE_BoomerAMGSetRelaxType(amg, m->smoother);
    HYPRE_BoomerAMGSetStrongThreshold(amg, m->threshold);
    HYPRE_BoomerAMGSetAggNumLevels(amg, m->aggressive);
    HYPRE_BoomerAMGSetTol(amg, m->conjugate ? 0 : TOLERANCE);
    HYPRE_BoomerAMGSetMaxIter(amg, m->conjugate ? 1 : MOST_ITERATIONS);
    return amg;
}

static void solve(const equations *e, const method *m)
{
    HYPRE_Solver amg = multigrid(m), outer;
    HYPRE_ParVectorSetConstantValues(e->left, 0);
    if (m->conjugate) {
        HYPRE_ParCSRPCGCreate(MPI_COMM_WORLD, &outer);
        HYPRE_PCGSetTol(outer, TOLERANCE);
        HYPRE_PCGSetMaxIter(outer, MOST_ITERATIONS);
        HYPRE_PCGSetTwoNorm(outer, 1);
        HYPRE_PCGSetPrecond(outer, (HYPRE_PtrToSolverFcn)HYPRE_BoomerAMGSolve,
                            (HYPRE_PtrToSolverFcn)HYPRE_BoomerAMGSetup, amg);
        HYPRE_ParCSRPCGSetup(outer, e->matrix, e->right, e->left);
        HYPRE_ParCSRPCGSolve(outer, e->matrix, e->right, e->left);
        HYPRE_ParCSRPCGDestroy(outer);
    } else {
        HYPRE_BoomerAMGSetup(amg, e->matrix, e->right, e->left);
        HYPRE_BoomerAMGSolve(amg, e->matrix, e->right, e->left);
    }
    HYPRE_BoomerAMGDestroy(amg);
    HYPRE_ClearAllErrors(); /* not to have converged is found by the residual */
}

static double residual(const equations *e)
{
    double size, left;
    HYPRE_ParVectorInnerProd(e->right, e->right, &size);
    HYPRE_ParCSRMatrixMatvec(-1, e->matrix, e->left, 1, e->right);
    HYPRE_ParVectorInnerProd(e->right, e->right, &left);
    return sqrt(left / size) / TOLERANCE;
}

int main(int argc, char **argv)
{
    begin(argc, argv, 9,
          "usage: hypre_amg N SOLVER COARSENING INTERPOLATION SMOOTHER THRESHOLD AGGRESSIVE REPS SEED");
    n = number(argv[1]);
    method m = {
        .conjugate = CHOSEN(SOLVERS, argv[2]),
        .coarsening = CHOSEN(COARSENINGS, argv[3]),
        .interpolation = CHOSEN(INTERPOLATIONS, argv[4]),
        .smoother = CHOSEN(SMOOTHERS, argv[5]),
        .threshold = atof(argv[6]),
        .aggressive = number(argv[7]),
    };
    int reps = number(argv[8]);
    HYPRE_Init();
    equations e = assembled(seed_of(argv[9]));
    for (int r = 0; r <= reps; r++) {
        double began = together();
        solve(&e, &m);
        tell(r, together() - began);
    }
    double left = residual(&e);
    HYPRE_Finalize();
    end(left);
    return 0;
}
