"""Held-out failures of linking: objects and archives that do not fit, and the linker itself."""

from __future__ import annotations

from planted.blind_common import job, makefile
from planted.blind_link import MPI, ONE
from planted.case import Case

COMMON = {
    "state.h": "double time_step;\nint step_count = 0;\n",
    "a.c": '#include "state.h"\nint main(void) { return 0; }\n',
    "b.c": '#include "state.h"\nint b;\n',
}
HUGE = {
    "grid.c": "double field[3L << 28];\n",
    "main.c": "extern double field[];\ndouble tail[4];\n"
    "int main(int c, char **v) { return field[c] + tail[c] > 0; }\n",
}
TLS = {
    "a.c": "extern int counter;\nint main(void) { return counter; }\n",
    "b.c": "__thread int counter;\n",
}
HIDDEN = {
    "inner.c": '__attribute__((visibility("hidden"))) int inner_state = 3;\n',
    "plug.c": "extern int inner_state;\nint *plug(void) { return &inner_state; }\n",
    "main.c": "int *plug(void);\nint main(void) { return *plug(); }\n",
}

CASES = (
    Case(
        "bl-ld-common",
        "link.a symbol is defined twice",
        "variables in a header",
        "gcc -c a.c b.c && gcc a.o b.o -o app",
        files=COMMON,
    ),
    Case(
        "bl-ld-two-blas-main",
        "link.two objects with a main each",
        "a test among the sources",
        job("make -j2"),
        files=makefile("main.o test.o", count=2) | ONE | {"test.c": ONE["main.c"]},
    ),
    Case(
        "bl-ld-pic",
        "link.an object that is not position-independent in a shared library",
        "a static library without -fPIC",
        "gcc -fno-pic -mcmodel=medium -O2 -c grid.c -o grid.o && ar rcs libgrid.a grid.o\n"
        "gcc -shared -o libwave.so -Wl,--whole-archive libgrid.a -Wl,--no-whole-archive",
        files={"grid.c": 'int n = 4;\nconst char *name(void) { return n ? "grid" : "none"; }\n'},
    ),
    Case(
        "bl-ld-truncated-reloc",
        "link.static data larger than the memory model allows",
        "6 GB of static arrays",
        "gcc -fno-pic -O1 -c grid.c main.c && gcc -no-pie grid.o main.o -o main",
        files=HUGE,
    ),
    Case(
        "bl-ld-static-mpi",
        "link.a static program of a shared library",
        "-static with Open MPI",
        "mpicc.openmpi -static main.c -o main",
        files={"main.c": MPI},
    ),
    Case(
        "bl-ld-incompatible",
        "link.a library of another architecture",
        "its objects are of AArch64",
        job("gcc main.c -L$PWD/lib -lwave -o main"),
        "mkdir lib\necho 'int wave(int n) { return n; }' | gcc -c -x c - -o w.o\n"
        "printf '\\267' | dd of=w.o bs=1 seek=18 conv=notrunc status=none\n"
        "ar rcS lib/libwave.a w.o",
        {"main.c": "int wave(int);\nint main(void) { return wave(1); }\n"},
    ),
    Case(
        "bl-ld-no-index",
        "link.an archive without an index",
        "made with ar rcS",
        "gcc main.c libwave.a -o main",
        "echo 'int wave(int n) { return n; }' | gcc -c -x c - -o w.o\nar rcS libwave.a w.o",
        {"main.c": "int wave(int);\nint main(void) { return wave(1); }\n"},
    ),
    Case(
        "bl-ld-cut-object",
        "link.a damaged object",
        "the disk was full while it was written",
        "make",
        "gcc -c main.c -o main.o\nhead -c 700 main.o > m\ncat m > main.o",
        makefile("main.o", count=2) | ONE,
    ),
    Case(
        "bl-ld-bitcode",
        "link.objects of another compiler's link-time optimisation",
        "clang -flto, then gcc",
        "clang -O2 -flto -c main.c -o main.o && gcc -O2 main.o -o main",
        files=ONE,
    ),
    Case(
        "bl-ld-disk",
        "link.the disk is full while the linker writes",
        "a program on 100 kB",
        "unshare --mount bash inside.sh",
        files={
            "big.c": "double t[1 << 20] = {1};\nint main(void) { return t[0] > 2; }\n",
            "inside.sh": "mkdir bin && mount -t tmpfs -o size=100k none bin\n"
            "gcc -c big.c -o big.o && gcc big.o -o bin/big\n",
        },
    ),
    Case(
        "bl-ld-mold",
        "link.the linker that is asked for is not there",
        "-fuse-ld=mold",
        "make CC='gcc -fuse-ld=mold'",
        files=makefile("main.o", count=1) | ONE,
    ),
    Case(
        "bl-ld-32-bit",
        "link.no 32-bit libraries",
        "-m32 where only 64 bits are installed",
        "gcc -m32 -O2 -c plain.c -o plain.o && gcc -m32 plain.o -o plain",
        files={"plain.c": "int main(void) { return 0; }\n"},
    ),
    Case(
        "bl-ld-tls",
        "link.a thread-local variable declared as a plain one",
        "threadprivate forgotten in one file",
        "gcc -c a.c b.c && gcc a.o b.o -o app",
        files=TLS,
    ),
    Case(
        "bl-ld-hidden",
        "link.a hidden symbol that a shared library needs",
        "-fvisibility=hidden in the program",
        "gcc -shared -fPIC plug.c -o libplug.so && gcc -c inner.c main.c &&"
        " gcc main.o inner.o -L. -lplug -o main",
        files=HIDDEN,
    ),
    Case(
        "bl-ld-gold-memory",
        "link.the linker runs out of memory",
        "a limit of address space",
        "gcc -c big.c -o big.o && (ulimit -v 60000; gcc big.o -o big)",
        files={"big.c": "double t[1 << 23] = {1};\nint main(void) { return t[0] > 2; }\n"},
    ),
    Case(
        "bl-ld-rule",
        "configure.make has no rule for an object on the link line",
        "an object in the list whose source was renamed",
        job("make -j2"),
        files=makefile("main.o halo_exchange.o", count=2) | ONE,
    ),
)
