"""What a result says of the user's own function, where that is worth telling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpcagent.study.state import TuneState

_NAMED = 8  # rounds
_FILLED = (
    "the user's function gave answers that could not be used (where it had no more of its tries the"
    " surrogate chose)"
)
_MISSING = "the analysis by the user's function was missing from the prompt"
_PARTLY = "the analysis by the user's function was in the prompt without some of its parts"

Failed = Sequence[tuple[str, Mapping[str, Any]]]


def function_warnings(state: TuneState) -> Iterator[str]:
    """Sentences: that its file changed, and in which rounds what it answered was of no use."""
    decisions = state.decisions
    if "function" in decisions:
        yield f"the function's file changed: {decisions['function']['reason']}"
    failed = [(what, data) for what, data in decisions.items() if what.startswith("function-")]
    guided = state.settings.strategy == "guided"
    yield from _told(_MISSING if guided else _FILLED, [f for f in failed if not f[1].get("partly")])
    yield from _told(_PARTLY, [f for f in failed if f[1].get("partly")])


def _told(words: str, failed: Failed) -> Iterator[str]:
    """The log's name comes before the function's own words, which may be long and be cut."""
    if not failed:
        return
    rounds = [what.removeprefix("function-") for what, _ in failed]
    more = len(rounds) - _NAMED
    named = ", ".join(rounds[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    last = str(failed[-1][1]["reason"])[:200]
    yield f"{words} in round {named}; see function.log (last: {last})"
