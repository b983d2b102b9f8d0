"""More failures of builds, made with other tools: clang, lld, gold, ninja, and texts in UTF-8."""

from __future__ import annotations

from planted.case import Case
from planted.configuring import CMAKE, configure, lists

UTF8 = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
MAIN = {"main.c": "int main(void) { return 0; }\n"}
EIGEN = {"e.cpp": "#include <vector>\n#include <Eigen/Dense>\nint main() { return 0; }\n"}
SPAN = {"s.cpp": '#include <string_view>\nstd::string_view name() { return "x"; }\n'}
LAMBDA = {"l.cpp": "int main() { int n = 0 return n; }\n"}
FMA = {
    "f.cpp": "#include <immintrin.h>\n__m256d f(__m256d a) { return _mm256_fmadd_pd(a, a, a); }\n"
}
SOLVER = {
    "s.c": "void dsyev_(char *, char *, int *, double *, int *, double *, double *, int *,"
    " int *);\n"
    "int main(void)\n{\n    double a = 1, w, t[9];\n    int n = 1, l = 9, i;\n"
    '    dsyev_("V", "U", &n, &a, &n, &w, t, &l, &i);\n    return i;\n}\n',
    "z.c": 'void zgemm_64_(char *);\nint main(void) { zgemm_64_("N"); return 0; }\n',
    "k.c": "void cblas_sgemv(int);\nint main(void) { cblas_sgemv(0); return 0; }\n",
    "t.c": "double tgamma(double);\n"
    "int main(int n, char **v) { return tgamma(n + .5) > 9 || !v; }\n",
    "u.c": "int grid_setup(int);\nint main(void) { return grid_setup(3); }\n",
}
COMM = {
    "c.cpp": "#include <mpi.h>\nint main(int c, char **v)\n{\n    int r;\n    MPI_Init(&c, &v);\n"
    "    MPI_Comm_rank(MPI_COMM_WORLD, &r);\n    MPI_Finalize();\n    return r;\n}\n"
}
LOOP = {
    "p.f90": "subroutine p(x, n)\n  integer :: n, i\n  real :: x(n)\n  !$omp parallel do\n"
    "  do i = 1, n\n    x(i) = i\n  end do\nend subroutine\n",
    "m.c": "void p_(float *, int *);\nint main(void)\n{\n    float x[4];\n    int n = 4;\n"
    "    p_(x, &n);\n    return x[3] != 4;\n}\n",
    "w.f90": "subroutine p(x, n)\n  real :: x(n)\n  print *, x(1)\nend subroutine\n",
}
THROW = {"x.cpp": "#include <new>\nint main() { return *new int(0); }\n"}
KEPT = {"k.c": "static int v[4];\nint *p = v;\nint get(int i) { return v[i]; }\n"}
BITCODE = "clang -flto -c u.c grid.c"
GRID = {"grid.c": "int grid_setup(int n) { return n - 3; }\n"}
NINJA = {
    "build.ninja": "rule cc\n  command = cc -c $in -o $out\nbuild a.o: cc grid.c\ndefault a.o\n"
}
BAD_NINJA = {"build.ninja": "rule cc\n\tcommand = cc -c $in\n"}
RUN_NINJA = {
    "build.ninja": "rule cc\n  command = clang -O2 -c $in -o $out\nbuild k.o: cc k.c\n",
    "k.c": '#include "site/solver.h"\nint x;\n',
}
TABLE = {"a.f90": "program a\n  use netcdf\n  print *, nf90_noerr\nend program\n"}
KIND = {
    "k.f90": "program k\n  real(8) :: x\n  call s(x)\ncontains\n  subroutine s(y)\n"
    "    real(4) :: y\n    y = 1\n  end subroutine\nend program\n"
}
TARGET = {"Makefile": "include ../make.inc\nall:\n\techo $(CC)\n"}
SHELL = {"Makefile": "all: check\ncheck:\n\ttest -d /nonexistent/mkl\n"}
TARGETS = "add_executable(w main.c)\ntarget_link_libraries(w PRIVATE BLAS::BLAS64)\n"
CONFIG = {
    "pkg/hwaveConfig.cmake": "\n",
    "pkg/hwaveConfigVersion.cmake": 'set(PACKAGE_VERSION "1.2")\n'
    "if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)\n"
    "  set(PACKAGE_VERSION_COMPATIBLE FALSE)\nelse()\n  set(PACKAGE_VERSION_COMPATIBLE TRUE)\n"
    "endif()\n",
}

CASES = (
    Case(
        "clang-missing-header",
        "compile.missing_header",
        "Eigen is not installed",
        "clang++ -O2 -c e.cpp",
        files=EIGEN,
    ),
    Case(
        "clang-unknown-cpu",
        "compile.unknown_march",
        "-march names no CPU",
        "clang -O3 -march=znver7 -c main.c",
        files=MAIN,
    ),
    Case(
        "gcc-unknown-mtune",
        "compile.unknown_march",
        "-mcpu of another architecture, UTF-8",
        "gcc -O2 -mtune=neoverse-v2 -c main.c",
        files=MAIN,
        env=UTF8,
    ),
    Case(
        "clang-unknown-option",
        "compile.unknown_option",
        "an option of Intel's compiler",
        "clang -ipo -c main.c -qopt-zmm-usage=high",
        files=MAIN,
    ),
    Case(
        "gfortran-unknown-option",
        "compile.unknown_option",
        "an option of ifort, UTF-8",
        "gfortran -c p.f90 -fp-model=precise",
        files=LOOP,
        env=UTF8,
    ),
    Case(
        "gcc-missing-header-utf8",
        "compile.missing_header",
        "a header in a folder, UTF-8",
        "gcc -c k.c",
        files=RUN_NINJA,
        env=UTF8,
    ),
    Case(
        "clang-syntax",
        "compile.source_error",
        "a semicolon is missing",
        "clang++ -c l.cpp",
        files=LAMBDA,
    ),
    Case(
        "clang-target-feature",
        "compile.target_feature",
        "FMA intrinsics without -mfma",
        "clang++ -O2 -c f.cpp",
        files=FMA,
    ),
    Case(
        "clang-old-standard",
        "compile.language_standard",
        "std::string_view with -std=c++14",
        "clang++ -std=c++14 -c s.cpp",
        files=SPAN,
    ),
    Case(
        "clang-standard-value",
        "compile.unknown-standard",
        "-std with a name of nothing",
        "clang++ -std=c++29 -c s.cpp",
        files=SPAN,
    ),
    Case(
        "clang-werror",
        "compile.warnings_as_errors",
        "-Werror",
        "clang -Wall -Werror -c w.c",
        files={"w.c": "int f(int n) { int unused = 1; return n; }\n"},
    ),
    Case(
        "gfortran-no-netcdf",
        "compile.missing_module_file",
        "netcdf.mod is not there, UTF-8",
        "gfortran -c a.f90",
        files=TABLE,
        env=UTF8,
    ),
    Case(
        "gfortran-kind",
        "compile.argument_mismatch",
        "REAL(8) given for REAL(4), UTF-8",
        "gfortran -c k.f90",
        files=KIND,
        env=UTF8,
    ),
    Case(
        "lld-lapack", "link.lapack", "no LAPACK, lld", "clang -fuse-ld=lld s.c -o s", files=SOLVER
    ),
    Case("gold-blas", "link.blas", "no BLAS, gold", "gcc -fuse-ld=gold k.c -o k", files=SOLVER),
    Case(
        "lld-ilp64",
        "link.ilp64",
        "64-bit names, a library of 32 bits, lld",
        "clang -fuse-ld=lld z.c -o z -lblis",
        files=SOLVER,
    ),
    Case("lld-libm", "link.libm", "no -lm, lld", "clang -fuse-ld=lld t.c -o t", files=SOLVER),
    Case(
        "lld-undefined",
        "link.undefined_symbol",
        "a function of nobody, lld",
        "clang -fuse-ld=lld u.c -o u",
        files=SOLVER,
    ),
    Case(
        "clang-mpi",
        "link.mpi",
        "MPICH's header and no library, clang++",
        "clang++ -I/usr/include/x86_64-linux-gnu/mpich c.cpp -o c",
        files=COMM,
    ),
    Case(
        "gfortran-openmp",
        "link.openmp",
        "Fortran with OpenMP linked without it",
        "gcc m.c p.o -o m -lgfortran",
        "gfortran -fopenmp -c p.f90",
        LOOP,
    ),
    Case(
        "clang-openmp",
        "link.openmp",
        "clang's OpenMP linked without it, lld",
        "clang -fuse-ld=lld o.o -o o",
        "clang -fopenmp -c o.c",
        {"o.c": "int main(void)\n{\n#pragma omp parallel\n    { }\n    return 0;\n}\n"},
    ),
    Case(
        "clang-fortran",
        "link.fortran_runtime",
        "Fortran linked by clang, gold",
        "clang -fuse-ld=gold m.c w.o -o m",
        "gfortran -c w.f90",
        LOOP,
    ),
    Case(
        "clang-cxx",
        "link.cxx_runtime",
        "C++ linked by clang, lld",
        "clang -fuse-ld=lld x.o -o x",
        "clang++ -c x.cpp",
        THROW,
    ),
    Case(
        "lld-no-library",
        "link.missing_library",
        "-lscalapack is not there, lld",
        "clang -fuse-ld=lld main.c -lscalapack-site -o m",
        files=MAIN,
    ),
    Case(
        "gold-no-library",
        "link.missing_library",
        "-lsirius is not there, gold",
        "gcc -fuse-ld=gold main.c -lsirius -o m",
        files=MAIN,
    ),
    Case(
        "lld-no-pic",
        "link.not_pic",
        "no -fPIC, lld",
        "clang -fuse-ld=lld -shared k.o -o k.so",
        "clang -fno-pic -mcmodel=medium -c k.c",
        KEPT,
    ),
    Case(
        "lld-twice",
        "link.multiple_definition",
        "one name twice, lld",
        "clang -fuse-ld=lld main.c other.c -o m",
        files=MAIN | {"other.c": MAIN["main.c"]},
    ),
    Case(
        "ld-bitcode",
        "link.bitcode",
        "bitcode of clang given to GNU ld",
        "gcc u.o grid.o -o u",
        BITCODE,
        SOLVER | GRID,
    ),
    Case(
        "ld-archive-damaged",
        "link.damaged_object",
        "an archive that is text",
        "clang main.c libgrid.a -o m",
        "echo 'not found' > libgrid.a",
        MAIN,
    ),
    Case(
        "ninja-no-source",
        "configure.make_no_rule",
        "a source that is not there",
        "ninja",
        files=NINJA,
    ),
    Case("ninja-no-file", "configure.make_no_makefile", "no build.ninja", "ninja -j2"),
    Case("ninja-syntax", "configure.make_syntax", "a tab in build.ninja", "ninja", files=BAD_NINJA),
    Case(
        "ninja-header",
        "compile.missing_header",
        "a header that is not there, under ninja",
        "ninja",
        files=RUN_NINJA,
    ),
    Case("make-include", "configure.make-include", "make.inc is not there", "make", files=TARGET),
    Case(
        "cmake-mpi-language",
        "configure.no_compiler",
        "CMAKE_CXX_COMPILER names nothing",
        f"{CMAKE} -DCMAKE_CXX_COMPILER=icpx",
        files=lists("", languages="CXX"),
    ),
    Case(
        "cmake-target",
        "configure.cmake_target",
        "a target that no package provides",
        CMAKE,
        files=lists(TARGETS, "3.25"),
    ),
    Case(
        "cmake-package-version",
        "configure.cmake-old-package",
        "a package that is too old",
        f"{CMAKE} -Dhwave_DIR=$PWD/pkg",
        files=lists("find_package(hwave 2.0 REQUIRED)\n") | CONFIG,
    ),
    Case(
        "cmake-no-source",
        "configure.cmake_source",
        "a source that is not there",
        CMAKE,
        files=lists("add_executable(w main.c solver.c)\n"),
    ),
    Case(
        "cmake-blas-vendor",
        "configure.cmake_package",
        "find_package(BLAS) with MKL's name",
        f"{CMAKE} -DBLA_VENDOR=Intel10_64lp",
        files=lists("find_package(BLAS REQUIRED)\n"),
    ),
    Case(
        "cmake-no-ninja",
        "configure.cmake_generator",
        "a generator without its program",
        f"PATH=/usr/lib/none {CMAKE.replace('cmake', '/usr/bin/cmake', 1)} -G Ninja",
        files=lists(""),
    ),
    Case(
        "cmake-fatal",
        "configure.cmake-fatal",
        "message(FATAL_ERROR)",
        CMAKE,
        files=lists('message(FATAL_ERROR "In-source builds are not allowed")\n'),
    ),
    Case(
        "configure-no-compiler",
        "configure.no_compiler",
        "a PATH without compilers",
        "mkdir bin\nfor tool in sh sed grep cat rm expr tr basename dirname mkdir ls mv"
        " awk cp chmod sleep test uname touch diff cmp; do"
        " ln -sf $(command -v $tool) bin/; done\nCONFIG_SHELL=/bin/sh PATH=$PWD/bin ./configure",
        "autoconf",
        configure(""),
    ),
    Case(
        "configure-mpi",
        "configure.missing_library",
        "no MPI in the link of a check",
        "./configure CC=clang",
        "autoconf",
        configure(
            "AC_SEARCH_LIBS([MPI_Init], [mpi_site], [], [AC_MSG_ERROR([unable to find MPI])])"
        ),
    ),
    Case(
        "clang-full",
        "environment.no_space",
        "no space for temporary files, clang",
        "exec unshare --mount sh -c 'mount -t tmpfs -o size=4k none full"
        " && head -c 9000 /dev/zero > full/x 2>/dev/null;"
        " clang -c main.c -o full/main.o'",
        "mkdir full",
        MAIN,
    ),
    Case(
        "clang-no-linker",
        "link.no-linker",
        "-fuse-ld with a linker that is not there",
        "clang -fuse-ld=mold main.c -o m",
        files=MAIN,
    ),
)
