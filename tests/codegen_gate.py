"""The gate of a code generation as a unit runs it: a source goes through the stages one by one."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcagent.codegen import drive, forge
from hpcagent.codegen.attempt import (
    STAGES,
    Source,
    attempt_files,
    attempt_row,
    measured_row,
    reference_source,
)
from hpcagent.codegen.session import Problem
from hpcagent.codegen.taskfile import TaskFile, parse_task
from hpcagent.codegen.tools import Tools
from hpcagent.probe.software import CompilerFound, MpiFound
from hpcagent.yamlfile import load_yaml

COMMANDS = {"c": "gcc", "c++": "g++", "fortran": "gfortran"}
WRAPPERS = {"c": "mpicc.openmpi", "c++": "mpicxx.openmpi", "fortran": "mpifort.openmpi"}


@dataclass(frozen=True)
class Verdict:
    """Where a source was stopped, and as what; stage "" and kind "": it passed."""

    stage: str
    kind: str
    evidence: str
    lines: tuple[Mapping[str, Any], ...]


def tools(machine: Any, mpi: bool) -> Tools:
    compilers = {
        language: CompilerFound("gcc", language, command, shutil.which(command) or command, "12")
        for language, command in COMMANDS.items()
    }
    if not mpi:
        return Tools(compilers, None, (), machine)
    wrappers = {name: shutil.which(command) or command for name, command in WRAPPERS.items()}
    launcher = shutil.which("mpirun.openmpi") or "mpirun"
    found = MpiFound("openmpi", "4", "openmpi", wrappers, COMMANDS, launcher)
    return Tools(compilers, found, (), machine)


@dataclass
class Attempt:
    """A source in a folder of its own, and how far it has come."""

    unit: Path
    source: Source
    row: Mapping[str, Any]
    lines: dict[str, Mapping[str, Any]] = field(default_factory=dict)


class Gate:
    """A task with its reference built, in a folder of its own.

    `changes` are made to every attempt.json, `limits` of compilers put in place of the usual ones.
    Stages are functions of this process where no ranks are started, else processes.
    """

    def __init__(
        self,
        folder: Path,
        task_file: Path,
        machine: Any,
        limits: Mapping[str, float],
        changes: Mapping[str, Any],
    ) -> None:
        self.folder = folder
        self.task: TaskFile = parse_task(load_yaml(task_file))
        self.tools = tools(machine, self.task.parallel == "mpi")
        self.limits, self.changes = dict(limits), dict(changes)
        text = task_file.with_name(self.task.reference).read_text(encoding="utf-8")
        own = self.begin("reference", reference_source(self.task, text), None)
        verdict = self.go(own, STAGES[:-1])
        assert not verdict.kind, verdict
        build = folder / "reference" / forge.BUILD
        digests = json.loads((build / forge.DIGESTS).read_text())
        self.reference = {"folder": str(build), "sha256": digests}

    def attempt(self, name: str, source: Source, without: tuple[str, ...] = ()) -> Verdict:
        """The stages of an attempt, but for some."""
        stages = tuple(stage for stage in STAGES if stage not in without)
        return self.go(self.begin(name, source, self.reference), stages)

    def begin(self, name: str, source: Source, reference: Mapping[str, Any] | None) -> Attempt:
        unit = self.folder / name
        row = attempt_row(self.task, self.tools, source, reference)
        row |= dict(self.changes, compile_limits=row["compile_limits"] | self.limits)
        row = json.loads(json.dumps(row, sort_keys=True))  # as drive.py reads it
        for path, text in attempt_files(self.task, source, row).items():
            (unit / path).parent.mkdir(parents=True, exist_ok=True)
            (unit / path).write_text(text, encoding="utf-8")
        return Attempt(unit, source, row)

    def go(self, attempt: Attempt, stages: Iterable[str]) -> Verdict:
        """Stages one behind the other; what was done before is not done again."""
        for stage in stages:
            if stage not in attempt.lines:
                attempt.lines[stage] = self._drive(attempt, stage)
            line = attempt.lines[stage]
            if not line["ok"]:
                lines = tuple(attempt.lines.values())
                return Verdict(stage, line["kind"], line["evidence"], lines)
        return Verdict("", "", "", tuple(attempt.lines.values()))

    def _drive(self, attempt: Attempt, stage: str) -> Mapping[str, Any]:
        if self.task.parallel != "mpi":
            with contextlib.chdir(attempt.unit):
                try:
                    return dict(drive.STAGES[stage](attempt.row), stage=stage, ok=True)
                except Problem as problem:
                    return {"ok": False, "kind": problem.kind, "evidence": problem.evidence}
        command = [sys.executable, "drive.py", stage]
        ended = subprocess.run(
            command, cwd=attempt.unit, capture_output=True, text=True, timeout=300
        )
        assert ended.returncode in (0, 1), ended.stderr
        line: Mapping[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return line

    def measure(self, name: str) -> Verdict:
        """One measured process of an attempt that was linked."""
        unit = self.folder / name
        build = unit / forge.BUILD
        digests = json.loads((build / forge.DIGESTS).read_text())
        spec = measured_row(self.task, self.tools, self.reference)
        config = {
            "spec": spec,
            "program": {"folder": str(build), "sha256": digests},
            "ranks": max(self.task.ranks, default=0),
            "threads": spec["threads"][-1],
        }
        (unit / "config.json").write_text(json.dumps(config))
        command = [sys.executable, "drive.py", "measure", "config.json"]
        ended = subprocess.run(command, cwd=unit, capture_output=True, text=True, timeout=300)
        if ended.returncode == 0:
            return Verdict("", "", ended.stdout, ())
        problem = json.loads(ended.stderr.partition("drive: ")[2].splitlines()[0])
        return Verdict("measure", problem["kind"], problem["evidence"], ())
