"""Instruction sets and ways to compile: which are known to be slower, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from searches import (
    COMPILED,
    CORES,
    FASTEST,
    FMA4,
    best_after,
    choice,
    grid_of,
    ordinal,
    searched,
    simd,
)
from searches import SIZES as X

from hpcagent.records import Config, Param, Stop
from hpcagent.search import lags, trends
from hpcagent.search.design import design_size
from hpcagent.search.encoding import NEIGHBOURS, Grid
from hpcagent.search.foremost import disproved, foremost, lags_behind
from hpcagent.search.opening import FOREMOST, SPREAD
from hpcagent.search.prior import Prior
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate

Y = ("1", "2", "4", "8")


def octaves(*params: Param) -> list[list[float]]:
    """By parameter that is a choice of instruction sets, of each point of the space."""
    table = np.indices([len(param.values) for param in params]).reshape(len(params), -1).T
    found: list[list[float]] = lags.octaves(params, table).tolist()
    return found


@pytest.mark.parametrize(
    ("values", "behind"),
    [
        (("Prescott", "Sandybridge", "Haswell", "SkylakeX"), [3.0, 2.0, 1.0, 0.0]),
        (("none", "sse4.1", "AVX_256", "avx2-256", "AVX_512"), [4.0, 3.0, 2.0, 1.0, 0.0]),
        (("off", "sse2"), [1.0, 0.0]),
        (("generic", "x86-64-v2"), [1.0, 0.0]),
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


def test_an_unknown_name_among_instruction_sets_may_be_the_foremost() -> None:
    assert octaves(choice("isa", "auto", "avx512", "avx2")) == [[0.0, 0.0, 1.0]]
    assert octaves(choice("isa", "sse2", "native", "avx2")) == [[2.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    "values",
    [
        ("auto", "none"), ("off", "madvise"), ("none", "compact", "spread"), ("Haswell",),
        ("Haswell", "Zen"), ("Haswell", "other"), ("armv8", "a64fx"),
        ("none", "atom", "force"), ("off", "nano"), ("", "-no"),
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


def test_an_octave_is_thought_to_cost_half_a_deviation_give_or_take_as_much() -> None:
    grid = grid_of(simd("sse2", "avx", "avx512"))
    told = trends.particular(grid, Prior().over(grid))
    np.testing.assert_array_equal(told.columns, grid.octaves)
    assert told.means.tolist() == told.spreads.tolist() == [0.5]


def test_of_two_choices_the_widest_points_are_widest_in_both() -> None:
    sets = (choice("blas", "Zen", "SkylakeX"), choice("march", "x86-64-v2", "x86-64-v3"))
    grid = grid_of(Space((*sets, ordinal("tile", X))))
    wide = foremost(grid, np.ones(len(grid.points), dtype=np.bool_))
    found = {
        (p.values["blas"], p.values["march"]) for p, w in zip(grid.points, wide, strict=True) if w
    }
    assert found == {("SkylakeX", "x86-64-v3")}
    narrow = [grid.index[p] for p in grid.points if p.values["march"] == "x86-64-v2"]
    assert lags_behind(grid, narrow[:3], wide)
    assert not lags_behind(grid, [*narrow[:3], int(np.flatnonzero(wide)[0])], wide)
    assert not lags_behind(grid, [], wide)
    rest = foremost(grid, ~wide)
    assert not lags_behind(grid, [int(np.flatnonzero(wide)[0])], rest)


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
    [(KERNELS, [FOREMOST, SPREAD]), (replace_default(KERNELS, "SkylakeX"), [SPREAD, SPREAD])],
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


def steps(*params: Param) -> list[list[float]]:
    """By parameter that is a way to compile, of each point of the space."""
    table = np.indices([len(param.values) for param in params]).reshape(len(params), -1).T
    both = [*lags.levels(params, table), *lags.switches(params, table)]
    return [column.tolist() for column in both]


@pytest.mark.parametrize(
    ("name", "values", "behind"),
    [
        ("level", ("O0", "O1", "O2", "O3"), [3.0, 2.0, 1.0, 0.0]),
        ("level", ("-O1", "-Os", "-O2", "-O3"), [2.0, 2.0, 1.0, 0.0]),
        ("level", ("O3", "Ofast"), [1.0, 0.0]),  # which is with fast mathematics
        ("level", ("O0", "O2"), [2.0, 0.0]),
        ("optimisation", ("0", "1", "2", "3"), [3.0, 2.0, 1.0, 0.0]),
        ("OPT_LEVEL", ("1", "2"), [1.0, 0.0]),
        ("CMAKE_BUILD_TYPE", ("Debug", "Release", "RelWithDebInfo"), [3.0, 0.0, 1.0]),
        ("fast_math", ("off", "on"), [1.0, 0.0]),
        ("fast-math", ("True", "False"), [0.0, 1.0]),
        ("LTO", ("0", "1"), [1.0, 0.0]),
        ("sanitizers", ("no", "yes"), [0.0, 1.0]),
        ("flags", ("", "fast-math", "unroll-loops"), [1.0, 0.0, 1.0]),
        ("flags", ("-O2 -g", "-O3", "-g"), [1.0, 0.0, 0.0]),
        ("flags", ("-flto=auto", "-g", "-flto"), [0.0, 1.0, 0.0]),
        ("flags", ("-O3 -O1", "-O1 -O3"), [2.0, 0.0]),
    ],
)
def test_a_way_to_compile_is_known_by_the_fields_names(
    name: str, values: tuple[str, ...], behind: list[float]
) -> None:
    assert steps(choice(name, *values)) == [behind]
    assert steps(ordinal(name, values)) == [behind]


def test_lists_of_flags_are_known_by_each_of_them() -> None:
    flags = choice("cflags", "-O2", "-O3 -mavx2", "-O3 -march=x86-64-v4 -ffast-math")
    assert steps(flags) == [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
    assert octaves(flags) == [[3.0, 1.0, 0.0]]
    assert lags.places(flags) is None


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("unroll", ("0", "1", "2", "3")), ("level", ("0", "1", "2", "3")),
        ("log", ("debug", "info")), ("fast_math", ("gcc", "icc")), ("prefetch", ("off", "on")),
        ("kernels", ("kernels of O2", "kernels of O3")),
        ("variant", ("tile", "vectorize", "unroll")), ("method", ("simplex", "ipo")),
        ("scheme", ("o2", "o4", "o6")),
    ],
)  # fmt: skip
def test_other_switches_and_numbers_are_no_ways_to_compile(
    name: str, values: tuple[str, ...]
) -> None:
    assert steps(choice(name, *values)) == []


def test_each_way_to_compile_counts_for_itself() -> None:
    params = choice("level", "O2", "O3"), choice("tile", "8", "16"), choice("lto", "off", "on")
    assert steps(*params) == [[1.0] * 4 + [0.0] * 4, [1.0, 0.0] * 4]


def test_values_of_a_known_order_are_as_alike_as_they_are_near() -> None:
    def places(*values: str) -> list[float | None]:
        found = lags.places(choice("march", *values))
        assert found is not None
        return [None if math.isnan(place) else place for place in found]

    assert places("sse2", "avx", "avx512") == [1.0, 2 / 3, 0.0]
    assert places("x86-64", "native", "x86-64-v3") == [1.0, 0.0, 0.0]
    assert places("x86-64", "other", "x86-64-v3") == [1.0, None, 0.0]
    assert places("O1", "O2", "O3") == [1.0, 0.5, 0.0]
    assert lags.places(choice("layout", "aos", "soa")) is None
    grid = grid_of(Space((choice("march", "x86-64", "other", "x86-64-v3", "native"),)))
    gaps = grid.gap(0, np.array([2, 2, 2, 2]), np.array([2, 3, 0, 1]))
    assert gaps.tolist() == [0.0, NEIGHBOURS, 1.0, 1.0]


def compiled(values: dict[str, str]) -> float:
    """Vectors pay where the compiler makes some."""
    level = ("O1", "O2", "O3").index(values["level"])
    vectors = {"x86-64": 0.2, "x86-64-v3": 0.4, "x86-64-v4": 0.5}[values["march"]]
    made = level == 2 and values["fast_math"] == "on"
    off = 0.1 * (values["layout"] == "aos") + 0.1 * abs(math.log2(int(values["tile"]) / 32))
    return off - 0.2 * level - (vectors if made else 0.0)


def test_a_program_is_tuned_sooner_where_ways_to_compile_are_known() -> None:
    def hidden(values: dict[str, str]) -> float:
        told = {name.removeprefix("p_"): value.removeprefix("v_") for name, value in values.items()}
        return compiled(told)

    strange = Space(
        tuple(
            replace(
                p,
                name=f"p_{p.name}",
                values=tuple(f"v_{v}" for v in p.values),
                default=f"v_{p.default}",
            )
            for p in COMPILED.params
        )
    )
    seeds = range(6)
    known = [best_after(6, COMPILED, compiled, seed) for seed in seeds]
    unknown = [best_after(6, strange, hidden, seed) for seed in seeds]
    assert sum(known) < sum(unknown) - 1.0


def test_the_second_evaluation_is_the_default_compiled_for_speed() -> None:
    found = Surrogate().propose(COMPILED, [], [], 2, 0)
    assert not isinstance(found, Stop)
    changed = {"march": "x86-64-v4", "level": "O3", "fast_math": "on"}
    assert found[1].config.values == {**COMPILED.default.values, **changed}
    assert found[1].reason == FOREMOST


@pytest.mark.parametrize("seed", range(4))
def test_measurements_overrule_what_is_known_of_compiling(seed: int) -> None:
    def contrary(values: dict[str, str]) -> float:
        slow = {"O1": 0.4, "O2": 0.0, "O3": 0.3}[values["level"]]
        slow += 0.3 * (values["fast_math"] == "on") + 0.2 * (values["march"] != "x86-64-v3")
        return slow + 0.05 * (values["layout"] == "aos")

    assert best_after(20, COMPILED, contrary, seed) <= 0.05


def test_a_design_keeps_to_what_is_foremost_until_that_is_measured_to_be_slower() -> None:
    def values(slow: float) -> set[str]:
        def cost(config: Config) -> float:
            return slow if config.values["level"] == "O3" else 0.0

        history = searched(5, COMPILED, cost, 0)
        return {trial.config.values["level"] for trial in history[2:]}

    assert values(0.1) == {"O3"}
    assert values(0.2) != {"O3"}


def test_what_is_foremost_is_disproved_by_all_that_was_measured_of_it() -> None:
    grid = grid_of(COMPILED)
    values = COMPILED.default.values
    rows = [
        grid.index[Config.of({**values, **changed})]
        for changed in (
            {},
            {"level": "O3"},
            {"fast_math": "on"},
            {"layout": "soa"},
            {"level": "O1"},
        )
    ]

    def told(*ratios: float) -> bool:
        return disproved(grid, np.array(rows[: len(ratios)], dtype=np.intp), np.array(ratios))

    assert not told() and not told(0.0)
    assert told(0.0, 0.2) and not told(0.0, 0.1) and not told(0.3, 0.4)
    assert not told(0.0, 0.2, -0.1) and told(0.0, 0.2, 0.3)
    assert told(0.0, 0.2, 0.3, -0.5, -0.5)


def test_a_sampled_space_holds_the_default_with_its_foremost_values() -> None:
    """Which is no neighbour of the default, for more than one value differs."""
    sizes = tuple(ordinal(f"size_{n}", X) for n in range(6))
    space = Space((*COMPILED.params, *sizes))
    assert not space.enumerable
    for seed in range(3):
        found = Surrogate().propose(space, [], [], 2, seed)
        assert not isinstance(found, Stop)
        assert found[1].config == Config.of({**space.default.values, **FASTEST.values})
        assert found[1].reason == FOREMOST


@pytest.mark.parametrize(
    ("values", "behind"),
    [
        (("-O3", "-O3 -mavx2", "-O3 -mavx512f"), [3.0, 1.0, 0.0]),  # plain code is for any x86-64
        (("-march=x86-64 -mavx512f", "-mavx2"), [0.0, 1.0]),
        (("-O2", "-O2 -march=native"), None),
        (("-xCORE-AVX2", "-xCORE-AVX512"), [1.0, 0.0]),
        (("-mcpu=skylake-avx512", "-mcpu=haswell"), [0.0, 1.0]),
    ],
)
def test_flags_for_instruction_sets(values: tuple[str, ...], behind: list[float] | None) -> None:
    assert octaves(choice("flags", *values)) == ([behind] if behind else [])


def test_restrictions_do_not_hide_a_choice_from_the_design() -> None:
    library = choice("library", "reference", "fast", "faster")
    params = (*COMPILED.params, library)
    tied = Space(params, ("march != 'x86-64-v4' or library == 'reference'",))
    for seed in range(4):
        history = searched(7, tied, lambda _: 0.0, seed)
        assert {trial.config.values["library"] for trial in history} == set(library.values)


def test_the_foremost_lag_least_in_sum() -> None:
    """Wide vectors that are to be had only with slow code are not foremost."""
    tied = Space(COMPILED.params, ("march != 'x86-64-v4' or level == 'O1'",))
    grid = grid_of(tied)
    found = foremost(grid, np.ones(len(grid.points), dtype=np.bool_))
    values = {grid.points[row].values["march"] for row in np.flatnonzero(found)}
    assert values == {"x86-64-v3"}


def test_names_that_say_nothing_cost_few_evaluations() -> None:
    """What is known is uncertain: else its absence is taken for effects of these parameters."""
    *ways, layout, _ = COMPILED.params
    tile = Param("tile", "ordinal", X, "96")
    space = Space((*ways, choice("lto", "off", "on"), layout, tile, ordinal("unroll", Y)))

    def cost(config: Config) -> float:
        values = config.values
        off = 0.1 * (values["layout"] == "aos") + 0.05 * int(values["unroll"])
        return off + 0.1 * abs(math.log2(int(values["tile"]) / 32))

    needed = []
    for seed in range(8):
        found = [trial.log_ratio for trial in searched(30, space, cost, seed)]
        good = (n for n, ratio in enumerate(found, 1) if ratio is not None and ratio <= 0.1)
        needed.append(next(good, 31))
    assert sum(needed) < 8 * 18
