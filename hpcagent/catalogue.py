"""The nouns of the catalogue: what a batch system has to give, in the units it gives it in.

A CPU here is what the batch system counts: a core or a hardware thread, as the site configured it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hpcagent.records import Resources

NODE_HOUR, CORE_HOUR, GPU_HOUR = "node-hour", "core-hour", "gpu-hour"
EVERY_PARTITION = "*"


@dataclass(frozen=True)
class Gpu:
    """GPUs of one kind on a node. `resource` is the name they are asked for by."""

    kind: str  # empty: the batch system does not tell
    count: int
    resource: str


@dataclass(frozen=True)
class NodeType:
    """Nodes that are alike. Sizes are those of one node; None is what is not told.

    `schedulable_cpus` is the most a job is given of a node (without what is set aside for the
    system), in multiples of `cpu_unit`; `cpus_per_core` of them make a physical core (1: only whole
    cores are counted). `memory_bytes` is the most memory a job is given. `features` can be asked
    for now, `inactive_features` only after a reboot. `states` counts the nodes by the scheduler's
    own words, `up` those that take jobs now or after the jobs that they have.
    """

    nodes: tuple[str, ...]
    up: int
    schedulable_cpus: int
    cpu_unit: int = 1
    cpus_per_core: int = 1
    physical_cores: int | None = None
    threads_per_core: int | None = None
    sockets: int | None = None
    memory_bytes: int | None = None
    gpus: tuple[Gpu, ...] = ()
    generic: tuple[str, ...] = ()  # other generic resources, in the scheduler's words
    features: tuple[str, ...] = ()
    inactive_features: tuple[str, ...] = ()
    states: tuple[tuple[str, int], ...] = ()

    @property
    def schedulable_cores(self) -> int:
        """Physical cores a job can be given of a node, as far as the batch system tells."""
        return self.schedulable_cpus // self.cpus_per_core


@dataclass(frozen=True)
class Bounds:
    """What one job may ask for, and what it gets where it does not ask; None: no bound."""

    max_walltime_s: int | None = None
    default_walltime_s: int | None = None
    min_nodes: int = 1
    max_nodes: int | None = None
    max_cpus: int | None = None
    max_cpus_per_node: int | None = None
    max_gpus: int | None = None
    max_memory_bytes: int | None = None
    max_memory_per_node_bytes: int | None = None
    max_memory_per_cpu_bytes: int | None = None
    default_memory_per_node_bytes: int | None = None
    default_memory_per_cpu_bytes: int | None = None


@dataclass(frozen=True)
class Access:
    """Who may use a partition; an empty list of what is allowed allows everything."""

    accounts: tuple[str, ...] = ()
    denied_accounts: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    denied_qos: tuple[str, ...] = ()

    def takes_account(self, name: str) -> bool:
        return name not in self.denied_accounts and (not self.accounts or name in self.accounts)

    def takes_qos(self, name: str) -> bool:
        return name not in self.denied_qos and (not self.qos or name in self.qos)


@dataclass(frozen=True)
class Rate:
    """What the site charges, in its own currency, for an hour of a node, a core or a GPU."""

    amount: float
    per: str  # NODE_HOUR, CORE_HOUR or GPU_HOUR


@dataclass(frozen=True)
class Partition:
    """A partition or queue and the nodes behind it.

    `whole_nodes`: a job is always given whole nodes. `limits` and `weights` are in the scheduler's
    own words: limits that are not of one job, and how the scheduler itself weighs resources.
    `unseen` counts nodes that the scheduler has but does not show.
    """

    name: str
    node_types: tuple[NodeType, ...]
    bounds: Bounds = Bounds()
    access: Access = Access()
    default: bool = False
    available: bool = True
    why_not: str = ""
    whole_nodes: bool = False
    limits: tuple[str, ...] = ()
    weights: str = ""
    unseen: int = 0
    rate: Rate | None = None


@dataclass(frozen=True)
class Account:
    """An account this user may charge. `partition`: in this one only; `qos`: with these."""

    name: str
    default: bool = False
    partition: str = ""
    qos: tuple[str, ...] = ()
    default_qos: str = ""


@dataclass(frozen=True)
class Qos:
    name: str
    bounds: Bounds = Bounds()
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalogue:
    """What this user can be given, as the batch system told it.

    Memory is asked for in multiples of `memory_unit_bytes`. `chunked`: GPUs and features are asked
    for as resources of each chunk (PBS) and not with options of their own. `missing` maps what
    could not be had to the reason.
    """

    scheduler: str
    partitions: tuple[Partition, ...]
    accounts: tuple[Account, ...] = ()
    qos: tuple[Qos, ...] = ()
    memory_unit_bytes: int = 1
    chunked: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)

    def priced(self, rates: Mapping[str, Rate]) -> Catalogue:
        """With the site's rates by partition; EVERY_PARTITION stands for all that are not named."""
        other = rates.get(EVERY_PARTITION)
        found = tuple(replace(p, rate=rates.get(p.name, other)) for p in self.partitions)
        return replace(self, partitions=found)


@dataclass(frozen=True)
class Wanted:
    """What a job needs in all, on at most `max_nodes` nodes. `cores` are physical cores.

    `features` must all be there; `gpu_kind` empty: any; `partitions` empty: any.
    `exclusive`: on nodes of its own.
    """

    cores: int
    walltime_s: int
    memory_bytes: int = 0
    gpus: int = 0
    gpu_kind: str = ""
    features: tuple[str, ...] = ()
    max_nodes: int = 1
    exclusive: bool = False
    account: str = ""
    partitions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offer:
    """An exact request that fits. `cost` is in the site's currency; None: no rate applies."""

    partition: str
    node_type: NodeType
    resources: Resources
    gpus_per_node: int
    cost: float | None

    @property
    def cpus(self) -> int:
        asked = self.resources
        return asked.nodes * asked.tasks_per_node * asked.cpus_per_task


@dataclass(frozen=True)
class Rejection:
    """A partition that does not fit, and why."""

    partition: str
    why: str


@dataclass(frozen=True)
class Choice:
    """The cheapest offer, the others in order, and the partitions that do not fit."""

    offer: Offer
    others: tuple[Offer, ...]
    rejected: tuple[Rejection, ...]
