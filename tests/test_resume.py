"""The agent is killed at every durable step and at random instants; nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from mainjob import Bench, Inside, busy_queue, killed_at_every_durable_step, make_bench

from hpcagent.study.journal import read_journal
from hpcagent.study.lease import Lease
from hpcagent.study.state import fold

pytestmark = pytest.mark.openblas


def assert_whole(bench: Bench) -> None:
    """The run is closed, and every unit was submitted, measured and recorded exactly once."""
    view = read_journal(bench.run / "journal.jsonl")
    events = list(view)
    assert view.torn_bytes == 0
    state = fold(events)
    assert state.closed is not None
    assert state.closed["outcome"] in ("improved", "nothing better")
    assert all(unit.failure is None for unit in state.units)
    purposes = Counter(unit.purpose for unit in state.units)
    assert set(purposes.values()) == {1}
    jobs = bench.jobs()
    assert {name: len(found) for name, found in jobs.items()} == {u.name: 1 for u in state.units}
    counts = Counter(
        (e.type, e.data.get("unit") or e.data.get("round") or e.data.get("what"))
        for e in events
        if e.type in ("unit_intent", "unit_submitted", "unit_result", "proposed", "decision")
    )
    assert max(counts.values()) == 1, counts
    for unit in state.units:
        if unit.kind == "round":
            text = (bench.run / "work" / unit.name / "result.jsonl").read_text()
            rows = [json.loads(line) for line in text.splitlines()]
            keys = Counter((r["config"], r["pair"], r["status"]) for r in rows)
            assert max(keys.values()) == 1
    result = bench.run / "result"
    assert (result / "report.html").stat().st_size > 1000
    assert not list(result.rglob(".*"))
    assert not list(bench.run.rglob(".tmp-*")), "what a kill left unfinished"


@pytest.mark.strace
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_killed_at_every_durable_step(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    killed = killed_at_every_durable_step(bench, bench.tune_words("--budget", "rounds=1"))
    assert killed > 15
    assert_whole(bench)


def test_killed_at_random_instants(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    chance = random.Random(20)
    words = bench.tune_words("--budget", "rounds=1")
    for attempt in range(41):
        process = subprocess.Popen(
            bench.argv(*words), cwd=bench.folder, env=bench.env,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            # The last one may end in peace: on a busy host none may have come so far.
            longest = chance.uniform(0.3, 2.5 + attempt / 5) if attempt < 40 else None
            code = process.wait(timeout=longest)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
        assert process.stderr is not None
        errors = process.stderr.read().decode()
        process.stderr.close()
        if (bench.run / "journal.jsonl").exists() and bench.events():
            words = ["resume", str(bench.run)]
        elif bench.run.exists():
            shutil.rmtree(bench.run)
        if code == 0:
            break
        assert code is None, errors
    assert_whole(bench)


def test_step_does_one_turn_and_exits(tmp_path: Path) -> None:
    """A run driven by `step` alone, as cron would."""
    bench = make_bench(tmp_path)
    process = subprocess.Popen(
        bench.argv(*bench.tune_words("--budget", "rounds=1")), cwd=bench.folder, env=bench.env,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _wait_for(lambda: (bench.run / "journal.jsonl").exists() and len(bench.events()) > 1)
    process.kill()
    process.wait()
    for _ in range(200):
        done = bench.hpcagent("step", str(bench.run))
        assert done.returncode == 0, done.stderr
        if bench.events("run_closed"):
            break
        assert "continue with" in done.stdout
        time.sleep(0.2)
    assert_whole(bench)


def test_interrupted_by_the_user_and_resumed(tmp_path: Path) -> None:
    bench = Inside(tmp_path, make_bench(tmp_path).env)
    process = subprocess.Popen(
        bench.argv(*bench.tune_words("--budget", "rounds=1")), cwd=bench.folder, env=bench.env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # What a shell starts in the background ignores the signal, and so would the child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    _wait_for(lambda: (bench.run / "journal.jsonl").exists() and bool(bench.events("unit_result")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert f"hpcagent resume {bench.run}" in errors
    told = errors.partition("hpcagent: interrupted; ")[2].partition(". Continue with:")[0]
    open_units = {e["data"]["unit"]: e["data"]["job_id"] for e in bench.events("unit_submitted")}
    for ended in bench.events("unit_result"):
        open_units.pop(ended["data"]["unit"], None)
    assert ("no job of it is out" in told) == (not open_units)
    assert all(f"job {job_id} (" in told for job_id in open_units.values())
    assert "Traceback" not in errors
    assert bench.hpcagent("resume", str(bench.run)).returncode == 0
    assert_whole(bench)


def test_a_run_in_use_says_by_whom(tmp_path: Path) -> None:
    bench = Inside(tmp_path, make_bench(tmp_path).env)
    with busy_queue(bench):
        process = subprocess.Popen(
            bench.argv(*bench.tune_words("--budget", "rounds=3")), cwd=bench.folder, env=bench.env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _wait_for(lambda: (bench.run / "journal.jsonl").exists() and len(bench.events()) > 2)
            second = bench.hpcagent("resume", str(bench.run))
            assert second.returncode == 6
            assert str(process.pid) in second.stderr
            assert os.uname().nodename in second.stderr
            cancelled = bench.hpcagent("cancel", str(bench.run))
            assert cancelled.returncode == 0, cancelled.stderr
            assert process.wait(timeout=300) == 0
        finally:
            process.kill()
            process.wait()
    assert bench.events()[-1]["data"]["outcome"] == "cancelled"
    assert not list((bench.run / "inbox").iterdir())
    assert bench.hpcagent("resume", str(bench.run)).returncode == 0


def test_a_run_whose_agent_is_just_leaving_is_cancelled(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    with busy_queue(bench):
        assert bench.tune("--no-wait").returncode == 0
        with Lease.acquire(bench.run):
            words = bench.argv("cancel", str(bench.run))
            cancel = subprocess.Popen(
                words, cwd=bench.folder, env=bench.env, stdout=subprocess.PIPE, text=True
            )
            _wait_for(lambda: any((bench.run / "inbox").iterdir()))
        told, _ = cancel.communicate(timeout=60)
    assert (cancel.returncode, told) == (0, "run: cancelled\n")
    assert bench.outcome() == "cancelled"


def test_cancel_without_an_agent_cancels_the_job(tmp_path: Path) -> None:
    bench = Inside(tmp_path, make_bench(tmp_path).env)
    process = subprocess.Popen(
        bench.argv(*bench.tune_words()), cwd=bench.folder, env=bench.env,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _wait_for(lambda: (bench.run / "journal.jsonl").exists() and len(bench.events()) > 2)
    process.kill()
    process.wait()
    assert bench.hpcagent("cancel", str(bench.run)).returncode == 0
    assert bench.events()[-1]["type"] == "run_closed"
    assert bench.events()[-1]["data"]["outcome"] == "cancelled"


def _wait_for(condition, seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
