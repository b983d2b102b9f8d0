"""The desk: submits a unit once, and looks after all that are out with one query.

The unit's own done.json is asked first, the scheduler only where there is none, and rarely; what
neither knows is unknown, then lost after a grace period, and never taken for finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hpcagent.protocols import Scheduler
from hpcagent.records import (
    Ambiguous,
    Failure,
    JobState,
    JobStatus,
    Pace,
    Refused,
    Submitted,
)
from hpcagent.study.clock import SYSTEM, Clock
from hpcagent.study.collecting import Collected, claimed_by, collect, collect_failed, read_done
from hpcagent.study.durable import parse_utc, problem, remove_unfinished, write_atomic
from hpcagent.study.pacing import Pacing
from hpcagent.study.rundir import RunDir
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import Unit

_ORDINARY = (JobState.QUEUED, JobState.RUNNING)
NO_RECORD = "no record"


@dataclass(frozen=True)
class Patience:
    """How long the desk waits (seconds): between queries; for a job whose submission got no answer
    to become visible; for a marker that another node wrote; for a job that no query knows; and for
    a job to start (0: as long as it takes)."""

    poll_s: float
    settle_s: float
    grace_s: float
    lost_s: float
    start_s: float

    @classmethod
    def of(cls, settings: TuneSettings, pace: Pace) -> Patience:
        """As configured; the scheduler's own pace where nothing is."""
        return cls(
            poll_s=pace.poll_s if settings.poll_s is None else settings.poll_s,
            settle_s=pace.settle_s if settings.settle_s is None else settings.settle_s,
            grace_s=settings.grace_s,
            lost_s=settings.lost_s,
            start_s=settings.max_wait_s,
        )


@dataclass(frozen=True)
class Seen:
    """What one look at a unit showed: its state, and what it left once it is over.

    `reason` is why the scheduler lets it wait, or which witness could not be asked.
    """

    state: JobState
    word: str
    collected: Collected | None = None
    reason: str = ""


@dataclass(frozen=True)
class Settling:
    """A job of this unit may be on its way: not visible yet, and not to be submitted again yet."""

    seconds_left: float


Answer = Submitted | Refused | Ambiguous | Settling


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write files below a folder; EnvironmentProblem where the disk is full or not writable.

    Its unit is not submitted and its run held by the caller: unfinished files are a killed agent's.
    """
    for name, text in sorted(files.items()):
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_unfinished(path.parent, (path.name,))
            write_atomic(path, text.encode("utf-8"))
        except OSError as error:
            raise problem("write", path, error) from None


class Desk:
    """One run's counter at one scheduler. Calls raise SchedulerUnreachable where it must answer."""

    def __init__(
        self, scheduler: Scheduler, run: RunDir, patience: Patience, clock: Clock = SYSTEM
    ) -> None:
        self._scheduler = scheduler
        self._run = run
        self.patience = patience
        self._clock = clock
        self._next_search = 0.0
        self._full: tuple[frozenset[str], str] = (frozenset(), "")
        self.pacing = Pacing(run.asked, patience.poll_s, clock)

    # --- submission ------------------------------------------------------------------------------

    def adopt(self, unit: Unit, now: datetime) -> Submitted | Settling | None:
        """The job of a unit that may have been submitted before; None: there is none, submit it.

        One match is adopted, the one that has claimed the unit where there are several, and the
        surplus is cancelled. While the last submission may still come to light, it is waited for.
        """
        settling_s = self._settling_s(unit, now)
        pause_s = self._next_search - self._clock.monotonic()
        if pause_s > 0:
            return Settling(max(pause_s, settling_s))
        self._next_search = self._clock.monotonic() + self.patience.poll_s
        found = self._scheduler.find(unit.name, unit.intent_utc)
        claimed = claimed_by(self._run.unit(unit.name))
        if found or claimed:
            return self._chosen(found, claimed)
        if settling_s > 0:
            return Settling(settling_s)
        self._next_search = 0.0
        return None

    def _settling_s(self, unit: Unit, now: datetime) -> float:
        if unit.job_state is not JobState.SUBMITTING:
            return 0.0
        return self.patience.settle_s - (now - parse_utc(unit.state_utc)).total_seconds()

    def _chosen(self, found: Sequence[str], claimed: str) -> Submitted:
        chosen = claimed if (claimed and claimed in found) or not found else found[0]
        surplus = [job_id for job_id in found if job_id != chosen]
        if surplus:
            self._scheduler.cancel(surplus)
        return Submitted(chosen)

    def submit(self, unit: Unit, out: frozenset[str]) -> Submitted | Refused | Ambiguous:
        """Submit the script of a unit whose folder is complete; `out` are the run's jobs."""
        self.pacing.put_off(unit.resources.walltime_s)
        answer = self._scheduler.submit(self._run.unit(unit.name) / "job.sh")
        if isinstance(answer, Refused) and answer.full:
            self._full = (out, answer.words)
        return answer

    def full(self, out: frozenset[str]) -> str:
        """Why no further job can be queued as long as all of `out` are; empty: none is known."""
        before, words = self._full
        return words if before and before == out else ""

    def cancel(self, units: Sequence[Unit]) -> None:
        """Cancel the jobs of these units, found by name where the number was never told.

        A job that has got the id of one that the scheduler lost is left alone.
        """
        told = self._scheduler.poll([unit.job_id for unit in units if unit.job_id])
        ids = [unit.job_id for unit in units if unit.job_id and _is_its(unit, told)]
        for unit in units:
            if not unit.job_id and unit.job_state is JobState.SUBMITTING:
                ids += self._scheduler.find(unit.name, unit.intent_utc)
        if ids:
            self._scheduler.cancel(ids)

    # --- looking after ---------------------------------------------------------------------------

    def look(self, units: Sequence[Unit], now: datetime) -> dict[str, Seen]:
        """What is new of submitted units, by name; one query at most, and not at every call."""
        seen: dict[str, Seen] = {}
        silent = []
        for unit in units:
            marked = self._marked(unit)
            if marked is not None:
                seen[unit.name] = marked
            else:
                silent.append(unit)
        self.pacing.awaited = bool(silent)
        if silent and self.pacing.due:
            ids = list(dict.fromkeys(unit.job_id for unit in silent))
            answer = self._scheduler.poll(ids, min(unit.submitted_utc for unit in silent))
            told = {unit.name: self._judge(unit, answer.get(unit.job_id), now) for unit in silent}
            self._pace(silent, told)
            seen |= told
        return seen

    def _pace(self, units: Sequence[Unit], told: Mapping[str, Seen]) -> None:
        left = [(unit, told[unit.name]) for unit in units if told[unit.name].collected is None]
        odd = any(_is_news(unit, seen) and seen.state not in _ORDINARY for unit, seen in left)
        walls = ((seen.state, unit.resources.walltime_s) for unit, seen in left)
        self.pacing.asked(odd, min((self.pacing.rarest_s(*wall) for wall in walls), default=0.0))

    def _marked(self, unit: Unit) -> Seen | None:
        folder = self._run.unit(unit.name)
        done = read_done(folder)
        if done is None:
            return None
        return Seen(JobState.COMPLETED, "done", collect(folder, unit, done))

    def _judge(self, unit: Unit, status: JobStatus | None, now: datetime) -> Seen:
        """What the scheduler's answer means for a unit without a marker.

        A job of another name has got the id of a job that the scheduler lost.
        """
        if status is None:
            return self._missing(unit, now)
        if not status.is_of(unit.name, unit.pack):
            return self._missing(unit, now, f"its id is now that of the job {status.name!r}")
        reason = "; ".join(words for words in (status.reason, status.missing) if words)
        if not status.state.terminal:
            never = self._never_starts(unit, status, now)
            return Seen(status.state, status.word, never, reason)
        if _since(unit, status.state, status.word, now) < self._grace_s(status.state):
            return Seen(status.state, status.word, reason=reason)
        # The marker may have been written between the first look and the query.
        late = self._marked(unit)
        words = f"{status.word} {reason}".strip()
        return late or self._failed(unit, status.state, words, status.exit_code)

    def _grace_s(self, state: JobState) -> float:
        """A worker writes its marker before its job ends, but another host may see it later.

        On this host a job that failed has written its marker or never will.
        """
        elsewhere = self._scheduler.pace.poll_s > 0
        return self.patience.grace_s if elsewhere or state is JobState.COMPLETED else 0.0

    def _missing(self, unit: Unit, now: datetime, why: str = "") -> Seen:
        if _since(unit, JobState.UNKNOWN, NO_RECORD, now) < self.patience.lost_s:
            return Seen(JobState.UNKNOWN, NO_RECORD, reason=why)
        return self._failed(unit, JobState.LOST, f"LOST: {why or 'no query knows it'}")

    def _never_starts(self, unit: Unit, status: JobStatus, now: datetime) -> Collected | None:
        """A job that cannot start, or has waited too long, is taken out of the queue."""
        if status.state not in (JobState.QUEUED, JobState.HELD):
            return None
        waited = (now - parse_utc(unit.submitted_utc)).total_seconds()
        hopeless = status.hopeless and _since(unit, status.state, status.word, now) > 0
        if not hopeless and not 0 < self.patience.start_s <= waited:
            return None
        self._scheduler.cancel([unit.job_id])
        why = status.reason or status.word
        words = f"job {unit.job_id} did not start in {_span(waited)}: {why}"
        return Collected(
            JobState.CANCELLED, Failure("scheduler", "never_started", words), ran_s=0.0
        )

    def _failed(self, unit: Unit, state: JobState, words: str, code: int | None = None) -> Seen:
        folder = self._run.unit(unit.name)
        return Seen(state, words, collect_failed(folder, unit, state, words, code))


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.3g} hours" if seconds >= 5400 else f"{seconds / 60:.2g} minutes"


def _is_its(unit: Unit, told: Mapping[str, JobStatus]) -> bool:
    """Whether its id is not told to be that of another job."""
    status = told.get(unit.job_id)
    return status is None or status.is_of(unit.name, unit.pack)


def _is_news(unit: Unit, seen: Seen) -> bool:
    return (seen.state, seen.word) != (unit.job_state, unit.word)


def _since(unit: Unit, state: JobState, word: str, now: datetime) -> float:
    """Seconds since the journal first recorded the unit in this state (0: not yet)."""
    if (unit.job_state, unit.word) != (state, word) or not unit.state_utc:
        return 0.0
    return (now - parse_utc(unit.state_utc)).total_seconds()
