"""From the lines of result.jsonl to a verdict for every cell and every toolchain. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hpcagent.records import Failure, Machine
from hpcagent.toolchain import checks
from hpcagent.toolchain.agentchecks import AgentCheck
from hpcagent.toolchain.candidates import LeftOut
from hpcagent.toolchain.causes import Finding, step_failure
from hpcagent.toolchain.cellspec import DoctorPlan, macros_key
from hpcagent.toolchain.matrix import Cell, Row
from hpcagent.toolchain.readback import Readback, parse_elf, parse_macros, parse_readback

OK, DOUBTFUL, FAILED, SKIPPED = "ok", "doubtful", "failed", "skipped"
COLUMNS = ("c", "c++", "fortran", "OpenMP", "MPI", "BLAS", "all")
# What a cell tells of itself, in the words of the report.
_USED = (
    ("blas_library", "library"),
    ("blas_config", "build"),
    ("blas_core", "core"),
    ("blas_threading", "threading"),
    ("blas_threads", "BLAS threads"),
    ("blas_integer_bits", "integer bits"),
    ("cblas_header", "header"),
    ("openmp_threads", "OpenMP threads"),
    ("openmp_runtime", "OpenMP runtime"),
    ("threads_busy", "busy threads"),
    ("mpi_version", "MPI"),
    ("mpi_library", "MPI library"),
)


@dataclass(frozen=True)
class CellVerdict:
    """`used` is what the program said of itself; `findings` are empty where it is ok; `log` is the
    file, below the unit's folder, with all that the last of its steps printed."""

    id: str
    label: str
    status: str
    findings: tuple[Finding, ...] = ()
    used: Mapping[str, str] = field(default_factory=dict)
    log: str = ""


@dataclass(frozen=True)
class RowVerdict:
    """A toolchain: a status for every column that it has, and its cells' ids by column.

    `parts` are the labels of its compilers, its MPI and its BLAS (empty: none).
    """

    label: str
    parts: tuple[str, str, str]
    columns: Mapping[str, str]
    cells: Mapping[str, tuple[str, ...]]
    rank: int  # from 1; 0: not usable
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class DoctorResult:
    """What the doctor found on one node, JSON-able by `as_json`."""

    host: str
    rows: tuple[RowVerdict, ...]
    cells: tuple[CellVerdict, ...]
    findings: tuple[Finding, ...] = ()  # of the node itself, not of a cell
    absent: tuple[LeftOut, ...] = ()  # negatives, with why
    left_out: tuple[LeftOut, ...] = ()
    agent: tuple[AgentCheck, ...] = ()
    unfinished: str = ""

    def cell(self, id_: str) -> CellVerdict:
        return next(cell for cell in self.cells if cell.id == id_)

    @property
    def usable(self) -> tuple[RowVerdict, ...]:
        """The usable toolchains, the best first."""
        return tuple(sorted((r for r in self.rows if r.rank), key=lambda row: row.rank))


def as_json(result: DoctorResult) -> dict[str, Any]:
    """Plain values; a failure carries its id too."""
    row = asdict(result)
    for finding in [*row["findings"], *(f for cell in row["cells"] for f in cell["findings"])]:
        failure = finding["failure"]
        failure["id"] = f"{failure['stage']}.{failure['kind']}"
    return row


def judge_cells(
    plan: DoctorPlan,
    machine: Machine,
    results: Iterable[Mapping[str, Any]],
    built_on: str = "",
) -> tuple[CellVerdict, ...]:
    """A verdict for every cell; of several lines of one step the last counts."""
    lines = {str(line.get("step")): line for line in results}
    bench = _Bench(plan, machine, lines, built_on)
    found = {cell.id: bench.verdict(cell) for cell in plan.matrix.cells}
    return tuple(_eased(cell, found, plan) for cell in plan.matrix.cells)


def _eased(cell: Cell, found: Mapping[str, CellVerdict], plan: DoctorPlan) -> CellVerdict:
    """That srun does not start an MPI's programs in one way is no failure where it does in another,
    or where its own launcher does: the cure says which."""
    own = found[cell.id]
    if not cell.srun or own.status != FAILED:
        return own
    same = [c for c in plan.matrix.cells if c.mpi == cell.mpi and found[c.id].status == OK]
    good = next((c for c in same if c.srun), next(iter(same), None))
    if good is None:
        return own
    cure = f"start its programs with {' '.join(good.launcher)}, which was tried here and works"
    findings = tuple(replace(f, grave=False, cure=cure) for f in own.findings)
    return replace(own, status=DOUBTFUL, findings=findings)


class _Bench:
    """What the judging of every cell looks things up in."""

    def __init__(
        self,
        plan: DoctorPlan,
        machine: Machine,
        lines: Mapping[str, Mapping[str, Any]],
        built_on: str,
    ) -> None:
        self._plan = plan
        self._machine = machine
        self._lines = lines
        self._built_on = built_on
        self._module_paths = _module_paths(plan, lines)

    def verdict(self, cell: Cell) -> CellVerdict:
        steps = self._plan.steps[cell.id]
        for stage, step in (("compile", steps.compile), ("link", steps.link)):
            line = self._lines.get(step)
            if line is None or line.get("status") == "skipped":
                return CellVerdict(cell.id, cell.label, SKIPPED, _skipped(line))
            if line.get("status") != "ok":
                found = (step_failure(stage, line),)
                return CellVerdict(cell.id, cell.label, FAILED, found, log=_log(line))
        run = self._lines.get(steps.run)
        if run is None or run.get("status") == "skipped":
            return CellVerdict(cell.id, cell.label, SKIPPED, _skipped(run))
        return self._ran(cell, run)

    def _ran(self, cell: Cell, run: Mapping[str, Any]) -> CellVerdict:
        readback = parse_readback(str(run.get("output") or ""))
        found = list(checks.findings(self._seen(cell, run, readback)))
        good = run.get("status") == "ok" and readback.first("answer") == "right"
        if not good and not any(finding.grave for finding in found):
            found.insert(0, _no_answer(cell, run))
        status = FAILED if any(f.grave for f in found) else DOUBTFUL if found else OK
        return CellVerdict(cell.id, cell.label, status, tuple(found), _used(readback), _log(run))

    def _seen(self, cell: Cell, run: Mapping[str, Any], readback: Readback) -> checks.Seen:
        steps = self._plan.steps[cell.id]
        elf = self._output(steps.elf)
        macros = self._output(self._plan.macros.get(macros_key(cell), ""))
        return checks.Seen(
            cell,
            self._machine,
            run,
            readback,
            parse_elf(elf) if elf else None,
            parse_macros(macros),
            self._built_on,
            self._module_paths,
            steps.threads,
            steps.ranks,
        )

    def _output(self, step: str) -> str:
        line = self._lines.get(step) if step else None
        good = line is not None and line.get("status") == "ok"
        return str(line.get("output") or "") if line is not None and good else ""


def _module_paths(
    plan: DoctorPlan, lines: Mapping[str, Mapping[str, Any]]
) -> dict[str, tuple[str, ...]]:
    """What each module adds to LD_LIBRARY_PATH."""
    printed: dict[tuple[str, ...], tuple[str, ...]] = {}
    for loaded, step in plan.paths.items():
        output = str(lines.get(step, {}).get("output") or "").strip()
        last = output.splitlines()[-1] if output else ""
        printed[loaded] = tuple(folder for folder in last.split(":") if folder)
    added: dict[str, tuple[str, ...]] = {}
    for loaded, folders in printed.items():
        if loaded:
            before = printed.get(loaded[:-1], ())
            added[loaded[-1]] = tuple(f for f in folders if f not in before)
    return added


def _log(line: Mapping[str, Any]) -> str:
    return str(line.get("log") or "")


def _skipped(line: Mapping[str, Any] | None) -> tuple[Finding, ...]:
    why = str(line.get("message") or "") if line else "it was not reached"
    return (Finding(Failure("environment", "not_tried", why), False, "run the doctor again"),)


def _no_answer(cell: Cell, run: Mapping[str, Any]) -> Finding:
    """It died, or ended without saying that its answer is right."""
    if run.get("status") == "ok":
        told = "it ended well without an answer"
        return Finding(Failure("run", "no_answer", told), True, "see its log")
    return step_failure("mpi" if cell.mpi else "run", run)


def _used(readback: Readback) -> dict[str, str]:
    used = {}
    for key, words in _USED:
        values = dict.fromkeys(readback.values.get(key, ()))
        if values:
            used[words] = ", ".join(values)
    if readback.ranks:
        used["ranks"] = ", ".join(f"{rank} of {size}" for rank, size in sorted(readback.ranks))
    return used


def column_status(statuses: Iterable[str]) -> str:
    """Of several cells: failed where one failed, else the worst of the others."""
    present = set(statuses)
    return next((s for s in (FAILED, DOUBTFUL, SKIPPED, OK) if s in present), SKIPPED)


def row_columns(row: Row, verdicts: Mapping[str, CellVerdict]) -> dict[str, str]:
    return {
        column: column_status(verdicts[id_].status for id_ in row.cells[column])
        for column in COLUMNS
        if column in row.cells
    }
