"""The nouns of a node's facts: what is known of it, from where, how surely, and what is not.

Sizes are bytes, clocks MHz, rates bytes/s or FLOP/s, bandwidths of links Gbit/s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# How a fact came to be known, from the best to the weakest.
MEASURED = "measured"  # timed or tried here
STATED = "stated"  # the system or a tool says so
DERIVED = "derived"  # computed from what is stated
ASSUMED = "assumed"  # a guess that was not contradicted
CONFIDENCES = (MEASURED, STATED, DERIVED, ASSUMED)

# In the order in which a page shows them.
SECTIONS = (
    *("Processor", "Topology", "Memory", "Performance", "Limits", "System", "Access"),
    *("GPUs", "Fabric", "File systems", "Launchers"),
)


@dataclass(frozen=True)
class Gpu:
    """`memory_bytes` None: not told. `bus` is the PCI address ("0000:17:00.0"), `numa_node` -1
    where it is near to none."""

    index: int
    vendor: str  # nvidia, amd, intel or a PCI vendor's number
    model: str
    memory_bytes: int | None = None
    bus: str = ""
    driver: str = ""
    capability: str = ""  # compute capability ("9.0") or architecture ("gfx90a")
    mig: bool = False


@dataclass(frozen=True)
class FabricPort:
    """One port of a network adapter; `state` as the driver says it ("ACTIVE", "DOWN")."""

    device: str
    port: int
    kind: str  # InfiniBand, Ethernet (RoCE), Omni-Path, Slingshot
    state: str
    rate_gbit_s: float | None = None
    firmware: str = ""
    board: str = ""


@dataclass(frozen=True)
class FileSystem:
    """Where a role's folder lies; `shared` None where the type does not tell.

    `quota_bytes` None: no quota is known.
    """

    role: str
    path: str
    mount: str
    kind: str
    shared: bool | None
    size_bytes: int | None
    free_bytes: int | None
    read_only: bool = False
    quota_bytes: int | None = None
    quota_used_bytes: int | None = None


@dataclass(frozen=True)
class NumaNode:
    """A NUMA node: its CPUs (none: memory only, or a GPU's) and distances to all nodes by id."""

    id: int
    cpus: tuple[int, ...]
    memory_bytes: int | None
    distances: tuple[int, ...]


@dataclass(frozen=True)
class HugePagePool:
    """One hugetlbfs pool: pages of a size, how many are reserved and still free."""

    page_bytes: int
    pages: int
    free: int
    overcommit: int


@dataclass(frozen=True)
class CacheLevel:
    """Caches of one level and kind: how many of which size, and how many CPUs share one."""

    level: int
    kind: str  # data, instruction, unified
    instances: int
    size_bytes: int
    shared_by: int
    line_bytes: int | None = None


Scalar = str | int | float | bool
Noun = Gpu | FabricPort | FileSystem | NumaNode | HugePagePool | CacheLevel
Value = Scalar | tuple[str, ...] | tuple[Noun, ...]


@dataclass(frozen=True)
class Fact:
    """One thing known of a node.

    `name` is stable and unique ("numa_distances"); `unit` is empty, or what a number counts
    ("B", "MHz", "B/s", "FLOP/s", "GFLOP/s", "s"); `source` the command or file; `note` what a
    reader has to know to judge the value.
    """

    section: str
    name: str
    value: Value
    source: str
    confidence: str
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Absent:
    """A fact that could not be had, and why not."""

    section: str
    name: str
    why: str


@dataclass(frozen=True)
class NodeFacts:
    """All facts of one node, in the order of SECTIONS, and what is absent."""

    facts: tuple[Fact, ...]
    absent: tuple[Absent, ...]

    def get(self, name: str) -> Fact | None:
        return next((fact for fact in self.facts if fact.name == name), None)

    def value(self, name: str) -> Value | None:
        fact = self.get(name)
        return None if fact is None else fact.value

    def why_not(self, name: str) -> str | None:
        return next((item.why for item in self.absent if item.name == name), None)


def node_facts(found: Iterable[Fact | Absent]) -> NodeFacts:
    """In the order of SECTIONS; of a name that comes twice the first counts."""
    facts: dict[str, Fact] = {}
    absent: dict[str, Absent] = {}
    for item in found:
        if isinstance(item, Fact):
            facts.setdefault(item.name, item)
        else:
            absent.setdefault(item.name, item)
    known = sorted(facts.values(), key=lambda fact: SECTIONS.index(fact.section))
    missing = [item for name, item in absent.items() if name not in facts]
    missing.sort(key=lambda item: SECTIONS.index(item.section))
    return NodeFacts(tuple(known), tuple(missing))
