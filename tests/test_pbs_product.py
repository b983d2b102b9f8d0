"""The main job on PBS, as the stand-in of a recorded OpenPBS answers: login node and batch jobs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.pbs_lab import PbsLab
from mainjob import ROOT, Bench, Inside, make_bench, until

from hpcagent.schedulers.pbs_own import own_job
from hpcagent.schedulers.pbs_text import JOB, blocks

FIXTURES = Path(__file__).parent / "fixtures" / "pbs"
ENVIRONMENT = ("HOME", "XDG_CONFIG_HOME", "HPCAGENT_QUEUE")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PbsLab]:
    with PbsLab(tmp_path / "pbs") as made:
        monkeypatch.setenv("PATH", made.path)
        yield made


@pytest.fixture
def bench(tmp_path: Path, lab: PbsLab) -> Bench:
    folder = tmp_path / "user"
    (folder / "bin").mkdir(parents=True)
    made = make_bench(folder)
    shutil.copy(ROOT / "bin" / "agent_job.pbs", folder / "bin")
    (folder / "bin" / "hpcagent").write_text(
        f'#!/bin/bash\nexport PYTHONPATH="{ROOT}" PATH="{made.env["PATH"]}"\n'
        f'exec {sys.executable} -m hpcagent "$@"\n'
    )
    (folder / "bin" / "hpcagent").chmod(0o755)
    config = folder / "hpcagent.toml"
    config.write_text(config.read_text() + "poll_seconds = 0.3\ngrace_seconds = 3\n")
    return Inside(folder, made.env)


def live(lab: PbsLab) -> list[str]:
    done = lab.run("qstat", "-f", "-w")
    return [block.name for block in blocks(done.stdout, JOB)]


@pytest.mark.openblas
def test_tune_from_a_login_node(bench: Bench, lab: PbsLab) -> None:
    done = bench.tune("--budget", "rounds=1", "--queue", "workq", "--scheduler", "pbs")
    assert done.returncode == 0, done.stderr
    assert bench.outcome() in ("improved", "nothing better")
    bench.job_of()
    assert not live(lab)


@pytest.mark.openblas
@pytest.mark.parametrize("history", [True, False])
def test_the_agent_as_a_chain_of_jobs(bench: Bench, lab: PbsLab, history: bool) -> None:
    lab.set(history=history)
    words = "tune --lib openblas --workload mix.yaml --challengers 2 --budget rounds=1"
    words += f" --run-dir {bench.run}"
    variables = [f"HPCAGENT_ARGS={words}", *(f"{name}={bench.env[name]}" for name in ENVIRONMENT)]
    argv = ["qsub", "-v", ",".join(variables), "bin/agent_job.pbs"]
    done = subprocess.run(argv, cwd=bench.folder, env=bench.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    until(lambda: bench.outcome() != "", lambda: live(lab))
    until(lambda: not live(lab), lambda: live(lab))
    bench.job_of()
    assert bench.events("run_opened")[0]["data"]["settings"]["scheduler"] == "pbs"


def test_a_job_reads_what_it_asked_for() -> None:
    lines = (FIXTURES / "captures.jsonl").read_text().splitlines()
    captures = {row["name"]: row for row in map(json.loads, lines)}
    text = captures["momdown-qstat-after-qdel"]["stdout"]
    job = own_job("157", text)
    assert job is not None
    assert job.id == "157.pbs01"
    assert job.left_s == 30 * 60 - 148
    assert (job.asks.walltime_s, job.asks.cpus_per_task, job.asks.partition) == (1800, 1, "workq")
    assert (job.asks.account, job.asks.exclusive, job.asks.nodes) == (None, False, 1)
    assert own_job("158", text) is None
    chunk = text.replace("select = 1:ncpus=1", "select = 2:ncpus=4:mem=2gb:ngpus=1+1:ncpus=9")
    asks = own_job("157.pbs01", chunk)
    assert asks is not None
    assert (asks.asks.nodes, asks.asks.cpus_per_task, asks.asks.memory_bytes) == (2, 4, 2 << 30)
    assert asks.asks.extra == (":ngpus=1",)
