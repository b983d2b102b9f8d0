"""Builds that mend themselves: which repairs can be made, and a real program that needs one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mainjob import Bench, make_bench

from hpcagent.probe.software import CompilerFound, ModuleEffect, ModuleSystem, Software
from hpcagent.toolchain.mending import Setting, mended
from hpcagent.toolchain.mending_scene import Scene
from hpcagent.toolchain.repairs import Attempt, Cause, Change, GiveUp, Repair, next_repair

PROGRAM = Setting({}, {"optimisation": "O2", "integers": "none", "check": {"ranks": 2}}, None)
LIBRARY = Setting({"optimisation": "O2"}, {}, 2**30)


def gives(modules: str, variable: str, name: str) -> ModuleEffect:
    """A module in whose folder is a file of this name."""
    way = tuple(modules.split())
    folder = f"/sw/{way[-1]}"
    return ModuleEffect(way, {variable: (folder,)}, holds={folder: (name,)})


def node(*effects: ModuleEffect, **system: Any) -> Software:
    modules = ModuleSystem("lmod", **system)
    return Software(modules, (), (), (), (), (), {}, effects=effects)


def scene(quote: str = "", *effects: ModuleEffect, **more: Any) -> Scene:
    return Scene(quote, more.pop("text", quote), node(*effects, **more))


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
        (repair("parameter", "set", "microarchitecture", "node"), "microarchitecture", "node"),
        (repair("parameter", "set", "lapack", "yes"), "lapack", "yes"),
        (repair("parameter", "set", "lapack", "yes"), "integers", "lp64"),
        (repair("parameter", "set", "openmp", "on"), "openmp", "on"),
        (repair("parameter", "add", "libraries", "z"), "libraries", ["z"]),
        (
            repair("parameter", "set", "stack", "unlimited"),
            "check",
            {"ranks": 2, "stack": "unlimited"},
        ),
    ],
)
def test_a_declared_repair_changes_a_declared_parameter(
    wanted: Repair, field: str, value: object
) -> None:
    after = mended(PROGRAM, wanted, scene())
    assert isinstance(after, Setting)
    assert after.program[field] == value
    assert mended(after, wanted, scene()) != after  # it is so already, or there is a next one


def test_what_a_person_has_to_decide_is_left_to_a_person() -> None:
    for wanted, words in (
        (repair("module", "load", "compiler"), "there are no modules here"),
        (repair("resource", "multiply", "memory", "2"), "--mem"),
        (repair("parameter", "add", "flags", "-ffast-math"), "names no flag"),
        (repair("parameter", "add", "run_path"), "does not name the library"),
        (repair("parameter", "add", "walltime"), "nothing for it"),
    ):
        bare = Scene("", "", replace(node(), modules=ModuleSystem("none")))
        answer = mended(PROGRAM, wanted, bare)
        assert isinstance(answer, str)
        assert words in answer
    lowest = mended(LIBRARY, repair("parameter", "next", "optimisation"), scene())
    assert isinstance(lowest, Setting)
    assert lowest.values == {"optimisation": "O1"}
    assert isinstance(mended(lowest, repair("parameter", "next", "optimisation"), scene()), str)


def test_a_job_is_given_more() -> None:
    more = mended(LIBRARY, repair("resource", "multiply", "memory", "2"), scene())
    assert isinstance(more, Setting)
    assert more.memory_bytes == 2**31


LOAD = repair("module", "load", "library")
MISSING = "/usr/bin/ld: cannot find -lwave: No such file or directory"


def loaded(*effects: ModuleEffect, **more: Any) -> tuple[str, ...] | str:
    in_use = more.pop("in_use", ())
    told = replace(scene(MISSING, *effects, **more), modules=in_use)
    after = mended(replace(PROGRAM, modules=in_use), LOAD, told)
    return after if isinstance(after, str) else after.modules


def test_the_one_module_that_has_it_is_loaded() -> None:
    one = gives("wave/1", "LIBRARY_PATH", "libwave.so")
    other = gives("tide/1", "LIBRARY_PATH", "libtide.so")
    assert loaded(one, other) == ("wave/1",)
    assert loaded(one, other, in_use=("tide/1",)) == ("tide/1", "wave/1")
    assert "no module is known" in loaded(other)
    assert "no module is known" in loaded(one, in_use=("wave/1",))  # it is there and did not help


def test_nobody_guesses_among_several() -> None:
    rows = [gives(f"{name}/1", "LIBRARY_PATH", "libwave.a") for name in ("wave", "ocean")]
    answer = loaded(*rows)
    assert "several would do (ocean/1, wave/1)" in answer and "--module" in answer
    versions = [gives(f"wave/{n}", "LIBRARY_PATH", "libwave.a") for n in (1, 2)]
    assert "several would do" in loaded(*versions)
    assert loaded(*versions, defaults=("wave/2",)) == ("wave/2",)  # as `module load wave` does


def test_the_way_through_the_compiler_in_use_is_taken() -> None:
    rows = [gives(f"{c} wave/1", "LIBRARY_PATH", "libwave.so") for c in ("gcc/12", "intel/2023")]
    compilers = tuple(
        CompilerFound(family, "c", family, f"/{module}/cc", "1", module)
        for family, module in (("gcc", "gcc/12"), ("intel", "intel/2023"))
    )
    for in_use, expected in ((("gcc/12",), ("gcc/12", "wave/1")),):
        software = replace(node(*rows), compilers=compilers)
        told = Scene(MISSING, MISSING, software, (), in_use)
        after = mended(replace(PROGRAM, modules=in_use), LOAD, told)
        assert isinstance(after, Setting)
        assert after.modules == expected
    only = replace(node(rows[1]), compilers=compilers)
    answer = mended(PROGRAM, LOAD, Scene(MISSING, MISSING, only, (), ("gcc/12",)))
    assert isinstance(answer, str) and "another compiler" in answer


def test_hidden_modules_are_reached_in_the_one_way() -> None:
    find = repair("module", "load", "named")
    quote = "ERROR: Unable to locate a modulefile for 'wave/1'"
    named = replace(PROGRAM, modules=("wave/1",))
    one = mended(named, find, scene(quote, ways={"wave/1": (("gcc/12", "mpi/4"),)}))
    assert isinstance(one, Setting)
    assert one.modules == ("gcc/12", "mpi/4", "wave/1")
    two = mended(named, find, scene(quote, ways={"wave/1": (("gcc/12",), ("intel/1",))}))
    assert isinstance(two, str) and "gcc/12, intel/1" in two
    longer = mended(named, find, scene(quote, available=("wave/1.2", "wave/2.0")))
    assert isinstance(longer, Setting) and longer.modules == ("wave/1.2",)
    none = mended(named, find, scene(quote, available=("wave/2.0", "wave/3.0")))
    assert isinstance(none, str) and "wave/2.0, wave/3.0" in none


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        (
            'Cannot load module "wave/1" without these module(s) loaded:',
            'Cannot load module "wave/1" without these module(s) loaded:\n   tide/2\n\nWhile',
        ),
        (
            'error: Cannot load module "wave/1" without',
            'error: Cannot load module "wave/1" without\nthese module(s) loaded:\n   tide/2\n\n',
        ),
        ("HINT: the following module must be loaded first: tide/2", ""),
    ],
)
def test_what_has_to_be_loaded_first_is(quote: str, text: str) -> None:
    wanted = repair("module", "load", "prerequisite")
    told = scene(quote, text=text or quote, available=("tide/2", "wave/1"))
    after = mended(replace(PROGRAM, modules=("wave/1",)), wanted, told)
    assert isinstance(after, Setting)
    assert after.modules == ("tide/2", "wave/1")
    two = quote.replace("tide/2", "tide/2 ebb/1")
    told = scene(two, text=text.replace("tide/2", "tide/2 ebb/1") or two,
                 available=("tide/2", "ebb/1"))  # fmt: skip
    answer = mended(replace(PROGRAM, modules=("wave/1",)), wanted, told)
    assert isinstance(answer, str) and "for a person" in answer


class Two:
    """A change that leads from one setting to the other and back."""

    def change(self, wanted: Repair, quote: str) -> Change | str:
        return Change(wanted, "first", "the other one")


def test_a_circle_is_seen() -> None:
    wanted = repair("parameter", "next", "optimisation")
    tried = [Attempt("first", "compile.internal_error", wanted, "q")]
    answer = next_repair(Cause("compile.internal_error", 0.9, "q", wanted), "second", tried, Two())
    assert isinstance(answer, GiveUp) and "leads back" in answer.reason


def test_another_library_is_no_return_of_the_first() -> None:
    tried = [Attempt("first", "link.missing_library", LOAD, "cannot find -lone")]
    same = next_repair(Cause("link.missing_library", 0.9, "cannot find -lone", LOAD), "second",
                       tried, Two())  # fmt: skip
    assert isinstance(same, GiveUp) and "came back" in same.reason
    other = next_repair(Cause("link.missing_library", 0.9, "cannot find -ltwo", LOAD), "second",
                        tried, Two())  # fmt: skip
    assert isinstance(other, GiveUp) and "leads back" in other.reason


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
