"""A Slurm's catalogue: recorded by a real 22.05, and written from the documented formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab import slurm_conf, slurm_fixtures, slurm_lab

from hpcagent.catalogue import Catalogue, Choice, Gpu, Offer, Partition, Wanted
from hpcagent.errors import EnvironmentProblem, SchedulerUnreachable
from hpcagent.records import Failure, Refused
from hpcagent.schedulers import slurm_accounts, slurm_catalogue, slurm_nodes, slurm_partitions
from hpcagent.schedulers.catalogue_fit import fit
from hpcagent.schedulers.slurm import SlurmScheduler
from hpcagent.shell import Ran

FIXTURES = Path(__file__).parent / "fixtures" / "slurm"
MIB, GIB = 2**20, 2**30


def capture(name: str) -> Ran:
    found = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    code = found["exit_code"]
    problem = "timed out after 60 s" if code is None else ""
    return Ran(tuple(found["argv"]), code, found["stdout"], found["stderr"], problem)


class Answers:
    """The commands of a folder of captures; those of a kind may be answered by another capture."""

    def __init__(self, folder: str, **instead: str) -> None:
        self.folder, self.instead = folder, instead

    def __call__(self, *argv: str) -> Ran:
        what = argv[4] if argv[0] == "sacctmgr" else argv[-1]
        if argv[0] in self.instead:
            return capture(self.instead[argv[0]])
        found = capture(f"{self.folder}/catalogue-{what}")
        assert found.argv == argv
        return found


def catalogue(folder: str = "recorded", **instead: str) -> Catalogue:
    return slurm_catalogue.read(Answers(folder, **instead), ("",), "ada")


def by_name(found: Catalogue) -> dict[str, Partition]:
    return {partition.name: partition for partition in found.partitions}


# --- recorded ------------------------------------------------------------------------------------


def test_cpus_that_are_cores_and_cpus_that_are_threads() -> None:
    known = by_name(catalogue())
    (cores,) = known["compute"].node_types
    assert (cores.schedulable_cpus, cores.physical_cores, cores.threads_per_core) == (64, 64, 2)
    assert (cores.cpus_per_core, cores.cpu_unit, cores.schedulable_cores) == (1, 1, 64)
    (threads,) = known["gpu"].node_types
    # two of 64 cores are kept for the system
    assert (threads.schedulable_cpus, threads.physical_cores, threads.sockets) == (124, 64, 2)
    assert (threads.cpus_per_core, threads.cpu_unit, threads.schedulable_cores) == (2, 2, 62)
    (plain,) = known["fat"].node_types
    assert (plain.schedulable_cpus, plain.cpus_per_core, plain.threads_per_core) == (48, 1, 1)


def test_memory_for_jobs_is_without_what_the_system_keeps() -> None:
    known = by_name(catalogue())
    assert known["compute"].node_types[0].memory_bytes == (257000 - 4096) * MIB
    assert known["gpu"].bounds.max_memory_per_cpu_bytes == 4000 * MIB
    assert known["gpu"].bounds.default_memory_per_cpu_bytes == 3900 * MIB
    assert known["mixed"].bounds.max_memory_per_node_bytes == 1000000 * MIB
    assert known["mixed"].bounds.default_memory_per_cpu_bytes == 400 * MIB  # of the whole


def test_a_partition_of_several_kinds_of_nodes() -> None:
    small, large = by_name(catalogue())["mixed"].node_types
    assert small.nodes == ("c1", "c2", "c3", "c4", "c5", "c6")
    assert large.nodes == ("m1", "m2")
    assert large.gpus == (Gpu("t4", 2, "gpu:t4"), Gpu("v100", 1, "gpu:v100"))
    assert large.features == ("skylake", "bigmem")


def test_nodes_that_sleep_are_up_and_others_are_not() -> None:
    known = by_name(catalogue())
    (compute,) = known["compute"].node_types
    assert compute.up == 5
    assert ("IDLE+CLOUD+MAINTENANCE+POWERED_DOWN+RESERVED", 1) in compute.states
    (gpu,) = known["gpu"].node_types
    assert gpu.up == 2  # one is drained, for a reason that speaks of State=IDLE; one is down
    assert {word for word, _ in gpu.states} == {
        "IDLE+CLOUD+POWERED_DOWN",
        "IDLE+CLOUD+DRAIN+POWERED_DOWN",
        "DOWN+CLOUD+POWERED_DOWN",
    }


def test_limits_and_access() -> None:
    known = by_name(catalogue())
    compute, gpu = known["compute"], known["gpu"]
    assert compute.whole_nodes and not gpu.whole_nodes
    assert (compute.bounds.max_walltime_s, compute.bounds.default_walltime_s) == (172800, 3600)
    assert (compute.bounds.max_nodes, known["mixed"].bounds.min_nodes) == (4, 2)
    assert gpu.bounds.max_cpus_per_node == 64
    assert gpu.access.qos == ("normal", "onlyone")
    assert known["fat"].access.denied_accounts == ("proj",)
    assert known["closed"].access.accounts == ("theirs",)
    assert known["fat"].bounds.max_walltime_s is None
    assert gpu.weights == "CPU=0.1,GRES/gpu=30"
    assert known["one"].default and not gpu.default
    assert (known["down"].available, known["down"].why_not) == (False, "the partition is down")
    assert known["inactive"].why_not == "the partition is inactive"


def test_accounts_and_qos() -> None:
    found = catalogue()
    assert [(a.name, a.default) for a in found.accounts] == [("proj", True), ("other", False)]
    assert found.accounts[0].qos == ("brief", "normal", "onlyone")
    qos = {one.name: one for one in found.qos}
    brief = qos["brief"].bounds
    assert (brief.max_walltime_s, brief.max_cpus, brief.max_nodes) == (60, 8, 2)
    assert (brief.max_gpus, brief.max_memory_bytes) == (1, 16 * GIB)
    assert qos["onlyone"].limits == ("MaxSubmitJobsPerUser=1", "Flags=DenyOnLimit")
    assert found.missing == {}


@pytest.mark.parametrize("name", ["no-accounting", "slurmdbd-down", "mariadb-down", "munge-down"])
def test_accounting_that_does_not_answer_is_a_reason_and_no_error(name: str) -> None:
    found = catalogue(sacctmgr=f"recorded/sacctmgr-{name}")
    assert found.accounts == found.qos == ()
    assert found.missing["accounts"].startswith("sacctmgr: ")
    assert len(found.missing["accounts"].splitlines()) == 1
    assert [p.name for p in found.partitions] == [p.name for p in catalogue().partitions]
    assert isinstance(fit(Wanted(1, 60), found), Choice)


def test_without_the_controller_there_is_no_catalogue() -> None:
    with pytest.raises(SchedulerUnreachable, match="scontrol show node"):
        catalogue(scontrol="recorded/scontrol-controller-down")
    with pytest.raises(EnvironmentProblem, match="load the site's Slurm module"):
        slurm_catalogue.read(lambda *argv: Ran(argv, None, "", "", "not found"), ("",), "ada")


def test_several_clusters_are_one_catalogue() -> None:
    asked = []

    def ask(*argv: str) -> Ran:
        asked.append(argv)
        words = [word for word in argv if not word.startswith("--clusters=")]
        words = ["cluster=lab" if word.startswith("cluster=") else word for word in words]
        return Answers("recorded")(*words)

    found = slurm_catalogue.read(ask, ("lab", "far"), "ada")
    assert len(found.partitions) == 2 * len(catalogue().partitions)
    assert {w for argv in asked for w in argv if w.startswith(("--clusters", "cluster="))} == {
        "--clusters=lab", "--clusters=far", "cluster=lab", "cluster=far",
    }  # fmt: skip


# --- written from the documentation --------------------------------------------------------------


def test_older_nodes_and_their_marks() -> None:
    (knl,) = by_name(catalogue("written"))["old"].node_types
    assert (knl.schedulable_cpus, knl.physical_cores) == (272 - 4 * 4, 68)
    assert (knl.cpus_per_core, knl.schedulable_cores) == (4, 64)
    assert knl.memory_bytes == 94000 * MIB
    assert (knl.features, knl.inactive_features) == (("knl", "quad", "cache"), ("flat",))
    assert knl.generic == ("hbm:16G",)
    assert knl.up == 2
    assert dict(knl.states) == {"IDLE": 1, "DOWN*": 1, "ALLOCATED$": 1, "IDLE~": 1}


def test_newer_nodes() -> None:
    new = by_name(catalogue("written"))["new"]
    (node,) = new.node_types
    assert node.gpus == (
        Gpu("nvidia_a100-sxm4-80gb", 4, "gpu:nvidia_a100-sxm4-80gb"),
        Gpu("", 1, "gpu"),
    )
    assert node.generic == ("shard:a100:8", "nvme:no_consume:1T")
    assert (node.up, len(node.nodes), new.unseen) == (2, 3, 2)
    assert new.access.denied_accounts == ("guest", "temp")
    assert new.access.denied_qos == ("scavenger",)
    assert not new.whole_nodes


def test_a_partition_s_own_qos_binds_its_jobs() -> None:
    bounds = by_name(catalogue("written"))["new"].bounds
    assert (bounds.max_walltime_s, bounds.max_nodes, bounds.max_cpus) == (86400, 4, 512)
    assert (bounds.max_gpus, bounds.max_memory_bytes) == (8, 2 * 2**40)


def test_cpus_may_be_given_out_by_the_socket() -> None:
    sockets = by_name(catalogue("written"))["sockets"]
    assert sockets.node_types[0].cpu_unit == 128
    assert sockets.limits == ("AllowGroups=staff",)
    found = fit(Wanted(1, 60, partitions=("sockets",)), catalogue("written"))
    assert isinstance(found, Choice)
    assert found.offer.resources.cpus_per_task == 128


def test_what_is_not_configured_is_not_told() -> None:
    known = by_name(catalogue("written"))
    (dull,) = known["dull"].node_types
    assert (dull.memory_bytes, dull.features, dull.gpus) == (None, (), ())
    assert known["dull"].why_not == "it takes jobs of root only"
    assert known["drained"].why_not == "the partition is drain"
    assert known["drained"].node_types == ()


def test_an_account_of_one_partition_has_its_own_qos() -> None:
    found = catalogue("written")
    assert [(a.name, a.partition, a.default_qos) for a in found.accounts] == [
        ("phys", "new", "long"), ("phys", "", "normal"), ("guest", "", "normal"),
    ]  # fmt: skip
    choice = fit(Wanted(1, 60, partitions=("new",), account="guest"), found)
    assert isinstance(choice, Failure)
    assert "new: its accounts are others; yours: guest" in choice.evidence


def test_a_slurm_that_selects_whole_nodes() -> None:
    linear = {"SelectType": "select/linear"}
    texts = [capture(f"written/catalogue-{name}").stdout for name in ("partition", "node")]
    assert all(p.whole_nodes for p in slurm_partitions.partitions(*texts, linear))


# --- anything at all -----------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["NodeName=n1", "CPUTot=4", "Sockets=0", "ThreadsPerCore=2", "CoresPerSocket=2", "State=IDLE+",
     "State=*", "Gres=gpu:a:b:c", "Gres=gpu::", "Partitions=p,p", "PartitionName=p", "RealMemory=x",
     "MaxNodes=0", "QoS=p", "DefMemPerCPU=7", "CoreSpecCount=99", "=", "a=b=c"]
)  # fmt: skip
LINES = st.lists(st.lists(WORDS | st.text(max_size=9), max_size=9).map(" ".join), max_size=5)


@given(LINES, LINES, st.text(max_size=40))
def test_no_text_is_too_strange(nodes: list[str], partitions: list[str], other: str) -> None:
    config = slurm_partitions.settings(other)
    qos = slurm_accounts.qos("p|1||||\n" + other)
    found = slurm_partitions.partitions("\n".join(partitions), "\n".join(nodes), config, qos)
    for partition in found:
        for node in partition.node_types:
            assert node.nodes and 0 <= node.up <= len(node.nodes)
            assert node.schedulable_cpus >= 0 and node.cpu_unit >= 1 and node.cpus_per_core >= 1
    slurm_nodes.gres(other)
    slurm_accounts.accounts(other, other)
    fit(Wanted(1, 60), Catalogue("slurm", found))


# --- a real one ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site() -> Iterator[slurm_lab.Cluster]:
    slurm_fixtures.required()
    with slurm_lab.cluster(settings=slurm_conf.SITE_LINES, more=slurm_conf.SITE) as lab:
        yield lab


@pytest.mark.slurm
def test_slurm_takes_what_was_chosen_and_not_a_unit_more(
    site: slurm_lab.Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slurm_fixtures.enter(site, monkeypatch)
    scheduler = SlurmScheduler()
    found = scheduler.catalogue()

    def refused(offer: Offer, **changes: object) -> Refused | None:
        asked = replace(offer.resources, **changes)
        script = tmp_path / "job.sh"
        script.write_text("\n".join(["#!/bin/sh", *scheduler.directives(asked, "hafit"), ""]))
        return scheduler.test_only(script)

    most_of_c = (257000 - 4096) * MIB
    for wanted in (
        Wanted(1, 60),
        Wanted(16, 3600, gpus=2, memory_bytes=100 * GIB),
        Wanted(32, 3600, memory_bytes=64 * 4000 * MIB, partitions=("gpu",)),
        Wanted(64, 7200, features=("ib",), memory_bytes=most_of_c),
        Wanted(200, 7200, memory_bytes=900 * GIB, max_nodes=8),
        Wanted(10, 600, gpus=1, gpu_kind="v100"),
    ):
        choice = fit(wanted, found)
        assert isinstance(choice, Choice), choice
        for offer in (choice.offer, *choice.others):
            assert refused(offer) is None, offer
    full = fit(Wanted(64, 7200, memory_bytes=most_of_c, partitions=("compute",)), found)
    assert isinstance(full, Choice)
    assert refused(full.offer, memory_bytes=most_of_c + MIB) is not None
    assert refused(full.offer, cpus_per_task=65) is not None
    for wanted in (
        Wanted(65, 60, partitions=("compute",)),
        Wanted(33, 60, partitions=("gpu",)),
        Wanted(1, 60, gpus=5),
        Wanted(1, 3660, partitions=("gpu",)),
        Wanted(1, 60, partitions=("closed", "down")),
    ):
        assert isinstance(fit(wanted, found), Failure)
