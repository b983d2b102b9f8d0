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
HEEDED = 0.3  # trust from which on what was the fastest in earlier runs is tried,
_LEADING = 0.5  # and from which on they lead the design:
_LED_DESIGN = 4  # evaluations, the default included, of which every second one
_LED_SHARE = 0.3  # is the fastest in their view, and the others lie in this share of the space
_LEAST_WORKED = 3  # a process is fitted to no fewer measurements


def length(state: Evidence) -> int:
    """Evaluations of the opening, the default included."""
    from hpcagent.search.design import design_size

    size = design_size(state.grid, state.seen)
    return min(size, _LED_DESIGN) if _heeds(state, _LEADING) else size


def opens(state: Evidence, size: int) -> bool:
    """Whether the next evaluation is one of an opening of `size` evaluations, or longer at need."""
    from hpcagent.search.suspects import clearing

    few = len(state.seen) < size or len(state.worked) < _LEAST_WORKED
    return few or clearing(state) is not None


def _heeds(state: Evidence, least: float) -> bool:
    """Whether earlier runs have so much trust: as long as they told faster from slower."""
    if state.belief.trust < least:
        return False
    said = state.belief.mean[state.worked]
    return len(said) < 2 or bool((said - said.mean()) @ state.values >= 0.0)


def first_row(state: Evidence, chance: Array, seed: int) -> tuple[int, str]:
    """The next point of the design, what tells which value failed, what hints and earlier runs
    point at, else a wide spread; and which of these it is."""
    from hpcagent.search.suspects import clearing

    telling = clearing(state)
    if telling is not None:
        return _nearest(state, telling), TELLING
    usable = state.likely(chance, LIKELY)
    off = state.belief.off_hints
    if off is not None and len(state.seen) == 1:
        return _nearest(state, usable, off.sum(axis=0)), HINTED
    led = _heeds(state, _LEADING)
    return _led(state, usable, seed) if led else _designed(state, usable, seed)


def _led(state: Evidence, usable: NDArray[np.bool_], seed: int) -> tuple[int, str]:
    """The next point of a design that earlier runs lead, and what it is for."""
    import numpy as np

    from hpcagent.search.design import next_row

    mean = state.belief.mean
    if len(state.seen) % 2:
        return int(np.argmin(np.where(usable, mean, np.inf))), FASTEST_BEFORE
    ordered = np.sort(mean[usable])
    usable = usable & (mean <= ordered[int(_LED_SHARE * (len(ordered) - 1))])
    return next_row(state.grid, state.seen, usable, seed), SPREAD_BEFORE


def _designed(state: Evidence, usable: NDArray[np.bool_], seed: int) -> tuple[int, str]:
    """The next point of a design that no earlier run leads, and what it is for.

    What is ahead by its name goes before what was the fastest in runs of something else.
    """
    from hpcagent.search.design import among_winners, next_row
    from hpcagent.search.foremost import disproved, foremost, lags_behind, spread
    from hpcagent.search.nearby import near_fastest
    from hpcagent.search.suspects import that_run

    grid, seen, aim = state.grid, state.seen, SPREAD
    kept = near = usable
    if not disproved(grid, state.worked, state.values):
        kept = that_run(state, usable)
        if lags_behind(grid, seen, kept):
            return _nearest(state, foremost(grid, kept)), FOREMOST
        kept = spread(grid, kept)
        near = near_fastest(state, kept)
        aim = SPREAD if near is kept else NEAR
    before = _untried_before(state, kept)
    if before is not None:
        return before, FASTEST_BEFORE
    if among_winners(grid, seen):
        aim = WON
    return next_row(grid, seen, near, seed), aim


def _untried_before(state: Evidence, usable: NDArray[np.bool_]) -> int | None:
    """What was the fastest in earlier runs that are trusted a little, unless that was tried."""
    import numpy as np

    if not _heeds(state, HEEDED):
        return None
    candidates = usable.copy()
    candidates[state.seen] = True
    row = int(np.argmin(np.where(candidates, state.belief.mean, np.inf)))
    return None if row in state.seen else row


def _nearest(state: Evidence, usable: NDArray[np.bool_], off: Array | float = 0.0) -> int:
    """The usable point that is least `off`, and else most like the first one seen."""
    import numpy as np

    others = (state.grid.codes != state.grid.codes[state.seen[0]]).sum(axis=1)
    order = np.lexsort((others, np.where(usable, off, np.inf)))
    return int(order[0])
