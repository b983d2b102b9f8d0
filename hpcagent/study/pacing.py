"""When the scheduler is asked: at its own pace and ever more rarely, by all processes of a run.

Markers tell of every ordinary end, so a query only has to find what died without one. Queries
become rarer by a factor, down to one in so many times the pace, and where a job runs to one in a
share of its wall time, so that its death is not unnoticed for longer than that.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from hpcagent.records import JobState
from hpcagent.study.clock import Clock
from hpcagent.study.durable import json_bytes, parse_object, parse_utc, utc_text, write_atomic

_BACK_OFF, _RAREST, _SHARE = 2.0, 20.0, 0.25


class Pacing:
    """The time of the next query of one run, seconds between queries of `poll_s` at least.

    It is kept in a file, for a process that is called again and again (`hpcagent step`). The file
    is no part of the run's state: without it, or where it cannot be written or read, the scheduler
    is asked earlier, and nothing else changes. Neither the journal nor the lease could tell the
    time: a query without news leaves no event, and a lease is taken by processes that ask nothing.
    """

    def __init__(self, path: Path, poll_s: float, clock: Clock) -> None:
        self._path = path
        self._poll_s = poll_s
        self._clock = clock
        self._interval_s = poll_s
        self._next = 0.0
        self.awaited = False

    def recall(self) -> None:
        """Ask no earlier than the process before would have."""
        try:
            kept = parse_object(self._path.read_bytes())
            interval_s = float(kept["interval_s"])
            left_s = (parse_utc(kept["next_utc"]) - self._clock.now()).total_seconds()
        except (OSError, ValueError, TypeError, KeyError):
            return
        if left_s > interval_s or interval_s > _RAREST * self._poll_s:
            return  # the clock was set back, or the file changed
        self._interval_s = max(self._poll_s, interval_s)
        self._next = self._clock.monotonic() + left_s
        self.awaited = True

    @property
    def due(self) -> bool:
        return self._clock.monotonic() >= self._next

    def put_off(self, walltime_s: float) -> None:
        """A job that was submitted just now has nothing to tell yet; others are asked anyway."""
        if not self.awaited:
            self._wait(min(self._interval_s, self.rarest_s(JobState.RUNNING, walltime_s)))

    def asked(self, odd: bool, rarest_s: float) -> None:
        """Ask again soon after what is not a job's ordinary course, else ever later."""
        slower_s = min(_BACK_OFF * self._interval_s, rarest_s)
        self._wait(self._poll_s if odd else max(self._poll_s, slower_s))

    def rarest_s(self, state: JobState, walltime_s: float) -> float:
        rarest_s = _RAREST * self._poll_s
        if state in (JobState.QUEUED, JobState.HELD):
            return rarest_s
        return max(self._poll_s, min(rarest_s, _SHARE * walltime_s))

    def _wait(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._next = self._clock.monotonic() + interval_s
        if self._poll_s > 0:
            next_utc = utc_text(self._clock.now() + timedelta(seconds=interval_s))
            with suppress(OSError):
                kept = {"interval_s": interval_s, "next_utc": next_utc}
                write_atomic(self._path, json_bytes(kept))
