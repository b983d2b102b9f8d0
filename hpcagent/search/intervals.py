"""What an expression can still become while some of its names are not bound: interval arithmetic.

A restriction that is false for every value that is left ends a search at once, and one that is true
for all of them needs no further thought (Moore, Kearfott, Cloud, Introduction to Interval Analysis,
2009). What an interval cannot tell is unknown, never wrong.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hpcagent.expressions import number

# None: unknown, or not a number. A truth is an interval within 0 and 1.
Interval = tuple[float, float] | None
Ranges = Mapping[str, Interval]
_Run = Callable[[Ranges], Interval]

TRUE: Interval = (1, 1)
FALSE: Interval = (0, 0)
MAYBE: Interval = (0, 1)


def interval_of(values: Sequence[Any]) -> Interval:
    """From the least to the greatest; None where one is no number."""
    numbers = [number(value) for value in values]
    if not numbers or not all(isinstance(each, int | float) for each in numbers):
        return None
    return min(numbers), max(numbers)


def compile_interval(text: str) -> _Run:
    """What the expression `text` (one that `compile_expression` took) can be over ranges.

    The result is read with `truth`. Names without a range are unknown.
    """
    return _node(ast.parse(text.strip(), mode="eval").body)


def truth(value: Interval) -> bool | None:
    """Whether it holds for all values, or for none (False); None where that is not known."""
    if value is None:
        return None
    low, high = value
    if low == high == 0:
        return False
    return True if low > 0 or high < 0 else None


def _node(node: ast.expr) -> _Run:
    match node:
        case ast.Constant():
            constant = interval_of((node.value,))
            return lambda ranges: constant
        case ast.Name() | ast.Attribute():
            name = ast.unparse(node)
            return lambda ranges: ranges.get(name)
        case ast.BoolOp():
            parts = [_node(value) for value in node.values]
            return _all(parts) if isinstance(node.op, ast.And) else _any(parts)
        case ast.UnaryOp():
            return _unary(node.op, _node(node.operand))
        case ast.BinOp():
            return _binary(node.op, _node(node.left), _node(node.right))
        case ast.Compare():
            return _compare(node)
        case ast.IfExp():
            return _choice(_node(node.test), _node(node.body), _node(node.orelse))
        case ast.Call(func=ast.Name(id=("min" | "max") as name)):
            return _least(min if name == "min" else max, [_node(each) for each in node.args])
    return lambda ranges: None


def _all(parts: Sequence[_Run]) -> _Run:
    def run(ranges: Ranges) -> Interval:
        found = [truth(part(ranges)) for part in parts]
        return FALSE if False in found else MAYBE if None in found else TRUE

    return run


def _any(parts: Sequence[_Run]) -> _Run:
    def run(ranges: Ranges) -> Interval:
        found = [truth(part(ranges)) for part in parts]
        return TRUE if True in found else MAYBE if None in found else FALSE

    return run


def _unary(op: ast.unaryop, part: _Run) -> _Run:
    def negation(ranges: Ranges) -> Interval:
        holds = truth(part(ranges))
        return MAYBE if holds is None else FALSE if holds else TRUE

    def minus(ranges: Ranges) -> Interval:
        value = part(ranges)
        return None if value is None else (-value[1], -value[0])

    if isinstance(op, ast.Not):
        return negation
    return minus if isinstance(op, ast.USub) else part


_CORNERS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def _binary(op: ast.operator, left: _Run, right: _Run) -> _Run:
    kind = type(op)

    def run(ranges: Ranges) -> Interval:
        a, b = left(ranges), right(ranges)
        if a is None or b is None:
            return None
        if kind is ast.Add:
            return a[0] + b[0], a[1] + b[1]
        if kind is ast.Sub:
            return a[0] - b[1], a[1] - b[0]
        if kind is not ast.Mult and b[0] <= 0 <= b[1]:
            return None
        if kind is ast.Mod:
            if a[0] == a[1] and b[0] == b[1]:
                return a[0] % b[0], a[0] % b[0]
            return (0, b[1]) if b[0] > 0 else None
        apply = _CORNERS[kind]
        corners = [apply(x, y) for x in a for y in b]
        return min(corners), max(corners)

    return run


def _compare(node: ast.Compare) -> _Run:
    parts = [_node(each) for each in (node.left, *node.comparators)]
    kinds = [type(op) for op in node.ops]

    def run(ranges: Ranges) -> Interval:
        values = [part(ranges) for part in parts]
        steps = [_step(kind, values[i], values[i + 1]) for i, kind in enumerate(kinds)]
        return FALSE if False in steps else MAYBE if None in steps else TRUE

    return run


def _step(kind: type[ast.cmpop], a: Interval, b: Interval) -> bool | None:
    if a is None or b is None:
        return None
    if kind in (ast.Gt, ast.GtE):
        a, b = b, a
    if kind in (ast.Lt, ast.Gt):
        return True if a[1] < b[0] else False if a[0] >= b[1] else None
    if kind in (ast.LtE, ast.GtE):
        return True if a[1] <= b[0] else False if a[0] > b[1] else None
    if kind in (ast.Eq, ast.NotEq):
        apart = a[1] < b[0] or b[1] < a[0]
        same = a[0] == a[1] == b[0] == b[1]
        if not (apart or same):
            return None
        return same if kind is ast.Eq else apart
    return None


def _choice(test: _Run, yes: _Run, no: _Run) -> _Run:
    def run(ranges: Ranges) -> Interval:
        holds = truth(test(ranges))
        if holds is not None:
            return (yes if holds else no)(ranges)
        a, b = yes(ranges), no(ranges)
        return None if a is None or b is None else (min(a[0], b[0]), max(a[1], b[1]))

    return run


def _least(apply: Callable[..., Any], parts: Sequence[_Run]) -> _Run:
    def run(ranges: Ranges) -> Interval:
        values = [part(ranges) for part in parts]
        if any(value is None for value in values) or len(values) < 2:
            return None
        known = [value for value in values if value is not None]
        return apply(v[0] for v in known), apply(v[1] for v in known)

    return run
