"""The kernels of a qualification, from a model behind a server through the real gate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from openai_server import Server, serving

from hpcagent.cli.kernelgate import Gate
from hpcagent.cli.main import group
from hpcagent.llm.qualify.kernel import kernels
from hpcagent.records import Message, Resources
from hpcagent.study.kernels_task import KERNELS, KIND, Asked, entry_of
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Target, Task

HERE = Target("here", Resources(walltime_s=60))
ROWS = {row.name: row for row in kernels()}
WRONG = ROWS["dot"].source.replace("< n", "+ 1 < n")


def answer(messages: list[Message], schema: Any, tokens: int, seed: int) -> str:
    """Right for axpy, wrong for dot, and prose for all others."""
    row = next(row for row in ROWS.values() if row.prototype in messages[-1].text)
    sources = {"axpy": row.source, "dot": WRONG}
    return f"```c\n{sources[row.name]}```" if row.name in sources else "I would use a loop."


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPCAGENT_QUEUE", str(tmp_path / "queue"))
    monkeypatch.setenv("HPCAGENT_NODE_LOCK", str(tmp_path / "lock"))
    with serving(Server(answer)) as served:
        (tmp_path / "hpcagent.toml").write_text(f'[models.codegen]\nendpoint = "{served.url}"\n')
        yield served


def qualify(*words: str) -> Result:
    asked = ["models", "qualify", "codegen", "--only", "kernel", *words]
    return CliRunner().invoke(group, asked, standalone_mode=False)


@pytest.mark.toolchain
def test_kernels_are_judged_by_the_gate_and_told_with_their_reasons(
    server: Server,
) -> None:
    done = qualify("--json")
    assert done.exception is None, done.output
    (score,) = json.loads(done.stdout)["scores"]
    assert (score["mean"], score["valid"], score["chance"]) == (0.125, 2, 0.0)
    assert (round(score["low"], 3), round(score["high"], 3)) == (0.003, 0.527)
    words = {one["case"]: one["words"] for one in score["outcomes"]}
    assert words["axpy"] == ""
    assert words["dot"].startswith("numerics.wrong_result: instrumented: case n=1: result[0] is")
    assert words["imax"] == "no answer of the form asked for"

    again = qualify("--json")
    assert json.loads(again.stdout) == json.loads(done.stdout)
    assert "kernels are built" not in again.stderr
    assert len(server.requests) == 8  # nothing was asked twice


def state(task: Task, facts: dict[str, Any]) -> TuneState:
    """After a probe that found this."""
    probe = Unit("u1", "probe", task.purpose("probe", HERE), 1, HERE.resources, {}, "",
                 finished=True, facts=facts)  # fmt: skip
    settings = TuneSettings("", 1, "local", "rank", 0, 0, "python3")
    return TuneState(settings, "", "0", (probe,), task=task.to_json())


def test_a_node_without_a_compiler_ends_the_run_and_says_so() -> None:
    asked = Asked((entry_of(ROWS["axpy"], ROWS["axpy"].source),))
    task = Task(KIND, (HERE,), asked.to_json())
    known = state(task, {"parts": {"software": {}}})
    assert KERNELS.plan(task, known, HERE) is None
    end = KERNELS.close(task, known)
    assert (end.outcome, end.exit_code) == ("failed", 3)
    assert "compiler" in end.text


def test_why_kernels_could_not_be_judged_is_on_the_card(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gate, "judge", lambda self, answers: "there is no C compiler here")
    done = qualify()
    assert done.exception is None, done.output
    assert "codegen      not run: there is no C compiler here" in done.stdout
