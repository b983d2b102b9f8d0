"""What must be true of a run however it was disturbed: asked of its journal, its files, the record
that the driver made of every start, and Slurm's own record."""

from __future__ import annotations

import base64
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.scene import Scene

from hpcagent.measure.results import parse_results
from hpcagent.study.journal import read_journal
from hpcagent.study.state import TuneState, Unit, fold

# Endings of a job in sacct that agree with what the journal says of its unit.
COMPLETED = {"COMPLETED"}
AGREES = {
    None: COMPLETED,
    "scheduler.cancelled": {"CANCELLED"},
    "scheduler.completed": COMPLETED,
    "scheduler.failed": {"FAILED"},
    "scheduler.timeout": {"TIMEOUT"},
    "scheduler.out_of_memory": {"OUT_OF_MEMORY"},
    "scheduler.node_fail": {"NODE_FAIL"},
    "scheduler.stopped": {"CANCELLED", "FAILED", "COMPLETED", "TIMEOUT", "REQUEUED"},
}
TERMINAL = {
    "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED",
    "BOOT_FAIL", "DEADLINE", "REVOKED",
}  # fmt: skip


@dataclass(frozen=True)
class Execution:
    """A start of the driver as the driver itself saw it."""

    unit: str
    job: str
    seed: int
    affinity: str
    env: dict[str, str]


@dataclass(frozen=True)
class Found:
    """What an audit counted."""

    rounds: int
    units: int
    failures: dict[str, int]
    jobs: int
    pairs: int
    executions: int


def audit(scene: Scene) -> Found:
    """AssertionError where anything was lost, doubled or attributed to something else."""
    view = read_journal(scene.run / "journal.jsonl")
    events = tuple(view)
    assert view.torn_bytes == 0
    state = fold(events)
    check_journal(scene, state, events)
    started = executions(scene)
    pairs = 0
    for unit in state.units:
        if unit.kind == "round":
            pairs += check_unit(scene, unit, [e for e in started if e.unit == unit.name])
    jobs = in_time(scene, lambda: check_jobs(scene, state))
    assert not list((scene.run / "result").rglob(".*"))
    assert (scene.run / "result" / "report.html").stat().st_size > 1000
    failures = Counter(u.failure.id for u in state.units if u.failure is not None)
    return Found(len(state.rounds), len(state.units), dict(failures), jobs, pairs, len(started))


def in_time(scene: Scene, check: Callable[[], int], limit_s: float = 60.0) -> int:
    """Slurm's record is a moment behind, and a surplus job may just be about to end."""
    limit = time.monotonic() + limit_s
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > limit:
                raise
        scene.release()
        time.sleep(1)


def check_journal(scene: Scene, state: TuneState, events: Any) -> None:
    """Each unit was intended, submitted and recorded once, each round measured once."""
    assert state.closed is not None
    assert "Traceback" not in scene.said(), scene.said()[-3000:]
    seen = Counter(
        (e.type, e.data.get("unit") or e.data.get("round") or e.data.get("what"))
        for e in events
        if e.type in ("unit_intent", "unit_submitted", "unit_result", "proposed", "decision")
    )
    assert max(seen.values()) == 1, [key for key, count in seen.items() if count > 1]
    assert all(unit.finished for unit in state.units)
    for unit in state.units:
        assert unit.job_id or unit.failure is not None
    good = Counter(u.purpose for u in state.units if u.failure is None)
    assert not good or max(good.values()) == 1, good
    proposed = [p.config for round_ in state.proposed.values() for p in round_]
    assert len(set(proposed)) == len(proposed)


def check_unit(scene: Scene, unit: Unit, started: list[Execution]) -> int:
    """Its lines are what was measured, once each and under its own settings; their number."""
    path = scene.folder(unit.name) / "result.jsonl"
    text = "" if not path.exists() or path.is_symlink() else path.read_text()
    lines = [json.loads(line) for line in text.splitlines() if whole(line)]
    in_file = parse_results(text, unit.spec["weights"])
    recorded = unit.runs
    if unit.failure is None:
        assert recorded == in_file, unit.name
    assert recorded == in_file[: len(recorded)], unit.name
    # A worker that takes up the work of one that is gone warms up again (pair 0).
    good = [x for x in lines if x["status"] == "ok" and x["pair"] > 0]
    once = Counter((x["config"], x["pair"]) for x in good)
    assert not once or max(once.values()) == 1, (unit.name, once)
    assert len({e.job for e in started}) <= 1, (unit.name, "two jobs measured", started)
    for line in lines:
        if line["status"] in ("ok", "wrong", "implausible"):
            check_line(unit, line, started)
    return len(once)


def whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def check_line(unit: Unit, line: dict[str, Any], started: list[Execution]) -> None:
    """There was a process with exactly the settings that this line is booked under."""
    config = next(c for c in unit.spec["configs"] if c["id"] == line["config"])
    names = {n for c in unit.spec["configs"] for n in c["env"]} | set(unit.spec["unset"])
    affinity = config["binding"]
    fits = [
        e
        for e in started
        if e.seed == line["seed"]
        and {n: v for n, v in e.env.items() if n in names} == config["env"]
        and (affinity is None or cpus(e.affinity) == set(affinity))
    ]
    if started:  # a unit from before the driver was watched has none
        assert fits, (unit.name, line["config"], line["pair"], config)
    told = line["readback"]
    wanted = config["env"]
    for name, key in (("OPENBLAS_CORETYPE", "core"), ("OPENBLAS_NUM_THREADS", "threads")):
        if name in wanted:
            assert told[key].lower() == wanted[name].lower(), (unit.name, line["config"])
    if affinity is not None:
        assert cpus(told["affinity"]) == set(affinity)


def cpus(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return found


def executions(scene: Scene) -> list[Execution]:
    path = scene.tools.folder / "executions"
    rows = [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []
    return [Execution(unit, job, int(seed), on, environ(env)) for unit, job, seed, on, env in rows]


def environ(text: str) -> dict[str, str]:
    pairs = base64.b64decode(text).decode("utf-8", "replace").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def check_jobs(scene: Scene, state: TuneState) -> int:
    """No job is left; Slurm's record and the journal name the same jobs and endings."""
    cluster = scene.cluster
    live = cluster.run("squeue", "--all", "-h", "-o", "%i %j %T").stdout
    mine = {unit.name: unit for unit in state.units}
    assert not [row for row in live.splitlines() if row.split()[1] in mine], live
    told = recorded(scene, mine)
    assert told is not None
    for unit in state.units:
        rows = told.get(unit.name, {})
        if not unit.job_id:
            assert unit.failure is not None and unit.failure.id == "scheduler.refused"
            assert not rows, (unit.name, rows)
            continue
        failure = unit.failure.id if unit.failure else None
        if failure != "scheduler.lost" and not forgotten(unit, told):
            assert unit.job_id in rows, (unit.name, unit.purpose, unit.job_id, rows, told)
            agrees = AGREES.get(failure, TERMINAL)
            assert rows[unit.job_id] in agrees, (unit.name, unit.job_id, rows, unit.failure)
        assert set(rows.values()) <= TERMINAL, (unit.name, rows)
    return sum(len(rows) for rows in told.values())


def forgotten(unit: Unit, told: dict[str, dict[str, str]]) -> bool:
    """Its id is now another unit's: a controller that was killed knows nothing of its last jobs
    and gives their ids out again, and sacct tells of the last job of an id only."""
    return any(unit.job_id in rows for name, rows in told.items() if name != unit.name)


def recorded(scene: Scene, mine: dict[str, Unit]) -> dict[str, dict[str, str]]:
    """Job name -> job id -> state, of sacct, or of the controller where there is no accounting."""
    found: dict[str, dict[str, str]] = {}
    cluster = scene.cluster
    if cluster.accounting:
        rows = [(r["JobName"], r["JobID"], r["State"]) for r in cluster.rows("-X")]
    else:
        text = cluster.ask("squeue", "--all", "-h", "-t", "all", "-o", "%j|%i|%T")
        rows = [tuple(line.split("|", 2)) for line in text.splitlines()]  # type: ignore[misc]
    for name, job, state in rows:
        if name in mine:
            found.setdefault(name, {})[job] = state.split()[0].rstrip("+")
    return found


def note(name: str, scene: Scene, found: Found) -> None:
    """Append what was done and what came out, where HPCAGENT_FAULTS_RECORD names a file."""
    path = os.environ.get("HPCAGENT_FAULTS_RECORD")
    if not path:
        return
    row = {"test": name, **found.__dict__, "plans": Counter(scene.tools.done()),
           "codes": Counter(map(str, scene.codes)), "kills": scene.kills}  # fmt: skip
    with Path(path).open("a") as out:
        out.write(json.dumps(row, sort_keys=True) + "\n")
