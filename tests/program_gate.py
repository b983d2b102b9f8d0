"""The gate as a unit runs it, stage by stage, for whole programs and for the shipped tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen_gate import tools

from hpcagent.codegen import forge
from hpcagent.codegen.attempt import (
    STAGES,
    Source,
    attempt_files,
    attempt_row,
    measured_row,
    reference_source,
)
from hpcagent.codegen.taskfile import TaskFile, judge_language, read_task


@dataclass(frozen=True)
class Verdict:
    """Where a source was stopped, and as what; stage "" and kind "": it passed. `told` is what the
    last stage printed."""

    stage: str
    kind: str
    evidence: str
    told: Mapping[str, Any]


class ProgramGate:
    """A task with its reference or checker built, in a folder of its own."""

    def __init__(
        self, folder: Path, task_file: Path, machine: Any,
        changed: Callable[[TaskFile], TaskFile] = lambda task: task,
    ) -> None:  # fmt: skip
        self.folder = folder
        task, text = read_task(task_file)
        self.task = changed(task)
        self.tools = tools(machine, task.parallel == "mpi")
        self.first = self._pass("first", reference_source(self.task, text), None, STAGES)
        build = folder / "first" / forge.BUILD
        same = judge_language(self.task) == self.task.language
        self.reference = {"folder": str(build), "sha256": digests(build), "harness": same}

    def attempt(self, name: str, text: str, without: tuple[str, ...] = ()) -> Verdict:
        """The stages of an attempt, but for some."""
        source = Source(self.task.language, {self.task.file_names[0]: text})
        stages = tuple(stage for stage in STAGES if stage not in without)
        return self._pass(name, source, self.reference, stages)

    def _pass(
        self, name: str, source: Source, reference: Mapping[str, Any] | None,
        stages: tuple[str, ...],
    ) -> Verdict:  # fmt: skip
        unit = self.folder / name
        row = attempt_row(self.task, self.tools, source, reference)
        for path, text in attempt_files(self.task, source, row).items():
            (unit / path).parent.mkdir(parents=True, exist_ok=True)
            (unit / path).write_text(text, encoding="utf-8")
        line: Mapping[str, Any] = {}
        for stage in stages:
            ended = driven(unit, stage)
            assert ended.returncode in (0, 1), ended.stderr
            line = json.loads(ended.stdout.splitlines()[-1])
            if not line["ok"]:
                return Verdict(stage, line["kind"], line["evidence"], line)
        return Verdict("", "", "", line)

    def measure(self, name: str) -> Verdict:
        """One measured process of an attempt that was linked; its figures are the evidence."""
        unit = self.folder / name
        build = unit / forge.BUILD
        spec = measured_row(self.task, self.tools, self.reference)
        config = {
            "spec": spec,
            "program": {"folder": str(build), "sha256": digests(build)},
            "ranks": max(self.task.ranks, default=0),
            "threads": spec["threads"][-1],
        }
        (unit / "config.json").write_text(json.dumps(config))
        ended = driven(unit, "measure", "config.json")
        if ended.returncode == 0:
            return Verdict("", "", ended.stdout, {})
        problem = json.loads(ended.stderr.partition("drive: ")[2].splitlines()[0])
        return Verdict("measure", problem["kind"], problem["evidence"], {})


def digests(build: Path) -> dict[str, str]:
    """Of what was linked; nothing where it did not come so far."""
    path = build / forge.DIGESTS
    return dict(json.loads(path.read_text())) if path.exists() else {}


def driven(unit: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "drive.py", *words]
    return subprocess.run(command, cwd=unit, capture_output=True, text=True, timeout=400)
