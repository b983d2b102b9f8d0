from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.errors import UsageError
from hpcagent.records import Config, Failure, Param
from hpcagent.search.space import Space

THREADS = Param("threads", "ordinal", ("1", "2", "4", "8"), "4")
CORE = Param("core", "categorical", ("auto", "ZEN", "HASWELL"), "auto")
SPACE = Space((THREADS, CORE))


def test_points_come_in_a_fixed_order_and_obey_the_restrictions() -> None:
    space = Space((THREADS, CORE), ("core == 'auto' or threads >= least",), {"least": 4})
    expected = [
        Config.of({"threads": t, "core": c})
        for t in THREADS.values
        for c in CORE.values
        if c == "auto" or int(t) >= 4
    ]
    assert list(space.points()) == expected
    assert space.size == 8
    assert space.default == Config.of({"threads": "4", "core": "auto"})
    assert not space.contains(Config.of({"threads": "1", "core": "ZEN"}))
    assert space.contains(Config.of({"threads": "8", "core": "ZEN"}))


def test_an_infeasible_value_is_taken_out_but_never_the_default() -> None:
    smaller = SPACE.without("core", "ZEN")
    assert smaller.size == 8
    assert all(point.values["core"] != "ZEN" for point in smaller.points())
    assert SPACE.size == 12
    with pytest.raises(UsageError, match="core=auto belongs to the default"):
        SPACE.without("core", "auto")
    with pytest.raises(UsageError, match="no value 'POWER9'"):
        SPACE.without("core", "POWER9")


def test_excluded_configurations_are_gone_and_say_so() -> None:
    gone = SPACE.points()[0]
    smaller = SPACE.excluding([gone.id])
    assert gone not in smaller.points() and smaller.size == 11
    found = smaller.validate(gone.values)
    assert isinstance(found, Failure) and "found not to work" in found.evidence
    with pytest.raises(UsageError, match=r"default .* cannot be excluded"):
        SPACE.excluding([SPACE.default.id])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"threads": "4"}, "'core' is missing"),
        ({"threads": "4", "core": "auto", "x": "1"}, "unknown parameter 'x'"),
        ({"threads": "3", "core": "auto"}, "threads='3' is not one of 1, 2, 4, 8"),
        ({"threads": "1", "core": "ZEN"}, "breaks the restriction 'threads > 1'"),
    ],
)
def test_a_wrong_configuration_is_a_failure_in_words(values: dict[str, str], words: str) -> None:
    space = Space((THREADS, CORE), ("threads > 1",))
    found = space.validate(values)
    assert isinstance(found, Failure) and found.id == "configure.outside_space"
    assert words in found.evidence


@pytest.mark.parametrize(
    ("params", "restrictions", "words"),
    [
        ((), (), "empty"),
        ((THREADS, THREADS), (), "'threads' is given twice"),
        ((Param("Threads", "ordinal", ("1",), "1"),), (), "bad parameter name 'Threads'"),
        ((Param("t\n", "ordinal", ("1",), "1"),), (), "bad parameter name"),
        ((Param("t", "number", ("1",), "1"),), (), "neither ordinal nor categorical"),
        ((Param("t", "ordinal", (), "1"),), (), "no values"),
        ((Param("t", "ordinal", ("1", "1"), "1"),), (), "'1' is given twice"),
        ((Param("t", "ordinal", ("1", "2\x1b[0m"), "1"),), (), "control characters"),
        ((Param("t", "ordinal", ("1", "2"), "3"),), (), "default '3' is not one of"),
        ((THREADS,), ("threads < 4",), "default .threads=4. breaks the restriction"),
        ((THREADS,), ("threads < 2", "threads > 2"), "no configuration satisfies all"),
        ((THREADS,), ("1 // (threads - 4)",), "restriction, at threads=4"),
        ((THREADS,), ("cores > 1",), "unknown name 'cores'"),
    ],
)
def test_a_space_that_cannot_be_is_refused(
    params: tuple[Param, ...], restrictions: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        Space(params, restrictions)


def test_a_restriction_that_fails_at_one_point_is_named_with_it() -> None:
    space = Space((THREADS,), ("8 % (threads - 1) >= 0",))
    with pytest.raises(UsageError, match=r"at threads=1: .*'8 % \(threads - 1\) >= 0'"):
        space.points()


def test_a_fact_may_not_shadow_a_parameter() -> None:
    with pytest.raises(UsageError, match="'threads' names both"):
        Space((THREADS,), facts={"threads": 4})


def test_a_space_too_large_to_enumerate_says_so() -> None:
    values = tuple(str(n) for n in range(60))
    space = Space(tuple(Param(f"p{i}", "ordinal", values, "0") for i in range(3)))
    with pytest.raises(UsageError, match="216000 valid configurations, more than"):
        space.points()
    assert space.contains(space.default)


def test_encoding_ranks_ordinals_and_numbers_categoricals() -> None:
    table = SPACE.encode(SPACE.points())
    assert table.shape == (12, 2)
    assert sorted(set(table[:, 0])) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert set(table[:, 1]) == {0.0, 1.0, 2.0}
    assert np.array_equal(table[-1], [1.0, 2.0])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_every_point_is_contained_and_nothing_else(sizes: list[int], data: st.DataObject) -> None:
    params = tuple(
        Param(f"p{i}", "ordinal", tuple(map(str, range(n))), str(n - 1))
        for i, n in enumerate(sizes)
    )
    least = data.draw(st.integers(0, sum(sizes) - len(sizes)))
    total = " + ".join(param.name for param in params)
    space = Space(params, (f"{total} >= {least}",))
    points = set(space.points())
    assert space.default in points
    for values in itertools.product(*(param.values for param in params)):
        config = Config.of({p.name: v for p, v in zip(params, values, strict=True)})
        assert (config in points) == (sum(map(int, values)) >= least) == space.contains(config)
