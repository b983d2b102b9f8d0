"""The digest of a node's type: blind to what passes, not to what makes another kind of node."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.probe.digest import facts_digest, with_earlier
from hpcagent.probe.nodefacts import parse_node

NODE = Path(__file__).parent / "fixtures" / "probe" / "node" / "recorded-debian12-kvm-docker.json"
GPU = "index, name, memory.total [MiB], driver_version\n0, NVIDIA H100, 81559 MiB, 550.54\n"
IB = "/sys/class/infiniband/mlx5_0"

Change = Callable[[dict[str, Any]], None]


def facts() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(NODE.read_text(encoding="utf-8"))
    node = found["parts"]["node"]
    node["commands"]["nvidia_smi"] = {"exit": 0, "problem": "", "stdout": GPU, "stderr": ""}
    node["files"][f"{IB}/ports/1/state"] = "4: ACTIVE\n"
    node["files"][f"{IB}/ports/1/rate"] = "200 Gb/sec (4X HDR)\n"
    node["files"][f"{IB}/board_id"] = "MT_0000000223\n"
    return found


def changed(change: Change) -> str:
    found = copy.deepcopy(facts())
    change(found)
    return facts_digest(found)


def edit(path: tuple[str, ...], pattern: str, new: str) -> Change:
    def change(found: dict[str, Any]) -> None:
        place = found
        for key in path[:-1]:
            place = place[key]
        text, count = re.subn(pattern, new, place[path[-1]])
        assert count, pattern
        place[path[-1]] = text

    return change


NODE_FILES = ("parts", "node", "files")

PASSING: dict[str, Change] = {
    "load": edit((*NODE_FILES, "/proc/loadavg"), r"^\S+", "99.0"),
    "free memory": edit(("files", "/proc/meminfo"), r"(MemFree: +)\d+", r"\g<1>17"),
    "a few pages of memory": edit(("files", "/proc/meminfo"), r"(MemTotal: +\d+)\d\d", r"\g<1>04"),
    "clock": edit(("files", "/proc/cpuinfo"), r"(cpu MHz\s+: )\S+", r"\g<1>1234.5"),
    "host": lambda found: found.update(host="node2", t_utc="2030-01-01T00:00:00Z"),
    "affinity": lambda found: found.update(affinity=[1]),
    "port down": edit((*NODE_FILES, f"{IB}/ports/1/state"), ".*", "1: DOWN"),
    "cgroup limit": lambda found: found["files"].update({"/sys/fs/cgroup/cpu.max": "50000 100000"}),
    "measured": lambda found: found["parts"]["node"].pop("measured"),
    "free space": lambda found: found["parts"]["node"].update(places=[]),
    "software": lambda found: found["parts"].update(software={"modules": ["gcc"]}),
}
LASTING: dict[str, Change] = {
    "processor": edit(("files", "/proc/cpuinfo"), r"model\t\t: 207", "model\t\t: 173"),
    "masked feature": edit(("files", "/proc/cpuinfo"), " avx512f", ""),
    "CPUs": edit(("commands", "lscpu_parse", "stdout"), r"(?m)^1,1,.*$", "1,0,0,0"),
    "cache": lambda found: found["files"].update(
        {"/sys/devices/system/cpu/cpu0/cache/index3/size": "32768K\n"}
    ),
    "memory": edit(("files", "/proc/meminfo"), r"MemTotal: +\d+", "MemTotal: 65000000"),
    "kernel": lambda found: found["uname"].update(release="6.99"),
    "distribution": edit((*NODE_FILES, "/etc/os-release"), "bookworm", "trixie"),
    "GPU driver": edit(("parts", "node", "commands", "nvidia_smi", "stdout"), "550", "560"),
    "GPU": edit(("parts", "node", "commands", "nvidia_smi", "stdout"), "H100", "H200"),
    "adapter": edit((*NODE_FILES, f"{IB}/board_id"), "223", "594"),
    "distances": edit((*NODE_FILES, "/sys/devices/system/node/node0/distance"), "10", "10 21"),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_does_not_change_the_digest(name: str) -> None:
    assert changed(PASSING[name]) == facts_digest(facts())


@pytest.mark.parametrize("name", LASTING)
def test_another_kind_of_node_has_another_digest(name: str) -> None:
    assert changed(LASTING[name]) != facts_digest(facts())


def test_all_changes_differ_from_each_other() -> None:
    digests = [changed(change) for change in LASTING.values()]
    assert len(set(digests)) == len(digests)
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests)


def test_rates_measured_earlier_on_such_a_node_are_shown_with_their_date() -> None:
    earlier, fresh = facts(), facts()
    earlier["parts"]["node"]["measured"]["t_utc"] = "2026-01-02T03:04:05Z"
    del fresh["parts"]["node"]["measured"]
    assert parse_node(fresh).value("peak_double") is None
    fact = parse_node(with_earlier(fresh, earlier)).get("peak_double")
    assert fact is not None
    assert fact.note.endswith("measured 2026-01-02T03:04:05Z")
    LASTING["kernel"](earlier)
    assert with_earlier(fresh, earlier) is fresh
    own = facts()
    assert with_earlier(own, facts()) is own


@given(
    st.dictionaries(st.sampled_from(["uname", "files", "commands", "parts", "glibc"]), st.text())
)
def test_odd_facts_have_a_digest(odd: dict[str, Any]) -> None:
    assert re.fullmatch("[0-9a-f]{16}", facts_digest(odd))
