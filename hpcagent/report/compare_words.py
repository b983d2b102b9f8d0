"""A comparison in sentences that claim no more than its intervals show."""

from __future__ import annotations

from hpcagent.report import scaling, wording
from hpcagent.study.compare_result import CompareSummary, PairResult, SideResult
from hpcagent.study.compare_statistics import Ratio


def headline(summary: CompareSummary) -> str:
    """One or a few sentences."""
    done = count(summary)
    if summary.outcome == "":
        return f"Not finished: {done}."
    if summary.outcome == "compared":
        return " ".join(sentences(summary))
    why = wording.shorten(wording.visible(summary.outcome_text.strip()), 500)
    if summary.outcome == "cancelled":
        return f"The comparison was cancelled: {done}; nothing is claimed."
    return f"The comparison failed: {why or done}"


def count(summary: CompareSummary) -> str:
    planned = summary.blocks * len(summary.sides)
    return f"{summary.blocks_done} of {planned} blocks are measured"


def sentences(summary: CompareSummary) -> tuple[str, ...]:
    """What is shown of every pair of sides, each with its best settings."""
    if summary.scaling is not None:
        return scaling.sentences(summary)
    return tuple(_upper(_said(summary, pair, pair.best, "best")) for pair in summary.results)


def defaults(summary: CompareSummary) -> tuple[str, ...]:
    """The same of the defaults, where they are not the best everywhere; nothing before the end."""
    if summary.outcome != "compared" or not tuned(summary):
        return ()
    if summary.scaling is not None:
        return scaling.defaults(summary)
    return tuple(_said(summary, pair, pair.default, "default") for pair in summary.results)


def costs(summary: CompareSummary) -> tuple[str, ...]:
    """Core-hours for the same work, where allocations hold different numbers of CPUs."""
    if summary.outcome != "compared" or summary.scaling is not None:
        return ()
    return tuple(_cost(summary, pair) for pair in summary.results if pair.cost is not None)


def few_nodes(summary: CompareSummary) -> tuple[str, ...]:
    """The sides of which the interval cannot say how their nodes differ."""
    found: list[str] = []
    for side in summary.sides if summary.scaling is None else ():
        nodes = {block.node for block in side.blocks if block.node}
        if len(side.blocks) > 1 and len(nodes) == 1:
            words = f"{side_name(summary, side.label)} was measured on {wording.visible(*nodes)}"
            found.append(f"{words} only: how its nodes differ is not in the interval")
    return tuple(found)


def tuned(summary: CompareSummary) -> bool:
    """Whether any side has settings that are better than its default."""
    return any(side.tuned for side in summary.sides)


def side_name(summary: CompareSummary, label: str) -> str:
    return f"{summary.what} {wording.visible(label)}"


def level_cells(side: SideResult) -> tuple[str, ...]:
    """Default and best: seconds, CV within blocks, CV between blocks."""
    return tuple(
        cell
        for level in (side.default, side.best)
        for cell in (
            wording.seconds(level.seconds),
            wording.percent(level.within_cv, 2),
            wording.percent(level.between_cv, 2),
        )
    )


def _said(summary: CompareSummary, pair: PairResult, ratio: Ratio | None, which: str) -> str:
    first, second = side_name(summary, pair.first), wording.visible(pair.second)
    if ratio is None:
        return (
            f"of {first} and {second} nothing can be said: too few blocks with valid {which} "
            "measurements."
        )
    if ratio.verdict == "slower":  # the best of the first is faster, its default is slower
        first, second = side_name(summary, pair.second), wording.visible(pair.first)
        ratio = ratio.inverse()
    sure = (
        f"{wording.coverage(ratio.coverage)} interval {wording.interval(ratio.low, ratio.high)}, "
        f"{_allocations(summary, pair, which)}"
    )
    if ratio.verdict == "faster":
        return f"{first} is {_times(ratio.ratio)} as fast as {second} ({sure})."
    if ratio.verdict == "equal":
        return (
            f"{first} and {second} are equally fast within "
            f"{wording.stated(summary.minimum_effect)}: {ratio.ratio:.4f} times as fast ({sure})."
        )
    return (
        f"no difference was shown between {first} and {second}: {_times(ratio.ratio)} as fast "
        f"({sure})."
    )


def _allocations(summary: CompareSummary, pair: PairResult, which: str) -> str:
    counts = [_valid(summary, label, which) for label in (pair.first, pair.second)]
    if counts[0] == counts[1]:
        return f"{counts[0]} allocations a side"
    return f"{counts[0]} and {counts[1]} allocations"


def _valid(summary: CompareSummary, label: str, which: str) -> int:
    side = next(side for side in summary.sides if side.label == label)
    figures = [block.best if which == "best" else block.default for block in side.blocks]
    return sum(figure.seconds is not None for figure in figures)


def _cost(summary: CompareSummary, pair: PairResult) -> str:
    assert pair.cost is not None
    first, second = side_name(summary, pair.first), wording.visible(pair.second)
    ratio, low, high = pair.cost
    if ratio > 1.0:
        first, second = side_name(summary, pair.second), wording.visible(pair.first)
        ratio, low, high = 1.0 / ratio, 1.0 / high, 1.0 / low
    return (
        f"for the same work {first} takes {_times(ratio)} the core-hours of {second} "
        f"({wording.coverage(summary.coverage)} interval {wording.interval(low, high)})."
    )


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times" if 0.1 <= ratio < 100.0 else f"{ratio:.3g} times"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
