"""Faults of what the scheduler's commands answer: each disturbs one or more rounds of a scene."""

from __future__ import annotations

from collections.abc import Callable

from faults.scene import GRACE_S, LOST_S, SETTLE_S, Scene

Fault = Callable[[Scene], None]
FULL = "Batch job submission failed: Resource temporarily unavailable"
AWAY = "Batch job submission failed: Unable to contact slurm controller (connect failure)"
NO = "Batch job submission failed: Invalid account or account/partition combination specified"
ASKED = "Unable to contact slurm controller (connect failure)"


def submission(*modes: str) -> Fault:
    """The next submissions go these ways."""

    def fault(scene: Scene) -> None:
        unit = scene.next_round()
        scene.tools.plan("sbatch", *modes)
        scene.let(unit)
        scene.ended(unit)
        scene.until(lambda: not scene.tools.planned("sbatch"), f"sbatch {modes}")
        scene.next_round()

    return fault


def given_up(scene: Scene) -> None:
    """A job shows when another has been submitted in its place: two jobs of one name."""
    known = {unit.name for unit in scene.state.units}
    submission(f"late {SETTLE_S + 2:g}")(scene)
    (unit,) = {unit.name for unit in scene.state.units} - known
    scene.until(
        lambda: len(scene.ask("squeue", "-t", "all", "-n", unit, "-o", "%i").split()) == 2,
        "the first job shows",
    )


def query(command: str, *modes: str) -> Fault:
    """The next answers of a command that looks after jobs are of this kind, from a job's middle."""

    def fault(scene: Scene) -> None:
        unit = scene.next_round()
        scene.tools.plan(command, *modes)
        if command != "squeue":  # asked only where squeue knows nothing of a job
            scene.tools.plan("squeue", *["nothing"] * len(modes))
        scene.until(lambda: not scene.tools.planned(command), f"{command} {modes}")
        scene.let(unit)
        scene.ended(unit)
        scene.next_round()

    return fault


def all_commands_fail(scene: Scene) -> None:
    """No command has an answer for a while, neither when a job ends nor when one is submitted."""
    unit = scene.next_round()
    scene.tools.plan("any", *[f"fail {ASKED}"] * 12)
    scene.let(unit)
    scene.until(lambda: not scene.tools.planned("any"), "all plans are used up")
    scene.ended(unit)
    scene.next_round()


def found_and_lost(scene: Scene) -> None:
    """No query knows the job any more, though it runs: it is given up after a while, and its
    round is measured by another one."""
    unit = scene.next_round()
    scene.tools.plan("squeue", *["nothing"] * 400)
    scene.tools.plan("sacct", *["nothing"] * 400)
    ended = scene.ended(unit)
    scene.tools.unplan()
    assert ended.failure is not None and ended.failure.id == "scheduler.lost", ended.failure
    scene.let(unit)
    scene.measured(unit)
    scene.next_round()


def cancelling_fails(scene: Scene) -> None:
    """scancel is not heard where a second job of one name is to be taken back."""
    scene.tools.plan("scancel", f"fail {ASKED}", f"fail {ASKED}")
    submission("twice")(scene)
    scene.until(lambda: not scene.tools.planned("scancel"), "scancel was tried again")


SUBMISSIONS: dict[str, Fault] = {
    "the agent is killed before sbatch": submission("kill-before"),
    "the agent is killed, its sbatch goes on": submission("kill-meanwhile 1"),
    "the agent is killed before it hears of its job": submission("kill-after"),
    "sbatch dies after the controller took the job": submission("die-after"),
    "sbatch says nothing": submission("mute"),
    "sbatch's answer is lost": submission("lost"),
    "the job appears late": submission("late 1.2"),
    "the job appears after it was given up": given_up,
    "sbatch submits twice": submission("twice"),
    "sbatch speaks of other things": submission("banner"),
    "the queue is full, once": submission(f"fail {FULL}"),
    "the queue is full, three times": submission(*[f"fail {FULL}"] * 3),
    "the controller is away": submission(f"fail {AWAY}", f"fail {AWAY}"),
    "the job is refused": submission(f"fail {NO}"),
    "the controller is away, then sbatch dies": submission(f"fail {AWAY}", "die-after"),
    "scancel is not heard": cancelling_fails,
}

QUERIES: dict[str, Fault] = {
    "squeue fails": query("squeue", *[f"fail {ASKED}"] * 3),
    "squeue speaks nonsense": query("squeue", *["nonsense"] * 3),
    "squeue shows nothing": query("squeue", *["nothing"] * 3),
    "sacct fails": query("sacct", *["fail Unable to connect to database"] * 2),
    "sacct shows nothing": query("sacct", *["nothing"] * 2),
    "the agent is killed before a query": query("squeue", "kill-before"),
    "the agent is killed during a query": query("squeue", "kill-after"),
    "no command has an answer": all_commands_fail,
    "no query knows a job that runs": found_and_lost,
}
assert LOST_S > GRACE_S > SETTLE_S
