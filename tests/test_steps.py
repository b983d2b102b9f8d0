"""The in-job runner of builds and checks: order, limits, logs, and what it survives."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.measure import worker
from hpcagent.toolchain import steps

PYTHON = os.environ.get("HPCAGENT_TEST_PYTHON", sys.executable)


def step(name: str, script: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "argv": ["sh", "-c", script], "timeout_s": 20, **more}


class Unit:
    def __init__(self, path: Path, rows: Sequence[dict[str, Any]], **more: Any):
        self.path = path
        for module in (steps, worker):
            source = Path(str(module.__file__))
            (path / source.name).write_text(source.read_text())
        self.write(rows, **more)

    def write(self, rows: Sequence[dict[str, Any]], **more: Any) -> None:
        spec = {"schema": 1, "unit": "haabcdefghijkl", "budget_s": 60, "steps": list(rows), **more}
        (self.path / "spec.json").write_text(json.dumps(spec))

    def start(self) -> subprocess.Popen[str]:
        argv = [PYTHON, "steps.py", "spec.json"]
        return subprocess.Popen(argv, cwd=self.path, stderr=subprocess.PIPE, text=True)

    def run(self) -> tuple[int, str]:
        process = self.start()
        _, words = process.communicate(timeout=300)
        return process.returncode, words

    def lines(self) -> dict[str, dict[str, Any]]:
        text = (self.path / "result.jsonl").read_text()
        return {row["step"]: row for row in map(json.loads, text.splitlines())}

    def done(self) -> dict[str, Any]:
        return json.loads((self.path / "done.json").read_text())


def test_a_step_runs_when_what_it_needs_went_well(tmp_path: Path) -> None:
    unit = Unit(
        tmp_path,
        [
            step("compile", "echo cc; echo made > program", makes=["program"]),
            step("run", "cat program", needs=["compile"]),
            step("broken", "echo no >&2; exit 3"),
            step("after", "echo never", needs=["broken"]),
            step("after that", "echo never", needs=["after"]) | {"id": "later"},
            step("empty", "true", makes=["absent"]),
        ],
        jobs=2,
    )
    assert unit.run()[0] == 0
    lines = unit.lines()
    assert [lines[name]["status"] for name in ("compile", "run", "broken", "after", "later")] == [
        "ok", "ok", "failed", "skipped", "skipped",
    ]  # fmt: skip
    assert lines["run"]["output"] == "made\n"
    assert (lines["broken"]["exit"], lines["broken"]["output"]) == (3, "no\n")
    assert lines["empty"]["message"] == "it did not make absent"
    assert (tmp_path / lines["compile"]["log"]).read_text() == "cc\n"
    assert unit.done()["exit"] == 0 and "broken failed" in unit.done()["reason"]


def test_a_step_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    script = "sleep 300 & echo $! > child; sleep 300"
    unit = Unit(tmp_path, [step("hangs", script, timeout_s=0.5), step("next", "true")])
    assert unit.run()[0] == 0
    assert unit.lines()["hangs"]["status"] == "timeout"
    assert unit.lines()["next"]["status"] == "ok"
    child = int((tmp_path / "child").read_text())
    assert worker.start_ticks(child) is None


def test_signals_limits_and_what_cannot_start_are_told_apart(tmp_path: Path) -> None:
    rows = [
        step("crash", "kill -SEGV $$"),
        step("big", "head -c 100000 /dev/zero > big", limits={"file_bytes": 1000}),
        {"id": "absent", "argv": ["/no/such/program"], "timeout_s": 5},
        step("modules", "true", modules=["gcc/12"]),
    ]
    unit = Unit(tmp_path, rows)
    assert unit.run()[0] == 0
    lines = unit.lines()
    assert (lines["crash"]["status"], lines["crash"]["signal"]) == ("signal", signal.SIGSEGV)
    assert lines["big"]["status"] != "ok" and (tmp_path / "big").stat().st_size == 1000
    assert lines["absent"]["status"] == "unstartable"
    assert "no module system" in lines["modules"]["message"]


def test_a_module_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    init = tmp_path / "init.sh"
    init.write_text(
        'module() { [ "$2" = good ] && LOADEDMODULES=good/1 && export FROM=module; echo hello; }\n'
    )
    rows = [
        step("good", "echo $FROM", modules=["good"]),
        step("bad", "echo $FROM", modules=["bad"]),
    ]
    unit = Unit(tmp_path, rows, module_init=str(init))
    assert unit.run()[0] == 0
    assert unit.lines()["good"]["output"] == "hello\nmodule\n"
    assert unit.lines()["bad"]["message"] == "a module of bad could not be loaded"


@given(sizes=st.lists(st.integers(0, 40), max_size=8), keep=st.integers(1, 30))
def test_the_output_keeps_beginning_and_end(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], keep: int
) -> None:
    data = b"".join(bytes([97 + i % 26]) * size for i, size in enumerate(sizes))
    output = steps.Output(str(tmp_path_factory.mktemp("log") / "x.log"), keep)
    start = 0
    for size in sizes:
        output.write(data[start : start + size])
        start += size
    text = output.close()
    if len(data) <= 2 * keep:
        assert text.encode() == data
    else:
        assert text.encode().startswith(data[:keep]) and text.encode().endswith(data[-keep:])


def test_a_very_long_log_loses_its_middle(tmp_path: Path) -> None:
    script = f"echo first; head -c {2 * steps.LOG_BYTES} /dev/zero; echo last"
    unit = Unit(tmp_path, [step("flood", script)])
    assert unit.run()[0] == 0
    log = (tmp_path / "logs" / "flood.log").read_bytes()
    assert len(log) < steps.LOG_BYTES + 200_000
    assert log.startswith(b"first\n") and log.endswith(b"last\n") and b"bytes dropped" in log


def test_a_job_that_runs_again_goes_on(tmp_path: Path) -> None:
    rows = [
        step("one", "echo one >> trace"),
        step("two", "echo two >> trace; test -e go || kill -TERM $PPID; sleep 5"),
        step("three", "echo three >> trace", needs=["two"]),
    ]
    unit = Unit(tmp_path, rows)
    code, _ = unit.run()
    assert code == 128 + signal.SIGTERM
    assert unit.done()["exit"] == code
    (tmp_path / "done.json").unlink()
    (tmp_path / "go").touch()
    unit.write([rows[0], step("two", "echo two >> trace"), rows[2]])
    assert unit.run()[0] == 0
    assert (tmp_path / "trace").read_text().split() == ["one", "two", "two", "three"]


def test_a_doubled_job_leaves_at_once(tmp_path: Path) -> None:
    unit = Unit(tmp_path, [step("slow", "echo x >> trace; sleep 3")])
    first = unit.start()
    while not (tmp_path / "trace").exists():
        time.sleep(0.05)
    code, words = unit.run()
    assert code == 0 and "nothing to do" in words
    first.communicate(timeout=300)
    assert (tmp_path / "trace").read_text() == "x\n"


def test_a_timed_step_runs_beside_nothing(tmp_path: Path) -> None:
    busy = "test ! -e busy || echo overlap >> trace; touch busy; sleep 0.3; rm busy"
    rows = [step("a", "sleep 0.3"), step("b", "sleep 0.3"), step("alone", busy, alone=True),
            step("c", busy, alone=True)]  # fmt: skip
    unit = Unit(tmp_path, rows, jobs=4)
    assert unit.run()[0] == 0
    assert not (tmp_path / "trace").exists()
    assert {row["status"] for row in unit.lines().values()} == {"ok"}


def test_the_budget_ends_what_runs_and_skips_the_rest(tmp_path: Path) -> None:
    unit = Unit(tmp_path, [step("a", "sleep 30"), step("b", "true", needs=["a"])], budget_s=0.5)
    assert unit.run()[0] == 0
    assert [unit.lines()[name]["status"] for name in "ab"] == ["timeout", "skipped"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([step("a", "true", needs=["b"])], "needs what does not come before it"),
        ([step("a", "true"), step("a", "true")], "stands there twice"),
        ([step("a", "true", modules=["$(touch x)"])], "is not the name of a module"),
        ([step("../a", "true")], "no proper id"),
        ([{"id": "a", "argv": ["true"]}], "'timeout_s' is missing"),
        ([step("a", "true", limits={"luck": 1})], "limits are"),
    ],
)
def test_a_bad_spec_is_told_in_one_line(
    tmp_path: Path, rows: list[dict[str, Any]], words: str
) -> None:
    code, said = Unit(tmp_path, rows).run()
    assert code == worker.EXIT_SPEC
    assert words in said and said.count("\n") == 1


def test_it_keeps_to_python_3_6() -> None:
    ast.parse(Path(str(steps.__file__)).read_text(), feature_version=(3, 6))
