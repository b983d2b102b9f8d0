"""The nouns of hpcagent: frozen dataclasses, standard library only, units in the names."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# --- the machine ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cache:
    """One cache as seen from one core: `size_bytes` is the size of a single instance."""

    level: int
    kind: str  # "data", "instruction" or "unified"
    size_bytes: int
    instances: int


@dataclass(frozen=True)
class Cpu:
    """One logical CPU and where it sits; `core` is unique within its socket."""

    id: int
    core: int
    socket: int
    numa_node: int


@dataclass(frozen=True)
class Compiler:
    language: str  # "c", "c++" or "fortran"
    command: str
    path: str
    version: str


@dataclass(frozen=True)
class Machine:
    """What was found on the host where the measurements run.

    `cpus_allowed` is the affinity mask; `cpu_quota_cores` the cgroup quota (None: no quota);
    `missing` maps a fact that could not be had to the reason.
    """

    host: str
    architecture: str
    cpu_model: str
    microarchitecture: str
    features: tuple[str, ...]
    cpus: tuple[Cpu, ...]
    cpus_allowed: tuple[int, ...]
    cpu_quota_cores: float | None
    threads_per_core: int
    sockets: int
    max_mhz: float | None
    caches: tuple[Cache, ...]
    memory_bytes: int | None
    memory_limit_bytes: int | None
    huge_pages: str | None  # the selected word of transparent_hugepage/enabled
    kernel: str
    glibc: str | None
    compilers: tuple[Compiler, ...]
    schedulers: tuple[str, ...]
    tools: Mapping[str, str]  # name -> absolute path
    missing: Mapping[str, str]

    @property
    def usable_cores(self) -> int:
        """Whole CPUs this process may keep busy: affinity mask, capped by the cgroup quota."""
        allowed = len(self.cpus_allowed)
        if self.cpu_quota_cores is None:
            return max(1, allowed)
        return max(1, min(allowed, int(self.cpu_quota_cores)))

    @property
    def numa_nodes(self) -> int:
        """NUMA nodes that hold at least one allowed CPU."""
        allowed = set(self.cpus_allowed)
        return max(1, len({cpu.numa_node for cpu in self.cpus if cpu.id in allowed}))

    @property
    def memory_available_bytes(self) -> int | None:
        """Memory a job may use: the smaller of physical memory and the cgroup limit."""
        known = [b for b in (self.memory_bytes, self.memory_limit_bytes) if b is not None]
        return min(known) if known else None


@dataclass(frozen=True)
class Library:
    """A shared OpenBLAS as it described itself when it was loaded.

    `threading` is "serial", "pthreads" or "openmp"; `interface` "lp64" or "ilp64". Symbols are
    spelt `symbol_prefix + name + "_" + symbol_suffix` (for instance `scipy_dgemm_`, `dgemm_64_`).
    """

    path: str
    source: str  # "prefix", "module", "system" or "embedded"
    version: str
    config: str
    dynamic_arch: bool
    threading: str
    max_threads: int | None
    default_threads: int
    interface: str
    symbol_prefix: str
    symbol_suffix: str
    core: str
    routines: tuple[str, ...]

    @property
    def threaded(self) -> bool:
        return self.threading != "serial"


# --- the space -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Param:
    """A dimension: values are strings; those of an ordinal are in ascending order.

    `default` is what the library does when the parameter is left alone; it is one of `values`.
    `limit` "upper": where a value runs out of memory or time, larger ones do so as well.
    """

    name: str
    kind: str  # "ordinal" or "categorical"
    values: tuple[str, ...]
    default: str
    meaning: str = ""
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """One point of a space: (name, value) pairs sorted by name."""

    items: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Config:
        return cls(tuple(sorted(values.items())))

    @property
    def values(self) -> dict[str, str]:
        return dict(self.items)

    @property
    def id(self) -> str:
        """First 16 hex digits of the SHA-256 of the JSON with sorted keys and no floats."""
        text = json.dumps(self.values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.items)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration to measure, why, and which strategy or model asked for it."""

    config: Config
    reason: str
    proposed_by: str


@dataclass(frozen=True)
class Stop:
    """A strategy has nothing more to propose, and says why."""

    reason: str


# --- results -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """A failure as data: `stage` and `kind` name it, `evidence` quotes what was seen."""

    stage: str
    kind: str
    evidence: str

    @property
    def id(self) -> str:
        return f"{self.stage}.{self.kind}"


@dataclass(frozen=True)
class Trial:
    """What is known of one configuration after all rounds so far.

    `log_ratio` is the natural log of its time over the default's (negative: faster), `spread` the
    standard error of that estimate; both are None where it failed or was not measured. Where a run
    is for something else, that stands in the place of the time. One that is not `eligible` breaks
    a constraint: its number is true, but it cannot win.
    """

    config: Config
    log_ratio: float | None
    spread: float | None
    failure: Failure | None
    round: int
    proposed_by: str
    eligible: bool = True


# --- jobs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resources:
    """What one job asks for. None leaves the site's default.

    `memory_bytes` is a node's, and excludes `memory_per_cpu_bytes`. `extra` holds further options
    in the scheduler's own words, `avoid_nodes` hosts that another node is preferred to, `after` ids
    of jobs that must have ended first, however they ended (with `after_any` one of them, where the
    scheduler can wait for that, else all). The batch script gets SIGUSR1 `warn_s` seconds before
    the end (0: no warning).
    """

    walltime_s: int
    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int = 1
    memory_bytes: int | None = None
    memory_per_cpu_bytes: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    gres: str | None = None
    licenses: str | None = None
    hint: str | None = None
    exclusive: bool = True
    extra: tuple[str, ...] = ()
    avoid_nodes: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    after_any: bool = False
    warn_s: int = 0

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Resources:
        """From what `dataclasses.asdict` and JSON make of it; TypeError for an unknown key."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
        return cls(**values)

    @property
    def core_hours(self) -> float:
        """Core-hours reserved: nodes x tasks x CPUs x wall time."""
        return self.nodes * self.tasks_per_node * self.cpus_per_task * self.walltime_s / 3600.0


class JobState(enum.Enum):
    PREPARED = "PREPARED"
    SUBMITTING = "SUBMITTING"
    QUEUED = "QUEUED"
    HELD = "HELD"
    SUSPENDED = "SUSPENDED"
    RUNNING = "RUNNING"
    COMPLETING = "COMPLETING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NODE_FAIL = "NODE_FAIL"
    BOOT_FAIL = "BOOT_FAIL"
    DEADLINE = "DEADLINE"
    PREEMPTED = "PREEMPTED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"
    UNKNOWN = "UNKNOWN"

    @property
    def terminal(self) -> bool:
        return self in _TERMINAL


_TERMINAL = frozenset(
    {
        JobState.COMPLETED,
        JobState.FAILED,
        JobState.TIMEOUT,
        JobState.OUT_OF_MEMORY,
        JobState.NODE_FAIL,
        JobState.BOOT_FAIL,
        JobState.DEADLINE,
        JobState.PREEMPTED,
        JobState.CANCELLED,
        JobState.LOST,
    }
)


@dataclass(frozen=True)
class JobStatus:
    """A job as one query saw it; `word` and `reason` are the scheduler's own.

    `hopeless` marks a job that waits for what can never be. `node` is where it runs or ran.
    `missing` names a witness that could not be asked, and why;
    where nothing else knows the job, its state is UNKNOWN, which is not the same as gone.
    `name` is the job's own (empty: not told): a scheduler that lost its state gives ids out again.
    """

    id: str
    state: JobState
    word: str
    exit_code: int | None = None
    reason: str = ""
    hopeless: bool = False
    node: str = ""
    missing: str = ""
    name: str = ""

    def is_of(self, *names: str) -> bool:
        """Whether this can be a job of one of these names: it is not told to be another's."""
        return self.name in ("", *names)


@dataclass(frozen=True)
class Pace:
    """How a guest behaves towards a scheduler.

    `poll_s` are the least seconds between two queries for the same jobs, `settle_s` how long a job
    whose submission got no answer may take to become visible.
    """

    poll_s: float = 0.0
    settle_s: float = 0.0


@dataclass(frozen=True)
class OwnJob:
    """The job that this process runs in, what a successor would ask for, and the seconds left."""

    id: str
    asks: Resources
    left_s: float | None = None


@dataclass(frozen=True)
class Submitted:
    job_id: str


@dataclass(frozen=True)
class Refused:
    """The scheduler said no, in its own words; nothing was queued.

    `full`: only because as many jobs of this user as may be are queued already.
    """

    words: str
    full: bool = False


@dataclass(frozen=True)
class Ambiguous:
    """It is not known whether a job was created: look it up by name."""

    words: str


@dataclass(frozen=True)
class Queue:
    """A partition or queue a job can be sent to; sizes are the smallest node's.

    `available` tells whether it takes jobs now, `why_not` the scheduler's words where it does not.
    """

    name: str
    nodes: int
    cpus_per_node: int
    max_walltime_s: int | None = None
    memory_bytes: int | None = None
    default: bool = False
    available: bool = True
    why_not: str = ""


# --- the language model --------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """Bounds on one answer of a model; `thinking_tokens` may come before it, free of any schema."""

    max_tokens: int
    timeout_s: float
    thinking_tokens: int = 0


@dataclass(frozen=True)
class Reply:
    """One answer of a model: the text, what it cost, or why there is none (`failure`).

    `tokens_cached` of `tokens_in` were in the model's cache from an earlier call; `first_token_s`
    is the time from the question to the first token that the model decided. `thinking` is what it
    wrote before its answer. A failure may come with a text: what there was of it.
    """

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    failure: Failure | None = None
    tokens_cached: int = 0
    first_token_s: float = 0.0
    thinking: str = ""


@dataclass(frozen=True)
class Ranking:
    """What a model thinks of each entry of a menu: ln of its probability, in the menu's order.

    The probabilities of a menu add up to one. Costs as of a Reply; with a `failure`, none.
    `reason` is what was written before the choice, where that was asked for.
    """

    log_probabilities: tuple[float, ...]
    tokens_in: int = 0
    seconds: float = 0.0
    failure: Failure | None = None
    tokens_cached: int = 0
    tokens_out: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Outlook:
    """What a model expects of points, in their order.

    `gains` are expected improvements over the fastest so far, in ln(time), where a failure gains
    nothing; `means` and standard deviations (`spreads`) of ln(time) over the fastest so far where
    it works, `chances` of it to work. With a `failure`, none.
    """

    gains: tuple[float, ...]
    means: tuple[float, ...] = ()
    chances: tuple[float, ...] = ()
    spreads: tuple[float, ...] = ()
    tokens: int = 0
    seconds: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True)
class Message:
    role: str  # "system" or "user" or "assistant"
    text: str


# --- a journal record ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """One line of a journal. `data` holds plain JSON values."""

    seq: int
    t_utc: str
    type: str
    data: Mapping[str, Any] = field(default_factory=dict)
    v: int = 1
