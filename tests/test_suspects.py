"""Which of several values that failed together cannot run, and what is doubted for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from searches import (
    COMPILED,
    CRASH,
    FASTEST,
    WRONG,
    choice,
    evidence,
    grid_of,
    of,
    ordinal,
    searched,
    simd,
)
from searches import SIZES as X

from hpcagent.records import Config, Failure, Stop, Trial
from hpcagent.search.evidence import Evidence
from hpcagent.search.foremost import foremost
from hpcagent.search.opening import TELLING
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate
from hpcagent.search.suspects import chance, clearing, that_run


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
