"""Spaces that are too large to go through: counted, drawn from, searched."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent.errors import UsageError
from hpcagent.expressions import bound_parts, compile_expression
from hpcagent.protocols import Strategy
from hpcagent.records import Config, Failure, Param, Stop, Trial
from hpcagent.search import exhaustive, hillclimb, surrogate
from hpcagent.search import random as randomly
from hpcagent.search.counting import count_valid
from hpcagent.search.intervals import compile_interval, interval_of, truth
from hpcagent.search.options import Options
from hpcagent.search.sampling import Nothing, Sampler, Search, Trials
from hpcagent.search.space import Space

POWERS = tuple(str(2**n) for n in range(13))


def ordinal(name: str, values: tuple[str, ...]) -> Param:
    return Param(name, "ordinal", values, values[0])


def counting(n: int, first: int = 1) -> tuple[str, ...]:
    return tuple(map(str, range(first, first + n)))


# Loop tiles within two caches and chains of divisibility: 1.8e12 combinations.
TILES = Space(
    (
        *(ordinal(f"p{i}", POWERS) for i in range(10)),
        Param("kernel", "categorical", tuple("abcdefghijklm"), "a"),
    ),
    (
        "p0 % p1 == 0 and p1 % p2 == 0",
        "p3 * p4 * p5 * 8 <= 32768",
        "p5 * p6 * p7 * 8 <= 1048576",
        "p8 % p9 == 0",
    ),
)
# Five tiles of any size: too many states to count, one in 10^4 combinations is valid.
HARD = Space(
    tuple(ordinal(f"t{i}", counting(64)) for i in range(5)),
    ("t0 * t1 * t2 * t3 * t4 <= 4096", "t0 * t1 + t1 * t2 + t0 * t2 <= 1024"),
)


@st.composite
def restricted(draw: st.DrawFn) -> tuple[tuple[Param, ...], tuple[str, ...]]:
    count = draw(st.integers(1, 5))
    params = tuple(
        ordinal(f"p{i}", counting(draw(st.integers(1, 5)), draw(st.integers(1, 3))))
        for i in range(count)
    )
    name = st.sampled_from([p.name for p in params])
    forms = (
        "{0} * {1} <= 9", "{0} % {1} == 0", "{0} + {1} + {2} == 7", "{0} < {1} or {2} == 1",
        "not {0} == {1}", "{0} in (1, 3)", "1 if {0} > 2 else {1} > 1", "max({0}, {1}) // {2} < 2",
        "{0} - {1} != 0 and {0} / {2} >= 1", "2 < {0} * {1} - {2} < 20",
    )  # fmt: skip
    rules = tuple(
        draw(st.sampled_from(forms)).format(draw(name), draw(name), draw(name))
        for _ in range(draw(st.integers(0, 4)))
    )
    return params, rules


def valid(params: tuple[Param, ...], rules: tuple[str, ...]) -> set[Config]:
    names = [p.name for p in params]
    compiled = [compile_expression(rule, names) for rule in rules]
    found = set()
    for values in itertools.product(*(p.values for p in params)):
        point = dict(zip(names, values, strict=True))
        if all(rule.evaluate(point) for rule in compiled):
            found.add(Config.of(point))
    return found


@settings(max_examples=150, deadline=None)
@given(restricted())
def test_counting_finds_exactly_what_enumeration_does(
    case: tuple[tuple[Param, ...], tuple[str, ...]],
) -> None:
    params, rules = case
    compiled = [compile_expression(rule, {p.name for p in params}) for rule in rules]
    sampler = Sampler.of(params, compiled, {})
    expected = valid(params, rules)
    listed = [Config.of(values) for values in sampler.all()]
    assert sampler.count == len(expected) == len(listed)
    assert set(listed) == expected
    first = next(sampler.stream(random.Random(1)))
    assert isinstance(first, Nothing) if not expected else Config.of(first) in expected


@settings(max_examples=100, deadline=None)
@given(restricted(), st.integers(0, 5))
def test_a_search_and_trials_find_only_valid_ones_and_prove_absence(
    case: tuple[tuple[Param, ...], tuple[str, ...]], seed: int
) -> None:
    params, rules = case
    compiled = [compile_expression(rule, {p.name for p in params}) for rule in rules]
    expected = valid(params, rules)
    search = Search.of(params, compiled, {})
    for drawn in itertools.islice(search.stream(random.Random(seed)), 12):
        if isinstance(drawn, Nothing):
            assert drawn.proved and not expected
            break
        assert Config.of(drawn) in expected
    tried = Trials(params, tuple(compiled), {}).draw(random.Random(seed))
    assert isinstance(tried, Nothing) or Config.of(tried) in expected


@settings(max_examples=150, deadline=None)
@given(restricted(), st.data())
def test_an_interval_is_never_wrong(
    case: tuple[tuple[Param, ...], tuple[str, ...]], data: st.DataObject
) -> None:
    """Whatever the unbound parameters are, a truth that was told holds."""
    params, rules = case
    point = {p.name: data.draw(st.sampled_from(p.values)) for p in params}
    bound = data.draw(st.sets(st.sampled_from(sorted(point))))
    ranges = {
        p.name: interval_of((point[p.name],) if p.name in bound else p.values) for p in params
    }
    for rule in rules:
        told = truth(compile_interval(rule)(ranges))
        assert told in (None, bool(compile_expression(rule, set(point)).evaluate(point)))


def test_the_parts_that_a_binding_fixes() -> None:
    names = {"a", "b", "c", "x.y"}
    parts = bound_parts("a * b * 8 * c <= x.y or b == 2", names, {"a", "b", "x.y"})
    assert {part.text for part in parts} == {"a * b * 8", "x.y", "b == 2"}


def test_counted_draws_are_even() -> None:
    params = (ordinal("a", counting(6)), ordinal("b", counting(6)), ordinal("c", counting(6)))
    rule = compile_expression("a % b == 0 and b % c == 0", {"a", "b", "c"})
    counted = count_valid(params, [rule], {})
    assert counted is not None
    rng = random.Random(0)
    seen = Counter(Config.of(counted.draw(rng)) for _ in range(200 * counted.count))
    assert len(seen) == counted.count
    assert min(seen.values()) > 120 and max(seen.values()) < 290


def test_a_space_of_a_million_million_is_counted_and_sampled() -> None:
    assert TILES.combinations == 13**11 and not TILES.enumerable and TILES.size_known
    drawn = TILES.sample(500, 7)
    assert len(set(drawn)) == 500 and all(TILES.contains(config) for config in drawn)
    assert drawn == TILES.sample(500, 7) != TILES.sample(500, 8)


def test_a_group_that_cannot_be_counted_is_searched() -> None:
    assert not HARD.size_known and HARD.size == HARD.combinations
    drawn = HARD.sample(300, 1)
    assert len(set(drawn)) == 300 and all(HARD.contains(config) for config in drawn)
    assert len({config.values["t0"] for config in drawn}) > 20


def test_few_valid_points_among_many_combinations_are_enumerated() -> None:
    params = tuple(ordinal(f"p{i}", POWERS) for i in range(7))
    rules = tuple(f"p{i} == p{i + 1} * 2 or p{i} == p{i + 1}" for i in range(6))
    space = Space(params, rules)
    assert space.combinations > 200_000 and space.enumerable
    points = list(space.points())
    assert len(set(points)) == space.size == len(points) and all(map(space.contains, points))
    ranks = [[POWERS.index(point.values[p.name]) for p in params] for point in points]
    assert ranks == sorted(ranks)
    smaller = space.excluding([points[5].id])
    assert smaller.size == space.size - 1


def test_a_large_space_says_what_is_wrong_with_it() -> None:
    params = tuple(ordinal(f"p{i}", counting(60)) for i in range(4))
    with pytest.raises(
        UsageError, match=r"no configuration satisfies all restrictions: p0 \+ p1 > 200"
    ):
        Space(params, ("p0 + p1 > 200",))
    with pytest.raises(UsageError, match=r"default .* breaks the restriction 'p0 \+ p1 > 50'$"):
        Space(params, ("p0 + p1 > 50",))
    with pytest.raises(UsageError, match=r"restriction, at p.*cannot be evaluated.*zero"):
        Space(params, ("1 / (p0 - p1 + 1) < 2",)).sample(10, 0)


def test_what_raises_only_where_another_restriction_is_broken_is_no_concern() -> None:
    params = tuple(ordinal(f"p{i}", counting(60, 0)) for i in range(4))
    space = Space(
        (Param("p0", "ordinal", counting(60, 0), "1"), *params[1:]), ("p0 > 0", "p1 % p0 == 0")
    )
    assert all(space.contains(config) for config in space.sample(200, 3))


def test_a_search_that_gives_up_says_after_how_much() -> None:
    values = counting(60)
    params = tuple(ordinal(f"p{i}", values) for i in range(5))
    hidden = "(p0 * 7919 + p1 * 104729 + p2 * 1299709 + p3 * 15485863 + p4) % 999983 == 5"
    with pytest.raises(UsageError, match="none was found in 20000 tries"):
        Space(params, (hidden,))


def make(module: object) -> Strategy:
    strategy: Strategy = module.create(Options())  # type: ignore[attr-defined]
    return strategy


@pytest.mark.parametrize("space", [TILES, HARD], ids=["tiles", "hard"])
@pytest.mark.parametrize("module", [surrogate, randomly, hillclimb])
def test_a_search_of_a_large_space_never_leaves_it(
    module: object, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcagent.search.unvisited.SAMPLE", 400)

    def time(config: Config) -> float:
        return sum(abs(int(v) - 8) for _, v in config.items if v.isdigit()) / 1000

    history: list[Trial] = []
    gone: set[Config] = set()
    ill = Failure("run", "signal", "SIGILL")
    strategy = make(module)
    for turn in range(3):
        found = strategy.propose(space, history, [], 4, turn)
        assert not isinstance(found, Stop) and len(found) == 4
        configs = [proposal.config for proposal in found]
        assert len(set(configs)) == 4 and not gone & set(configs)
        assert all(space.contains(config) for config in configs)
        gone |= set(configs)
        for config in configs:
            failure = ill if config.values.get("p9") == "4" else None
            history.append(
                Trial(config, None if failure else time(config), 0.01, failure, turn, "")
            )
    assert history[0].config == space.default
    again = make(module).propose(space, history, [], 3, 11)
    assert again == strategy.propose(space, history, [], 3, 11)


def test_an_excluded_point_is_never_drawn() -> None:
    gone = TILES.sample(50, 2)
    smaller = TILES.excluding([config.id for config in gone])
    assert not set(gone) & set(smaller.sample(300, 2))
    assert not any(smaller.contains(config) for config in gone)


def test_exhaustive_refuses_in_one_line() -> None:
    found = make(exhaustive).propose(TILES, [], [], 4, 0)
    assert isinstance(found, Stop) and "\n" not in found.reason
    assert "1792160394037 combinations cannot be tried" in found.reason
