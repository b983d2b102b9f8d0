"""Held-out failures of compiling C and C++."""

from __future__ import annotations

from planted.blind_common import job, makefile
from planted.case import Case

INTRINSICS = """#include <immintrin.h>
void axpy8(double a, const double *x, double *y)
{
    __m512d r = _mm512_fmadd_pd(_mm512_set1_pd(a), _mm512_loadu_pd(x), _mm512_loadu_pd(y));
    _mm512_storeu_pd(y, r);
}
int main(void) { return 0; }
"""
BF16 = """void tile(void) { __asm__ volatile("vaddnepbf16 %zmm1, %zmm2, %zmm3\\n\\t"
                                   "tmmultf32ps %tmm0"); }
"""
MPI1 = """#include <mpi.h>
int main(int argc, char **argv)
{
    MPI_Datatype types[2] = {MPI_DOUBLE, MPI_UB}, made;
    int lengths[2] = {3, 1};
    MPI_Aint at[2] = {0, 32};
    MPI_Init(&argc, &argv);
    MPI_Type_struct(2, lengths, at, types, &made);
    MPI_Finalize();
}
"""
SPAN = """#include <numeric>
#include <span>
#include <vector>
double total(std::span<const double> v) { return std::reduce(v.begin(), v.end()); }
int main() { std::vector<double> v(8, 1.0); return total(v) == 8 ? 0 : 1; }
"""
NO_MATCH = """#include <map>
#include <string>
#include <vector>
template <class T> struct field { std::vector<T> data; };
template <class T> T norm2(const field<T> &f) { T s{}; for (T x : f.data) s += x * x; return s; }
int main()
{
    std::map<std::string, field<double>> all;
    return norm2(all) > 0;
}
"""
CLOCK = """#include <stdio.h>
#include <time.h>
double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}
"""
SHARING = """void scale(int n, double a, double *x)
{
#pragma omp parallel for default(none) shared(x)
    for (int i = 0; i < n; i++)
        x[i] *= a;
}
"""
CONFLICT = """int step(int n)
{
<<<<<<< HEAD
    return n + 1;
=======
    return n + 2;
>>>>>>> origin/faster-halo
}
"""
BIG = """static double field[1L << 35][1L << 30];
double at(long i) { return field[i][0]; }
"""
IMPLICIT = """int main(void)
{
    double a = 1, b = 2, c;
    int one = 1;
    dgemm_("N", "N", &one, &one, &one, &a, &a, &one, &b, &one, &a, &c, &one);
    return c != 2;
}
"""
HEAVY = """#include <utility>
template <unsigned N> struct fib { static const unsigned long value; };
template <unsigned N, unsigned M> struct tree { tree<N - 1, 2 * M> l; tree<N - 1, 2 * M + 1> r; };
template <unsigned M> struct tree<0, M> { int x; };
tree<24, 1> all;
int main() { return sizeof all > 9; }
"""
WERROR = """#include <stdlib.h>
static double *buffer(int n)
{
    double *old = malloc(n * sizeof *old);
    int status = posix_memalign((void **)&old, 64, n);
    return old;
}
int main(void) { return buffer(4) == 0; }
"""
END = """int sweep(int n)
{
    for (int i = 0; i < n; i++) {
        if (i % 2) {
            n -= i;
    }
    return n;
}
"""
CONST_CALL = """class Grid {
  public:
    int size() { return n_; }
  private:
    int n_ = 8;
};
class Halo : private Grid {};
int cells(const Grid &g) { return g.size(); }
int main() { Halo h; return h.size() + cells(Grid()); }
"""
DEVICE = """#include <cblas.h>
#include "kernels/solver_gpu.h"
int main(void) { return 0; }
"""

CASES = (
    Case(
        "bl-cc-mkl-header",
        "compile.a header is not there",
        "mkl.h in a parallel make with warnings",
        job("make -j2"),
        files=makefile("main.o solve.o")
        | {"main.c": "int main(void) { return 0; }\n"}
        | {"solve.c": "#include <math.h>\n#include <mkl_lapacke.h>\nint s;\n"},
    ),
    Case(
        "bl-cc-own-header",
        "compile.a header of the project is not found for lack of -I",
        "the header is in include/, no -I, in colours",
        "make CC='clang -fcolor-diagnostics -Iinc'; s=$?; find . -name solver_gpu.h; exit $s",
        files=makefile("main.o", count=2)
        | {"main.c": DEVICE, "include/kernels/solver_gpu.h": "int gpu;\n"},
    ),
    Case(
        "bl-cc-intrinsics",
        "compile.intrinsics without the flag of their instruction set",
        "AVX-512 with the default target",
        "make CFLAGS='-O2 -Wall'",
        files=makefile("axpy.o", count=3) | {"axpy.c": INTRINSICS},
    ),
    Case(
        "bl-cc-march",
        "compile.a microarchitecture that the compiler is too old to know",
        "zen5 with GCC 12",
        job("make -j2 CFLAGS='-O3 -march=znver5 -mtune=znver5'"),
        files=makefile("main.o", count=2) | {"main.c": "int main(void) { return 0; }\n"},
    ),
    Case(
        "bl-cc-assembler",
        "compile.the assembler does not know an instruction",
        "inline assembly newer than binutils",
        "make -k",
        files=makefile("tile.o", count=2) | {"tile.c": BF16},
    ),
    Case(
        "bl-cc-mpi1",
        "compile.names of MPI-1 that were removed from MPI",
        "MPI_UB and MPI_Type_struct",
        "make CC=mpicc.openmpi",
        files=makefile("main.o", count=1) | {"main.c": MPI1},
    ),
    Case(
        "bl-cc-standard",
        "compile.a language standard that is too old for the code",
        "std::span with C++14",
        job("make CXXFLAGS='-std=c++14 -O2'"),
        files=makefile("total.o", "$(CXX) $^ -o $@", 2) | {"total.cpp": SPAN},
    ),
    Case(
        "bl-cc-template",
        "compile.an argument of the wrong type in C++",
        "a map in the place of a field",
        "make CXXFLAGS=-std=c++17",
        files=makefile("norm.o", "$(CXX) $^ -o $@", 1) | {"norm.cpp": NO_MATCH},
    ),
    Case(
        "bl-cc-private",
        "compile.a call that C++ does not allow",
        "const and private, by clang",
        "clang++ -std=c++17 -c grid.cpp -o grid.o && ar rc libgrid.a grid.o",
        files={"grid.cpp": CONST_CALL},
    ),
    Case(
        "bl-cc-strict-c99",
        "compile.a name of POSIX that strict C99 hides",
        "-std=c99 in the place of gnu99",
        "make CFLAGS='-std=c99 -O2'",
        files=makefile("clock.o", count=1) | {"clock.c": CLOCK},
    ),
    Case(
        "bl-cc-omp-sharing",
        "compile.a variable without a data-sharing clause of OpenMP",
        "default(none) without n and a",
        "make CFLAGS='-O2 -fopenmp'",
        files=makefile("scale.o", count=2) | {"scale.c": SHARING},
    ),
    Case(
        "bl-cc-conflict",
        "compile.marks of a merge conflict in a source",
        "a merge was not finished",
        "gcc -O2 -c halo.c step.c",
        files={"step.c": CONFLICT, "halo.c": "int halo;\n"},
    ),
    Case(
        "bl-cc-too-large",
        "compile.an array larger than an object may be",
        "an exabyte",
        "gcc -O2 -c big.c -o big.o",
        files={"big.c": BIG},
    ),
    Case(
        "bl-cc-implicit",
        "compile.a function without its declaration",
        "no prototype of dgemm_, which is an error here",
        job("make CFLAGS='-O2 -Werror=implicit-function-declaration'"),
        files=makefile("main.o", count=2) | {"main.c": IMPLICIT},
    ),
    Case(
        "bl-cc-werror",
        "compile.a warning that counts as an error",
        "-Werror of a release",
        "gcc -O2 -Wall -Wextra -Werror -c main.c -o main.o && gcc main.o -o main",
        files={"main.c": WERROR},
    ),
    Case(
        "bl-cc-brace",
        "compile.a missing brace",
        "lost in an edit",
        "make -j2",
        files=makefile("sweep.o", count=2) | {"sweep.c": END},
    ),
    Case(
        "bl-cc-intel-flags",
        "compile.options of another compiler",
        "those of icc for gcc",
        job("make CFLAGS='-O3 -qopenmp -no-prec-div -fp-model fast=2'"),
        files=makefile("main.o", count=1) | {"main.c": "int main(void) { return 0; }\n"},
    ),
    Case(
        "bl-cc-killed",
        "compile.the compiler was killed",
        "as the kernel does when memory is short",
        "set -o pipefail\necho g++ -O3 -c heavy.cpp -o heavy.o\n"
        "g++ -O3 -ftemplate-depth=4000 -c heavy.cpp -o heavy.o &\nmade=$!\nsleep 1\n"
        "kill -KILL $(pgrep -P $made cc1plus)\nwait $made",
        files={"heavy.cpp": HEAVY},
    ),
    Case(
        "bl-cc-memory",
        "compile.the compiler runs out of memory",
        "a limit of address space",
        "make CXX='ulimit -v 150000; g++' CXXFLAGS='-O2 -ftemplate-depth=4000'",
        files=makefile("heavy.o", "$(CXX) $^ -o $@", 1) | {"heavy.cpp": HEAVY},
    ),
    Case(
        "bl-cc-disk",
        "compile.the disk of temporary files is full",
        "TMPDIR of 64 kB",
        "unshare --mount bash inside.sh",
        files=makefile("table.o", count=2)
        | {
            "table.c": "#define R(x) x+1.5, x+2.5, x+3.5, x+4.5, x+5.5, x+6.5, x+7.5, x+8.5,\n"
            "#define Q(x) R(x) R(x+10) R(x+20) R(x+30) R(x+40) R(x+50) R(x+60) R(x+70)\n"
            "double t[] = {Q(1) Q(2) Q(3) Q(4) Q(5) Q(6) Q(7) Q(8) Q(9) Q(10) Q(11) Q(12)\n"
            "Q(13) Q(14) Q(15) Q(16) Q(17) Q(18) Q(19) Q(20) Q(21) Q(22) Q(23) Q(24)};\n",
            "inside.sh": "mkdir tmp && mount -t tmpfs -o size=64k none tmp\n"
            "export TMPDIR=$PWD/tmp\nmake CFLAGS='-O2 -Wall -g3'\n",
        },
    ),
    Case(
        "bl-cc-no-folder",
        "compile.the folder of objects is not there",
        "obj/ is not in the archive",
        "for f in a b; do echo gcc -c $f.c -o obj/$f.o; gcc -c $f.c -o obj/$f.o || exit; done",
        files={"a.c": "int a;\n", "b.c": "int b;\n"},
    ),
    Case(
        "bl-cc-no-source",
        "compile.a source is not there",
        "not in the archive",
        "gcc -O2 main.c src/kernels.c -o app -lm",
        files={"main.c": "int main(void) { return 0; }\n"},
    ),
    Case(
        "bl-cc-gcc-toolchain",
        "compile.clang finds no C++ library",
        "--gcc-toolchain of another site",
        "make CXX='clang++ --gcc-toolchain=/opt/gcc/13.2' CXXFLAGS=-O2",
        files=makefile("total.o", "$(CXX) $^ -o $@", 1)
        | {"total.cpp": "#include <iostream>\nint main() { std::cout << 1; }\n"},
    ),
    Case(
        "bl-cc-no-cc1plus",
        "compile.a compiler without its C++ part",
        "g++ of a half-installed toolchain",
        "PATH=$PWD/few:$PATH\ng++ -O2 -B$PWD/few/ -v -c total.cpp 2>&1 | tail"
        " -4; exit ${PIPESTATUS[0]}",
        "mkdir few\ncp $(readlink -f $(command -v g++)) few/g++",
        {"total.cpp": "int main() {}\n"},
    ),
)
