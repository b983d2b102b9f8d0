"""What a unit left in its folder: the worker's lines, the probe's facts, or why nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hpcagent.errors import EnvironmentProblem
from hpcagent.measure.results import Done, Run, failure_of, parse_done, parse_results
from hpcagent.measure.worker import EXIT_BUSY, MIN
from hpcagent.records import Failure, JobState
from hpcagent.study.durable import parse_object, parse_utc
from hpcagent.study.state import Unit
from hpcagent.toolchain.stepruns import StepRun, parse_steps

# The worker's exit code says that a signal stopped it (worker.py): 128 + the signal's number.
_STOPPED = 128
# A shell's exit codes for a program that is not executable, and for one that is not there.
_NOT_STARTED = (126, 127)
_WORTH_TELLING_S = 1.0
_MOST_NOTES = 5


@dataclass(frozen=True)
class Collected:
    """What a unit left: its job's last state, the worker's lines or the probe's facts.

    `node` ran it; `queued_s` it waited for a node, `ran_s` it worked there (None: not known).
    `notes` are what was odd without being a failure, `memory_bytes` what the job of a build, or
    one that failed, had of it (None: not known).
    """

    state: JobState
    failure: Failure | None
    runs: tuple[Run, ...] = ()
    facts: Mapping[str, Any] | None = None
    node: str = ""
    queued_s: float | None = None
    ran_s: float | None = None
    steps: tuple[StepRun, ...] = ()
    notes: tuple[str, ...] = ()
    memory_bytes: int | None = None

    @property
    def stopped(self) -> bool:
        """A signal ended it in mid-work: the batch system may run the job again."""
        return self.failure is not None and self.failure.id == "scheduler.stopped"

    def to_json(self, unit: Unit, now: datetime) -> dict[str, Any]:
        """The journal's record of the unit's end; times that the unit did not tell end now."""
        waited = (now - parse_utc(unit.submitted_utc)).total_seconds() if unit.submitted_utc else 0
        queued_s = 0.0 if self.queued_s is None else self.queued_s
        ran_s = max(0.0, waited - queued_s) if self.ran_s is None else self.ran_s
        return {
            "unit": unit.name,
            "state": self.state.value,
            "failure": asdict(self.failure) if self.failure else None,
            "runs": [dict(vars(run)) for run in self.runs],  # asdict would copy each figure
            **({"steps": [step.to_json() for step in self.steps]} if self.steps else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            **({"memory_bytes": self.memory_bytes} if self.memory_bytes else {}),
            "node": self.node,
            "queued_seconds": round(queued_s, 3),
            "job_seconds": round(ran_s, 3),
        }


def read_done(folder: Path) -> Done | None:
    """The unit's own end marker.

    The folder is listed first: over NFS that asks the server again, where a file that was not
    there a moment ago may be remembered as missing for a minute (nfs(5), acdirmax).
    """
    try:
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentProblem(f"cannot read {folder}: {error.strerror}") from None
    text = _read(folder / "done.json") if "done.json" in names else None
    return parse_done(text) if text is not None else None


def claimed_by(folder: Path) -> str:
    """The id of the job that has claimed the unit; empty where none has, or it is not known."""
    return str(_owner(folder).get("job") or "")


def collect(folder: Path, unit: Unit, done: Done) -> Collected:
    """What a unit with an end marker left."""
    told = _told(unit, done)
    if unit.purpose.startswith("probe"):
        facts = _facts(folder)
        if done.exit == 0 and facts is not None:
            return Collected(JobState.COMPLETED, None, (), facts, done.node, *told)
        words = f"the probe ended with exit code {done.exit} {done.reason}; {_tail(folder)}"
        failure = Failure("environment", "probe", words)
        return Collected(JobState.COMPLETED, failure, (), None, done.node, *told)
    if "steps" in unit.spec:
        steps = parse_steps(_read(folder / "result.jsonl") or "")
        early = _ended_early(folder, done)
        had = _memory(folder)
        return Collected(
            JobState.COMPLETED, early, (), None, done.node, *told, steps, memory_bytes=had
        )
    runs = _runs(folder, unit)
    failure_or_none = _unit_failure(folder, unit, runs, done)
    notes = _notes(runs, done)
    return Collected(JobState.COMPLETED, failure_or_none, runs, None, done.node, *told, notes=notes)


def collect_failed(
    folder: Path, unit: Unit, state: JobState, words: str, exit_code: int | None = None
) -> Collected:
    """The job ended without its marker: what it measured until then is kept, the unit failed."""
    owner = _owner(folder)
    failure = None if owner else _never_began(folder, unit, state, exit_code)
    if failure is None:
        evidence = f"job {unit.job_id} ended as {words} without done.json; {_tail(folder)}"
        failure = Failure("scheduler", state.value.lower(), evidence)
    runs: tuple[Run, ...] = ()
    steps: tuple[StepRun, ...] = ()
    if "steps" in unit.spec:
        steps = parse_steps(_read(folder / "result.jsonl") or "")
    elif not unit.purpose.startswith("probe"):
        runs = _runs(folder, unit)
    queued_s = _seconds(unit.submitted_utc, str(owner.get("claimed_utc") or ""))
    node = str(owner.get("node") or "")
    had = _memory(folder)
    return Collected(state, failure, runs, None, node, queued_s, None, steps, memory_bytes=had)


def _runs(folder: Path, unit: Unit) -> tuple[Run, ...]:
    check = unit.spec.get("check", {})
    further = {name: figure["direction"] for name, figure in check.get("further", {}).items()}
    text = _read(folder / "result.jsonl") or ""
    return parse_results(text, unit.spec["weights"], check.get("direction", MIN), further)


def _notes(runs: Sequence[Run], done: Done) -> tuple[str, ...]:
    """What the worker found odd, each thing once."""
    found = list(done.notes)
    if done.waited_s >= _WORTH_TELLING_S:
        found.append(f"waited {done.waited_s:.0f} s for the node, which {done.waited_for} had")
    found += [f"pair {run.pair}: {run.note}" for run in runs if run.note]
    return tuple(dict.fromkeys(found))[:_MOST_NOTES]


def _never_began(
    folder: Path, unit: Unit, state: JobState, exit_code: int | None
) -> Failure | None:
    """Why the node could not even start the unit's program, where that can be told."""
    # A unit that shares its job may not have come to its turn.
    if state not in (JobState.FAILED, JobState.COMPLETED) or unit.pack not in ("", unit.name):
        return None
    if not (folder / "err").exists():
        return Failure(
            "environment",
            "unseen_folder",
            f"job {unit.job_id} wrote nothing into {folder}: compute nodes may not see it; keep "
            "runs on a file system that they share (--run-dir, or HPCAGENT_RUNS)",
        )
    if exit_code in _NOT_STARTED:
        return Failure(
            "environment",
            "python",
            f"job {unit.job_id} could not start its Python on the node ({_tail(folder)}): name one "
            "that nodes have as `python` in the configuration, or load one in its `prologue`",
        )
    return None


def _told(unit: Unit, done: Done) -> tuple[float | None, float | None]:
    ran_s = done.elapsed_s  # older workers told the two stamps only
    return (
        _seconds(unit.submitted_utc, done.claimed_utc),
        _seconds(done.claimed_utc, done.finished_utc) if ran_s is None else ran_s,
    )


def _seconds(begin_utc: str, end_utc: str) -> float | None:
    """Seconds between two stamps, not below 0: clocks of two hosts differ."""
    try:
        return max(0.0, (parse_utc(end_utc) - parse_utc(begin_utc)).total_seconds())
    except ValueError:
        return None


def _facts(folder: Path) -> dict[str, Any] | None:
    try:
        return parse_object((_read(folder / "facts.json") or "").encode("utf-8"))
    except ValueError:
        return None


def _owner(folder: Path) -> dict[str, Any]:
    return _object(folder / "claim" / "owner.json")


def _memory(folder: Path) -> int | None:
    """What the unit's job had of it, as its program told when it began."""
    told = (_owner(folder), _object(folder / "begun.json"))
    sizes = (row.get("memory_bytes") for row in told)
    return next((size for size in sizes if type(size) is int and size > 0), None)


def _object(path: Path) -> dict[str, Any]:
    try:
        return parse_object((_read(path) or "").encode("utf-8"))
    except ValueError:
        return {}


def _unit_failure(folder: Path, unit: Unit, runs: tuple[Run, ...], done: Done) -> Failure | None:
    """Why the whole unit is of no use; a failing challenger is not such a reason."""
    needed = [unit.spec["reference"]]
    if unit.kind == "build":
        needed = [config["id"] for config in unit.spec["configs"]]
    for run in runs:
        failure = failure_of(run) if run.config in needed else None
        if failure is not None and not _recovered(runs, run.config):
            return failure if unit.kind != "build" else _build_failure(failure)
    early = _ended_early(folder, done)
    if early is not None:
        return early
    if not any(run.config == unit.spec["reference"] and run.ok for run in runs) and needed:
        if unit.kind == "build":
            return None
        return Failure("run", "reference_missing", "the reference configuration was not measured")
    return None


def _ended_early(folder: Path, done: Done) -> Failure | None:
    if done.exit == 0:
        return None
    words = f"exit code {done.exit} {done.reason}; {_tail(folder)}"
    if done.exit == EXIT_BUSY:
        return Failure("scheduler", "node_in_use", words)
    return Failure(
        *(("scheduler", "stopped") if done.exit > _STOPPED else ("run", "worker")), words
    )


def _recovered(runs: tuple[Run, ...], config: str) -> bool:
    """A later process of the same configuration went well."""
    mine = [run for run in runs if run.config == config]
    return mine[-1].ok


def _build_failure(failure: Failure) -> Failure:
    return Failure("compile", "driver", failure.evidence)


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
