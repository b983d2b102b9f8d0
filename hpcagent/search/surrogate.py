"""Strategy `surrogate`: a Gaussian process on the log time ratio, and expected improvement.

The default first, then a small covering design, then the points of the greatest expected
improvement times the probability that they run at all; every eighth evaluation goes where least is
known instead. What is known beforehand (prior.py) leads the design, and counts from then on as far
as measurements bear it out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Proposal, Stop, Trial
from hpcagent.search.encoding import Grid
from hpcagent.search.evidence import Evidence, rounds_since_best
from hpcagent.search.expert import CHANGED, Expert
from hpcagent.search.expert import NAME as EXPERT
from hpcagent.search.lags import hastened
from hpcagent.search.options import Options
from hpcagent.search.prior import Belief, Prior
from hpcagent.search.unvisited import candidates, none_left

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hpcagent.search.gp import Posterior

    Array = NDArray[np.float64]

NAME = "surrogate"
THRESHOLD = 0.003  # relative: stop when no point promises more
SPREAD = "early coverage of the space"
WON = "early coverage of what won on other machines"
FOREMOST = "what names say is fastest, and little else changed"
TELLING = "to tell which of the values that failed together can run"
HINTED = "what the card hints at"
# Runs are asked for it by these words (study/history_recall.py): old ones keep what they had.
FASTEST_BEFORE = "the fastest, as earlier runs have it"
SPREAD_BEFORE = "early coverage of what was fast in earlier runs"
SWITCH_EVERY = 3  # evaluations
EXPLORE_EVERY, EXPLORE_AT = 8, 6  # evaluations; the last of a round of four may be a model's
SWITCHED = 3  # values of a choice, at least
HOPE = 1.5  # standard deviations
QUIET_ROUNDS = 2  # rounds in a row that brought no better one, and after which none promised more
LIKELY = 0.5  # chance to run at all, for a point of the design
DOUBTFUL = 0.2  # what is less likely to run has to wait until nothing else is left
HEEDED = 0.3  # trust above which the design follows earlier runs,
HEEDED_DESIGN = 4  # evaluations, the default included, of which every second one
HEEDED_SHARE = 0.3  # is the fastest in their view, and the others lie in this share of the space
_LEAST_WORKED = 3  # a process is fitted to no fewer measurements


@dataclass(frozen=True)
class Candidate:
    """A point with what the surrogate expects of it, as natural logs of the time ratio.

    `improvement` is the expected improvement over the best so far times `feasibility`; None for
    all three figures while there are too few measurements for a fit. `promise` is the greatest
    improvement of any untried point at the time, for the stop rule. `said` tells that an expert
    tipped the choice.
    """

    config: Config
    mean: float | None
    spread: float | None
    improvement: float | None
    feasibility: float
    promise: float | None = None
    said: str = ""
    aim: str = SPREAD

    @property
    def by(self) -> str:
        return EXPERT if self.said else NAME

    def reason(self) -> str:
        if self.mean is None or self.spread is None or self.improvement is None:
            return self.aim
        speed = math.expm1(-self.mean)
        words = "better" if speed >= 0 else "worse"
        error = math.exp(-self.mean) * self.spread
        text = (
            f"EI {100 * self.improvement:.2g} %, predicted {100 * abs(speed):.1f} %"
            f" +- {100 * error:.1f} % {words} than the default"
        )
        if self.feasibility < 0.995:
            text += f", runs with probability {self.feasibility:.2f}"
        return f"{text}; {self.said}" if self.said else text


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
        proposals += [Proposal(each.config, each.reason(), each.by) for each in candidates]
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


def _candidates(
    state: Evidence, k: int, seed: int, expert: Expert | None = None
) -> Iterator[Candidate]:
    import numpy as np

    from hpcagent.search import suspects
    from hpcagent.search.design import design_size

    known = state.belief.chance(state.worked, state.failed)
    chance = np.minimum(state.chance(), suspects.chance(state)) * known
    size = design_size(state.grid, state.seen)
    if _heeded(state):
        size = min(size, HEEDED_DESIGN)
    left = k
    while left > 0 and state.free.any() and _designing(state, size):
        row, aim = _spreading(state, chance, seed)
        yield Candidate(state.grid.points[row], None, None, None, float(chance[row]), aim=aim)
        state = state.taking(row)
        left -= 1
    if left > 0 and state.free.any():
        yield from _improving(state, left, chance, expert)


def _designing(state: Evidence, size: int) -> bool:
    from hpcagent.search.suspects import clearing

    few = len(state.seen) < size or len(state.worked) < _LEAST_WORKED
    return few or clearing(state) is not None


def _heeded(state: Evidence) -> bool:
    """Whether the design follows earlier runs: as long as they told faster from slower."""
    if state.belief.trust < HEEDED:
        return False
    said = state.belief.mean[state.worked]
    return len(said) < 2 or bool((said - said.mean()) @ state.values >= 0.0)


def _spreading(state: Evidence, chance: Array, seed: int) -> tuple[int, str]:
    """The next point of the design, what tells which value failed, what hints and earlier runs
    point at, else a wide spread; and which of these it is."""
    import numpy as np

    from hpcagent.search.design import next_row
    from hpcagent.search.suspects import clearing

    telling = clearing(state)
    if telling is not None:
        return _nearest(state, telling), TELLING
    usable = state.likely(chance, LIKELY)
    off = state.belief.off_hints
    if off is not None and len(state.seen) == 1:
        return _nearest(state, usable, off.sum(axis=0)), HINTED
    if not _heeded(state):
        return _designed(state, usable, seed)
    mean = state.belief.mean
    if len(state.seen) % 2:
        return int(np.argmin(np.where(usable, mean, np.inf))), FASTEST_BEFORE
    ordered = np.sort(mean[usable])
    usable = usable & (mean <= ordered[int(HEEDED_SHARE * (len(ordered) - 1))])
    return next_row(state.grid, state.seen, usable, seed), SPREAD_BEFORE


def _designed(state: Evidence, usable: NDArray[np.bool_], seed: int) -> tuple[int, str]:
    """The next point of a design that follows no earlier runs, and what it is for."""
    from hpcagent.search.design import among_winners, next_row
    from hpcagent.search.lags import disproved, foremost, lags_behind, spread
    from hpcagent.search.suspects import that_run

    grid, seen = state.grid, state.seen
    if not disproved(grid, state.worked, state.values):
        usable = that_run(state, usable)
        if lags_behind(grid, seen, usable):
            return _nearest(state, foremost(grid, usable)), FOREMOST
        usable = spread(grid, usable)
    aim = WON if among_winners(grid, seen) else SPREAD
    return next_row(grid, seen, usable, seed), aim


def _nearest(state: Evidence, usable: NDArray[np.bool_], off: Array | float = 0.0) -> int:
    """The usable point that is least `off`, and else most like the first one seen."""
    import numpy as np

    others = (state.grid.codes != state.grid.codes[state.seen[0]]).sum(axis=1)
    order = np.lexsort((others, np.where(usable, off, np.inf)))
    return int(order[0])


def _improving(
    state: Evidence, k: int, chance: Array, expert: Expert | None
) -> Iterator[Candidate]:
    import numpy as np

    from hpcagent.search.acquisition import expected_improvement
    from hpcagent.search.gp import believe

    scale, shift, process = _fitted(state)
    for row in state.waiting:
        process = believe(state.grid, process, row)
    _, best = state.fastest(process.mean)
    left = min(k, int(state.free.sum()))
    while left:
        gain = expected_improvement(best, process.mean, np.sqrt(process.variance)) * chance
        gain = np.where(state.likely(chance, DOUBTFUL), gain, -np.inf)
        gain *= scale  # in ln(time), as what an expert says
        heard = expert.weighed(state, gain) if expert else None
        row = own = _chosen(state, process, best, chance, gain)
        if heard is not None:
            row = _chosen(state, process, best, chance, heard)
        yield Candidate(
            config=state.grid.points[row],
            mean=float(process.mean[row]) * scale + shift,
            spread=math.sqrt(float(process.variance[row])) * scale,
            improvement=float(gain[row]),
            feasibility=float(chance[row]),
            promise=float(gain.max()),
            said="" if row == own else CHANGED,
        )
        state = state.taking(row)
        left -= 1
        if left:
            process = believe(state.grid, process, row)


def _chosen(state: Evidence, process: Posterior, best: float, chance: Array, gain: Array) -> int:
    """The row of the greatest gain; at times that of a changed choice, or of the unknown.

    A process fitted to few points may be wrong about where nothing is to be gained, and its own
    expected improvement never finds that out. One evaluation in eight at its most uncertain point
    does.
    """
    import numpy as np

    if len(state.seen) % EXPLORE_EVERY == EXPLORE_AT:
        likely = state.likely(chance, LIKELY)
        return int(np.argmax(np.where(likely, process.unexplained, -np.inf)))
    among = _switched(state, process, best, chance)
    return int(np.argmax(gain if among is None else np.where(among, gain, -np.inf)))


def _switched(
    state: Evidence, process: Posterior, best: float, chance: Array
) -> NDArray[np.bool_] | None:
    """(P,): the fastest point with another value of one long choice; None where it is not due.

    Every third evaluation, of choices with three values or more. What one value does on its own is
    confounded with all else in the design, and a process fitted to few points is too sure of it: it
    would walk along the ordinals and leave the choice as it was first seen. Switches of two values
    are seen often enough; turning them cost evaluations on recorded surfaces. Only points that may
    be faster count.
    """
    import numpy as np

    if len(state.seen) % SWITCH_EVERY:
        return None
    long = [len(values) >= SWITCHED for values in state.grid.coordinates]
    fastest, _ = state.fastest(process.mean)
    differs = state.grid.codes != state.grid.codes[fastest]
    one = (differs.sum(axis=1) == 1) & differs[:, ~np.array(state.grid.ordinal) & long].any(axis=1)
    hopeful = process.mean - HOPE * np.sqrt(process.variance) < best
    found = state.free & one & hopeful & (chance >= LIKELY)
    return np.asarray(found) if found.any() else None


def _fitted(state: Evidence) -> tuple[float, float, Posterior]:
    """(scale, shift, process): log ratio = scale * the process's value + shift.

    The process is that of what the trends do not explain. The weights of what is known of this
    space are as uncertain in it, and in its likelihood, as they are: the design avoids what is
    thought slow, so that a wrong belief would never be found out, and what is not there would be
    taken for an effect of these parameters. The other trends count with their most likely weights,
    as if that uncertainty were not there: to tell the likelihood of it brought nothing.
    """
    from hpcagent.search.acquisition import squeezed
    from hpcagent.search.gp import Observations, posterior, slopes
    from hpcagent.search.likelihood import fit
    from hpcagent.search.trends import earlier, general, joined, particular

    values = squeezed(state.values)
    shift = float(values.mean())
    scale = max(float(values.std()), 1e-4)
    told = particular(state.grid, state.belief)
    thought = told.means @ told.columns
    y = (values - shift) / scale - thought[state.worked]
    seen = Observations(state.worked, y, (state.spreads / scale) ** 2)
    then = earlier(state.belief, state.worked, scale)
    trends = joined(general(state.grid), then)
    rest = y - (trends.means @ trends.columns)[state.worked]
    uncertain = then.shared(state.worked) + told.shared(state.worked)
    theta = fit(state.grid, replace(seen, y=rest), uncertain)
    trend = slopes(state.grid, seen, theta, trends) @ trends.columns
    unexplained = replace(seen, y=y - trend[state.worked])
    process = posterior(state.grid, unexplained, theta, told.spreads[:, None] * told.columns)
    return scale, shift, replace(process, mean=process.mean + trend + thought)
