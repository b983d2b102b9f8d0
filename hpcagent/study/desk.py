"""The desk: submits a unit once, looks after it, and collects what it left.

The unit's own done.json is asked first, the scheduler only where there is none; what neither
knows is unknown, then lost after a grace period, and never taken for finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hpcagent.errors import EnvironmentProblem
from hpcagent.measure.results import Done, Run, failure_of, parse_done, parse_results
from hpcagent.protocols import Scheduler
from hpcagent.records import Ambiguous, Failure, JobState, Refused, Submitted
from hpcagent.study.durable import parse_object, parse_utc, problem, write_atomic
from hpcagent.study.rundir import RunDir
from hpcagent.study.state import Unit

# A shared file system may show a file that another node renamed only after its attribute cache
# ran out: 60 s by default for NFS directories (nfs(5), acdirmax).
DONE_GRACE_S = 90.0
# How long a job may be missing from every query before it is lost.
LOST_GRACE_S = 300.0


@dataclass(frozen=True)
class Collected:
    """What a unit left: its job's last state, the worker's lines or the probe's facts."""

    state: JobState
    failure: Failure | None
    runs: tuple[Run, ...] = ()
    facts: Mapping[str, Any] | None = None

    def to_json(self, unit: Unit, job_seconds: float) -> dict[str, Any]:
        return {
            "unit": unit.name,
            "state": self.state.value,
            "failure": asdict(self.failure) if self.failure else None,
            "runs": [dict(vars(run)) for run in self.runs],  # asdict would copy each figure
            "job_seconds": round(job_seconds, 3),
        }


@dataclass(frozen=True)
class Seen:
    """What one look at a unit showed: its state, and what it left once it is over.

    `reason` is why the scheduler lets it wait, in the scheduler's words, where it says so.
    """

    state: JobState
    word: str
    collected: Collected | None = None
    reason: str = ""


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write files below a folder; EnvironmentProblem where the disk is full or not writable."""
    for name, text in sorted(files.items()):
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text.encode("utf-8"))
        except OSError as error:
            raise problem("write", path, error) from None


def adopt_or_submit(
    scheduler: Scheduler, unit: Unit, folder: Path, may_exist: bool
) -> Submitted | Refused | Ambiguous:
    """Submit the unit, unless a job of its name is there already (`may_exist`: look first)."""
    if may_exist:
        found = sorted(scheduler.find(unit.name))
        if found:
            if len(found) > 1:
                scheduler.cancel(found[1:])
            return Submitted(found[0])
    return scheduler.submit(folder / "job.sh")


def look(scheduler: Scheduler, run: RunDir, unit: Unit, now: datetime) -> Seen:
    """One look at a submitted unit."""
    folder = run.unit(unit.name)
    done = _done(folder)
    if done is not None:
        return Seen(JobState.COMPLETED, "done", _collect(folder, unit, JobState.COMPLETED, done))
    status = scheduler.poll([unit.job_id]).get(unit.job_id)
    if status is None:
        return _missing(folder, unit, now)
    if not status.state.terminal:
        return Seen(status.state, status.word, reason=status.reason)
    if status.state is JobState.COMPLETED and _since(unit, status.state, now) < DONE_GRACE_S:
        return Seen(status.state, status.word)
    # The marker may have been written between the first look and the query.
    late = _done(folder)
    if late is not None:
        return Seen(JobState.COMPLETED, "done", _collect(folder, unit, JobState.COMPLETED, late))
    words = f"{status.word} {status.reason}".strip()
    return Seen(status.state, status.word, _collect_failed(folder, unit, status.state, words))


def _missing(folder: Path, unit: Unit, now: datetime) -> Seen:
    if _since(unit, JobState.UNKNOWN, now) < LOST_GRACE_S:
        return Seen(JobState.UNKNOWN, "no record")
    words = f"no query knows job {unit.job_id}, and it left no done.json"
    return Seen(JobState.LOST, "LOST", _collect_failed(folder, unit, JobState.LOST, words))


def _since(unit: Unit, state: JobState, now: datetime) -> float:
    """Seconds since the journal first recorded the unit in this state (0: not yet)."""
    if unit.job_state is not state or not unit.state_utc:
        return 0.0
    return (now - parse_utc(unit.state_utc)).total_seconds()


def _done(folder: Path) -> Done | None:
    text = _read(folder / "done.json")
    return parse_done(text) if text is not None else None


def _collect(folder: Path, unit: Unit, state: JobState, done: Done) -> Collected:
    if unit.purpose.startswith("probe"):
        return _collect_facts(folder, state, done)
    runs = parse_results(_read(folder / "result.jsonl") or "", unit.spec["weights"])
    return Collected(state, _unit_failure(folder, unit, runs, done), runs)


def _collect_facts(folder: Path, state: JobState, done: Done) -> Collected:
    text = _read(folder / "facts.json")
    facts: dict[str, Any] | None
    try:
        facts = parse_object((text or "").encode("utf-8"))
    except ValueError:
        facts = None
    if done.exit != 0 or facts is None:
        words = f"the probe ended with exit code {done.exit} {done.reason}; {_tail(folder)}"
        return Collected(state, Failure("environment", "probe", words))
    return Collected(state, None, facts=facts)


def _unit_failure(folder: Path, unit: Unit, runs: tuple[Run, ...], done: Done) -> Failure | None:
    """Why the whole unit is of no use; a failing challenger is not such a reason."""
    needed = [unit.spec["reference"]]
    if unit.kind == "build":
        needed = [config["id"] for config in unit.spec["configs"]]
    for run in runs:
        failure = failure_of(run) if run.config in needed else None
        if failure is not None and not _recovered(runs, run.config):
            return failure if unit.kind != "build" else _build_failure(failure)
    if done.exit != 0:
        return Failure("run", "worker", f"exit code {done.exit} {done.reason}; {_tail(folder)}")
    if not any(run.config == unit.spec["reference"] and run.ok for run in runs) and needed:
        if unit.kind == "build":
            return None
        return Failure("run", "reference_missing", "the reference configuration was not measured")
    return None


def _recovered(runs: tuple[Run, ...], config: str) -> bool:
    """A later process of the same configuration went well."""
    mine = [run for run in runs if run.config == config]
    return mine[-1].ok


def _build_failure(failure: Failure) -> Failure:
    return Failure("compile", "driver", failure.evidence)


def _collect_failed(folder: Path, unit: Unit, state: JobState, words: str) -> Collected:
    """The job ended without its marker: what it measured until then is kept, the unit failed."""
    kind = state.value.lower()
    evidence = f"job {unit.job_id} ended as {words} without done.json; {_tail(folder)}"
    runs: tuple[Run, ...] = ()
    if not unit.purpose.startswith("probe"):
        runs = parse_results(_read(folder / "result.jsonl") or "", unit.spec["weights"])
    return Collected(state, Failure("scheduler", kind, evidence), runs)


def _tail(folder: Path) -> str:
    text = (_read(folder / "err") or "").strip()
    return f"{folder / 'err'} ends: {text[-300:]!r}" if text else f"{folder / 'err'} is empty"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentProblem(f"cannot read {path}: {error.strerror}") from None
