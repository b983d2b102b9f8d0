"""What won on other machines, as far as names tell of which kernel a space is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.records import Config, Param, Stop, Trial
from hpcagent.search import winners
from hpcagent.search.design import design_size, next_row
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


def test_tiles_of_the_kernel_with_local_memory_say_nothing_of_the_other() -> None:
    assert len(rarities(params(GEMMK=("1",)))) == 0
    assert len(rarities(params(GEMMK=("0",)))) == 5


def test_names_and_numbers_count_however_they_are_written() -> None:
    odd = params(MWG=("16.0", "32", "6.4e1", "128"))
    renamed = tuple(Param(f"{p.name[:1]}_{p.name[1:]}", p.kind, p.values, p.default) for p in odd)
    np.testing.assert_array_equal(rarities(renamed), rarities(params()))


def test_between_values_that_were_tried_is_a_line_and_beyond_them_the_last() -> None:
    one = params(MWG=("8", "16", "32", "48", "64", "128", "256"))
    tile = rarities(one)[0].reshape(7, -1)[:, 0]
    assert tile[0] == tile[1] and tile[5] == tile[6]
    assert tile[3] == pytest.approx((tile[2] + tile[4]) / 2)


@pytest.mark.parametrize(
    "values", [("small", "large"), ("nan", "4"), ("4", "inf"), ("4",), ("16", "32")]
)
def test_a_parameter_of_which_nothing_is_told_is_left_out(values: tuple[str, ...]) -> None:
    assert len(rarities(params(VWM=values))) == 4


@pytest.mark.parametrize(
    ("name", "values", "wins"),
    [("SA", ("0", "1"), (20, 86)), ("SB", ("0", "1"), (15, 91)), ("NDIMB", ("8", "32"), (39, 37))],
)
def test_a_unit_is_two_and_a_half_nats_of_wins(
    name: str, values: tuple[str, ...], wins: tuple[int, int]
) -> None:
    found = rarities(params(**{name: values}))[-1]
    apart = math.log((wins[1] + 0.5) / (wins[0] + 0.5)) / 2.5
    np.testing.assert_allclose(found[0::2], apart / 2)
    np.testing.assert_allclose(found[1::2], -apart / 2)


def test_every_machine_of_the_table_has_one_value_of_each_parameter() -> None:
    (kernel,) = winners._kernels()
    assert {sum(wins.values()) for wins in kernel.won.values()} == {106}


def test_what_most_points_have_wins_often_by_chance() -> None:
    """Of three points in four with sa = 1 the three quarters of the wins would tell nothing."""
    found = params(SA=("0", "1"))
    table = np.indices([len(p.values) for p in found]).reshape(len(found), -1).T
    usual = table[(table[:, -1] == 1) | (table[:, 0] == 0)]
    share = (usual[:, -1] == 1).mean()
    apart = math.log(86.5 / 20.5 * (1 - share) / share) / 2.5
    column = winners.rarities(found, usual)[-1]
    assert np.ptp(column) == pytest.approx(apart)


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


def test_every_second_point_of_the_design_is_like_what_won_elsewhere() -> None:
    grid = Grid.of(space().params, space().points())
    rank = np.argsort(np.argsort(grid.rarities.sum(axis=0)))
    seen = [int(np.argmax(rank))]
    while len(seen) < 8:
        free = np.ones(len(rank), dtype=np.bool_)
        free[seen] = False
        seen.append(next_row(grid, seen, free, seed=0))
    assert all(rank[row] < 27 for row in seen[2::2])
    assert max(rank[row] for row in seen[1::2]) > 100


def test_a_point_of_the_design_says_when_it_is_like_what_won_elsewhere() -> None:
    within, strategy, reasons = space(), Surrogate(), list[str]()
    history = searched(design_size(Grid.of(within.params, within.points())), within, lambda c: 0.0)
    for count in range(1, len(history)):
        found = strategy.propose(within, history[:count], [], 1, 3)
        assert not isinstance(found, Stop)
        reasons.append(found[0].reason)
    assert reasons[0] == "early coverage of the space"
    assert reasons[1] == "early coverage of what won on other machines"


def test_a_choice_too_long_for_the_design_keeps_its_turn() -> None:
    cores = Param("core", "categorical", tuple(f"c{n}" for n in range(12)), "c0")
    within = Space((*space().params, cores))
    grid = Grid.of(within.params, within.points())
    first = grid.index[within.default]
    free = np.ones(len(grid.points), dtype=np.bool_)
    free[first] = False
    row = next_row(grid, [first], free, seed=0)
    assert (grid.codes[row] != grid.codes[first]).sum() == 1


def test_what_won_elsewhere_is_thought_fast_and_each_parameter_is_weighed_alone() -> None:
    within = space()
    grid = Grid.of(within.params, within.points())
    told = particular(grid, Prior().over(grid))
    thought = told.means @ told.columns
    usual = grid.index[Config.of(USUAL)]
    assert thought[usual] < np.quantile(thought, 0.02)
    assert len(told.means) == len(grid.costs) + 5


def test_hints_leave_what_won_elsewhere_in_place() -> None:
    grid = Grid.of(space().params, space().points())
    told = particular(grid, Prior(hints={"mwg": "64"}).over(grid))
    assert len(told.means) == len(grid.costs) + 5 + 1


def test_the_usual_winner_is_found_sooner_than_under_names_that_tell_nothing() -> None:
    lists = {**GEMM, "VWN": WIDTHS, "SA": ("0", "1")}
    best = {**USUAL, "vwn": "4", "sa": "1"}
    named = Space(lower(params(**lists)))
    places = {name.lower(): values for name, values in lists.items()}

    def cost(config: Config) -> float:
        off = [places[n].index(v) - places[n].index(best[n]) for n, v in config.items]
        return 0.1 * sum(map(abs, off)) + 0.1 * abs(off[0] - off[2])

    hidden = {name: f"p{n}" for n, name in enumerate(best)}
    real = {new: old for old, new in hidden.items()}
    blind = Space(tuple(Param(hidden[p.name], p.kind, p.values, p.default) for p in named.params))

    def cost_of_blind(config: Config) -> float:
        return cost(Config.of({real[name]: value for name, value in config.items}))

    seeds = range(4)
    one = [fastest(searched(9, named, cost, seed)) for seed in seeds]
    other = [fastest(searched(9, blind, cost_of_blind, seed)) for seed in seeds]
    assert np.mean(one) < 0.7 * np.mean(other)


def test_a_winner_that_no_other_machine_had_is_found_all_the_same() -> None:
    best = {"mwg": "16", "nwg": "32", "mdimc": "32", "ndimc": "16", "vwm": "1"}
    trials = searched(25, space(), lambda config: 0.1 * steps(config, best))
    assert fastest(trials) <= 0.1
