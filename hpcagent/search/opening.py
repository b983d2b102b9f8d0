"""What the first evaluations are for, until a process can be fitted.

What tells which value failed, what a card hints at, what earlier runs or names say is fastest, and
a wide spread (design.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcagent.search.evidence import LIKELY, Evidence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SPREAD = "early coverage of the space"
NEAR = "early coverage of what is near the fastest, for the rest is far slower"
WON = "early coverage of what won on other machines"
FOREMOST = "what names say is fastest, and little else changed"
TELLING = "to tell which of the values that failed together can run"
HINTED = "what the card hints at"
# Runs are asked for it by these words (study/history_recall.py): old ones keep what they had.
FASTEST_BEFORE = "the fastest, as earlier runs have it"
SPREAD_BEFORE = "early coverage of what was fast in earlier runs"
_HEEDED = 0.3  # trust above which the design follows earlier runs,
_HEEDED_DESIGN = 4  # evaluations, the default included, of which every second one
_HEEDED_SHARE = 0.3  # is the fastest in their view, and the others lie in this share of the space
_LEAST_WORKED = 3  # a process is fitted to no fewer measurements


def length(state: Evidence) -> int:
    """Evaluations of the opening, the default included."""
    from hpcagent.search.design import design_size

    size = design_size(state.grid, state.seen)
    return min(size, _HEEDED_DESIGN) if _heeds(state) else size


def opens(state: Evidence, size: int) -> bool:
    """Whether the next evaluation is one of an opening of `size` evaluations, or longer at need."""
    from hpcagent.search.suspects import clearing

    few = len(state.seen) < size or len(state.worked) < _LEAST_WORKED
    return few or clearing(state) is not None


def _heeds(state: Evidence) -> bool:
    """Whether the design follows earlier runs: as long as they told faster from slower."""
    if state.belief.trust < _HEEDED:
        return False
    said = state.belief.mean[state.worked]
    return len(said) < 2 or bool((said - said.mean()) @ state.values >= 0.0)


def first_row(state: Evidence, chance: Array, seed: int) -> tuple[int, str]:
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
    if not _heeds(state):
        return _designed(state, usable, seed)
    mean = state.belief.mean
    if len(state.seen) % 2:
        return int(np.argmin(np.where(usable, mean, np.inf))), FASTEST_BEFORE
    ordered = np.sort(mean[usable])
    usable = usable & (mean <= ordered[int(_HEEDED_SHARE * (len(ordered) - 1))])
    return next_row(state.grid, state.seen, usable, seed), SPREAD_BEFORE


def _designed(state: Evidence, usable: NDArray[np.bool_], seed: int) -> tuple[int, str]:
    """The next point of a design that follows no earlier runs, and what it is for."""
    from hpcagent.search.design import among_winners, next_row
    from hpcagent.search.foremost import disproved, foremost, lags_behind, spread
    from hpcagent.search.nearby import near_fastest
    from hpcagent.search.suspects import that_run

    grid, seen, aim = state.grid, state.seen, SPREAD
    if not disproved(grid, state.worked, state.values):
        usable = that_run(state, usable)
        if lags_behind(grid, seen, usable):
            return _nearest(state, foremost(grid, usable)), FOREMOST
        wide = spread(grid, usable)
        usable = near_fastest(state, wide)
        aim = SPREAD if usable is wide else NEAR
    if among_winners(grid, seen):
        aim = WON
    return next_row(grid, seen, usable, seed), aim


def _nearest(state: Evidence, usable: NDArray[np.bool_], off: Array | float = 0.0) -> int:
    """The usable point that is least `off`, and else most like the first one seen."""
    import numpy as np

    others = (state.grid.codes != state.grid.codes[state.seen[0]]).sum(axis=1)
    order = np.lexsort((others, np.where(usable, off, np.inf)))
    return int(order[0])
