"""What record_surface.py records of OpenBLAS: spaces of settings around it, and command lines.

Nothing here knows of a search. Every case has the settings of the library itself (which of its
builds, kernels, threads); the blocked algorithms add the block sizes of the code on top of it, the
others what else the library and the C library read from the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

Values = Mapping[str, str]
Axis = tuple[str, str, tuple[str, ...]]

BUILDS = ("pthread", "openmp", "serial")
_MOST_THREADS = {"serial": 1, "pthread": 2}  # the surfaces here are of two CPUs
DEFAULT_TIMEOUT = "28"  # 2^28 cycles, as the library has it
REPEATS = 7  # calls timed in one process, after one that is not
# All that a DYNAMIC_ARCH build for x86_64 has; some are refused by a processor, some are aliases.
ALL_CORES = (
    "Prescott", "Core2", "Penryn", "Dunnington", "Atom", "Nano", "Nehalem", "Barcelona", "Bobcat",
    "Bulldozer", "Piledriver", "Steamroller", "Excavator", "Sandybridge", "Haswell", "Zen",
    "SkylakeX", "Cooperlake", "SapphireRapids",
)  # fmt: skip
SOME_CORES = ("Prescott", "Sandybridge", "Haswell", "SkylakeX", "Excavator")
# Nearly: they differ in how blocks are copied (OpenBLAS 0.3.21, kernel/x86_64/KERNEL.ZEN).
SAME_KERNELS = {"Zen": "Haswell"}


@dataclass(frozen=True)
class Case:
    """A space and how a point of it is run.

    `workload` is the line of the benchmark driver's workload. Without one, `words` are the
    arguments up to its seed of the blocked driver, of an installed `program`, or of what is
    compiled by the words of `built`, the last of which is its source; `around` comes before it.
    `chosen` are the values of the default that are the caller's, not the library's.
    """

    name: str
    what: str
    axes: tuple[Axis, ...]
    chosen: Values
    allowed: Callable[[Values], bool]
    words: Callable[[Values], tuple[str, ...]] = lambda values: ()
    workload: str = ""
    built: Callable[[Values], tuple[str, ...]] | None = None
    program: str = ""
    around: Callable[[Values], tuple[str, ...]] = lambda values: ()

    def points(self) -> Iterator[dict[str, str]]:
        names = [name for name, _, _ in self.axes]
        for combination in product(*(values for _, _, values in self.axes)):
            values = dict(zip(names, combination, strict=True))
            if self.allowed(values):
                yield values


def environment(values: Values, folders: Mapping[str, str]) -> dict[str, str]:
    """What sets these values; `folders` has the folder of each build of the library."""
    found = {"OMP_NUM_THREADS": values.get("threads", "1")}
    if "library" in values:
        found["LD_LIBRARY_PATH"] = folders[values["library"]]
    if "core" in values:
        found["OPENBLAS_CORETYPE"] = values["core"]
        found["OPENBLAS_NUM_THREADS"] = values["threads"]
    if "maxsup" in values:
        found["SUPERLU_MAXSUP"] = values["maxsup"]
        found["SUPERLU_RELAX"] = values["relax"]
    if "max_stored_rows" in values:
        found["ELPA_DEFAULT_max_stored_rows"] = values["max_stored_rows"]
    if "schedule" in values:
        found["OMP_SCHEDULE"] = ",".join(values[k] for k in ("schedule", "chunk") if k in values)
    if values.get("thread_timeout", DEFAULT_TIMEOUT) != DEFAULT_TIMEOUT:
        found["OPENBLAS_THREAD_TIMEOUT"] = values["thread_timeout"]
    if values.get("wait_policy", "default") != "default":
        found["OMP_WAIT_POLICY"] = values["wait_policy"]
    if values.get("huge_pages") == "madvise":
        found["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    return found


def _threads(values: Values) -> bool:
    """One build has no threads, one cuts them to the CPUs that there are; OpenMP does as told."""
    return int(values["threads"]) <= _MOST_THREADS.get(values["library"], 64)


def _idle_threads(values: Values) -> bool:
    """A setting that cannot act is not a point of its own."""
    library = values["library"] if values["threads"] != "1" else "serial"
    spins = values["thread_timeout"] == DEFAULT_TIMEOUT or library == "pthread"
    waits = values["wait_policy"] == "default" or library == "openmp"
    return _threads(values) and spins and waits


def _library(threads: int, cores: tuple[str, ...]) -> tuple[Axis, ...]:
    return (
        ("library", "categorical", BUILDS),
        ("core", "categorical", cores),
        ("threads", "ordinal", _texts(*range(1, threads + 1))),
    )


def _texts(*values: int) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _gemm(m: int, n: int, k: int, axes: tuple[Axis, ...]) -> Case:
    names = [name for name, _, _ in axes]
    tiles = {name: [int(value) for value in values] for name, _, values in axes if name != "pad"}
    chosen = {name: str(max(v for v in sizes if v <= 64)) for name, sizes in tiles.items()}
    chosen["pad"] = "0"

    def words(values: Values) -> tuple[str, ...]:
        tiles = [values.get(f"tile_{d}", str(size)) for d, size in (("m", m), ("n", n), ("k", k))]
        pad = values.get("pad", "0")
        return ("gemm", "-", *_texts(m, n, k), *tiles, pad, str(REPEATS))

    return Case(
        f"tiled_dgemm_{m}x{n}x{k}",
        f"C = A B in tiles, {m} x {n} x {k}, each tile by dgemm; leading dimensions padded",
        (*_library(2, SOME_CORES), *axes),
        {name: value for name, value in chosen.items() if name in names},
        _threads,
        words,
    )


def _factorisation(name: str, n: int, variants: Axis, blocks: tuple[int, ...], what: str) -> Case:
    def words(values: Values) -> tuple[str, ...]:
        sizes = ("0", str(n), "0", "0", values["block"], "0")
        return (name, values[variants[0]], *sizes, "0", str(REPEATS))

    return Case(
        f"blocked_{name}_{n}",
        f"{what}, {n} x {n}",
        (*_library(3, SOME_CORES), ("block", "ordinal", _texts(*blocks)), variants),
        {"block": "64", variants[0]: variants[2][0]},
        _threads,
        words,
    )


def _driver(name: str, what: str, line: str) -> Case:
    axes: tuple[Axis, ...] = (
        *_library(4, ALL_CORES),
        ("thread_timeout", "ordinal", ("4", "16", "22", DEFAULT_TIMEOUT)),
        ("wait_policy", "categorical", ("default", "active", "passive")),
        ("huge_pages", "categorical", ("off", "madvise")),
    )
    chosen = {"thread_timeout": DEFAULT_TIMEOUT, "wait_policy": "default", "huge_pages": "off"}
    return Case(name, what, axes, chosen, _idle_threads, workload=line)


_LOOKING: Axis = ("looking", "categorical", ("right", "left"))
_PANEL: Axis = ("panel", "categorical", ("library", "columns"))
_CHOLESKY = "Cholesky factorisation by panels: dpotrf, dtrsm, dsyrk, dgemm"
_LU = "LU factorisation with row exchanges by panels: dgetrf or columns, dlaswp, dtrsm, dgemm"
_BLOCKS = (4, 8, 16, 24, 32, 48, 64, 96, 128, 192)

CASES = (
    _gemm(
        256, 256, 256,
        (
            ("tile_m", "ordinal", _texts(16, 32, 64, 128, 256)),
            ("tile_n", "ordinal", _texts(16, 32, 64, 128, 256)),
            ("tile_k", "ordinal", _texts(64, 256)),
        ),
    ),
    _gemm(
        1024, 24, 256,
        (
            ("tile_m", "ordinal", _texts(32, 64, 128, 256, 512, 1024)),
            ("tile_k", "ordinal", _texts(32, 64, 128, 256)),
            ("pad", "ordinal", _texts(0, 8)),
        ),
    ),
    _factorisation("cholesky", 192, _LOOKING, _BLOCKS, _CHOLESKY),
    _factorisation("cholesky", 448, _LOOKING, (*_BLOCKS, 448), _CHOLESKY),
    _factorisation("lu", 192, _PANEL, _BLOCKS, _LU),
    _factorisation("lu", 384, _PANEL, (*_BLOCKS, 384), _LU),
    _driver("dgetrf_256", "dgetrf, 256 x 256", "run dgetrf - - 256 256 0 1 7"),
    _driver("dsyrk_224x256", "dsyrk, 224 x 224, k 256", "run dsyrk - - 0 224 256 1 7"),
    _factorisation("cholesky", 320, _LOOKING, (*_BLOCKS, 320), _CHOLESKY),
    _factorisation("lu", 288, _PANEL, (*_BLOCKS, 288), _LU),
    _driver("dgemm_160", "dgemm, 160 x 160 x 160", "run dgemm N N 160 160 160 1 7"),
    _driver("dgemv_640", "dgemv, 640 x 640", "run dgemv N - 640 640 0 1 7"),
    _driver("dpotrf_320", "dpotrf, 320 x 320", "run dpotrf - - 0 320 0 1 7"),
    _driver("dtrsm_192x384", "dtrsm, 192 x 384", "run dtrsm - - 192 384 0 1 7"),
    _gemm(
        512, 96, 192,
        (
            ("tile_m", "ordinal", _texts(16, 32, 64, 128, 256, 512)),
            ("tile_n", "ordinal", _texts(24, 48, 96)),
            ("tile_k", "ordinal", _texts(48, 96, 192)),
        ),
    ),
    _factorisation("cholesky", 256, _LOOKING, (*_BLOCKS, 256), _CHOLESKY),
    _factorisation("lu", 240, _PANEL, (*_BLOCKS, 240), _LU),
    _driver("sgemm_224", "sgemm, 224 x 224 x 224", "run sgemm N N 224 224 224 1 7"),
    _driver("dgetrf_384x128", "dgetrf, 384 x 128", "run dgetrf - - 384 128 0 1 7"),
    _driver("dsyrk_96x512", "dsyrk, 96 x 96, k 512", "run dsyrk - - 0 96 512 1 7"),
)  # fmt: skip
