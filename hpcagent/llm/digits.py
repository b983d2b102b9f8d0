"""GBNF bodies for exactly the numbers between two bounds: no other spelling, nothing outside."""

from __future__ import annotations

FRACTION = 6  # digits after the point, at most


def integer_rule(low: int, high: int) -> str:
    """The whole numbers from `low` to `high`, without a plus, leading zeros or a minus zero."""
    return " | ".join(_whole(low, high))


def number_rule(low: int, high: int) -> str:
    """The same with up to six digits after a point, still between the bounds."""
    fraction = f'"." [0-9]{{1,{FRACTION}}}'
    parts = _whole(low, high)
    if high > 0 and high > low:  # n.f is between n and n + 1
        parts += [f"{each} {fraction}" for each in _span(max(low, 0), high - 1)]
    if low < 0 and high > low:
        parts += [f'"-" {each} {fraction}' for each in _span(max(-high, 0), -low - 1)]
    return " | ".join(parts)


def longest_number(low: int, high: int, fraction: bool) -> int:
    """Characters of the longest number that the rule allows."""
    return max(len(str(low)), len(str(high))) + 1 + (1 + FRACTION if fraction else 0)


def _whole(low: int, high: int) -> list[str]:
    below = [f'"-" {each}' for each in _span(max(1, -high), -low)] if low < 0 else []
    return below + (_span(max(low, 0), high) if high >= 0 else [])


def _span(low: int, high: int) -> list[str]:
    """Alternatives for the numbers from `low` >= 0 to `high`, one length after the other."""
    parts = []
    for length in range(len(str(low)), len(str(high)) + 1):
        first = max(low, 10 ** (length - 1) if length > 1 else 0)
        last = min(high, 10**length - 1)
        parts += _same_length(str(first), str(last)) if first <= last else []
    return parts


def _same_length(low: str, high: str) -> list[str]:
    """Alternatives for the numbers between two that are equally long, digit by digit."""
    if not low:
        return [""]
    rest = len(low) - 1
    if low[0] == high[0]:
        return [_joined(low[0], each) for each in _same_length(low[1:], high[1:])]
    first, last = int(low[0]), int(high[0])
    before, after = [], []
    if low[1:] != "0" * rest:
        before = [_joined(low[0], each) for each in _same_length(low[1:], "9" * rest)]
        first += 1
    if high[1:] != "9" * rest:
        after = [_joined(high[0], each) for each in _same_length("0" * rest, high[1:])]
        last -= 1
    whole = f"[{first}-{last}]" + (f" [0-9]{{{rest}}}" if rest else "")
    return [*before, *([whole] if first <= last else []), *after]


def _joined(digit: str, rest: str) -> str:
    return f"[{digit}] {rest}".rstrip()
