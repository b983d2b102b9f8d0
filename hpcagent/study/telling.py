"""What a model has been told of the measurements, and what is new: text that is only added to.

All rounds are fitted together, so the figure of an old trial moves a little with each new round,
and rounds that are out together end in any order. A prompt that told the figures of today in the
order of the rounds would change near its beginning each time, and the model would have to read
all of it again. So each round's end adds a chapter: the trials that it measured, and those whose
figure has moved by more than its standard error since it was told. It is a function of the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpcagent.records import Config, Trial
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.state import Unit

LEAST_CHANGE = 0.005  # in ln(time); what is less is not worth a line

_Chapter = tuple[Trial, ...]


class Teller:
    """Remembers the chapters of the rounds so far, which cannot change any more."""

    def __init__(self) -> None:
        self._ends: list[str] = []
        self._chapters: list[_Chapter] = []
        self._told: dict[Config, Trial] = {}

    def chapters(self, known: Knowledge) -> tuple[_Chapter, ...]:
        """The default first, then one for each measured round, in the order of their ends.

        Where a run is for more than time, each round weighs its objectives anew and there is no
        figure that stays; then there are none.
        """
        if not known.state.settings.plain:
            return ()
        ends = _ended(known)
        names = ["", *(unit.name for unit in ends)]
        if self._ends != names[: len(self._ends)]:
            self._ends, self._chapters, self._told = [], [], {}
        for count in range(len(self._ends), len(names)):
            trials = _as_of(known, ends[:count]).trials
            chapter = tuple(trial for trial in trials if self._is_news(trial))
            self._told |= {trial.config: trial for trial in chapter}
            self._chapters.append(chapter)
            self._ends.append(names[count])
        return tuple(self._chapters)

    def _is_news(self, trial: Trial) -> bool:
        before = self._told.get(trial.config)
        if before is None:
            return True
        if (before.failure, before.eligible) != (trial.failure, trial.eligible):
            return True
        if before.log_ratio is None or trial.log_ratio is None:
            return before.log_ratio is not trial.log_ratio
        moved = abs(trial.log_ratio - before.log_ratio)
        return moved > max(LEAST_CHANGE, before.spread or 0.0)


def _ended(known: Knowledge) -> list[Unit]:
    """The measured rounds in the order in which their results came."""
    return sorted(known.state.rounds, key=lambda unit: unit.result_utc)


def _as_of(known: Knowledge, ends: Sequence[Unit]) -> Knowledge:
    """What was known when only these rounds had ended."""
    if len(ends) == len(known.state.rounds):
        return known
    names = {unit.name for unit in ends}
    latest = max((unit.result_utc for unit in ends), default="")
    kept = [
        unit
        for unit in known.state.units
        if not _measures(unit)
        or unit.name in names
        or (unit.failure is not None and unit.finished and unit.result_utc <= latest)
    ]
    return known.after(replace(known.state, units=tuple(kept)))


def _measures(unit: Unit) -> bool:
    return unit.kind == "round" and unit.purpose.startswith("round-")
