"""The points of the greatest expected improvement, once a process can be fitted.

Times the probability that they run at all. Every third evaluation changes one choice of the fastest
point, every eighth one goes where least is known, unless all else is far slower (nearby.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from hpcagent.search.candidate import Candidate
from hpcagent.search.evidence import LIKELY, Evidence
from hpcagent.search.expert import CHANGED, Expert
from hpcagent.search.nearby import far_slower

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hpcagent.search.gp import Posterior

    Array = NDArray[np.float64]

_SWITCH_EVERY = 3  # evaluations
_EXPLORE_EVERY, _EXPLORE_AT = 8, 6  # evaluations; the last of a round of four may be a model's
_SWITCHED = 3  # values of a choice, at least
_HOPE = 1.5  # standard deviations
# What is less likely to run has to wait until nothing else is left: what has only failed, twice.
_DOUBTFUL = 0.15


def improving(state: Evidence, k: int, chance: Array, expert: Expert | None) -> Iterator[Candidate]:
    """Up to `k` free points, each as if the ones before it came out as predicted.

    `chance` (P,) is that each point runs; what an expert says is weighed in.
    """
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
        gain = np.where(state.likely(chance, _DOUBTFUL), gain, -np.inf)
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
    does; but while all else is far slower, that is where such points are.
    """
    import numpy as np

    if far_slower(state):
        return int(np.argmax(gain))
    if len(state.seen) % _EXPLORE_EVERY == _EXPLORE_AT:
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

    if len(state.seen) % _SWITCH_EVERY:
        return None
    long = [len(values) >= _SWITCHED for values in state.grid.coordinates]
    fastest, _ = state.fastest(process.mean)
    differs = state.grid.codes != state.grid.codes[fastest]
    one = (differs.sum(axis=1) == 1) & differs[:, ~np.array(state.grid.ordinal) & long].any(axis=1)
    hopeful = process.mean - _HOPE * np.sqrt(process.variance) < best
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
