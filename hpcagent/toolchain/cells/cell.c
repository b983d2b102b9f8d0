/* One cell of the matrix, in C: what is in it, -D says (CELL_OPENMP, CELL_MPI, CELL_BLAS,
 * CELL_CBLAS, CELL_LAPACK). Exit code 0: its own answer is right; 1: wrong; 2: not tried. */
#include "readback.h"
#ifdef CELL_BLAS
#include "blas.h"
#endif
#ifdef CELL_CBLAS
#include "cblas_part.h"
#endif
#ifdef CELL_OPENMP
#include "openmp_part.h"
#endif
#ifdef CELL_MPI
#include "mpi_part.h"
#endif
#include "arithmetic.h"

int main(int argc, char **argv)
{
    int wrong;
    watch_illegal();
#ifdef CELL_MPI
    int speaks = mpi_begin(&argc, &argv);
#else
    int speaks = 1;
    (void)argc;
    (void)argv;
#endif
    if (speaks)
        say("language", "c");
    wrong = arithmetic_wrong();
#include "cell_body.h"
    return speaks ? say_end(wrong) : wrong != 0;
}
