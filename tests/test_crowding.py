"""Processes and threads by the names of parameters: more than the default starts are slow."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from searches import SIZES, best_after, choice, grid_of, ordinal, searched

from hpcagent.records import Param
from hpcagent.search import trends
from hpcagent.search.crowding import crowding
from hpcagent.search.design import design_size
from hpcagent.search.prior import Prior
from hpcagent.search.space import Space


def octaves(*params: Param) -> list[float]:
    """Of every point of the space, in its order; nothing where nothing is thought."""
    table = np.indices([len(param.values) for param in params]).reshape(len(params), -1).T
    found: list[float] = crowding(params, table).sum(axis=0).tolist()
    return found if len(crowding(params, table)) else []


def usual(param: Param, default: str) -> Param:
    return replace(param, default=default)


RANKS = usual(ordinal("ranks", ("1", "2", "4", "8")), "2")
THREADS = ordinal("threads", ("1", "2"))


@pytest.mark.parametrize("name", ["ranks", "MPI_RANKS", "ntasks", "tasks-per-node", "np", "ntmpi"])
def test_more_processes_than_the_default_starts_crowd(name: str) -> None:
    assert octaves(replace(RANKS, name=name)) == [0.0, 0.0, 1.0, 2.0]


def test_threads_of_each_process_count_and_two_octaves_are_the_most() -> None:
    assert octaves(RANKS, THREADS) == [0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    assert octaves(RANKS, usual(THREADS, "2")) == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0]


def test_a_grid_has_as_many_processes_as_the_product_says() -> None:
    grids = usual(choice("processes", "1x1", "2x1", "1x4", "2x2x2"), "2x1")
    assert octaves(grids) == [0.0, 0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "params",
    [
        (usual(RANKS, "1"),),  # it may not know of other CPUs
        (usual(RANKS, "8"),),
        (usual(ordinal("threads", ("1", "2", "4")), "2"), ordinal("tile", SIZES)),
        (usual(ordinal("rows", ("1", "2", "4")), "2"),),
        (usual(choice("processes", "few", "many"), "few"),),
        (usual(ordinal("ranks", ("0", "2", "4")), "2"),),
        (ordinal("ranks", ("2",)),),
    ],
)
def test_else_nothing_is_thought(params: tuple[Param, ...]) -> None:
    assert octaves(*params) == []


SPACE = Space(
    (
        usual(ordinal("ranks", ("1", "2", "4")), "2"),
        THREADS,
        choice("solver", "amg", "pcg", "gmres"),
        usual(ordinal("block", SIZES), "64"),
    )
)


def cost(values: dict[str, str], crowded: float) -> float:
    """Fastest with blocks of 96 and GMRES; `crowded` for each octave beyond two CPUs."""
    running = int(values["ranks"]) * int(values["threads"])
    solver = {"amg": 0.2, "pcg": 0.1, "gmres": 0.0}[values["solver"]]
    block = 0.1 * abs(math.log2(int(values["block"]) / 96))
    idle = 0.3 if running < 2 else 0.0
    return solver + block + idle + crowded * max(0.0, math.log2(running / 2))


def test_what_crowds_is_one_belief_whose_weight_stays_uncertain() -> None:
    grid = grid_of(SPACE)
    told = trends.particular(grid, Prior().over(grid))
    np.testing.assert_array_equal(told.columns, grid.crowding)
    assert told.means.tolist() == told.spreads.tolist() == [0.5]


@pytest.mark.parametrize("seed", range(4))
def test_the_design_does_not_crowd_the_cpus(seed: int) -> None:
    grid = grid_of(SPACE)
    history = searched(design_size(grid), SPACE, lambda c: cost(c.values, 0.5), seed)
    assert len(history) == design_size(grid)
    assert not any(grid.crowding[0, grid.index[trial.config]] for trial in history)


@pytest.mark.parametrize("crowded", [0.5, -0.5])
@pytest.mark.parametrize("seed", range(3))
def test_measurements_decide_whether_to_crowd(crowded: float, seed: int) -> None:
    least = min(cost(point.values, crowded) for point in SPACE.points())
    assert best_after(20, SPACE, lambda v: cost(v, crowded), seed) == pytest.approx(least, abs=0.06)


def test_a_default_that_fails_does_not_lead_to_crowded_cpus() -> None:
    history = searched(
        6, SPACE, lambda c: None if c == SPACE.default else cost(c.values, 0.5), seed=0
    )
    grid = grid_of(SPACE)
    assert history[0].failure is not None
    assert not any(grid.crowding[0, grid.index[trial.config]] for trial in history[:5])
