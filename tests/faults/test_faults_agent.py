"""The agent is killed, or denied its files, at every step of a turn."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from faults.agents import SEED, cancelled_with_difficulty
from faults.audit import audit, note
from faults.scene import LONG, Scene, make_scene
from lab.slurm_lab import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.openblas, pytest.mark.timeout(3000)]
needs_strace = [
    pytest.mark.strace,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]
# What leaves a trace outside the process; clone and the like begin every command that it runs.
FILES = ("fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat", "mkdir",
         "ftruncate")  # fmt: skip
STEPS = ("write", *FILES, "unlink", "unlinkat", "clone", "clone3", "fork", "vfork")
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
ROUNDS = 50  # of one run


@dataclass
class Turns:
    """Turns of `hpcagent step`, each of which finds a job ended, takes it in, proposes the next
    round and submits it; a new run where one has used up its rounds."""

    folder: Path
    cluster: Cluster
    rounds: int = ROUNDS
    count: int = 0
    scene: Scene = field(init=False)

    def __post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.count += 1
        place = self.folder / str(self.count)
        place.mkdir()
        self.scene = make_scene(place, self.cluster, self.rounds, 10 + self.count)
        self.scene.prepare()
        self.scene.kill()
        self.scene.kills = 0

    def ready(self) -> Scene:
        """A job has ended and nobody has looked yet; what a turn does next is up to the test."""
        if len(self.scene.state.rounds) >= self.rounds - 2:
            self.end()
            self._begin()
        unit = self.settled()
        self.scene.let(unit)
        self.scene.measured(unit)
        return self.scene

    def settled(self) -> str:
        """Undisturbed steps until the next round is at the gate; its unit."""
        scene = self.scene
        limit = time.monotonic() + 300
        while not scene.waiting():
            assert time.monotonic() < limit, scene.told()
            done = scene.step()
            assert done.returncode in (0, 3, 4), done.stderr
            assert not scene.closed, scene.state.closed
            scene.release()
            time.sleep(0.1)
        return scene.waiting()

    def end(self) -> None:
        assert self.scene.finish() == 0
        self.audit()

    def audit(self) -> None:
        note("turns of the agent", self.scene, audit(self.scene))


@pytest.fixture(scope="module")
def turns(tmp_path_factory: pytest.TempPathFactory, slurm_cluster: Cluster) -> Iterator[Turns]:
    """The tests of this file take their turns one after the other, in as few runs as that takes.

    The last one is cancelled in the end, where scancel is not heard at first."""
    made = Turns(tmp_path_factory.mktemp("turns"), slurm_cluster)
    try:
        yield made
        made.settled()
        cancelled_with_difficulty(made.scene)
        made.audit()
    finally:
        made.scene.kill()


def steps_to_try(calls: Sequence[str], few: int) -> dict[str, list[int]]:
    """Per system call (strace counts each by itself) which of a turn's; all in the long form, as
    many as there are, else a few, other ones with another seed."""
    if LONG:
        return {call: list(range(1, 100)) for call in calls}
    chance = random.Random(SEED)
    few_calls = chance.sample(("write", "fsync", "rename"), few)
    return {call: [chance.randint(1, 4)] for call in few_calls}


def strace(*words: str) -> list[str]:
    return ["strace", "-qq", "-o", "/dev/null", *words]


# --- the agent is killed -------------------------------------------------------------------------


class TestKilled:
    pytestmark = needs_strace

    def test_at_every_step(self, turns: Turns) -> None:
        """A turn is killed before its n-th write, its n-th fsync, rename, fork and so on."""
        killed = Counter[str]()
        for call, numbers in steps_to_try(STEPS, 3).items():
            for n in numbers:
                scene = turns.ready()
                inject = f"inject={call}:signal=KILL:when={n}"
                done = scene.step(*strace("-e", f"trace={call}", "-e", inject))
                if done.returncode == 0:
                    break
                assert done.returncode in KILLED, done.stderr
                scene.kills += 1
                killed[call] += 1
        assert killed["write"] and killed["fsync"] and killed["rename"], killed


def test_killed_around_every_command(turns: Turns) -> None:
    """The agent is killed before, during and after the n-th command of a turn."""
    modes = ["kill-before", "kill-meanwhile 0.7", "kill-after"]
    for mode in modes if LONG else random.Random(SEED).sample(modes, 1):
        for n in range(1, 30 if LONG else 3):
            scene = turns.ready()
            scene.tools.plan("any", *["pass"] * (n - 1), mode)
            done = scene.step()
            left = scene.tools.planned("any")
            scene.tools.unplan()
            if left:
                assert done.returncode == 0, done.stderr
                break
            assert done.returncode in KILLED, done.stderr
            scene.kills += 1


# --- the agent's files ---------------------------------------------------------------------------


class TestDenied:
    pytestmark = needs_strace

    def test_at_every_step(self, turns: Turns) -> None:
        """The n-th of a turn's steps in its files fails, in turn once and from there on."""
        for call, numbers in steps_to_try(FILES, 2).items():
            for n in numbers:
                scene = turns.ready()
                error = ("ENOSPC", "EDQUOT", "EIO")[n % 3]
                when = f"{n}+" if n % 2 else str(n)
                inject = f"inject={call}:error={error}:when={when}"
                done = scene.step(*strace("-e", f"trace={call}", "-e", inject))
                assert done.returncode in (0, 3), (call, n, error, done)
                scene.codes.append(done.returncode)
                if done.returncode == 0 and n % 2:
                    break

    def test_writing_the_journal(self, turns: Turns) -> None:
        for n in range(1, 12 if LONG else 2):
            scene = turns.ready()
            inject = f"inject=write:error=ENOSPC:when={n}"
            journal = str(scene.run / "journal.jsonl")
            done = scene.step(*strace("-P", journal, "-e", "trace=write", "-e", inject))
            scene.codes.append(done.returncode)
            if done.returncode == 0:
                break
            assert done.returncode == 3, done.stderr
            assert "journal.jsonl" in done.stderr


def test_a_file_size_limit(turns: Turns) -> None:
    """The journal reaches the limit of the agent's shell, at different events."""
    for room in (0, 300, 1500, 4000, 7000, 20000) if LONG else (700,):
        scene = turns.ready()
        limit = (scene.run / "journal.jsonl").stat().st_size + room
        done = subprocess.run(
            scene.bench.argv("step", str(scene.run)), cwd=scene.bench.folder,
            env=scene.bench.env, capture_output=True, text=True, check=False,
            preexec_fn=lambda most=limit: resource.setrlimit(
                resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY)
            ),
        )  # fmt: skip
        scene.codes.append(done.returncode)
        assert done.returncode in (0, 3), done.stderr
        assert "Traceback" not in done.stderr
        if done.returncode:
            assert "ulimit -f" in done.stderr
