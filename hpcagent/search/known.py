"""What names tell of a space before anything is measured in it (known.yaml).

The threads of a GPU's block: what is known of them in any kernel becomes linear trends, whose
weights the measurements decide (trends.py). Kernels of a library for one instruction set: they are
taken to be much alike, and the design tries one of each kind first (encoding.py, design.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hpcagent.records import Param

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Codes = NDArray[np.intp]


@dataclass(frozen=True)
class _Known:
    """`axes` are lines of names of which the product is a block's threads; `kin` tells of a value
    the number of its family; all names folded."""

    lanes: int
    threads: tuple[int, int]
    axes: tuple[tuple[str, ...], ...]
    kin: Mapping[str, int]


def families(param: Param) -> Codes:
    """(values,): a number for each value, the same for values that are known to be alike."""
    import numpy as np

    found = np.arange(len(param.values))
    if param.kind != "categorical":
        return found
    first: dict[int, int] = {}
    for place, value in enumerate(param.values):
        family = _known().kin.get(_folded(value))
        if family is not None:
            found[place] = first.setdefault(family, place)
    return found


def costs(params: Sequence[Param], table: Codes) -> Array:
    """(K, points): what is thought to make a point slow, about 1 each where it is bad.

    Of the threads T of a GPU's block, x of them side by side, in octaves: lanes that idle in its
    last warp; the same of each row; and half the distance of T from its usual size; then 1 where x
    is no power of two, for problems mostly are. `table` (points, params) holds the index of each
    value. What is the same everywhere is left out; K is 0 where no name is known.
    """
    import numpy as np

    block = _block(params, table)
    if block is None:
        return np.empty((0, len(table)))
    known = _known()
    across, threads = block[0], np.prod(block, axis=0)
    usual = sum(map(math.log2, known.threads)) / 2.0
    found = np.stack(
        [
            _idle(threads, known.lanes),
            _idle(across, known.lanes),
            0.5 * np.abs(np.log2(threads) - usual),
            np.log2(across) % 1.0 != 0.0,
        ]
    )
    return np.asarray(found[found.max(axis=1) > found.min(axis=1)])


def _block(params: Sequence[Param], table: Codes) -> Array | None:
    """(axes, points): the extents of a GPU's block; None where no parameter is known for one."""
    import numpy as np

    places = {_folded(param.name): d for d, param in enumerate(params)}
    for axes in _known().axes:
        if axes[0] not in places:
            continue
        columns = [places[name] for name in axes if name in places]
        extents = [_counts(params[d]) for d in columns]
        told = [extent for extent in extents if extent is not None]
        if len(told) == len(extents):
            return np.stack([e[table[:, d]] for e, d in zip(told, columns, strict=True)])
    return None


def _counts(param: Param) -> Array | None:
    """(values,): of a parameter whose values are whole numbers of at least 1."""
    import numpy as np

    try:
        numbers = [int(value) for value in param.values]
    except ValueError:
        return None
    return np.array(numbers, dtype=np.float64) if min(numbers) >= 1 else None


def _idle(threads: Array, lanes: int) -> Array:
    """log2 of the lanes that are taken over those that work."""
    import numpy as np

    return np.asarray(np.log2(np.ceil(threads / lanes) * lanes / threads))


def _folded(name: str) -> str:
    return name.lower().translate(str.maketrans("", "", "_-."))


@cache
def _known() -> _Known:
    import yaml

    data = yaml.safe_load(Path(__file__).with_name("known.yaml").read_text(encoding="utf-8"))
    block = data["gpu_block"]
    low, high = block["threads"]
    groups = [names for entry in data["families"] for names in entry["values"]]
    return _Known(
        block["lanes"],
        (low, high),
        tuple(tuple(map(_folded, names)) for names in block["axes"]),
        {_folded(name): number for number, names in enumerate(groups) for name in names},
    )
