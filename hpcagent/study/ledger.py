"""The journal of a run that this process holds, and the state that it folds to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpcagent.records import Event, JobState
from hpcagent.study.journal import JournalWriter
from hpcagent.study.state import Folding, TuneState, Unit


class Ledger:
    """Everything that must survive is written here before it is acted on.

    `folding` has taken in what the journal holds. Writing raises Fenced, EnvironmentProblem.
    """

    def __init__(self, journal: JournalWriter, folding: Folding) -> None:
        self._journal = journal
        self._folding = folding
        self._state = folding.state()

    @property
    def state(self) -> TuneState:
        return self._state

    def write(self, kind: str, data: Mapping[str, Any]) -> Event:
        event = self._journal.append(kind, data)
        self._folding.add(event)
        self._state = self._folding.state()
        return event

    def note(self, unit: Unit, state: JobState, word: str, reason: str) -> None:
        """Write how the unit stands, where that is new: `unit` may be of before the last event."""
        now = next(one for one in self._state.units if one.name == unit.name)
        if (state, word, reason) != (now.job_state, now.word, now.reason):
            data = {"unit": unit.name, "state": state.value, "word": word, "reason": reason}
            self.write("unit_state", data)
