"""From a surface to one lesson: a history, points to predict, and how they really are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpcagent.embedded import bins
from hpcagent.embedded import vocabulary as v
from hpcagent.embedded.history import positions, questions
from hpcagent.embedded.layout import NONE, Layout
from hpcagent.embedded.training.surfaces import Surface, near

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Codes = NDArray[np.intp]
    Tokens = NDArray[np.int32]

QUERIES = 32
_USES = 3
WIDTH = 3 * v.SLOTS + 2


@dataclass(frozen=True)
class Lesson:
    """(CONTEXT + QUERIES, WIDTH) tokens; how many rows are history; (QUERIES,) bins to predict.

    Rows that are not used hold NONE, and -100 as their bin.
    """

    tokens: Tokens
    seen: int
    bins: NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Lessons of B surfaces: tokens (B, history + QUERIES, WIDTH), seen (B,), bins (B, QUERIES)."""

    tokens: Tokens
    seen: NDArray[np.int64]
    bins: NDArray[np.int64]
    history: int


def lesson(surface: Surface, rng: Generator, most: int = v.CONTEXT) -> Lesson | None:
    """With at most so many trials; None where there is nothing to ask: all was seen, as of a short
    earlier run, or the default fails, so that nothing can be tuned there."""
    if not np.isfinite(surface.true(surface.default)[0]):
        return None
    history, values = _history(surface, rng, int(rng.integers(1, most + 1)))
    works = np.isfinite(values)
    leaders = history[works][np.argsort(values[works])[:3]]
    queries = _unseen(_queries(surface, leaders, rng), history)
    if not len(queries):
        return None
    best = float(values[works].min())
    layout = Layout.of(
        surface.params, surface.cores, rng.permutation(v.SLOTS)[: len(surface.params)].tolist()
    )
    tokens = np.full((v.CONTEXT + QUERIES, WIDTH), NONE, dtype=np.int32)
    seen = positions(layout, history, values, 0)
    tokens[: len(seen), : seen.shape[1]] = seen
    asked = questions(layout, queries)
    tokens[v.CONTEXT : v.CONTEXT + len(asked), : asked.shape[1]] = asked
    wanted = np.full(QUERIES, -100, dtype=np.int64)
    wanted[: len(asked)] = _wanted(surface.true(queries) - best)
    return Lesson(tokens, len(seen), wanted)


def batch(draw: Callable[[Generator], Surface], seed: int, step: int, count: int) -> Batch:
    """The lessons of one step, a function of its arguments; each surface is used three times.

    Histories of a batch are of like length, since the longest sets what all cost.
    """
    rng = np.random.default_rng((seed, step))
    most = int(rng.choice((6, 12, 24, v.CONTEXT), p=(0.25, 0.3, 0.25, 0.2)))
    found: list[Lesson] = []
    while len(found) < count:
        surface = draw(rng)
        for _ in range(_USES):
            made = lesson(surface, rng, most)
            if made is not None and len(found) < count:
                found.append(made)
    tokens = np.stack([each.tokens for each in found])
    return Batch(
        tokens=np.concatenate([tokens[:, :most], tokens[:, v.CONTEXT :]], axis=1),
        seen=np.array([each.seen for each in found], dtype=np.int64),
        bins=np.stack([each.bins for each in found]),
        history=most,
    )


def _history(surface: Surface, rng: Generator, count: int) -> tuple[Codes, NDArray[np.float64]]:
    """The default, some points at random, then ever more near the best ones that were seen.

    Only what was seen decides what comes next, as in a search: the choice tells nothing else.
    """
    drawn = 1 + int(rng.binomial(count - 1, rng.uniform(0.3, 1.0)))
    codes = np.concatenate([surface.default, surface.points(drawn, rng)])
    values = surface.measured(codes, rng)
    while len(codes) < count:
        works = np.isfinite(values)
        leaders = codes[works][np.argsort(values[works])[:2]]
        moved = near(surface.params, leaders[rng.integers(len(leaders), size=6)], rng)
        moved = moved[surface.valid(moved)]
        if len(moved) == 0:
            moved = surface.points(1, rng)
        codes = np.concatenate([codes, moved])
        values = np.concatenate([values, surface.measured(moved, rng)])
    _, first = np.unique(codes, axis=0, return_index=True)
    kept = np.sort(first)[:count]
    if not np.isfinite(values[0]):
        values[0] = surface.true(codes[:1])[0]
    return codes[kept], values[kept]


def _queries(surface: Surface, leaders: Codes, rng: Generator) -> Codes:
    """Points of the whole space, and as many near the leaders."""
    half = QUERIES // 2
    moved = near(surface.params, leaders[rng.integers(len(leaders), size=half)], rng)
    return np.concatenate([moved[surface.valid(moved)], surface.points(half, rng)])


def _unseen(queries: Codes, history: Codes) -> Codes:
    """A search asks about nothing that it has measured."""
    seen = {tuple(row) for row in history.tolist()}
    return queries[[tuple(row) not in seen for row in queries.tolist()]]


def _wanted(above: NDArray[np.float64]) -> NDArray[np.int64]:
    finite = np.isfinite(above)
    found = bins.predicted(np.where(finite, above, 0.0))
    return np.where(finite, found, v.PREDICTED).astype(np.int64)
