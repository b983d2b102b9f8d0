"""Held-out failures of the loader."""

from __future__ import annotations

from planted.blind_common import job
from planted.case import Case

WAVE = {
    "lib.c": "int wave(int n) { return n + 1; }\n",
    "main.c": "int wave(int);\nint main(void) { return wave(-1); }\n",
}
MKL = {
    "lib.c": "void dgemm_(void) {}\n",
    "main.c": "void dgemm_(void);\nint main(void) { dgemm_(); return 0; }\n",
}
HELLO = {
    "main.c": "#include <math.h>\n#include <stdio.h>\n"
    'int main(int c, char **v) { printf("%g\\n", exp(c)); return 0; }\n',
    "main.cpp": "#include <iostream>\n#include <sstream>\n"
    "int main() { std::stringstream s; s << 1; std::cout << s.str() << std::endl; }\n",
    "omp.c": "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n",
}
EXTENSION = {
    "fast.cpp": "#include <string>\nint parse(const std::string &);\n"
    'extern "C" void *PyInit_fastsum() { return (void *)(long)parse("x"); }\n',
    "use.py": "import fastsum\nprint(fastsum.total([1, 2]))\n",
}
HOOK = {
    "main.c": "#include <stdio.h>\n#include <stdlib.h>\nint main(void)\n{\n"
    '    if (!getenv("PROFILER_ON")) {\n'
    '        fputs("profiler: the measurement layer is not active, giving up\\n", stderr);\n'
    "        return 4;\n    }\n    return 0;\n}\n"
}
BIGLIB = {
    "lib.c": "char room[600 << 20];\nint wave(int n) { return room[n] + 1; }\n",
    "main.c": "int wave(int);\nint main(void) { return wave(0) - 1; }\n",
}
SHARE = (
    "mkdir lib\ngcc -shared -fPIC lib.c -Wl,-soname,{so} -o lib/{so}\ngcc main.c lib/{so} -o main\n"
)

CASES = (
    Case(
        "bl-so-mkl",
        "load.a shared library is not found",
        "MKL of another machine",
        job("export LD_LIBRARY_PATH=/opt/intel/oneapi/mkl/2023.1/lib/intel64\n./main"),
        SHARE.format(so="libmkl_intel_lp64.so.2") + "rm -r lib",
        MKL,
    ),
    Case(
        "bl-so-ctypes",
        "load.a shared library that Python wants is not found",
        "the CUDA runtime, wanted by ctypes",
        "python3 gpu.py",
        files={"gpu.py": "import ctypes\n\nrt = ctypes.CDLL('libcudart.so.11.0')\n"},
    ),
    Case(
        "bl-so-glibc",
        "load.the C library is too old for the program",
        "built on a newer system",
        job("./wave --steps 100"),
        "gcc main.c -o wave -lm\nsed -i 's/GLIBC_2\\.34/GLIBC_2.41/' wave",
        HELLO,
    ),
    Case(
        "bl-so-glibcxx",
        "load.the C++ library is too old for the program",
        "built by a newer GCC",
        "./wave",
        "g++ main.cpp -o wave\nsed -i 's/GLIBCXX_3\\.4\\.21/GLIBCXX_3.4.33/' wave",
        HELLO,
    ),
    Case(
        "bl-so-gomp",
        "load.a library in LD_LIBRARY_PATH shadows the right one",
        "an empty libgomp of another compiler",
        "export LD_LIBRARY_PATH=$PWD/gcc48\n./omp",
        "gcc -fopenmp omp.c -o omp\nmkdir gcc48\necho 'int old;' |"
        " gcc -shared -fPIC -x c - -Wl,-soname,libgomp.so.1 -o gcc48/libgomp.so.1",
        HELLO,
    ),
    Case(
        "bl-so-preload",
        "load.the library of LD_PRELOAD is not found",
        "a profiler that was moved",
        "LD_PRELOAD=/opt/scorep/lib/libscorep_init.so ./main",
        "gcc main.c -o main",
        HOOK,
    ),
    Case(
        "bl-so-cpp-symbol",
        "load.a symbol that no library has",
        "a Python extension without its library",
        "python3 use.py",
        "g++ -shared -fPIC fast.cpp -o fastsum.so",
        EXTENSION,
    ),
    Case(
        "bl-so-other-python",
        "load.an extension of another version of Python",
        "cpython-36 in the name",
        job("ls *.so\npython3 use.py"),
        "echo 'int x;' | gcc -shared -fPIC -x c - -o fastsum.cpython-36m-x86_64-linux-gnu.so",
        EXTENSION,
    ),
    Case(
        "bl-so-no-init",
        "load.a Python extension without its entry",
        "renamed after the build",
        "python3 use.py",
        "echo 'int PyInit_slowsum;' | gcc -shared -fPIC -x c - -o fastsum.so",
        EXTENSION,
    ),
    Case(
        "bl-so-noexec",
        "load.the file system of the library does not allow to execute",
        "a library on a file system mounted noexec",
        "unshare --mount bash inside.sh",
        SHARE.format(so="libwave.so.1"),
        WAVE
        | {
            "inside.sh": "mkdir tmp && mount -t tmpfs -o size=1m,noexec none tmp\n"
            "cp lib/* tmp\nLD_LIBRARY_PATH=tmp ./main\n"
        },
    ),
    Case(
        "bl-noexec",
        "load.the file system of the program does not allow to execute",
        "a program on a file system mounted noexec",
        "unshare --mount bash inside.sh",
        files={
            "inside.sh": "mkdir scratch && mount -t tmpfs -o size=1m,noexec none scratch\n"
            "cp /bin/true scratch/solver\nls -l scratch/solver | cut -c1-10\nscratch/solver\n"
        },
    ),
    Case(
        "bl-so-memory",
        "load.no memory to load a library",
        "a limit of address space below its data",
        job("ulimit -v 200000\nLD_LIBRARY_PATH=lib ./main"),
        SHARE.format(so="libwave.so.1"),
        BIGLIB,
    ),
    Case(
        "bl-so-cut",
        "run.a bus error, for a library that was cut",
        "a copy that was cut",
        "LD_LIBRARY_PATH=lib ./main",
        SHARE.format(so="libwave.so.1")
        + "head -c 9000 lib/libwave.so.1 > x\nmv x lib/libwave.so.1",
        WAVE,
    ),
    Case(
        "bl-exec-arm",
        "load.a program of another architecture",
        "the machine in its header is POWER",
        job("./solver -i input.nml"),
        "gcc main.c -o solver -lm\nprintf '\\025' | dd of=solver bs=1 seek=18"
        " conv=notrunc status=none",
        HELLO,
    ),
)
