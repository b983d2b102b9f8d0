"""Builds that mend themselves: which repairs can be made, and a real program that needs one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mainjob import Bench, make_bench

from hpcagent.toolchain.mending import Setting, mended
from hpcagent.toolchain.repairs import Repair

PROGRAM = Setting({}, {"optimisation": "O2", "integers": "none"}, 3600, None)
LIBRARY = Setting({"optimisation": "O2"}, {}, 3600, 2**30)
MISMATCH = """\
program mismatch
  implicit none
  real :: one(4) = 0.0
  integer :: two(4) = 0
  call fill(one)
  call fill(two)
  print *, 'ok'
end program
"""


def repair(change: str, action: str, name: str, value: str = "") -> Repair:
    return Repair.model_validate({"change": change, "action": action, "name": name, "value": value})


@pytest.mark.parametrize(
    ("wanted", "field", "value"),
    [
        (repair("parameter", "add", "flags", "-fcommon"), "flags", ["-fcommon"]),
        (repair("parameter", "next", "optimisation"), "optimisation", "O1"),
        (repair("parameter", "set", "march", "node"), "microarchitecture", "node"),
        (repair("parameter", "next", "march"), "microarchitecture", "portable"),
        (repair("parameter", "add", "libraries", "lapack"), "lapack", "yes"),
        (repair("parameter", "add", "libraries", "lapack"), "integers", "lp64"),
        (repair("parameter", "add", "link_flags", "openmp"), "openmp", "on"),
        (repair("parameter", "set", "mpi_wrapper"), "mpi", "wrapper"),
        (repair("parameter", "set", "interface64"), "integers", "ilp64"),
    ],
)
def test_a_declared_repair_changes_a_declared_parameter(
    wanted: Repair, field: str, value: object
) -> None:
    after = mended(PROGRAM, wanted)
    assert isinstance(after, Setting)
    assert after.program[field] == value
    assert mended(after, wanted) != after  # a second time it says that it is so already, or goes on


def test_what_a_person_has_to_decide_is_left_to_a_person() -> None:
    for wanted, words in (
        (repair("module", "load", "compiler"), "--module"),
        (repair("resource", "multiply", "memory", "2"), "--mem"),
        (repair("parameter", "add", "flags", "-ffast-math"), "nothing for it"),
        (repair("parameter", "add", "rpath"), "nothing for it"),
    ):
        answer = mended(PROGRAM, wanted)
        assert isinstance(answer, str)
        assert words in answer
    lowest = mended(LIBRARY, repair("parameter", "next", "optimisation"))
    assert isinstance(lowest, Setting)
    assert lowest.values == {"optimisation": "O1"}
    assert isinstance(mended(lowest, repair("parameter", "next", "optimisation")), str)


def test_a_job_is_given_more() -> None:
    more = mended(LIBRARY, repair("resource", "multiply", "memory", "2"))
    assert isinstance(more, Setting)
    assert more.memory_bytes == 2**31
    longer = mended(LIBRARY, repair("resource", "multiply", "walltime", "2"))
    assert isinstance(longer, Setting)
    assert longer.walltime_s == 7200


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.f90").write_text(MISMATCH)
    (source / "fill.f90").write_text(
        "subroutine fill(a)\n  real :: a(4)\n  a = 0.0\nend subroutine\n"
    )
    description = (
        'name: mismatch\nversion: "1"\nsources: [main.f90, fill.f90]\ncheck: {arguments: []}\n'
    )
    (tmp_path / "app.yaml").write_text(description)
    return make_bench(tmp_path)


@pytest.mark.toolchain
def test_a_build_repairs_what_has_a_declared_repair_and_says_so(bench: Bench) -> None:
    words = ("build", "--app", "app.yaml", "--source", "source", "--run-dir", str(bench.run))
    done = bench.hpcagent(*words, "--store", str(bench.folder / "store"))
    assert done.returncode == 0, done.stdout + done.stderr
    decisions = [e["data"] for e in bench.events("decision")]
    assert [d["what"] for d in decisions] == ["repair-here-1"]
    assert "-fallow-argument-mismatch" in decisions[0]["reason"]
    purposes = [e["data"]["purpose"] for e in bench.events("unit_intent")]
    assert purposes == ["probe-here", "build-here", "repair1-here"]
    assert "Repaired" in done.stdout
    told = json.loads(bench.hpcagent("report", str(bench.run), "--json").stdout)
    assert told["targets"][0]["build"]["state"] == "built"


@pytest.mark.toolchain
def test_a_failure_without_a_repair_is_explained_and_not_tried_again(bench: Bench) -> None:
    (bench.folder / "source" / "main.f90").write_text("program main\n  use nowhere\nend program\n")
    words = ("build", "--app", "app.yaml", "--source", "source", "--run-dir", str(bench.run))
    done = bench.hpcagent(*words, "--store", str(bench.folder / "store"))
    assert done.returncode == 7
    assert "nowhere" in done.stdout
    assert "Cure" in done.stdout
    assert not bench.events("decision")
    purposes = [e["data"]["purpose"] for e in bench.events("unit_intent")]
    assert purposes.count("build-here") == 1
