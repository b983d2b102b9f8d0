"""`hpcagent codegen` as users run it: real compilers, the local queue, and a real Slurm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from doctor_scene import BARE
from lab.slurm_lab import Cluster
from mainjob import Bench, Inside, make_bench, until
from program_gate import ProgramGate

from hpcagent.cli.main import main

TASK = """\
schema: 1
name: sums
text: y[i] is the sum of the rows of a, for every column.
language: c
function: sums
arguments:
  - {name: rows, type: int}
  - {name: cols, type: int}
  - {name: a, type: double, shape: [rows, cols]}
  - {name: y, type: double, intent: out, shape: [cols]}
reference: reference.c
cases:
  check: [{rows: 0, cols: 3}, {rows: 5, cols: 1}, {rows: 33, cols: 7}]
  measure: {square: {rows: 700, cols: 701}}
tolerance: {relative: 1.0e-11, absolute: 1.0e-11}
metric: {unit: GFLOP/s, count: rows*cols}
repeats: 3
parameters: {march: [portable]}
budget: {seconds: 60, max_pairs: 3, confirm_pairs: 0}
"""
# It does everything ten times, so that what is better is so on a busy machine too.
REFERENCE = """\
#include "kernel.h"
void sums(int32_t rows, int32_t cols, const double *a, double *y)
{
    for (int64_t j = 0; j < cols; j++) {
        volatile double sum = 0.0;
        for (int again = 0; again < 10; again++) {
            sum = 0.0;
            for (int64_t i = 0; i < rows; i++)
                sum = sum + a[i * cols + j];
        }
        y[j] = sum;
    }
}
"""
FAST = """\
#include "kernel.h"
void sums(int32_t rows, int32_t cols, const double *a, double *y)
{
    for (int64_t j = 0; j < cols; j++)
        y[j] = 0.0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            y[j] += a[i * cols + j];
}
"""
NO_SEMICOLON = FAST.replace("= 0.0;", "= 0.0")
BEYOND = FAST.replace("for (int64_t j = 0; j < cols; j++)\n        y", "for (int64_t j = 0; j <= cols; j++)\n        y")  # fmt: skip  # noqa: E501
ONE_SHORT = FAST.replace("i < rows", "i + 1 < rows")


def answer(source: str, words: str = "") -> str:
    return f"{words}\n```c kernel.c\n{source}```\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "reference.c").write_text(REFERENCE)
    return Inside(tmp_path, make_bench(tmp_path).env)


def told(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    assert done.returncode == code, (done.returncode, done.stderr, done.stdout)
    return json.loads(done.stdout)


def transcript(bench: Bench, *answers: str) -> str:
    path = bench.folder / "answers.jsonl"
    rows = [json.dumps({"attempt": n, "answer": text}) for n, text in enumerate(answers, start=1)]
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def kinds(found: Any) -> list[str]:
    """What became of each attempt: the kind of its failure, or how it stands."""
    attempts = found["targets"][0]["codegen"]["attempts"]
    return [
        f"{a['failure']['stage']}.{a['failure']['kind']}" if a["failure"] else a["state"]
        for a in attempts
    ]


@pytest.mark.toolchain
def test_candidates_go_through_the_gate_and_the_better_one_is_shown_to_be(bench: Bench) -> None:
    mine = bench.folder / "mine"
    mine.mkdir()
    for name, text in (("fast", FAST), ("short", ONE_SHORT)):
        (mine / f"{name}.c").write_text(text)
    confirmed = TASK.replace("confirm_pairs: 0", "confirm_pairs: 9")
    (bench.folder / "task.yaml").write_text(confirmed)
    words = ("codegen", "task.yaml", "--candidates", "mine", "--run-dir", str(bench.run))
    found = told(bench.hpcagent(*words, "--json"))
    assert kinds(found) == ["measured", "measured", "numerics.wrong_result"]
    result = found["targets"][0]["codegen"]
    assert result["best"] == 1
    # The interval of so few pairs may be wide on a busy machine; the middle is far away from 1.
    assert found["outcome"] in ("improved", "nothing better")
    assert result["claim"]["speedup"] > 1.5
    assert result["attempts"][1]["instrumented"]
    assert result["walls"]
    # What is shown fits a terminal; the sources and the evidence are in the report.
    page = bench.hpcagent("report", str(bench.run)).stdout
    assert all(len(line) <= 80 for line in page.splitlines())
    assert "fast.c" in page and "numerics.wrong_result" in page
    report = (bench.run / "result" / "report.md").read_text()
    assert ONE_SHORT in report and "has to be" in report
    shown = (bench.run / "result" / "report.html").read_text()
    assert shown.count("<svg") == 3 and "-fopt-info-vec" in shown and "vectorized" in shown
    assert result["attempts"][1]["stages"]["check"] > 0
    assert (bench.run / "result" / "best" / "kernel.c").read_text() == FAST


def _two_in_flight(bench: Bench) -> bool:
    if not (bench.run / "journal.jsonl").exists():
        return False
    rows = bench.events("unit_intent")
    built = {r["data"]["unit"] for r in rows if r["data"]["kind"] == "build"}
    out = built & {r["data"]["unit"] for r in bench.events("unit_submitted")}
    return len(out - {r["data"]["unit"] for r in bench.events("unit_result")}) == 2


@pytest.mark.toolchain
def test_a_model_debugs_what_failed_although_its_agent_is_killed(bench: Bench) -> None:
    """Killed with two attempts in flight, the run goes on; nothing is asked or submitted twice."""
    answers = transcript(
        bench, answer(NO_SEMICOLON), "I would rather explain it.", answer(BEYOND),
        answer(ONE_SHORT), answer(FAST, "One row short."),
    )  # fmt: skip
    words = ("codegen", "task.yaml", "--model", answers, "--attempts", "5")
    argv = bench.argv(*words, "--run-dir", str(bench.run))
    agent = subprocess.Popen(argv, cwd=bench.folder, env=bench.env, stderr=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL)  # fmt: skip
    until(lambda: _two_in_flight(bench), lambda: "never two in flight")
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait()
    found = told(bench.hpcagent("resume", str(bench.run), "--json"))
    assert kinds(found) == [
        "measured", "compile.source_error", "model.no_code", "run.sanitizer",
        "numerics.wrong_result", "measured",
    ]  # fmt: skip
    attempts = found["targets"][0]["codegen"]["attempts"]
    assert [a["operation"] for a in attempts] == [
        "reference", "draft", "draft", "draft", "debug", "debug",
    ]  # fmt: skip
    assert (attempts[4]["parent"], attempts[5]["parent"]) == (3, 4)
    assert found["outcome"] == "measured"
    assert "not claimed" in found["outcome_text"]
    calls = [row["data"]["attempt"] for row in bench.events("llm_call")]
    assert calls == sorted(set(calls)) == [1, 2, 3, 4, 5]
    submitted = [row["data"]["unit"] for row in bench.events("unit_submitted")]
    purposes = [row["data"]["purpose"] for row in bench.events("unit_intent")]
    assert len(set(submitted)) == len(submitted) == len(set(purposes)) == len(purposes)
    _check_prompts(bench)


def _check_prompts(bench: Bench) -> None:
    """They only grow, and carry the evidence."""
    rows = [json.loads(x) for x in (bench.run / "llm.jsonl").read_text().splitlines()]
    assert [row["attempt"] for row in rows] == [1, 2, 3, 4, 5]
    systems = {row["messages"][0][1] for row in rows}
    assert len(systems) == 1
    assert "void sums(int32_t rows" in systems.pop()
    fourth, fifth = (row["messages"][1][1] for row in rows[3:])
    known = fourth[: fourth.index("Attempt 3 failed with")]
    assert fifth.startswith(known)
    assert "AddressSanitizer" in fourth
    assert "has to be" in fifth and ONE_SHORT in fifth
    assert all(row["verdict"] for row in rows)


@pytest.mark.toolchain
def test_a_reference_that_fails_its_own_checks_is_found_out(bench: Bench) -> None:
    """What becomes of the run then is in test_codegen_parallel.py."""
    bad = REFERENCE.replace("y[j] = sum;", "y[j] = sum + (double)(int64_t)y * 1e-9;")
    (bench.folder / "reference.c").write_text(bad)
    first = ProgramGate(bench.folder, bench.folder / "task.yaml", BARE).first
    assert (first.stage, first.kind) == ("check", "numerics.wrong_result")


def called(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    """Exit code and output of the command line, in this process."""
    with pytest.raises(SystemExit) as ended:
        main(["codegen", *words])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_bad_requests_are_told_in_one_line(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bench.folder)
    for words, told_ in (
        (("task.yaml",), "nobody writes anything"),
        (("nosuch",), "tasks that come with hpcagent: allreduce-c"),
        (("task.yaml", "--candidates", "nowhere"), "there is no such folder"),
        (("task.yaml", "--model", "no.jsonl"), "there is no such file"),
        (("new",), "give the task a name"),
        (("task.yaml", "extra"), "only `codegen new NAME` takes a name"),
    ):
        code, _, err = called(words, capsys)
        assert code == 2, (words, err)
        assert told_ in err
        assert err.count("\n") == 1


def test_a_new_task_and_the_list(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bench.folder)
    assert "gemm-fortran" in called(("list",), capsys)[1].split()
    code, out, _ = called(("new", "mine"), capsys)
    assert code == 0
    assert "hpcagent codegen mine/task.yaml --candidates mine/candidates" in out
    words = ("mine/task.yaml", "--candidates", "mine/candidates", "--dry-run")
    code, out, err = called(words, capsys)
    assert code == 0, err
    assert "collect_software.py" in out
    assert "Written by   you (aligned.c)" in out and "large (n=2000000)" in out


@pytest.mark.slurm
@pytest.mark.toolchain
def test_attempts_are_jobs_of_a_real_slurm(bench: Bench, slurm: Cluster) -> None:
    quick = {"HPCAGENT_POLL_SECONDS": "0.3", "HPCAGENT_GRACE_SECONDS": "3"}
    there = Inside(bench.folder, {**bench.env, **slurm.env, **quick})
    (bench.folder / "fast.c").write_text(FAST)
    where = ("--partition", "both", "--account", "proj", "--shared")
    words = ("codegen", "task.yaml", "--candidates", "fast.c", *where)
    found = told(there.hpcagent(*words, "--run-dir", str(there.run), "--json"))
    assert kinds(found) == ["measured", "measured"]
    jobs = slurm.jobs()
    submitted = [event["data"]["job_id"] for event in there.events("unit_submitted")]
    assert len(submitted) == 4
    assert all(jobs[job] == "COMPLETED" for job in submitted)
