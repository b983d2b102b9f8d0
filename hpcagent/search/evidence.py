"""What a search has seen, as rows of a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hpcagent.records import Config, Trial
from hpcagent.search.encoding import Grid
from hpcagent.search.prior import Belief

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Wide = NDArray[np.float32]


CRASHED = "run"  # the stage of a failure of a process
LIKELY = 0.5  # chance to run at all, for a point that is tried for what it tells


@dataclass(frozen=True)
class Evidence:
    """History and pending as rows of the grid; `values`, `spreads`, `allowed` belong to `worked`,
    and `crashed` are those of the failed whose processes failed.

    What is not allowed (it breaks a constraint of the run) has a true value, so it teaches where
    the fast points are; but it is no best so far, and counts as failed where the chance of a point
    to be of use is estimated (constrained expected improvement: M. Schonlau, W. J. Welch, D. R.
    Jones, IMS Lecture Notes 34 (1998) 11-25).
    """

    grid: Grid
    belief: Belief
    worked: NDArray[np.intp]
    values: Array
    spreads: Array
    allowed: NDArray[np.bool_]
    failed: NDArray[np.intp]
    crashed: NDArray[np.intp]
    waiting: tuple[int, ...]
    free: NDArray[np.bool_]

    @classmethod
    def of(
        cls, grid: Grid, belief: Belief, history: Sequence[Trial], pending: Sequence[Config]
    ) -> Evidence:
        import numpy as np

        latest = {trial.config: trial for trial in history if trial.config in grid.index}
        good = [trial for trial in latest.values() if measured(trial)]
        bad = {
            grid.index[trial.config]: trial.failure
            for trial in latest.values()
            if trial.failure is not None
        }
        waiting = {grid.index[c] for c in pending if c in grid.index and c not in latest}
        free = np.ones(len(grid.points), dtype=bool)
        free[[grid.index[config] for config in latest]] = False
        free[sorted(waiting)] = False
        return cls(
            grid=grid,
            belief=belief,
            worked=np.array([grid.index[trial.config] for trial in good], dtype=np.intp),
            values=np.array([trial.log_ratio for trial in good], dtype=np.float64),
            spreads=np.array([_spread(trial) for trial in good], dtype=np.float64),
            allowed=np.array([trial.eligible for trial in good], dtype=np.bool_),
            failed=np.array(list(bad), dtype=np.intp),
            crashed=np.array([r for r, f in bad.items() if f.stage == CRASHED], dtype=np.intp),
            waiting=tuple(sorted(waiting)),
            free=free,
        )

    @property
    def seen(self) -> list[int]:
        return [*self.worked.tolist(), *self.failed.tolist(), *self.waiting]

    def likely(self, chance: Array, bound: float) -> NDArray[np.bool_]:
        """(P,): the free points whose chance reaches the bound, or the best chance if none does."""
        return self.free & (chance >= min(bound, float(chance[self.free].max())))

    def chance(self) -> Array:
        """(P,): the chance of each point to run and to break no constraint."""
        import numpy as np

        from hpcagent.search.feasibility import probability

        useless = np.concatenate([self.failed, self.worked[~self.allowed]])
        return probability(self.grid, self.worked[self.allowed], useless)

    def fastest(self, mean: Array | Wide) -> tuple[int, float]:
        """The row and the mean of the best allowed point; of the worst, where none is allowed:
        then whatever is allowed is better."""
        import numpy as np

        rows = self.worked[self.allowed]
        if len(rows):
            row = int(rows[np.argmin(mean[rows])])
        else:
            row = int(self.worked[np.argmax(mean[self.worked])])
        return row, float(mean[row])

    def taking(self, row: int) -> Evidence:
        free = self.free.copy()
        free[row] = False
        return replace(self, waiting=(*self.waiting, row), free=free)


def measured(trial: Trial) -> bool:
    """Whether there is a figure that can be believed: no time ratio is beyond e^50."""
    return trial.failure is None and trial.log_ratio is not None and abs(trial.log_ratio) < 50


def _spread(trial: Trial) -> float:
    usable = trial.spread is not None and math.isfinite(trial.spread) and trial.spread > 0
    return min(10.0, float(trial.spread or 0.0)) if usable else 0.0


def rounds_since_best(history: Sequence[Trial]) -> int:
    """Rounds after the one that brought the best eligible trial; 0 where there is none."""
    ratios = [
        (t.log_ratio, t.round)
        for t in history
        if measured(t) and t.log_ratio is not None and t.eligible
    ]
    last = max(trial.round for trial in history)
    return last - min(ratios)[1] if ratios else 0
