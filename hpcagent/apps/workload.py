"""What a library is measured with: routines and shapes with weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.search.bracket import largest
from hpcagent.yamlfile import Document, load_yaml, number

# Which dimensions a routine has, and how many transposition flags.
_DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "gemm": ("m", "n", "k"),
    "syrk": ("n", "k"),
    "trsm": ("m", "n"),
    "getrf": ("m", "n"),
    "potrf": ("n",),
    "gemv": ("m", "n"),
}
_TRANSPOSED: Mapping[str, tuple[str, ...]] = {"gemm": ("transa", "transb"), "gemv": ("transa",)}
_BYTES = {"s": 4, "d": 8}
ROUTINES = tuple(p + name for name in _DIMENSIONS for p in "sd")

PROGRAM = "run"  # what is measured of an application, in the place of a routine

MAX_DIMENSION = 1_000_000
MAX_CASES = 200


@dataclass(frozen=True)
class Case:
    """One routine and shape. Dimensions a routine does not have are 0, unused flags "-".

    A program has no dimension at all; of several cases each has a `name`.
    """

    routine: str
    m: int
    n: int
    k: int
    transa: str
    transb: str
    weight: float
    name: str = ""

    @property
    def key(self) -> str:
        if self.routine == PROGRAM:
            return self.name or PROGRAM
        dims = "x".join(str(d) for d in (self.m, self.n, self.k) if d)
        flags = (self.transa + self.transb).replace("-", "")
        return f"{self.routine}_{dims}" + (f"_{flags}" if "T" in flags else "")

    @property
    def flops(self) -> float:
        """Floating-point operations of one call (LAPACK Working Note 41, leading terms).

        0 of a program.
        """
        if self.routine == PROGRAM:
            return 0.0
        m, n, k = self.m, self.n, self.k
        kind = self.routine[1:]
        if kind == "gemm":
            return 2.0 * m * n * k
        if kind == "syrk":
            return float(k) * n * (n + 1)
        if kind == "trsm":
            return float(n) * m * m
        if kind == "getrf":
            small, large = min(m, n), max(m, n)
            return large * float(small) ** 2 - small**3 / 3.0
        if kind == "potrf":
            return n**3 / 3.0
        return 2.0 * m * n

    @property
    def memory_bytes(self) -> int:
        """Bytes of the operands, with the copy that in-place routines are restored from."""
        m, n, k = self.m, self.n, self.k
        kind = self.routine[1:]
        elements = {
            "gemm": m * k + k * n + 2 * m * n,
            "syrk": n * k + 2 * n * n,
            "trsm": m * m + 2 * m * n,
            "getrf": 2 * m * n,
            "potrf": 2 * n * n,
            "gemv": m * n + m + n,
        }[kind]
        return elements * _BYTES[self.routine[0]]

    def shrunk(self, largest_dimension: int) -> Case:
        """The same in proportion, with this largest dimension."""
        full = max(self.m, self.n, self.k)
        m, n, k = (
            max(1, d * largest_dimension // full) if d else 0 for d in (self.m, self.n, self.k)
        )
        return replace(self, m=m, n=n, k=k)

    def fitting(self, memory_bytes: float) -> Case | None:
        """The largest of its shape, to about three digits, that needs no more; None: none does."""
        full = max(self.m, self.n, self.k)
        step = 10 ** max(0, len(str(full)) - 3)
        sizes = range(step, full + 1, step)
        size = largest(sizes, lambda s: self.shrunk(s).memory_bytes <= memory_bytes)
        return None if size is None else self.shrunk(size)

    @property
    def precision(self) -> str:
        return "single" if self.routine[0] == "s" else "double"


@dataclass(frozen=True)
class Workload:
    """Cases whose weights sum to one; `source` is a file or "default"."""

    cases: tuple[Case, ...]
    source: str

    @property
    def weights(self) -> dict[str, float]:
        return {case.key: case.weight for case in self.cases}

    @property
    def memory_bytes(self) -> int:
        return max(case.memory_bytes for case in self.cases)

    def only(self, routines: Sequence[str]) -> Workload:
        """Without the cases whose routine the library does not have."""
        kept = tuple(case for case in self.cases if case.routine in routines)
        return Workload(_normalised(kept), self.source) if kept else Workload((), self.source)

    def text(self, warmup: int, repeats: Mapping[str, int]) -> str:
        """The file that the driver reads: one line a case."""
        lines = ["# key routine transa transb m n k warmup repeats"]
        for c in self.cases:
            lines.append(
                f"{c.key} {c.routine} {c.transa} {c.transb} {c.m} {c.n} {c.k} "
                f"{warmup} {repeats.get(c.key, 1)}"
            )
        return "\n".join(lines) + "\n"


def default_workload(cores: int, memory_bytes: int | None) -> Workload:
    """A mix of level-3 BLAS and LAPACK, small to large, square and skinny.

    The large dimension grows with the cube root of the cores (the work then grows with the
    cores) and is kept under a twentieth of the memory.
    """
    large = 256 * max(3, min(32, round(4 * (max(1, cores) / 2) ** (1 / 3))))
    while memory_bytes is not None and large > 768 and 4 * 8 * large * large > memory_bytes // 20:
        large -= 256
    half = large // 2
    shapes: tuple[tuple[str, int, int, int, str, str], ...] = (
        ("dgemm", large, large, large, "N", "N"),
        ("dgemm", 256, 256, 256, "N", "N"),
        ("dgemm", 64, 64, 64, "N", "N"),
        ("dgemm", 2 * large, 32, large, "N", "N"),
        ("dgemm", large, large, 64, "N", "T"),
        ("sgemm", large, large, large, "N", "N"),
        ("sgemm", 192, 192, 192, "T", "N"),
        ("dsyrk", 0, large, 256, "-", "-"),
        ("dtrsm", half, large, 0, "-", "-"),
        ("dgetrf", large, large, 0, "-", "-"),
        ("dgetrf", 256, 256, 0, "-", "-"),
        ("dpotrf", 0, large, 0, "-", "-"),
        ("dpotrf", 0, 256, 0, "-", "-"),
    )
    cases = tuple(Case(r, m, n, k, a, b, 1.0) for r, m, n, k, a, b in shapes)
    return Workload(_normalised(cases), "default")


def load_workload(path: Path) -> Workload:
    """The user's own mix; every error names file, line and field."""
    document = load_yaml(path)
    data = document.data
    if not isinstance(data, dict):
        raise UsageError(f"{path}: expected a mapping with the key 'cases'")
    unknown = sorted(set(data) - {"schema", "cases"})
    if unknown:
        raise UsageError(f"{document.where(unknown[0])}: unknown key {unknown[0]!r}")
    if data.get("schema", 1) != 1:
        raise UsageError(f"{document.where('schema')}: schema must be 1")
    rows = data.get("cases")
    if not isinstance(rows, list) or not rows:
        raise UsageError(f"{document.where('cases')}: 'cases' must be a list of at least one case")
    if len(rows) > MAX_CASES:
        raise UsageError(f"{document.where('cases')}: more than {MAX_CASES} cases")
    cases = tuple(_case(document, index, row) for index, row in enumerate(rows))
    seen: dict[str, int] = {}
    for index, case in enumerate(cases):
        if case.key in seen:
            raise UsageError(
                f"{document.where('cases', index)}: the same case as on line "
                f"{document.lines[('cases', seen[case.key])]}: {case.key}"
            )
        seen[case.key] = index
    return Workload(_normalised(cases), str(path))


def one_program(source: str, weights: Mapping[str, float] = MappingProxyType({})) -> Workload:
    """That of an application, which is run as it is: nobody has counted its operations.

    `weights` are those of the cases that a process prints figures of, by their names.
    """
    rows = weights or {"": 1.0}
    cases = [Case(PROGRAM, 0, 0, 0, "-", "-", weight, name) for name, weight in rows.items()]
    return Workload(_normalised(tuple(cases)), source)


def workload_from(rows: Sequence[Mapping[str, Any]], source: str) -> Workload:
    """Rebuild a workload from what `dataclasses.asdict` made of its cases."""
    return Workload(tuple(Case(**row) for row in rows), source)


def _case(document: Document, index: int, row: Any) -> Case:
    where = document.where("cases", index)
    if not isinstance(row, dict):
        raise UsageError(f"{where}: a case is a mapping like {{routine: dgemm, m: 512, ...}}")
    routine = row.get("routine")
    if routine not in ROUTINES:
        raise UsageError(
            f"{document.where('cases', index, 'routine')}: routine: unknown {routine!r}; "
            f"known: {', '.join(ROUTINES)}"
        )
    kind = routine[1:]
    dims, flags = _DIMENSIONS[kind], _TRANSPOSED.get(kind, ())
    unknown = sorted(set(row) - {"routine", "weight", *dims, *flags})
    if unknown:
        raise UsageError(
            f"{document.where('cases', index, unknown[0])}: {unknown[0]}: {routine} takes "
            f"{', '.join((*dims, *flags, 'weight'))}"
        )
    sizes = {d: _dimension(document, index, row, d, routine) for d in dims}
    trans = {f: _flag(document, index, row, f) for f in flags}
    return Case(
        routine,
        sizes.get("m", 0),
        sizes.get("n", 0),
        sizes.get("k", 0),
        trans.get("transa", "-"),
        trans.get("transb", "-"),
        _weight(document, index, row),
    )


def _dimension(
    document: Document, index: int, row: Mapping[str, Any], name: str, routine: str
) -> int:
    if name not in row:
        raise UsageError(f"{document.where('cases', index)}: {routine} needs {name!r}")
    value = row[name]
    where = document.where("cases", index, name)
    if type(value) is not int:
        raise UsageError(f"{where}: {name}: a whole number is expected, not {value!r}")
    if not 1 <= value <= MAX_DIMENSION:
        raise UsageError(f"{where}: {name}: {value} is outside 1 to {MAX_DIMENSION}")
    return value


def _flag(document: Document, index: int, row: Mapping[str, Any], name: str) -> str:
    value = row.get(name, "N")
    if value not in ("N", "T"):
        where = document.where("cases", index, name)
        raise UsageError(f"{where}: {name}: 'N' or 'T' is expected, not {value!r}")
    return str(value)


def _weight(document: Document, index: int, row: Mapping[str, Any]) -> float:
    value = number(row.get("weight", 1.0))
    good = type(value) in (int, float) and math.isfinite(value) and 0 < value <= 1e6
    if not good:
        where = document.where("cases", index, "weight")
        raise UsageError(f"{where}: weight: a number above 0 and up to 1e6 is expected: {value!r}")
    return float(value)


def _normalised(cases: tuple[Case, ...]) -> tuple[Case, ...]:
    total = sum(case.weight for case in cases)
    return tuple(replace(case, weight=case.weight / total) for case in cases)
