"""Faults of jobs, nodes and daemons: each disturbs one or more rounds of a scene."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from faults.answers import Fault
from faults.scene import GRACE_S, LONG, Scene

from hpcagent.measure import worker
from hpcagent.study.state import Unit

OUTAGE_S = 45.0 if LONG else 3.0


# --- jobs ----------------------------------------------------------------------------------------


def reference_execution(scene: Scene, unit: str, pair: int) -> int:
    """The number of the driver's process that measures the reference in this cycle.

    A challenger that is held would be abandoned for its slowness.
    """
    spec = json.loads((scene.folder(unit) / "spec.json").read_text())
    ids = [config["id"] for config in spec["configs"]]
    order = worker.cycle_order(ids, spec["seed"], pair, balanced=spec["mode"] != "fixed")
    return len(ids) * pair + order.index(spec["reference"]) + 1


def in_the_midst(scene: Scene) -> Unit:
    """A round that is measuring its second process of the reference, and stands still there."""
    unit = scene.next_round()
    scene.tools.hold(unit, reference_execution(scene, unit, 1))
    scene.let(unit)
    scene.until(lambda: scene.tools.held(unit), f"{unit} is in the midst of its round")
    return scene.unit(unit)


def cancelled_early(scene: Scene) -> None:
    unit = scene.unit(scene.next_round())
    scene.cluster.ask("scancel", unit.job_id)
    ended = scene.ended(unit.name)
    assert ended.failure is not None and ended.failure.id == "scheduler.cancelled", ended.failure
    scene.next_round()


def cancelled_midway(scene: Scene) -> None:
    unit = in_the_midst(scene)
    scene.cluster.ask("scancel", unit.job_id)
    assert scene.ended(unit.name).failure is not None
    scene.tools.unhold(unit.name)
    scene.next_round()


def killed_at_once(scene: Scene) -> None:
    """SIGKILL to all of a job."""
    unit = in_the_midst(scene)
    scene.cluster.ask("scancel", "--full", "--signal=KILL", unit.job_id)
    assert scene.ended(unit.name).failure is not None
    scene.tools.unhold(unit.name)
    scene.next_round()


def held_back(scene: Scene) -> None:
    """An administrator holds the job before it starts, and lets it go."""
    unit = scene.next_round()
    scene.tools.plan("sbatch", "held")
    scene.let(unit)
    scene.ended(unit)
    scene.until(
        lambda: any(u.job_state.value == "HELD" for u in scene.state.open_units), "a job is held"
    )
    job = scene.state.open_units[0].job_id
    scene.cluster.scontrol("release", job)
    scene.next_round()


def requeued_early(scene: Scene) -> None:
    unit = scene.unit(scene.next_round())
    scene.tools.forget(unit.name)
    scene.cluster.scontrol("requeue", unit.job_id)
    scene.until(lambda: scene.tools.waits(unit.name), f"{unit.name} starts again")
    scene.let(unit.name)
    assert scene.ended(unit.name).failure is None
    scene.next_round()


def requeued_midway(scene: Scene) -> None:
    """The worker is told to stop and says so: its round begins anew in another job."""
    unit = in_the_midst(scene)
    scene.cluster.scontrol("requeue", unit.job_id)
    ended = scene.ended(unit.name)
    scene.tools.unhold(unit.name)
    assert ended.failure is not None and ended.failure.id == "scheduler.stopped", ended.failure
    scene.next_round()


def requeued_and_held(scene: Scene) -> None:
    unit = scene.unit(scene.next_round())
    scene.tools.forget(unit.name)
    scene.cluster.scontrol("requeuehold", unit.job_id)
    scene.until(lambda: scene.unit(unit.name).job_state.value == "HELD", f"{unit.name} is held")
    scene.cluster.scontrol("release", unit.job_id)
    scene.until(lambda: scene.tools.waits(unit.name), f"{unit.name} starts again")
    scene.let(unit.name)
    assert scene.ended(unit.name).failure is None
    scene.next_round()


def suspended(scene: Scene) -> None:
    unit = in_the_midst(scene)
    scene.cluster.scontrol("suspend", unit.job_id)
    scene.until(
        lambda: scene.unit(unit.name).job_state.value == "SUSPENDED", f"{unit.name} is suspended"
    )
    scene.cluster.scontrol("resume", unit.job_id)
    scene.tools.unhold(unit.name)
    scene.ended(unit.name)
    scene.next_round()


def out_of_time(scene: Scene) -> None:
    unit = in_the_midst(scene)
    scene.cluster.scontrol("update", f"jobid={unit.job_id}", "timelimit=1")
    assert scene.ended(unit.name).failure is not None
    scene.tools.unhold(unit.name)
    scene.next_round()


def worker_killed(scene: Scene) -> None:
    """The worker alone is killed, as the kernel does where memory is short."""
    unit = in_the_midst(scene)
    os.kill(owner(scene, unit.name), signal.SIGKILL)
    assert scene.ended(unit.name).failure is not None
    scene.tools.unhold(unit.name)
    scene.next_round()


def on_the_node(what: str, failed: bool) -> Fault:
    """Something befalls the worker when it starts (tools.NODE_PYTHON)."""

    def fault(scene: Scene) -> None:
        unit = scene.next_round()
        scene.tools.do(unit, what)
        scene.let(unit)
        ended = scene.ended(unit)
        assert (ended.failure is not None) == failed, (what, ended.failure)
        scene.next_round()

    return fault


# --- nodes ---------------------------------------------------------------------------------------


def owner(scene: Scene, unit: str) -> int:
    """The worker's process, as its claim names it."""
    claim = json.loads((scene.folder(unit) / "claim" / "owner.json").read_text())
    return int(claim["pid"])


def node_of(scene: Scene, job: str) -> str:
    return scene.cluster.ask("squeue", "-h", "-j", job, "-o", "%N").strip()


def shepherd(pid: int) -> int:
    """The slurmstepd above a process."""
    while pid > 1:
        stat = Path(f"/proc/{pid}/stat").read_text()
        if "(slurmstepd" in stat:
            return pid
        pid = int(stat.rpartition(")")[2].split()[1])
    raise AssertionError("no slurmstepd above it")


def daemon_killed(scene: Scene) -> None:
    """slurmd dies and comes back; its job lives on."""
    unit = in_the_midst(scene)
    node = node_of(scene, unit.job_id)
    scene.cluster.stop(node)
    time.sleep(1)
    scene.cluster.start(node)
    scene.tools.unhold(unit.name)
    assert scene.ended(unit.name).failure is None
    scene.next_round()


def node_lost(scene: Scene) -> None:
    """A node with all that runs on it: the job is run again elsewhere, and takes up its claim."""
    unit = in_the_midst(scene)
    node = node_of(scene, unit.job_id)
    worker_pid = owner(scene, unit.name)
    above = shepherd(worker_pid)
    scene.cluster.stop(node)
    for pid in (above, worker_pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    scene.cluster.scontrol("update", f"nodename={node}", "state=down", "reason=lost")
    scene.tools.unhold(unit.name)
    scene.ended(unit.name)
    scene.cluster.start(node)
    scene.cluster.run("scontrol", "update", f"nodename={node}", "state=resume")
    scene.next_round()


def node_silent(scene: Scene) -> None:
    """The controller gives a node up whose job goes on measuring: two workers of one job."""
    unit = in_the_midst(scene)
    node = node_of(scene, unit.job_id)
    scene.cluster.stop(node)
    scene.cluster.scontrol("update", f"nodename={node}", "state=down", "reason=silent")
    scene.until(
        lambda: node_of(scene, unit.job_id) not in ("", node) or scene.unit(unit.name).finished,
        "the job starts on another node",
    )
    time.sleep(1)
    scene.tools.unhold(unit.name)
    scene.ended(unit.name)
    scene.cluster.start(node)
    scene.cluster.run("scontrol", "update", f"nodename={node}", "state=resume")
    scene.next_round()


def drained(scene: Scene) -> None:
    """No node takes jobs for a while: they wait, and nobody fails them."""
    nodes = "nodename=n1,n2"
    unit = scene.next_round()
    scene.cluster.scontrol("update", nodes, "state=drain", "reason=maintenance")
    scene.let(unit)
    scene.ended(unit)
    scene.until(lambda: any(u.reason for u in scene.state.open_units), "a job waits with a reason")
    scene.cluster.scontrol("update", nodes, "state=resume")
    scene.next_round()


# --- daemons -------------------------------------------------------------------------------------


def restarted(daemon: str, number: int) -> Fault:
    """A daemon ends and starts again while a job runs."""

    def fault(scene: Scene) -> None:
        unit = scene.next_round()
        scene.cluster.stop(daemon, number)
        scene.cluster.start(daemon)
        scene.let(unit)
        scene.ended(unit)
        scene.next_round()

    return fault


def away(daemons: tuple[str, ...], seconds: float, rounds: int) -> Fault:
    """Daemons are away for a while; so many rounds can go on meanwhile (0: none is expected to)."""

    def fault(scene: Scene) -> None:
        unit = scene.next_round()
        for daemon in daemons:
            scene.cluster.stop(daemon, signal.SIGTERM)
        scene.let(unit)
        began = time.monotonic()
        if rounds:
            scene.ended(unit)
            scene.rounds(rounds - 1)
        while time.monotonic() < began + seconds:
            scene.keep()
            time.sleep(0.1)
        for daemon in reversed(daemons):
            scene.cluster.start(daemon)
        scene.ended(unit)
        scene.next_round()

    return fault


def frozen(scene: Scene) -> None:
    """The controller takes a submission and answers only when nobody waits any more."""
    unit = scene.next_round()
    scene.cluster.freeze("slurmctld")
    scene.let(unit)
    scene.until(lambda: scene.unit(unit).finished, f"{unit} ends by its own marker")
    began = time.monotonic()
    while time.monotonic() < began + 15:  # MessageTimeout is 10 s
        scene.keep()
        time.sleep(0.1)
    scene.cluster.thaw("slurmctld")
    scene.next_round()


JOBS: dict[str, Fault] = {
    "scancel before the work": cancelled_early,
    "scancel in the midst": cancelled_midway,
    "all of a job is killed": killed_at_once,
    "held and released": held_back,
    "requeued before the work": requeued_early,
    "requeued in the midst": requeued_midway,
    "requeued and held": requeued_and_held,
    "suspended": suspended,
    "the worker is killed": worker_killed,
    "the worker crashes": on_the_node("crash", True),
    "out of memory": on_the_node("memory", True),
    "the disk is full on the node": on_the_node("full", True),
    "a file size limit on the node": on_the_node("small", True),
    "files are visible late": on_the_node(f"late {GRACE_S / 2:g}", False),
    "files are visible too late": on_the_node(f"late {GRACE_S + 6:g}", True),
    "out of time": out_of_time,
}

DAEMONS: dict[str, Fault] = {
    "slurmd is killed under a job": daemon_killed,
    "a node is lost": node_lost,
    "a node is silent": node_silent,
    "all nodes are drained": drained,
    "slurmctld is restarted": restarted("slurmctld", signal.SIGTERM),
    "slurmctld is killed": restarted("slurmctld", signal.SIGKILL),
    "slurmctld is away": away(("slurmctld",), OUTAGE_S, 0),
    "slurmctld is frozen": frozen,
    "munged is away": away(("munged",), OUTAGE_S / 3, 0),
}

STORAGE: dict[str, Fault] = {
    "slurmdbd is away": away(("slurmdbd",), OUTAGE_S, 2),
    "MariaDB is away": away(("mariadb",), OUTAGE_S, 2),
    "slurmdbd and MariaDB are away": away(("slurmdbd", "mariadb"), 2 * OUTAGE_S, 2),
    "slurmctld and slurmdbd are away": away(("slurmctld", "slurmdbd"), OUTAGE_S / 2, 0),
}
