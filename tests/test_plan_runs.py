"""`hpcagent run plan.yaml` for real: on the local queue, and on two partitions of Slurm."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from lab.slurm_lab import Cluster
from mainjob import (
    ROOT,
    Bench,
    Inside,
    busy_queue,
    killed_at_every_durable_step,
    make_bench,
    until,
)

from hpcagent.errors import SchedulerRefused
from hpcagent.study.lease import Lease

pytestmark = pytest.mark.openblas
TUNE = "{lib: openblas, workload: mix.yaml, challengers: 2, budget: rounds=1}"
TWO = f"""\
schema: 1
title: Two and which of them
steps:
  - name: a
    tune: {TUNE}
  - name: b
    tune: {TUNE[:-1]}, openblas-prefix: "{{a.library}}"}}
  - name: which
    compare: {{runs: ["{{a.run}}", "{{b.run}}"], pairs: 3}}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Inside(tmp_path, make_bench(tmp_path).env)
    made.env["HPCAGENT_MINIMUM_EFFECT"] = "1000"  # nothing wins, however fast it was
    return made


def plan(bench: Bench, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    (bench.folder / "plan.yaml").write_text(text)
    return bench.hpcagent("run", "plan.yaml", "--run-dir", str(bench.run), *words)


def step(bench: Bench, name: str) -> Bench:
    """The step's run as a bench of its own, to look into."""

    class Below(Bench):
        @property
        def run(self) -> Path:
            return self.folder / "run" / "steps" / name

    return Below(bench.folder, bench.env)


def status(bench: Bench) -> dict[str, Any]:
    done = bench.hpcagent("status", str(bench.run), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def states(bench: Bench) -> dict[str, str]:
    return {row["name"]: row["state"] for row in status(bench)["steps"]}


def decisions(bench: Bench) -> list[str]:
    return [event["data"]["what"] for event in bench.events("decision")]


def test_steps_use_what_those_before_them_found(bench: Bench) -> None:
    done = plan(bench, TWO)
    assert done.returncode == 0, done.stderr
    assert decisions(bench) == ["begin a", "end a", "begin b", "end b", "begin which", "end which"]
    for name in ("a", "b"):
        step(bench, name).job_of()
    library = bench.events("decision")[1]["data"]["results"]["library"]
    opened = step(bench, "b").events("run_opened")[0]["data"]
    assert opened["settings"]["prefix"] == library
    assert "openblas" in library
    # What it says, in 80 columns, and where the rest is.
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert "Two and which of them" in done.stdout
    assert "done: 3 of 3 steps done" in done.stdout
    assert "a (tune): done" in done.stdout
    assert "a: round-1: done" in done.stderr
    report = (bench.run / "result" / "report.md").read_text()
    assert "`../steps/a/result/report.html`" in report
    assert (bench.run / "result" / "../steps/a/result/report.html").is_file()
    assert "hpcagent compare --pairs 3" in report
    assert "](figures/timeline.svg)" in report
    page = (bench.run / "result" / "report.html").read_text()
    assert "<svg" in page
    assert "3 of 3" in page
    assert states(bench) == dict.fromkeys(("a", "b", "which"), "done")
    # Each step is a run like any other.
    one = bench.hpcagent("report", f"{bench.run}/steps/which")
    assert one.returncode == 0
    assert "In" in one.stdout
    again = bench.hpcagent("report", str(bench.run))
    assert again.stdout == done.stdout
    closed = bench.hpcagent("resume", str(bench.run))
    assert (closed.returncode, closed.stdout) == (0, done.stdout)
    # One that is damaged later hides none of the others.
    journal = bench.run / "steps" / "a" / "journal.jsonl"
    journal.write_bytes(b"nonsense\n" + journal.read_bytes())
    assert states(bench) == dict.fromkeys(("a", "b", "which"), "done")
    assert "it cannot be read:" in bench.hpcagent("report", str(bench.run)).stdout


def test_a_killed_plan_goes_on_and_measures_nothing_twice(bench: Bench) -> None:
    (bench.folder / "plan.yaml").write_text(TWO)
    words = bench.argv("run", "plan.yaml", "--run-dir", str(bench.run))
    agent = subprocess.Popen(words, cwd=bench.folder, env=bench.env)
    below = step(bench, "b")

    def measuring() -> bool:
        there = (below.run / "journal.jsonl").exists()
        return there and bool(below.events("unit_submitted"))

    until(measuring, lambda: decisions(bench))
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait()
    before = len(step(bench, "a").events())
    told = bench.hpcagent("status", str(bench.run))
    assert "1 of 3 steps done; under way: b" in told.stdout
    assert "no process drives it now" in told.stdout
    done = bench.hpcagent("resume", str(bench.run))
    assert done.returncode == 0, done.stderr
    assert len(step(bench, "a").events()) == before
    for name in ("a", "b"):
        step(bench, name).job_of()
    assert sorted(set(decisions(bench))) == sorted(decisions(bench))


def test_a_run_that_a_killed_agent_was_making_is_made_anew(bench: Bench) -> None:
    with busy_queue(bench):
        assert plan(bench, TWO, "--no-wait").returncode == 0
    whole = step(bench, "a").run
    shutil.rmtree(whole / "work")
    (whole / "journal.jsonl").unlink()
    done = bench.hpcagent("resume", str(bench.run))
    assert done.returncode == 0, done.stderr
    assert decisions(bench).count("begin a") == 1


def test_a_step_that_fails_keeps_only_those_from_beginning_that_need_it(bench: Bench) -> None:
    (bench.folder / "src").mkdir()
    (bench.folder / "src" / "Makefile").write_text("all:\n\tfalse\n")
    text = f"""\
schema: 1
steps:
  - name: bad
    tune: {TUNE[:-1]}, openblas-prefix: mix.yaml}}
  - name: after
    tune: {TUNE[:-1]}, openblas-prefix: "{{bad.library}}"}}
  - name: last
    tune: {TUNE}
    needs: [after]
  - name: good
    probe: {{no-measure: true}}
"""
    done = plan(bench, text)
    assert done.returncode == 3, done.stderr
    assert states(bench) == {
        "bad": "failed", "after": "left out", "last": "left out", "good": "done"
    }  # fmt: skip
    assert "failed: 1 of 4 steps done; bad: failed; after: left out; last: left out" in " ".join(
        done.stdout.split()
    )
    assert "it needs bad, which ended with: failed" in done.stdout
    why = bench.hpcagent("explain", str(bench.run))
    assert why.returncode == 0


def test_what_is_missing_when_a_step_begins_leaves_the_plan_open(bench: Bench) -> None:
    text = TWO.replace("workload: mix.yaml, challengers: 2, budget: rounds=1, open",
                       "workload: later.yaml, challengers: 2, budget: rounds=1, open")  # fmt: skip
    done = plan(bench, text)
    assert done.returncode == 2
    assert "hpcagent: error: b: later.yaml: cannot be read" in done.stderr
    assert bench.outcome() == ""
    assert states(bench) == {"a": "done", "b": "under way", "which": "waiting"}
    shutil.copy(bench.folder / "mix.yaml", bench.folder / "later.yaml")
    again = bench.hpcagent("resume", str(bench.run))
    assert again.returncode == 0, again.stderr
    assert bench.outcome() == "done"


def test_cancelling_a_plan_ends_its_jobs_and_those_of_its_steps(bench: Bench) -> None:
    with busy_queue(bench):
        begun = plan(bench, TWO, "--no-wait")
        assert begun.returncode == 0, begun.stderr
        assert "continue with: hpcagent resume" in begun.stdout
        told = bench.hpcagent("status", str(bench.run))
        assert "probe" in told.stdout
        done = bench.hpcagent("cancel", str(bench.run))
        assert done.returncode == 0, done.stderr
        assert step(bench, "a").outcome() == "cancelled"
        assert bench.outcome() == "cancelled"
    assert states(bench) == {"a": "failed", "b": "waiting", "which": "waiting"}
    (end,) = step(bench, "a").events("unit_result")
    assert end["data"]["state"] == "CANCELLED"
    again = bench.hpcagent("cancel", str(bench.run))
    assert "closed already" in again.stdout


def test_a_step_that_another_process_drives_is_left_to_it(bench: Bench) -> None:
    with busy_queue(bench):
        assert plan(bench, TWO, "--no-wait").returncode == 0
        with Lease.acquire(step(bench, "a").run):
            other = [sys.executable, "-c", "import sys; from hpcagent.cli import main; main()"]
            words = [*other, "step", str(bench.run)]
            told = subprocess.run(
                words, cwd=bench.folder, env=bench.env, capture_output=True, text=True, check=False
            )
        assert told.returncode == 0, told.stderr
        assert "a: another process works on" in told.stderr
    assert bench.hpcagent("resume", f"{bench.run}/steps/a").returncode == 0
    done = bench.hpcagent("resume", str(bench.run))
    assert done.returncode == 0, done.stderr
    assert states(bench)["a"] == "done"


def test_a_step_that_is_written_once_is_done_for_each_value(bench: Bench) -> None:
    several = f"""\
schema: 1
steps:
  - name: seed-{{seed}}
    for: {{seed: [3, 4]}}
    tune: {TUNE[:-1]}, seed: "{{seed}}"}}
  - name: which
    compare: {{runs: ["{{seed-*.run}}"], pairs: 3}}
"""
    done = plan(bench, several)
    assert done.returncode == 0, done.stderr
    assert states(bench) == dict.fromkeys(("seed-3", "seed-4", "which"), "done")
    for seed in (3, 4):
        opened = step(bench, f"seed-{seed}").events("run_opened")[0]["data"]
        assert opened["settings"]["seed"] == seed


def test_a_dry_run_shows_the_commands_and_writes_nothing(bench: Bench) -> None:
    before = sorted(path.name for path in bench.folder.iterdir())
    done = plan(bench, TWO, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "== b on local, after a:" in done.stdout
    words = "hpcagent tune --lib openblas --workload mix.yaml --challengers 2 --budget rounds=1"
    assert words in done.stdout
    assert "--openblas-prefix '{a.library}'" in done.stdout
    assert sorted(path.name for path in bench.folder.iterdir()) == sorted([*before, "plan.yaml"])
    as_json = json.loads(plan(bench, TWO, "--dry-run", "--json").stdout)
    assert [row["name"] for row in as_json["steps"]] == ["a", "b", "which"]


def test_what_a_plan_cannot_take_is_said(bench: Bench) -> None:
    with busy_queue(bench):
        assert plan(bench, TWO, "--no-wait").returncode == 0
        for words in (("approve",), ("advise", "--config", "threads=1")):
            told = bench.hpcagent(words[0], str(bench.run), *words[1:])
            assert told.returncode == 2
            assert "is a plan" in told.stderr
        with Lease.acquire(bench.run):  # whoever drives the plan drives its steps
            stopped = bench.hpcagent("stop", f"{bench.run}/steps/a")
        assert stopped.returncode == 2
        assert f"hpcagent stop {bench.run}" in stopped.stderr
        folder = bench.hpcagent("run", str(bench.run))
        assert folder.returncode == 2
        assert "is a folder, not a plan: go on with `hpcagent resume" in folder.stderr
        assert bench.hpcagent("cancel", str(bench.run)).returncode == 0
    missing = bench.hpcagent("run", "nowhere.yaml")
    assert (missing.returncode, "cannot be read" in missing.stderr) == (2, True)


def submit_agent(bench: Bench, *words: str, sbatch: tuple[str, ...] = ()) -> str:
    argv = ["sbatch", "--parsable", *sbatch, "bin/agent_job.sh", *words, "run", "plan.yaml",
            "--run-dir", str(bench.run)]  # fmt: skip
    done = subprocess.run(argv, cwd=bench.folder, env=bench.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def cluster_bench(tmp_path: Path, slurm: Cluster) -> Bench:
    made = make_bench(tmp_path)
    env = {**made.env, **slurm.env, "HPCAGENT_POLL_SECONDS": "0.3", "HPCAGENT_GRACE_SECONDS": "3",
           "HPCAGENT_MINIMUM_EFFECT": "1000"}  # fmt: skip
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "bin" / "agent_job.sh", tmp_path / "bin")
    launcher = tmp_path / "bin" / "hpcagent"
    launcher.write_text(f'#!/bin/bash\nexec {sys.executable} -m hpcagent "$@"\n')
    launcher.chmod(0o755)
    return Inside(tmp_path, env)


SIDES = f"""\
schema: 1
defaults: {{account: proj}}
steps:
  - name: one
    tune: {TUNE[:-1]}, partition: one}}
  - name: two
    tune: {TUNE[:-1]}, partition: two}}
  - name: which
    compare: {{runs: ["{{one.run}}", "{{two.run}}"], pairs: 3}}
"""


def whole(bench: Bench, slurm: Cluster) -> None:
    """Both sides were under way at once, each on its node, and nothing was measured twice."""
    jobs = {name: step(bench, name).job_of() for name in ("one", "two")}
    assert decisions(bench)[:2] == ["begin one", "begin two"]
    rows: dict[str, dict[str, str]] = {}

    def recorded() -> bool:
        rows.update({row["JobName"]: row for row in slurm.rows("-X")})
        return all(
            name in rows and rows[name]["State"] == "COMPLETED" for o in jobs.values() for name in o
        )

    until(recorded, lambda: rows)
    nodes = {name: {rows[unit]["NodeList"] for unit in its} for name, its in jobs.items()}
    assert nodes == {"one": {"n1"}, "two": {"n2"}}
    first = {name: step(bench, name).events("unit_submitted")[0]["t_utc"] for name in jobs}
    ends = {name: step(bench, name).events("run_closed")[0]["t_utc"] for name in jobs}
    assert max(first.values()) < min(ends.values())


@pytest.mark.slurm
def test_two_partitions_side_by_side(cluster_bench: Bench, slurm: Cluster) -> None:
    done = plan(cluster_bench, SIDES)
    assert done.returncode == 0, done.stderr
    whole(cluster_bench, slurm)
    assert "which (compare): done" in done.stdout


@pytest.mark.slurm
def test_a_plan_as_a_chain_of_jobs(cluster_bench: Bench, slurm: Cluster) -> None:
    bench = cluster_bench
    (bench.folder / "plan.yaml").write_text(SIDES)
    first = submit_agent(bench)
    until(lambda: bench.outcome() != "", slurm.jobs)
    assert bench.outcome() == "done"
    whole(bench, slurm)
    assert "waits for" in (bench.folder / f"slurm-{first}.out").read_text()


@pytest.mark.slurm
def test_a_chain_goes_on_with_one_step_while_another_waits_in_the_queue(
    cluster_bench: Bench, slurm: Cluster
) -> None:
    bench = cluster_bench
    free = bench.folder / "free"
    blocker = bench.folder / "blocker.sh"
    blocker.write_text(f"#!/bin/sh\nwhile [ ! -e {shlex.quote(str(free))} ]; do sleep 0.2; done\n")
    argv = ["sbatch", "--parsable", "--exclusive", "--partition=two", str(blocker)]
    subprocess.run(argv, cwd=bench.folder, env=bench.env, check=True)
    (bench.folder / "plan.yaml").write_text(SIDES)
    submit_agent(bench)

    def closed(name: str) -> bool:
        journal = bench.run / "steps" / name / "journal.jsonl"
        return journal.exists() and "run_closed" in journal.read_text()

    until(lambda: closed("one"), slurm.jobs)
    [waiting] = step(bench, "two").events("unit_intent")
    assert waiting["data"]["purpose"] == "probe"
    assert not step(bench, "two").events("unit_result")
    free.touch()
    until(lambda: bench.outcome() != "", slurm.jobs)
    assert bench.outcome() == "done"


@pytest.mark.slurm
def test_a_plan_inside_the_agent_s_own_allocation(cluster_bench: Bench, slurm: Cluster) -> None:
    bench = cluster_bench
    (bench.folder / "plan.yaml").write_text(TWO)
    first = submit_agent(bench, "--in-allocation", sbatch=("--exclusive",))
    until(lambda: bench.outcome() != "", slurm.jobs)
    assert bench.outcome() == "done"
    opened = step(bench, "b").events("run_opened")[0]["data"]
    assert opened["settings"]["scheduler"] == "local"
    until(lambda: slurm.jobs()[first] == "COMPLETED", slurm.jobs)


@pytest.mark.slurm
def test_cancelling_a_plan_ends_its_chain(cluster_bench: Bench, slurm: Cluster) -> None:
    bench = cluster_bench
    (bench.folder / "plan.yaml").write_text(SIDES)
    blocker = bench.folder / "blocker.sh"
    blocker.write_text("#!/bin/sh\nsleep 300\n")
    argv = ["sbatch", "--parsable", "--exclusive", "--partition=one", str(blocker)]
    done = subprocess.run(argv, cwd=bench.folder, env=bench.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    submit_agent(bench, sbatch=("--partition=two",))
    waits = step(bench, "one")
    until(
        lambda: (waits.run / "journal.jsonl").exists() and bool(waits.events("unit_submitted")),
        slurm.jobs,
    )
    cancelled = bench.hpcagent("cancel", str(bench.run))
    assert cancelled.returncode == 0, cancelled.stderr
    live = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")
    until(
        lambda: [j for j, state in slurm.jobs().items() if state in live] == [done.stdout.strip()],
        slurm.jobs,
    )
    assert bench.outcome() == "cancelled"
    assert waits.outcome() == "cancelled"


@pytest.mark.slurm
def test_a_partition_that_is_not_there_is_told_before_anything_begins(
    cluster_bench: Bench, slurm: Cluster
) -> None:
    done = plan(cluster_bench, SIDES.replace("partition: two", "partition: tow"))
    assert done.returncode == 4
    assert "plan.yaml:6: step two: slurm has no partition or queue 'tow'" in done.stderr
    assert not cluster_bench.run.exists()


@pytest.mark.strace
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_killed_at_every_durable_step(bench: Bench) -> None:
    (bench.folder / "plan.yaml").write_text(TWO.partition("  - name: which")[0])
    words = ["run", "plan.yaml", "--run-dir", str(bench.run)]
    assert killed_at_every_durable_step(bench, words) > 20
    assert decisions(bench) == ["begin a", "end a", "begin b", "end b"]
    for name in ("a", "b"):
        step(bench, name).job_of()
        assert step(bench, name).outcome() == "nothing better"
    assert not list(bench.run.rglob(".tmp-*")), "what a kill left unfinished"


def test_what_an_earlier_run_did_well_is_taken_over(bench: Bench) -> None:
    text = f"""\
schema: 1
steps:
  - name: a
    probe: {{no-measure: true}}
  - name: b
    tune: {TUNE}
  - name: c
    tune: {TUNE[:-1]}, openblas-prefix: "{{b.library}}"}}
  - name: d
    tune: {TUNE[:-1].replace("mix", "later")}, openblas-prefix: "{{b.library}}"}}
"""
    shutil.copy(bench.folder / "mix.yaml", bench.folder / "later.yaml")
    assert plan(bench, text).returncode == 0
    first = bench.folder / "first"
    bench.run.rename(first)
    # A rename changes the paths that the earlier journal told, so nothing is there any more.
    done = plan(bench, text, "--reuse", "first", "--dry-run")
    assert "taken over" not in done.stdout
    first.rename(bench.run)
    second = ["--run-dir", "second", "--reuse", "run"]
    future = time.time() + 5
    os.utime(bench.folder / "later.yaml", (future, future))
    (bench.folder / "plan.yaml").write_text(text)
    shown = bench.hpcagent("run", "plan.yaml", *second, "--dry-run")
    assert shown.stdout.count("is taken over") == 3
    again = bench.hpcagent("run", "plan.yaml", *second)
    assert again.returncode == 0, again.stderr
    told = bench.hpcagent("status", "second").stdout
    assert "4 of 4 steps done" in told
    assert sorted(path.name for path in (bench.folder / "second/steps").iterdir()) == ["d"]
    assert again.stdout.count("taken over: ") == 3
    report = (bench.folder / "second/result/report.md").read_text()
    assert "`../../run/steps/b/result/report.html`" in report
    # What needs something that is done again is done again as well.
    (bench.folder / "plan.yaml").write_text(text.replace("challengers: 2", "challengers: 3", 1))
    shown = bench.hpcagent("run", "plan.yaml", "--reuse", "second", "--dry-run")
    assert shown.stdout.count("is taken over") == 1
    no_plan = bench.hpcagent("run", "plan.yaml", "--reuse", "run/steps/b", "--dry-run")
    assert (no_plan.returncode, "is a tune run, not one of a plan" in no_plan.stderr) == (2, True)


@pytest.mark.parametrize(
    ("trouble", "code", "told"),
    [
        (SchedulerRefused("the partition is down"), 4, "a: the partition is down; when that is"),
        (KeyboardInterrupt(), 130, "interrupted; no job of it is out. Continue with"),
    ],
)
def test_what_hinders_the_very_first_step_leaves_a_plan_to_resume(
    bench: Bench, trouble: BaseException, code: int, told: str
) -> None:
    first = TWO.partition("  - name: b")[0]
    with mock.patch("hpcagent.cli.tune.begin_run", side_effect=trouble):
        done = plan(bench, first)
    assert done.returncode == code
    assert told in done.stderr
    assert f"hpcagent resume {bench.run}" in done.stderr
    assert bench.hpcagent("resume", str(bench.run)).returncode == 0
    assert bench.outcome() == "done"


def test_files_elsewhere_and_another_scheduler_are_not_taken_over(bench: Bench) -> None:
    first = TWO.partition("  - name: b")[0]
    assert plan(bench, first).returncode == 0
    words = ("--reuse", str(bench.run), "--dry-run")
    assert "is taken over" in bench.hpcagent("run", "plan.yaml", *words).stdout
    bench.env["HPCAGENT_SCHEDULER"] = "local"
    assert "is taken over" in bench.hpcagent("run", "plan.yaml", *words).stdout
    # What was there when the step ended is gone.
    report = bench.run / "steps" / "a" / "run.json"
    report.rename(report.with_name("away"))
    (bench.run / "steps" / "a").rename(bench.run / "steps" / "b")
    assert "is taken over" not in bench.hpcagent("run", "plan.yaml", *words).stdout
    other = bench.folder / "other"
    other.mkdir()
    for name in ("plan.yaml", "mix.yaml"):
        shutil.copy(bench.folder / name, other)
    elsewhere = bench.hpcagent("run", "other/plan.yaml", *words)
    assert (elsewhere.returncode, "is of a plan in" in elsewhere.stderr) == (2, True)


def test_a_step_waits_for_an_approval_of_its_own(bench: Bench) -> None:
    bench.env["HPCAGENT_APPROVE_CORE_HOURS"] = "1e-9"
    begun = plan(bench, TWO.partition("  - name: b")[0], "--no-wait")
    assert begun.returncode == 0
    path = f"{bench.run}/steps/a"
    assert f"approve it with `hpcagent approve {path}`" in begun.stderr
    of_the_plan = bench.hpcagent("approve", str(bench.run))
    assert (of_the_plan.returncode, f"now waits: {path}" in of_the_plan.stderr) == (2, True)
    assert bench.hpcagent("approve", path).returncode == 0
    done = bench.hpcagent("resume", str(bench.run))
    assert done.returncode == 0, done.stderr
    assert states(bench) == {"a": "done"}
