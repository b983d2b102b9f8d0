"""How units stand, in words for one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hpcagent.records import JobState
from hpcagent.study.state import TuneState, Unit

MOST_NAMED = 5  # units that are out, in one line


def in_one_line(words: Sequence[str]) -> str:
    more = f"; and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
    return "; ".join(words[:MOST_NAMED]) + more


def waiting_for(state: TuneState) -> str:
    """The units that are out and how they stand, in words; of many only how many stand so."""
    out = state.open_units
    if len(out) <= MOST_NAMED:
        return "; ".join(standing(unit) for unit in out)
    counts = Counter(standing(unit).removeprefix(f"{unit.purpose}: ") for unit in out)
    return "; ".join(f"{count} units: {words}" for words, count in counts.most_common())


def standing(unit: Unit) -> str:
    """How a unit that is out stands, in words."""
    if unit.job_state is JobState.PREPARED:
        return f"{unit.purpose}: {'submitted' if unit.job_id else 'to be submitted'}"
    if not unit.job_id:
        return f"{unit.purpose}: no answer to its submission ({unit.word}); looking for its job"
    why = f" ({unit.reason})" if unit.reason else ""
    word = "submitted" if unit.job_state is JobState.SUBMITTING else unit.word.lower()
    return f"{unit.purpose}: {word}{why}"
