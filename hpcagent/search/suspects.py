"""Which value is to blame where several failed together that had not run before (lags.py).

The default with all that is meant to be fast is one evaluation, and where it fails nothing tells
which of its new values cannot run. They are tried apart then: else each of them would be doubted
for as long as it is never seen without the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hpcagent.search.blame import DOUBT
from hpcagent.search.encoding import Grid
from hpcagent.search.evidence import Evidence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]


def that_run(state: Evidence, free: Mask) -> Mask:
    """(P,): the free points, but for what is as fast as what cannot run; all where none is left.

    What failed cannot run, where nothing as fast ran; of several such values those that failed
    without the others, or all while none did. Values that failed only together are out together.
    """
    import numpy as np

    lags = state.grid.lags
    ran = _ran(state)
    found = free & (_failed_together(state) == 0)
    for row in state.failed:
        unproven = lags[:, row] < ran
        guilty = _convicted(state, row, unproven)
        for column in np.flatnonzero(guilty if guilty.any() else unproven):
            found &= lags[column] > lags[column, row]
    return found if found.any() else free


def chance(state: Evidence) -> Array:
    """(P,): that each runs, by what failed of what is meant to be as fast or slower in every order.

    Values that fail only together have each run, and are not doubted by themselves.
    """
    import numpy as np

    count = _failed_together(state)
    return np.asarray(DOUBT / (DOUBT + count * count))


def _failed_together(state: Evidence) -> Array:
    """(P,): how many failures but the first each is ahead of, or level with, in every known order,
    where nothing ran that is so as well. 0 where the orders are of one parameter: its values tell.
    """
    import numpy as np

    grid = state.grid
    found = np.zeros(len(grid.points))
    for row in state.failed if sum(grid.ranked) > 1 else ():
        ahead = np.all(grid.lags <= grid.lags[:, row : row + 1], axis=0)
        if not ahead[state.worked].any():
            found += ahead
    return np.maximum(found - 1.0, 0.0)


def clearing(state: Evidence) -> Mask | None:
    """(P,): the free points that tell most of which of several values cannot run.

    None where there is nothing to tell. First what is likeliest to be at fault one step slower, all
    else as it failed; where that was tried or is under way, each of them alone, all else as in the
    first point that ran.
    """
    import numpy as np

    if not len(state.worked):
        return None
    lags, ran = state.grid.lags, _ran(state)
    for row in state.failed:
        unproven = lags[:, row] < ran
        if not unproven.any() or _convicted(state, row, unproven).any():
            continue
        for aim in _aims(state, row, unproven):
            like = (lags == aim[:, None]).all(axis=0)
            if not like[state.seen].any() and (state.free & like).any():
                return np.asarray(state.free & like)
    return None


def _aims(state: Evidence, row: int, unproven: Mask) -> Iterator[Array]:
    """Lags of the points that would tell, one after the other."""
    import numpy as np

    lags = state.grid.lags
    guess = lags[:, row].copy()
    for column in _likeliest(state.grid, unproven, row in state.crashed):
        slower = lags[column][lags[column] > guess[column]]
        guess[column] = slower.min()
    yield guess
    for column in np.flatnonzero(unproven).tolist():
        alone = lags[:, state.worked[0]].copy()
        alone[column] = lags[column, row]
        yield alone


def _likeliest(grid: Grid, unproven: Mask, crashed: bool) -> list[int]:
    """The columns of what is blamed first: of a process that failed its instruction sets, of all
    else (it was not built, its result is wrong) the switches, then the level."""
    import numpy as np

    sets, levels = len(grid.octaves), len(grid.levels)
    kind = np.repeat([0, 2, 1] if crashed else [2, 1, 0], [sets, levels, len(grid.switches)])
    first = kind[unproven].min()
    return [int(column) for column in np.flatnonzero(unproven & (kind == first))]


def _ran(state: Evidence) -> Array:
    """(columns,): the least lag of what ran."""
    import numpy as np

    return np.asarray(state.grid.lags[:, state.worked].min(axis=1, initial=np.inf))


def _convicted(state: Evidence, row: int, unproven: Mask) -> Mask:
    """(columns,): in which of the unproven ones what lags as `row`, or more, failed for that alone.

    Something ran then that is as fast as what failed in all other orders.
    """
    import numpy as np

    lags, ran = state.grid.lags, _ran(state)
    worked = lags[:, state.worked]
    found = np.zeros(len(lags), dtype=bool)
    for column in np.flatnonzero(unproven).tolist():
        others = np.arange(len(lags)) != column
        for other in state.failed:
            if lags[column, row] <= lags[column, other] < ran[column]:
                as_fast = worked[others] <= lags[others, other][:, None]
                found[column] |= as_fast.all(axis=0).any()
    return found
