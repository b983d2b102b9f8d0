"""The catalogue and a choice from it as a user reads them, in 80 columns."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from test_pbs_catalogue import written
from test_slurm_catalogue import catalogue

from hpcagent.catalogue import (
    NODE_HOUR,
    Access,
    Account,
    Bounds,
    Catalogue,
    Gpu,
    NodeType,
    Partition,
    Qos,
    Rate,
    Wanted,
)
from hpcagent.report.queues_text import catalogue_text, choice_text
from hpcagent.schedulers import local_catalogue
from hpcagent.schedulers.catalogue_fit import fit


def block(text: str, name: str) -> list[str]:
    """The lines of a partition."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.split(" ")[0].rstrip("*") == name)
    rest = lines[first + 1 :]
    return [lines[first], *rest[: next(i for i, line in enumerate(rest) if line[:4].strip())]]


def test_a_table_of_a_slurm() -> None:
    text = catalogue_text(catalogue().priced({"gpu": Rate(2.5, "gpu-hour")}))
    gpu = block(text, "gpu")
    assert gpu[0].split() == ["gpu", "2/4", "124", "62x2", "502.9G", "4", "a100", "1", "h"]
    assert "    CPUs are given out 2 at a time" in gpu
    assert "    64 cores, 62 of them for jobs" in gpu
    assert "    charge: 2.5 per gpu-hour" in gpu
    assert "    jobs get whole nodes" in block(text, "compute")
    assert "    not now: the partition is down" in block(text, "down")
    assert "account    proj (default); QOS brief, normal, onlyone" in text
    assert (
        "QOS        brief: at most 1 min, at most 2 nodes, at most 8 CPUs, at most 1 GPU," in text
    )
    assert text.splitlines()[1].startswith("one* ")


def test_a_table_of_a_pbs() -> None:
    text = catalogue_text(written())
    assert block(text, "gpuq")[0].split()[:6] == ["gpuq", "1/1", "128", "?", "502G", "4"]
    assert "not known  accounts: PBS keeps no list" in text


def test_what_was_chosen_is_told_with_reasons() -> None:
    rated = catalogue().priced({"*": Rate(1, NODE_HOUR), "gpu": Rate(0.5, NODE_HOUR)})
    text = choice_text(fit(Wanted(16, 3600, gpus=2), rated))
    assert text.startswith("Best: gpu: 1 node, 32 CPUs (16 cores), gpu:a100:2, 1 h, costs 0.5\n")
    words = "Else: fat: 1 node, 16 CPUs (16 cores), gpu:t4:2, account other, 1 h, costs 1"
    assert words in text
    assert "    short: MaxTime 2 min < 1 h asked" in text
    text = choice_text(fit(Wanted(999, 60), catalogue()))
    assert text.startswith("Nothing fits.\n    one: 999 cores > 2 schedulable on a node\n")


def test_this_machine(tmp_path: Path) -> None:
    for cpu, core in {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}.items():
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(core + "\n")
    pairs = local_catalogue.catalogue(
        "here", local_catalogue.siblings(tmp_path, [0, 1, 2, 3]), 8 << 30
    )
    row = catalogue_text(pairs).splitlines()[1]
    assert row.split() == ["local*", "1/1", "4", "2x2", "8G", "-", "none"]
    # one thread of each core is all that this process may use
    single = local_catalogue.catalogue("here", local_catalogue.siblings(tmp_path, [0, 1]), 8 << 30)
    assert single.partitions[0].node_types[0].cpus_per_core == 1
    blind = local_catalogue.catalogue("here", local_catalogue.siblings(tmp_path / "x", [0]), 0)
    assert "does not tell which CPUs share a core" in blind.missing["cores"]
    assert catalogue_text(blind).splitlines()[1].split()[3:5] == ["?", "?"]


texts = st.sampled_from(["batch", "x" * 100, "a\x1b[31m", "ä\nb", "", "two words"])
names = st.sampled_from([(), ("one",), ("x" * 90, "a\tb")])
counts = st.none() | st.sampled_from([0, 1, 4096, 2**50])
limits = st.builds(Bounds, counts, counts, st.integers(1, 9), *[counts] * 9)
nodes = st.builds(
    NodeType, names.map(lambda some: ("n1", *some)), st.integers(0, 1), st.just(2**40) | st.just(4),
    st.integers(1, 4), st.integers(1, 4), counts, counts, counts, counts,
    st.sampled_from([(), (Gpu("", 1, "gpu"),), (Gpu("a\n" * 40, 4, "a"), Gpu("b\t", 2, "b"))]),
    names, names, names, st.builds(lambda word: ((word, 1),), texts),
)  # fmt: skip
partitions = st.builds(
    Partition, texts, st.lists(nodes, max_size=1).map(tuple), limits,
    st.builds(Access, names, names), st.booleans(), st.booleans(), texts,
    st.booleans(), names, texts, st.integers(0, 1),
    st.none() | st.builds(Rate, st.floats(0, 1e9), st.just(NODE_HOUR)),
)  # fmt: skip
everything = st.builds(
    Catalogue, st.just("slurm"), st.lists(partitions, max_size=2).map(tuple),
    st.builds(lambda word, some: (Account(word, True, word, some),), texts, names),
    st.builds(lambda word, bound, some: (Qos(word, bound, some),), texts, limits, names),
    missing=st.dictionaries(texts, texts, max_size=1),
)  # fmt: skip


@given(everything)
def test_any_catalogue_is_shown_in_80_plain_columns(found: Catalogue) -> None:
    for text in (catalogue_text(found), choice_text(fit(Wanted(1, 60), found))):
        lines = text.split("\n")
        assert all(line.isprintable() for line in lines)
        assert all(len(line) <= 80 for line in lines)
