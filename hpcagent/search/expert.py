"""A model that has learnt to tune, as one voice in the choice of the next point.

It has a say in the choice among the Gaussian process's best points: its expected improvement is
averaged with that of the process, on the same scale, with a weight that it has to earn and that
fades. It never decides alone, and where it fails or cannot express the space the search is what it
is without it.
"""

from __future__ import annotations

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
# What it has earned by measurement: next to nothing (hpcagent/embedded/README.md).
WEIGHT, FADED = 0.2, 12  # of its voice at first; evaluations after which it has none
SHORTLIST = 10  # of the process's best, that the model chooses among
_FEWEST = 3  # measurements by which it is judged
_NOISE = 0.02  # in ln(time): no prediction is held to be surer than this
_SURPRISE = 2.0  # in nats: the most that one measurement speaks for or against it
_FAILED = Failure("run", "exit_nonzero", "it failed")


@dataclass(frozen=True)
class Share:
    """How much say the model has."""

    weight: float = WEIGHT
    faded: int = FADED

    def at(self, evaluations: int) -> float:
        return self.weight * max(0.0, 1.0 - evaluations / self.faded)


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
        self._share = share
        self._judged: tuple[list[int], float] = ([], 1.0)

    def weighed(self, state: Evidence, gain: Array) -> Array | None:
        """Expected improvements (P,): the process's own, and for its best the average with the
        model's, on the same scale; None where it has no say.

        With the model's own figures and three times the weight what was found after ten
        evaluations was 0.984 as good (0.964 to 1.001; hpcagent/embedded/README.md). So it decides
        only where the process sees next to no difference.
        """
        import numpy as np

        weight = self._share.at(len(state.seen))
        weight *= self._earned(state) if weight > 0.0 else 0.0
        if weight <= 0.0:
            return None
        count = min(SHORTLIST, int(np.isfinite(gain).sum()))
        rows = np.argpartition(-gain, count - 1)[:count]
        outlook = self._expected(_history(state), [state.grid.points[row] for row in rows])
        if outlook is None:
            return None
        theirs = np.array(outlook.gains)
        if not theirs.max() > 0.0:
            return None
        found = (1.0 - weight) * gain
        found[rows] += weight * theirs * (gain[rows].max() / theirs.max())
        return found

    def _earned(self, state: Evidence) -> float:
        """At most 1: how likely it makes what was measured, over how likely the mean makes it.

        Half of what was measured is predicted from the other half. A model that is sure and wrong
        loses its say; one that is right gains none beyond its share.
        """
        if self._judged[0] != state.worked.tolist():
            self._judged = state.worked.tolist(), self._factor(state)
        return self._judged[1]

    def _factor(self, state: Evidence) -> float:
        import numpy as np

        asked = state.worked[1::2]
        if len(asked) < _FEWEST:
            return 1.0
        points = [state.grid.points[row] for row in asked]
        told = [t for t in _seen(state) if t.config not in points]
        outlook = self._expected(told, points)
        if outlook is None:
            return 0.0
        known, true = state.values[0::2], state.values[1::2]
        allowed = known[state.allowed[0::2]]
        fastest = float(allowed.min() if len(allowed) else known.max())
        plain = _scores(true, float(known.mean()), max(float(known.std()), _NOISE))
        spreads = np.hypot(np.array(outlook.spreads), _NOISE)
        theirs = _scores(true, np.array(outlook.means) + fastest, spreads)
        better = np.clip(theirs - plain, -_SURPRISE, _SURPRISE).sum()
        return float(np.exp(min(0.0, better)))

    def _expected(self, history: Sequence[Trial], points: Sequence[Config]) -> Outlook | None:
        outlook = self._model.expect(self._space, history, points, self._seed)
        if self._told is not None:
            self._told(outlook)
        return None if outlook.failure is not None else outlook


def _scores(true: Array, mean: Array | float, spread: Array | float) -> Array:
    """ln of normal densities, without the constant."""
    import numpy as np

    return np.asarray(-0.5 * ((true - mean) / spread) ** 2 - np.log(spread))


def _seen(state: Evidence) -> list[Trial]:
    points = state.grid.points
    found = [
        Trial(points[row], float(value), float(spread), None, 0, "", bool(allowed))
        for row, value, spread, allowed in zip(
            state.worked, state.values, state.spreads, state.allowed, strict=True
        )
    ]
    return found + [Trial(points[row], None, None, _FAILED, 0, "") for row in state.failed]


def _history(state: Evidence) -> list[Trial]:
    """What was seen, and for what is still pending the middle one of it (a constant liar: D.
    Ginsbourger, R. Le Riche, L. Carraro, 2010), so that the next choice is another one."""
    middle = sorted(state.values.tolist())[len(state.values) // 2]
    points = state.grid.points
    waiting = [Trial(points[row], middle, 0.0, None, 0, "") for row in state.waiting]
    return _seen(state) + waiting
