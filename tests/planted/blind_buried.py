"""Held-out failures whose cause is followed by consequences, or stands in a long log."""

from __future__ import annotations

from planted.blind_common import job, makefile
from planted.blind_configure import autoconf
from planted.blind_site import CORE, TREE
from planted.case import RANKS, Case

RANK = (
    "import os\n\nrank = int(os.environ['OMPI_COMM_WORLD_RANK'])\nprint('rank', rank, flush=True)\n"
)
FORTRAN_RANK = """program ranks
  use mpi
  implicit none
  integer :: rank, ierr, n
  call MPI_Init(ierr)
  call MPI_Comm_rank(MPI_COMM_WORLD, rank, ierr)
  if (rank == 1) then
    open (10, file='part1.dat', status='old')
    read (10, *) n
  end if
  call MPI_Barrier(MPI_COMM_WORLD, ierr)
  call MPI_Finalize(ierr)
end program
"""
LONG = """#include <assert.h>
#include <math.h>
#include <stdio.h>
int main(void)
{
    for (int i = 1; i <= 30000; i++) {
        double error = exp(-i / 3000.0) + (i == 21000) * 2;
        printf("iter %6d  error estimate %.6e  failed cells 0  warnings 0\\n", i, error);
        fflush(stdout);
        assert(error < 1.5);
    }
}
"""
MANY = "\n".join(f"k{i}.o: k{i}.c\n\t$(CC) -c k{i}.c -o k{i}.o" for i in range(12))
OBJECTS = " ".join(f"k{i}.o" for i in range(12))
KERNELS = {f"k{i}.c": f'#include "kernel_table.h"\nint k{i};\n' for i in range(12)}
SKIPPED = job(
    "make CC=gcc\n./app > run.log\npython3 -c \"print(open('results.csv').read())\"",
    "tail -3 run.log",
)

CASES = (
    Case(
        "bl-x-generator",
        "environment.a Python package is not there, and so a header is not generated",
        "twelve failed compilations follow",
        "make -k -j3",
        files={
            "Makefile": f"all: kernel_table.h {OBJECTS}\nkernel_table.h: gen.py\n"
            f"\tpython3 -S gen.py > kernel_table.tmp && mv kernel_table.tmp $@\n{MANY}\n",
            "gen.py": "import yaml_of_the_site\n\nprint('#define N', yaml_of_the_site.N)\n",
            **KERNELS,
        },
    ),
    Case(
        "bl-x-module-first",
        "environment.a module is not there, and so nothing else is",
        "compiler, program and results are missing",
        job(CORE + "module load intel/2099\nifx -O3 wave.f90 -o wave\n./wave\ncp out.h5 results/"),
        files=TREE,
    ),
    Case(
        "bl-x-link-first",
        "link.an undefined function, and so there is no program",
        "the script goes on",
        SKIPPED,
        files=makefile("main.o", count=2)
        | {
            "main.c": "double zdotc_wrapper(int);\n"
            "int main(void) { return zdotc_wrapper(1) > 0; }\n"
        },
    ),
    Case(
        "bl-x-configure-first",
        "configure.a library is not there, and so there is no makefile",
        "make and make install fail after it",
        "./configure --prefix=$PWD/inst\nmake -j2\nmake install",
        "autoconf",
        autoconf(
            "AC_CHECK_LIB([netcdf], [nc_open], [], [AC_MSG_ERROR([netCDF library not found])])"
        ),
    ),
    Case(
        "bl-x-disk-first",
        "run.the disk is full, and so files are cut",
        "tar, then a header, on 300 kB",
        "unshare --mount bash inside.sh",
        "mkdir src\nhead -c 600000 /dev/urandom > src/big.c\necho 'int x;' > src/z.c\n"
        "tar cf src.tar src/big.c src/z.c",
        {
            "inside.sh": "mkdir disk && mount -t tmpfs -o size=300k none disk\ncd disk\n"
            "tar xf ../src.tar\ngcc -c src/z.c -o z.o && gcc z.o -o z\n./z\n"
        },
    ),
    Case(
        "bl-x-cd-first",
        "environment.a folder is not there, and so files are not found",
        "no set -e",
        "cd /scratch/projects/x42/run-0007\npython3 step.py --input case.yaml\nexit $?",
    ),
    Case(
        "bl-x-python-rank",
        "run.a Python error on one of the ranks",
        "mpirun tells its consequence",
        job("mpirun.openmpi --oversubscribe -n 3 python3 rank.py"),
        files={"rank.py": RANK + "cells = {0: 10, 1: 12}\nprint('cells', cells[rank])\n"},
        env=RANKS,
    ),
    Case(
        "bl-x-fortran-rank",
        "run.a Fortran input file is not there on one of the ranks",
        "MPICH tells its consequence",
        job("mpiexec.hydra -n 2 ./ranks"),
        "mpif90.mpich ranks.f90 -o ranks",
        {"ranks.f90": FORTRAN_RANK},
    ),
    Case(
        "bl-x-library-rank",
        "load.a shared library is not found, on all ranks",
        "mpirun tells its consequence",
        job("mpirun.openmpi --oversubscribe -n 2 ./main"),
        "echo 'int fft;' | gcc -shared -fPIC -x c - -Wl,-soname,libfftw3_mpi.so.3 -o libfft.so\n"
        "echo 'extern int fft; int main() { return fft; }' | gcc -x c - -x none libfft.so -o main",
        env=RANKS,
    ),
    Case(
        "bl-x-long",
        "run.an assertion failed in a long log",
        "after 21,000 lines of a solver",
        job("./main", "seq -f 'copied part %.0f of 4000, 0 errors' 4000"),
        "gcc main.c -o main -lm",
        {"main.c": LONG},
    ),
    Case(
        "bl-x-colour",
        "compile.a type error, in colours, in an interleaved build",
        "ninja, by cmake",
        "cmake -G Ninja -S . -B b -DCMAKE_CXX_FLAGS=-fdiagnostics-color=always >/dev/null"
        " && ninja -C b -k 0",
        files={
            "CMakeLists.txt": "cmake_minimum_required(VERSION 3.16)\nproject(x LANGUAGES CXX)\n"
            "add_executable(x a.cpp b.cpp c.cpp)\n",
            "a.cpp": "#include <vector>\nint a() { std::vector<int> v; return v + 1; }\n",
            "b.cpp": "int b(int n) { if (n = 1) return 2; return 0; }\n",
            "c.cpp": "int main() { return 0; }\n",
        },
    ),
    Case(
        "bl-x-retries",
        "run.stopped by timeout, three times",
        "a wrapper that tries again",
        "for i in 1 2 3; do\n  timeout --verbose 0.4 sleep 20 && exit 0\n"
        '  echo "attempt $i failed, trying again"\ndone\necho \'giving up after'
        " 3 attempts' >&2\nexit 1",
    ),
    Case(
        "bl-x-make-check",
        "mpi.started by root, by make check",
        "automake-like harness",
        "make check",
        files={
            "Makefile": "check:\n\t@for t in t1 t2; do \\\n"
            "\t  if mpirun.openmpi -n 2 hostname > $$t.log 2>&1; then echo PASS: $$t; else"
            ' echo FAIL: $$t; bad=1; fi; done; \\\n\tif [ "$$bad" ]; then cat t1.log; exit 1; fi\n'
        },
    ),
    Case(
        "bl-x-install",
        "environment.no right to install below /opt",
        "make install of a user",
        "chmod -R a+rX .\nsetpriv --reuid 65534 --regid 65534 --clear-groups make install",
        "echo 'int w;' | gcc -c -x c - -o w.o\nar rcs libw.a w.o",
        {
            "Makefile": "install:\n\tinstall -d /opt/wavesolve-2.1/lib\n"
            "\tinstall -m 644 libw.a /opt/wavesolve-2.1/lib/\n"
        },
    ),
)
