"""A batch system that takes not even the first job: what is told, and what is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.pbs_lab import PbsLab
from lab.slurm_lab import Cluster
from mainjob import Bench, Inside, make_bench

from hpcagent.study.rundir import create_run, open_run, remove_run

NOTHING = "; nothing was submitted, and nothing is left of the run"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    folder = tmp_path / "user"
    folder.mkdir()
    made = make_bench(folder)
    return Inside(folder, {**made.env, "HPCAGENT_POLL_SECONDS": "0.3"})


@pytest.fixture
def pbs(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PbsLab]:
    with PbsLab(tmp_path / "pbs") as made:
        monkeypatch.setenv("PATH", made.path)
        bench.env["PATH"] = made.path
        yield made


def refused(bench: Bench, mended: list[str], *wrong: str) -> str:
    """The refusal in words, after which the same folder serves a request that is taken."""
    before = sorted(bench.folder.iterdir())
    done = bench.tune("--budget", "rounds=1", *wrong)
    assert done.returncode == 4, done.stderr
    assert sorted(bench.folder.iterdir()) == before
    words = done.stderr.splitlines()[-1]
    assert words.endswith(NOTHING)
    assert bench.hpcagent("status", str(bench.run)).returncode == 2
    begun = bench.tune("--budget", "rounds=1", "--no-wait", *mended)
    assert begun.returncode == 0, begun.stderr
    assert len(bench.events("unit_submitted")) == 1
    assert bench.hpcagent("cancel", str(bench.run)).returncode == 0
    return words


def test_the_local_queue(bench: Bench) -> None:
    assert "local refused probe: it asks for 4096 CPUs" in refused(bench, [], "--cores", "4096")


def test_pbs(bench: Bench, pbs: PbsLab) -> None:
    short = ["--scheduler", "pbs", "--queue", "short"]
    words = refused(bench, [*short, "--cores", "1"], *short, "--cores", "8")
    assert "Job violates queue and/or server resource limits" in words


@pytest.mark.slurm
def test_slurm(bench: Bench, slurm: Cluster) -> None:
    bench.env.update(slurm.env)
    charged = ["--scheduler", "slurm", "--account"]
    words = refused(bench, [*charged, "proj"], *charged, "nosuch")
    assert "slurm refused probe: " in words and "Invalid account" in words


def test_a_folder_that_was_there_stays_there_and_empty(bench: Bench) -> None:
    bench.run.mkdir()
    same = bench.run.stat().st_ino
    done = bench.tune("--cores", "4096")
    assert done.stderr.splitlines()[-1].endswith(NOTHING)
    assert bench.run.stat().st_ino == same and not list(bench.run.iterdir())


def test_what_others_put_into_a_run_is_kept(tmp_path: Path) -> None:
    run = create_run("tune", "1", tmp_path)
    notes = run.path / "notes.txt"
    notes.write_text("mine")
    assert not remove_run(run, but_the_folder=False)
    assert notes.read_text() == "mine" and open_run(run.path).id == run.id
    notes.unlink()
    (run.path / "inbox" / "link").symlink_to(tmp_path)
    assert remove_run(run, but_the_folder=False)
    assert not run.path.exists() and tmp_path.is_dir()


def test_a_probe_leaves_nothing_either(bench: Bench) -> None:
    done = bench.hpcagent("probe", "--cores", "4096", "--json")
    assert done.returncode == 4 and not done.stdout
    assert done.stderr.count("\n") == 1 and done.stderr.rstrip().endswith(NOTHING)
    assert not list((bench.folder / "runs").iterdir())


def test_what_may_have_been_submitted_is_kept(bench: Bench, pbs: PbsLab) -> None:
    """A first qsub that gives no answer may have queued a job, which would miss its folder."""
    calls, real = bench.folder / "calls", pbs.bin / "qsub"
    stub = bench.folder / "bin" / "qsub"
    stub.parent.mkdir()
    stub.write_text(
        f"#!/bin/bash\necho >> {calls}\n[[ $(wc -l < {calls}) == 1 ]] && kill -9 $$\n"
        f'exec {str(real).replace(" ", chr(92) + " ")} -q nosuch "$@"\n'
    )
    stub.chmod(0o755)
    bench.env["PATH"] = f"{stub.parent}{os.pathsep}{pbs.path}"
    bench.env["HPCAGENT_SETTLE_SECONDS"] = "1"
    done = bench.tune("--budget", "rounds=1", "--scheduler", "pbs", "--queue", "workq")
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].endswith(f"the run is kept in {bench.run}")
    said = bench.hpcagent("explain", str(bench.run)).stdout
    assert "scheduler.refused" in said and "Unknown queue" in said
    page = bench.hpcagent("report", str(bench.run)).stdout
    assert "Spent        0 rounds, 0 jobs" in page
    assert "Look at      journal.jsonl, and job.sh in work/" in page


@pytest.mark.openblas
@pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2 or shutil.which("taskset") is None,
    reason="needs two cores, and taskset to take one away",
)
def test_a_later_refusal_says_how_to_go_on(bench: Bench) -> None:
    alone = Bench(bench.folder, bench.env)
    one = str(min(os.sched_getaffinity(0)))
    assert alone.tune("--budget", "rounds=1", "--cores", "2", "--no-wait").returncode == 0
    argv = ["taskset", "-c", one, *alone.argv("resume", str(bench.run))]
    done = subprocess.run(argv, cwd=bench.folder, env=bench.env, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    words = done.stderr.splitlines()[-1]
    assert "local refused " in words
    assert words.endswith(f"when that is mended go on with: hpcagent resume {bench.run}")
    assert alone.hpcagent("resume", str(bench.run)).returncode == 0
