"""What won on other machines, as far as names tell of which kernel a space is."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.records import Config, Param, Stop, Trial
from hpcagent.search import winners
from hpcagent.search.design import design_size
from hpcagent.search.encoding import Grid
from hpcagent.search.prior import Prior
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate
from hpcagent.search.trends import particular

TILES = ("16", "32", "64", "128")
THREADS = ("8", "16", "32")
WIDTHS = ("1", "2", "4", "8")
GEMM = {"MWG": TILES, "NWG": TILES, "MDIMC": THREADS, "NDIMC": THREADS, "VWM": WIDTHS}
# Most often in the table: 64 x 128 tiles, 16 x 8 threads, vectors of 4.
USUAL = {"mwg": "64", "nwg": "128", "mdimc": "16", "ndimc": "8", "vwm": "4"}


def params(**values: tuple[str, ...]) -> tuple[Param, ...]:
    named = {**GEMM, **values}
    return tuple(Param(name, "ordinal", v, v[0]) for name, v in named.items() if v)


def rarities(found: tuple[Param, ...]) -> np.ndarray:
    table = np.indices([len(p.values) for p in found]).reshape(len(found), -1).T
    return winners.rarities(found, table)


def lower(found: tuple[Param, ...]) -> tuple[Param, ...]:
    """Spaces of hpcagent have names in lower case."""
    return tuple(Param(p.name.lower(), p.kind, p.values, p.default) for p in found)


def space(**values: tuple[str, ...]) -> Space:
    return Space(lower(params(**values)))


def searched(
    count: int, within: Space, cost: Callable[[Config], float], seed: int = 3
) -> list[Trial]:
    strategy, history = Surrogate(), list[Trial]()
    while len(history) < count:
        found = strategy.propose(within, history, [], 1, seed)
        if isinstance(found, Stop):
            break
        config = found[0].config
        history.append(Trial(config, cost(config), 0.0, None, len(history), ""))
    return history


def fastest(trials: list[Trial]) -> float:
    return min(t.log_ratio for t in trials if t.log_ratio is not None)


def steps(config: Config, best: dict[str, str]) -> int:
    """How many places of the lists a configuration is away from the best."""
    lists = {name.lower(): values for name, values in GEMM.items()}
    return sum(
        abs(lists[name].index(value) - lists[name].index(best[name]))
        for name, value in config.items
    )


def test_the_usual_winner_is_the_least_rare_point() -> None:
    found = params()
    order = np.argsort(rarities(found).sum(axis=0))
    points = list(itertools.product(*(p.values for p in found)))
    assert points[order[0]] == tuple(USUAL.values())
    assert points[order[-1]] == ("16", "16", "32", "32", "8")


@pytest.mark.parametrize("missing", ["MWG", "NWG", "MDIMC", "NDIMC"])
def test_a_space_without_one_of_the_names_is_another_kernel(missing: str) -> None:
    found = params(**{missing: ()})
    assert rarities(found).shape == (0, np.prod([len(p.values) for p in found]))


@pytest.mark.parametrize(
    ("precision", "known"),
    [(("32",), True), (("32", "64"), True), (("64",), False), (("double",), False)],
)
def test_tiles_of_single_precision_say_nothing_of_another(
    precision: tuple[str, ...], known: bool
) -> None:
    assert bool(len(rarities(params(PRECISION=precision)))) is known


def test_names_and_numbers_count_however_they_are_written() -> None:
    odd = params(MWG=("16.0", "32", "6.4e1", "128"))
    renamed = tuple(Param(f"{p.name[:1]}_{p.name[1:]}", p.kind, p.values, p.default) for p in odd)
    np.testing.assert_array_equal(rarities(renamed), rarities(params()))


def test_between_values_that_were_tried_is_a_line_and_beyond_them_the_last() -> None:
    one = params(MWG=("8", "16", "32", "48", "64", "128", "256"))
    tile = rarities(one)[0].reshape(7, -1)[:, 0]
    assert tile[0] == tile[1] and tile[5] == tile[6]
    assert tile[3] == pytest.approx((tile[2] + tile[4]) / 2)


@pytest.mark.parametrize("values", [("small", "large"), ("nan", "64"), ("64", "inf"), ("64",)])
def test_a_parameter_of_which_nothing_is_told_is_left_out(values: tuple[str, ...]) -> None:
    assert len(rarities(params(VWM=values))) == 4


def test_of_other_parameters_nothing_is_told() -> None:
    assert len(rarities(params(GROUPS=("1", "2", "4")))) == 5


@given(st.permutations(list(GEMM)), st.data())
def test_rarities_are_finite_centred_and_do_not_hang_on_the_order(
    order: list[str], data: st.DataObject
) -> None:
    values = {
        name: tuple(
            map(str, sorted(data.draw(st.sets(st.integers(0, 512), min_size=1, max_size=5))))
        )
        for name in order
    }
    found = tuple(Param(name, "ordinal", values[name], values[name][0]) for name in order)
    points = Space(lower(found)).points()
    one = Grid.of(lower(found), points).rarities
    assert np.isfinite(one).all()
    np.testing.assert_allclose(one.mean(axis=1), 0.0, atol=1e-12)
    other = Grid.of(lower(found)[::-1], points).rarities
    np.testing.assert_allclose(one, other[::-1])


def test_the_design_is_among_what_won_elsewhere() -> None:
    within = space()
    grid = Grid.of(within.params, within.points())
    rarity = grid.rarities.sum(axis=0)
    trials = searched(design_size(grid), within, lambda config: 0.1 * steps(config, USUAL))
    rank = np.argsort(np.argsort(rarity))
    assert all(rank[grid.index[trial.config]] < 25 for trial in trials[1:])


def test_what_won_elsewhere_is_thought_fast_and_each_parameter_is_weighed_alone() -> None:
    within = space()
    grid = Grid.of(within.params, within.points())
    told = particular(grid, Prior().over(grid))
    thought = told.means @ told.columns
    usual = grid.index[Config.of(USUAL)]
    assert thought[usual] < np.quantile(thought, 0.02)
    assert len(told.means) == len(grid.costs) + 5


@pytest.mark.parametrize(
    "best",
    [
        {"mwg": "64", "nwg": "64", "mdimc": "8", "ndimc": "16", "vwm": "2"},
        {"mwg": "128", "nwg": "64", "mdimc": "16", "ndimc": "16", "vwm": "4"},
    ],
)
def test_a_good_one_is_found_sooner_than_under_names_that_tell_nothing(
    best: dict[str, str],
) -> None:
    hidden = {name: f"p{n}" for n, name in enumerate(best)}
    named = space()
    blind = Space(tuple(Param(hidden[p.name], p.kind, p.values, p.default) for p in named.params))
    real = {new: old for old, new in hidden.items()}

    def cost(config: Config) -> float:
        return 0.1 * steps(config, best)

    def cost_of_blind(config: Config) -> float:
        return cost(Config.of({real[name]: value for name, value in config.items}))

    seeds = range(8)
    one = [fastest(searched(5, named, cost, seed)) for seed in seeds]
    other = [fastest(searched(5, blind, cost_of_blind, seed)) for seed in seeds]
    assert sum(one) < sum(other) - 0.8


def test_a_winner_that_no_other_machine_had_is_found_all_the_same() -> None:
    best = {"mwg": "16", "nwg": "32", "mdimc": "32", "ndimc": "16", "vwm": "1"}
    trials = searched(25, space(), lambda config: 0.1 * steps(config, best))
    assert fastest(trials) <= 0.1
