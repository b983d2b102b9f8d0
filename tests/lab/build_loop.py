"""The loop of a build without a batch system: its own plans, decisions and files; real units."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hpcagent.records import Event, JobState, Resources
from hpcagent.study import tune
from hpcagent.study.build_task import BUILD, Built, outcome
from hpcagent.study.build_wish import Wish
from hpcagent.study.collecting import Collected
from hpcagent.study.durable import utc_now
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState, fold
from hpcagent.study.task_plan import Target, Task, next_step
from hpcagent.study.units import unit_files
from hpcagent.toolchain.archive import inspect_source
from hpcagent.toolchain.program import Program
from hpcagent.toolchain.stepruns import parse_steps

SETTINGS = TuneSettings("", 1, "slurm", "surrogate", 0, 0)
_TURNS = 20


def program_wish(
    folder: Path, files: Mapping[str, str], program: Mapping[str, Any], **more: Any
) -> Wish:
    """A user's program of these files, to be built below `folder`."""
    source = folder / "source"
    source.mkdir()
    for name, text in files.items():
        (source / name).write_text(text)
    checked = Program.model_validate({"name": "prog", "sources": list(files), **program})
    found = inspect_source(source, "", frozenset(checked.sources))
    row = {"path": found.path, "sha256": found.sha256}
    fields = {"compiler": "", "modules": (), **more}
    return Wish("program", checked.name, row, {}, store=str(folder / "store"),
                program=checked.model_dump(), **fields)  # fmt: skip


@dataclass
class Loop:
    """One target. `env` is what the jobs see; memory is handed on as Slurm does, in MiB."""

    folder: Path
    wish: Wish
    facts: Mapping[str, Any]
    env: Mapping[str, str]
    memory_bytes: int | None = None
    open_files: int = 0
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        asked = Resources(3600, partition="here", cpus_per_task=2, memory_bytes=self.memory_bytes)
        self.target = Target("here", asked)
        task = Task("build", (self.target,), self.wish.to_json())
        opened = {"version": "1", "settings": SETTINGS.to_json(), "task": task.to_json()}
        self._add("run_opened", opened)

    @property
    def state(self) -> TuneState:
        return fold(self.events)

    @property
    def decisions(self) -> list[str]:
        """The reasons of the repairs, in order."""
        rows = [e.data for e in self.events if e.type == "decision"]
        return [row["reason"] for row in rows if row["what"].startswith("repair")]

    def run(self) -> Built:
        for _ in range(_TURNS):
            state = self.state
            task = Task.of(state)
            match next_step(BUILD, task, state):
                case tune.Submit(plan):
                    self._unit(task, plan)
                case tune.Decide(what, data):
                    self._add("decision", {"what": what, **data})
                case tune.Close():
                    return outcome(task, state, self.target)
                case step:
                    raise AssertionError(step)
        raise AssertionError(f"no end after {_TURNS} turns: {self.decisions}")

    def _unit(self, task: Task, plan: Any) -> None:
        name = f"u{len(self.events)}"
        self._add("unit_intent", {"unit": name, "kind": plan.kind, "purpose": plan.purpose,
                                  "attempt": 1, "resources": asdict(plan.resources),
                                  "spec": dict(plan.spec)})  # fmt: skip
        unit = self.state.units[-1]
        self._add("unit_submitted", {"unit": name, "job_id": "1"})
        if plan.kind == "probe":
            self._add("facts", {"unit": name, "raw": self.facts})
            self._ended(unit)
            return
        folder = self.folder / "work" / name
        files = unit_files(None, plan, name) | BUILD.files(task, self.state, unit)
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        memory = plan.resources.memory_bytes
        env = {**self.env, **({"SLURM_MEM_PER_NODE": str(memory >> 20)} if memory else {})}
        limit = f"ulimit -S -n {self.open_files}; " if self.open_files else ""
        words = ["bash", "-c", f'{limit}exec "$@"', "job", sys.executable, "steps.py", "spec.json"]
        subprocess.run(words, cwd=folder, env=env, check=True, timeout=600)
        self._ended(unit, steps=parse_steps((folder / "result.jsonl").read_text()))

    def _ended(self, unit: Any, **more: Any) -> None:
        collected = Collected(JobState.COMPLETED, None, **more, ran_s=1.0)
        self._add("unit_result", collected.to_json(unit, utc_now()))

    def _add(self, kind: str, data: dict[str, Any]) -> None:
        seq = len(self.events) + 1
        stored = json.loads(json.dumps(data))
        self.events.append(
            Event(seq, f"2026-01-01T00:{seq // 60:02d}:{seq % 60:02d}Z", kind, stored)
        )
