"""What a model is told: the machine, the rules, the task, what was tried, and what to write now.

The first two messages are the same in every call of a run, and the results that follow only grow,
so that a model's cache of what it has read stays of use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hpcagent.codegen.attempt import Source
from hpcagent.codegen.cases import operations
from hpcagent.codegen.outcome import Checked, evidence_for_model
from hpcagent.codegen.signature import c_prototype, fortran_interface
from hpcagent.codegen.taskfields import Argument
from hpcagent.codegen.taskfile import TaskFile
from hpcagent.codegen.tree import DEBUG, DRAFT, IMPROVE
from hpcagent.measure.statistics import Effect
from hpcagent.records import Failure, Machine, Message
from hpcagent.templates import render

_FOLDER = Path(__file__).resolve().parent / "prompts"
_SAID = 1200  # characters of the compiler's remarks
_HINTS = (
    "Keep it simple: help the compiler to vectorise the obvious loops.",
    "Think of the memory first: block loops for the caches, and touch data once.",
    "Work with explicit tiles in registers and unrolled inner loops.",
)
_PARALLEL = {
    "serial": "It has one process and one thread.",
    "openmp": "It may use OpenMP; the number of threads is set from outside.",
    "mpi": "It is started by mpirun with any number of ranks, and has to work with each.",
}
_WIDTHS = {
    "int": "32-bit integers", "long": "64-bit integers", "float": "32-bit reals",
    "double": "64-bit reals",
}  # fmt: skip
_VECTORS = (("avx512f", 512), ("avx2", 256), ("avx", 256), ("sse2", 128), ("asimd", 128))


class Tried(Protocol):
    """What of an attempt goes into prompts."""

    @property
    def number(self) -> int: ...
    @property
    def operation(self) -> str: ...
    @property
    def parent(self) -> int | None: ...
    @property
    def source(self) -> Source | None: ...
    @property
    def failure(self) -> Failure | None: ...
    @property
    def checked(self) -> Checked | None: ...
    @property
    def effect(self) -> Effect | None: ...
    @property
    def medians(self) -> Any: ...


class Wanted(Protocol):
    @property
    def task(self) -> TaskFile: ...
    @property
    def reference(self) -> str: ...


@dataclass(frozen=True)
class Environment:
    """Facts of the node, as (name, value) pairs; `limits` are seconds of each measured case below
    which the whole node cannot be, where that is known."""

    facts: tuple[tuple[str, str], ...]
    limits: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, machine: Machine, tools: str, limits: Mapping[str, float]) -> Environment:
        width = next((bits for name, bits in _VECTORS if name in machine.features), 0)
        sizes: dict[str, list[str]] = {}  # of one level several where kinds of cores are mixed
        for c in machine.caches:
            if c.kind != "instruction":
                sizes.setdefault(f"L{c.level} {c.kind}", []).append(f"{c.size_bytes // 1024} KiB")
        caches = [f"{name} {' or '.join(found)}" for name, found in sizes.items()]
        rows = [
            ("processor", machine.cpu_model),
            ("microarchitecture", machine.microarchitecture),
            ("vectors", f"{width} bits" if width else "not known"),
            ("caches", ", ".join(caches) or "not known"),
            ("cores", str(machine.usable_cores)),
            ("NUMA nodes", str(machine.numa_nodes)),
            ("compiler", tools),
        ]
        return cls(tuple(rows), limits)


def messages(
    environment: Environment, wanted: Wanted, tried: Sequence[Tried], operation: str,
    parent: int | None,
) -> tuple[Message, ...]:  # fmt: skip
    """The whole prompt of one call; the same arguments give the same words."""
    task = wanted.task
    parts = [_task(task, wanted.reference)]
    if operation != DRAFT or any(one.operation in (DEBUG, IMPROVE) for one in tried):
        parts += [_result(task, one) for one in tried if one.number > 0]
    parts.append(_request(task, tried, operation, parent, environment.limits))
    return (Message("system", _system(environment, task)), Message("user", "\n".join(parts)))


def _system(environment: Environment, task: TaskFile) -> str:
    fortran = task.language == "fortran"
    values = {
        "environment": environment.facts,
        "interface": _interface(task),
        "function": task.function,
        "includes": "It is one subroutine with bind(C), or one module around it." if fortran
        else 'Include "kernel.h", which declares it, and headers of the language only.',
        "threads": {"openmp": " other than OpenMP's", "mpi": "", "serial": ""}[task.parallel],
        "language": {"c++": "cpp"}.get(task.language, task.language),
        "file": task.file_names[0],
        "parallel": _PARALLEL[task.parallel],
        "choices": [
            (name, " ".join(value or "(none)" for value in values))
            for name, values in task.choices().items() if len(values) > 1
        ],
    }  # fmt: skip
    return render(_FOLDER / ("program.j2" if task.program else "system.j2"), values)


def _interface(task: TaskFile) -> str:
    """What is called from outside: a prototype, or a command line."""
    if task.program:
        return command_line(task)
    fortran = task.language == "fortran"
    return fortran_interface(task) if fortran else f"{c_prototype(task, task.language)};"


def command_line(task: TaskFile) -> str:
    """How a program is started, and what its files hold."""
    words, lines = [f"./{task.program}"], []
    for row in task.arguments:
        if not row.shape:
            words.append(row.name.upper())
            continue
        files = []
        if row.intent != "out":
            files.append(f"{row.name}.in is read")
            words.append(f"{row.name}.in")
        if row.intent != "in":
            files.append("it is printed" if row.stdout else f"{row.name}.out is written")
            words += [] if row.stdout else [f"{row.name}.out"]
        shape = " x ".join(str(part) for part in row.shape)
        lines.append(f"  {row.name}: {_WIDTHS[row.type]}, {shape}: {', '.join(files)}")
    return "\n".join([" ".join(words), *lines])


def _task(task: TaskFile, reference: str) -> str:
    values = {
        "name": task.name,
        "text": task.text,
        "arguments": [_argument(argument) for argument in task.arguments],
        "contract": _contract(task),
        "tolerance": _tolerance(task),
        "metric": task.metric.unit,
        "sizes": "; ".join(
            f"{name}: " + " ".join(f"{k}={v}" for k, v in sizes.items())
            for name, sizes in sorted(task.cases.measure.items())
        ),
        "reference": reference.rstrip("\n") if task.reference else "",
    }
    return render(_FOLDER / "task.j2", values)


def _contract(task: TaskFile) -> str:
    allowed = task.contract
    words = [] if task.program else ["Arrays do not overlap."]
    if allowed.aliases:
        pairs = ", ".join(f"{a} and {b}" for a, b in allowed.aliases)
        words = [f"Arrays do not overlap, but these may be one and the same: {pairs}."]
    words += ["A NaN in the input has to appear as in the reference."] if allowed.nan else []
    words += ["Inputs may be subnormal."] if allowed.subnormals else []
    return " ".join(words)


def _tolerance(task: TaskFile) -> str:
    tolerance = task.tolerance
    if tolerance is None:
        return "Results are judged by a program that you cannot see."
    words = f"{tolerance.relative:g} relative, {tolerance.absolute:g} absolute ({tolerance.norm})"
    return f"Results may differ from the reference by: {words}."


def _argument(argument: Argument) -> str:
    shape = f"[{', '.join(str(part) for part in argument.shape)}]" if argument.shape else ""
    meaning = f": {argument.meaning}" if argument.meaning else ""
    return f"{argument.name}{shape}, {argument.type}, {argument.intent}{meaning}"


def _result(task: TaskFile, one: Tried) -> str:
    values = {"number": one.number, "operation": one.operation, "parent": one.parent,
              "ended": _ended(task, one)}  # fmt: skip
    return render(_FOLDER / "result.j2", values)


def _ended(task: TaskFile, one: Tried) -> str:
    if one.failure is not None:
        first = one.failure.evidence.strip().splitlines()[:1]
        return f"failed, {one.failure.id}: {first[0][:200] if first else ''}"
    if one.effect is None:
        return "passed all checks, not measured"
    ratio = math.exp(-one.effect.log_ratio)
    return f"passed, {ratio:.3f} times as fast as {_baseline(task)}"


def _baseline(task: TaskFile) -> str:
    return "the reference" if task.reference else "the first that passed"


def _request(
    task: TaskFile, tried: Sequence[Tried], operation: str, parent: int | None,
    limits: Mapping[str, float],
) -> str:  # fmt: skip
    if operation == DRAFT:
        count = 1 + sum(one.operation == DRAFT for one in tried)
        hint = _HINTS[(count - 1) % len(_HINTS)]
        return render(_FOLDER / "draft.j2", {"count": count, "hint": hint})
    one = next(other for other in tried if other.number == parent)
    values: dict[str, Any] = {"number": one.number, "source": _source(one)}
    if operation == DEBUG and one.failure is not None:
        values |= {"failure": one.failure.id, "evidence": evidence_for_model(one.failure)}
        return render(_FOLDER / "debug.j2", values)
    said = _said(one.checked) if one.checked is not None else ""
    profile = _profile(task, one, limits)
    return render(_FOLDER / "improve.j2", values | {"profile": profile, "said": said})


def _said(checked: Checked) -> str:
    """Of the loops, where the compiler's words of them are known; else the end of what it said."""
    return "\n".join(checked.remarks) or checked.said[-_SAID:]


def _source(one: Tried) -> str:
    files = one.source.files if one.source is not None else {}
    return "\n".join(f"```{name}\n{text}```" for name, text in sorted(files.items()))


def _profile(task: TaskFile, one: Tried, limits: Mapping[str, float]) -> str:
    """Times, rates and share of the node's peak of each case, and the ratio to the baseline."""
    words = []
    if one.effect is not None:
        ratio = math.exp(-one.effect.log_ratio)
        words.append(f"It is {ratio:.3f} times as fast as {_baseline(task)}.")
    for name, seconds in one.medians.items():
        count = operations(task, name)
        rate = f", {count / seconds / 1e9:.4g} {task.metric.unit}" if count else ""
        share = (
            f", {100 * limits[name] / seconds:.3g} % of the node's peak" if name in limits else ""
        )
        words.append(f"Case {name}: {seconds * 1e6:.4g} us a call{rate}{share}.")
    return " ".join(words)
