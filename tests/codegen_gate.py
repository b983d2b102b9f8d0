"""The gate of a code generation as a unit runs it: a source goes through the stages one by one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcagent.codegen import forge
from hpcagent.codegen.attempt import (
    STAGES,
    Source,
    attempt_files,
    attempt_row,
    first_source,
    measured_row,
)
from hpcagent.codegen.taskfile import TaskFile, judge_language, parse_task
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


class Gate:
    """A task with its reference built, in a folder of its own."""

    def __init__(
        self, folder: Path, task_file: Path, machine: Any,
        changed: Callable[[TaskFile], TaskFile] = lambda task: task,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.task: TaskFile = changed(parse_task(load_yaml(task_file)))
        self.tools = tools(machine, self.task.parallel == "mpi")
        text = task_file.with_name(self.task.judge).read_text(encoding="utf-8")
        verdict = self._pass("reference", first_source(self.task, text), None, STAGES)
        assert not verdict.kind, verdict
        self.told = verdict.lines[-1]
        build = folder / "reference" / forge.BUILD
        digests = json.loads((build / forge.DIGESTS).read_text())
        self.reference = {"folder": str(build), "sha256": digests}

    def attempt(self, name: str, source: Source, without: tuple[str, ...] = ()) -> Verdict:
        """The stages of an attempt, but for some."""
        stages = tuple(stage for stage in STAGES if stage not in without)
        same = judge_language(self.task) == source.language
        return self._pass(name, source, {**self.reference, "harness": same}, stages)

    def _pass(
        self,
        name: str,
        source: Source,
        reference: Mapping[str, Any] | None,
        stages: tuple[str, ...],
    ) -> Verdict:
        unit = self.folder / name
        row = attempt_row(self.task, self.tools, source, reference)
        for path, text in attempt_files(self.task, source, row).items():
            (unit / path).parent.mkdir(parents=True, exist_ok=True)
            (unit / path).write_text(text, encoding="utf-8")
        lines: list[Mapping[str, Any]] = []
        for stage in stages:
            line = self._drive(unit, stage)
            lines.append(line)
            if not line["ok"]:
                return Verdict(stage, line["kind"], line["evidence"], tuple(lines))
        return Verdict("", "", "", tuple(lines))

    def _drive(self, unit: Path, *words: str) -> Mapping[str, Any]:
        command = [sys.executable, "drive.py", *words]
        ended = subprocess.run(command, cwd=unit, capture_output=True, text=True, timeout=180)
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
        ended = subprocess.run(command, cwd=unit, capture_output=True, text=True, timeout=180)
        if ended.returncode == 0:
            return Verdict("", "", ended.stdout, ())
        problem = json.loads(ended.stderr.partition("drive: ")[2].splitlines()[0])
        return Verdict("measure", problem["kind"], problem["evidence"], ())
