"""Sizes in the words of a reason: pure functions."""

from __future__ import annotations


def hours(seconds: int) -> str:
    """`2 h`, `90 min`, `3 d`: the largest unit that is exact; else `D-HH:MM:SS` or `45 s`."""
    for name, length, least in (("d", 86400, 172800), ("h", 3600, 3600), ("min", 60, 60)):
        if seconds % length == 0 and seconds >= least:
            return f"{seconds // length} {name}"
    if seconds < 60:
        return f"{seconds} s"
    days, rest = divmod(seconds, 86400)
    return f"{days}-{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"


def size(count: int) -> str:
    """`512G`, `2000M`, `251.2G`: exact, or cut to one decimal and never rounded up."""
    for name, power in (("T", 4), ("G", 3), ("M", 2), ("K", 1)):
        unit = 1024**power
        if count >= unit and count % unit == 0:
            return f"{count // unit}{name}"
        if count >= 10 * unit:
            tenths = count * 10 // unit
            return f"{tenths // 10}.{tenths % 10}{name}".replace(f".0{name}", name)
    return f"{count}B"


def more_memory(asked: int, most: int) -> str:
    """`memory 512G > 257G`, in numbers that differ."""
    ours, theirs = size(asked), size(most)
    if ours == theirs:
        ours, theirs = f"{asked}B", f"{most}B"
    return f"memory {ours} > {theirs}"


def counted(count: int, what: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
