"""Runs as users and accidents leave them: stopped, damaged, read-only, in odd environments."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from mainjob import Bench, Inside, busy_queue, handicap_the_default, make_bench, until

from hpcagent.cli.runs import as_json_text
from hpcagent.measure.results import Run
from hpcagent.records import Config
from hpcagent.report.publish import publish
from hpcagent.study import inbox, tune, units
from hpcagent.study.journal import read_journal
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.outcome import summarise
from hpcagent.study.rundir import open_run, unit_name
from hpcagent.study.state import fold

pytestmark = pytest.mark.openblas

SERIAL = Path("/usr/lib/x86_64-linux-gnu/openblas-serial/libopenblas.so.0")
PTHREAD = SERIAL.parent.parent / "openblas-pthread"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A finished run, made in a shell that sets what would spoil the default."""
    bench = make_bench(tmp_path_factory.mktemp("product"))
    shell = Bench(bench.folder, {**bench.env, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"})
    done = shell.tune("--budget", "rounds=1")
    assert done.returncode == 0, done.stderr
    return Inside(bench.folder, bench.env)


@pytest.fixture
def unclosed(bench: Bench, tmp_path: Path) -> Bench:
    """The same run as a crash just before its end would leave it."""
    copy = Inside(tmp_path, {**bench.env, "HOME": str(tmp_path)})
    shutil.copytree(bench.run, copy.run)
    _write(copy.run, copy.events()[:-1])
    assert not copy.events("run_closed")
    return copy


def _write(run: Path, events: list[dict[str, Any]]) -> None:
    lines = [json.dumps({**event, "seq": n}) for n, event in enumerate(events, start=1)]
    (run / "journal.jsonl").write_text("\n".join(lines) + "\n")


def _strict(text: str) -> Any:
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


# --- the user's environment -----------------------------------------------------------------------


def test_the_users_settings_reach_no_measurement_and_are_told(bench: Bench) -> None:
    known = Knowledge(fold(read_journal(bench.run / "journal.jsonl")))
    default = known.unpruned.default.id
    ran = {r.readback["threads"] for u in known.state.rounds for r in u.runs if r.config == default}
    assert ran == {str(known.needed_library().default_threads)}
    shown = bench.hpcagent("report", str(bench.run)).stdout
    assert "OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1" in " ".join(shown.split())
    assert "OPENBLAS_NUM_THREADS=1" in (bench.run / "result" / "report.html").read_text()


@pytest.mark.skipif(not SERIAL.exists() or not PTHREAD.exists(), reason="needs both of Debian's")
def test_a_preloaded_library_is_not_measured_for_another(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    shell = Bench(tmp_path, {**bench.env, "LD_PRELOAD": str(SERIAL)})
    done = shell.tune("--openblas-prefix", str(PTHREAD))
    assert done.returncode == 3, done.stdout
    assert "LD_PRELOAD" in done.stdout
    assert str(SERIAL.resolve()) in bench.events("run_closed")[0]["data"]["text"]
    assert not [e for e in bench.events("unit_intent") if e["data"]["purpose"] == "feasibility"]


# --- stop and cancel ------------------------------------------------------------------------------


def test_a_library_path_that_cannot_be_built_with_ends_the_run(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    library = next(Path("/usr/lib").glob("*/openblas-pthread/libopenblas.so.0"))
    odd = tmp_path / "a;b"
    odd.mkdir()
    shutil.copy(library.resolve(), odd / "libopenblas.so.0")
    done = bench.tune("--openblas-prefix", str(odd))
    assert done.returncode == 2, done.stderr
    assert "a;b" in "".join(done.stdout.split())
    assert bench.events()[-1]["type"] == "run_closed"


def test_stop_without_an_agent_leaves_nothing_behind(unclosed: Bench) -> None:
    done = unclosed.hpcagent("stop", str(unclosed.run))
    assert done.returncode == 0, done.stderr
    assert "no agent" in done.stdout
    assert not list((unclosed.run / "inbox").iterdir())
    closed = Inside(unclosed.folder, unclosed.env)
    assert closed.hpcagent("resume", str(closed.run)).returncode == 0
    assert "closed already" in closed.hpcagent("stop", str(closed.run)).stdout


def test_a_stop_for_an_agent_that_is_gone_does_not_stop_the_next(unclosed: Bench) -> None:
    inbox.post(unclosed.run, {"type": "stop"})
    done = unclosed.hpcagent("resume", str(unclosed.run))
    assert done.returncode == 0, done.stderr
    assert unclosed.events("run_closed")
    assert not list((unclosed.run / "inbox").iterdir())


def test_cancel_is_not_lost_behind_a_stop(unclosed: Bench) -> None:
    inbox.post(unclosed.run, {"type": "stop"})
    assert unclosed.hpcagent("cancel", str(unclosed.run)).returncode == 0
    assert unclosed.events("run_closed")[0]["data"]["outcome"] == "cancelled"
    again = unclosed.hpcagent("cancel", str(unclosed.run))
    assert (again.returncode, "closed already" in again.stdout) == (0, True)


def test_stop_ends_the_agent_and_resume_ends_the_run(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    with busy_queue(bench):
        process = subprocess.Popen(
            bench.argv(*bench.tune_words("--budget", "rounds=1")), cwd=bench.folder, env=bench.env,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            _wait_for(lambda: (bench.run / "journal.jsonl").exists() and len(bench.events()) > 2)
            assert bench.hpcagent("stop", str(bench.run)).returncode == 0
            said, _ = process.communicate(timeout=300)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0
    assert f"hpcagent resume {bench.run}" in said
    assert not bench.events("run_closed")
    assert bench.hpcagent("resume", str(bench.run)).returncode == 0
    assert bench.events("run_closed")


# --- damaged runs ---------------------------------------------------------------------------------


def test_one_damaged_run_does_not_hide_the_others(bench: Bench, tmp_path: Path) -> None:
    for name in ("good", "bad", "unopened"):
        shutil.copytree(bench.run, tmp_path / name)
    lines = (tmp_path / "bad" / "journal.jsonl").read_text().splitlines()
    lines[4] = "{{" + lines[4]
    (tmp_path / "bad" / "journal.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "unopened" / "journal.jsonl").unlink()
    (tmp_path / "empty").mkdir()
    here = Inside(bench.folder, {**bench.env, "HPCAGENT_RUNS": str(tmp_path)})
    listed = here.hpcagent("status")
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) == 3
    assert "journal.jsonl:5" in listed.stdout
    rows = {
        Path(row["path"]).name: row for row in _strict(here.hpcagent("status", "--json").stdout)
    }
    assert rows["good"]["outcome"] in ("improved", "nothing better")
    assert "damaged" in rows["bad"]["problem"]
    assert "never opened" in rows["unopened"]["problem"]


def test_an_event_without_its_fields_is_one_clear_line(unclosed: Bench) -> None:
    events = unclosed.events()
    place = next(n for n, e in enumerate(events) if e["type"] == "unit_intent")
    del events[place]["data"]["purpose"]
    _write(unclosed.run, events)
    for words in (["status"], ["report"], ["resume"], ["cancel"]):
        done = unclosed.hpcagent(*words, str(unclosed.run))
        assert done.returncode == 7
        (line,) = done.stderr.splitlines()
        assert f"event {place + 1} (unit_intent)" in line
        assert str(unclosed.run) in line


def test_a_result_that_cannot_be_written_is_shown_all_the_same(unclosed: Bench) -> None:
    shutil.rmtree(unclosed.run / "result")
    (unclosed.run / "result").write_text("in the way")
    done = unclosed.hpcagent("report", str(unclosed.run))
    assert done.returncode == 3
    assert "Not finished" in done.stdout
    assert f"hpcagentresume{unclosed.run}" in "".join(done.stdout.split())
    assert "result" in done.stderr


def test_result_files_follow_the_users_umask(unclosed: Bench) -> None:
    """Lmod passes over modulefiles that others may not read where root asks for them."""
    state = fold(read_journal(unclosed.run / "journal.jsonl"))
    closed = replace(state, closed={"outcome": "nothing better", "text": "", "exit_code": 0})
    shutil.rmtree(unclosed.run / "result")
    before = os.umask(0o022)
    try:
        publish(open_run(unclosed.run), Knowledge(closed))
    finally:
        os.umask(before)
    modules = list((unclosed.run / "result").glob("modulefiles-*/*/*"))
    assert {path.stat().st_mode & 0o777 for path in modules} == {0o644}


def test_numbers_that_json_lacks_become_null(bench: Bench) -> None:
    known = Knowledge(fold(read_journal(bench.run / "journal.jsonl")))
    summary = summarise(open_run(bench.run), known)
    odd = replace(summary, spent=replace(summary.spent, wall_s=math.inf, core_hours=math.nan))
    spent = _strict(as_json_text(odd))["spent"]
    assert (spent["wall_s"], spent["core_hours"]) == (None, None)


# --- what is said of a result ---------------------------------------------------------------------


def _confirmed(
    events: list[dict[str, Any]], runs: Callable[[str, str, int], list[Run]], jobs: int = 2
) -> Any:
    """The run with confirmations whose processes are made up: the state just before its end."""
    kept = [e for e in events if e["data"].get("what") not in ("search_ended", "winner")]
    kept = [e for e in kept if not str(e["data"].get("purpose")).startswith("confirm")]
    state = fold(read_journal_events(kept))
    known = Knowledge(state)
    winner = state.proposed[1][0].config
    made = runs(known.unpruned.default.id, winner.id, 9)
    more = [("decision", {"what": "search_ended", "reason": "enough"}),
            ("decision", {"what": "winner", "config": winner.values, "reason": "it"})]  # fmt: skip
    for index in range(1, jobs + 1):
        plan = units.confirmation_plan(known, winner, "/work/build", index)
        name = unit_name("made up", 98 + index)
        intent = {"unit": name, "kind": plan.kind, "purpose": plan.purpose, "attempt": 1,
                  "resources": asdict(plan.resources), "spec": plan.spec}  # fmt: skip
        result = {"unit": name, "state": "COMPLETED", "failure": None, "job_seconds": 1.0,
                  "runs": [asdict(run) for run in made]}  # fmt: skip
        more += [("unit_intent", intent), ("unit_result", result)]
    added = [{"v": 1, "t_utc": kept[-1]["t_utc"], "type": t, "data": d} for t, d in more]
    return fold(read_journal_events([*kept, *json.loads(json.dumps(added))])), winner


def read_journal_events(rows: list[dict[str, Any]]) -> Any:
    from hpcagent.records import Event

    return [Event(n, r["t_utc"], r["type"], r["data"]) for n, r in enumerate(rows, start=1)]


def _times(default: str, winner: str, pairs: int) -> list[Run]:
    """The gemm gets faster by 1.5, 1.6, ..., in no order, the potrf slower by a fifth."""
    made = []
    for pair in range(1, pairs + 1):
        base = {"dgemm_48x48x48": 1e-3 * (1 + 0.01 * pair), "dpotrf_32": 2e-3}
        gain = 1.4 + 0.1 * (4 * pair % 9 or 9)
        fast = {"dgemm_48x48x48": base["dgemm_48x48x48"] / gain, "dpotrf_32": 2e-3 * 1.2}
        for config, medians in ((default, base), (winner, fast)):
            objective = sum(0.5 * math.log(s) for s in medians.values())
            made.append(Run(config, pair, 0, "ok", medians, objective))
    return made


def _closed(state: Any, winner: Config) -> Any:
    step = tune.next_step(Knowledge(state), state.last_utc, None, lambda unit: "/work/build")
    assert isinstance(step, tune.Close), step
    data = {"outcome": step.outcome, "text": step.text, "exit_code": step.exit_code}
    return replace(state, closed=data, closed_utc=state.last_utc), step


def test_the_claim_is_what_one_computes_by_hand(bench: Bench) -> None:
    state, winner = _confirmed(bench.events(), _times)
    ended, step = _closed(state, winner)
    assert (step.outcome, step.exit_code) == ("improved", 0)
    summary = summarise(open_run(bench.run), Knowledge(ended))
    gains = [(1.4 + 0.1 * pair) ** 0.5 / 1.2**0.5 for pair in range(1, 10)]
    claim = summary.claim
    assert claim is not None
    assert math.isclose(claim.speedup, statistics.median(gains))
    # Of 18 pairs at 99.5 % the third from either end, of 9 at 95 % the second: the same here.
    assert math.isclose(claim.low, sorted(gains)[1])
    assert math.isclose(claim.high, sorted(gains)[-2])
    assert math.isclose(claim.coverage, 1 - 2 * (1 + 18 + 153) / 2**18)
    cases = {case.key: case for case in summary.cases}
    gemm = cases["dgemm_48x48x48"]
    assert math.isclose(gemm.speedup, 1.9)
    assert math.isclose(gemm.default_s, 1.05e-3)
    defaults = [1e-3 * (1 + 0.01 * pair) for pair in range(1, 10)]
    assert math.isclose(gemm.default_cv, statistics.stdev(defaults) / statistics.mean(defaults))
    assert gemm.gflops is not None
    assert math.isclose(gemm.gflops, 2 * 48**3 / gemm.best_s / 1e9)
    assert math.isclose(cases["dpotrf_32"].speedup, 1 / 1.2)


def test_a_routine_that_became_slower_is_told(bench: Bench) -> None:
    ended, _ = _closed(*_confirmed(bench.events(), _times))
    warnings = summarise(open_run(bench.run), Knowledge(ended)).warnings
    (told,) = [words for words in warnings if "became slower" in words]
    assert "dpotrf_32" in told
    assert "dgemm" not in told


def test_a_candidate_that_fails_in_its_confirmation_is_told(bench: Bench) -> None:
    def failing(default: str, winner: str, pairs: int) -> list[Run]:
        runs = [run for run in _times(default, winner, pairs) if run.config == default]
        return [*runs, Run(winner, 1, 1, "timeout", message="timeout after 60 s")]

    ended, step = _closed(*_confirmed(bench.events(), failing, jobs=1))
    assert (step.outcome, step.exit_code) == ("nothing better", 0)
    summary = summarise(open_run(bench.run), Knowledge(ended))
    assert summary.claim is None
    assert summary.best == Knowledge(ended).unpruned.default
    assert [failure.id for _, failure in summary.failures] == ["run.timeout"]


def test_the_report_that_a_run_leaves_tells_the_figures_of_its_journal(unclosed: Bench) -> None:
    """As it was written when the run was closed: its own writing takes time, too."""
    assert unclosed.hpcagent("resume", str(unclosed.run)).returncode == 0
    page = (unclosed.run / "result" / "report.md").read_text()
    shown = _strict(unclosed.hpcagent("status", str(unclosed.run), "--json").stdout)
    assert f"| Closed | {shown['closed_utc']} |" in page
    assert unclosed.hpcagent("report", str(unclosed.run)).returncode == 0
    assert (unclosed.run / "result" / "report.md").read_text() == page


def test_a_failed_challenger_is_told_once(unclosed: Bench) -> None:
    events = unclosed.events()
    victim = Config.of(
        next(e for e in events if e["type"] == "proposed")["data"]["proposals"][0]["config"]
    )
    intents = {e["data"]["unit"]: e["data"] for e in events if e["type"] == "unit_intent"}
    for event in events:
        if (
            event["type"] == "unit_result"
            and intents[event["data"]["unit"]]["purpose"] == "round-1"
        ):
            for run in event["data"]["runs"]:
                if run["config"] == victim.id:
                    run.update(status="failed", signal=9, objective=None, medians={})
    cut = next(n for n, e in enumerate(events) if e["type"] == "decision")
    _write(unclosed.run, events[:cut])
    assert unclosed.hpcagent("report", str(unclosed.run)).returncode == 0
    text = (unclosed.run / "result" / "report.md").read_text()
    assert text.count("run.killed: failed") == 1
    said = " ".join(unclosed.hpcagent("explain", str(unclosed.run)).stdout.split())
    assert "no unit of it failed, but processes that were measured did" in said
    assert "nothing wrong" not in said
    assert "Other failures" not in text


def _wait_for(condition: Callable[[], object], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_each_job_of_a_confirmation_is_a_step_of_its_own(tmp_path: Path) -> None:
    """Every step is a new process's: what confirms is known from the journal alone."""
    made = make_bench(tmp_path)
    handicap_the_default(made)
    bench = Inside(tmp_path, made.env)
    words = ("--budget", "rounds=1")
    plan = bench.tune(*words, "--dry-run")
    assert "9 pairs in each of 2 jobs to confirm the winner" in plan.stdout
    assert bench.tune(*words, "--no-wait").returncode == 0
    until(lambda: bench.outcome() != "" or not bench.hpcagent("step", str(bench.run)), bench.events)
    assert bench.outcome() == "improved", bench.events("run_closed")
    purposes = [e["data"]["purpose"] for e in bench.events("unit_intent")]
    assert purposes[-3:] == ["round-1", "confirm", "confirm-2"]
    jobs = bench.job_of()
    assert len(set(jobs.values())) == len(jobs)
    shown = _strict(bench.hpcagent("status", str(bench.run), "--json").stdout)
    claim = (shown.get("result") or shown)["claim"]
    assert [job["improved"] for job in claim["jobs"]] == [True, True]
    assert claim["low"] <= min(job["low"] for job in claim["jobs"])
    page = (bench.run / "result" / "report.md").read_text()
    assert "in each of 2 jobs" in page
    units = [job["unit"] for job in claim["jobs"]]
    assert page.count(" and unit ".join(f"`{unit}`" for unit in units)) >= 2
    assert all(f"`work/{unit}/result.jsonl`" in page for unit in units)
    repeated = next(line for line in page.splitlines() if "hpcagent tune" in line)
    assert "--confirm-jobs 2" in repeated
