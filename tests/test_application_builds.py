"""Applications that are built in the search: which builds there are, and when each is made."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_application import FACTS
from test_apps_space import machine
from test_build_task import found
from test_study import at, state, unit
from test_study import step as next_step

from hpcagent.apps.application import application_card, inputs_beside
from hpcagent.apps.application_builds import (
    ApplicationBuilds,
    ApplicationPlan,
    names_in_build,
)
from hpcagent.apps.filling import Places
from hpcagent.apps.space import application_knobs, without_doubles
from hpcagent.apps.variants import needed
from hpcagent.errors import UsageError
from hpcagent.measure.results import Run
from hpcagent.probe.software import CompilerFound, ModuleSystem, MpiFound, Software
from hpcagent.records import Config, Failure, Proposal, Resources
from hpcagent.search.encoding import Grid
from hpcagent.search.evidence import Evidence
from hpcagent.search.prior import Prior
from hpcagent.study import tune, units
from hpcagent.study.history_card import measures
from hpcagent.study.journal import Event
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.state import Folding, TuneState, Unit
from hpcagent.toolchain.recipe import unit as unit_of
from hpcagent.toolchain.stepruns import StepRun

COMMANDS = """\
schema: 1
name: solver
kind: application
title: a solver
build:
  source: src
  files: {tile.h: "#define TILE {tile}"}
  env: {CC: "{compiler}"}
  commands:
    - [make, "-j{jobs}", "OPT=-{level}", "{flag}"]
  programs: [out/solve]
derived: {flag: "'FAST=1' if fast == 'on' else ''"}
command: {argv: ["{prefix}/bin/solve", "{threads}"]}
space:
  - {name: tile, kind: ordinal, meaning: t, values: [8, 16], default: 8}
  - {name: level, kind: categorical, meaning: l, values: [O1, O2], default: O2}
  - {name: fast, kind: categorical, meaning: f, values: ["off", "on"], default: "off"}
  - {name: compiler, kind: categorical, meaning: c, values: [gcc, icx], default: gcc}
  - {name: threads, kind: ordinal, meaning: n, values: [1, 2], default: 1}
"""
PROGRAM = """\
schema: 1
name: solver
kind: application
title: a solver
build:
  source: src
  compiler: "{compiler}"
  mpi: "{mpi}"
  program:
    sources: [main.c]
    mpi: wrapper
    optimisation: "{level}"
    defines: ["TILE={tile}"]
command: {argv: ["{prefix}/bin/solver"], launch: mpi}
space:
  - {name: ranks, kind: ordinal, meaning: r, values: [1, 2], default: 1}
  - {name: tile, kind: ordinal, meaning: t, values: [8, 16], default: 8}
  - {name: level, kind: categorical, meaning: l, values: [O1, O2], default: O2}
  - {name: compiler, kind: categorical, meaning: c, values: [gcc, icx], default: gcc}
  - {name: mpi, kind: categorical, meaning: m, values: [openmpi, mpich], default: openmpi}
"""
GCC = CompilerFound("gcc", "c", "gcc", "/usr/bin/gcc", "12.2.0")
MPIS = tuple(
    MpiFound(name, "4.1", "unknown", {"c": f"/{name}/mpicc"}, {}, f"/{name}/mpirun", module)
    for name, module in (("openmpi", ""), ("mpich", "mpich/4"))
)
SOFTWARE = Software(ModuleSystem("lmod", init="/init.sh"), (), (GCC,), MPIS, (), (), {})
NOTHING = {"compiler": "", "mpi": "", "blas": ""}
PLAN = ApplicationPlan(
    {"path": "/src/solver", "sha256": "ab" * 32}, (), (), "/sw/builds", NOTHING, True
)


def card_data(text: str, *changes: tuple[str, str]) -> Any:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.yaml"
        path.write_text(text)
        return application_card(path, FACTS)


def builds(text: str = COMMANDS, *changes: tuple[str, str], plan: ApplicationPlan = PLAN,
           prologue: tuple[str, ...] = ()) -> ApplicationBuilds:  # fmt: skip
    card, _ = card_data(text, *changes)
    node = machine(cores=4, microarchitecture="haswell")
    return ApplicationBuilds(
        application_knobs(card, node, Places("/home/me")), plan, SOFTWARE, prologue
    )


def changed(of: ApplicationBuilds, **values: str) -> Config:
    return Config.of({**of.space.default.values, **values})


# --- which builds there are -----------------------------------------------------------------------


def test_a_build_depends_on_what_is_put_into_it_and_on_nothing_else() -> None:
    of = builds()
    assert names_in_build(of.card) == {"tile", "level", "fast", "compiler"}
    assert of.space.size == 32
    assert len(needed(of, of.space.points())) == 16
    default = of.space.default
    assert of.of(changed(of, threads="2")) == of.of(default)
    for name, value in (("tile", "16"), ("level", "O1"), ("fast", "on"), ("compiler", "icx")):
        assert of.of(changed(of, **{name: value})).id != of.of(default).id


def test_commands_run_in_the_source_with_files_and_variables_of_the_configuration() -> None:
    of = builds()
    recipe = of.of(changed(of, tile="16", level="O1", compiler="icx")).recipe
    assert dict(recipe.files) == {"file-1": "#define TILE 16"}
    by_id = {step.id: step for step in recipe.build}
    assert by_id["file-1"].argv[-2:] == ("file-1", "source/tile.h")
    command = by_id["command-1"]
    assert command.argv[4:] == ("make", "-j{jobs}", "OPT=-O1"), "an empty word is left out"
    assert command.env == (("CC", "icx"),)
    assert [step.needs for step in recipe.build] == [("unpack",), ("file-1",), ("command-1",)]
    assert recipe.required == ("bin/solve",)
    assert recipe.lines == (
        ("file tile.h", "#define TILE 16"), ("command 1", "CC=icx make '-j{jobs}' OPT=-O1"),
    )  # fmt: skip
    assert of.of(changed(of, fast="on")).recipe.build[1].argv[-1] == "FAST=1"


def test_each_configuration_runs_its_own_build() -> None:
    of = builds()
    one, two = of.setting(of.space.default), of.setting(changed(of, tile="16", threads="2"))
    assert one.command == (f"{of.prefix_of(of.space.default)}/bin/solve", "1")
    assert re.fullmatch(r"/sw/builds/solver-1-[0-9a-f]{12}/bin/solve", two.command[0])
    assert one.command[0] != two.command[0]
    assert two.command[1] == "2"


def test_what_the_commands_may_take_of_the_node_makes_another_build() -> None:
    one = builds()
    default = one.space.default
    for other in (
        builds(prologue=("module load gcc/13",)),
        builds(plan=replace(PLAN, source={**PLAN.source, "sha256": "cd" * 32})),
        builds(COMMANDS, ("[make, ", "[gmake, ")),
        builds(COMMANDS, ("  programs: [out/solve]\n", "  programs: [out/solve, out/more]\n")),
        replace(builds(), loaded="gcc/13:openmpi/5"),
        replace(builds(), programs={"make": "/opt/bin/make"}),
        replace(builds(), programs={"mpicc": "/opt/bin/mpicc"}),
    ):
        assert other.of(default).id != one.of(default).id
    node = replace(one.knobs.machine, microarchitecture="zen3")
    elsewhere = replace(one, knobs=replace(one.knobs, machine=node))
    assert elsewhere.of(default).id != one.of(default).id
    assert builds().of(default).id == one.of(default).id


def test_a_program_is_started_by_the_mpi_that_it_was_built_with() -> None:
    of = builds(PROGRAM)
    assert of.setting(of.space.default).prefix == ("/openmpi/mpirun", "-n", "1")
    other = of.setting(changed(of, mpi="mpich", ranks="2"))
    assert other.prefix == ("/mpich/mpirun", "-n", "2")
    assert (other.modules, of.setting(of.space.default).modules) == (("mpich/4",), ())
    makefile = dict(of.of(changed(of, level="O1", tile="16")).recipe.files)["Makefile"]
    assert "-O1" in makefile
    assert "-DTILE=16" in makefile


def test_values_that_no_toolchain_here_has_are_told_before_anything_is_built() -> None:
    of = builds(PROGRAM)
    with pytest.raises(UsageError, match=r"build with .*compiler=icx.*: no c compiler of icx"):
        of.of(changed(of, compiler="icx"))
    with pytest.raises(UsageError, match="no c compiler of icx"):
        of.setting(changed(of, compiler="icx"))
    assert len(needed(of, of.space.points())) == 8, "those that can be built"


@pytest.mark.parametrize(
    ("text", "old", "new", "words"),
    [
        (COMMANDS, "  programs: [out/solve]\n", "", "build: say what they leave: `programs`"),
        (COMMANDS, "  programs: [out/solve]\n", "  programs: [/bin/x]\n",
         "build.programs.0: .*plain path"),
        (COMMANDS, "{tile}", "{tille}", r"build.files.tile.h: \{tille\} stands .* did you mean"),
        (COMMANDS, "{level}", "{lvl}", r"build.commands.0.2: \{lvl\} stands for nothing"),
        (COMMANDS, "{level}", "{threads}", "space.1: level: nothing sets this parameter"),
        (COMMANDS, "{level}", "{seed}", r"build.commands: \{seed\} differs from pair to pair"),
        (COMMANDS, "{compiler}", "{ranks}", r"build.env.CC: \{ranks\} stands for nothing"),
        (COMMANDS, "CC:", "C-C:", "build.env.C-C: is not the name of an environment variable"),
        (COMMANDS, "[make,", '["",', "build.commands.0: the command has no name"),
        (COMMANDS, "[make,", "[],\n    - [make,", "x"),
        (COMMANDS, "{prefix}/bin/solve", "/bin/solve", "command: it does not run what is built"),
        (COMMANDS, "TILE {tile}", "TILE {tile} {prefix}", "is known to commands only"),
        (COMMANDS, "  source: src\n", "  source: src\n  mpi: openmpi\n",
         "build.mpi: is for what is built by a program"),
        (COMMANDS, "  source: src\n", "  source: src\n  program: {sources: [a.c]}\n",
         "build.commands: a `program` is built without commands"),
        (COMMANDS, "  source: src\n", "  source: src\n  timeout_s: 0\n", "build.timeout_s: "),
        (COMMANDS, "  source: src\n", "  sorce: src\n", "build.sorce: is not known; did you mean"),
        (COMMANDS, "  source: src\n", "  template: openblas\n", "build.template: is for libraries"),
        (COMMANDS, "  source: src\n", "  modules: ['a b']\n", "build.modules.0: 'a b' is not the"),
        (COMMANDS, "meaning: l,", "meaning: l, probe: level,", "space.1.probe: is for what is set"),
        (COMMANDS, "name: threads", "name: jobs", "jobs has a meaning of its own"),
        (COMMANDS, "{level}", "{level} {here}/a", "here} is no part of the source"),
        (PROGRAM, "sources: [main.c]", "sources: main.c", "'main.c' is no list"),
        (PROGRAM, "values: [O1, O2]", "values: [O1, O2, O9]", "program: level=O9 optimisation"),
        (PROGRAM, "sources: [main.c]", "sources: [main.x]", "program: sources.*known endings"),
        (PROGRAM, "sources: [main.c]", 'sources: ["{level}.c"]', "sources are the same in every"),
        (PROGRAM, "    mpi: wrapper\n", "    mpi: wraper\n", "build.program: mpi"),
        (PROGRAM, "    mpi: wrapper\n", "    mpi: wrapper\n    openmpi: on\n",
         "build.program.openmpi: is not known; did you mean openmp?"),
        (PROGRAM, "  program:\n", "  programs: [x]\n  program:\n",
         "build.programs: is for what is built by commands"),
    ],
)  # fmt: skip
def test_how_it_is_built_is_checked_with_its_line(
    text: str, old: str, new: str, words: str
) -> None:
    if words == "x":
        text, old, new, words = COMMANDS, "  commands:\n", "  commands:\n    - []\n", "has no name"
    with pytest.raises(UsageError, match=rf"card.yaml:\d+: .*{words}") as told:
        card_data(text, (old, new))
    assert "\n" not in str(told.value)


def test_a_build_without_a_way_is_told() -> None:
    bare = re.sub(r"build:\n(  .*\n)+", "build: {source: src}\n", COMMANDS)
    with pytest.raises(UsageError, match=r"build: say how it is built: by a `program`, or by"):
        card_data(bare)


def test_the_history_tells_other_builds_apart(tmp_path: Path) -> None:
    plain = measures(card_data(COMMANDS)[0], "time")
    assert measures(card_data(COMMANDS, ("[make, ", "[gmake, "))[0], "time") != plain
    assert measures(card_data(COMMANDS, ("title: a solver", "title: b"))[0], "time") == plain
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.c").write_text("")
    path = tmp_path / "card.yaml"
    path.write_text(COMMANDS)
    assert {each.name for each in inputs_beside(path)} == {"src", "main.c"}


def test_braces_behind_a_dollar_are_the_shell_s() -> None:
    of = builds(COMMANDS, ("[make,", '[sh, -c, "make -j${jobs} P=${prefix}/{prefix} {jobs}", x,'))
    made = unit_of(of.of(of.space.default).recipe, "/sw/builds", 4, "", "python3")
    [argv] = [row["argv"] for row in made.spec["steps"] if row["id"] == "command-1"]
    prefix = of.prefix_of(of.space.default)
    assert argv[6] == f"make -j${{jobs}} P=${{prefix}}/{prefix} 4"


def test_a_parameter_may_be_called_as_a_launcher_is() -> None:
    of = builds(COMMANDS, ("command: {argv", "command: {launch: mpi, launcher: ['{mpirun}'], argv"),
                ("name: threads, kind: ordinal, meaning: n, values: [1, 2], default: 1}",
                 "name: mpirun, kind: categorical, meaning: l, values: [a, b], default: a}\n"
                 "  - {name: ranks, kind: ordinal, meaning: r, values: [1, 2], default: 1}"),
                ("{threads}", "x"))  # fmt: skip
    assert of.setting(changed(of, mpirun="b")).prefix == ("b", "-n", "1")


def test_an_mpi_without_a_launcher_is_told() -> None:
    of = replace(builds(PROGRAM), software=replace(SOFTWARE, mpis=(replace(MPIS[0], launcher=""),)))
    with pytest.raises(UsageError, match=r"openmpi 4\.1 has no mpirun beside its wrappers"):
        of.setting(of.space.default)
    named = builds(PROGRAM, ("launch: mpi", "launch: mpi, launcher: [srun]"))
    there = replace(named, software=of.software)
    assert there.setting(there.space.default).prefix == ("srun", "-n", "1")


def test_what_only_the_run_derives_does_not_spoil_a_build() -> None:
    """Points that cannot be run share their build with others that can."""
    of = builds(COMMANDS, ('"{threads}"]', '"{threads}", "{odd}"]'),
                ("derived: {", 'derived: {odd: "1 // (threads - 1)", '))  # fmt: skip
    with pytest.raises(UsageError, match="cannot be evaluated"):
        of.setting(changed(of, threads="1"))
    assert of.of(changed(of, threads="1")) == of.of(changed(of, threads="2"))
    assert of.setting(changed(of, threads="2")).command[1:] == ("2", "1")


def test_a_command_may_be_left_out() -> None:
    of = builds(COMMANDS, ("- [make,", '- ["{flag}"]\n    - [make,'))
    ids = [step.id for step in of.of(of.space.default).recipe.build]
    assert ids == ["file-1", "command-1", "programs"]
    more = [step.id for step in of.of(changed(of, fast="on")).recipe.build]
    assert more == ["file-1", "command-1", "command-2", "programs"]


def test_points_of_a_large_space_share_their_builds() -> None:
    """Its points share few builds; nothing is rendered for each."""
    of = builds(
        COMMANDS,
        ("values: [8, 16], default: 8", f"values: {list(range(1, 101))}, default: 8"),
        ("values: [1, 2], default: 1", f"values: {list(range(1, 51))}, default: 1"),
    )
    assert of.space.size == 40000
    assert of.knobs.tells_apart is False
    distinct = without_doubles(of.space, of.identity)
    assert distinct.size == 40000
    assert len(of._made) == 800


words = st.text("abcXYZ019.=_+-/ '\"$`\\", min_size=1, max_size=12)


@given(st.lists(words, min_size=2, max_size=4, unique=True))
def test_any_value_reaches_a_command_as_it_is(values: list[str]) -> None:
    """What a shell would read is a word like any other."""
    listed = json.dumps(values)
    default = json.dumps(values[0])
    of = builds(
        COMMANDS, ("values: [O1, O2], default: O2", f"values: {listed}, default: {default}")
    )
    for value in values:
        recipe = of.of(changed(of, level=value)).recipe
        assert f"OPT=-{value}" in next(s for s in recipe.build if s.id == "command-1").argv
    ids = {of.of(changed(of, level=value)).id for value in values}
    assert len(ids) == len(values)


# --- when they are made ---------------------------------------------------------------------------


def run(text: str = COMMANDS, **changes: Any) -> TuneState:
    _, data = card_data(text)
    return state(
        app="solver", card=data, card_source="card.yaml", card_folder="/home/me",
        build=asdict(PLAN), facts=found(("gcc", "c")), challengers=4, **changes,
    )  # fmt: skip


def ended(name: str, contents: str = "", *, well: bool = True) -> Unit:
    """The end of a build."""
    rows = (StepRun("command-1", "failed", 2, output="error: no"), StepRun("publish", "skipped"))
    if well:
        said = f"it is finished\ncontents {contents or name * 5 + 'abcd'}\n"
        rows = (StepRun("command-1", "ok", 0), StepRun("publish", "ok", 0, output=said))
    return unit(f"variant-{name}", "build", finished=True, steps=rows, name=f"u-{name}")


def feasible(known: Knowledge) -> Unit:
    plan = units.feasibility_plan(known, "")
    rows = tuple(
        Run(name, 1, 0, "ok", {"run": 0.01}, objective=-4.6, exit=0)
        for name in plan.spec["defaults"]
    )
    return unit("feasibility", "probe", finished=True, spec=plan.spec, runs=rows)


def of_run(known: Knowledge) -> ApplicationBuilds:
    assert isinstance(known.variants, ApplicationBuilds)
    return known.variants


def names_of(known: Knowledge, *configs: Config) -> list[str]:
    return [of_run(known).of(config).id for config in configs]


def proposed(*configs: Config) -> tuple[Proposal, ...]:
    return tuple(Proposal(config, "why", "surrogate") for config in configs)


def purpose_of(step: tune.Step) -> str:
    assert isinstance(step, tune.Submit), step
    return step.plan.purpose


def ready(*builds_done: Unit, rounds: dict[int, tuple[Config, ...]], more: tuple[Unit, ...] = ()
          ) -> TuneState:  # fmt: skip
    """A run whose default is built and tried, with these proposals."""
    known = Knowledge(run())
    [default] = names_of(known, known.unpruned.default)
    before = (ended(default), feasible(known))
    return run(
        units=(*before, *builds_done, *more),
        proposed={index: proposed(*configs) for index, configs in rounds.items()},
    )


@pytest.fixture
def known() -> Knowledge:
    return Knowledge(run())


def test_the_default_is_built_before_it_is_tried(known: Knowledge) -> None:
    asked = next_step(replace(run(), facts=None))
    assert isinstance(asked, tune.Submit)
    assert asked.plan.spec["parts"] == ["software"]
    [default] = names_of(known, known.unpruned.default)
    first = next_step(run())
    assert purpose_of(first) == f"variant-{default}"
    assert isinstance(first, tune.Submit)
    files = units.unit_files(known, first.plan, "ha")
    assert files["file-1"] == "#define TILE 8"
    assert {"steps.py", "worker.py", "unpack.py", "publish.py", "spec.json"} <= set(files)
    assert purpose_of(next_step(run(units=(ended(default),)))) == "feasibility"
    failed = next_step(run(units=(ended(default, well=False),)))
    assert isinstance(failed, tune.Close)
    assert failed.text.startswith("the default build failed (compile.command_1): step command-1")


def test_a_round_s_builds_are_made_side_by_side(known: Knowledge) -> None:
    of = of_run(known)
    one, two = changed(of, tile="16"), changed(of, level="O1")
    same = changed(of, tile="16", threads="2")
    first, second = names_of(known, one, two)
    rounds = {1: (one, same, two)}
    assert purpose_of(next_step(ready(rounds=rounds))) == f"variant-{first}"
    out = (unit(f"variant-{first}", "build", name="u-1"),)
    assert purpose_of(next_step(ready(rounds=rounds, more=out))) == f"variant-{second}"
    both = (*out, unit(f"variant-{second}", "build", name="u-2"))
    assert isinstance(next_step(ready(rounds=rounds, more=both)), tune.Wait)
    half = next_step(ready(ended(first), rounds=rounds, more=both[1:]))
    assert isinstance(half, tune.Wait)
    measured = next_step(ready(ended(first), ended(second), rounds=rounds))
    assert purpose_of(measured) == "round-1"
    assert isinstance(measured, tune.Submit)
    assert len(measured.plan.spec["configs"]) == 4
    measuring = (unit("round-1", name="u-r"),)
    after = ready(ended(first), ended(second), rounds=rounds, more=measuring)
    assert isinstance(next_step(after), tune.Wait)


def test_a_build_that_fails_is_found_out_by_building_its_values_alone(known: Knowledge) -> None:
    of = of_run(known)
    bad = changed(of, tile="16", compiler="icx")
    tile, compiler = changed(of, tile="16"), changed(of, compiler="icx")
    both, one, other = names_of(known, bad, tile, compiler)
    lost = ended(both, well=False)
    measured = unit("round-1", finished=True, name="u-r", spec={"reference": ""})
    story = ready(lost, rounds={1: (bad,)}, more=(measured,))
    assert purpose_of(next_step(story)) == f"variant-{other}"
    out = ready(lost, rounds={1: (bad,)}, more=(measured, unit(f"variant-{other}", "build")))
    assert purpose_of(next_step(out)) == f"variant-{one}"
    beside = names_of(
        known, changed(of, compiler="icx", level="O1"), changed(of, compiler="icx", fast="on")
    )
    told = ready(
        lost, ended(one), ended(other, well=False), *(ended(name, well=False) for name in beside),
        rounds={1: (bad,)}, more=(measured,),
    )  # fmt: skip
    later = Knowledge(told)
    assert later.builds_seen is not None
    [value] = later.builds_seen.unbuildable
    assert (value.param, value.value) == ("compiler", "icx")
    assert value.failure == Failure(
        "compile", "command_1", "step command-1: exit code 2: error: no"
    )
    assert {c.values["compiler"] for c in later.space.points()} == {"gcc"}
    assert isinstance(next_step(told), tune.Recall | tune.Propose)
    assert later.trials[1].failure == value.failure


def test_a_value_that_needs_another_one_stays(known: Knowledge) -> None:
    """It is built beside each other value of each choice before it is given up."""
    of = of_run(known)
    bad = changed(of, level="O1", compiler="icx")
    alone, level = changed(of, compiler="icx"), changed(of, level="O1")
    fast = changed(of, compiler="icx", fast="on")
    ids = names_of(known, bad, alone, level, fast)
    lost = [ended(ids[0], well=False), ended(ids[1], well=False), ended(ids[2])]
    measured = unit("round-1", finished=True, name="u-r", spec={"reference": ""})
    told = ready(*lost, rounds={1: (bad,)}, more=(measured,))
    assert purpose_of(next_step(told)) == f"variant-{ids[3]}"
    works = Knowledge(ready(*lost, ended(ids[3]), rounds={1: (bad,)}, more=(measured,)))
    assert works.builds_seen is not None
    assert works.builds_seen.unbuildable == ()
    assert fast in works.space.points()
    never = ready(*lost, ended(ids[3], well=False), rounds={1: (bad,)}, more=(measured,))
    assert {c.values["compiler"] for c in Knowledge(never).space.points()} == {"gcc"}


def outside(name: str, how: str) -> Unit:
    """A build that something else than its own steps has ended."""
    if how in ("unpack", "publish"):
        said = "No space left on device" if how == "publish" else "its SHA-256 is another now"
        rows = (StepRun(how, "failed", 3, output=said), StepRun("command-1", "skipped"))
        return unit(f"variant-{name}", "build", finished=True, steps=rows, name=f"u-{name}")
    failure = Failure("scheduler", how, "why")
    return unit(f"variant-{name}", "build", finished=True, failure=failure, name=f"u-{name}")


@pytest.mark.parametrize("how", ["never_started", "unpack", "publish"])
def test_what_befalls_a_build_from_outside_is_no_value_s_fault(known: Knowledge, how: str) -> None:
    of = of_run(known)
    bad = changed(of, tile="16", compiler="icx")
    [name] = names_of(known, bad)
    measured = unit("round-1", finished=True, name="u-r", spec={"reference": ""})
    told = ready(outside(name, how), rounds={1: (bad,)}, more=(measured,))
    later = Knowledge(told)
    assert later.builds_seen is not None
    assert (later.builds_seen.unbuildable, later.builds_seen.suspects) == ((), ())
    assert {c.values["compiler"] for c in later.space.points()} == {"gcc", "icx"}
    step = next_step(told)
    if how == "unpack":
        assert isinstance(step, tune.Decide)
        assert step.data["reason"].startswith("nothing more can be built: step unpack")
    else:
        assert isinstance(step, tune.Recall | tune.Propose)


def test_while_no_build_works_no_value_is_given_up(known: Knowledge) -> None:
    """A licence server that is down fails all of them."""
    of = of_run(known)
    bad = changed(of, compiler="icx")
    ids = names_of(
        known, bad, changed(of, compiler="icx", level="O1"), changed(of, compiler="icx", fast="on")
    )
    lost = [replace(ended(name, well=False), result_utc=at(60)) for name in ids]
    measured = unit("round-1", finished=True, name="u-r", spec={"reference": ""})
    dark = Knowledge(ready(*lost, rounds={1: (bad,)}, more=(measured,)))
    assert dark.builds_seen is not None
    assert dark.builds_seen.unbuildable == ()
    assert dark.builds_seen.suspects == ()
    [other] = names_of(known, changed(of, tile="16"))
    later = replace(ended(other), result_utc=at(90))
    rounds = {1: (bad,), 2: (changed(of, tile="16"),)}
    light = Knowledge(ready(*lost, later, rounds=rounds, more=(measured,)))
    assert light.builds_seen is not None
    assert [p.value for p in light.builds_seen.unbuildable] == ["icx"]


def test_a_budget_is_judged_when_builds_have_ended(known: Knowledge) -> None:
    """What they reserve is far more than they take."""
    of = of_run(known)
    one, two = changed(of, tile="16"), changed(of, level="O1")
    first, second = names_of(known, one, two)
    out = (unit(f"variant-{first}", "build", name="u-1", resources=Resources(4000, nodes=9)),)
    small = replace(ready(rounds={1: (one, two)}, more=out), settings=run(core_hours=3.0).settings)
    assert purpose_of(next_step(small)) == f"variant-{second}"
    whole = replace(small, units=(*small.units, unit(f"variant-{second}", "build", name="u-2")))
    assert isinstance(next_step(whole), tune.Wait)


def test_a_build_takes_one_node() -> None:
    card = COMMANDS.replace("command: {argv", "resources: {nodes: 8}\ncommand: {argv", 1)
    asked = next_step(run(card))
    assert isinstance(asked, tune.Submit)
    assert asked.plan.resources.nodes == 1


def test_one_bad_combination_takes_no_value_with_it(known: Knowledge) -> None:
    of = of_run(known)
    bad = changed(of, tile="16", level="O1")
    both, one, other = names_of(known, bad, changed(of, tile="16"), changed(of, level="O1"))
    measured = unit("round-1", finished=True, name="u-r", spec={"reference": ""})
    told = ready(
        ended(both, well=False), ended(one), ended(other), rounds={1: (bad,)}, more=(measured,)
    )
    later = Knowledge(told)
    assert later.builds_seen is not None
    assert later.builds_seen.unbuildable == ()
    lost = set(known.unpruned.points()) - set(later.space.points())
    assert lost == {changed(of, tile="16", level="O1", threads="2")}
    [known_by_bad] = [trial for trial in later.history(2) if trial.config == bad]
    assert known_by_bad.failure is not None


def test_what_failed_to_build_is_known_before_the_round_is_measured(known: Knowledge) -> None:
    of = of_run(known)
    bad, fine = changed(of, tile="16", level="O1"), changed(of, fast="on")
    both, other = names_of(known, bad, fine)
    later = Knowledge(ready(ended(both, well=False), ended(other), rounds={1: (bad, fine)}))
    told = {trial.config: trial.failure for trial in later.history(1)}
    assert set(told) == {known.unpruned.default, bad}
    assert told[bad] is not None
    assert later.space.contains(bad), "its neighbours are judged by it"
    grid = Grid.of(later.space.params, later.space.points())
    state = Evidence.of(grid, Prior().over(grid), later.history(1), later.pending)
    assert [state.grid.points[row] for row in state.failed] == [bad]
    assert [state.grid.points[row] for row in state.waiting] == [fine]


def test_of_builds_that_are_the_same_program_one_is_measured(known: Knowledge) -> None:
    of = of_run(known)
    twin, other = changed(of, level="O1"), changed(of, level="O1", threads="2")
    new = changed(of, tile="16")
    default, same, third = names_of(known, known.unpruned.default, twin, new)
    rounds = {1: (twin, other, new)}
    contents = default * 5 + "abcd"
    story = ready(ended(same, contents), ended(third), rounds=rounds)
    again = next_step(story)
    assert isinstance(again, tune.Propose)
    assert again.round == 1, "the twin's place in the round is filled once"
    assert Knowledge(story).measurable(1) == (other, new)
    assert set(Knowledge(story).pending) == {twin, other, new}
    measured = next_step(replace(story, refilled={1: 1}))
    assert isinstance(measured, tune.Submit)
    ran = [row["id"] for row in measured.plan.spec["configs"]]
    assert ran == [known.unpruned.default.id, other.id, new.id], "with two threads it is not"
    lost = replace(story, proposed={1: (story.proposed[1][0],)}, refilled={1: 4})
    assert isinstance(next_step(lost), tune.Propose), "a round of nothing has more chances"
    assert isinstance(next_step(replace(lost, refilled={1: 5})), tune.Submit)
    later = Knowledge(story)
    assert later.builds_seen is not None
    assert later.builds_seen.same == {twin.id: known.unpruned.default}
    points = {c.id for c in later.space.points()}
    assert {other.id, new.id, twin.id, known.unpruned.default.id} <= points
    assert changed(of, threads="2").id not in points, "it runs what `other` runs"
    round_one = unit("round-1", finished=True, name="u-r", spec={"reference": ""})
    told = Knowledge(ready(ended(same, contents), ended(third), rounds=rounds, more=(round_one,)))
    assert twin not in [trial.config for trial in told.trials]
    [known_by_twin] = [t for t in told.history(2) if t.config == twin]
    assert (known_by_twin.log_ratio, known_by_twin.failure) == (0.0, None)
    bounded = replace(told.state, settings=replace(told.state.settings, within=("cv<50%",)))
    assert [t.config for t in Knowledge(bounded).history(2)].count(twin) == 1, "nor is it anew"


def test_what_is_proposed_again_for_a_round_joins_what_was() -> None:
    of = builds()
    first, second = changed(of, tile="16"), changed(of, level="O1")
    rows = [
        {"config": config.values, "reason": "why", "proposed_by": "random"}
        for config in (first, second)
    ]
    folding = Folding()
    opened = {"version": "1", "settings": run().settings.to_json()}
    told = [("run_opened", opened), ("proposed", {"round": 1, "proposals": rows[:1]}),
            ("proposed", {"round": 1, "proposals": rows[1:], "again": True})]  # fmt: skip
    for seq, (kind, data) in enumerate(told, start=1):
        folding.add(Event(seq, at(seq), kind, data))
    found = folding.state()
    assert [p.config for p in found.proposed[1]] == [first, second]
    assert found.refilled == {1: 1}
    folding.add(Event(4, at(4), "proposed", {"round": 1, "proposals": [], "again": True}))
    assert folding.state().refilled[1] > tune.REFILLS_OF_NONE, "nothing was left to propose"


def test_the_settings_of_such_a_run_are_kept_and_can_be_asked_for_again() -> None:
    from hpcagent.study.settings import TuneSettings

    settings = run().settings
    again = TuneSettings.from_json(json.loads(json.dumps(settings.to_json())))
    assert Knowledge(replace(run(), settings=again)).unpruned.size == 32
    command = " ".join(settings.command())
    assert "tune --app /home/me/card.yaml" in command
    assert f"--source /src/solver --sha256 {'ab' * 32} --store /sw/builds" in command
    assert "--build" not in command.split()
