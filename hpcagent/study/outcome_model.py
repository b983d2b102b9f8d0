"""What the language model of a run contributed, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from hpcagent.llm.log import FAILED, RANKING
from hpcagent.llm.roles import OPTIMISE
from hpcagent.records import Config
from hpcagent.search.earned import earned
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.small_model import STRATEGY
from hpcagent.study.state import TuneState
from hpcagent.study.summary import ModelSummary

OVERLAPS = "overlaps"  # of a call: something was out to be measured elsewhere meanwhile
_STEP = "another"
_GOOD = "accepted"
_WORDS = 200  # characters of a verdict that are told
_LATE = "model.timeout"
_CURE = "; a smaller model, more cores or answer_seconds in [models.optimise] would help"
_TOO_LONG = f"{FAILED} model.context_overflow"

_NO_CALL: Mapping[str, Any] = {}
_Calls = Sequence[Mapping[str, Any]]


def model_summary(known: Knowledge, best: Config | None) -> ModelSummary:
    state = known.state
    calls, settings = _proposing(state), state.settings
    verdicts = [str(call.get("verdict") or "") for call in calls]
    valid = verdicts.count(_GOOD)
    shortened = len(calls) - len(_answered(calls))
    steps = verdicts.count(_STEP)
    measured, bests, share = 0, False, ""
    if state.done("feasibility") is not None and known.tunable:
        picks = [trial for trial in known.trials if trial.proposed_by in ("model", "embedded")]
        measured = len(picks)
        bests = any(trial.config == best for trial in picks)
        share = earned(known.trials).words()
    tokens = sum(int(call.get("tokens_in") or 0) for call in calls)
    cached = sum(int(call.get("tokens_cached") or 0) for call in calls)
    return ModelSummary(
        used=bool(settings.model or settings.replay),
        name=settings.model or (f"transcript {settings.replay}" if settings.replay else ""),
        calls=len(calls),
        valid=valid,
        invalid=len(calls) - valid - steps - shortened,
        picks_measured=measured,
        best_is_models=bests,
        seconds=_seconds(calls),
        note=_note(state, calls),
        earned=share,
        ranked=sum(call.get("op") == RANKING for call in calls),
        shortened=shortened,
        cached_share=cached / tokens if tokens else 0.0,
        waited_s=_seconds([call for call in calls if not call.get(OVERLAPS)]),
        notes=model_notes(state),
        small=settings.strategy == STRATEGY,
        chosen_by=str(settings.routes.get(OPTIMISE, {}).get("source", "")),
    )


def model_notes(state: TuneState) -> tuple[str, ...]:
    """What of the models of all roles is not as it was asked for, each once."""
    return tuple(dict.fromkeys(str(n) for call in state.calls for n in call.get("notes", ())))


def _proposing(state: TuneState) -> _Calls:
    """The calls of the role that takes part in the proposals; earlier versions knew no other."""
    return [call for call in state.calls if call.get("role", "") in ("", OPTIMISE)]


def _seconds(calls: _Calls) -> float:
    """What the agent waited for answers; journals of older versions have the model's own time."""
    return sum(float(call.get("waited_s") or call.get("seconds") or 0.0) for call in calls)


def _answered(calls: _Calls) -> _Calls:
    """Without those that were too long and were asked again in the same round, shortened."""
    return [
        call
        for call, then in zip_longest(calls, calls[1:], fillvalue=_NO_CALL)
        if not str(call.get("verdict")).startswith(_TOO_LONG)
        or call.get("round") != then.get("round")
    ]


def in_vain(state: TuneState, index: int) -> str:
    """What to tell of a round whose model was asked in vain; empty where it was not."""
    calls = _answered([call for call in _proposing(state) if call.get("round") == index])
    verdicts = [str(call.get("verdict") or "") for call in calls]
    if not verdicts or _GOOD in verdicts:
        return ""
    return f"no usable answer of the model in {len(calls)}: {_said(verdicts[-1])}"


def _note(state: TuneState, calls: _Calls) -> str:
    """What went wrong with the model itself, and why no answer could be used where none could."""
    parts = [str(state.decisions.get("model", {}).get("note", ""))]
    verdicts = [str(call.get("verdict") or "") for call in _answered(calls)]
    failed = [v for v in verdicts if v.startswith(FAILED)]
    if failed:
        parts.append(
            f"{len(failed)} of the invalid ones gave no usable answer, last: {_said(failed[-1])}"
        )
    elif verdicts and _GOOD not in verdicts:
        parts.append(f"the last was {verdicts[-1][:_WORDS]}")
    return "; ".join(part for part in parts if part)


def _said(verdict: str) -> str:
    words = verdict.removeprefix(FAILED).strip()[:_WORDS]
    return f"{words}{_CURE}" if words.startswith(_LATE) else words
