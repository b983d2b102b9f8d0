// One cell of the matrix, in C++: as cell.c, and what needs the C++ library (exceptions, containers,
// a static with a constructor).
#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>
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

static const std::string greeting(40, 'x');

static int library_wrong()
{
    std::vector<int> numbers;
    for (int i = 0; i < 100; i++)
        numbers.push_back((i * 37) % 100);
    std::sort(numbers.begin(), numbers.end());
    int wrong = numbers[50] != 50 || greeting.size() != 40;
    try {
        numbers.at(1000) = 1;
        wrong++;
    } catch (const std::out_of_range &) {
    }
    return wrong;
}

int main(int argc, char **argv)
{
    watch_illegal();
#ifdef CELL_MPI
    int speaks = mpi_begin(&argc, &argv);
#else
    int speaks = 1;
    (void)argc;
    (void)argv;
#endif
    if (speaks)
        say("language", "c++");
    int wrong = arithmetic_wrong() + library_wrong();
#include "cell_body.h"
    return speaks ? say_end(wrong) : wrong != 0;
}
