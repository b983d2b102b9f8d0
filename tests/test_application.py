"""Cards of applications: what they may say, what is refused, and what runs with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_apps_space import machine

from hpcagent.apps.application import EXAMPLE, application_card, inputs_beside
from hpcagent.apps.card import Card, own_card
from hpcagent.apps.filling import Places, fill
from hpcagent.apps.space import (
    application_facts,
    application_knobs,
    cpus_requested,
    tasks_requested,
    whole_space,
    without_doubles,
)
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.records import Config
from hpcagent.study.history_card import measures

FACTS = frozenset(application_facts(machine(), 1))
SMALL = """\
schema: 1
name: solver
kind: application
title: a solver
command:
  argv: [./solve, "--block={block}", --method, "{method}"]
space:
  - {name: block, kind: ordinal, meaning: size of a block, values: [8, 16, 32], default: 16}
  - {name: method, kind: categorical, meaning: how it is solved, values: [cg, gmres], default: cg}
"""


def written(folder: Path, text: str = SMALL, *changes: tuple[str, str]) -> Path:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "card.yaml"
    path.write_text(text)
    return path


def card_of(folder: Path, text: str = SMALL, *changes: tuple[str, str]) -> Card:
    return application_card(written(folder, text, *changes), FACTS)[0]


def test_a_card_needs_to_say_no_more_than_what_runs_and_what_can_be_set(tmp_path: Path) -> None:
    card = card_of(tmp_path)
    knobs = application_knobs(card, machine(), Places("/home/me", ""))
    space = whole_space(knobs)
    assert space.size == 6
    assert space.default.values == {"block": "16", "method": "cg"}
    setting = knobs.setting(Config.of({"block": "32", "method": "gmres"}))
    assert setting.command == ("/home/me/solve", "--block=32", "--method", "gmres")
    assert (setting.env, setting.prefix, setting.binding) == ((), (), ())
    assert (card.figures_of_merit[0].name, card.figures_of_merit[0].regex) == ("time", "")
    assert (tasks_requested(card, machine()), cpus_requested(card, machine())) == (1, 4)


def test_the_default_runs_with_its_values_as_well(tmp_path: Path) -> None:
    """In contrast to a library, which is left alone."""
    knobs = application_knobs(card_of(tmp_path), machine(), Places("/c"))
    default = whole_space(knobs).default
    assert knobs.setting(default).command[1:] == ("--block=16", "--method", "cg")


def test_the_example_is_a_card_that_can_be_used(tmp_path: Path) -> None:
    card, data = application_card(written(tmp_path, EXAMPLE), FACTS)
    assert Card.model_validate(json.loads(json.dumps(data))) == card
    knobs = application_knobs(card, machine(), Places("/c"))
    space = without_doubles(whole_space(knobs), knobs.setting)
    assert space.default.values["ranks"] == "4"
    for config in space.points():
        setting = knobs.setting(config)
        ranks, threads = config.values["ranks"], dict(setting.env)["OMP_NUM_THREADS"]
        assert setting.prefix[:3] == ("mpirun", "-n", ranks)
        assert int(ranks) * int(threads) <= 4
        text = dict(setting.files)["melt.in"]
        assert f"neighbor {config.values['skin']} bin" in text
        assert "${energy}" in text
        assert not re.search(r"(?<!\$)\{", text)
    assert (tasks_requested(card, machine()), cpus_requested(card, machine())) == (4, 1)


MPI = (
    "  argv: [./solve,",
    "  launch: mpi\n  launcher: [srun, '--cpus-per-task={threads}']\n  ranks: px * 2\n"
    '  argv: ["{prefix}/bin/solve",',
)
GRID = ("space:\n", "derived: {threads: cpus / (px * 2)}\nenv: {T: \"{threads}\"}\nspace:\n"
        "  - {name: px, kind: ordinal, meaning: rows, values: [1, 2], default: 1}\n")  # fmt: skip


def test_ranks_and_derived_names_follow_the_parameters(tmp_path: Path) -> None:
    card = card_of(tmp_path, SMALL, MPI, GRID)
    knobs = application_knobs(card, machine(), Places("/c", "/opt/solver"))
    for px, ranks, threads in (("1", "2", "2"), ("2", "4", "1")):
        setting = knobs.setting(Config.of({"px": px, "block": "8", "method": "cg"}))
        assert setting.prefix == ("srun", f"--cpus-per-task={threads}", "-n", ranks)
        assert setting.command[0] == "/opt/solver/bin/solve"
        assert setting.env == (("T", threads),)


def test_a_parameter_that_does_not_act_here_keeps_its_default(tmp_path: Path) -> None:
    changes = (
        "values: [cg, gmres], default: cg",
        "values: [cg, gmres], default: cg, when: cpus > 8",
    )
    knobs = application_knobs(card_of(tmp_path, SMALL, changes), machine(), Places("/c"))
    assert [param.name for param in whole_space(knobs).params] == ["block"]
    assert knobs.setting(Config.of({"block": "8"})).command[-1] == "cg"


def test_words_before_the_command_and_variables_are_for_what_is_not_the_default(
    tmp_path: Path,
) -> None:
    own = (
        "default: cg}",
        'default: cg, env: {METHOD: "{value}-{block}"}, argv: [nice, "{value}"]}',
    )
    knobs = application_knobs(card_of(tmp_path, SMALL, own), machine(), Places("/c"))
    default = knobs.setting(Config.of({"block": "8", "method": "cg"}))
    other = knobs.setting(Config.of({"block": "8", "method": "gmres"}))
    assert (default.env, default.prefix) == ((), ())
    assert (other.env, other.prefix) == ((("METHOD", "gmres-8"),), ("nice", "gmres"))


def test_one_process_can_be_bound_to_cpus(tmp_path: Path) -> None:
    own = (
        "space:\n",
        'env: {T: "{threads}"}\nspace:\n'
        "  - {name: threads, kind: ordinal, meaning: t, values: [1, 2], default: 2}\n"
        "  - {name: bind, kind: categorical, meaning: b, values: [none, compact], default: none,"
        " binding: true}\n",
    )
    knobs = application_knobs(card_of(tmp_path, SMALL, own), machine(), Places("/c"))
    values = {"threads": "2", "bind": "compact", "block": "8", "method": "cg"}
    assert knobs.setting(Config.of(values)).binding == (0, 1)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: application", "kind: library", "a library is tuned with --lib"),
        ("kind: application", "kind: app", "kind: app: there are library and application"),
        ("schema: 1", "schema: 2", "schema: "),
        ("title:", "titel:", "titel: is not known; did you mean title"),
        ("name: solver", "name: openblas", "name: openblas is a card that ships"),
        ("command:\n", "build: {template: x}\ncommand:\n", "build.template: is for libraries"),
        ("{block}", "{blok}", r"command.argv.1: \{blok\} stands for nothing; did you mean \{bl"),
        ("{block}", "{size}", r"command.argv.1: \{size\} stands for nothing; there are block"),
        ("{block}", "8", "space.0: block: nothing sets this parameter"),
        ("values: [8, 16, 32], default: 16", "values: [8, 16, 32], default: 7",
         "space.0.default: 7 is none of the values 8, 16, 32"),
        ("values: [8, 16, 32], default: 16", "values: ladder(cpu), default: 1",
         "did you mean 'cpus'"),
        ("values: [cg, gmres]", "values: [cg, yes]", "space.1.values: True must be a number or"),
        ("meaning: size of a block, ", "", "space.0: meaning is missing"),
        ("name: block,", "name: prefix,", "space.0.name: prefix has a meaning of its own"),
        ("title: a solver", 'title: "a\\nb"', "title: must be one line of text"),
        ("values: [8, 16, 32], default: 16", "by: machine.bogus, choices: {a: ['1']}, default: 1",
         "space.0.by: there is no fact machine.bogus"),
        ("./solve,", '"",', "command.argv.0: the program has no name"),
        ("{block}", "{ranks}", r"command.argv.1: \{ranks\} stands for nothing"),
        ("{block}", "a\\eb{block}", "command.argv.1: a control character"),
        ("command:\n", 'env: {A: "x\\ty"}\ncommand:\n', "env.A: a control character"),
        ("command:\n", "readback: {answer: '(x)'}\ncommand:\n", "readback.answer: is what"),
        ("command:\n", "derived: {cores: '9'}\ncommand:\n", "derived.cores: has a meaning already"),
        ("command:\n", "files: {a: x, a/b: y}\ncommand:\n", "files.a/b: .* lies in one"),
        ("command:\n", "files: {.: x}\ncommand:\n", "files..: .*plain path of a file"),
        ("command:\n", "check: {answer: {pattern: '(?P<value>x)', tolerance: 1, value: .nan}}\n"
         "command:\n", "check.answer.value: "),
        ("command:\n", "check: {answer: {pattern: '(?P<value>x)', tolerance: 1}}\n"
         "files: {a: '{seed}'}\ncommand:\n", "files.a: .seed. differs from pair to pair"),
        ("command:\n", "check: {residual: {pattern: '(?P<key>x)(?P<value>x)', max: 1}}\n"
         "command:\n", "check.residual.pattern: the group 'key' is for an application with"),
        ("space:\n", "space: []\nx:\n", "x: is not known"),
        ("command:\n", "command:\n  launch: mpi\n", "command: ranks is missing"),
        ("command:\n", "command:\n  ranks: '2'\n", "command.ranks: is for launch: mpi"),
        ("command:\n", "command:\n  launch: mpi\n  ranks: blocks\n", "command.ranks: .*'block'"),
        ("command:\n", "command:\n  timeout_s: 0\n", "command.timeout_s: "),
        ("command:\n", "derived: {block: '1'}\ncommand:\n", "derived.block: has a meaning already"),
        ("command:\n", "derived: {x: y}\ncommand:\n", "derived.x: .*y"),
        ("command:\n", "env: {A B: x}\ncommand:\n", "env.A B: is not the name of an environment"),
        ("command:\n", "env: {A: '{methd}'}\ncommand:\n", r"env.A: \{methd\} stands for nothing"),
        ("command:\n", "unset: [A B]\ncommand:\n", "unset.0: 'A B' is not the name"),
        ("command:\n", "inputs: [mesh.dat]\ncommand:\n", "inputs.0: .*mesh.dat is not there"),
        ("command:\n", "inputs: [/etc/passwd]\ncommand:\n", "inputs.0: .*plain path of a file"),
        ("command:\n", "outputs: [../log]\ncommand:\n", "outputs.0: .*plain path of a file"),
        ("command:\n", "files: {a/../b: x}\ncommand:\n", "files.a/../b: .*plain path of a file"),
        ("command:\n", 'files: {a: "x\\u0007"}\ncommand:\n', "files.a: a control character"),
        ("command:\n", "files: {a: 'block {blokc}'}\ncommand:\n", r"\{blokc\} stands for nothing"),
        ("command:\n", "success: ['(']\ncommand:\n", "success.0: .* not a regular expression"),
        ("command:\n", "check: {answer: {pattern: x, tolerance: 1}}\ncommand:\n",
         "check.answer.pattern: .*lacks the group 'value'"),
        ("command:\n", "check: {answer: {pattern: '(?P<value>x)', tolerance: -1}}\ncommand:\n",
         "check.answer.tolerance: "),
        ("command:\n", "figures_of_merit: [{name: rate, regex: '', unit: x, direction: max}]\n"
         "command:\n", "figures_of_merit.0.regex: only a figure called time may lack it"),
        ("command:\n", "figures_of_merit: [{name: rate, regex: 'a', unit: x, direction: max}]\n"
         "command:\n", "figures_of_merit.0: .*lacks the group 'value'"),
        ("command:\n", "cases: {a: 1}\ncommand:\n", "cases: each needs a figure of its own"),
        ("command:\n", "cases: {a: 0}\ncommand:\n", "cases.a: "),
        ("command:\n", "cases: {a b: 1}\ncommand:\n", "cases.a b"),
        ("command:\n", "cases: {a: 1}\nfigures_of_merit: [{name: time, unit: s, direction: min, "
         "regex: '(?P<value>x)'}]\ncommand:\n", "regex: .* lacks the group 'key', by which"),
        ("command:\n", "figures_of_merit: [{name: time, unit: s, direction: min, "
         "regex: '(?P<key>x)(?P<value>x)'}]\ncommand:\n", "'key' is for an application with"),
        ("command:\n", "cases: {a: 1}\nfigures_of_merit: [{name: time, unit: s, direction: min, "
         "regex: '(?P<key>x)(?P<value>x)'}]\ncheck: {answer: {tolerance: 0, value: 1.0, "
         "pattern: '(?P<key>x)(?P<value>x)'}}\ncommand:\n", "check.answer.value: each case has"),
        ("command:\n", "resources: {tasks_per_node: core}\ncommand:\n", "did you mean 'cores'"),
        ("command:\n", "resources: {nodes: 0}\ncommand:\n", "resources.nodes: 0: give a number"),
    ],
)  # fmt: skip
def test_a_card_that_no_job_could_use_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = written(tmp_path, SMALL, (old, new))
    with pytest.raises(UsageError, match=rf"card.yaml:\d+: .*{words}") as told:
        application_card(path, FACTS)
    assert "\n" not in str(told.value)


def test_braces_of_the_application_s_own_files_are_let_be(tmp_path: Path) -> None:
    text = 'namelist {0} ${block} {"a": 1} {other} {block}'
    changes = ("command:\n", f"files: {{in.txt: '{text}'}}\ncommand:\n")
    knobs = application_knobs(card_of(tmp_path, SMALL, changes), machine(), Places("/c"))
    [(_, made)] = knobs.setting(Config.of({"block": "8", "method": "cg"})).files
    assert made == 'namelist {0} ${block} {"a": 1} {other} 8'


def test_ranks_that_are_no_count_end_the_run_in_one_line(tmp_path: Path) -> None:
    half = ("ranks: px * 2", "ranks: px / 2")
    card = card_of(tmp_path, SMALL, MPI, half, GRID)
    knobs = application_knobs(card, machine(), Places("/c"))
    with pytest.raises(UsageError, match=r"with .*px=1: command: ranks: 0\.5 is no whole number"):
        knobs.setting(Config.of({"px": "1", "block": "8", "method": "cg"}))


def test_nothing_that_acts_is_nothing_to_tune(tmp_path: Path) -> None:
    changes = [(f"default: {value}", f"default: {value}, when: cpus > 8") for value in ("16", "cg")]
    card = card_of(tmp_path, SMALL, *changes)
    with pytest.raises(EnvironmentProblem, match="solver: no parameter acts here"):
        application_knobs(card, machine(), Places())


def test_a_library_s_card_has_none_of_it(tmp_path: Path) -> None:
    import hpcagent.apps.card as module

    text = (Path(module.__file__).parent / "openblas.yaml").read_text()
    text = text.replace("name: openblas", "name: mine", 1)
    facts = frozenset(
        (*FACTS, *(f"library.{x}" for x in
         ("dynamic_arch", "threading", "max_threads", "default_threads", "core")), "threads")
    )  # fmt: skip
    own_card(written(tmp_path, text), facts)
    residual = text[text.index("  residual:") : text.index("readback:")]
    for old, new, words in (
        ("space:\n", "env: {A: b}\nspace:\n", "env: is for applications"),
        ("space:\n", "files: {A: b}\nspace:\n", "files: is for applications"),
        (f"check:\n{residual}", "check: {}\n", "check: residual is missing"),
        (r"'^time (?P<key>\S+) ", "'^time ", "lacks the group 'key' or 'value'"),
        ('    env: {OPENBLAS_CORETYPE: "{value}"}\n', "", "space.0: nothing sets this parameter"),
    ):
        with pytest.raises(UsageError, match=rf"card.yaml:\d+: .*{words}"):
            own_card(written(tmp_path, text, (old, new)), facts)


def test_what_lies_beside_a_card_is_what_it_reads(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mesh").write_text("x")
    (tmp_path / "in.txt").write_text("x")
    path = written(tmp_path, SMALL, ("command:\n", "inputs: [in.txt, data]\ncommand:\n"))
    application_card(path, FACTS)
    found = {each.relative_to(tmp_path).as_posix() for each in inputs_beside(path)}
    assert found == {"in.txt", "data", "data/mesh"}


def test_what_runs_is_told_apart_in_the_history_and_what_is_said_of_it_is_not(
    tmp_path: Path,
) -> None:
    plain = measures(card_of(tmp_path), "time")
    for old, new in (
        ("title: a solver", "title: another"),
        ("meaning: size of a block", "meaning: b"),
    ):
        assert measures(card_of(tmp_path, SMALL, (old, new)), "time") == plain
    for new in ("env: {A: b}", "files: {a: b}", "derived: {x: '1'}", "unset: [A]"):
        other = card_of(tmp_path, SMALL, ("command:\n", f"{new}\ncommand:\n"))
        assert measures(other, "time") != plain


names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)


@given(st.dictionaries(names, st.text(max_size=8), max_size=4), st.text(max_size=40))
def test_filling_replaces_names_that_are_known_and_nothing_else(
    known: dict[str, str], text: str
) -> None:
    assert fill(text, {}) == text
    around = "".join(f"<{{{name}}}>" for name in known)
    filled = fill(around, known)
    assert filled == "".join(f"<{value}>" for value in known.values())
    assert fill("${" + next(iter(known), "x") + "}", known).startswith("${")


@given(st.lists(st.integers(-5, 500) | st.text("ab1.", min_size=1, max_size=4), min_size=1,
                max_size=6, unique_by=str), st.data())  # fmt: skip
def test_listed_values_stand_for_themselves(values: list[Any], data: st.DataObject) -> None:
    """As they are written, not as expressions; each of them can be the default."""
    import tempfile

    default = data.draw(st.sampled_from(values))
    rows = [{"name": "x", "kind": "categorical", "meaning": "m", "values": values,
             "default": default}]  # fmt: skip
    body = {
        "schema": 1,
        "name": "a",
        "title": "t",
        "command": {"argv": ["p", "{x}"]},
        "space": rows,
    }
    with tempfile.TemporaryDirectory() as folder:
        card = card_of(Path(folder), json.dumps(body))
    [param] = whole_space(application_knobs(card, machine(), Places("/c"))).params
    assert param.values == tuple(str(value) for value in values)
    assert param.default == str(default)


def test_the_builds_in_the_documentation_can_be_used(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "applications.md").read_text()
    _, by_make, by_cmake, by_template, *_ = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    head = "schema: 1\nname: solver\ntitle: t\n"
    (tmp_path / "input.dat").write_text("x")
    made = card_of(tmp_path, head + by_make)
    assert made.build.commands == [["make", "-j{jobs}", "OPT=-{level} {unroll}"]]
    installed = f"build:\n  source: src\n{by_cmake}" + by_make[by_make.index("command: {argv") :]
    kind = installed.replace("name: level,", "name: kind,").replace("[O2, O3]", "[Release, Debug]")
    kind = kind.replace("default: O2", "default: Release").replace("{compiler}", "gcc")
    rest = '\nenv: {A: "{tile} {compiler} {loops}"}\n'
    assert card_of(tmp_path, head + kind + rest).build.makes == ["bin/solver"]
    space = ", ".join(
        f"{{name: {name}, kind: categorical, meaning: m, values: [{values}], default: {default}}}"
        for name, values, default in (
            ("compiler", "gcc, clang", "gcc"), ("mpi", "openmpi, mpich", "openmpi"),
            ("blas", "openblas, blis", "blis"), ("level", "O2, O3", "O2"), ("tile", "8, 16", "8"),
            ("fast", "-ffast-math, -flto", "-flto"), ("ranks", "1, 2", "2"),
        )
    )  # fmt: skip
    ours = card_of(tmp_path, f"{head}{by_template.replace('NAME', 'solver')}space: [{space}]\n")
    assert ours.command.launcher == ["{mpirun}"]


def test_the_card_in_the_documentation_can_be_used(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "applications.md").read_text()
    block, *_ = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    card = card_of(tmp_path, block)
    knobs = application_knobs(card, machine(), Places("/c", "/opt/hpl"))
    space = whole_space(knobs)
    shapes = {(c.values["p"], c.values["q"]) for c in space.points()}
    assert shapes == {("1", "1"), ("1", "2"), ("1", "3"), ("1", "4"), ("2", "2")}
    for config in space.points():
        setting = knobs.setting(config)
        assert setting.command == ("/opt/hpl/bin/xhpl",)
        assert f"{config.values['nb']}         NBs" in setting.files[0][1]
    figure = card.figures_of_merit[0]
    line = "WR11C2R4       29184   192     2     2             312.96              5.2952e+01"
    found = re.match(figure.regex, line)
    assert found
    assert found["value"] == "5.2952e+01"
    assert re.match(card.success[0], "||Ax-b||_oo/(eps*...)=   3.4e-03 ...... PASSED")


def test_every_field_of_a_card_is_in_the_documentation() -> None:
    text = (Path(__file__).parent.parent / "docs" / "applications.md").read_text()
    left_out = {"schema_", "kind", "name", "title", "sources", "build", "sizes"}
    for name in Card.model_fields.keys() - left_out:
        assert re.search(rf"`{name}[`.]", text), name


def test_what_is_beside_the_card_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "p.in").write_text("mine")
    for odd in (
        "inputs: [data]\nfiles: {data/p.in: x}",
        "inputs: [data/p.in]\nfiles: {data/p.in: x}",
        "inputs: [data, data]",
        "inputs: [data]\noutputs: [data/log]",
        "inputs: ['.']",
    ):
        path = written(tmp_path, SMALL, ("command:\n", f"{odd}\ncommand:\n"))
        with pytest.raises(UsageError, match=r"card.yaml:\d+: (inputs|files|outputs)\."):
            application_card(path, FACTS)


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ("{cpus_per_task: cores - 50}", "cores - 50: -46 is less than 1"),
        ("{tasks_per_node: cores / 3}", "is no whole number"),
        ("{cpus_per_task: ladder(cores)}", "is no whole number"),
    ],
)
def test_a_request_that_no_job_can_make_is_refused(
    tmp_path: Path, resources: str, words: str
) -> None:
    card = card_of(tmp_path, SMALL, ("command:\n", f"resources: {resources}\ncommand:\n"))
    with pytest.raises(UsageError, match=f"resources: .*{words}"):
        (tasks_requested(card, machine()), cpus_requested(card, machine()))


def test_points_that_set_the_same_are_one(tmp_path: Path) -> None:
    """Both parameters act by what is derived from them alone."""
    text = SMALL.replace("{block}", "{size}").replace(', --method, "{method}"', "")
    text = text.replace("values: [cg, gmres], default: cg", "values: ['1', '2'], default: '1'")
    card = card_of(tmp_path, text, ("space:\n", "derived: {size: block * method}\nspace:\n"))
    knobs = application_knobs(card, machine(), Places("/c"))
    assert not knobs.tells_apart
    sizes = {knobs.setting(c).command[1] for c in whole_space(knobs).points()}
    assert without_doubles(whole_space(knobs), knobs.setting).size == len(sizes) == 4
    every = application_knobs(card_of(tmp_path), machine(), Places("/c"))
    assert every.tells_apart


def test_the_application_s_own_variables_are_not_the_seed() -> None:
    assert fill("${seed} {seed}", {"seed": "7"}) == "${seed} 7"


FULL: dict[str, Any] = {
    "schema": 1, "name": "a", "kind": "application", "title": "t",
    "command": {"argv": ["p", "{x}"], "launch": "mpi", "launcher": ["mpirun"], "ranks": "x",
                "timeout_s": 5},
    "inputs": [], "outputs": ["log"], "env": {"A": "{x}"}, "files": {"f": "{y}"},
    "derived": {"half": "x / 2"}, "unset": ["B"], "success": ["ok"], "readback": {"r": "(.)"},
    "restrictions": ["x <= cpus"], "resources": {"nodes": 1, "tasks_per_node": "cores"},
    "figures_of_merit": [
        {"name": "time", "regex": "(?P<value>.)", "unit": "s", "direction": "min"}],
    "check": {"answer": {"pattern": "(?P<value>.)", "tolerance": 0.1, "value": 1.0},
              "residual": {"pattern": "(?P<value>.)", "max": 1.0}},
    "space": [
        {"name": "x", "kind": "ordinal", "meaning": "m", "values": [1, 2, 4], "default": 1,
         "hint": "cpus", "when": "True", "limit": ""},
        {"name": "y", "kind": "categorical", "meaning": "m", "values": ["a", "b"], "default": "a",
         "env": {"Y": "{value}"}, "argv": ["-y", "{value}"], "binding": False},
    ],
}  # fmt: skip


def places_in(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        rows = list(value.items())
    elif isinstance(value, list):
        rows = list(enumerate(value))
    return [at] * bool(at) + [p for key, each in rows for p in places_in(each, (*at, key))]


odd = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**12), st.floats(), st.text(max_size=6),
    st.sampled_from(["", "x", "{x}", "{", "{{x}}", "${x}", "cpus", "1 // 0", "x / 3", "ladder(0)",
                     "(?P<value>", "(?P<key>.)(?P<value>.)", "..", "/", ".", "a\tb", "ranks",
                     "seed", "none", "()", "'a'", "None", "1e999", "²"]),
    st.lists(st.integers(0, 3) | st.text("ab{}x", max_size=3), max_size=3),
    st.dictionaries(st.text("abx", min_size=1, max_size=2), st.text("a{}", max_size=3), max_size=2),
)  # fmt: skip


@given(st.sampled_from(places_in(FULL)), odd)
def test_an_odd_card_is_used_or_refused_in_one_line(at: tuple[Any, ...], value: Any) -> None:
    """Whatever stands anywhere in it, and as far as it can be known before a process runs."""
    import tempfile

    data = json.loads(json.dumps(FULL))
    inner = data
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.yaml"
        path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
        try:
            card, kept = application_card(path, FACTS)
            assert Card.model_validate(json.loads(json.dumps(kept, allow_nan=False))) == card
            knobs = application_knobs(card, machine(), Places(folder, ""))
            space = whole_space(knobs)
            assert knobs.setting(space.default).command
            assert all(isinstance(hint, str) for hint in knobs.hints.values())
            assert min(tasks_requested(card, machine()), cpus_requested(card, machine())) >= 1
        except (UsageError, EnvironmentProblem) as error:
            assert "\n" not in str(error)
