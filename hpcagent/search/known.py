"""What names tell of a space before anything is measured in it (known.yaml).

The threads of a GPU's block: what is known of them in any kernel becomes linear terms, whose
weights the measurements decide (trends.py). Kernels of a library for one instruction set: they are
taken to be much alike (encoding.py, feasibility.py). Instruction sets and ways to compile have a
module of their own (lags.py).
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

_MOST = 2**16  # threads: no GPU takes a block near that


@dataclass(frozen=True)
class Known:
    """`axes` and `sizes` are lines of names of which the product is a block's threads, the first of
    `axes` its width; `kin` tells of a value the number of its family, `operations` of an
    instruction set how many a core completes in a cycle (`native`: what a compiler finds), `steps`
    of a way to compile how far it is from the fastest code, with numbers where the parameter is one
    of `levels`; `slow` whether a switch makes code slower, `switched` whether a word means that it
    is on; `processes` and `threads_of_each` name numbers of these; all names folded.
    """

    lanes: int
    threads: tuple[int, int]
    axes: tuple[tuple[str, ...], ...]
    sizes: tuple[tuple[str, ...], ...]
    kin: Mapping[str, int]
    operations: Mapping[str, int]
    native: frozenset[str]
    steps: Mapping[str, int]
    levels: frozenset[str]
    slow: Mapping[str, bool]
    switched: Mapping[str, bool]
    processes: frozenset[str]
    threads_of_each: frozenset[str]


def families(param: Param) -> Codes:
    """(values,): a number for each value, the same for values that are known to be alike."""
    import numpy as np

    found = np.arange(len(param.values))
    if param.kind != "categorical":
        return found
    first: dict[int, int] = {}
    for place, value in enumerate(param.values):
        family = known().kin.get(folded(value))
        if family is not None:
            found[place] = first.setdefault(family, place)
    return found


def costs(params: Sequence[Param], table: Codes) -> Array:
    """(K, points): what is thought to make a point slow, each 0 to 2.

    Of the threads T of a GPU's block, x of them side by side, in octaves: lanes that idle in its
    last warp; the same of each row; and half the distance of T from its usual size; then 1 where x
    is no power of two, for problems mostly are. `table` (points, params) holds the index of each
    value. What is the same everywhere is left out; K is 0 where no name is known, or no block has
    as many threads as are usual.
    """
    import numpy as np

    names = known()
    width = _extents(params, table, names.axes)
    extents = _extents(params, table, names.sizes) if width is None else width
    if extents is None:
        return np.empty((0, len(table)))
    threads = np.prod(extents, axis=0)
    if threads.max() < min(names.threads):
        return np.empty((0, len(table)))
    usual = sum(map(math.log2, names.threads)) / 2.0
    found = [_idle(threads, names.lanes), 0.5 * np.abs(np.log2(threads) - usual)]
    if width is not None:
        found += [_idle(width[0], names.lanes), (np.log2(width[0]) % 1.0 != 0.0).astype(float)]
    capped = np.minimum(np.stack(found), 2.0)
    return np.asarray(capped[capped.max(axis=1) > capped.min(axis=1)])


def _extents(params: Sequence[Param], table: Codes, lines: Sequence[Sequence[str]]) -> Array | None:
    """(axes, points): the extents of a GPU's block; None where no line of names has one."""
    import numpy as np

    places = {folded(param.name): d for d, param in enumerate(params)}
    for names in lines:
        if names[0] not in places:
            continue
        columns = [places[name] for name in names if name in places]
        extents = [_counts(params[d]) for d in columns]
        told = [extent for extent in extents if extent is not None]
        if len(told) == len(extents):
            return np.stack([e[table[:, d]] for e, d in zip(told, columns, strict=True)])
    return None


def numbers(param: Param) -> Array | None:
    """(values,): None where one is no finite number."""
    import numpy as np

    try:
        found = np.array([float(value) for value in param.values])
    except ValueError:
        return None
    return found if np.isfinite(found).all() else None


def _counts(param: Param) -> Array | None:
    """(values,): of a parameter whose values are whole numbers that a block may have."""
    import numpy as np

    found = numbers(param)
    if found is None:
        return None
    usable = (found >= 1.0) & (found <= _MOST) & (np.floor(found) == found)
    return found if usable.all() else None


def _idle(threads: Array, lanes: int) -> Array:
    """log2 of the lanes that are taken over those that work."""
    import numpy as np

    return np.asarray(np.log2(np.ceil(threads / lanes) * lanes / threads))


def _lines(listed: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(map(folded, names)) for names in listed)


def folded(name: str) -> str:
    """A name as all ways of writing it are compared."""
    return name.lower().translate(str.maketrans("", "", "_-."))


@cache
def known() -> Known:
    """What known.yaml holds."""
    import yaml

    data = yaml.safe_load(Path(__file__).with_name("known.yaml").read_text(encoding="utf-8"))
    block = data["gpu_block"]
    low, high = block["threads"]
    groups = [names for entry in data["families"] for names in entry["values"]]
    sets, ways = data["instruction_sets"], data["compiling"]
    return Known(
        block["lanes"],
        (low, high),
        _lines(block["axes"]),
        _lines(block["sizes"]),
        {folded(name): number for number, names in enumerate(groups) for name in names},
        {
            folded(name): count
            for count, lines in sets["operations"].items()
            for names in lines
            for name in names
        },
        frozenset(map(folded, sets["native"])),
        {folded(name): step for step, names in ways["steps"].items() for name in names},
        frozenset(map(folded, ways["levels"])),
        {
            folded(name): kind == "slower"
            for kind in ("faster", "slower")
            for names in ways[kind]
            for name in names
        },
        {folded(word): kind == "on" for kind in ("on", "off") for word in ways[kind]},
        frozenset(n for names in _lines(data["placement"]["processes"]) for n in names),
        frozenset(n for names in _lines(data["placement"]["threads"]) for n in names),
    )
