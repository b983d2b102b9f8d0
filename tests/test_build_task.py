"""`hpcagent build` as a run: what it asks a node, what it submits, how it ends and what it says."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hpcagent.cli.main import group
from hpcagent.errors import HpcagentError, RunFailed
from hpcagent.records import Event, Failure, JobState, Resources
from hpcagent.report.build_text import build_lines
from hpcagent.study import tune
from hpcagent.study.build_summary import summarise_build
from hpcagent.study.build_task import BUILD, outcome
from hpcagent.study.build_wish import Wish, recipe_of
from hpcagent.study.collecting import Collected
from hpcagent.study.durable import utc_now
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState, fold
from hpcagent.study.task_plan import Target, Task, next_step
from hpcagent.toolchain.stepruns import StepRun

SETTINGS = TuneSettings("", 1, "slurm", "surrogate", 0, 0)
HERE = Target("new", Resources(60, partition="new", cpus_per_task=8))
SOURCE = {"path": "/src/OpenBLAS-0.3.28.tar.gz", "sha256": "ab" * 32, "version": "0.3.28",
          "targets": [], "lapack": ["fortran"]}  # fmt: skip
WISH = Wish("library", "openblas", SOURCE, {"target": "HASWELL"}, "", (), "/sw/builds", {})
MACHINE = json.loads(
    (Path(__file__).parent / "fixtures/probe/recorded-debian12-node1-icelake.json").read_text()
)


def found(*compilers: tuple[str, str]) -> dict[str, Any]:
    """Facts of a node that has these compilers (command, language), as a probe collects them."""
    said = "{} (GCC) 12.2.0\nCopyright (C) 2022 Free Software Foundation, Inc.\n"
    rows = [
        {
            "command": command,
            "language": language,
            "path": f"/usr/bin/{command}",
            "hops": [],
            "modules": [],
            "calls": {"version": {"exit": 0, "stdout": said.format(command), "stderr": ""}},
        }
        for command, language in compilers
    ]
    return {**MACHINE, "parts": {"software": {"compilers": rows}}}


class Story:
    """A journal in memory."""

    def __init__(self, wish: Wish = WISH, targets: tuple[Target, ...] = (HERE,)) -> None:
        self.task = Task("build", targets, wish.to_json())
        self.events: list[Event] = []
        opened = {"version": "1", "settings": SETTINGS.to_json(), "task": self.task.to_json()}
        self.add("run_opened", opened)

    def add(self, kind: str, data: dict[str, Any]) -> None:
        seq = len(self.events) + 1
        stored = json.loads(json.dumps(data))
        self.events.append(Event(seq, f"2026-01-01T00:00:{seq:02d}Z", kind, stored))

    @property
    def state(self) -> TuneState:
        return fold(self.events)

    def step(self) -> tune.Step:
        return next_step(BUILD, Task.of(self.state), self.state)

    def submit(self) -> str:
        step = self.step()
        assert isinstance(step, tune.Submit), step
        plan, name = step.plan, f"u{len(self.events)}"
        self.add("unit_intent", {"unit": name, "kind": plan.kind, "purpose": plan.purpose,
                                 "attempt": 1, "resources": asdict(plan.resources),
                                 "spec": plan.spec})  # fmt: skip
        self.add("unit_submitted", {"unit": name, "job_id": "1"})
        return name

    def end(self, name: str, failure: Failure | None = None, **more: Any) -> None:
        unit = next(u for u in self.state.units if u.name == name)
        collected = Collected(JobState.COMPLETED, failure, **more, ran_s=1.0)
        self.add("unit_result", collected.to_json(unit, utc_now()))

    def probed(self, facts: dict[str, Any]) -> None:
        name = self.submit()
        self.add("facts", {"unit": name, "raw": facts})
        self.end(name)

    def close(self) -> tune.Close:
        step = self.step()
        assert isinstance(step, tune.Close), step
        return step


BOTH = found(("gcc", "c"), ("gfortran", "fortran"))


def test_a_node_is_asked_and_then_builds_with_its_own_compilers() -> None:
    story = Story()
    assert story.step().plan.purpose == "probe-new"  # type: ignore[union-attr]
    story.probed(BOTH)
    name = story.submit()
    unit = story.state.units[-1]
    assert (unit.purpose, unit.kind, unit.resources.partition) == ("build-new", "build", "new")
    steps = [row["id"] for row in unit.spec["steps"]]
    assert steps == ["absent", "unpack", "build", "install", "check", "publish"]
    assert "-j" in " ".join(unit.spec["steps"][2]["argv"])
    task, state = Task.of(story.state), story.state
    files = BUILD.files(task, state, unit)
    assert files == BUILD.files(task, state, unit)
    assert {"Makefile", "check.c", "publish.json", "unpack.py", "publish.py"} <= set(files)
    assert "CC=/usr/bin/gcc" in files["Makefile"]
    assert "TARGET=HASWELL" in files["Makefile"]
    story.end(name, steps=tuple(StepRun(step, "ok", 0) for step in steps))
    end = story.close()
    assert (end.outcome, end.exit_code) == ("built", 0)
    assert end.text == "/sw/builds/" + recipe_of(WISH, BOTH).folder


def test_what_is_there_already_is_found_and_not_called_a_failure() -> None:
    story = Story()
    story.probed(BOTH)
    rows = [StepRun("absent", "failed", 10), StepRun("unpack", "skipped"),
            StepRun("publish", "skipped")]  # fmt: skip
    story.end(story.submit(), steps=tuple(rows))
    assert (story.close().outcome, story.close().exit_code) == ("found", 0)
    assert outcome(story.task, story.state, HERE).state == "found"


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (StepRun("build", "failed", 2, output="cc1: all\nmake: *** Error 2\n", log="logs/b.log"),
         "step build: exit code 2: make: *** Error 2"),
        (StepRun("check", "signal", signal=4, log="logs/check.log"), "step check: signal 4"),
        (StepRun("unpack", "timeout", message="over after 900 s"), "step unpack: over after 900 s"),
    ],
)  # fmt: skip
def test_a_step_that_fails_is_told_with_its_last_line_and_its_log(run: StepRun, words: str) -> None:
    story = Story()
    story.probed(BOTH)
    story.end(story.submit(), steps=(StepRun("absent", "ok", 0), run, StepRun("x", "skipped")))
    end = story.close()
    assert (end.outcome, end.exit_code) == ("failed", 7)
    assert end.text == f"new: {words}"
    lines = build_lines(summarise_build(story.task, story.state, HERE), 80, "/runs/r")
    assert max(map(len, lines)) <= 80
    assert not run.log or f"{run.log}" in " ".join(lines)


def test_what_a_node_cannot_build_is_a_usage_error_before_any_job_builds() -> None:
    story = Story()
    story.probed(found(("gcc", "c")))
    end = story.close()
    assert (end.outcome, end.exit_code) == ("failed", 2)
    assert "no fortran compiler of gcc there; compilers are: gcc (c)" in end.text


def test_one_target_that_fails_leaves_the_other_its_build() -> None:
    old = Target("old", Resources(60, partition="old", cpus_per_task=2))
    story = Story(targets=(HERE, old))
    first, second = story.submit(), story.submit()
    for name, facts in ((first, BOTH), (second, found(("gcc", "c")))):
        story.add("facts", {"unit": name, "raw": facts})
        story.end(name)
    story.end(story.submit(), steps=(StepRun("publish", "ok", 0),))
    end = story.close()
    assert (end.outcome, end.exit_code) == ("built", 7)
    assert "old: no fortran compiler" in end.text


def test_a_journal_that_was_changed_by_hand_is_named() -> None:
    story = Story()
    story.events[0].data["task"]["request"].pop("store")
    with pytest.raises(RunFailed, match="the journal is damaged: what to build is not told"):
        story.step()


# --- the command ---------------------------------------------------------------------------------


def call(*words: str) -> Result:
    return CliRunner().invoke(group, ["build", *words])


def openblas_like(folder: Path) -> Path:
    (folder / "lapack-netlib" / "SRC").mkdir(parents=True)
    (folder / "Makefile.rule").write_text("VERSION = 0.3.28\n")
    (folder / "TargetList.txt").write_text("HASWELL\nZEN\n")
    (folder / "lapack-netlib" / "SRC" / "dgetrf.f").write_text("      end\n")
    return folder


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "say what to build"),
        (["--lib", "openblas", "--app", "x"], "exclude each other"),
        (["--lib", "blis", "--source", "SRC"], "cannot be built from source; known: openblas"),
        (["--lib", "openblas"], "--source is missing"),
        (["--lib", "openblas", "--source", "SRC", "--set", "threading"], "write NAME=VALUE"),
        (["--lib", "openblas", "--source", "SRC", "--set", "threading=x"], "choose one of serial"),
        (["--lib", "openblas", "--source", "SRC", "--set", "lapack=c"], "no LAPACK for lapack=c"),
        (["--lib", "openblas", "--source", "SRC", "--set", "target=ZEN4"], "choose one of GENERIC"),
        (["--lib", "openblas", "--source", "SRC", "--set", "target=NEHALEM"], "name an older one"),
        (["--lib", "openblas", "--source", "SRC", "--module", "a;b"], "not the name of a module"),
        (["--lib", "openblas", "--source", "SRC", "--store", "/a b"], "absolute path of letters"),
        (["--lib", "openblas", "--source", "SRC", "--sha256", "00"], "64 hexadecimal digits"),
        (["--lib", "openblas", "--source", "EMPTY"], "holds no files"),
        (["--app", "openblas", "--source", "SRC"], "describes no program"),
        (["--app", "APP", "--source", "SRC"], "has no main.c"),
        (["--app", "APP", "--source", "SRC", "--set", "mpi=pvm"], "mpi"),
    ],
)
def test_a_bad_request_is_refused_in_one_line(tmp_path: Path, words: list[str], error: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "app.yaml").write_text("name: solver\nsources: [main.c]\n")
    names = {"SRC": str(openblas_like(tmp_path / "src")), "EMPTY": str(tmp_path / "empty"),
             "APP": str(tmp_path / "app.yaml")}  # fmt: skip
    result = call(*(names.get(word, word) for word in words))
    assert isinstance(result.exception, HpcagentError)
    assert result.exception.exit_code == 2
    assert error in str(result.exception)
    assert "\n" not in str(result.exception)


def test_the_parameters_are_listed_with_their_meaning() -> None:
    result = call("--lib", "openblas", "--parameters")
    assert result.exit_code == 0
    assert "threading: threads of its own (pthreads)" in result.output
    assert "serial [pthreads] openmp" in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    said = json.loads(call("--lib", "openblas", "--parameters", "--json").output)
    assert said["name"] == "openblas"


def test_an_unknown_library_is_told_before_a_missing_source() -> None:
    done = CliRunner().invoke(group, ["build", "--lib", "nope"])
    assert "nope" in str(done.exception)
    assert "--source" not in str(done.exception)
