"""What a comparison was asked to do: its sides, its blocks and the unit of each block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hpcagent.errors import RunFailed
from hpcagent.measure.worker import cycle_order
from hpcagent.records import Resources
from hpcagent.study.state import TuneState, Unit, unusable_opening
from hpcagent.study.units import Plan

# A block is one allocation. What differs between allocations (nodes, placement, the hour) is seen
# in their spread only, and a spread needs at least three.
COMPARISONS = ("compare", "scale")  # kinds of runs
MIN_BLOCKS = 3
MIN_PAIRS = 3
_SEEDS_FROM = 2_000_003


@dataclass(frozen=True)
class Side:
    """One node type with its own best settings, as its tune run left them.

    `spec` is the worker's request of every block but for its seed: the default is its reference,
    and the best configuration, where there is one that is better, its only other. `expected_s` is
    what a block should last. `cpu` and `library` are words for a reader; `best` is the gain that
    the tune run confirmed, in words.
    """

    label: str
    run_id: str
    path: str
    resources: Resources
    spec: Mapping[str, Any]
    expected_s: float
    python: str
    prologue: tuple[str, ...]
    cpu: str
    library: str
    best: str

    @property
    def default_id(self) -> str:
        return str(self.spec["reference"])

    @property
    def best_id(self) -> str:
        """The default's own where nothing was better."""
        return str(self.spec["configs"][-1]["id"])

    @property
    def cpus(self) -> int:
        """CPUs that an allocation holds."""
        asked = self.resources
        return asked.nodes * asked.tasks_per_node * asked.cpus_per_task

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Side:
        values = dict(row)
        values["resources"] = Resources.from_json(values["resources"])
        values["prologue"] = tuple(values["prologue"])
        return cls(**values)


@dataclass(frozen=True)
class Comparison:
    """Every side once in each of `blocks` blocks, `pairs` runs of each configuration in a block.

    `what` names what the labels of the sides are ("partition"); `workload` is the file that all
    sides measure, to the byte (empty: an `application`, which has none). Intervals cover with
    1 - `alpha`; no difference below `minimum_effect` is claimed. `scaling` is strong or weak where
    the sides are numbers of nodes, of which those with a parallel efficiency of `threshold` are
    told (empty: they are anything else).
    """

    what: str
    sides: tuple[Side, ...]
    blocks: int
    pairs: int
    workload: str
    workload_source: str
    alpha: float
    minimum_effect: float
    application: bool = False
    scaling: str = ""
    threshold: float = 0.0

    @classmethod
    def of(cls, state: TuneState) -> Comparison:
        """What the run of this state was opened with; RunFailed where that is no comparison."""
        if state.compare is None:
            raise RunFailed("the journal is not that of a comparison")
        try:
            sides = tuple(Side.from_json(row) for row in state.compare["sides"])
            return cls(**{**state.compare, "sides": sides})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unusable_opening(error) from None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def core_hours(self) -> float:
        """What all blocks reserve."""
        return self.blocks * sum(side.resources.core_hours for side in self.sides)

    def order(self, seed: int) -> tuple[tuple[int, int], ...]:
        """(block, index of the side) in the order of measuring; blocks count from 1.

        Every other block has the reversed order of the one before, which cancels a linear drift.
        """
        names = [f"{index:04d}" for index in range(len(self.sides))]
        return tuple(
            (block, int(name))
            for block in range(1, self.blocks + 1)
            for name in cycle_order(names, seed, block)
        )

    def purpose(self, block: int, index: int) -> str:
        return f"block-{block}-{self.sides[index].label}"

    def side_of(self, unit: Unit) -> Side:
        return self.sides[int(unit.spec["side"])]

    def measured(self, state: TuneState, index: int) -> tuple[Unit, ...]:
        """The side's successful units, in the order of the blocks."""
        found = (state.done(self.purpose(block, index)) for block in range(1, self.blocks + 1))
        return tuple(unit for unit in found if unit is not None)


def block_plan(comparison: Comparison, state: TuneState, block: int, index: int) -> Plan:
    """One side's unit of a block; all sides of a block get the same inputs.

    Where the request names nodes by nothing but the partition, one that this side has not been on
    is preferred: a node type is more than one node. Many nodes at once leave no others.
    """
    side = comparison.sides[index]
    seed = (state.settings.seed * 7919 + _SEEDS_FROM + block) % 2**31
    spec = {**side.spec, "side": index, "block": block, "seed": seed}
    asked = side.resources
    fixed = comparison.scaling or asked.constraint
    if not (fixed or asked.reservation or asked.gres or asked.extra):
        been = {unit.node for unit in comparison.measured(state, index) if unit.node}
        asked = replace(asked, avoid_nodes=tuple(sorted(been)))
    return Plan("round", comparison.purpose(block, index), asked, spec, side.expected_s)
