"""Sizes in the words of a reason: pure functions."""

from __future__ import annotations


def hours(seconds: int) -> str:
    """`2 h`, `90 min`, `45 s`: the largest unit that is exact."""
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds % length == 0 and (name != "d" or seconds >= 2 * length):
            return f"{seconds // length} {name}"
    return f"{seconds} s"


def size(count: int) -> str:
    """`512G`, `251.2G`, `500M`: at most one decimal."""
    for name, power in (("T", 4), ("G", 3), ("M", 2), ("K", 1)):
        if count >= 1024**power * (10 if name == "T" else 1):
            return f"{count / 1024**power:.1f}".removesuffix(".0") + name
    return f"{count}B"


def nodes_of(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"
