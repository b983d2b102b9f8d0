"""From what is wanted to an exact request: never more than a node has, never less than wanted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.catalogue import (
    CORE_HOUR,
    GPU_HOUR,
    NODE_HOUR,
    Access,
    Account,
    Bounds,
    Catalogue,
    Choice,
    Gpu,
    NodeType,
    Offer,
    Partition,
    Qos,
    Rate,
    Wanted,
)
from hpcagent.records import Failure
from hpcagent.schedulers.catalogue_fit import fit
from hpcagent.schedulers.catalogue_words import hours, more_memory, size

GIB = 2**30
HOUR = 3600
NODE = NodeType(
    ("n1", "n2", "n3", "n4"), 4, schedulable_cpus=64, physical_cores=64, memory_bytes=257 * GIB
)
THREADS = replace(NODE, schedulable_cpus=128, cpu_unit=2, cpus_per_core=2)
GPUS = replace(THREADS, gpus=(Gpu("a100", 4, "gpu:a100"),), features=("nvlink",))


def one(node: NodeType = NODE, name: str = "batch", **changes: object) -> Partition:
    return replace(Partition(name, (node,)), **changes)


def of(*partitions: Partition, **changes: object) -> Catalogue:
    return replace(Catalogue("slurm", partitions, memory_unit_bytes=2**20), **changes)


def offer(wanted: Wanted, *partitions: Partition, **changes: object) -> Offer:
    found = fit(wanted, of(*partitions, **changes))
    assert isinstance(found, Choice), found
    return found.offer


def why(wanted: Wanted, *partitions: Partition, **changes: object) -> str:
    found = fit(wanted, of(*partitions, **changes))
    assert isinstance(found, Failure), found
    assert found.id == "scheduler.nothing_fits"
    return found.evidence


def test_cores_become_the_cpus_that_the_partition_counts() -> None:
    assert offer(Wanted(3, HOUR), one()).resources.cpus_per_task == 3
    assert offer(Wanted(3, HOUR), one(THREADS)).resources.cpus_per_task == 6
    by_socket = replace(NODE, cpu_unit=32)
    assert offer(Wanted(3, HOUR), one(by_socket)).resources.cpus_per_task == 32


def test_whole_nodes_are_asked_for_whole() -> None:
    asked = offer(Wanted(3, HOUR), one(THREADS, whole_nodes=True)).resources
    assert (asked.cpus_per_task, asked.exclusive, asked.nodes) == (128, True, 1)
    assert offer(Wanted(3, HOUR, exclusive=True), one()).resources.cpus_per_task == 64


def test_a_job_is_spread_over_as_few_nodes_as_hold_it() -> None:
    asked = offer(Wanted(100, HOUR, max_nodes=4), one()).resources
    assert (asked.nodes, asked.cpus_per_task) == (2, 50)
    asked = offer(Wanted(4, HOUR, memory_bytes=600 * GIB, max_nodes=4), one()).resources
    assert (asked.nodes, asked.cpus_per_task, asked.memory_bytes) == (3, 2, 200 * GIB)


def test_gpus_and_features_in_each_system_s_words() -> None:
    wanted = Wanted(8, HOUR, gpus=2, gpu_kind="a100", features=("nvlink",))
    asked = offer(wanted, one(GPUS)).resources
    assert (asked.gres, asked.constraint, asked.extra) == ("gpu:a100:2", "nvlink", ())
    chunk = replace(GPUS, gpus=(Gpu("a100", 4, "ngpus"),), features=("cpu=rome",))
    wanted = replace(wanted, features=("cpu=rome",))
    asked = offer(wanted, one(chunk), chunked=True).resources
    assert (asked.gres, asked.constraint, asked.extra) == (None, None, (":cpu=rome", ":ngpus=2"))


def test_memory_by_the_cpu_brings_cpus() -> None:
    partition = one(THREADS, bounds=Bounds(max_memory_per_cpu_bytes=GIB))
    asked = offer(Wanted(1, HOUR, memory_bytes=9 * GIB), partition).resources
    assert (asked.cpus_per_task, asked.memory_bytes) == (10, 9 * GIB)
    assert "memory 200G > 128G schedulable" in why(
        Wanted(1, HOUR, memory_bytes=200 * GIB), partition
    )


def test_a_default_that_no_node_has_is_replaced() -> None:
    partition = one(bounds=Bounds(default_memory_per_cpu_bytes=5 * GIB))
    assert offer(Wanted(64, HOUR), partition).resources.memory_bytes == 257 * GIB
    assert offer(Wanted(50, HOUR), partition).resources.memory_bytes is None


@pytest.mark.parametrize(
    ("wanted", "partition", "words"),
    [
        (Wanted(1, 2 * HOUR), one(bounds=Bounds(max_walltime_s=HOUR)), "MaxTime 1 h < 2 h asked"),
        (Wanted(1, HOUR, memory_bytes=512 * GIB), one(), "memory 512G > 257G schedulable"),
        (Wanted(65, HOUR), one(), "65 cores > 64 schedulable on a node"),
        (Wanted(129, HOUR, max_nodes=2), one(),
         "129 cores > 64 schedulable on a node: needs 3 nodes"),
        (Wanted(1, HOUR, gpus=1), one(), "no GPUs"),
        (Wanted(1, HOUR, gpus=5), one(GPUS), "5 GPUs > 4 on a node"),
        (Wanted(1, HOUR, gpus=1, gpu_kind="v100"), one(GPUS), "no GPUs v100: a100"),
        (Wanted(1, HOUR, features=("avx",)), one(), "no feature avx"),
        (Wanted(1, HOUR, features=("flat",)), one(replace(NODE, inactive_features=("flat",))),
         "feature flat is available, but not active"),
        (Wanted(1, HOUR), one(replace(NODE, up=0)), "4 nodes of this kind, none up"),
        (Wanted(256, HOUR, max_nodes=9), one(replace(NODE, up=2)),
         "needs 4 nodes, 2 of 4 are up"),
        (Wanted(256, HOUR, max_nodes=9), one(bounds=Bounds(max_nodes=3)),
         "needs 4 nodes, MaxNodes is 3"),
        (Wanted(1, HOUR), one(bounds=Bounds(min_nodes=2)), "MinNodes 2 > 1 node allowed"),
        (Wanted(8, HOUR), one(bounds=Bounds(max_cpus=4)), "8 CPUs > 4 a job"),
        (Wanted(8, HOUR), one(bounds=Bounds(max_cpus_per_node=4)), "8 cores > 4 schedulable"),
        (Wanted(1, HOUR, memory_bytes=9 * GIB), one(bounds=Bounds(max_memory_bytes=8 * GIB)),
         "memory 9G > 8G a job"),
        (Wanted(1, HOUR, gpus=2), one(GPUS, bounds=Bounds(max_gpus=1)), "2 GPUs > 1 a job"),
        (Wanted(1, HOUR), one(available=False, why_not="it sleeps"), "it sleeps"),
        (Wanted(1, HOUR, partitions=("x",)), one(), "not among the partitions asked for"),
        (Wanted(1, HOUR), Partition("batch", ()), "it shows no nodes"),
    ],
)  # fmt: skip
def test_reasons(wanted: Wanted, partition: Partition, words: str) -> None:
    assert why(wanted, partition).startswith(f"batch: {words}")


def test_accounts_and_qos_are_chosen_or_told() -> None:
    accounts = (
        Account("proj", default=True, qos=("normal", "long")), Account("other", qos=("normal",)),
    )  # fmt: skip
    qos = (Qos("normal", Bounds(max_walltime_s=HOUR, max_cpus=8)), Qos("long"))
    known = {"accounts": accounts, "qos": qos}
    asked = offer(Wanted(1, HOUR), one(), **known).resources
    assert (asked.account, asked.qos) == (None, None)
    for wanted in (Wanted(1, 2 * HOUR), Wanted(9, HOUR)):
        asked = offer(wanted, one(), **known).resources
        assert (asked.account, asked.qos) == (None, "long")
    only_other = one(access=Access(denied_accounts=("proj",)))
    assert offer(Wanted(1, HOUR), only_other, **known).resources.account == "other"
    assert "QOS normal: MaxWall 1 h < 2 h asked" in why(Wanted(1, 2 * HOUR), only_other, **known)
    assert "8 a job" in why(Wanted(9, HOUR), only_other, **known)
    theirs = one(access=Access(accounts=("theirs",)))
    assert "its accounts are theirs; yours: proj, other" in why(Wanted(1, HOUR), theirs, **known)
    assert "QOS normal: it takes best" in why(
        Wanted(1, HOUR, account="other"), one(access=Access(qos=("best",))), **known
    )
    assert "no account nobody" in why(Wanted(1, HOUR, account="nobody"), one(), **known)


def test_the_cheapest_comes_first() -> None:
    rates = {"gpu": Rate(2, GPU_HOUR), "node": Rate(1, NODE_HOUR), "*": Rate(0.5, CORE_HOUR)}
    known = of(
        one(GPUS, "gpu"), one(NODE, "node", whole_nodes=True), one(THREADS, "core")
    ).priced(rates)  # fmt: skip
    found = fit(Wanted(1, 2 * HOUR), known)
    assert isinstance(found, Choice)
    told = [(one.partition, one.cost) for one in (found.offer, *found.others)]
    # a rate by the GPU says nothing of a job without one
    assert told == [("core", 1.0), ("node", 2.0), ("gpu", None)]
    found = fit(Wanted(16, 2 * HOUR, gpus=2), known)
    assert isinstance(found, Choice)
    assert (found.offer.partition, found.offer.cost) == ("gpu", 8.0)
    assert [one.partition for one in found.rejected] == ["node", "core"]


def test_a_whole_node_pays_for_all_of_it() -> None:
    gpu = one(GPUS, whole_nodes=True, rate=Rate(2, GPU_HOUR))
    assert offer(Wanted(1, HOUR, gpus=1), gpu).cost == 8.0
    core = one(THREADS, whole_nodes=True, rate=Rate(2, CORE_HOUR))
    assert offer(Wanted(1, HOUR), core).cost == 128.0


def test_without_rates_idle_gpus_and_large_reservations_come_last() -> None:
    found = fit(Wanted(1, HOUR), of(one(GPUS, "gpu"), one(NODE, "whole", whole_nodes=True), one()))
    assert isinstance(found, Choice)
    assert [o.partition for o in (found.offer, *found.others)] == ["batch", "whole", "gpu"]


@pytest.mark.parametrize(
    "wanted",
    [Wanted(0, 60), Wanted(1, 0), Wanted(1, 60, memory_bytes=-1), Wanted(1, 60, max_nodes=0)],
)
def test_a_job_that_cannot_be(wanted: Wanted) -> None:
    found = fit(wanted, of(one()))
    assert isinstance(found, Failure)
    assert found.id == "scheduler.no_such_size"


def test_words_of_sizes() -> None:
    told = [hours(s) for s in (45, 60, 5400, 7200, 86400, 172800, 90061)]
    assert told == ["45 s", "1 min", "90 min", "2 h", "24 h", "2 d", "1-01:01:01"]
    assert [size(n) for n in (0, 2000 * 2**20, 257 * GIB, 252904 * 2**20, 2**45)] == [
        "0B", "2000M", "257G", "246.9G", "32T",
    ]  # fmt: skip
    assert more_memory(257 * GIB + 1, 257 * GIB) == "memory 275951648769B > 275951648768B"


# --- any catalogue -------------------------------------------------------------------------------

sizes = st.none() | st.integers(1, 40)


@st.composite
def node_types(draw: st.DrawFn) -> NodeType:
    per_core = draw(st.sampled_from([1, 2, 4]))
    cores, count = draw(st.integers(1, 16)), draw(st.integers(1, 5))
    unit = draw(st.sampled_from([1, per_core, per_core * 2]))
    return NodeType(
        tuple(f"n{i}" for i in range(count)),
        draw(st.integers(0, count)),
        schedulable_cpus=cores * per_core,
        cpu_unit=max(unit, per_core),
        cpus_per_core=per_core,
        physical_cores=cores,
        memory_bytes=draw(st.none() | st.integers(1, 5000)),
        gpus=draw(st.sampled_from([(), (Gpu("a", 2, "gpu:a"),),
                                   (Gpu("a", 1, "gpu:a"), Gpu("b", 3, "gpu:b"))])),
        features=draw(st.sampled_from([(), ("x",), ("x", "y")])),
    )  # fmt: skip


bounds = st.builds(
    Bounds, max_walltime_s=st.none() | st.integers(1, 9000), min_nodes=st.integers(1, 2),
    max_nodes=sizes, max_cpus_per_node=sizes,
    max_memory_per_node_bytes=st.none() | st.integers(1, 5000),
    max_memory_per_cpu_bytes=st.none() | st.integers(1, 500),
    default_memory_per_cpu_bytes=st.none() | st.integers(1, 500),
)  # fmt: skip
of_jobs = st.builds(
    lambda b, cpus, gpus, memory: replace(b, max_cpus=cpus, max_gpus=gpus, max_memory_bytes=memory),
    bounds, sizes, sizes, st.none() | st.integers(1, 9000),
)  # fmt: skip


def catalogues(limits: st.SearchStrategy[Bounds]) -> st.SearchStrategy[Catalogue]:
    parts = st.builds(
        Partition, st.sampled_from("abcdef"), st.lists(node_types(), max_size=3).map(tuple),
        bounds=limits, default=st.booleans(), available=st.booleans(), whole_nodes=st.booleans(),
        rate=st.none() | st.builds(
            Rate, st.floats(0, 9), st.sampled_from([NODE_HOUR, CORE_HOUR, GPU_HOUR])
        ),
    )  # fmt: skip
    several = st.lists(parts, max_size=4, unique_by=lambda part: part.name).map(tuple)
    return st.builds(
        Catalogue, st.just("slurm"), several, memory_unit_bytes=st.sampled_from([1, 16, 64])
    )


wants = st.builds(
    Wanted, st.integers(1, 60), st.integers(1, 9000), st.integers(0, 9000), st.integers(0, 4),
    st.sampled_from(["", "a", "b"]), st.sampled_from([(), ("x",), ("x", "y")]), st.integers(1, 5),
    exclusive=st.booleans(),
)  # fmt: skip


@given(wants, catalogues(of_jobs))
def test_an_offer_is_at_least_what_is_wanted_and_no_more_than_there_is(
    wanted: Wanted, catalogue: Catalogue
) -> None:
    found = fit(wanted, catalogue)
    names = [part.name for part in catalogue.partitions]
    if isinstance(found, Failure):
        assert len(found.evidence.splitlines()) == max(1, len(names))
        return
    offers = [found.offer, *found.others]
    assert {o.partition for o in offers} | {r.partition for r in found.rejected} == set(names)
    assert not {o.partition for o in offers} & {r.partition for r in found.rejected}
    costs = [o.cost for o in offers if o.cost is not None]
    assert costs == sorted(costs)
    assert [o.cost is None for o in offers] == sorted(o.cost is None for o in offers)
    for one in offers:
        check(wanted, one, catalogue)


def check(wanted: Wanted, one: Offer, catalogue: Catalogue) -> None:
    (partition,) = [part for part in catalogue.partitions if part.name == one.partition]
    asked, node, limits = one.resources, one.node_type, partition.bounds
    nodes, cpus, memory = asked.nodes, asked.cpus_per_task, asked.memory_bytes or 0
    assert partition.available and node in partition.node_types
    assert limits.min_nodes <= nodes <= min(wanted.max_nodes, node.up, limits.max_nodes or nodes)
    assert asked.walltime_s == wanted.walltime_s <= (limits.max_walltime_s or 10**9)
    assert cpus % node.cpu_unit == 0
    assert cpus <= min(node.schedulable_cpus, limits.max_cpus_per_node or cpus)
    assert nodes * (cpus // node.cpus_per_core) >= wanted.cores
    assert asked.exclusive == (partition.whole_nodes or wanted.exclusive)
    assert nodes * memory >= wanted.memory_bytes
    assert memory % catalogue.memory_unit_bytes == 0
    assert memory <= min(node.memory_bytes or memory, limits.max_memory_per_node_bytes or memory)
    if limits.max_memory_per_cpu_bytes is not None:
        assert memory <= cpus * limits.max_memory_per_cpu_bytes
    assert nodes * cpus <= (limits.max_cpus or 10**9)
    assert nodes * one.gpus_per_node <= (limits.max_gpus or 10**9)
    assert nodes * one.gpus_per_node >= wanted.gpus
    if wanted.gpus:
        kind, count = (asked.gres or "").removeprefix("gpu:").split(":")
        assert wanted.gpu_kind in ("", kind)
        assert int(count) == one.gpus_per_node <= {g.kind: g.count for g in node.gpus}[kind]
    assert set(wanted.features) <= set(node.features)


@given(wants, catalogues(bounds))
def test_what_would_fit_is_found(wanted: Wanted, catalogue: Catalogue) -> None:
    """Every count of nodes, tried by hand, where the whole job has no bounds of its own."""
    found = fit(wanted, catalogue)
    offered = [found.offer, *found.others] if isinstance(found, Choice) else []
    unit = catalogue.memory_unit_bytes
    for part in catalogue.partitions:
        limits = part.bounds
        open_now = part.available and wanted.walltime_s <= (limits.max_walltime_s or 10**9)
        possible = any(
            open_now and holds(wanted, part, node, n, unit)
            for node in part.node_types
            for n in range(limits.min_nodes, min(wanted.max_nodes, node.up) + 1)
            if n <= (limits.max_nodes or n)
        )
        assert possible == any(one.partition == part.name for one in offered)


def holds(wanted: Wanted, part: Partition, node: NodeType, n: int, unit: int) -> bool:
    limits = part.bounds
    most = min(node.schedulable_cpus, limits.max_cpus_per_node or 10**9)
    most -= most % node.cpu_unit
    share = -(-wanted.memory_bytes // (n * unit)) * unit
    per_cpu = limits.max_memory_per_cpu_bytes
    gpus = max((g.count for g in node.gpus if wanted.gpu_kind in ("", g.kind)), default=0)
    return (
        n * (most // node.cpus_per_core) >= wanted.cores
        and share <= min(node.memory_bytes or 10**9, limits.max_memory_per_node_bytes or 10**9)
        and (per_cpu is None or share <= most * per_cpu)
        and n * gpus >= wanted.gpus
        and set(wanted.features) <= set(node.features)
    )
