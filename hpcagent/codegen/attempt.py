"""From a source to a unit: the steps of an attempt, and the files that they need. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hpcagent.codegen import (
    checkers,
    counters,
    drive,
    forge,
    inputs,
    objects,
    places,
    programs,
    quarantine,
    screen,
    session,
    signature,
    tokens,
    trial,
)
from hpcagent.codegen.allowed import allowed_calls
from hpcagent.codegen.cases import check_rows, measure_rows
from hpcagent.codegen.rules import rules
from hpcagent.codegen.taskfields import Argument
from hpcagent.codegen.taskfile import PYTHON, TaskFile, judge_language
from hpcagent.codegen.tools import (
    Tools,
    checked_flags,
    harness_flags,
    kernel_flags,
    launcher,
    link_flags,
    stirred_flags,
)
from hpcagent.records import Machine
from hpcagent.toolchain.cellspec import cell_files

STAGES = ("screen", "compile", "checked", "symbols", "link", "check")
# Where it is not the stage before: two compilations go side by side.
_NEEDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"checked": ("screen",), "symbols": ("compile",), "link": ("symbols", "checked")}
)
_KEEP_BYTES = 24000
_COMPILE_S = 120
_REPLY_S = 30
_LEAST_WALL_S = 5.0
_MOST_THREADS = 4
_LAUNCH = "cells/launch.sh"
_JUDGE = "judge"  # the folder of a checker's source


@dataclass(frozen=True)
class Source:
    """Files by name, in a language, with the build parameters that were chosen (others: the
    default)."""

    language: str
    files: Mapping[str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)


def reference_source(task: TaskFile, text: str) -> Source:
    """What the first unit builds: the reference, as an attempt, or the checker."""
    language = judge_language(task)
    if task.checker:
        return Source(language, {task.checker: text})
    end = task.reference[task.reference.rindex(".") :]
    return Source(language, {f"{task.stem}{end}": text})


def chosen(task: TaskFile, source: Source) -> dict[str, str]:
    """Every build parameter with its value."""
    return {name: source.parameters.get(name, values[0]) for name, values in task.choices().items()}


def attempt_spec(
    task: TaskFile, tools: Tools, source: Source, reference: Mapping[str, Any] | None, python: str
) -> dict[str, Any]:
    """The unit's spec (contract of steps.py): each stage needs the one before it.

    `reference` is what to compare with ({folder, sha256, harness: whether its harness is this one's
    too}); None: this is the reference itself.
    """
    budget_s = task.budget.seconds
    steps = []
    for index, name in enumerate(STAGES):
        step: dict[str, Any] = {
            "id": name,
            "argv": [python, "drive.py", name],
            "modules": list(tools.modules),
            "timeout_s": budget_s + 30 if name == "check" else 3 * _COMPILE_S,
            "keep_bytes": _KEEP_BYTES,
            "needs": list(_NEEDS.get(name, STAGES[index - 1 : index] if index else ())),
        }
        steps.append(step)
    return {
        "schema": 1,
        "steps": steps,
        "jobs": min(2, max(1, tools.machine.usable_cores)),
        "budget_s": budget_s + 4 * _COMPILE_S,
        "attempt": attempt_row(task, tools, source, reference),
    }


def attempt_row(
    task: TaskFile, tools: Tools, source: Source, reference: Mapping[str, Any] | None
) -> dict[str, Any]:
    """attempt.json, as drive.py reads it."""
    judges = task.checker and reference is None  # no attempt, but what judges them
    language = "c" if judges else source.language
    values = chosen(task, source)
    return {
        "schema": 1,
        "function": task.function,
        "language": language,
        "screen": rules(bool(task.program)),
        "kernel": [tools.driver(language)],
        "kernel_files": [] if judges else sorted(source.files),
        "kernel_flags": kernel_flags(task, tools, language, values),
        "checked_flags": checked_flags(tools, language),
        "harness_flags": harness_flags(tools),
        "stirred_flags": stirred_flags(task, tools, language),
        "compile_env": tools.environment(language),
        "compile_limits": _compile_limits(),
        "harness": [tools.driver("c"), *_harness_flags(task, tools)],
        "harness_c": [tools.compilers["c"].path],
        "link": [tools.driver(language)],
        "link_flags": link_flags(task, tools, language),
        "libraries": [f"-l{name}" for name in task.libraries],
        "allowed": allowed_calls(language, task.parallel, task.libraries, bool(task.program)),
        "cases": check_rows(task, _digest(source)),
        "check_s": task.budget.seconds,
        "reference": dict(reference) if reference is not None else None,
        **run_row(task, tools),
    }


def _harness_flags(task: TaskFile, tools: Tools) -> list[str]:
    """Of what is ours: a harness, or the program that does nothing but start."""
    mpi = ["-DHPCAGENT_MPI"] if task.parallel == "mpi" else []
    return [*mpi, *link_flags(task, tools, "c")]


def _checker_row(task: TaskFile, tools: Tools) -> dict[str, Any] | None:
    """How the checker is built, and what is made of it."""
    if not task.checker:
        return None
    language = judge_language(task)
    python = language == PYTHON
    return {
        "file": f"{_JUDGE}/{task.checker}",
        "python": python,
        "program": forge.CHECKER + (".py" if python else ""),
        "build": [] if python else [tools.compilers[language].path],
    }


def _digest(source: Source) -> str:
    text = json.dumps([sorted(source.files.items()), sorted(source.parameters.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def run_row(task: TaskFile, tools: Tools) -> dict[str, Any]:
    """What every run of a program needs to know, in an attempt as in a measurement."""
    return {
        "launcher": launcher(tools),
        "ranks": list(task.ranks),
        "threads": threads(task, tools),
        "run_env": _run_environment(task, tools.machine),
        "run_limits": {
            "wall_s": _wall_s(task),
            "cpu_s": (task.budget.seconds + 60) * max(1, tools.machine.usable_cores),
            "memory_bytes": math.floor(task.budget.memory_gib * 2**30),
            "output_bytes": 1 << 20,
            "file_bytes": 4 << 30,
            "processes": 64 + 16 * (max(task.ranks, default=1)),
        },
        "tolerance": task.tolerance.model_dump() if task.tolerance else None,
        "program": task.program,
        "checker": _checker_row(task, tools),
        "interface": [_interface_row(argument) for argument in task.arguments],
        "reply_s": min(_REPLY_S, task.budget.seconds),
    }


def _wall_s(task: TaskFile) -> float:
    """A harness answers many requests and has a limit for each; a program's process is one run."""
    seconds = task.budget.seconds
    return max(_LEAST_WALL_S, seconds / 4) if task.program else seconds + 60


def _interface_row(argument: Argument) -> dict[str, Any]:
    """An argument as inputs.py takes it."""
    values = argument.values
    return {
        "name": argument.name,
        "type": argument.type,
        "array": bool(argument.shape),
        "intent": argument.intent,
        "stdout": argument.stdout,
        "kind": values.kind,
        "low": values.low,
        "high": values.high,
        "offsets": values.offsets,
    }


def _run_environment(task: TaskFile, machine: Machine) -> dict[str, str]:
    """A library's threads are those that the task has; its kernels those for this processor.

    OpenBLAS takes its oldest kernels on an x86 model that it does not know (dynamic.c), so they are
    named: the reference and the candidate get the same.
    """
    env = {"OMP_DYNAMIC": "false"}
    if "openblas" not in task.libraries:
        return env
    env |= {} if task.parallel == "openmp" else {"OPENBLAS_NUM_THREADS": "1"}
    kernels = (("avx512f", "SkylakeX"), ("avx2", "Haswell"))
    core = next((name for feature, name in kernels if feature in machine.features), "")
    return env | ({"OPENBLAS_CORETYPE": core} if core else {})


def threads(task: TaskFile, tools: Tools) -> list[int]:
    """Numbers of OpenMP threads that are checked; the last one is measured."""
    if task.parallel != "openmp":
        return [1]
    most = max(1, tools.machine.usable_cores)
    return [*sorted({1, 3, min(most, _MOST_THREADS)} - {most}), most]


def measured_row(task: TaskFile, tools: Tools, reference: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a measurement's configurations that they share."""
    return {
        **run_row(task, tools),
        "cases": measure_rows(task),
        "repeats": task.repeats,
        "reference": dict(reference),
    }


def attempt_files(task: TaskFile, source: Source, row: Mapping[str, Any]) -> dict[str, str]:
    """The unit's files beside spec.json and steps.py."""
    place = forge.KERNEL if row["kernel_files"] else _JUDGE
    files = {f"{place}/{name}": text for name, text in source.files.items()}
    own = [signature.COMPARE, signature.STIR]
    if task.program:
        own.append(signature.STARTUP)
    else:
        files[f"{forge.KERNEL}/{signature.HEADER}"] = signature.header(task)
        files[signature.HARNESS] = signature.harness(task, source.language)
    files |= {name: signature.own_source(name) for name in own}
    files[drive.ATTEMPT] = json.dumps(row, indent=1, sort_keys=True) + "\n"
    return files | driver_files()


def driver_files() -> dict[str, str]:
    """drive.py and what lies beside it."""
    modules = (
        drive, counters, forge, trial, programs, places, checkers, inputs, session, screen, tokens,
        objects,
    )  # fmt: skip
    paths = [Path(str(module.__file__)) for module in modules]
    paths += [Path(str(quarantine.__file__)).with_name(name) for name in quarantine.PARTS]
    files = {path.name: path.read_text(encoding="utf-8") for path in paths}
    return files | {_LAUNCH: cell_files()[_LAUNCH]}


def _compile_limits() -> dict[str, float]:
    return {
        "wall_s": _COMPILE_S,
        "cpu_s": _COMPILE_S,
        "memory_bytes": 2 << 30,
        "output_bytes": 1 << 20,
        "file_bytes": 64 << 20,
        "processes": 32,
    }
