"""Earlier runs in the search benchmark: whose they are, and what is made of them."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from earlier import Told, fastest, nearest, openings, priors, related, strangers
from search_tables import common, interval
from surfaces import Surface

from hpcagent.records import Config, Param

KINDS = Param("kind", "categorical", ("a", "b"), "a")


def surface(name: str, family: str, blocks: tuple[str, ...], best: str, other: Param) -> Surface:
    params = (Param("block", "ordinal", blocks, blocks[0]), other)
    place = blocks.index(best)
    samples = {
        Config.of({"block": b, other.name: v}): (1.0 + abs(i - place) + 0.5 * (v != "a"),)
        for (i, b), v in itertools.product(enumerate(blocks), other.values)
    }
    return Surface(name, params, samples, None, family)


SMALL = surface("f_1", "f", ("8", "16", "32", "64"), "16", KINDS)
LARGE = surface("f_2", "f", ("16", "48", "64", "128", "256"), "64", KINDS)
STRANGE = surface("g_1", "g", ("8", "16", "32"), "8", Param("mode", "categorical", ("a", "c"), "a"))
ALONE = Surface("h", (KINDS,), {Config.of({"kind": "a"}): (1.0,)}, None, "h")
ALL = (SMALL, LARGE, STRANGE, ALONE)


def test_relatives_are_of_the_family_and_strangers_share_a_name() -> None:
    assert related(ALL, SMALL) == (LARGE,)
    assert strangers(ALL, SMALL) == (STRANGE, ALONE)
    assert strangers(ALL, STRANGE) == (SMALL,)
    assert related(ALL, ALONE) == ()


@pytest.mark.parametrize("told", [Told(2), Told(0, 2), Told(strangers=2), Told(2, 0, 2)])
def test_no_surface_is_told_of_itself(told: Told) -> None:
    for each in ALL:
        assert each.name not in [run.name for run in priors(ALL, told)(each, 1).earlier]


def test_the_best_of_a_relative_becomes_the_point_most_like_it() -> None:
    assert nearest(SMALL, Config.of({"block": "48", "kind": "b"})).values["block"] in ("32", "64")
    assert nearest(SMALL, Config.of({"block": "16", "kind": "b", "gone": "x"})).values == {
        "block": "16",
        "kind": "b",
    }
    [opened] = openings(ALL)(SMALL, 3)
    [run] = priors(ALL, Told(1))(SMALL, 3).earlier
    assert opened == nearest(SMALL, fastest(run))
    assert opened.values == {"block": "64", "kind": "a"}


def test_methods_are_compared_on_what_both_have() -> None:
    one, other = common({"x": {1: 4, 2: 6}, "y": {1: 3}}, {"x": {2: 12, 3: 9}})
    assert (one, other) == ({"x": {2: 6}}, {"x": {2: 12}})
    assert interval(one, other) == pytest.approx((0.5, 0.5))
