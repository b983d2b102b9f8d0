"""How far a run is, for a person who waits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpcagent.measure.objectives import TIME
from hpcagent.records import JobState
from hpcagent.study import budget, units
from hpcagent.study.confirmations import confirmations
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.outcome import phase
from hpcagent.study.outcome_model import OVERLAPS
from hpcagent.study.state import TuneState

# The share of the planned processes that are run: challengers are dropped early. Seen in tuning
# runs on two cores; only the estimate of the time left rests on it.
_USED_SHARE = 0.7
_IDLE = frozenset({JobState.QUEUED, JobState.HELD, JobState.SUSPENDED})


@dataclass(frozen=True)
class Progress:
    """One line's worth: phase, rounds done of planned, best so far, seconds spent and left.

    `waiting` is the state of what is out, in a word, where none of it runs: "queued", "held".
    """

    phase: str
    rounds_done: int
    rounds_planned: int
    processes: int
    best: str
    elapsed_s: float
    left_s: float | None
    waiting: str = ""

    def text(self) -> str:
        parts = [self.phase]
        if self.waiting:
            parts[0] += f" ({self.waiting})"
        elif self.processes:
            parts[0] += f" ({self.processes} runs)"
        if self.rounds_done:
            parts.append(f"rounds {self.rounds_done}/{self.rounds_planned}")
        if self.best:
            parts.append(f"best {self.best}")
        parts.append(clock(self.elapsed_s))
        if self.left_s is not None:
            parts.append(f"{clock(self.left_s)} left")
        return " | ".join(parts)


def progress(known: Knowledge, processes: int, now_utc: str) -> Progress:
    """`processes` counts what the open unit has run so far."""
    state = known.state
    searched = state.done("feasibility") is not None and known.tunable
    # How long a build takes, and how many there will be, nobody knows.
    foreseen = searched and state.closed is None and state.settings.build is None
    return Progress(
        phase=phase(state),
        rounds_done=len(state.rounds),
        rounds_planned=state.settings.rounds,
        processes=processes,
        best=_best(known) if searched and state.rounds else "",
        elapsed_s=budget.elapsed_s(state, now_utc),
        left_s=_left_s(known, processes) if foreseen else None,
        waiting=waiting(state),
    )


def waiting(state: TuneState) -> str:
    """The state of what is out, in a word, where none of it runs; else nothing."""
    states = [unit.job_state for unit in state.open_units]
    return states[0].value.lower() if states and _IDLE.issuperset(states) else ""


def _best(known: Knowledge) -> str:
    best = known.best
    if best.log_ratio is None or best.config == known.unpruned.default:
        return "default"
    first = known.state.settings.objectives[0]
    return f"{math.exp(-best.log_ratio):.3f}x" + (f" in {first}" if first != TIME else "")


def _left_s(known: Knowledge, processes: int) -> float:
    state, settings = known.state, known.state.settings
    a_round = units.round_seconds(known, settings.challengers) * _USED_SHARE + _asking_s(state)
    confirm = units.confirmation_seconds(known)
    rounds = 0 if "search_ended" in state.decisions else settings.rounds - len(state.rounds)
    confirm *= settings.confirm_jobs - len(confirmations(state))
    return max(0.0, rounds * a_round + confirm - processes * known.process_s)


def _asking_s(state: TuneState) -> float:
    """What a round waits for a language model, as the last that asked one did."""
    calls = [call for call in state.calls if "round" in call]
    last = [call for call in calls if call["round"] == calls[-1]["round"]]
    return sum(float(call.get("waited_s") or 0.0) for call in last if not call.get(OVERLAPS))


def clock(seconds: float) -> str:
    """ "0:45", "3:05", "2:10:00": short enough for the whole line to fit 80 columns."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
