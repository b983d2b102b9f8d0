"""Faults of the agents themselves: killed at random, several of them, one that is overtaken."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time

from faults.answers import ASKED, Fault
from faults.scene import LONG, Scene, pause

SEED = os.environ.get("HPCAGENT_FAULTS_SEED", "1")


def killed_at_random(scene: Scene) -> None:
    """Whatever it is doing, while one round ends and the next is submitted."""
    chance = random.Random(SEED)
    for _ in range(12 if LONG else 3):
        unit = scene.waiting()
        if unit:
            scene.let(unit)
        scene.keep()
        pause(chance, 2.0)
        scene.kill()
    scene.next_round()


def several_at_once(scene: Scene) -> None:
    """Beside one that works, three others say whose the run is; of three that start after it was
    killed, one works."""
    for alive in (True, False):
        unit = scene.next_round()
        if not alive:
            scene.kill()
        several = [
            subprocess.Popen(
                scene.argv(), cwd=scene.bench.folder, env=scene.bench.env,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )
            for _ in range(3)
        ]  # fmt: skip
        scene.until(
            lambda all_=several, losers=3 if alive else 2: (
                sum(p.poll() is not None for p in all_) == losers
            ),
            "the others have gone",
            kept=False,
        )
        check_several(scene, several, 0 if alive else 1)
        scene.let(unit)
        scene.ended(unit)


def check_several(scene: Scene, several: list[subprocess.Popen[str]], winners: int) -> None:
    time.sleep(1)
    working = [process for process in several if process.poll() is None]
    for process in working:
        process.kill()
    for process in several:
        _, errors = process.communicate()
        expected = -signal.SIGKILL if process in working else 6
        assert process.returncode == expected, errors
        assert process in working or "process" in errors
        scene.codes.append(process.returncode)
    assert len(working) == winners


def overtaken(scene: Scene) -> None:
    """An agent waits for sbatch while another host's takes the run over, and submits the unit too;
    then the first one's sbatch goes through."""
    unit = scene.next_round()
    word = unit
    scene.tools.plan("sbatch", f"wait {word}")
    scene.let(unit)
    scene.until((scene.tools.folder / f"waits.{word}").exists, "sbatch is about to submit")
    first, scene.agent = scene.agent, None
    assert first is not None
    lease = scene.run / "lease.json"
    held = json.loads(lease.read_text())
    lease.write_text(
        json.dumps({**held, "host": "elsewhere", "heartbeat_utc": "2001-01-01T00:00:00.000Z"})
    )
    scene.start()
    unit = scene.next_round()
    (scene.tools.folder / f"go.{word}").touch()
    assert first.wait(timeout=300) == 6
    scene.codes.append(6)
    assert "has taken over the run" in scene.said()
    scene.let(unit)
    scene.ended(unit)
    scene.next_round()


def cancelled_with_difficulty(scene: Scene) -> None:
    """`hpcagent cancel` does not say that it has cancelled what it could not. The run is over."""
    scene.tools.plan("scancel", f"fail {ASKED}")
    first = scene.bench.hpcagent("cancel", str(scene.run))
    assert not scene.closed
    assert first.returncode == 3, (first.returncode, first.stdout, first.stderr)
    assert ": cancelled" not in first.stdout
    again = scene.bench.hpcagent("cancel", str(scene.run))
    assert again.returncode == 0, again.stderr
    assert scene.closed


AGENTS: dict[str, Fault] = {
    "the agent is killed at random instants": killed_at_random,
    "several agents at once": several_at_once,
    "an agent is overtaken": overtaken,
}
