"""A node for builds that go wrong: real Lmod, real compilers, and modules of small real libraries.

PATH has everything but cmake, which is in a module. Weak compilers are the real ones, started so
that they lack something or die.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab.module_systems import lmod_environment

from hpcagent.measure.worker import PLACES_VARIABLE
from hpcagent.study.build_wish import Wish, software_asked
from hpcagent.study.probe_task import probe_spec
from hpcagent.study.units import Plan, unit_files

PROGRAMS = ("gcc", "g++", "gfortran", "clang", "cmake", "make", "ar", "mpicc.openmpi")
# Name -> the lines of its modulefile; @SW@ is the folder of the software.
MODULES = {
    "cmake/3.25": ['prepend_path("PATH", "@SW@/cmake/bin")'],
    "fftw/3.3": [
        'prepend_path("CPATH", "@SW@/fftw/include")',
        'prepend_path("LIBRARY_PATH", "@SW@/fftw/lib")',
        'prepend_path("LD_LIBRARY_PATH", "@SW@/fftw/lib")',
    ],
    # The loader is not told where this one is.
    "gsl/2.7": ['prepend_path("LIBRARY_PATH", "@SW@/gsl/lib")', 'conflict("szip")'],
    "scalapack/2.2": [
        'prepend_path("LIBRARY_PATH", "@SW@/scalapack")',
        'prepend_path("LD_LIBRARY_PATH", "@SW@/scalapack")',
    ],
    "metis/5.1": ['prepend_path("LIBRARY_PATH", "@SW@/static")'],
    "mumps/5.6": [
        'prepend_path("LIBRARY_PATH", "@SW@/mumps")',
        'prepend_path("LD_LIBRARY_PATH", "@SW@/mumps")',
    ],
    # Two that have the same library, of different packages.
    "hypre/2.2": ['prepend_path("LIBRARY_PATH", "@SW@/twice")'],
    "superlu/6.0": ['prepend_path("LIBRARY_PATH", "@SW@/twice")'],
    "zlib/1.3": ['setenv("ZLIB_HERE", "1")'],
    "netcdf/4.9": ['prereq("zlib/1.3")'],
    "szip/2.1": ['conflict("gsl")'],
    "szip/2.0": ['conflict("gsl")'],
    "gcc/12.9": [
        'prepend_path("PATH", "@SW@/gcc/bin")',
        'prepend_path("LD_LIBRARY_PATH", "@SW@/gcc/lib64")',
        'prepend_path("MODULEPATH", "@SW@/behind")',
    ],
    "openblas/64": ['prepend_path("LD_LIBRARY_PATH", "@SW@/blas64")'],
}
BEHIND = {"hdf5/1.14": ['setenv("HDF5_HERE", "1")']}
WEAK = {
    # cc1 dies at -O2 and above; the driver's words are real.
    "crashing": '#!/bin/sh\ncase "$*" in *-O[23]*) set -- -B@SW@/crashing/parts/ "$@" ;; esac\n'
    'exec /usr/bin/@NAME@ "$@"\n',
    # What its job has is all the memory that it gets.
    "hungry": '#!/bin/sh\nulimit -v $((${SLURM_MEM_PER_NODE:-9999} * 1024))\n'
    'exec /usr/bin/@NAME@ "$@"\n',
    # It says that it is newer than it is.
    "boasting": "#!/bin/sh\ncase \"$*\" in *-*version*) /usr/bin/@NAME@ \"$@\" "
    "| sed 's/1[0-9]\\.[0-9]*\\.[0-9]*/19.1.0/g' ;; *) exec /usr/bin/@NAME@ \"$@\" ;; esac\n",
    # It finds no assembler.
    "incomplete": '#!/bin/sh\nPATH=/nowhere exec /usr/bin/@NAME@ "$@"\n',
    # As gfortran 9, which did not know the option.
    "old": '#!/bin/sh\nfor word; do [ "$word" != -fallow-argument-mismatch ] || {\n'
    "    echo \"@NAME@: error: unrecognized command-line option '$word'\" >&2; exit 1; }; done\n"
    'exec /usr/bin/@NAME@ "$@"\n',
    # As before glibc 2.34: dlopen and threads are in libraries of their own.
    "glibc": '#!/bin/sh\ncase " $* " in *" -c "* | *version* | *" -v "*) ;;\n'
    "*) set -- \"$@\" -nodefaultlibs -L@SW@/glibc/lib -lgcc -lc ;; esac\n"
    'exec /usr/bin/@NAME@ "$@"\n',
}  # fmt: skip
SOURCES = {
    "fftw/include/fftw3.h": "void fftw_execute(void *);\n",
    "fftw/f.c": "void fftw_execute(void *p) { (void)p; }\n",
    "gsl/g.c": "double gsl_hypot(double x, double y) { return x + y; }\n",
    "scalapack/s.c": "int numroc_(void) { return 3; }\n",
    "static/high.c": "int low(int);\nint high(int n) { return low(n) - 1; }\n",
    "static/low.c": "int low(int n) { return n + 1; }\n",
    "static/nopic.c": "static int table[4];\nint *nopic(int n) { return table + n; }\n"
    "int (*chosen)(int) = 0;\nint far(void) { return *(int *)(long)(table); }\n",
    "static/fort.f90": "subroutine fort(n)\n  integer :: n\n  print *, n\nend subroutine\n",
    "static/plus.cpp": '#include <string>\nextern "C" int plus(int n)\n'
    "{ return static_cast<int>(std::string(n, 'x').size()) - 3; }\n",
    "mumps/m.c": "unsigned long crc32(unsigned long, const char *, unsigned);\n"
    'int mumps(void) { return (int)crc32(0, "", 0); }\n',
    "twice/t.c": "int twice(int n) { return 2 * n; }\n",
    "blas64/b.c": "#include <stdint.h>\n"
    "double ddot_64_(const int64_t *n, const double *x, const int64_t *i, const double *y,\n"
    "                const int64_t *j)\n"
    "{\n    double s = 0;\n    for (int64_t k = 0; k < *n; k++) s += x[k * *i] * y[k * *j];\n"
    "    return s;\n}\n"
    "void dgemm_64_(void) {}\nvoid cblas_dgemm64_(void) {}\n",
    "old/o.c": "void old(void) {}\n",
    "old/o.map": "GLIBCXX_3.4 { global: old; };\nCXXABI_1.3 { } GLIBCXX_3.4;\n",
    "glibc/c.c": "int __libc_start_main(void) { return 0; }\n"
    "int __cxa_finalize(void) { return 0; }\nint printf(const char *f, ...) { return !f; }\n",
    "glibc/dl.c": "void *dlopen(void) { return 0; }\n",
    "glibc/p.c": "int pthread_create(void) { return 0; }\nint pthread_join(void) { return 0; }\n",
}
MAKE = """set -e
shared() { gcc -shared -fPIC "$@"; }
shared fftw/f.c -o fftw/lib/libfftw3.so
shared gsl/g.c -o gsl/lib/libgsl.so
shared scalapack/s.c -o scalapack/libscalapack.so
shared mumps/m.c -o mumps/libmumps.so -lz
shared twice/t.c -o twice/libtwice.so
shared blas64/b.c -o blas64/libopenblas_64.so
shared old/o.c -Wl,-soname,libstdc++.so.6 -Wl,--version-script=old/o.map -o old/libstdc++.so.6
for name in c dl p; do
    gcc -w -fno-builtin -nostdlib -shared -fPIC glibc/$name.c -o glibc/lib/lib$name.so \\
        -Wl,-soname,lib$name.so.6
done
mv glibc/lib/libp.so glibc/lib/libpthread.so
cd static
for name in high low; do gcc -c $name.c; ar rc lib$name.a $name.o; done
gcc -fno-pic -mno-direct-extern-access -c nopic.c 2>/dev/null || gcc -fno-pic -c nopic.c
ar rc libnopic.a nopic.o
gfortran -c fort.f90; ar rc libfort.a fort.o
g++ -c plus.cpp; ar rc libplus.a plus.o
"""


# What CMake 2.8 says.
OLD_CMAKE = """#!/bin/sh
echo 'CMake Error at CMakeLists.txt:2 (cmake_minimum_required):' >&2
echo '  CMake 3.13 or higher is required.  You are running version 2.8.12.2' >&2
exit 1
"""


@dataclass(frozen=True)
class Node:
    """`env` is what its jobs see, `facts` what a probe collected, `software` the folder of it."""

    env: Mapping[str, str]
    facts: Mapping[str, Any]
    software: Path

    def words(self, text: str) -> str:
        """With the folder of the software and PATH put in."""
        return text.replace("@SW@", str(self.software)).replace("@PATH@", self.env["PATH"])

    def compiler(self, weak: str, name: str = "gcc") -> str:
        return str(self.software / weak / "bin" / name)


def make_node(root: Path) -> Node:
    """Skips where a program is not here."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        pytest.skip(f"not here: {', '.join(missing)}")
    software = root / "sw"
    _build(software)
    core = _modulefiles(root / "modules", MODULES, software)
    _modulefiles(software / "behind", BEHIND, software)
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("HPCAGENT_", "SLURM_"))},
        PLACES_VARIABLE: os.environ[PLACES_VARIABLE],
        **lmod_environment(str(core), root),
        "PATH": str(_commands(root / "bin")),
        "LC_ALL": "C.UTF-8",
    }
    return Node(env, _probed(root / "probe", env), software)


def _build(software: Path) -> None:
    for name, text in SOURCES.items():
        (software / name).parent.mkdir(parents=True, exist_ok=True)
        (software / name).write_text(text)
    for name in ("fftw/lib", "gsl/lib", "glibc/lib", "gcc/lib64", "gcc/bin", "crashing/parts"):
        (software / name).mkdir(parents=True)
    subprocess.run(["bash", "-c", MAKE], cwd=software, check=True, timeout=300)
    for weak, text in WEAK.items():
        for name in ("gcc", "g++", "gfortran"):
            words = text.replace("@NAME@", name).replace("@SW@", str(software))
            _script(software / weak / "bin" / name, words)
    for name in ("gcc", "g++", "gfortran"):
        _script(software / "gcc/bin" / name, f'#!/bin/sh\nexec /usr/bin/{name} "$@"\n')
    for name in ("cc1", "cc1plus", "f951"):
        _script(software / "crashing/parts" / name, "#!/bin/sh\nkill -SEGV $$\n")
    found = subprocess.run(
        ["g++", "-print-file-name=libstdc++.so.6"], capture_output=True, text=True
    )
    (software / "gcc/lib64/libstdc++.so.6").symlink_to(found.stdout.strip())
    _link(software / "cmake/bin/cmake", shutil.which("cmake"))
    _script(software / "oldcmake/cmake", OLD_CMAKE)


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _link(path: Path, target: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.realpath(str(target)))


def _modulefiles(root: Path, modules: Mapping[str, list[str]], software: Path) -> Path:
    weak = {f"gcc/{name}": [f'prepend_path("PATH", "@SW@/{name}/bin")'] for name in WEAK}
    for name, lines in (modules if modules is BEHIND else {**modules, **weak}).items():
        path = root / f"{name}.lua"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines).replace("@SW@", str(software)) + "\n")
    return root


def _commands(folder: Path) -> Path:
    """Everything of the system's folders but cmake."""
    folder.mkdir()
    for place in ("/usr/local/bin", "/usr/bin", "/bin"):
        for path in Path(place).iterdir():
            mine = folder / path.name
            if mine.exists():
                continue
            if path.name.startswith(("mpi", "orte")):  # they look beside themselves
                _script(mine, f'#!/bin/sh\nexec {path} "$@"\n')
            elif "cmake" not in path.name:
                mine.unlink(missing_ok=True)
                mine.symlink_to(path)
    return folder


def _probed(folder: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """By the collector itself, as a job of the build would start it."""
    folder.mkdir()
    wish = Wish("program", "x", {}, {}, "", (), "/", {})
    spec = {**probe_spec(("software",), False, "/"), "software": software_asked(wish)}
    spec["software"]["scan_s"] = 10
    plan = Plan("probe", "probe-here", None, spec)  # type: ignore[arg-type]
    for name, text in unit_files(None, plan, "probe").items():
        (folder / name).write_text(text)
    words = [sys.executable, "collect.py", "request.json", "facts.json"]
    subprocess.run(words, cwd=folder, env=dict(env), check=True, timeout=300)
    found: dict[str, Any] = json.loads((folder / "facts.json").read_text())
    return found


def without_other_weak(facts: Mapping[str, Any], weak: str) -> dict[str, Any]:
    """As a node tells that has this weak compiler only."""
    software = facts["parts"]["software"]
    gone = {f"gcc/{name}" for name in WEAK if name != weak}
    kept = [row for row in software["compilers"] if not gone & set(row["modules"])]
    return {**facts, "parts": {**facts["parts"], "software": {**software, "compilers": kept}}}
