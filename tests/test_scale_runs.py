"""`hpcagent scale` on the nodes of a real Slurm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from lab.slurm_lab import Cluster
from mainjob import Bench, Inside, make_bench

pytestmark = pytest.mark.slurm
# Sleeps a share of its work in every process, so that any machine has nodes enough. Slurm's own
# launcher starts them: mpirun takes seconds over two nodes of one machine.
SOURCE = """\
#!/bin/sh
begin=$(date +%s%N)
sleep $(awk "BEGIN { print $1 / 1000 / $SLURM_NTASKS }")
[ "$SLURM_PROCID" = 0 ] || exit 0
[ "$SLURM_NNODES" -le 2 ] || exit 1
echo "ranks $SLURM_NTASKS answer $1 time $(awk "BEGIN { print ($(date +%s%N) - $begin) / 1e9 }")"
"""
CARD = """\
schema: 1
name: sharer
kind: application
title: a program that shares its work
command:
  argv: [./sharer.sh, "{work}"]
  launch: mpi
  launcher: [srun, --overcommit]
  ranks: nodes * per_node
derived: {work: "400"}
space:
  - {name: per_node, kind: ordinal, meaning: processes on a node, values: [1, 2], default: 1}
figures_of_merit:
  - {name: time, regex: '.* time (?P<value>\\S+)', unit: s, direction: min}
check: {answer: {pattern: '.* answer (?P<value>\\S+)', tolerance: 0}}
readback: {ranks: 'ranks (\\d+)'}
resources: {nodes: 1, tasks_per_node: 1, cpus_per_task: 1}
"""
TUNE = ("tune", "--app", "card.yaml", "--scheduler", "slurm", "--partition", "both", "--budget",
        "rounds=1", "--challengers", "1", "--confirm-jobs", "1", "--model", "")  # fmt: skip


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, slurm_cluster: Cluster) -> Bench:
    """A closed tune run, `tuned` in the folder, that is looked at only."""
    folder = tmp_path_factory.mktemp("scale")
    few = {"HPCAGENT_CONFIRM_PAIRS": "9", "HPCAGENT_MAX_PAIRS": "3"}
    env = {**make_bench(folder).env, **slurm_cluster.env, **few, "HPCAGENT_POLL_SECONDS": "0.3"}
    (folder / "sharer.sh").write_text(SOURCE)
    (folder / "sharer.sh").chmod(0o755)
    (folder / "card.yaml").write_text(CARD)
    bench = Inside(folder, env)
    done = bench.hpcagent(*TUNE, "--run-dir", str(folder / "tuned"))
    assert done.returncode == 0, done.stderr + done.stdout
    return bench


@pytest.fixture
def bench(tuned: Bench, slurm: Cluster) -> Iterator[Bench]:
    yield tuned
    shutil.rmtree(tuned.run, ignore_errors=True)


def otherwise(bench: Bench, old: str, new: str) -> str:
    """A copy of the tuned run, as if its card had said something else."""
    folder = bench.folder / "otherwise"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bench.folder / "tuned", folder)
    journal = folder / "journal.jsonl"
    first, *others = journal.read_text().splitlines(keepends=True)
    assert old in first
    journal.write_text("".join([first.replace(old, new), *others]))
    return str(folder)


def found(bench: Bench) -> dict[str, Any]:
    done = bench.hpcagent("report", str(bench.run), "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_more_nodes_are_measured_and_their_gain_is_told(bench: Bench) -> None:
    run = str(bench.folder / "tuned")
    words = ("scale", run, "--nodes", "2,1", "--pairs", "3", "--run-dir", str(bench.run))
    shown = bench.hpcagent(*words, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "== block-1-2: submit to slurm" in shown.stdout
    assert "#SBATCH --nodes=2" in shown.stdout
    done = bench.hpcagent(*words)
    assert done.returncode == 0, done.stderr + done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    asked = [event["data"]["resources"]["nodes"] for event in bench.events("unit_intent")]
    assert sorted(asked) == [1, 1, 1, 2, 2, 2]
    scaling = found(bench)["scaling"]
    assert (scaling["kind"], scaling["most"]) == ("strong", 2)
    runs = [run for event in bench.events("unit_result") for run in event["data"]["runs"]]
    assert {run["readback"]["ranks"] for run in runs} == {"1", "2", "4"}
    for which in ("tuned", "default"):
        one, two = scaling[which]
        assert (one["nodes"], two["nodes"]) == (1, 2)
        assert 1.4 < two["speed"]["ratio"] < 2.3
        assert two["efficiency"][0] == pytest.approx(two["speed"]["ratio"] / 2)
        assert abs(two["serial"]) < 0.45
    text = " ".join(done.stdout.split())
    assert "2 nodes are" in text
    assert "times as fast as 1 node" in text
    assert "All of them keep an efficiency of 70 %" in text
    report = (bench.run / "result" / "report.md").read_text()
    assert "](figures/scaling.svg)" in report
    assert f"hpcagent scale {run} --nodes 1,2 --efficiency 0.7" in report
    assert "<svg" in (bench.run / "result" / "report.html").read_text()


def test_twice_the_work_on_twice_the_nodes_takes_as_long(bench: Bench) -> None:
    run = otherwise(bench, '"work":"400"', '"work":"400 * nodes"')
    done = bench.hpcagent(
        "scale", run, "--nodes", "1,2", "--weak", "--pairs", "3", "--run-dir", str(bench.run)
    )
    assert done.returncode == 0, done.stderr + done.stdout
    two = found(bench)["scaling"]["tuned"][1]
    assert 0.7 < two["efficiency"][0] < 1.3, "another answer is a right one here"
    assert "the weak efficiency against 1 node is" in " ".join(done.stdout.split())


def test_what_cannot_be_scaled_is_told_in_one_line(bench: Bench) -> None:
    run = str(bench.folder / "tuned")
    fixed = otherwise(bench, '"values":[1,2]', '"values":"[nodes, 2 * nodes]"')
    for name, nodes, told in (
        (run, "1", "--nodes 1: give at least two different numbers"),
        (run, "1,x", "--nodes 1,x: numbers from 1 with commas between"),
        (fixed, "1,3", "tuned is no configuration on 3 nodes:"),
    ):
        done = bench.hpcagent("scale", name, "--nodes", nodes, "--run-dir", str(bench.run))
        assert done.returncode == 2
        assert told in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not bench.run.exists()
