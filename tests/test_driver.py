"""The benchmark driver against real OpenBLAS builds, and against libraries that are wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from hpcagent.apps.render import BUILD_COMMAND, FAMILIES, driver_files
from hpcagent.records import Compiler, Library

pytestmark = pytest.mark.openblas

ROUTINES = tuple(p + family for p in "ds" for family in FAMILIES)
KINDS = ("pthread", "openmp", "serial", "embedded")
CC = shutil.which("cc") or "/usr/bin/cc"
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")
# An OpenMP build takes the number of OMP_NUM_THREADS, whatever OPENBLAS_NUM_THREADS says.
QUIET = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
PAIR = {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
# Idle threads that spin would slow down whatever else runs here.
POLITE = {"OPENBLAS_THREAD_TIMEOUT": "10", "OMP_WAIT_POLICY": "passive"}
LIMIT = 30.0
NUMBER = r"-?[0-9]\.[0-9]+e[-+][0-9]+"
LINES = re.compile(
    rf"library /.+|config OpenBLAS .+|core \S+|threads \d+|affinity [0-9,-]+|time \S+ {NUMBER}"
    rf"|residual \S+ (?:{NUMBER}|inf)|busy \S+ \d+|threads_busy \d+|done"
)


def installed(kind: str) -> tuple[Path, str]:
    """The library's path and symbol prefix."""
    if kind == "embedded":
        import scipy_openblas32

        folder = Path(scipy_openblas32.get_lib_dir())
        return next(folder.glob(f"{scipy_openblas32.get_library(fullname=True)}*")), "scipy_"
    for path in Path("/usr/lib").glob(f"*/openblas-{kind}/libopenblas.so.0"):
        return path, ""
    pytest.skip(f"no {kind} OpenBLAS here")


def build(
    folder: Path, path: Path, prefix: str, flags: tuple[str, ...] = FLAGS, **changes: object
) -> Path:
    values: dict[str, object] = {
        "interface": "lp64",
        "symbol_suffix": "",
        "routines": ROUTINES,
        **changes,
    }
    lib = Library(
        path=str(path),
        source="system",
        version="",
        config="",
        dynamic_arch=True,
        threading="pthreads",
        max_threads=None,
        default_threads=1,
        symbol_prefix=prefix,
        core="",
        **values,  # type: ignore[arg-type]
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in driver_files(lib, Compiler("c", "cc", CC, ""), flags).items():
        (folder / name).write_text(text, encoding="utf-8")
    subprocess.run([*BUILD_COMMAND], cwd=folder, check=True)
    return folder / "driver"


class Drivers:
    """Builds the driver of each library once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.built: dict[str, Path] = {}

    def __getitem__(self, kind: str) -> Path:
        if kind not in self.built:
            self.built[kind] = build(self.folder / kind, *installed(kind))
        return self.built[kind]


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Drivers:
    return Drivers(tmp_path_factory.mktemp("drivers"))


def run(
    driver: Path, *words: str | Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS", "OMP", "LD"))}
    return subprocess.run(
        [driver, *words], env={**inherited, **POLITE, **(env or {})}, capture_output=True, text=True
    )


def case(
    routine: str, m: int, n: int, k: int, letters: str = "NN", reps: int = 2, warmup: int = 1
) -> str:
    uses_m, uses_n, uses_k, count = FAMILIES[routine[1:]]
    dims = (m * uses_m, n * uses_n, k * uses_k)
    words = [*letters[:count], *"--"[count:], *map(str, dims), str(warmup), str(reps)]
    key = "_".join([routine, letters[:count] or "x", *map(str, dims)])
    return " ".join([key, routine, *words])


def workload(folder: Path, *lines: str) -> Path:
    path = folder / "workload.txt"
    path.write_text("\n".join(["# cases", "", *dict.fromkeys(lines)]) + "\n")
    return path


def field(text: str, name: str) -> dict[str, list[str]]:
    """Values by key of the lines `name key value`."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.split()
        if words[0] == name:
            found.setdefault(words[1], []).append(words[2])
    return found


def item(text: str, name: str) -> str:
    return next(
        line.removeprefix(f"{name} ") for line in text.splitlines() if line.startswith(f"{name} ")
    )


def shapes() -> list[str]:
    """Every routine, square and skinny in each direction, on and off the kernels' block sizes."""
    lines = []
    for routine in ROUTINES:
        for letters in ("NN", "NT", "TN", "TT"):
            for size in (1, 8, 31, 257):
                cube = [(size, size, size), (size, 8, 8), (8, size, 8), (8, 8, size)]
                for m, n, k in [*cube, (1, size, 3), (size, 1, 1), (size, size, 8)]:
                    lines.append(case(routine, m, n, k, letters))
        lines.append(case(routine, 600, 600, 600))
    return lines


# --- healthy libraries ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_routine_and_shape_passes(drivers: Drivers, tmp_path: Path, kind: str) -> None:
    path = workload(tmp_path, *shapes())
    done = run(drivers[kind], path, "7")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if not LINES.fullmatch(line)] == []
    assert done.stdout.endswith("\ndone\n")
    keys = [line.split()[0] for line in path.read_text().splitlines()[2:]]
    for name, count in (("time", 2), ("residual", 1), ("busy", 1)):
        assert {key: len(v) for key, v in field(done.stdout, name).items()} == dict.fromkeys(
            keys, count
        )
    worst = max(float(value[0]) for value in field(done.stdout, "residual").values())
    assert worst < LIMIT / 10
    assert all(float(value) > 0 for v in field(done.stdout, "time").values() for value in v)


def test_large_cases_keep_their_distance_from_the_limit(drivers: Drivers, tmp_path: Path) -> None:
    lines = [
        case(p + f, m, n, k, reps=1, warmup=0)
        for p in "ds"
        for f, m, n, k in [
            ("gemm", 4096, 4096, 8),
            ("gemm", 4096, 8, 4096),
            ("gemm", 8, 8, 4096),
            ("syrk", 0, 4096, 8),
            ("trsm", 8, 4096, 0),
            ("getrf", 4096, 64, 0),
            ("getrf", 1000, 1000, 0),
            ("potrf", 0, 1500, 0),
            ("gemv", 4096, 4096, 0),
        ]
    ]
    done = run(drivers["embedded"], workload(tmp_path, *lines), "3")
    residuals = [float(v[0]) for v in field(done.stdout, "residual").values()]
    assert len(residuals) == len(lines)
    assert max(residuals) < LIMIT / 10


@pytest.mark.parametrize("kind", KINDS)
def test_info_says_what_is_loaded(drivers: Drivers, kind: str) -> None:
    done = run(drivers[kind], "--info")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == ["library", "config", "core", "threads", "affinity", "done"]
    assert item(done.stdout, "library") == str(installed(kind)[0].resolve())
    assert item(done.stdout, "core") != "unknown"
    first, _, last = item(done.stdout, "affinity").split(",")[-1].partition("-")
    assert int(last or first) == max(os.sched_getaffinity(0))


@pytest.mark.parametrize("kind", KINDS)
def test_settings_show_in_the_read_back(drivers: Drivers, kind: str) -> None:
    driver = drivers[kind]
    assert item(run(driver, "--info", env=QUIET).stdout, "threads") == "1"
    one = str(min(os.sched_getaffinity(0)))
    bound = subprocess.run(
        ["taskset", "-c", one, driver, "--info"], capture_output=True, text=True, check=True
    )
    assert item(bound.stdout, "affinity") == one
    if "avx2" in Path("/proc/cpuinfo").read_text() and "DYNAMIC_ARCH" in bound.stdout:
        haswell = run(driver, "--info", env={"OPENBLAS_CORETYPE": "Haswell"})
        assert item(haswell.stdout, "core") == "Haswell"


def test_another_library_in_ld_library_path_is_not_taken(drivers: Drivers) -> None:
    other = installed("openmp")[0].parent
    done = run(drivers["serial"], "--info", env={"LD_LIBRARY_PATH": str(other)})
    assert item(done.stdout, "library") == str(installed("serial")[0].resolve())


@pytest.mark.parametrize("kind", KINDS)
def test_busy_threads_are_those_that_worked(drivers: Drivers, tmp_path: Path, kind: str) -> None:
    path = workload(tmp_path, case("dgemm", 700, 700, 700, reps=6))
    alone = run(drivers[kind], path, "1", env=QUIET)
    assert item(alone.stdout, "threads_busy") == "1"
    if len(os.sched_getaffinity(0)) > 1:
        two = run(drivers[kind], path, "1", env=PAIR)
        assert item(two.stdout, "threads_busy") == ("1" if kind == "serial" else "2")


def test_the_seed_decides_the_numbers(drivers: Drivers, tmp_path: Path) -> None:
    path = workload(tmp_path, *(case(r, 50, 50, 50) for r in ROUTINES))
    first, again, other = (
        field(run(drivers["embedded"], path, seed, env=QUIET).stdout, "residual")
        for seed in ("18446744073709551615", "18446744073709551615", "2")
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("command", [c for c in ("cc", "gcc", "clang") if shutil.which(c)])
def test_no_compiler_warns(tmp_path: Path, command: str) -> None:
    driver = build(tmp_path, *installed("embedded"), ("-O0",))
    words = ["-std=gnu11", *FLAGS, "-c", "-o", "driver.o", "driver.c"]
    subprocess.run([command, *words], cwd=driver.parent, check=True)


@pytest.mark.parametrize("routine", ["sgemm", "dsyrk", "strsm", "dgetrf", "spotrf", "dgemv"])
def test_a_driver_for_one_routine_refuses_others(tmp_path: Path, routine: str) -> None:
    driver = build(tmp_path, *installed("embedded"), ("-O0", *FLAGS[1:]), routines=(routine,))
    assert run(driver, workload(tmp_path, case(routine, 9, 9, 9)), "1").returncode == 0
    absent = next(r for r in ROUTINES if r != routine)
    done = run(driver, workload(tmp_path, case(absent, 9, 9, 9)), "1")
    assert done.returncode == 2
    assert done.stderr == (
        f"{tmp_path}/workload.txt:3: routine: not in this library or not known: {absent}\n"
    )


# --- wrong libraries -----------------------------------------------------------------------------

# (declaration of the arguments, their names, what is overwritten, where its wrong element is)
SHIMS = {
    "gemm": ("void *ta, void *tb, int *m, int *n, int *k, void *al, void *a, int *lda, void *b,"
             " int *ldb, void *be, REAL *out, int *ldc", "out[*m * *n - 1]"),
    "syrk": ("void *u, void *t, int *n, int *k, void *al, void *a, int *lda, void *be, REAL *out,"
             " int *ldc", "out[*n - 1]"),
    "trsm": ("void *s, void *u, void *t, void *d, int *m, int *n, void *al, void *a, int *lda,"
             " REAL *out, int *ldb", "out[*m * *n / 2]"),
    "getrf": ("int *m, int *n, REAL *out, int *lda, int *p, int *info", "out[*m * *n / 3]"),
    "potrf": ("void *u, int *n, REAL *out, int *lda, int *info", "out[*n - 1]"),
    "gemv": ("void *t, int *m, int *n, void *al, void *a, int *lda, void *x, int *ix, void *be,"
             " REAL *out, int *iy", "out[*m / 2]"),
}  # fmt: skip
DAMAGES = {
    "element": "WRONG *= (REAL)1.5, WRONG += (REAL)0.25;",
    "nan": "WRONG = (REAL)(0.0 / 0.0);",
    "infinity": "WRONG = (REAL)(1.0 / 0.0);",
}


def shim(folder: Path, damage: str) -> Path:
    """A library for LD_PRELOAD: the real routines, then one element of the result damaged."""
    text = "#define _GNU_SOURCE\n#include <dlfcn.h>\n"
    for routine in ROUTINES:
        arguments, wrong = SHIMS[routine[1:]]
        real = "double" if routine[0] == "d" else "float"
        arguments = arguments.replace("REAL", real)
        names = ", ".join(part.split("*")[-1].strip() for part in arguments.split(","))
        text += (
            f"void {routine}_({arguments}) {{\n"
            f'  void (*real)() = (void (*)())dlsym(RTLD_NEXT, "{routine}_");\n  real({names});\n'
            f"  {DAMAGES[damage].replace('WRONG', wrong).replace('REAL', real)}\n}}\n"
        )
    (folder / "shim.c").write_text(text)
    path = folder / "libshim.so"
    words = ["-w", "-shared", "-fPIC", "-o", str(path), str(folder / "shim.c"), "-ldl"]
    subprocess.run([CC, *words], check=True)
    return path


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_wrong_element_is_far_above_the_limit(
    drivers: Drivers, tmp_path: Path, damage: str
) -> None:
    driver = drivers["serial"]
    preload = {"LD_PRELOAD": str(shim(tmp_path, damage))}
    lines = [case(r, size, size, size, reps=1) for r in ROUTINES for size in (8, 100, 1000)]
    done = run(driver, workload(tmp_path, *lines), "5", env=preload)
    assert done.returncode == 0
    residuals = {key: float(v[0]) for key, v in field(done.stdout, "residual").items()}
    assert len(residuals) == len(lines)
    assert {key: r for key, r in residuals.items() if not r > 3 * LIMIT} == {}
    if damage != "element":
        assert set(residuals.values()) == {float("inf")}
    assert item(done.stdout, "library") == str(tmp_path / "libshim.so")
    assert item(done.stdout, "core") == "unknown"
    assert item(done.stdout, "threads") == "unknown"


def test_fast_math_does_not_hide_a_nan(tmp_path: Path) -> None:
    driver = build(tmp_path / "fast", *installed("serial"), ("-Ofast",))
    path = workload(tmp_path, *(case(r, 64, 64, 64) for r in ROUTINES))
    done = run(driver, path, "1", env={"LD_PRELOAD": str(shim(tmp_path, "nan"))})
    assert {v[0] for v in field(done.stdout, "residual").values()} == {"inf"}
    healthy = run(driver, path, "1")
    assert max(float(v[0]) for v in field(healthy.stdout, "residual").values()) < LIMIT / 10


ILP64 = """
#include <stdint.h>
const char *toy_openblas_get_config64_(void) { return "OpenBLAS toy \\n"; }
const char *openblas_get_corename(void) { return "Toy"; }
int toy_openblas_get_num_threads64_(void) { return 3; }
void toy_dgemm_64_(const char *ta, const char *tb, const int64_t *m, const int64_t *n,
                   const int64_t *k, const double *al, const double *a, const int64_t *lda,
                   const double *b, const int64_t *ldb, const double *be, double *c,
                   const int64_t *ldc) {
    for (int64_t j = 0; j < *n; j++)
        for (int64_t i = 0; i < *m; i++) {
            double sum = 0;
            for (int64_t l = 0; l < *k; l++)
                sum += (*ta == 'N' ? a[i + l * *lda] : a[l + i * *lda]) *
                       (*tb == 'N' ? b[l + j * *ldb] : b[j + l * *ldb]);
            c[i + j * *ldc] = *al * sum + *be * c[i + j * *ldc];
        }
}
"""


def test_64_bit_integers_with_a_prefix_and_a_suffix(tmp_path: Path) -> None:
    (tmp_path / "toy.c").write_text(ILP64)
    path = tmp_path / "libtoy64_.so"
    subprocess.run([CC, "-shared", "-fPIC", "-o", path, tmp_path / "toy.c"], check=True)
    names = {"interface": "ilp64", "symbol_suffix": "64_", "routines": ("dgemm",)}
    driver = build(tmp_path / "driver", path, "toy_", FLAGS, **names)
    lines = [case("dgemm", 20, 30, 40, letters) for letters in ("NN", "NT", "TN", "TT")]
    done = run(driver, workload(tmp_path, *lines), "1")
    assert max(float(v[0]) for v in field(done.stdout, "residual").values()) < 1
    assert item(done.stdout, "library") == str(path)
    assert item(done.stdout, "config") == "OpenBLAS toy"
    assert item(done.stdout, "core") == "Toy"
    assert item(done.stdout, "threads") == "3"
    huge = run(driver, workload(tmp_path, case("dgemm", 2**62, 2**62, 1)), "1")
    assert huge.returncode == 3
    assert "overflows" in huge.stderr


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x dgemm N N 1 1", "fewer than the 9 fields"),
        ("x dgemm N N 1 1 1 1 1 1", "more than the 9 fields"),
        ("x zgemm N N 1 1 1 0 1", "routine:"),
        ("x DGEMM N N 1 1 1 0 1", "routine:"),
        ("x dgemm C N 1 1 1 0 1", "transa:"),
        ("x dgemm N NT 1 1 1 0 1", "transb:"),
        ("x dgemv N N 1 1 0 0 1", "transb:"),
        ("x dpotrf N - 0 1 0 0 1", "transa:"),
        ("x dgemm N N -3 1 1 0 1", "m: -3"),
        ("x dgemm N N 1 0 1 0 1", "n: 0"),
        ("x dgemm N N 1 1 2147483648 0 1", "k: 2147483648"),
        ("x dgemm N N 99999999999999999999 1 1 0 1", "m:"),
        ("x dgemm N N 1e3 1 1 0 1", "m:"),
        ("x dpotrf - - 5 5 0 0 1", "m:"),
        ("x dtrsm - - 5 5 1 0 1", "k:"),
        ("x dgemm N N 1 1 1 -1 1", "warmup:"),
        ("x dgemm N N 1 1 1 0 0", "reps:"),
        ("x dgemm N N 1 1 1 0 1000001", "reps:"),
        ("x/y dgemm N N 1 1 1 0 1", "key:"),
        ("x" * 65 + " dgemm N N 1 1 1 0 1", "key:"),
        ("x dgemm N N 1 1 1 0 1 \nx dgemm N N 1 1 1 0 1", "key: used before"),
        ("x dgemm N N 1 1 1 0 1\0", "NUL"),
    ],
)
def test_a_bad_line_is_named_before_anything_runs(
    drivers: Drivers, tmp_path: Path, line: str, words: str
) -> None:
    path = tmp_path / "workload.txt"
    path.write_text(f"# comment\n\nok dgemm N N 2 2 2 0 1 # fine\n{line}\n")
    done = run(drivers["embedded"], path, "1")
    number = 5 if "\n" in line else 4
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(rf"{re.escape(str(path))}:{number}: .*\n", done.stderr)
    assert words in done.stderr


@pytest.mark.parametrize("seed", ["", "x", "-1", "1.5", " 1", "18446744073709551616"])
def test_a_bad_seed_is_a_usage_error(drivers: Drivers, tmp_path: Path, seed: str) -> None:
    done = run(drivers["embedded"], workload(tmp_path, case("dgemm", 1, 1, 1)), seed)
    assert done.returncode == 2
    assert "SEED" in done.stderr


def test_other_usage_errors(drivers: Drivers, tmp_path: Path) -> None:
    driver = drivers["embedded"]
    for words in ([], ["--info", "1", "2"], [str(tmp_path / "none"), "1"], [str(tmp_path), "1"]):
        done = run(driver, *words)
        assert done.returncode == 2
        assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert "no case" in run(driver, workload(tmp_path), "1").stderr


@pytest.mark.parametrize("limit", ["unlimited", "2000000"])
def test_too_much_memory_is_exit_3(drivers: Drivers, tmp_path: Path, limit: str) -> None:
    size = 2**31 - 1 if limit == "unlimited" else 16000
    path = workload(tmp_path, case("dgemm", 8, 8, 8), case("dgemm", size, size, 8, "TN"))
    done = subprocess.run(
        ["bash", "-c", 'ulimit -v "$1"; exec "$2" "$3" 1', "-", limit, drivers["serial"], path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert re.fullmatch(r"driver: out of memory: .*\n", done.stderr)
    assert "residual dgemm_NN_8_8_8" in done.stdout


def test_a_full_disk_is_not_success(drivers: Drivers) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([drivers["embedded"], "--info"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"cannot write" in done.stderr
