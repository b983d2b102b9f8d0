"""What names tell of a space before anything is measured in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.records import Config, Failure, Param, Stop, Trial
from hpcagent.search import known, trends
from hpcagent.search.design import design_size, next_row
from hpcagent.search.encoding import KIN, Grid
from hpcagent.search.feasibility import probability
from hpcagent.search.gp import Observations, Theta, covariance, posterior
from hpcagent.search.prior import Prior
from hpcagent.search.space import Space
from hpcagent.search.surrogate import SPREAD, WIDEST, Surrogate
from hpcagent.search.widths import is_narrow, that_run, widest

X = ("16", "32", "48", "64", "96", "128", "192", "256")
Y = ("1", "2", "4", "8")
CORES = (
    "Prescott", "Core2", "Penryn", "Dunnington", "Atom", "Nano", "Nehalem", "Barcelona", "Bobcat",
    "Bulldozer", "Piledriver", "Steamroller", "Excavator", "Sandybridge", "Haswell", "Zen",
    "SkylakeX", "Cooperlake", "SapphireRapids",
)  # fmt: skip


FMA4 = ("Bulldozer", "Piledriver", "Steamroller", "Excavator")
ILLEGAL = Failure("run", "signal", "SIGILL")


def ordinal(name: str, values: tuple[str, ...]) -> Param:
    return Param(name, "ordinal", values, values[0])


def costs(*params: Param) -> np.ndarray:
    """Of every combination; recorded surfaces have names that no space of hpcagent's own has."""
    table = np.indices([len(param.values) for param in params]).reshape(len(params), -1).T
    return known.costs(params, table)


def kernel(x: str = "block_size_x", y: str = "block_size_y", unroll: str = "unroll") -> Space:
    return Space((ordinal(x, X), ordinal(y, Y), ordinal(unroll, Y)))


def searched(
    count: int, space: Space, measured: Callable[[Config], float | None], seed: int
) -> list[Trial]:
    """The surrogate's first evaluations; what is measured as None cannot run."""
    strategy, history = Surrogate(), list[Trial]()
    while len(history) < count:
        found = strategy.propose(space, history, [], 1, seed)
        if isinstance(found, Stop):
            break
        config = found[0].config
        value = measured(config)
        failure = ILLEGAL if value is None else None
        spread = None if value is None else 0.0
        history.append(Trial(config, value, spread, failure, len(history), ""))
    return history


def best_after(
    count: int, space: Space, cost: Callable[[dict[str, str]], float], seed: int
) -> float:
    """The least log ratio among the surrogate's first evaluations."""
    history = searched(count, space, lambda config: cost(config.values), seed)
    return min(trial.log_ratio or 0.0 for trial in history)


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
    one = np.array([CORES.index(name) for name in ("Haswell", "Haswell", "Haswell")])
    other = np.array([CORES.index(name) for name in ("Haswell", "Zen", "SkylakeX")])
    assert grid.gap(0, one, other).tolist() == [0.0, KIN, 1.0]
    assert KIN < 0.5
    kernel_of = covariance(grid, Theta(np.zeros(1), 0.0, -4.0, 0.0), one[:1])[0]
    same, kin, strange = (kernel_of[grid.index[Config.of({"core": CORES[i]})]] for i in other)
    assert same - kin < 0.5 * (same - strange)


@given(st.lists(st.sampled_from(CORES), min_size=1, unique=True))
def test_other_values_and_sizes_are_like_none(names: list[str]) -> None:
    values = tuple(f"{name}-like" for name in names)
    for param in (Param("core", "categorical", values, values[0]), ordinal("core", tuple(names))):
        assert known.families(param).tolist() == list(range(len(names)))


def choice(name: str, *values: str) -> Param:
    return Param(name, "categorical", values, values[0])


def octaves(*params: Param) -> list[list[float]]:
    """By parameter that is a choice of instruction sets, of each point of the space."""
    table = np.indices([len(param.values) for param in params]).reshape(len(params), -1).T
    found: list[list[float]] = known.octaves(params, table).tolist()
    return found


@pytest.mark.parametrize(
    ("values", "behind"),
    [
        (("Prescott", "Sandybridge", "Haswell", "SkylakeX"), [3.0, 2.0, 1.0, 0.0]),
        (("none", "sse4.1", "AVX_256", "avx2-256", "AVX_512"), [4.0, 3.0, 2.0, 1.0, 0.0]),
        (("x86-64", "x86_64_v2", "x86-64-v3", "x86-64-v4"), [3.0, 3.0, 1.0, 0.0]),
        (("SSE4_2", "AVX", "AVX2", "AVX2_E1", "AVX512_E4"), [3.0, 2.0, 1.0, 1.0, 0.0]),
        (("AVX2_128", "AVX_512_KNL"), [2.0, 0.0]),
        (("SSE4.2", "AVX", "CORE-AVX2", "CORE-AVX512"), [3.0, 2.0, 1.0, 0.0]),
        (("SSE41", "AVX2_VNNI", "AVX512_CORE_AMX"), [3.0, 1.0, 0.0]),
        (("znver3", "znver4"), [1.0, 0.0]),
        (("penryn", "zen2", "zen5"), [3.0, 1.0, 0.0]),
    ],
)
def test_an_instruction_set_is_known_by_the_fields_names(
    values: tuple[str, ...], behind: list[float]
) -> None:
    assert octaves(choice("isa", *values)) == [behind]
    assert octaves(ordinal("isa", values)) == [behind]


def test_an_unknown_name_among_instruction_sets_may_be_the_widest() -> None:
    assert octaves(choice("isa", "auto", "avx512", "avx2")) == [[0.0, 0.0, 1.0]]
    assert octaves(choice("isa", "sse2", "native", "avx2")) == [[2.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    "values",
    [
        ("auto", "none"), ("off", "madvise"), ("none", "compact", "spread"), ("Haswell",),
        ("Haswell", "Zen"), ("Haswell", "other"), ("armv8", "a64fx"),
    ],
)  # fmt: skip
def test_where_no_two_instruction_sets_differ_nothing_is_thought(values: tuple[str, ...]) -> None:
    assert octaves(choice("isa", *values), ordinal("tile", X)) == []


def test_an_instruction_set_that_restrictions_leave_alone_is_no_choice() -> None:
    params = (choice("isa", "sse2", "avx2"), ordinal("tile", X))
    space = Space(params, ("isa == 'sse2'",), {})
    assert len(Grid.of(params, space.points()).octaves) == 0


def test_each_choice_of_instruction_sets_counts_for_itself() -> None:
    found = octaves(
        choice("blas", "Haswell", "SkylakeX"), choice("march", "x86-64-v2", "x86-64-v3")
    )
    assert found == [[1.0, 1.0, 0.0, 0.0], [2.0, 0.0, 2.0, 0.0]]


def replace_default(space: Space, core: str) -> Space:
    first, *others = space.params
    return Space((replace(first, default=core), *others))


def grid_of(space: Space) -> Grid:
    return Grid.of(space.params, space.points())


def test_an_octave_is_thought_to_cost_half_a_deviation_give_or_take_as_much() -> None:
    grid = grid_of(simd("sse2", "avx", "avx512"))
    told = trends.particular(grid, Prior().over(grid))
    np.testing.assert_array_equal(told.columns, grid.octaves)
    assert told.means.tolist() == told.spreads.tolist() == [0.5]


def test_of_two_choices_the_widest_points_are_widest_in_both() -> None:
    sets = (choice("blas", "Zen", "SkylakeX"), choice("march", "x86-64-v2", "x86-64-v3"))
    grid = grid_of(Space((*sets, ordinal("tile", X))))
    wide = widest(grid, np.ones(len(grid.points), dtype=np.bool_))
    found = {
        (p.values["blas"], p.values["march"]) for p, w in zip(grid.points, wide, strict=True) if w
    }
    assert found == {("SkylakeX", "x86-64-v3")}
    narrow = [grid.index[p] for p in grid.points if p.values["march"] == "x86-64-v2"]
    assert is_narrow(grid, narrow[:3], wide)
    assert not is_narrow(grid, [*narrow[:3], int(np.flatnonzero(wide)[0])], wide)
    assert not is_narrow(grid, [], wide)
    rest = widest(grid, ~wide)
    assert not is_narrow(grid, [int(np.flatnonzero(wide)[0])], rest)


def test_what_failed_rules_out_its_width_and_wider_ones_until_one_as_wide_ran() -> None:
    grid = grid_of(simd("sse2", "avx", "avx2", "avx512"))
    free = np.ones(len(grid.points), dtype=np.bool_)

    def rows(*names: str) -> np.ndarray:
        first = {p.values["isa"]: row for row, p in reversed(list(enumerate(grid.points)))}
        return np.array([first[name] for name in names], dtype=np.intp)

    def left(worked: tuple[str, ...], failed: tuple[str, ...]) -> set[str]:
        found = that_run(grid, free, rows(*worked), rows(*failed))
        return {p.values["isa"] for p, may in zip(grid.points, found, strict=True) if may}

    assert left(("sse2",), ()) == {"sse2", "avx", "avx2", "avx512"}
    assert left(("sse2",), ("avx512",)) == {"sse2", "avx", "avx2"}
    assert left(("sse2",), ("avx2",)) == {"sse2", "avx"}
    assert left(("sse2",), ("avx512", "avx2")) == {"sse2", "avx"}
    assert left(("sse2", "avx2"), ("avx",)) == {"sse2", "avx", "avx2", "avx512"}
    assert left(("avx2",), ("avx2", "avx512")) == {"sse2", "avx", "avx2"}
    assert left((), ("sse2",)) == {"sse2", "avx", "avx2", "avx512"}


MIDDLE = {"core": "Prescott", "threads": "4", "tile": "96"}
KERNELS = Space(
    (
        Param("core", "categorical", CORES, MIDDLE["core"]),
        Param("threads", "ordinal", ("1", "2", "4", "8"), MIDDLE["threads"]),
        Param("tile", "ordinal", X, MIDDLE["tile"]),
    )
)
AVX512 = ("SkylakeX", "Cooperlake", "SapphireRapids")


def tried(seed: int, refused: tuple[str, ...], count: int) -> list[str]:
    """The core types of the surrogate's first evaluations after the default."""
    history = searched(
        count, KERNELS, lambda config: None if config.values["core"] in refused else 0.1, seed
    )
    return [trial.config.values["core"] for trial in history[1:]]


@pytest.mark.parametrize("seed", range(6))
def test_the_design_keeps_to_the_widest_instruction_sets_that_run(seed: int) -> None:
    first, second = tried(seed, FMA4, 3)
    assert first != second and {first, second} <= set(AVX512)
    refused, *ran = tried(seed, (*FMA4, *AVX512), 4)
    assert refused in AVX512 and set(ran) == {"Haswell", "Zen"}


def test_names_of_one_width_that_does_not_run_cost_one_evaluation() -> None:
    names = ("x86-64-v4", "skylake-avx512", "cascadelake", "icelake-server", "znver4")
    space = simd("x86-64-v2", "x86-64-v3", *names)
    history = searched(6, space, lambda c: None if c.values["isa"] in names else 0.1, 0)
    assert sum(trial.failure is not None for trial in history) == 1


FEW = Space((Param("core", "categorical", ("Zen", "SkylakeX"), "Zen"), *KERNELS.params[1:]))
LARGE = Space((*FEW.params, *(ordinal(f"size_{n}", X) for n in range(8))))  # is sampled


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("space", [KERNELS, FEW, LARGE], ids=["all", "few", "large"])
def test_the_second_evaluation_is_the_default_but_for_its_instruction_set(
    space: Space, seed: int
) -> None:
    found = Surrogate().propose(space, [], [], 3, seed)
    assert not isinstance(found, Stop)
    default, second, third = (p.config.values for p in found)
    assert default == space.default.values and second["core"] in AVX512
    assert {**default, "core": second["core"]} == second
    assert {**default, "core": third["core"]} != third


@pytest.mark.parametrize(
    ("space", "reasons"),
    [(KERNELS, [WIDEST, SPREAD]), (replace_default(KERNELS, "SkylakeX"), [SPREAD, SPREAD])],
)
def test_a_proposal_says_that_it_has_the_widest_instruction_set(
    space: Space, reasons: list[str]
) -> None:
    found = Surrogate().propose(space, [], [], 3, 0)
    assert not isinstance(found, Stop)
    assert [p.reason for p in found[1:]] == reasons


@pytest.mark.parametrize("seed", range(6))
def test_a_default_of_the_widest_instruction_set_is_not_tried_again_in_other_words(
    seed: int,
) -> None:
    cores = choice("core", "Haswell", "Prescott", "Sandybridge")
    space = Space((cores, ordinal("threads", ("1", "2", "4", "8")), ordinal("tile", X)))
    second = searched(2, space, lambda _: 0.1, seed)[1].config.values
    assert second["core"] == "Haswell"
    assert second["threads"] != space.default.values["threads"]
    assert second["tile"] != space.default.values["tile"]


def test_narrow_instruction_sets_do_not_make_the_design_longer() -> None:
    def size(*cores: str) -> int:
        grid = grid_of(Space((choice("core", *cores), ordinal("tile", X))))
        return design_size(grid, [0])

    assert size(*CORES) == len(AVX512) + 1
    assert size(*AVX512, *FMA4, "Prescott") == len(AVX512)
    assert size("sse2", "sse4.1", "avx", "avx2", "avx512") == 4
    assert size(*(f"{core}-like" for core in CORES)) == 8


def vectorised(fastest: str) -> Callable[[dict[str, str]], float]:
    """Log time ratio of a kernel of which one instruction set is fast, and tiles of 64."""

    def cost(values: dict[str, str]) -> float:
        off = 0.0 if values["isa"] == fastest else 0.8
        return off + 0.1 * abs(math.log2(int(values["tile"]) / 64)) + 0.05 * int(values["unroll"])

    return cost


def simd(*names: str) -> Space:
    return Space((choice("isa", *names), ordinal("tile", X), ordinal("unroll", Y)))


def test_a_kernel_is_tuned_sooner_where_its_instruction_sets_are_known() -> None:
    names = ("sse2", "sse4.1", "avx", "avx2", "avx512")
    seeds = range(6)
    with_names = [best_after(6, simd(*names), vectorised("avx512"), seed) for seed in seeds]
    strange = tuple(f"v{n}" for n, _ in enumerate(names))
    without = [best_after(6, simd(*strange), vectorised("v4"), seed) for seed in seeds]
    assert sum(with_names) < sum(without) - 1.0


@pytest.mark.parametrize("seed", range(4))
def test_measurements_overrule_what_is_known_of_instruction_sets(seed: int) -> None:
    space = simd("sse2", "sse4.1", "avx", "avx2", "avx512")
    cost = vectorised("avx")
    least = min(cost(point.values) for point in space.points())
    assert best_after(20, space, cost, seed) == pytest.approx(least, abs=0.06)


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
