"""`hpcagent probe` and `doctor` as users run them: on the local queue, and through a real Slurm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from lab.slurm_lab import Cluster
from mainjob import Bench, Inside, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = make_bench(tmp_path)
    return Inside(tmp_path, {**made.env, "HPCAGENT_CACHE": str(tmp_path / "cache")})


@pytest.fixture
def cluster_bench(bench: Bench, slurm: Cluster) -> Bench:
    quick = {"HPCAGENT_POLL_SECONDS": "0.3", "HPCAGENT_GRACE_SECONDS": "3"}
    return Inside(bench.folder, {**bench.env, **slurm.env, **quick})


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.toolchain
def test_a_probe_tells_what_is_there_and_is_remembered(bench: Bench) -> None:
    nothing = bench.hpcagent("probe", "--cached")
    assert (nothing.returncode, nothing.stdout) == (3, "")
    assert "run `hpcagent probe` first" in nothing.stderr
    found = told(bench.hpcagent("probe", "--json"))
    (target,) = found["targets"]
    assert target["failure"] is None
    commands = {compiler["command"] for compiler in target["software"]["compilers"]}
    assert {"gcc", "g++", "gfortran"} <= commands
    facts = {fact["name"]: fact for fact in target["hardware"]["facts"]}
    assert any(fact["confidence"] == "measured" for fact in facts.values())
    kept = told(bench.hpcagent("probe", "--cached", "--json"))
    assert kept["targets"][0]["digest"] == target["digest"]
    # Rates that were measured once are shown again, with their date.
    page = bench.hpcagent("probe", "--no-measure")
    assert page.returncode == 0, page.stderr
    assert "memory bandwidth" in page.stdout
    assert all(len(line) <= 80 for line in page.stdout.splitlines())


@pytest.mark.toolchain
def test_a_killed_probe_is_resumed(bench: Bench) -> None:
    argv = bench.argv("probe", "--no-measure", "--run-dir", str(bench.run))
    agent = subprocess.Popen(argv, cwd=bench.folder, env=bench.env, stderr=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL)  # fmt: skip
    until = time.monotonic() + 300
    while not (bench.run / "journal.jsonl").exists() or not bench.events("unit_submitted"):
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait()
    done = bench.hpcagent("resume", str(bench.run), "--json")
    assert told(done)["outcome"] == "probed"
    assert len(bench.events("unit_submitted")) == 1
    assert "probed" in bench.hpcagent("status", str(bench.run)).stdout


def test_a_dry_run_shows_the_job_and_runs_nothing(bench: Bench) -> None:
    done = bench.hpcagent("probe", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "collect_software.py" in done.stdout
    assert not (bench.folder / "runs").exists()


@pytest.mark.slurm
def test_every_partition_is_asked_through_slurm(cluster_bench: Bench, slurm: Cluster) -> None:
    words = ("probe", "--partition", "all", "--no-measure", "--run-dir", str(cluster_bench.run))
    found = told(cluster_bench.hpcagent(*words, "--json"))
    names = {partition["name"] for partition in found["catalogue"]["partitions"]}
    assert {target["partition"] for target in found["targets"]} <= names
    good = [target for target in found["targets"] if target["failure"] is None]
    assert {target["node"] for target in good} <= {"n1", "n2"}
    assert "short" in {target["partition"] for target in good}  # it allows two minutes
    assert all(target["software"]["compilers"] for target in good)
    # The lab has partitions that refuse everybody: they are told, and do not end the run.
    lost = [target["failure"] for target in found["targets"] if target["failure"] is not None]
    assert {failure["stage"] for failure in lost} == {"scheduler"}
    page = cluster_bench.hpcagent("report", str(cluster_bench.run)).stdout
    assert "== what can be asked for" in page
    jobs = slurm.jobs()
    for event in cluster_bench.events("unit_submitted"):
        assert jobs[event["data"]["job_id"]] == "COMPLETED"


@pytest.mark.slurm
def test_a_partition_that_is_not_there_is_named(cluster_bench: Bench) -> None:
    done = cluster_bench.hpcagent("probe", "--partition", "nosuch")
    assert done.returncode == 4
    assert "nosuch" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slurm
@pytest.mark.toolchain
def test_the_doctor_visits_a_compute_node(cluster_bench: Bench, slurm: Cluster) -> None:
    where = ("--partition", "both", "--account", "proj", "--shared")
    words = ("doctor", *where, "--run-dir", str(cluster_bench.run), "--json")
    found = told(cluster_bench.hpcagent(*words))
    (target,) = found["targets"]
    assert target["node"] in ("n1", "n2")
    assert any(row["rank"] == 1 for row in target["doctor"]["rows"])
    ok = {check["what"] for check in target["doctor"]["agent"] if check["status"] == "ok"}
    assert {"python3", "shared folder"} <= ok
    assert any("submi" in check["what"] for check in target["doctor"]["agent"])
    jobs = slurm.jobs()
    assert {jobs[e["data"]["job_id"]] for e in cluster_bench.events("unit_submitted")} == {
        "COMPLETED"
    }
    page = cluster_bench.hpcagent("report", str(cluster_bench.run)).stdout
    assert "Take, the best first" in page
    assert all(len(line) <= 80 for line in page.splitlines())
