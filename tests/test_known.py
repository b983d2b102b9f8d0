"""What names tell of a space before anything is measured in it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searches import CORES, best_after, ordinal, searched
from searches import SIZES as X

from hpcagent.records import Config, Param
from hpcagent.search import known, trends
from hpcagent.search.blame import by_values
from hpcagent.search.design import next_row
from hpcagent.search.encoding import KIN, NEIGHBOURS, Grid
from hpcagent.search.feasibility import probability
from hpcagent.search.gp import Observations, Theta, covariance, posterior
from hpcagent.search.prior import Prior
from hpcagent.search.space import Space

Y = ("1", "2", "4", "8")


def costs(*params: Param) -> np.ndarray:
    """Of every combination; recorded surfaces have names that no space of hpcagent's own has."""
    table = np.indices([len(param.values) for param in params]).reshape(len(params), -1).T
    return known.costs(params, table)


def kernel(x: str = "block_size_x", y: str = "block_size_y", unroll: str = "unroll") -> Space:
    return Space((ordinal(x, X), ordinal(y, Y), ordinal(unroll, Y)))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("block_size_x", "block_size_y"),
        ("BLOCK_SIZE_X", "BLOCK_SIZE_Y"),
        ("blockDim.x", "blockDim.y"),
        ("work-group-size-x", "work-group-size-y"),
    ],
)
def test_a_block_of_gpu_threads_is_known_by_the_fields_names(x: str, y: str) -> None:
    np.testing.assert_array_equal(
        costs(ordinal(x, X), ordinal(y, Y)),
        costs(ordinal("block_size_x", X), ordinal("block_size_y", Y)),
    )
    assert len(costs(ordinal(x, X), ordinal(y, Y))) == 4


def test_of_a_gemm_of_clblast_only_the_size_of_the_block_is_known() -> None:
    found = costs(ordinal("MDIMC", ("8", "16", "32")), ordinal("NDIMC", ("8", "16", "32")))
    threads = np.array([x * y for x in (8, 16, 32) for y in (8, 16, 32)])
    np.testing.assert_allclose(found, [np.abs(np.log2(threads) - 7.5) / 2])


def test_whole_numbers_are_counts_however_they_are_written() -> None:
    np.testing.assert_array_equal(
        costs(ordinal("block_size_x", ("16.0", "64", "1e2", "256"))),
        costs(ordinal("block_size_x", ("16", "64", "100", "256"))),
    )


@pytest.mark.parametrize(
    "param",
    [
        ordinal("block", X),
        ordinal("block_size", X),
        ordinal("block_size_y", Y),
        ordinal("tile_x", X),
        ordinal("block_size_x", ("128.5", "256.5")),
        ordinal("block_size_x", ("1", "2", "4", "8", "64")),
        ordinal("block_size_x", ("256", "9" * 400)),
        ordinal("block_size_x", ("128", "nan")),
        ordinal("block_size_x", ("0", "16", "32")),
        Param("block_size_x", "categorical", ("small", "large"), "small"),
    ],
)
def test_nothing_is_thought_of_other_names_and_values(param: Param) -> None:
    assert costs(param).shape == (0, len(param.values))


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ("32", "4", (0.0, 0.25, 0.0, 0.0)),
        ("16", "1", (1.0, 1.75, 1.0, 0.0)),
        ("48", "1", (math.log2(64 / 48), (7.5 - math.log2(48)) / 2, math.log2(64 / 48), 1.0)),
        ("48", "2", (0.0, (7.5 - math.log2(96)) / 2, math.log2(64 / 48), 1.0)),
        ("256", "4", (0.0, 1.25, 0.0, 0.0)),
        ("1", "1", (2.0, 2.0, 2.0, 0.0)),
    ],
)
def test_what_costs_is_lanes_that_idle_and_unusual_sizes(
    x: str, y: str, expected: tuple[float, ...]
) -> None:
    params = (ordinal("block_size_x", ("1", *X)), ordinal("block_size_y", Y))
    grid = Grid.of(params, Space(params).points())
    row = grid.index[Config.of({"block_size_x": x, "block_size_y": y})]
    assert grid.costs[:, row] == pytest.approx(expected)


sizes = st.lists(st.integers(1, 2048), min_size=1, max_size=6, unique=True).map(sorted)


@given(sizes, sizes, sizes)
def test_costs_are_finite_differ_and_do_not_hang_on_the_order_of_parameters(
    x: list[int], y: list[int], other: list[int]
) -> None:
    params = [
        ordinal(name, tuple(map(str, values)))
        for name, values in (("block_size_x", x), ("block_size_y", y), ("unroll", other))
    ]
    points = Space(tuple(params)).points()
    found = Grid.of(params, points).costs
    assert found.shape[1] == len(points)
    assert np.isfinite(found).all()
    assert ((found >= 0.0) & (found <= 2.0)).all()
    assert (np.ptp(found, axis=1) > 0.0).all()
    np.testing.assert_array_equal(found, Grid.of(params[::-1], points).costs)


def gpu(values: dict[str, str]) -> float:
    """Log time ratio of a kernel whose idle lanes cost what they must, 96 to 256 threads best."""
    x, threads = (
        int(values["block_size_x"]),
        int(values["block_size_x"]) * int(values["block_size_y"]),
    )
    wasted = math.log(math.ceil(threads / 32) * 32 / threads)
    rest = 0.3 if x & (x - 1) else 0.0
    return wasted + rest + 0.1 * abs(math.log2(threads) - 7.0) + 0.02 * int(values["unroll"])


def test_a_kernel_is_tuned_sooner_where_its_block_is_known() -> None:
    def unnamed(values: dict[str, str]) -> float:
        return gpu(
            {"block_size_x": values["a"], "block_size_y": values["b"], "unroll": values["c"]}
        )

    seeds = range(6)
    with_names = [best_after(6, kernel(), gpu, seed) for seed in seeds]
    without = [best_after(6, kernel("a", "b", "c"), unnamed, seed) for seed in seeds]
    assert sum(with_names) < sum(without)


def test_what_costs_is_thought_slow_before_anything_is_measured() -> None:
    space = kernel()
    grid = Grid.of(space.params, space.points())
    told = trends.particular(grid, Prior().over(grid))
    slow = grid.costs.sum(axis=0)
    assert np.corrcoef(told.means @ told.columns, slow)[0, 1] > 0.99


def test_the_design_avoids_what_is_known_to_be_slow() -> None:
    grids = [Grid.of(s.params, s.points()) for s in (kernel(), kernel("a", "b", "c"))]
    slow = grids[0].costs.sum(axis=0)
    free = np.ones(len(slow), dtype=np.bool_)
    named, hidden = (
        np.mean([slow[next_row(grid, [7], free, seed)] for seed in range(40)]) for grid in grids
    )
    assert named < 0.8 * hidden


def test_exploring_does_not_go_where_it_is_thought_slowest() -> None:
    space = kernel()
    grid = Grid.of(space.params, space.points())
    slow = grid.costs.sum(axis=0)
    for seed in range(8):
        history = searched(7, space, lambda config: gpu(config.values), seed)
        assert slow[grid.index[history[-1].config]] < np.quantile(slow, 0.9)


def contrary(values: dict[str, str]) -> float:
    """Fastest with 48 threads in one row, which nobody would advise."""
    x, y = int(values["block_size_x"]), int(values["block_size_y"])
    off = (math.log2(x / 48)) ** 2 + (math.log2(y)) ** 2
    return 0.2 * off + (0.0 if x & (x - 1) else 0.3) + 0.01 * int(values["unroll"])


@pytest.mark.parametrize("seed", range(4))
def test_measurements_overrule_what_is_known(seed: int) -> None:
    space = kernel()
    least = min(contrary(point.values) for point in space.points())
    assert best_after(20, space, contrary, seed) == pytest.approx(least, abs=0.03)


def test_a_wrong_hint_does_not_take_a_right_one_with_it() -> None:
    core = Param("core", "categorical", ("a", "b", "c", "d"), "a")
    params = (core, ordinal("threads", ("1", "2", "4", "8")), ordinal("tile", X))
    grid = Grid.of(params, Space(params).points())
    told = trends.particular(grid, Prior(hints={"core": "d", "threads": "8"}).over(grid))
    thought = told.means @ told.columns
    hint = {("core", "d"), ("threads", "8")}
    hinted = np.array([hint <= set(point.items) for point in grid.points])
    assert (thought[hinted] == 0.0).all()
    assert (thought[~hinted] > 0.0).all()
    right, wrong = told.columns
    truth = right - wrong
    rows = np.random.default_rng(1).choice(len(truth), 12, replace=False)
    seen = Observations(rows, (truth - thought)[rows], np.zeros(len(rows)))
    flat = Theta(np.zeros(3), -6.0, -8.0, 0.0)
    found = posterior(grid, seen, flat, told.spreads[:, None] * told.columns).mean + thought
    assert np.corrcoef(found, truth)[0, 1] > 0.98


def test_kernels_for_one_instruction_set_are_alike() -> None:
    core = Param("core", "categorical", CORES, CORES[0])
    family = dict(zip(CORES, known.families(core).tolist(), strict=True))
    assert family["Haswell"] == family["Zen"]
    assert family["SkylakeX"] == family["SapphireRapids"]
    assert len({family[name] for name in ("Prescott", "Bulldozer", "Sandybridge", "Haswell")}) == 4
    grid = Grid.of((core,), Space((core,)).points())
    one = np.array([CORES.index("Haswell")] * 4)
    other = np.array([CORES.index(name) for name in ("Haswell", "Zen", "SkylakeX", "Prescott")])
    same, kin, near, far = grid.gap(0, one, other)
    assert (same, kin) == (0.0, KIN) and KIN < NEIGHBOURS < near < far < 1.0
    kernel_of = covariance(grid, Theta(np.zeros(1), 0.0, -4.0, 0.0), one[:1])[0]
    same, kin, near, far = (kernel_of[grid.index[Config.of({"core": CORES[i]})]] for i in other)
    assert same > kin > near > far
    assert same - kin < 0.5 * (same - far)


def test_kernels_of_arm_are_alike_by_what_they_share() -> None:
    names = ("ARMV8", "CORTEXA72", "NEOVERSEN1", "THUNDERX2T99", "A64FX", "NEOVERSEV2", "THUNDERX")
    found = known.families(Param("core", "categorical", names, names[0])).tolist()
    assert found == [0, 0, 2, 2, 4, 4, 6]


@given(st.lists(st.sampled_from(CORES), min_size=1, unique=True))
def test_other_values_and_sizes_are_like_none(names: list[str]) -> None:
    values = tuple(f"{name}-like" for name in names)
    for param in (Param("core", "categorical", values, values[0]), ordinal("core", tuple(names))):
        assert known.families(param).tolist() == list(range(len(names)))


def test_one_kernel_that_cannot_run_casts_doubt_on_its_kin_until_one_of_them_runs() -> None:
    core = Param("core", "categorical", CORES, CORES[0])
    grid = Grid.of((core, ordinal("tile", X)), Space((core, ordinal("tile", X))).points())

    def row(name: str, tile: str = "64") -> int:
        return grid.index[Config.of({"core": name, "tile": tile})]

    def chance(name: str, worked: list[int], failed: list[int]) -> float:
        found = probability(grid, np.array(worked, dtype=np.intp), np.array(failed, dtype=np.intp))
        return float(found[row(name, "16")])

    ran, died = [row("Prescott"), row("Haswell")], [row("Bulldozer")]
    assert chance("Excavator", ran, died) < 0.2
    assert chance("SkylakeX", ran, died) > 0.5
    assert chance("Excavator", [*ran, row("Piledriver")], died) > 0.5
    assert chance("Bulldozer", [*ran, row("Piledriver")], died) < 0.2
    assert chance("SapphireRapids", [*ran, row("SkylakeX")], [row("SapphireRapids")]) < 0.2


def test_values_of_a_choice_beside_kernels_share_the_blame_with_their_pairs() -> None:
    """Only what has kin is out by itself; of two new values either may be at fault, or both."""
    params = (
        Param("core", "categorical", CORES, CORES[0]),
        Param("solver", "categorical", ("cg", "amg"), "cg"),
        Param("smoother", "categorical", ("jacobi", "chebyshev"), "jacobi"),
    )
    grid = Grid.of(params, Space(params).points())

    def rows(*points: tuple[str, str, str]) -> npt.NDArray[np.intp]:
        names = [param.name for param in params]
        told = [Config.of(dict(zip(names, point, strict=True))) for point in points]
        return np.array([grid.index[config] for config in told], dtype=np.intp)

    ran = rows(("Prescott", "cg", "jacobi"), ("Haswell", "cg", "jacobi"))
    died = rows(("Prescott", "amg", "chebyshev"), ("Haswell", "amg", "chebyshev"))
    alone = rows(("Prescott", "amg", "jacobi"), ("Prescott", "cg", "chebyshev"))
    assert (by_values(grid, ran, died)[alone] > 0.2).all()
