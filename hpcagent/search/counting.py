"""Valid combinations counted, listed and drawn evenly, without going through all combinations.

Parameters are bound one after the other. What is bound matters to the rest only through the
parts of the unfinished restrictions that it fixes, so that assignments which give these parts
equal values share one node: a layered graph, whose paths are the valid combinations. Counting
from the end makes an even draw a walk along it (Knuth, The Art of Computer Programming 4A, 7.1.4,
does so with decision diagrams). A chain of divisibilities, a sum or a product within a bound
has few nodes, however many combinations it has.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.expressions import Expression, bound_parts, number
from hpcagent.records import Param
from hpcagent.search.intervals import Interval, compile_interval, interval_of, truth

MAX_STEPS = 40_000  # steps of the graph, some tenths of a second; more are not counted

_Key = tuple[Any, ...]
# Of one node: the values that lead on, the nodes of the next layer, and the paths up to each.
_Node = tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Counted:
    """The valid combinations of `params`, bound in this order; `count` may be 0."""

    params: tuple[Param, ...]
    layers: tuple[tuple[_Node, ...], ...]
    count: int

    def draw(self, rng: random.Random) -> dict[str, str]:
        """One of them, each as likely as any other; there must be one."""
        found, here = {}, 0
        for param, layer in zip(self.params, self.layers, strict=True):
            values, onward, paths = layer[here]
            place = bisect.bisect_right(paths, rng.randrange(paths[-1]))
            found[param.name] = values[place]
            here = onward[place]
        return found

    def all(self) -> Iterator[dict[str, str]]:
        """Every one, in no particular order."""
        names = [param.name for param in self.params]

        def walk(level: int, here: int) -> Iterator[tuple[str, ...]]:
            if level == len(self.layers):
                yield ()
                return
            values, onward, _ = self.layers[level][here]
            for value, node in zip(values, onward, strict=True):
                for rest in walk(level + 1, node):
                    yield (value, *rest)

        if self.count:
            for values in walk(0, 0):
                yield dict(zip(names, values, strict=True))


def count_valid(
    params: Sequence[Param], rules: Sequence[Expression], facts: Mapping[str, Any]
) -> Counted | None:
    """The valid combinations; None where that takes more than MAX_STEPS.

    UsageError where a restriction cannot be evaluated at a point that all others allow.
    """
    if not params:
        return Counted((), (), 1)
    builder = _Builder(bound_order(params, rules), rules, facts)
    return builder.build()


def bound_order(params: Sequence[Param], rules: Sequence[Expression]) -> tuple[Param, ...]:
    """The parameters in an order that leaves few open restrictions with many bound values.

    Greedy: next is the one that makes the product of the value counts of those parameters smallest
    that are bound and still read by an unfinished restriction.
    """
    sizes = {param.name: len(param.values) for param in params}
    left, order = list(params), []
    reads = [rule.names & set(sizes) for rule in rules]
    bound: set[str] = set()

    def width(param: Param) -> int:
        now = bound | {param.name}
        waiting = {name for names in reads if not names <= now for name in names & now}
        product = 1
        for name in waiting:
            product *= sizes[name]
        return product

    while left:
        best = min(left, key=width)
        left.remove(best)
        order.append(best)
        bound.add(best.name)
    return tuple(order)


@dataclass(frozen=True)
class _Unfinished:
    """A restriction of which only `names` are bound, which fix its `parts`."""

    parts: tuple[Expression, ...]
    names: tuple[str, ...]
    can_be: Callable[[Mapping[str, Interval]], Interval]


@dataclass(frozen=True)
class _Level:
    """One parameter: what is decided once it is bound, and what the rest still depends on.

    `values` are its values as texts and as what they look like.
    """

    name: str
    values: tuple[tuple[str, Any], ...]
    bound: frozenset[str]
    complete: tuple[Expression, ...]
    unfinished: tuple[_Unfinished, ...]
    last: bool


class _Builder:
    """Makes the graph layer by layer; `_known` holds the values of one assignment at a time."""

    def __init__(
        self, order: Sequence[Param], rules: Sequence[Expression], facts: Mapping[str, Any]
    ) -> None:
        self._order = tuple(order)
        self._known = {name: number(fact) for name, fact in facts.items()}
        self._ranges = {name: interval_of((fact,)) for name, fact in facts.items()}
        self._ranges |= {param.name: interval_of(param.values) for param in order}
        self._levels = tuple(_levels(self._order, rules, facts))
        self._steps = 0

    def build(self) -> Counted | None:
        states: list[tuple[str, ...]] = [()]  # one assignment for every node of the layer
        raised: list[frozenset[Expression]] = [frozenset()]
        edges: list[list[tuple[list[str], list[int]]]] = []
        for level in self._levels:
            index: dict[_Key, int] = {}
            found: list[tuple[str, ...]] = []
            odds: list[frozenset[Expression]] = []
            layer: list[tuple[list[str], list[int]]] = []
            for state, odd in zip(states, raised, strict=True):
                self._bind(state)
                layer.append(([], []))
                for value, numeric in level.values:
                    self._steps += 1
                    self._set(level.name, numeric)
                    now = self._kept(level, odd)
                    key = None if now is None else self._key(level, now)
                    if key is None or now is None:
                        continue
                    if index.setdefault(key, len(found)) == len(found):
                        found.append((*state, value))
                        odds.append(now)
                    layer[-1][0].append(value)
                    layer[-1][1].append(index[key])
                if self._steps > MAX_STEPS:
                    return None
            edges.append(layer)
            states, raised = found, odds
        return self._counted(edges, len(states))

    def _bind(self, state: tuple[str, ...]) -> None:
        for param, value in zip(self._order, state, strict=False):
            self._set(param.name, number(value))

    def _set(self, name: str, value: Any) -> None:
        self._known[name] = value
        self._ranges[name] = (value, value) if isinstance(value, int | float) else None

    def _kept(self, level: _Level, odd: frozenset[Expression]) -> frozenset[Expression] | None:
        """None where a restriction is broken; else those that raised so far.

        They are asked again at the end: where another restriction is broken as well, the point is
        no concern of theirs.
        """
        for rule in level.complete:
            try:
                if not rule.evaluate(self._known):
                    return None
            except UsageError:
                odd = odd | {rule}
        if odd and level.last:
            words = " ".join(f"{p.name}={self._known[p.name]}" for p in self._order)
            for rule in sorted(odd, key=lambda each: each.text):
                try:
                    rule.evaluate(self._known)
                except UsageError as error:
                    raise UsageError(f"space: restriction, at {words}: {error}") from None
        return odd

    def _key(self, level: _Level, odd: frozenset[Expression]) -> _Key | None:
        """What the rest depends on; None where a restriction can hold no more."""
        known = self._known
        key: list[Any] = []
        for rule in level.unfinished:
            holds = truth(rule.can_be(self._ranges))
            if holds is False:
                return None
            try:
                values = () if holds else tuple([part.evaluate(known) for part in rule.parts])
                key.append(values)
            except UsageError:
                key.append((..., *(known[name] for name in rule.names)))
        for again in odd:
            bound = sorted(again.names & level.bound)
            key.append((again.text, *(known[name] for name in bound)))
        return tuple(key)

    def _counted(
        self, edges: Sequence[Sequence[tuple[list[str], list[int]]]], last: int
    ) -> Counted:
        paths = [1] * last
        layers: list[tuple[_Node, ...]] = []
        for layer in reversed(edges):
            nodes: list[_Node] = []
            for values, onward in layer:
                kept = [(v, n) for v, n in zip(values, onward, strict=True) if paths[n]]
                sums = tuple(itertools.accumulate(paths[n] for _, n in kept))
                nodes.append((tuple(v for v, _ in kept), tuple(n for _, n in kept), sums))
            paths = [node[2][-1] if node[2] else 0 for node in nodes]
            layers.append(tuple(nodes))
        return Counted(self._order, tuple(reversed(layers)), paths[0])


def _levels(
    order: Sequence[Param], rules: Sequence[Expression], facts: Mapping[str, Any]
) -> Iterator[_Level]:
    names = frozenset(param.name for param in order)
    known = names | set(facts)
    bound: set[str] = set()
    for param in order:
        before, bound = frozenset(bound), bound | {param.name}
        complete, parts = [], []
        for rule in rules:
            reads = rule.names & names
            if reads <= bound:
                if param.name in reads and not reads <= before:
                    complete.append(rule)
            elif reads & bound:
                fixed = tuple(bound_parts(rule.text, known, bound | set(facts)))
                parts.append(
                    _Unfinished(fixed, tuple(sorted(reads & bound)), compile_interval(rule.text))
                )
        yield _Level(
            param.name,
            tuple((value, number(value)) for value in param.values),
            frozenset(bound),
            tuple(complete),
            tuple(parts),
            param is order[-1],
        )
