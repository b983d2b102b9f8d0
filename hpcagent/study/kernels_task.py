"""Small kernels through the gate of code generation: a node is asked what it has, then two units.

The first builds and checks the references, the second what is to be judged; each holds several
tasks, with a folder for each. Nothing is measured. Pure functions of the state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpcagent.codegen import attempt as making
from hpcagent.codegen.answer import parse_answer
from hpcagent.codegen.attempt import STAGES, Source
from hpcagent.codegen.outcome import Checked, checked
from hpcagent.codegen.taskfile import TaskFile
from hpcagent.codegen.tools import Tools, choose_tools
from hpcagent.errors import RunFailed, UsageError
from hpcagent.llm.qualify.kernel import Wanted
from hpcagent.probe.machine import parse_machine
from hpcagent.probe.software_facts import parse_software
from hpcagent.records import Failure
from hpcagent.study import tune
from hpcagent.study.probe_task import close, probe_spec, probe_unit
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Target, Task
from hpcagent.study.units import Plan

KIND, JUDGED = "kernels", "judged"
REFERENCES = "references"
_FILE = "kernel.c"
_LANGUAGE = "c"
_STEP_S = 60  # of a stage, on a slow and busy node
_CHECK_S = 30
_MARGIN_S = 120
_KEEP_BYTES = 8000


@dataclass(frozen=True)
class Entry:
    """A task, its reference and what is judged by it: two whole sources in C."""

    task: TaskFile
    reference: str
    source: str

    @property
    def name(self) -> str:
        return self.task.name


@dataclass(frozen=True)
class Asked:
    """What was asked for, as the journal keeps it (`Task.request`)."""

    entries: tuple[Entry, ...]
    compiler: str = ""
    folder: str = ""

    def to_json(self) -> dict[str, Any]:
        rows = [
            {"task": e.task.model_dump(by_alias=True), "reference": e.reference, "source": e.source}
            for e in self.entries
        ]
        return {"entries": rows, "compiler": self.compiler, "folder": self.folder}

    @classmethod
    def of(cls, task: Task) -> Asked:
        """RunFailed where the journal holds something else."""
        try:
            row = dict(task.request)
            entries = tuple(
                Entry(TaskFile.model_validate(e["task"]), str(e["reference"]), str(e["source"]))
                for e in row.pop("entries")
            )
            return cls(entries, **row)
        except (KeyError, TypeError, ValueError) as error:
            words = " ".join(str(error).split())[:300]
            raise RunFailed(
                f"the journal is damaged: its kernels cannot be used: {words}"
            ) from None


def entry_of(wanted: Wanted, source: str) -> Entry:
    """A case of the qualification as a task, with the source that is to be judged."""
    data = {
        "schema": 1,
        "name": wanted.name,
        "text": wanted.text,
        "language": _LANGUAGE,
        "function": wanted.name,
        "arguments": wanted.arguments,
        "reference": _FILE,
        "cases": {"check": wanted.check, "vary": wanted.vary, "measure": {"one": wanted.check[-1]}},
        "tolerance": {"relative": 1e-12, "absolute": 1e-12},
        "parameters": {"march": ["portable"]},
        "budget": {"seconds": _CHECK_S, "memory_gib": 1.0},
    }
    return Entry(TaskFile.model_validate(data), wanted.source, source)


def unfit(source: str) -> Failure | None:
    """Why a source is not even given to the gate: what `hpcagent codegen` refuses in an answer."""
    found = parse_answer(f"```c {_FILE}\n{source}\n```", (_FILE,), {})
    return found if isinstance(found, Failure) else None


def verdicts(task: Task, state: TuneState) -> dict[str, Failure | None]:
    """Name -> why the source failed (None: it passed), of all entries that have been judged.

    A failure of the stage `environment` says nothing of the source.
    """
    found: dict[str, Failure | None] = {}
    for entry in Asked.of(task).entries:
        reference = _ended(task, state, REFERENCES, entry.name)
        if reference is None:
            continue
        if reference.failure is not None:
            words = f"the reference of {entry.name}: {reference.failure.evidence}"
            found[entry.name] = Failure("environment", "reference", words)
            continue
        own = _ended(task, state, KIND, entry.name)
        if own is not None:
            found[entry.name] = own.failure
    return found


def _ended(task: Task, state: TuneState, stage: str, name: str) -> Checked | None:
    unit = state.done(task.purpose(stage, task.targets[0]))
    if unit is None:
        return None
    mark = f"{name}."
    steps = [replace(s, step=s.step.removeprefix(mark)) for s in unit.steps
             if s.step.startswith(mark)]  # fmt: skip
    return checked(steps)


class _Kernels:
    def plan(self, task: Task, state: TuneState, target: Target) -> Plan | None:
        """None also where the node has no compiler, or no reference passes: `close` says so."""
        asked = Asked.of(task)
        probe = state.done(task.purpose("probe", target))
        if probe is None:
            return probe_unit(task, target, probe_spec(("software",), False, asked.folder))
        tools = _tools(task, probe)
        if isinstance(tools, str):
            return None
        for stage in (REFERENCES, KIND):
            rows = _rows(task, state, stage, tools)
            if rows and state.done(task.purpose(stage, target)) is None:
                spec = _spec(rows, tools.modules, state.settings.python)
                resources = replace(target.resources, walltime_s=spec["budget_s"] + _MARGIN_S)
                return Plan("build", task.purpose(stage, target), resources, spec)
        return None

    def files(self, task: Task, state: TuneState, unit: Unit) -> dict[str, str]:
        """A folder for each entry, as a unit of code generation has it."""
        entries = {entry.name: entry for entry in Asked.of(task).entries}
        is_reference = unit.purpose.startswith(REFERENCES)
        files: dict[str, str] = {}
        for name, row in unit.spec.get("attempts", {}).items():
            source = _source(entries[name], is_reference)
            own = making.attempt_files(entries[name].task, source, row)
            files |= {f"{name}/{path}": text for path, text in own.items()}
        return files

    def close(self, task: Task, state: TuneState) -> tune.Close:
        target = task.targets[0]
        probe = state.done(task.purpose("probe", target))
        if probe is not None and isinstance(tools := _tools(task, probe), str):
            return tune.Close("failed", tools, 3)
        found = verdicts(task, state)
        if not found:
            return close(task, state, ("probe", REFERENCES, KIND), JUDGED)
        passed = sum(failure is None for failure in found.values())
        return tune.Close(JUDGED, f"{passed} of {len(found)} kernels pass the gate", 0)


KERNELS = _Kernels()


_Rows = Mapping[str, tuple[TaskFile, dict[str, Any]]]


def _rows(task: Task, state: TuneState, stage: str, tools: Tools) -> _Rows:
    """Name -> its task and attempt.json, of what can be built in this stage."""
    built = state.done(task.purpose(REFERENCES, task.targets[0]))
    found = {}
    for entry in Asked.of(task).entries:
        reference = None
        if stage == KIND:
            ended = _ended(task, state, REFERENCES, entry.name)
            if built is None or ended is None or ended.failure is not None:
                continue
            folder = f"../../{built.name}/{entry.name}/build"
            reference = {"folder": folder, "sha256": ended.digests, "harness": True}
        source = _source(entry, stage == REFERENCES)
        found[entry.name] = entry.task, making.attempt_row(entry.task, tools, source, reference)
    return found


def _source(entry: Entry, is_reference: bool) -> Source:
    return Source(_LANGUAGE, {_FILE: entry.reference if is_reference else entry.source})


def _tools(task: Task, probe: Unit) -> Tools | str:
    """With what this node builds; in words why it cannot."""
    facts = probe.facts or {}
    asked = Asked.of(task)
    software = parse_software(facts.get("parts", {}).get("software", {}))
    try:
        return choose_tools(asked.entries[0].task, software, parse_machine(facts), asked.compiler)
    except UsageError as error:
        return str(error)


def _spec(rows: _Rows, modules: Sequence[str], python: str) -> dict[str, Any]:
    """The unit's spec (contract of steps.py): of each entry a stage needs the one before it."""
    steps, budget_s = [], _STEP_S
    for name, (task, _) in rows.items():
        check_s = task.budget.seconds + _STEP_S
        budget_s += check_s + _STEP_S
        for index, stage in enumerate(STAGES):
            step: dict[str, Any] = {
                "id": f"{name}.{stage}",
                "cwd": name,
                "argv": [python, "drive.py", stage],
                "modules": list(modules),
                "timeout_s": check_s if stage == "check" else _STEP_S,
                "keep_bytes": _KEEP_BYTES,
                "needs": [f"{name}.{STAGES[index - 1]}"] if index else [],
            }
            steps.append(step)
    attempts = {name: row for name, (_, row) in rows.items()}
    return {"schema": 1, "steps": steps, "jobs": 1, "budget_s": budget_s, "attempts": attempts}
