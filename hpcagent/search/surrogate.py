"""Strategy `surrogate`: a Gaussian process on the log time ratio, and expected improvement.

The default first, then a small covering design (opening.py), then the points of the greatest
expected improvement (improving.py). What is known beforehand (prior.py) leads the design, and
counts from then on as far as measurements bear it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Proposal, Stop, Trial
from hpcagent.search import opening
from hpcagent.search.candidate import Candidate
from hpcagent.search.encoding import Grid
from hpcagent.search.evidence import Evidence, rounds_since_best
from hpcagent.search.expert import NAME as EXPERT
from hpcagent.search.expert import Expert
from hpcagent.search.foremost import hastened
from hpcagent.search.options import Options
from hpcagent.search.prior import Belief, Prior
from hpcagent.search.unvisited import candidates, none_left

NAME = "surrogate"
THRESHOLD = 0.003  # relative: stop when no point promises more
QUIET_ROUNDS = 2  # rounds in a row that brought no better one, and after which none promised more


def create(options: Options) -> Surrogate:
    return Surrogate(prior=options.prior)


class Surrogate:
    """The default strategy; `propose` is a pure function of its arguments.

    One enumerated grid is kept, so that repeated calls with the same space object are cheap.
    """

    def __init__(
        self,
        threshold: float = THRESHOLD,
        prior: Prior | None = None,
        expert: Callable[[SearchSpace, int], Expert | None] | None = None,
    ) -> None:
        self._threshold = threshold
        self._expert = expert
        self._prior = prior or Prior()
        self._grid: tuple[SearchSpace, Grid, Belief] | None = None

    def propose(
        self,
        space: SearchSpace,
        history: Sequence[Trial],
        pending: Sequence[Config],
        k: int,
        seed: int,
    ) -> tuple[Proposal, ...] | Stop:
        """Up to `k` unvisited configurations; Stop when none is left or none is promising."""
        if k < 1:
            return ()
        state = Evidence.of(*self._enumerated(space, history, pending, seed), history, pending)
        if not state.free.any():
            return Stop(none_left(space))
        proposals = []
        row = state.grid.index[space.default]
        if state.free[row]:
            proposals.append(Proposal(space.default, "the default, to compare with", NAME))
            state = state.taking(row)
        expert = self._expert(space, seed) if self._expert else None
        candidates = list(_candidates(state, k - len(proposals), seed, expert))
        if not proposals and candidates:
            reason = self._reason_to_stop(state, history, candidates[0])
            if reason:
                return Stop(reason)
        proposals += [_proposal(each) for each in candidates]
        return tuple(proposals)

    def candidates(
        self,
        space: SearchSpace,
        history: Sequence[Trial],
        pending: Sequence[Config],
        k: int,
        seed: int,
    ) -> tuple[Candidate, ...]:
        """The points `propose` would take next, with their figures, whether or not it would stop.

        Fewer than `k` where fewer are left.
        """
        state = Evidence.of(*self._enumerated(space, history, pending, seed), history, pending)
        return tuple(_candidates(state, k, seed))

    def _enumerated(
        self, space: SearchSpace, history: Sequence[Trial], pending: Sequence[Config], seed: int
    ) -> tuple[Grid, Belief]:
        if not space.enumerable:
            found = dict.fromkeys(candidates(space, history, pending, seed))
            fast = hastened(space.params, space.default)
            if space.contains(fast):
                found[fast] = None
            drawn = Grid.of(space.params, tuple(found))
            return drawn, self._prior.over(drawn)
        if self._grid is None or self._grid[0] is not space:
            grid = Grid.of(space.params, space.points())
            self._grid = (space, grid, self._prior.over(grid))
        return self._grid[1:]

    def _reason_to_stop(self, state: Evidence, history: Sequence[Trial], best: Candidate) -> str:
        enough = max(12, 4 * len(state.grid.ordinal))
        if best.promise is None or best.promise >= self._threshold:
            return ""
        if len(state.worked) < enough or rounds_since_best(history) < QUIET_ROUNDS:
            return ""
        if not self._was_quiet(state, history):
            return ""
        return (
            f"for {QUIET_ROUNDS} rounds no untried configuration has been expected to gain more"
            f" than {100 * self._threshold:.2g} % (best: {100 * best.promise:.2g} %"
            f" after {len(state.worked)} measured)"
        )

    def _was_quiet(self, state: Evidence, history: Sequence[Trial]) -> bool:
        """Whether nothing promised more before the last round either, and so on."""
        last = max(trial.round for trial in history)
        for end in range(last, last - QUIET_ROUNDS + 1, -1):
            before = [trial for trial in history if trial.round < end]
            then = Evidence.of(state.grid, state.belief, before, ())
            found = next(_candidates(then, 1, end), None)
            if found is None or found.promise is None or found.promise >= self._threshold:
                return False
        return True


def _proposal(chosen: Candidate) -> Proposal:
    return Proposal(chosen.config, chosen.reason(), EXPERT if chosen.said else NAME)


def _candidates(
    state: Evidence, k: int, seed: int, expert: Expert | None = None
) -> Iterator[Candidate]:
    import numpy as np

    from hpcagent.search import suspects
    from hpcagent.search.improving import improving

    known = state.belief.chance(state.worked, state.failed)
    chance = np.minimum(state.chance(), suspects.chance(state)) * known
    size = opening.length(state)
    left = k
    while left > 0 and state.free.any() and opening.opens(state, size):
        row, aim = opening.first_row(state, chance, seed)
        yield Candidate(state.grid.points[row], None, None, None, float(chance[row]), aim=aim)
        state = state.taking(row)
        left -= 1
    if left > 0 and state.free.any():
        yield from improving(state, left, chance, expert)
