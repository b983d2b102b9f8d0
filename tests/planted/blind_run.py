"""Held-out failures of programs that run: signals and what libraries find."""

from __future__ import annotations

from planted.blind_common import job
from planted.case import Case

CRASH = """program wave
  implicit none
  real(8), pointer :: u(:) => null()
  print *, 'time step', 1
  call step(u)
contains
  subroutine step(v)
    real(8), pointer :: v(:)
    v(3) = v(2) + 1
  end subroutine
end program
"""
ILL = """#include <stdio.h>
int main(void)
{
    puts("kernel: skylakex");
    fflush(stdout);
    __asm__ volatile(".byte 0x0f, 0xff");
    return 0;
}
"""
DIVIDE = """#include <stdio.h>
int main(int argc, char **argv)
{
    int blocks = argc - 1;
    printf("cells per block: ");
    printf("%d\\n", 1000 / blocks);
}
"""
TRAP = """program flux
  implicit none
  real(8) :: rho(3) = [1d0, 0d0, 2d0], p(3)
  integer :: i
  do i = 1, 3
    p(i) = log(rho(i)) / rho(i)
  end do
  print *, p
end program
"""
STACK = """program big
  implicit none
  call work(4000000)
contains
  subroutine work(n)
    integer, intent(in) :: n
    real(8) :: tmp(n)
    tmp = 1
    print *, sum(tmp)
  end subroutine
end program
"""
ASSERT = """#include <assert.h>
#include <stdio.h>
static int halo(int width) { assert(width > 0 && "halo too thin"); return width; }
int main(void) { printf("start\\n"); return halo(0); }
"""
HEAP = """#include <stdlib.h>
#include <string.h>
int main(void)
{
    char *a = malloc(24), *b;
    memset(a, 255, 40);
    b = malloc(100000);
    free(b);
    b = malloc(4000);
    free(a);
    return b == 0;
}
"""
FREE = """#include <stdlib.h>
int main(void) { double *x = malloc(800), *y = x; free(x); free(y); return 0; }
"""
SMASH = """#include <string.h>
int main(int argc, char **argv) { char tag[8]; strcpy(tag, argv[1]); return tag[0] == 0; }
"""
MAPPED = """#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void)
{
    int fd = open("field.bin", O_RDWR | O_CREAT, 0600);
    double *x = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    printf("mapped %d MB\\n", 1);
    fflush(stdout);
    x[1000] = 1;
    return 0;
}
"""
ALLOC = """#include <iostream>
#include <vector>
int main()
{
    std::cout << "allocating the matrix" << std::endl;
    std::vector<double> a(400L << 20);
    return a[1] > 0;
}
"""
THROW = """#include <iostream>
#include <stdexcept>
#include <string>
static void read_mesh(const std::string &name)
{
    throw std::runtime_error("mesh " + name + ": element 17 has negative volume");
}
int main() { std::cout << "reading" << std::endl; read_mesh("wing.msh"); }
"""
AT = """#include <vector>
int main() { std::vector<int> v(8); return v.at(12); }
"""
ASAN = """#include <stdlib.h>
int main(void)
{
    double *u = malloc(8 * sizeof *u), s = 0;
    for (int i = 0; i <= 8; i++)
        s += u[i];
    return s > 0;
}
"""


def c(
    name: str, kind: str, planted: str, source: str, run: str = "./main", flags: str = ""
) -> Case:
    return Case(name, kind, planted, run, f"gcc -g main.c {flags} -o main", {"main.c": source})


def cxx(name: str, kind: str, planted: str, source: str, run: str = "./main") -> Case:
    return Case(name, kind, planted, run, "g++ -O1 main.cpp -o main", {"main.cpp": source})


def fortran(
    name: str, kind: str, planted: str, source: str, run: str = "./main", flags: str = ""
) -> Case:
    prepare = f"gfortran -g {flags} main.f90 -o main"
    return Case(name, kind, planted, run, prepare, {"main.f90": source})


CASES = (
    fortran(
        "bl-segv-fortran",
        "run.a segmentation fault",
        "a null pointer, with the backtrace of gfortran",
        CRASH,
        job("ulimit -c 0\n./main"),
    ),
    c(
        "bl-sigill",
        "run.an instruction that the processor does not have",
        "ud0",
        ILL,
        job("./main"),
    ),
    c("bl-sigfpe", "run.an integer division by zero", "no blocks", DIVIDE),
    fortran(
        "bl-fpe-trap",
        "run.a trapped floating-point exception",
        "-ffpe-trap",
        TRAP,
        job("./main"),
        "-ffpe-trap=zero,invalid,overflow",
    ),
    fortran(
        "bl-stack",
        "run.the stack is too small",
        "32 MB of automatic arrays",
        STACK,
        "ulimit -s 8192\n./main",
        "-fstack-arrays -O2",
    ),
    c("bl-assert", "run.an assertion failed", "a halo of no width", ASSERT, job("./main")),
    c("bl-heap-top", "run.the heap is damaged", "written behind a block", HEAP, job("./main")),
    c("bl-heap-free", "run.freed twice", "two owners", FREE),
    c(
        "bl-smash",
        "run.the stack is damaged",
        "a long argument",
        SMASH,
        "./main a-name-that-is-much-too-long-for-it",
        "-O0 -fstack-protector-all",
    ),
    c(
        "bl-fortify",
        "run.a buffer overflow that the C library found",
        "_FORTIFY_SOURCE",
        SMASH,
        job("./main a-name-that-is-much-too-long-for-it"),
        "-O2 -D_FORTIFY_SOURCE=2 -fno-stack-protector",
    ),
    c("bl-sigbus", "run.a bus error", "a mapped file without content", MAPPED, job("./main")),
    cxx(
        "bl-bad-alloc",
        "run.no memory for a program",
        "3 GB under a limit of 1 GB",
        ALLOC,
        "ulimit -v 1000000\n./main",
    ),
    cxx("bl-throw", "run.a C++ exception that nobody catches", "a bad mesh", THROW, job("./main")),
    cxx("bl-at", "run.an index out of range in C++", "vector::at", AT),
    c(
        "bl-asan",
        "run.the address sanitizer found an overflow",
        "one element too many",
        ASAN,
        job("./main"),
        "-fsanitize=address",
    ),
    c(
        "bl-ubsan",
        "run.the sanitizer of undefined behaviour found an error",
        "signed overflow",
        "int main(int c, char **v) { int x = 2147483647; x += c; return x == 3; }\n",
        "UBSAN_OPTIONS=print_stacktrace=0:halt_on_error=1 ./main",
        "-fsanitize=undefined -fno-sanitize-recover=all",
    ),
    Case(
        "bl-sigterm",
        "run.ended by a signal from outside",
        "SIGTERM, as a site's watchdog does",
        "echo step 1\nsleep 30 &\np=$!\nsleep 0.3\nkill -TERM $p\nwait $p",
    ),
    Case(
        "bl-killed",
        "run.killed",
        "SIGKILL, with no word of memory",
        "./main & sleep 0.3; kill -KILL $!; wait $!",
        "gcc main.c -o main",
        {"main.c": "#include <unistd.h>\nint main(void) { return pause(); }\n"},
    ),
)
