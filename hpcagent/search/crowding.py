"""How many processes and threads run at once, by the names of parameters (known.yaml).

More than the default starts are thought to be slow, as what lags behind is (lags.py): a default
fills the CPUs that it has, and processes that wait for each other on one CPU wait for their turn.
Fewer are not: small problems like them. A default that starts only one says nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpcagent.records import Param
from hpcagent.search.known import folded, known

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Codes = NDArray[np.intp]

_GRID = re.compile(r"[1-9]\d{0,5}(?:[x,*][1-9]\d{0,5}){0,2}")  # as 8, 2x4, 2x2x2
_CAP = 2.0  # octaves


def crowding(params: Sequence[Param], table: Codes) -> Array:
    """(K, points): octaves, at most 2, by which more run at once than in the default.

    `table` (points, params) holds the index of each value. K is 1, or 0 where no parameter is named
    for processes, where no two points differ, or where the default starts only one.
    """
    import numpy as np

    names = known()
    total, usual, processes = np.zeros(len(table)), 0.0, False
    for d, param in enumerate(params):
        name = folded(param.name)
        counts = _octaves(param) if name in names.processes | names.threads_of_each else None
        if counts is not None:
            total += counts[table[:, d]]
            usual += counts[param.values.index(param.default)]
            processes |= name in names.processes
    over = np.clip(total - usual, 0.0, _CAP)
    if not processes or usual <= 0.0 or over.max(initial=0.0) <= over.min(initial=0.0):
        return np.empty((0, len(table)))
    return over[None, :]


def _octaves(param: Param) -> Array | None:
    """(values,): None where one is no number, and no grid, of processes or threads."""
    import numpy as np

    if not all(_GRID.fullmatch(value) for value in param.values):
        return None
    products = [math.prod(map(int, re.split("[x,*]", value))) for value in param.values]
    return np.log2(np.array(products, dtype=np.float64))
