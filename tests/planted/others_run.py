"""More failures of programs and of their surroundings, made with other tools and languages."""

from __future__ import annotations

from planted.case import Case
from planted.others_build import UTF8
from planted.surroundings import HEAD, MODULES

EM = 'module() { eval "$(tclsh $MODULECMD bash "$@")"; }\nmodule use $PWD/modules\n'
AVX = {
    "a.c": "#include <stdio.h>\nint main(void)\n{\n"
    '    __asm__ volatile(".byte 0x62, 0xf2, 0xfd, 0x48, 0xcc, 0xc0");\n'
    '    puts("done");\n    return 0;\n}\n'
}
RECURSE = {
    "r.cpp": "static double f(double x, int n) { volatile double t[999]; t[0] = x;"
    " return n ? f(t[0], n - 1) + t[0] : x; }\n"
    "int main(int n, char **) { return f(n, 1 << 22) > 0; }\n"
}
UNDEFINED = {"u.c": "int main(int n, char **v) { int x = 2147483647; return x + n > 0 && v; }\n"}
HEAP = {
    "h.c": "#include <stdlib.h>\n#include <string.h>\n"
    "int main(void)\n{\n    char *p = malloc(24);\n"
    "    memset(p, 65, 64);\n    free(malloc(2000));\n    char *q = malloc(4000);\n    free(p);\n"
    "    return q == malloc(90000);\n}\n"
}
LENGTH = {
    "l.cpp": "#include <string>\nint main() { std::string s(std::size_t(-1) / 2 + 9, 'x'); }\n"
}
FORTIFY = {
    "f.c": "#include <string.h>\nchar b[4];\nint main(int n, char **v)\n"
    "{ strcpy(b, v[n - 1]); return b[0]; }\n"
}
WORD = {"w.f90": "program w\n  integer :: n\n  read (*, *) n\n  print *, n\nend program\n"}
TWICE = {
    "t.f90": "program t\n  real, allocatable :: x(:)\n  allocate (x(9))\n  allocate (x(9))\n"
    "  print *, x\nend program\n"
}
THREADS = {"t.py": "import threading\nthreading.stack_size(1 << 36)\nthreading.Thread().start()\n"}
IMPORT = {
    "setup.c": "int grid_level(void);\nint PyInit_fastgrid(void) { return grid_level(); }\n",
    "run.py": "import importlib.machinery as m, importlib.util as u\n"
    "s = u.spec_from_file_location('fastgrid', './fastgrid.so')\nu.module_from_spec(s)\n",
    "level.c": "int grid_level(void) { return 0; }\n",
}
SYMBOLS = {
    "a.c": "int step(void) { return 1; }\n",
    "m.c": "int step(void);\nint main(void) { return step() - 1; }\n",
    "v.map": "GRID_3.1 { global: step; };\n",
    "w.map": "GRID_3.0 { global: step; };\n",
}
LIB = "mkdir lib\nclang -shared -fPIC a.c {} -Wl,-soname,libgrid.so.3 -o lib/libgrid.so.3\n"
BLIS = {
    "b.c": "#include <stdio.h>\nvoid dgetrf_(int *, int *, double *, int *, int *, int *);\n"
    "int main(void)\n{\n    double a[4] = {1, 2, 2, 4};\n    int n = 2, p[2], i;\n"
    '    dgetrf_(&n, &n, a, &n, p, &i);\n    if (i) printf("dgetrf returned info=%d\\n", i);\n'
    "    return i;\n}\n",
    "x.c": "void dtrsm_(char *, char *, char *, char *, int *, int *, double *, double *, int *,"
    " double *, int *);\nint main(void)\n{\n    double a = 1;\n    int n = -1, l = 1;\n"
    '    dtrsm_("L", "U", "N", "N", &n, &l, &a, &a, &l, &a, &l);\n    return 3;\n}\n',
}
CG = {
    "c.py": "x = float('nan')\nfor i in range(3):\n    print('it', i, 'rel. residual', x)\n"
    "raise SystemExit('CG: residual became NaN in iteration 2')\n"
}
TRAP = {
    "d.c": "#define _GNU_SOURCE\n#include <fenv.h>\nint main(int n, char **v)\n"
    "{ feenableexcept(FE_INVALID | FE_DIVBYZERO); volatile double z = n - 1;\n"
    "return 1 / z > 0 && v; }\n"
}
CASES = (
    Case(
        "clang-sigill",
        "run.illegal_instruction",
        "bytes of an instruction that is not there",
        "set -e\n./a\necho after",
        "clang a.c -o a",
        AVX,
    ),
    Case(
        "cxx-recursion",
        "run.stack",
        "four million levels of recursion",
        "./r",
        "g++ -O0 r.cpp -o r",
        RECURSE,
    ),
    Case(
        "ubsan",
        "run.sanitizer",
        "an overflow, under UBSan",
        "./u",
        "gcc -fsanitize=undefined -fno-sanitize-recover=all u.c -o u",
        UNDEFINED,
    ),
    Case(
        "heap",
        "run.heap_corruption",
        "a write beyond a block of the heap",
        "./h",
        "clang -w -O0 h.c -o h",
        HEAP,
    ),
    Case(
        "length-error",
        "run.uncaught_exception",
        "a string longer than can be",
        "./l",
        "clang++ l.cpp -o l",
        LENGTH,
    ),
    Case(
        "fortify",
        "run.buffer_overflow",
        "strcpy beyond an array, fortified",
        "./f abcdefgh",
        "gcc -w -O2 -D_FORTIFY_SOURCE=2 f.c -o f",
        FORTIFY,
    ),
    Case(
        "bad-integer",
        "run.bad_input",
        "a word where a number should stand",
        "echo seven | ./w",
        "gfortran w.f90 -o w",
        WORD,
        UTF8,
    ),
    Case(
        "allocate-twice",
        "run.fortran",
        "an array allocated twice",
        "./t",
        "gfortran t.f90 -o t",
        TWICE,
    ),
    Case(
        "python-memory",
        "run.out_of_memory",
        "a list of 8 GB within 1",
        "ulimit -v 1000000\npython3 -c 'x = [0.0] * (1 << 30)'",
    ),
    Case(
        "python-thread",
        "run.no_threads",
        "stacks of 64 GB for Python's threads",
        "ulimit -v 4000000\npython3 t.py",
        files=THREADS,
    ),
    Case(
        "perl-module",
        "environment.perl_module",
        "a Perl module that is not there",
        "perl -MSite::Solver::Grid -e 1",
    ),
    Case(
        "python-import-so",
        "load.missing_library",
        "an extension whose library is not found",
        "python3 run.py",
        "clang -shared -fPIC level.c -o liblevel.so\n"
        "clang -shared -fPIC setup.c -L. -llevel -o fastgrid.so",
        IMPORT,
    ),
    Case(
        "python-import-symbol",
        "load.undefined_symbol",
        "an extension that names no library",
        "LD_BIND_NOW=1 python3 run.py",
        "clang -shared -fPIC setup.c -o fastgrid.so",
        IMPORT,
    ),
    Case(
        "clang-version",
        "load.symbol_version",
        "an older library",
        "LD_LIBRARY_PATH=lib ./m",
        LIB.format("-Wl,--version-script=v.map") + "clang m.c lib/libgrid.so.3 -o m\n"
        "rm -r lib\n" + LIB.format("-Wl,--version-script=w.map"),
        SYMBOLS,
    ),
    Case(
        "rpath-gone",
        "load.missing_library",
        "a library that rpath does not reach",
        "mv lib moved\n./m && echo done",
        LIB.format("") + "clang m.c lib/libgrid.so.3 -Wl,-rpath,$PWD/lib -o m",
        SYMBOLS,
    ),
    Case(
        "crlf",
        "load.bad_interpreter",
        "a script with line ends of Windows",
        "printf '#!/bin/bash\\r\\necho ready\\r\\n' > go.sh\nchmod +x go.sh\n./go.sh",
    ),
    Case(
        "crlf-commands",
        "environment.crlf",
        "a sourced script with line ends of Windows",
        "printf 'module_dir=/opt\\r\\ncd $module_dir\\r\\n./run\\r\\n' > env.sh\n"
        "set -e\n. ./env.sh",
    ),
    Case(
        "script-is-text",
        "load.exec_format",
        "a program that is cut off at its start",
        "set -e\npython3 -c \"import subprocess; subprocess.run(['./x'])\"",
        "printf '\\177ELFxx' > x\nchmod +x x",
    ),
    Case(
        "no-right-to-write",
        "environment.permission",
        "a folder of somebody else",
        "setpriv --reuid=65534 --clear-groups python3 -c \"open('locked/out.dat', 'w')\"",
        "mkdir locked\nchmod 700 locked\nchmod 755 .",
    ),
    Case(
        "tar-full",
        "environment.no_space",
        "an archive larger than the file system",
        "exec unshare --mount sh -c 'mount -t tmpfs -o size=64k none full"
        " && tar -xf a.tar -C full'",
        "mkdir full\nhead -c 300000 /dev/urandom > field.bin\ntar -cf a.tar field.bin",
    ),
    Case(
        "perl-read-only",
        "environment.read_only",
        "a file system that cannot be written, Perl",
        "exec unshare --mount sh -c 'mount -t tmpfs -o ro none ro && perl -e"
        ' "open(F, q(>ro/x)) or die qq(cannot create ro/x: \\$!)"\'',
        "mkdir ro",
    ),
    Case(
        "tcl-open-files",
        "run.open_files",
        "ulimit -n, in Tcl",
        "ulimit -n 16\necho 'for {set i 0} {$i < 40} {incr i} {open /dev/null}' > o.tcl\n"
        "tclsh o.tcl",
    ),
    Case(
        "fork",
        "run.no_threads",
        "no further process allowed",
        "setpriv --reuid=54321 --clear-groups dash -c 'ulimit -p 0; ls | cat'",
    ),
    Case(
        "em-unknown",
        "environment.module_unknown",
        "Environment Modules: no such module",
        EM + "module load gcc/99.1",
        files=MODULES,
    ),
    Case(
        "em-conflict",
        "environment.module_conflict",
        "Environment Modules: a conflict",
        EM + "module load openmpi/4.1\nmodule load mpich/4.0",
        files=MODULES,
    ),
    Case(
        "em-prerequisite",
        "environment.module_unknown",
        "Environment Modules: needs another",
        EM + "module load wave",
        files={"modules/wave/2": HEAD + "prereq grid/3\n"},
    ),
    Case(
        "lmod-depends",
        "environment.module_unknown",
        "Lmod: a dependency that is not there",
        "source /usr/share/lmod/lmod/init/bash\nmodule use $PWD/modules\nmodule load wave",
        files={"modules/wave/8.lua": 'depends_on("grid/3")\n'},
    ),
    Case(
        "lmod-syntax",
        "environment.modulefile",
        "Lmod: a modulefile with an error",
        "source /usr/share/lmod/lmod/init/bash\nmodule use $PWD/modules\nmodule load bad",
        files={"modules/bad/1.lua": "setenv('X', \nprepend_path(\n"},
    ),
    Case(
        "reference-xerbla",
        "numerics.illegal_argument",
        "the reference BLAS stops at m = -1",
        "LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/blas ./x",
        "clang x.c -o x -L/usr/lib/x86_64-linux-gnu/blas -l:libblas.so.3",
        BLIS,
    ),
    Case(
        "getrf-info",
        "numerics.info",
        "a singular matrix, the library's answer printed",
        "./b",
        "clang b.c -o b -llapack",
        BLIS,
    ),
    Case("python-nan", "numerics.nan", "a solver that meets NaN", "python3 c.py", files=CG),
    Case(
        "c-fpe",
        "numerics.floating_point_trap",
        "a trapped division by zero in C",
        "set -e\n./d\necho done",
        "gcc d.c -o d -lm",
        TRAP,
    ),
    Case(
        "no-network",
        "environment.network",
        "a download where names cannot be resolved",
        'python3 -c "import urllib.request as r;'
        " r.urlopen('http://sources.site-without-dns.invalid/a.tar.gz', timeout=5)\"",
    ),
    Case(
        "bad-tar",
        "environment.damaged-archive",
        "an archive that was cut off",
        "tar -xzf a.tgz",
        "seq 99999 > a\ntar -czf b.tgz a\nhead -c 9000 b.tgz > a.tgz",
    ),
    Case(
        "patch-fails",
        "configure.patch",
        "a patch for another version",
        "patch -p0 < p.diff",
        files={
            "a.txt": "alpha\nbeta\ngamma\ndelta\n",
            "p.diff": "--- a.txt\n+++ a.txt\n@@ -1,3 +1,3 @@\n eins\n-zwei\n+two\n drei\n",
        },
    ),
    Case(
        "numactl-node",
        "run.numa",
        "a NUMA node that is not there",
        "numactl --cpunodebind=7 --membind=7 true",
    ),
    Case("taskset", "run.affinity", "a CPU that is not there", "taskset -c 4000 true"),
)
