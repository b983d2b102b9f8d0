"""What was measured so far in the tokens of the small model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcagent.embedded import bins
from hpcagent.embedded import vocabulary as v
from hpcagent.embedded.layout import Layout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hpcagent.embedded.layout import Tokens


def positions(
    layout: Layout, codes: NDArray[np.intp], values: NDArray[np.float64], default: int | None
) -> Tokens:
    """(N, 3 P + 2): the tokens of N trials, one row a position; NONE fills up.

    `codes` (N, P) as the layout's, `values` (N,) ln(time), infinite where it failed; `default` is
    the row of the default. Every value is told as what it is above the fastest.
    """
    import numpy as np

    from hpcagent.embedded.layout import NONE

    works = np.isfinite(values)
    best = float(values[works].min()) if works.any() else 0.0
    results = np.full(len(values), v.FAILED, dtype=np.int32)
    results[works] = v.SEEN_AT + bins.seen(values[works] - best)
    marks = np.full(len(values), NONE, dtype=np.int32)
    if default is not None:
        marks[default] = v.DEFAULT
    return np.concatenate([layout.tokens(codes), results[:, None], marks[:, None]], axis=1)


def questions(layout: Layout, codes: NDArray[np.intp]) -> Tokens:
    """(N, 3 P + 1): the tokens of points whose result is asked for."""
    import numpy as np

    marks = np.full((len(codes), 1), v.QUERY, dtype=np.int32)
    return np.concatenate([layout.tokens(codes), marks], axis=1)
