"""A third held-out set: failures of configuring, compiling, linking and loading."""

from __future__ import annotations

from planted.blind_common import job, makefile
from planted.blind_configure import FEW_TOOLS, lists
from planted.case import Case

MAIN = "int main(void) { return 0; }\n"
ASSERTED = """#include <cstddef>
template <std::size_t N> struct lanes {
    static_assert(N % 8 == 0, "the number of lanes must be a multiple of 8");
    double v[N];
};
int main() { lanes<12> x{}; return x.v[0] > 0; }
"""
CONCEPT = """#include <concepts>
#include <string>
template <std::floating_point T> T half(T x) { return x / 2; }
int main() { return half(std::string("7")).size(); }
"""
COARRAY = """program images
  implicit none
  real :: x[*]
  x = this_image()
  sync all
  if (this_image() == 1) print *, x[num_images()]
end program
"""
ONLY = {
    "grid.f90": "module grid\n  implicit none\n  integer :: nx = 8\nend module\n",
    "solve.f90": "program solve\n  use grid, only: nx, ny\n  implicit none\n  print *, nx\n"
    "end program\n",
}
CUDA_CALLS = """#include <stddef.h>
int cudaMalloc(void **p, size_t n);
int cudaMemcpy(void *to, const void *from, size_t n, int kind);
int main(void)
{
    void *p = 0;
    double x = 0;
    return cudaMalloc(&p, 8) + cudaMemcpy(p, &x, 8, 1);
}
"""
NETCDF = """module netcdf
  implicit none
  interface
     module function nf90_open(path, mode, id)
       character(len=*), intent(in) :: path
       integer, intent(in) :: mode
       integer, intent(out) :: id
       integer :: nf90_open
     end function
  end interface
end module
program tool
  use netcdf
  implicit none
  integer :: id
  if (nf90_open('in.nc', 0, id) /= 0) stop 1
end program
"""
ACX = """AC_INIT([wavesolve], [2.1])
AC_PROG_CC
AX_BLAS([LIBS="$BLAS_LIBS $LIBS"])
AC_OUTPUT
"""
OFFLOAD = """double total(int n, const double *x)
{
    double s = 0;
#pragma omp target teams distribute parallel for map(to: x[0:n]) reduction(+: s)
    for (int i = 0; i < n; i++)
        s += x[i];
    return s;
}
int main(void) { double x[4] = {1, 2, 3, 4}; return total(4, x) != 10; }
"""
DEEP = '#ifndef SHAPE\n#include "field.h"\n#endif\n'

CASES = (
    Case(
        "fr-static-assert", "compile.an assertion of the code fails while it is compiled",
        "12 lanes where a multiple of 8 is demanded", "make -j2 CXXFLAGS=-std=c++17",
        files={**makefile("lanes.o", "$(CXX) $^ -o $@"), "lanes.cpp": ASSERTED},
    ),
    Case(
        "fr-concept", "compile.a type that a C++ concept refuses", "a string for a number",
        "g++ -std=c++20 -O2 -c half.cpp", files={"half.cpp": CONCEPT},
    ),
    Case(
        "fr-include-depth", "compile.headers that include each other without end", "no guard",
        "make", files={**makefile("step.o"), "step.c": '#include "field.h"\n' + MAIN,
                       "field.h": '#include "shape.h"\n', "shape.h": DEEP},
    ),
    Case(
        "fr-coarray", "compile.coarrays without the option for them", "no -fcoarray",
        job("gfortran -O2 images.f90 -o images && ./images"), files={"images.f90": COARRAY},
    ),
    Case(
        "fr-only", "compile.a name that a Fortran module does not have", "use grid, only: ny",
        "gfortran -O2 -c grid.f90 && gfortran -O2 solve.f90 grid.o -o solve", files=ONLY,
    ),
    Case(
        "fr-offload", "compile.the compiler has no offloading to GPUs", "nvptx is not installed",
        "gcc -O2 -fopenmp -foffload=nvptx-none offload.c -o offload", files={"offload.c": OFFLOAD},
    ),
    Case(
        "fr-clang-cuda", "compile.clang finds no CUDA", "no CUDA on the machine",
        "clang++ -O2 --cuda-gpu-arch=sm_70 -x cuda -c axpy.cu",
        files={"axpy.cu": "__global__ void axpy(double a, double *x) { x[0] *= a; }\n"},
    ),
    Case(
        "fr-cmake-cuda", "configure.a CUDA compiler that cannot be used", "a silent nvcc",
        "PATH=$PWD/few cmake -S . -B build", files=lists("", "C CUDA"),
        prepare=FEW_TOOLS + "\nprintf '#!/bin/sh\\n' > few/nvcc; chmod +x few/nvcc",
    ),
    Case(
        "fr-cmake-ninja", "configure.the build tool that is asked for is not there", "no ninja",
        job("PATH=$PWD/few cmake -G Ninja -S . -B build -DCMAKE_BUILD_TYPE=Release"),
        prepare=FEW_TOOLS, files=lists("add_executable(wave main.c)"),
    ),
    Case(
        "fr-submodule", "configure.a subfolder of another project is empty",
        "git clone without --recurse-submodules", "cmake -S . -B build && cmake --build build",
        prepare="mkdir -p extern/json", files=lists("add_subdirectory(extern/json)"),
    ),
    Case(
        "fr-same-target", "configure.two targets of CMake have one name", "app twice",
        "cmake -S . -B build",
        files=lists("add_executable(wave main.c)\nadd_library(wave STATIC main.c)"),
    ),
    Case(
        "fr-no-tests", "configure.there are no tests to run", "no add_test",
        "cmake -S . -B build && cmake --build build -j2 && ctest --test-dir build"
        " --no-tests=error --output-on-failure",
        files=lists("enable_testing()\nadd_executable(wave main.c)"),
    ),
    Case(
        "fr-ninja-rule", "configure.ninja has no rule for a source", "a source that is not there",
        "ninja -v",
        files={"build.ninja": "rule cc\n  command = gcc -O2 -c $in -o $out\n"
               "build main.o: cc main.c\nbuild wave.o: cc src/wave.c\n"
               "default main.o wave.o\n", "main.c": MAIN},
    ),
    Case(
        "fr-macro", "configure.an autoconf macro was left unexpanded in configure",
        "no autoconf-archive", "autoconf && ./configure --prefix=/opt/apps/wavesolve",
        files={"configure.ac": ACX},
    ),
    Case(
        "fr-clock", "configure.the clock is behind the files of the source", "a future date",
        "autoreconf -i >/dev/null 2>&1; touch -d '2 years' configure.ac aclocal.m4 Makefile.am"
        " Makefile.in configure; ./configure && make",
        files={"configure.ac": "AC_INIT([wave], [1])\nAM_INIT_AUTOMAKE([foreign])\nAC_PROG_CC\n"
               "AC_CONFIG_FILES([Makefile])\nAC_OUTPUT\n",
               "Makefile.am": "bin_PROGRAMS = wave\nwave_SOURCES = main.c\n", "main.c": MAIN},
    ),
    Case(
        "fr-targets", "configure.a makefile with more than one target pattern", "a colon in a path",
        "make -j2 OUT=C:/scratch/obj",
        files={"Makefile": "OBJ = $(OUT)/main.o\nall: $(OBJ)\n$(OBJ): %.o: %.c\n\tcc -c $<\n"},
    ),
    Case(
        "fr-crt", "link.the start files of the C library are not there", "a wrong sysroot",
        "make CC=clang LDFLAGS=--sysroot=/opt/sysroot",
        files=makefile("main.o", "$(CC) $(LDFLAGS) $^ -o $@") | {"main.c": MAIN},
    ),
    Case(
        "fr-gcov", "link.objects with coverage, linked without its runtime", "no --coverage",
        "gcc --coverage -O1 -c flux.c && gcc flux.o -o flux", files={"flux.c": MAIN},
    ),
    Case(
        "fr-asan", "link.objects of the address sanitizer, linked without its runtime",
        "no -fsanitize at the link",
        "gcc -fsanitize=address -g -c a.c && gcc -g -c main.c && gcc a.o main.o -o app",
        files={"a.c": "int at(int *x, int i) { return x[i]; }\n", "main.c": MAIN},
    ),
    Case(
        "fr-cudart", "link.CUDA's runtime library was not linked", "no -lcudart", "make -j2",
        files={**makefile("device.o"), "device.c": CUDA_CALLS},
    ),
    Case(
        "fr-netcdf", "link.netCDF's Fortran library was not linked", "no -lnetcdff",
        job("gfortran -O2 -c tool.f90 && gfortran tool.o -o tool && ./tool"),
        files={"tool.f90": NETCDF},
    ),
    Case(
        "fr-ld-option", "link.an option that the linker does not know", "--as-neded",
        "gcc -O2 main.c -Wl,--as-neded -lm -o app", files={"main.c": MAIN},
    ),
    Case(
        "fr-denied", "load.a shared library that the user may not read", "mode 000",
        "chmod 755 . && setpriv --reuid=65534 --regid=65534 --clear-groups ./app",
        prepare="gcc -shared -fPIC -o libwave.so wave.c\n"
        "gcc main.c ./libwave.so -Wl,-rpath,$PWD -o app\nchmod 000 libwave.so",
        files={"wave.c": "int wave(void) { return 0; }\n",
               "main.c": "int wave(void);\nint main(void) { return wave(); }\n"},
    ),
)  # fmt: skip
