"""Small safe expressions for application cards and restrictions.

The syntax is Python's, cut down to what a restriction needs: names, constants, comparisons,
`and or not`, `+ - * / // %`, `in`, tuples and lists, `a if c else b`, and calls of `min max len abs
ladder`. A dotted name ("library.dynamic_arch") is one flat key, never an attribute of an object.
A text that looks like a number is one, on both sides of a comparison: the values of parameters are
texts.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcagent.errors import UsageError

MAX_LENGTH = 1000
MAX_NODES = 200
MAX_LADDER = 1 << 20

_Run = Callable[[Mapping[str, Any]], Any]
_NUMBER = re.compile(r"[+-]?(\d{1,18}|\d{1,18}\.\d{0,18}|\d{1,18}(\.\d{0,18})?[eE][+-]?\d{1,2})")
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISON: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in _sequence(right),
    ast.NotIn: lambda left, right: left not in _sequence(right),
}


@dataclass(frozen=True)
class Expression:
    """A checked expression; `names` are the flat names it reads."""

    text: str
    names: frozenset[str]
    _run: _Run = field(repr=False, compare=False)

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The value of the expression; UsageError where the values do not fit it."""
        try:
            return self._run(values)
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            what = f"no value for {error}" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"expression {self.text!r} cannot be evaluated: {what}") from None


def compile_expression(text: str, names: Collection[str]) -> Expression:
    """The expression `text` over `names`; UsageError quotes the part that is not allowed."""
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"expression {text!r}: empty; write a condition such as 'threads <= 4'")
    if len(text) > MAX_LENGTH:
        raise UsageError(f"expression {text[:40]!r}...: longer than {MAX_LENGTH} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        words = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UsageError(f"expression {text!r}: {words}") from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise UsageError(f"expression {text!r}: more than {MAX_NODES} parts; split it")
    compiler = _Compiler(text.strip(), frozenset(names))
    run = compiler.node(tree.body)
    return Expression(text, frozenset(compiler.used), run)


def bound_parts(text: str, names: Collection[str], bound: Collection[str]) -> list[Expression]:
    """The largest parts of an expression over `names` that read nothing beyond `bound`.

    Two assignments of `bound` that give these parts equal values leave the same of the expression.
    Parts without any name are left out.
    """
    known, inside = frozenset(names), frozenset(bound)
    found: dict[str, Expression] = {}

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.expr):
            part = compile_expression(ast.unparse(node), known)
            if part.names <= inside:
                if part.names:
                    found.setdefault(part.text, part)
                return
        if isinstance(node, ast.Name | ast.Attribute):
            return
        inner = node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node)
        for child in inner:
            visit(child)

    visit(ast.parse(text.strip(), mode="eval").body)
    return list(found.values())


def number(value: Any) -> Any:
    """The value, as int or float where it is a text that looks like a number."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    return float(value) if set(value) & set(".eE") else int(value)


def ladder(n: Any) -> tuple[int, ...]:
    """Steps worth trying for a count up to `n`: 1, 2, 3, 4, 6, 8, 12, 16, ... and `n` itself.

    The steps are the powers of two and three quarters of each, so that neighbours differ by at
    most half. UsageError where `n` is not a whole number between 1 and 2^20.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_LADDER:
        raise UsageError(f"ladder({n!r}): needs a whole number from 1 to {MAX_LADDER}")
    powers = [1 << exponent for exponent in range(n.bit_length())]
    quarters = [3 * power for power in powers if 3 * power <= n]
    return tuple(sorted({*powers, *quarters, n}))


_FUNCTIONS: Mapping[str, tuple[Callable[..., Any], int | None]] = {
    "min": (min, None),
    "max": (max, None),
    "len": (len, 1),
    "abs": (abs, 1),
    "ladder": (ladder, 1),
}


class _Compiler:
    """Turns whitelisted nodes into closures; anything else is a UsageError."""

    def __init__(self, text: str, names: frozenset[str]) -> None:
        self.text = text
        self.names = names
        self.used: set[str] = set()

    def node(self, node: ast.expr) -> _Run:
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.BoolOp():
                return self._bool(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp():
                return self._binary(node)
            case ast.Compare():
                return self._compare(node)
            case ast.Tuple() | ast.List():
                parts = tuple(self.node(element) for element in node.elts)
                return lambda values: tuple(part(values) for part in parts)
            case ast.IfExp():
                test, yes, no = self.node(node.test), self.node(node.body), self.node(node.orelse)
                return lambda values: yes(values) if test(values) else no(values)
            case ast.Call():
                return self._call(node)
        raise self._refused(node, "is not allowed here")

    def _constant(self, node: ast.Constant) -> _Run:
        value = node.value
        if not isinstance(value, int | float | str) and value is not None:
            raise self._refused(node, "is not allowed here")
        if isinstance(value, int | float) and (abs(value) >= 2**63 or value != value):
            raise self._refused(node, "is too large a number")
        constant = number(value)
        return lambda values: constant

    def _name(self, node: ast.Name | ast.Attribute) -> _Run:
        name = self._flat(node)
        if name not in self.names:
            near = difflib.get_close_matches(name, sorted(self.names), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {self._known()}"
            raise UsageError(f"expression {self.text!r}: unknown name {name!r}{hint}")
        self.used.add(name)
        return lambda values: _value(values[name])

    def _known(self) -> str:
        return ", ".join(sorted(self.names)[:20]) or "none"

    def _flat(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute):
            return f"{self._flat(node.value)}.{node.attr}"
        raise self._refused(node, "has no parts; a dotted name is made of names only")

    def _bool(self, node: ast.BoolOp) -> _Run:
        parts = tuple(self.node(value) for value in node.values)
        if isinstance(node.op, ast.And):
            return lambda values: all(part(values) for part in parts)
        return lambda values: any(part(values) for part in parts)

    def _unary(self, node: ast.UnaryOp) -> _Run:
        part = self.node(node.operand)
        if isinstance(node.op, ast.Not):
            return lambda values: not part(values)
        if isinstance(node.op, ast.USub):
            return lambda values: -_numeric(part(values))
        if isinstance(node.op, ast.UAdd):
            return lambda values: _numeric(part(values))
        raise self._refused(node, "is not allowed here")

    def _binary(self, node: ast.BinOp) -> _Run:
        apply = _ARITHMETIC.get(type(node.op))
        if apply is None:
            raise self._refused(node, "is not allowed here; there are + - * / // %")
        left, right = self.node(node.left), self.node(node.right)
        return lambda values: _finite(apply(_numeric(left(values)), _numeric(right(values))))

    def _compare(self, node: ast.Compare) -> _Run:
        steps = []
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            apply = _COMPARISON.get(type(op))
            if apply is None:
                raise self._refused(node, "is not allowed here; compare with == != < <= > >= in")
            steps.append((apply, self.node(comparator)))
        first = self.node(node.left)

        def run(values: Mapping[str, Any]) -> bool:
            left = first(values)
            for apply, part in steps:
                right = part(values)
                if not apply(left, right):
                    return False
                left = right
            return True

        return run

    def _call(self, node: ast.Call) -> _Run:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _FUNCTIONS:
            raise self._refused(node.func, f"is not a function; there are {' '.join(_FUNCTIONS)}")
        function, arity = _FUNCTIONS[name]
        if node.keywords or not node.args or (arity is not None and len(node.args) != arity):
            raise self._refused(node, "has the wrong arguments")
        parts = tuple(self.node(argument) for argument in node.args)
        return lambda values: function(*(part(values) for part in parts))

    def _refused(self, node: ast.expr, why: str) -> UsageError:
        part = ast.get_source_segment(self.text, node) or type(node).__name__
        return UsageError(f"expression {self.text!r}: {part!r} {why}")


def _value(value: Any) -> Any:
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(number(element) for element in value)
    return number(value)


def _numeric(value: Any) -> int | float:
    if isinstance(value, int | float):
        return value
    raise TypeError(f"{value!r} is not a number")


def _finite(value: int | float) -> int | float:
    if isinstance(value, float) and not math.isfinite(value):
        raise OverflowError("the result is not a finite number")
    return value


def _sequence(value: Any) -> tuple[Any, ...] | str:
    if isinstance(value, tuple | str):
        return value
    raise TypeError(f"{value!r} is not a list")
