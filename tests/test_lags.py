"""Instruction sets and ways to compile: which are known to be slower, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from searches import CORES, FMA4, ILLEGAL, best_after, choice, ordinal, searched
from searches import SIZES as X

from hpcagent.records import Config, Failure, Param, Stop, Trial
from hpcagent.search import lags, trends
from hpcagent.search.design import design_size
from hpcagent.search.encoding import NEIGHBOURS, Grid
from hpcagent.search.evidence import Evidence
from hpcagent.search.lags import foremost, lags_behind
from hpcagent.search.prior import Prior
from hpcagent.search.space import Space
from hpcagent.search.surrogate import FOREMOST, SPREAD, TELLING, Surrogate
from hpcagent.search.suspects import chance, clearing, that_run

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


CRASH, WRONG = ILLEGAL, Failure("numerics", "wrong_result", "residual 1e3")


def evidence(
    grid: Grid,
    worked: list[Config],
    failed: list[Config],
    why: Failure = CRASH,
    pending: tuple[Config, ...] = (),
) -> Evidence:
    """What is known after these, all that ran alike."""
    ran = [Trial(config, 0.0, 0.0, None, 0, "") for config in worked]
    history = [*ran, *(Trial(config, None, None, why, 0, "") for config in failed)]
    return Evidence.of(grid, Prior().over(grid), history, pending)


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


def test_what_failed_rules_out_its_width_and_wider_ones_until_one_as_wide_ran() -> None:
    grid = grid_of(simd("sse2", "avx", "avx2", "avx512"))
    free = np.ones(len(grid.points), dtype=np.bool_)

    first = {p.values["isa"]: p for p in reversed(grid.points)}
    last = {p.values["isa"]: p for p in grid.points}

    def left(worked: tuple[str, ...], failed: tuple[str, ...]) -> set[str]:
        known = evidence(grid, [first[name] for name in worked], [last[name] for name in failed])
        found = that_run(known, free)
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


COMPILED = Space(
    (
        Param("march", "categorical", ("x86-64", "x86-64-v3", "x86-64-v4"), "x86-64"),
        Param("level", "ordinal", ("O1", "O2", "O3"), "O2"),
        Param("fast_math", "categorical", ("off", "on"), "off"),
        Param("layout", "categorical", ("aos", "soa"), "aos"),
        Param("tile", "ordinal", X, "64"),
    )
)


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


def of(march: str = "x86-64", level: str = "O2", fast: str = "off") -> Config:
    changed = {"march": march, "level": level, "fast_math": fast}
    return Config.of({**COMPILED.default.values, **changed})


FASTEST = of("x86-64-v4", "O3", "on")


def told(known: Evidence) -> list[tuple[str, str, str]]:
    """What tells which value is to blame: march, level, fast_math."""
    found = clearing(known)
    if found is None:
        return []
    values = [known.grid.points[row].values for row in np.flatnonzero(found)]
    return sorted({(v["march"], v["level"], v["fast_math"]) for v in values})


def left(known: Evidence) -> list[tuple[str, str, str]]:
    """What the design keeps to: march, level, fast_math."""
    free = np.ones(len(known.grid.points), dtype=np.bool_)
    found = foremost(known.grid, that_run(known, free))
    values = [known.grid.points[row].values for row in np.flatnonzero(found)]
    return sorted({(v["march"], v["level"], v["fast_math"]) for v in values})


def test_a_crash_is_blamed_on_vectors_first_and_a_wrong_result_on_fast_mathematics() -> None:
    grid = grid_of(COMPILED)
    assert told(evidence(grid, [of()], [])) == []
    assert told(evidence(grid, [], [FASTEST])) == []
    assert told(evidence(grid, [of()], [FASTEST])) == [("x86-64-v3", "O3", "on")]
    assert told(evidence(grid, [of()], [FASTEST], WRONG)) == [("x86-64-v4", "O3", "off")]
    build = Failure("compile", "ice", "internal compiler error")
    assert told(evidence(grid, [of()], [FASTEST], build)) == [("x86-64-v4", "O3", "off")]


def test_where_the_first_guess_was_right_nothing_is_left_to_tell() -> None:
    grid = grid_of(COMPILED)
    known = evidence(grid, [of(), of("x86-64-v3", "O3", "on")], [FASTEST])
    assert told(known) == []
    assert left(known) == [("x86-64-v3", "O3", "on")]


def test_where_it_was_wrong_each_value_is_tried_alone_until_the_guilty_one_is_found() -> None:
    grid = grid_of(COMPILED)
    guess = of("x86-64-v3", "O3", "on")
    alone = [of("x86-64-v4"), of(level="O3"), of(fast="on")]
    assert told(evidence(grid, [of()], [FASTEST, guess])) == [("x86-64-v4", "O2", "off")]
    failed = [FASTEST, guess]
    assert told(evidence(grid, [of(), alone[0]], failed)) == [("x86-64-v4", "O3", "off")]
    failed.append(of("x86-64-v4", "O3"))
    known = evidence(grid, [of(), alone[0]], failed)
    assert told(known) == []  # and fast mathematics is not held back with the level
    assert left(known) == [("x86-64-v4", "O2", "on")]
    known = evidence(grid, [of(), *alone[:2]], [FASTEST, guess])
    assert told(known) == [("x86-64-v4", "O3", "off")]
    assert told(evidence(grid, [of(), *alone], [FASTEST, guess])) == []


def test_of_a_batch_each_tells_something_else() -> None:
    grid = grid_of(COMPILED)
    guess = of("x86-64-v3", "O3", "on")
    assert told(evidence(grid, [of()], [FASTEST], pending=(guess,))) == [("x86-64-v4", "O2", "off")]
    pending = (guess, of("x86-64-v4"))
    assert told(evidence(grid, [of()], [FASTEST], pending=pending)) == [("x86-64", "O3", "off")]
    found = Surrogate().propose(COMPILED, failing(4), [], 4, 0)
    assert not isinstance(found, Stop)
    assert [p.reason for p in found] == [TELLING] * 4


def failing(count: int) -> list[Trial]:
    """The default, and what a first round of so many has beside it, which all failed."""
    first = Surrogate().propose(COMPILED, [], [], count, 0)
    assert not isinstance(first, Stop)
    default, *others = [p.config for p in first]
    assert default == COMPILED.default
    return [
        Trial(default, 0.0, 0.0, None, 0, ""),
        *(Trial(config, None, None, CRASH, 0, "") for config in others),
    ]


def test_what_failed_only_together_is_out_together() -> None:
    grid = grid_of(COMPILED)
    alone = [of("x86-64-v4"), of(level="O3"), of(fast="on"), of("x86-64-v4", "O3")]
    again = Config.of({**FASTEST.values, "tile": "16"})
    known = evidence(grid, [of(), *alone], [FASTEST, again])
    likely = chance(known)
    assert likely[grid.index[Config.of({**FASTEST.values, "tile": "32"})]] < 0.2
    assert likely[grid.index[of("x86-64-v3", "O3", "on")]] == 1.0
    assert (chance(evidence(grid, [of(), *alone], [])) == 1.0).all()
    assert ("x86-64-v4", "O3", "on") not in left(known)
    assert left(known) == [
        ("x86-64-v3", "O3", "on"), ("x86-64-v4", "O2", "on"), ("x86-64-v4", "O3", "off"),
    ]  # fmt: skip


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"level": "O3"}, Failure("compile", "ice", "")),
        ({"fast_math": "on"}, WRONG),
        ({"fast_math": "on"}, CRASH),
        ({"march": "x86-64-v4"}, CRASH),
        ({"march": "x86-64-v4"}, WRONG),
    ],
)
def test_one_value_that_fails_does_not_take_the_others_with_it(
    bad: dict[str, str], why: Failure, batch: int
) -> None:
    def cost(config: Config) -> float | None:
        fails = bad.items() <= config.values.items()
        return None if fails else apart(config.values)

    def apart(values: dict[str, str]) -> float:
        level = ("O1", "O2", "O3").index(values["level"])
        vectors = ("x86-64", "x86-64-v3", "x86-64-v4").index(values["march"])
        off = 0.1 * abs(math.log2(int(values["tile"]) / 32)) + 0.2 * (values["layout"] == "aos")
        return off - 0.2 * level - 0.2 * vectors - 0.3 * (values["fast_math"] == "on")

    costs = [value for point in COMPILED.points() if (value := cost(point)) is not None]
    for seed in range(4):
        history = searched(28, COMPILED, cost, seed, why, batch)
        found = min(trial.log_ratio for trial in history if trial.log_ratio is not None)
        assert found <= min(costs) + 0.06


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
        return lags.disproved(grid, np.array(rows[: len(ratios)], dtype=np.intp), np.array(ratios))

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


def test_what_ran_is_not_doubted_for_what_failed_beside_it() -> None:
    """Of two points alike in all orders another value is to blame."""
    grid = grid_of(COMPILED)
    others = [Config.of({**FASTEST.values, "tile": tile}) for tile in ("16", "32")]
    assert (chance(evidence(grid, [of(), FASTEST], others)) == 1.0).all()
    assert (chance(evidence(grid, [of()], others[:1])) == 1.0).all()  # once may have any reason
    assert chance(evidence(grid, [of()], others))[grid.index[FASTEST]] < 0.2


def test_lists_of_flags_are_not_doubted_for_what_failed_beside_them() -> None:
    flags = choice("flags", "-O2", "-O3 -flto", "-O3 -ffast-math", "-O3 -ffast-math -fopenmp")
    grid = grid_of(Space((flags, ordinal("tile", X))))
    ran, *failed = (Config.of({"flags": flags.values[place], "tile": "64"}) for place in (0, 2, 3))
    assert (chance(evidence(grid, [ran], failed)) == 1.0).all()


def test_what_failed_without_being_foremost_is_tried_alone_as_it_was() -> None:
    grid = grid_of(COMPILED)
    failed = [of("x86-64-v3", "O3"), of("x86-64", "O3")]
    known = evidence(grid, [of(level="O1")], failed)
    assert told(known) == []  # the level failed for itself
    assert left(known) == [("x86-64-v4", "O2", "on")]
    known = evidence(
        grid, [of(level="O1")], [of("x86-64-v3", "O2", "on"), of("x86-64", "O2", "on")]
    )
    assert told(known) == [("x86-64-v3", "O1", "off")]


def test_what_failed_after_the_design_is_found_out_as_well() -> None:
    ran = [Config.of({**of().values, "tile": tile}) for tile in X]
    history = [Trial(config, 0.0, 0.0, None, n, "") for n, config in enumerate(ran)]
    history.append(Trial(FASTEST, None, None, CRASH, len(ran), ""))
    found = Surrogate().propose(COMPILED, history, [], 1, 0)
    assert not isinstance(found, Stop)
    assert found[0].reason == TELLING


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
