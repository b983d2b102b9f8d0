"""A model that has learnt to tune, as one voice in the choice of the next point.

Its expected improvement multiplies that of the Gaussian process, with a weight that it earns and
that fades; it can also choose among the points that the design likes best. It never decides alone,
and where it fails or cannot express the space the search is what it is without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcagent.protocols import PointModel, SearchSpace
from hpcagent.records import Config, Failure, Outlook, Trial
from hpcagent.search.evidence import Evidence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Rows = NDArray[np.intp]

NAME = "embedded"
CHANGED = "the embedded model tipped the choice"
# Chosen on surfaces that are not those of the report (hpcagent/embedded/README.md): with a say in
# the design the model that ships found no more, so it has none.
EARLY = 0  # evaluations, the default included, of which it chooses those of the design
WEIGHT, FADED = 0.5, 20  # of its voice at first; evaluations after which it has none
AMONG = 5  # points that are of use to the design
SHORTLIST = 256  # of the process's best, that the model is asked about
_UNASKED = 1e-6  # of its gain, what a point keeps that the model was not asked about
_FEWEST = 3  # measurements by which it is judged
_FAILED = Failure("run", "exit_nonzero", "it failed")


@dataclass(frozen=True)
class Share:
    """How much say the model has; `among` so many of the points that the design would take."""

    early: int = EARLY
    among: int = AMONG
    weight: float = WEIGHT
    faded: int = FADED

    def at(self, evaluations: int) -> float:
        return self.weight * max(0.0, 1.0 - evaluations / self.faded) if self.faded else 0.0


class Expert:
    """`told` hears what became of each question: an Outlook, which may hold a failure."""

    def __init__(
        self,
        model: PointModel,
        space: SearchSpace,
        seed: int,
        share: Share = Share(),
        told: Callable[[Outlook], None] | None = None,
    ) -> None:
        self._model = model
        self._space = space
        self._seed = seed
        self._told = told
        self.share = share

    def first(self, state: Evidence, rows: Sequence[int]) -> tuple[int, str] | None:
        """Of the first rows of the design that which the model expects to be fastest, and why.

        None where it has no say. Its mean decides, not its expected improvement: of points of which
        next to nothing is known that favours the most uncertain ones.
        """
        import numpy as np

        if len(state.seen) >= self.share.early or not len(state.worked) or len(rows) < 2:
            return None
        among = np.array(rows[: self.share.among], dtype=np.intp)
        outlook = self._asked(state, among)
        if outlook is None:
            return None
        # a point that may fail is as good as one that takes 1/chance times as long
        means = np.array(outlook.means) - np.log(np.maximum(outlook.chances, 1e-6))
        best = int(np.argmin(means))
        return int(among[best]), _words(float(means[best]))

    def weighed(self, state: Evidence, gain: Array) -> Array:
        """Gains of the process (P,), those of its best multiplied by what the model thinks.

        The weight fades, and is what the model has earned on this surface.
        """
        import numpy as np

        weight = self.share.at(len(state.seen))
        weight *= self._earned(state) if weight > 0.0 else 0.0
        if weight <= 0.0:
            return gain
        count = min(SHORTLIST, int(np.isfinite(gain).sum()))
        rows = np.argpartition(-gain, count - 1)[:count]
        outlook = self._asked(state, rows)
        theirs = np.array(outlook.gains if outlook else ())
        if not len(theirs) or float(theirs.max()) <= 0.0:
            return gain
        # what was not asked about comes last, in its own order: it may be all that a rule leaves
        found = np.where(np.isfinite(gain), _UNASKED * gain, -np.inf)
        found[rows] = np.maximum(found[rows], gain[rows] * (theirs / theirs.max()) ** weight)
        return found

    def _earned(self, state: Evidence) -> float:
        """Whether it tells faster from slower here: half of what was measured is predicted from the
        other half. The correlation of ranks; nothing where that is negative, or cannot be told."""
        import numpy as np

        asked = state.worked[1::2]
        if len(asked) < _FEWEST:
            return 0.0
        points = [state.grid.points[row] for row in asked]
        told = [trial for trial in _history(state) if trial.config not in points]
        outlook = self._expected(told, points)
        if outlook is None:
            return 0.0
        ours, true = (np.argsort(np.argsort(x)) for x in (outlook.means, state.values[1::2]))
        middle = (len(asked) - 1) / 2
        agreement = float((ours - middle) @ (true - middle))  # Spearman's, once it is divided
        return max(0.0, agreement / (len(asked) * (len(asked) ** 2 - 1) / 12))

    def _asked(self, state: Evidence, rows: Rows) -> Outlook | None:
        return self._expected(_history(state), [state.grid.points[row] for row in rows])

    def _expected(self, history: Sequence[Trial], points: Sequence[Config]) -> Outlook | None:
        outlook = self._model.expect(self._space, history, points, self._seed)
        if self._told is not None:
            self._told(outlook)
        return None if outlook.failure is not None else outlook


def _words(mean: float) -> str:
    speed = 100 * math.expm1(-mean)
    words = "more" if speed >= 0 else "less"
    return f"the embedded model expects {abs(speed):.2g} % {words} speed than the fastest so far"


def _history(state: Evidence) -> list[Trial]:
    """What was seen, and for what is still pending the middle one of it (a constant liar: D.
    Ginsbourger, R. Le Riche, L. Carraro, 2010), so that the next choice is another one."""
    points = state.grid.points
    found = [
        Trial(points[row], float(value), float(spread), None, 0, "", bool(allowed))
        for row, value, spread, allowed in zip(
            state.worked, state.values, state.spreads, state.allowed, strict=True
        )
    ]
    found += [Trial(points[row], None, None, _FAILED, 0, "") for row in state.failed]
    middle = sorted(state.values.tolist())[len(state.values) // 2]
    return found + [Trial(points[row], middle, 0.0, None, 0, "") for row in state.waiting]
