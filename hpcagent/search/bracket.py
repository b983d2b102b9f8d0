"""The largest size that works, by doubling and bisection: a fold over results, no state.

Sizes are tried from the smallest, each at least twice the last, until one fails; then the middle of
what is left, so that n sizes need about 2 log2(n) tries and few of them fail. A size that both
worked and failed is tried a third time, and the majority decides; so is one that failed while a
larger one worked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

MOST_TRIES = 3


@dataclass(frozen=True)
class Result:
    size: int
    works: bool


@dataclass(frozen=True)
class Bracket:
    """`good` is the largest size known to work, `bad` the smallest known to fail; `next` to try.

    `next` is None at the end, and `reason` says which end it is.
    """

    good: int | None
    bad: int | None
    next: int | None
    reason: str


def bracket(sizes: Sequence[int], results: Iterable[Result]) -> Bracket:
    """Where the search for the largest of the ascending `sizes` stands.

    `sizes` may be a range, whose step is the granularity: nothing goes through it.
    Results of other sizes count as well.
    """
    votes = _votes(results)
    unsure = _unsure(votes)
    good, bad = _limits(votes)
    if unsure is not None:
        words = f"{unsure} worked and failed, or failed below one that worked: once more"
        return Bracket(good, bad, unsure, words)
    step = _next(sizes, good, bad)
    if step is not None:
        words = "twice as large" if bad is None else f"between {good} and {bad}"
        return Bracket(good, bad, step, words if good is not None else "the smallest first")
    if bad is None:
        return Bracket(good, bad, None, f"{good}, the largest size, works")
    if good is None:
        return Bracket(good, bad, None, f"{bad} fails, and no size is smaller")
    return Bracket(good, bad, None, f"{good} works and {bad} fails, with no size between them")


def largest(sizes: Sequence[int], works: Callable[[int], bool]) -> int | None:
    """The largest of the ascending `sizes` that works, where `works` can be asked at once."""
    results: list[Result] = []
    while (step := bracket(sizes, results)).next is not None:
        results.append(Result(step.next, works(step.next)))
    return step.good


def _votes(results: Iterable[Result]) -> dict[int, tuple[int, int]]:
    """By size: how often it worked and failed."""
    votes: dict[int, tuple[int, int]] = {}
    for result in results:
        worked, failed = votes.get(result.size, (0, 0))
        votes[result.size] = (worked + result.works, failed + (not result.works))
    return votes


def _unsure(votes: Mapping[int, tuple[int, int]]) -> int | None:
    """The smallest size whose verdict needs another try."""
    largest = max((size for size, (worked, failed) in votes.items() if worked > failed), default=0)
    for size in sorted(votes):
        worked, failed = votes[size]
        below = failed > worked and size < largest
        if (worked == failed or below) and worked + failed < MOST_TRIES:
            return size
    return None


def _limits(votes: Mapping[int, tuple[int, int]]) -> tuple[int | None, int | None]:
    """A tie counts as a failure; what works above the smallest failure was luck."""
    bad = min((size for size, (worked, failed) in votes.items() if failed >= worked), default=None)
    fine = [size for size, (worked, failed) in votes.items() if worked > failed]
    return max((size for size in fine if bad is None or size < bad), default=None), bad


def _next(sizes: Sequence[int], good: int | None, bad: int | None) -> int | None:
    low = 0 if good is None else bisect_right(sizes, good)
    high = len(sizes) if bad is None else bisect_right(sizes, bad - 1)
    if low >= high:
        return None
    if good is None:
        return sizes[low] if bad is None else sizes[(low + high - 1) // 2]
    if bad is None:
        return sizes[min(len(sizes) - 1, max(low, bisect_right(sizes, 2 * good) - 1))]
    return sizes[(low + high - 1) // 2]
