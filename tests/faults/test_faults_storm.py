"""One fault after the other befalls a run on a real Slurm; each round is measured exactly once."""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults import agents, answers, nodes
from faults.agents import SEED
from faults.answers import ASKED, Fault
from faults.audit import audit, note
from faults.scene import LONG, Scene, make_scene, pause
from lab import slurm_lab
from lab.slurm_fixtures import required
from lab.slurm_lab import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.openblas, pytest.mark.timeout(3000)]

ALL: Mapping[str, Fault] = {
    **answers.SUBMISSIONS, **answers.QUERIES, **nodes.JOBS, **nodes.DAEMONS, **nodes.STORAGE,
    **agents.AGENTS,
}  # fmt: skip
# Every kind once, in seconds each.
SHORT = (
    "the agent is killed, its sbatch goes on",
    "sbatch dies after the controller took the job",
    "the job appears late",
    "sbatch submits twice",
    "squeue fails",
    "scancel in the midst",
    "held and released",
    "requeued in the midst",
    "files are visible late",
    "slurmctld is away",
    "slurmdbd and MariaDB are away",
    "the agent is killed at random instants",
    "an agent is overtaken",
)


def storm(scene: Scene, faults: Mapping[str, Fault], record: str) -> None:
    """Each fault in turn, then the run's end, then the audit. One that fails does not keep the next
    from being tried."""
    scene.prepare()
    failed: list[str] = []
    for name, fault in faults.items():
        scene.mend()
        while unlucky(scene, scene.next_round()):
            scene.rounds(1)
        try:
            fault(scene)
        except (AssertionError, slurm_lab.Trouble):
            failed.append(f"{name}: {traceback.format_exc()}")
            if scene.closed:
                break
            scene.tools.unplan()
    assert not failed, "\n".join(failed)
    assert scene.finish() == 0
    found = audit(scene)
    assert found.rounds >= len(faults) // 2
    note(record, scene, found)


def unlucky(scene: Scene, unit: str) -> bool:
    """What an earlier fault has left: a second failure would end the search, a second job confuse
    the next fault."""
    known = scene.unit(unit)
    return known.attempt > 1 or known.job_id != scene.job(unit)


def chosen(names: tuple[str, ...]) -> dict[str, Fault]:
    """In an order of its own for each seed: a fault meets what another has left."""
    shuffled = sorted(names)
    random.Random(SEED).shuffle(shuffled)
    return {name: ALL[name] for name in shuffled}


@contextmanager
def plain_cluster() -> Iterator[Cluster]:
    """Without accounting: what the controller forgets, nobody knows."""
    required(accounting=False)
    with slurm_lab.cluster(accounting=False, settings={"MinJobAge": "3600"}) as made:
        yield made


def test_every_fault_once(tmp_path: Path, slurm: Cluster) -> None:
    faults = chosen(tuple(ALL) if LONG else SHORT)
    scene = make_scene(tmp_path, slurm, 130 if LONG else len(faults) + 6, 3)
    try:
        storm(scene, faults, "storm")
    finally:
        scene.kill()


if LONG:

    def test_without_accounting(tmp_path: Path) -> None:
        left_out = ("out of time", "slurmctld is frozen")  # they take long, and nobody asks sacct
        names = [*answers.SUBMISSIONS, *nodes.JOBS, *nodes.DAEMONS]
        names += ["squeue fails", "squeue shows nothing", "no query knows a job that runs"]
        names = [name for name in names if name not in left_out]
        with plain_cluster() as cluster:
            scene = make_scene(tmp_path, cluster, 110, 4)
            try:
                storm(scene, chosen(tuple(names)), "storm without accounting")
            finally:
                scene.kill()

    def test_killed_at_random_instants(tmp_path: Path, slurm: Cluster) -> None:
        """Again and again, while rounds go on and answers are spoilt at random too."""
        chance = random.Random(SEED)
        spoilt = ("kill-after", "die-after", "lost", "late 1", "mute", f"fail {ASKED}", "banner")
        scene = make_scene(tmp_path, slurm, 120, 5)
        try:
            scene.prepare()
            scene.tools.open()
            while scene.kills < 60 and not scene.closed:
                scene.keep()
                if chance.random() < 0.3:
                    scene.tools.plan("sbatch", chance.choice(spoilt))
                pause(chance, 4.0)
                scene.kill()
            assert scene.finish() == 0
            note("killed at random", scene, audit(scene))
        finally:
            scene.kill()
