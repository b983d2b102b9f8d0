"""The largest size that works: by doubling and bisection, and what the search makes of it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.apps.workload import Case
from hpcagent.errors import UsageError
from hpcagent.records import Config, Failure, Param, Stop, Trial
from hpcagent.search.bracket import Result, bracket, largest
from hpcagent.search.limits import bisections, bounded
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate

FULL = Failure("run", "out_of_memory", "std::bad_alloc")


# --- the bracket -----------------------------------------------------------------------------


@given(st.sets(st.integers(1, 10**6), min_size=1, max_size=60), st.integers(0, 10**6))
def test_the_largest_is_found_with_few_tries_and_few_failures(sizes: set[int], limit: int) -> None:
    ordered = sorted(sizes)
    asked: list[int] = []

    def works(size: int) -> bool:
        asked.append(size)
        return size <= limit

    found = largest(ordered, works)
    assert found == max((size for size in ordered if size <= limit), default=None)
    assert len(set(asked)) == len(asked)
    halvings = math.ceil(math.log2(len(ordered) + 1))
    assert sum(size > limit for size in asked) <= halvings + 1
    doublings = math.log2(ordered[-1] / ordered[0]) + 1
    assert len(asked) <= doublings + halvings + 2


def test_integers_with_a_granularity_are_never_gone_through() -> None:
    asked: list[int] = []

    def works(size: int) -> bool:
        asked.append(size)
        return size <= 123_456_789

    assert largest(range(64, 10**12, 64), works) == 123_456_768
    assert len(asked) < 60
    assert asked[:4] == [64, 128, 256, 512]


def test_the_next_size_is_twice_the_last_and_then_the_middle() -> None:
    sizes = [1, 2, 3, 5, 8, 13, 21, 34]
    first = bracket(sizes, [])
    assert (first.next, first.reason) == (1, "the smallest first")
    assert bracket(sizes, [Result(5, True)]).next == 8
    half = bracket(sizes, [Result(5, True), Result(34, False)])
    assert (half.good, half.bad, half.next) == (5, 34, 13)
    assert bracket(sizes, [Result(34, False)]).next == 5


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([Result(4, True)], "4, the largest size, works"),
        ([Result(1, False)], "1 fails, and no size is smaller"),
        ([Result(2, True), Result(3, False)], "2 works and 3 fails, with no size between them"),
    ],
)
def test_it_says_why_it_is_at_the_end(results: list[Result], words: str) -> None:
    found = bracket([1, 2, 3, 4], results)
    assert found.next is None and found.reason == words


def test_what_worked_and_failed_is_decided_by_a_third_try() -> None:
    doubtful = [Result(8, True), Result(16, True), Result(16, False)]
    again = bracket([8, 16, 32], doubtful)
    assert again.next == 16 and "once more" in again.reason
    assert bracket([8, 16, 32], [*doubtful, Result(16, True)]).next == 32
    assert bracket([8, 16, 32], [*doubtful, Result(16, False)]).next is None


def test_a_failure_below_a_size_that_worked_is_doubted_but_not_for_ever() -> None:
    odd = [Result(4, False), Result(8, True)]
    assert bracket([2, 4, 8, 16], odd).next == 4
    assert bracket([2, 4, 8, 16], [*odd, Result(4, True), Result(4, True)]).good == 8
    sure = bracket([2, 4, 8, 16], [*odd, Result(4, False), Result(4, False)])
    assert (sure.good, sure.bad, sure.next) == (None, 4, 2)


@given(st.lists(st.booleans(), min_size=200, max_size=200), st.integers(1, 40))
def test_any_noise_comes_to_an_end(noise: list[bool], count: int) -> None:
    results: list[Result] = []
    for works in noise:
        step = bracket(range(1, count + 1), results)
        if step.next is None:
            break
        results.append(Result(step.next, works))
    assert step.next is None and step.reason


# --- sizes in a search -----------------------------------------------------------------------

SIZES = ("100", "200", "400", "800", "1600", "3200", "6400")
SPACE = Space(
    (
        Param("n", "ordinal", SIZES, "200", "grid points a side", limit="upper"),
        Param("pack", "categorical", ("off", "on"), "off"),
    )
)


def point(n: str, pack: str = "off") -> Config:
    return Config.of({"n": n, "pack": pack})


def tried(n: str, ratio: float | None = 0.0, pack: str = "off") -> Trial:
    return Trial(point(n, pack), ratio, 0.01, FULL if ratio is None else None, 1, "surrogate")


def test_larger_than_what_ran_out_is_not_proposed_all_else_equal() -> None:
    space = bounded(SPACE, [tried("200"), tried("3200", pack="on"), tried("800", None)])
    assert not space.contains(point("1600")) and space.contains(point("1600", "on"))
    assert space.contains(point("400")) and space.contains(point("800"))
    found = space.validate(point("1600").values)
    assert isinstance(found, Failure) and found.kind == "too_large"


def test_a_size_grows_at_most_twofold_from_what_worked() -> None:
    assert {c.values["n"] for c in bounded(SPACE, [tried("200")]).points()} == {"100", "200", "400"}
    wide = bounded(SPACE, [tried("200"), tried("400", pack="on")])
    assert max(int(c.values["n"]) for c in wide.points()) == 800


def test_the_middle_of_what_is_left_comes_next() -> None:
    history = [tried("200"), tried("3200", None)]
    (next_one,) = bisections(bounded(SPACE, history), history, [], 2) or (None,)
    assert next_one is None  # 800 is more than twice what has worked
    history = [tried("200"), tried("1600", pack="on"), tried("3200", None)]
    (next_one,) = bisections(bounded(SPACE, history), history, [], 2)
    assert next_one is not None and next_one.config == point("800")
    assert next_one.reason == "n=200 worked and 3200 ran out: what is between them"
    assert not bisections(bounded(SPACE, history), history, [point("800")], 2)


def test_sizes_in_a_space_too_large_to_list_are_bounded_as_well() -> None:
    more = tuple(Param(f"p{i}", "ordinal", tuple(map(str, range(60))), "0") for i in range(4))
    space = Space((*SPACE.params, *more), ("p0 + p1 < p2 + 50",))
    assert not space.enumerable
    start = Trial(space.default, 0.0, 0.01, None, 0, "default")
    now = bounded(space, [start])
    drawn = now.sample(500, 1)
    assert len(set(drawn)) == 500 and {c.values["n"] for c in drawn} == {"100", "200", "400"}
    found = Surrogate().propose(now, [start], [], 4, 1)
    assert not isinstance(found, Stop) and all(now.contains(p.config) for p in found)


def test_other_failures_say_nothing_about_sizes() -> None:
    ill = Trial(point("400"), None, None, Failure("run", "illegal_instruction", ""), 1, "")
    space = bounded(SPACE, [tried("200"), tried("800", pack="on"), ill])
    assert space.contains(point("800")) and not bisections(space, [tried("200"), ill], [], 2)


def test_without_a_limit_the_space_is_as_it_was() -> None:
    plain = Space((Param("n", "ordinal", SIZES, "200"),))
    assert bounded(plain, [tried("800", None)]) is plain
    with pytest.raises(UsageError, match="only an ordinal has one"):
        Space((Param("c", "categorical", ("a",), "a", limit="upper"),))


def test_a_search_of_sizes_fails_seldom_and_finds_the_limit() -> None:
    """Larger is better until the memory ends, at 4 values of 30, earlier without packing."""
    values = tuple(str(100 * n) for n in range(1, 41))
    space = Space(
        (
            Param("n", "ordinal", values, "200", limit="upper"),
            Param("pack", "categorical", ("off", "on"), "off"),
        )
    )
    history: list[Trial] = []
    rng = random.Random(3)
    strategy = Surrogate()
    for turn in range(30):
        now = bounded(space, history)
        found = bisections(now, history, [], 1) or strategy.propose(now, history, [], 1, turn)
        if isinstance(found, Stop):
            break
        config = found[0].config
        n = int(config.values["n"])
        full = n > (3000 if config.values["pack"] == "on" else 1500)
        ratio = None if full else -math.log(n / 200) + rng.gauss(0, 0.005)
        history.append(Trial(config, ratio, 0.005, FULL if full else None, turn, ""))
    best = min(history, key=lambda t: t.log_ratio if t.log_ratio is not None else 9.0)
    assert int(best.config.values["n"]) >= 2900 and best.config.values["pack"] == "on"
    assert sum(trial.failure is not None for trial in history) <= 8


# --- a workload that does not fit ------------------------------------------------------------


@pytest.mark.parametrize("shape", [(10**6, 10**6, 1), (50_000, 50_000, 50_000), (300, 999_999, 7)])
def test_the_largest_shape_that_fits_is_told(shape: tuple[int, int, int]) -> None:
    case = Case("dgemm", *shape, "N", "N", 1.0)
    memory = case.memory_bytes * 0.37
    fits = case.fitting(memory)
    assert fits is not None and fits.memory_bytes <= memory
    assert fits.memory_bytes > 0.9 * memory
    assert case.fitting(8.0) is None
