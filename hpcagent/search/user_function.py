"""Strategy `user-function`: a function of the user's own chooses, the surrogate stands in.

The function sees the same history, restrictions and default as every strategy. It runs in a
process with limits; an answer that cannot be used is told to it, at most twice. Then the surrogate
fills the round, and after two rounds in a row without an answer of use it goes on alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcagent.errors import UsageError
from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Proposal, Stop, Trial
from hpcagent.search.function_call import BOUNDS, Bounds, call
from hpcagent.search.function_file import ENTRIES
from hpcagent.search.function_talk import read_answer, request
from hpcagent.search.options import FunctionCall, Options
from hpcagent.search.surrogate import NAME as INSTEAD
from hpcagent.search.surrogate import Surrogate
from hpcagent.search.unvisited import none_left

NAME = "user-function"
TRIES = 3
PATIENCE = 2  # rounds in a row


def create(options: Options) -> UserFunction:
    """UsageError where the options name no file."""
    if not options.function:
        raise UsageError("strategy 'user-function' needs --function FILE.py")
    return UserFunction(options)


@dataclass(frozen=True)
class _Refused:
    words: str


class UserFunction:
    def __init__(self, options: Options, bounds: Bounds = BOUNDS) -> None:
        self._options = options
        self._bounds = bounds
        self._surrogate = Surrogate(prior=options.prior)

    def propose(
        self,
        space: SearchSpace,
        history: Sequence[Trial],
        pending: Sequence[Config],
        k: int,
        seed: int,
    ) -> tuple[Proposal, ...] | Stop:
        """The default first, then what the function answers, one call for each slot."""
        gone = {trial.config for trial in history} | set(pending)
        if k < 1:
            return ()
        if space.enumerable and gone.issuperset(space.points()):
            return Stop(none_left(space))
        chosen: list[Proposal] = []
        if space.default not in gone:
            chosen.append(Proposal(space.default, "the default, to compare with", NAME))
        refused = _given_up(history)
        while len(chosen) < k and refused is None:
            taken = (*pending, *(each.config for each in chosen))
            found = self._ask(space, history, taken, seed + len(chosen))
            if isinstance(found, Stop):
                return tuple(chosen) or found
            if isinstance(found, _Refused):
                refused = found
            else:
                chosen.append(Proposal(found, "the user's function chose it", NAME))
        if refused is None:
            return tuple(chosen)
        return self._filled_up(refused, space, history, (*pending,), chosen, k, seed)

    def _ask(
        self, space: SearchSpace, history: Sequence[Trial], taken: Sequence[Config], seed: int
    ) -> Config | Stop | _Refused:
        problem = ""
        for number in range(1, TRIES + 1):
            asked = request(space, history, taken, self._options.facts, seed, problem)
            called = call(Path(self._options.function), ENTRIES[NAME], asked, self._bounds)
            problem = called.problem
            if not problem:
                found = read_answer(called.value, space, history, taken, called.odd)
                if not isinstance(found, str):
                    self._tell(FunctionCall(number, called.seconds, "", called.log))
                    return found
                problem = found
            self._tell(FunctionCall(number, called.seconds, problem, called.log))
            if called.kind == "timeout" or _nothing_left(space, history, taken):
                break
        return _Refused(problem)

    def _tell(self, record: FunctionCall) -> None:
        if self._options.told is not None:
            self._options.told(record)

    def _filled_up(
        self,
        refused: _Refused,
        space: SearchSpace,
        history: Sequence[Trial],
        pending: Sequence[Config],
        chosen: Sequence[Proposal],
        k: int,
        seed: int,
    ) -> tuple[Proposal, ...] | Stop:
        """The round with the surrogate's choices in the slots that are left."""
        taken = (*pending, *(each.config for each in chosen))
        own = self._surrogate.propose(space, history, taken, k - len(chosen), seed)
        if isinstance(own, Stop):
            return tuple(chosen) or own
        note = f"in place of the user's function ({refused.words[:160]})"
        more = (Proposal(p.config, f"{p.reason}; {note}", p.proposed_by) for p in own)
        return (*chosen, *more)


def _given_up(history: Sequence[Trial]) -> _Refused | None:
    """Whether its last rounds had the surrogate's choices only."""
    by_round: dict[int, set[str]] = {}
    for trial in history:
        by_round.setdefault(trial.round, set()).add(trial.proposed_by)
    vain = 0
    for number in sorted(by_round, reverse=True):
        if NAME in by_round[number] or vain == PATIENCE:
            break
        vain += INSTEAD in by_round[number]
    if vain < PATIENCE:
        return None
    return _Refused(f"no answer of use in {PATIENCE} rounds; it is not asked any more")


def _nothing_left(space: SearchSpace, history: Sequence[Trial], taken: Sequence[Config]) -> bool:
    gone = {trial.config for trial in history} | set(taken)
    return space.enumerable and gone.issuperset(space.points())
