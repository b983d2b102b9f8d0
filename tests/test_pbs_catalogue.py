"""A PBS's catalogue: of the recorded OpenPBS, and of a larger site written from the manuals."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from lab.pbs_captures import captures

from hpcagent.catalogue import Catalogue, Choice, Gpu, Partition, Wanted
from hpcagent.records import Failure
from hpcagent.schedulers import pbs_catalogue, pbs_request
from hpcagent.schedulers.catalogue_fit import fit

WRITTEN = Path(__file__).parent / "fixtures" / "pbs" / "written.json"
KIB, GIB = 2**10, 2**30


def recorded(nodes: str = "pbsnodes-av", user: str = "tuner") -> Catalogue:
    known = captures()
    return pbs_catalogue.catalogue(
        known["qstat-Qf"].stdout, known[nodes].stdout, known["qstat-Bf"].stdout, user
    )


@cache
def written() -> Catalogue:
    text = json.loads(WRITTEN.read_text(encoding="utf-8"))
    return pbs_catalogue.catalogue(text["queues"], text["pbsnodes"], text["server"], "ada")


def by_name(found: Catalogue) -> dict[str, Partition]:
    return {partition.name: partition for partition in found.partitions}


def test_the_recorded_queues() -> None:
    known = by_name(recorded())
    assert list(known) == ["workq", "short", "closed", "stopped", "private"]
    (node,) = known["workq"].node_types
    assert (node.nodes, node.up, node.schedulable_cpus) == (("pbs01",), 1, 32)
    assert node.memory_bytes == 24684096 * KIB
    assert (node.physical_cores, node.threads_per_core) == (None, None)
    short = known["short"]
    assert (short.bounds.max_walltime_s, short.bounds.max_cpus) == (600, 4)
    assert short.limits == ("max_queued=[u:PBS_GENERIC=3]",)
    assert known["workq"].default and known["workq"].available
    assert [name for name, part in known.items() if part.available] == ["workq", "short"]
    assert by_name(recorded(user="nobody"))["private"].available


def test_what_pbs_does_not_know_is_said() -> None:
    found = recorded()
    assert found.accounts == ()
    assert "no list of accounts" in found.missing["accounts"]
    assert "core or a hardware thread" in found.missing["cores"]


def test_a_host_that_is_down() -> None:
    (part, *_) = recorded("momdown-pbsnodes").partitions
    assert (part.node_types[0].up, part.node_types[0].states) == (0, (("down", 1),))
    assert (part.available, part.why_not) == (False, "every node of it is down")


def test_the_vnodes_of_a_host_are_one_node() -> None:
    gpuq = by_name(written())["gpuq"]
    (node,) = gpuq.node_types
    assert (node.nodes, node.schedulable_cpus, node.memory_bytes) == (
        ("gpu01",), 128, 2 * 263192576 * KIB,
    )  # fmt: skip
    assert node.gpus == (Gpu("A100", 4, "ngpus"),)
    assert node.features == ("cpu_type=rome",)
    assert node.up == 1


def test_bounds_and_limits_of_a_queue() -> None:
    gpuq = by_name(written())["gpuq"]
    bounds = gpuq.bounds
    assert (bounds.max_walltime_s, bounds.default_walltime_s) == (86400, 3600)
    assert (bounds.max_cpus, bounds.max_gpus, bounds.max_nodes) == (256, 8, 2)
    assert gpuq.limits == ("resources_min.ncpus=2", "max_run=[u:PBS_GENERIC=10]")
    assert by_name(written())["bigq"].bounds.max_memory_bytes == 4 * 2**40


def test_nodes_of_one_queue_that_are_given_whole() -> None:
    bigq = by_name(written())["bigq"]
    (node,) = bigq.node_types
    assert bigq.whole_nodes
    assert (node.nodes, node.up) == (("big01", "big02"), 1)
    # amounts such as `scratch` are no features
    assert node.features == ("avx512=True", "cpu_type=skylake", "cpu_type=clx")
    assert dict(node.states) == {"free": 1, "offline,down": 1}


def test_queues_that_no_job_is_sent_to() -> None:
    known = by_name(written())
    assert known["route"].default and not known["route"].available
    assert known["route"].limits == ("route_destinations=gpuq,bigq",)
    assert "choose one of those" in known["route"].why_not
    assert known["inner"].why_not == "it takes jobs from routing queues only"


def test_a_routing_queue_stands_for_queues_that_only_it_leads_to() -> None:
    def queue(name: str, *lines: str) -> str:
        own = ("enabled = True", "started = True", *lines)
        return f"Queue: {name}\n" + "".join(f"    {line}\n" for line in own)

    inner = ("queue_type = Execution", "from_route_only = True")
    queues = "\n".join(
        (
            queue("prod", "queue_type = Route", "route_destinations = small,large,gone@far"),
            queue("small", *inner, "resources_min.nodect = 10", "resources_max.walltime = 3:00:00"),
            queue(
                "large", *inner, "resources_min.nodect = 25", "resources_max.walltime = 24:00:00"
            ),
        )
    )
    node = "n{}\n     state = free\n     resources_available.ncpus = 64\n"
    nodes = "\n".join(node.format(number) for number in range(30))
    known = by_name(pbs_catalogue.catalogue(queues, nodes, "Server: s\n", "ada"))
    prod = known["prod"]
    assert prod.available
    assert (prod.bounds.min_nodes, prod.bounds.max_walltime_s) == (10, 24 * 3600)
    assert [len(one.nodes) for one in prod.node_types] == [30]
    assert not known["small"].available


def test_a_choice_is_a_request_that_pbs_is_told() -> None:
    wanted = Wanted(16, 7200, memory_bytes=10 * GIB + 1, gpus=2, features=("cpu_type=rome",))
    found = fit(wanted, written())
    assert isinstance(found, Choice)
    lines = pbs_request.directives(found.offer.resources, "hafit")
    assert "#PBS -q gpuq" in lines
    select = "1:ncpus=16:mpiprocs=1:mem=10485761kb:cpu_type=rome:ngpus=2"
    assert f"#PBS -l select={select}" in lines
    none = fit(Wanted(16, 7200, gpus=1, features=("avx512=True",)), written())
    assert isinstance(none, Failure)
    assert "bigq: no GPUs" in none.evidence
    assert "gpuq: no feature avx512=True" in none.evidence


WORDS = st.sampled_from(
    ["Queue: q", "    queue_type = Route", "    resources_max.ncpus = x", "n1", "     state = free",
     "     resources_available.ncpus = 4", "     resources_available.ngpus = 999999999",
     "     resources_available.mem = kb", "     sharing = force_excl", "     queue = q",
     "    default_chunk.Qlist = q", "    enabled = True", "    started = True", "\t, more"]
)  # fmt: skip
TEXTS = st.lists(WORDS | st.text(max_size=20), max_size=12).map("\n".join)


@given(TEXTS, TEXTS, TEXTS)
def test_no_text_is_too_strange(queues: str, nodes: str, server: str) -> None:
    found = pbs_catalogue.catalogue(queues, nodes, server, "ada")
    for part in found.partitions:
        assert part.available or part.why_not
        assert not part.available or any(node.up for node in part.node_types)
    fit(Wanted(1, 60), found)
