"""Plans as they are written, and what is wrong with them: file, line and cure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.cli.planbegin import rehearse
from hpcagent.cli.planwords import planned
from hpcagent.errors import UsageError
from hpcagent.study.plan import Plan
from hpcagent.study.plan_file import EXAMPLE, read_plan

TUNE = "{lib: openblas, workload: mix.yaml}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "mix.yaml").write_text("cases: [{routine: dgemm, m: 8, n: 8, k: 8}]\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # files are looked for beside the plan
    yield tmp_path


def read(folder: Path, text: str) -> Plan:
    path = folder / "plan.yaml"
    path.write_text(text)
    return planned(read_plan(path))


def refused(folder: Path, text: str) -> str:
    """What is said of a plan, behind `plan.yaml:`."""
    with pytest.raises(UsageError) as error:
        rehearse(read(folder, text), folder / "run")
    told = str(error.value)
    assert "\n" not in told
    head = f"{folder}/plan.yaml:"
    assert told.startswith(head)
    return told.removeprefix(head)


def test_a_plan_says_what_would_be_said_on_the_command_line(folder: Path) -> None:
    made = read(
        folder,
        """\
schema: 1
title: Two
defaults: {scheduler: local, seed: 7}
steps:
  - name: here
    probe:
  - name: fast
    tune:
      lib: openblas
      budget: [rounds=2, wall=30m]
      no-history: true
      shared: false
      seed: 3
      target: 1.2x
  - name: which
    compare: {runs: ["{fast.run}", "{fast.run}"], pairs: 5}
    needs: [here]
""",
    )
    assert made.title == "Two"
    assert made.folder == str(folder)
    here, fast, which = made.steps
    assert here.words == ("--scheduler", "local")
    assert fast.words == (
        "--scheduler", "local", "--seed", "3", "--lib", "openblas", "--budget", "rounds=2",
        "--budget", "wall=30m", "--no-history", "--target", "1.2x",
    )  # fmt: skip
    assert which.words == ("--seed", "7", "--pairs", "5", "{fast.run}", "{fast.run}")
    assert [step.needs for step in made.steps] == [(), (), ("here", "fast")]
    assert [step.scheduler for step in made.steps] == ["local", "local", ""]
    assert which.where == f"{folder}/plan.yaml:15"


def test_a_value_that_looks_like_an_option_stays_a_value(folder: Path) -> None:
    made = read(folder, "schema: 1\nsteps: [{name: a, compare: {runs: ['-x', '--help']}}]\n")
    assert made.steps[0].words == ("--", "-x", "--help")


def test_the_example_is_a_plan(folder: Path) -> None:
    data = yaml.safe_load(EXAMPLE)
    del data["defaults"]  # an account needs a batch system, which is not here
    for step in data["steps"]:
        for command in set(step) - {"name", "needs", "for"}:
            step[command].pop("partition", None)
    names = [step.name for step in read(folder, yaml.safe_dump(data)).steps]
    assert names == ["nodes", "lib", "on-old", "on-new", "which", "toolchains"]


def test_a_step_is_done_for_every_combination_of_values(folder: Path) -> None:
    made = read(
        folder,
        """\
schema: 1
steps:
  - name: nodes
    probe:
  - name: t-{size}-{seed}
    for: {size: [mix, other], seed: [7, 8]}
    needs: [nodes]
    tune: {lib: openblas, workload: "{size}.yaml", seed: "{seed}", budget: ["rounds={seed}"]}
  - name: pair-{size}
    for: [{size: mix, seed: 7}, {size: other, seed: 8}]
    compare: {runs: ["{t-{size}-{seed}.run}", "{t-mix-8.run}"]}
  - name: all
    needs: [pair-*]
    compare: {runs: "{t-*.run}"}
""",
    )
    steps = {step.name: step for step in made.steps}
    sizes = ["t-mix-7", "t-mix-8", "t-other-7", "t-other-8"]
    assert [*steps] == ["nodes", *sizes, "pair-mix", "pair-other", "all"]
    words = " ".join(steps["t-other-8"].words)
    assert words == "--lib openblas --workload other.yaml --seed 8 --budget rounds=8"
    assert steps["t-other-8"].needs == ("nodes",)
    assert steps["pair-other"].words == ("{t-other-8.run}", "{t-mix-8.run}")
    assert steps["pair-other"].needs == ("t-other-8", "t-mix-8")
    assert steps["all"].words == tuple(f"{{{name}.run}}" for name in sizes)
    assert steps["all"].needs == ("pair-mix", "pair-other", *sizes)


def test_a_scaling_study_is_a_step(folder: Path) -> None:
    made = read(
        folder,
        "schema: 1\nsteps:\n- {name: a, tune: {lib: openblas}}\n"
        "- {name: b, scale: {run: '{a.run}', nodes: '1,2', weak: true}}",
    )
    assert made.steps[1].words == ("--nodes", "1,2", "--weak", "{a.run}")


def test_a_name_may_be_a_number(folder: Path) -> None:
    text = "schema: 1\nsteps:\n- name: '{n}'\n  for: {n: [1, 2]}\n  probe: {}"
    assert [step.name for step in read(folder, text).steps] == ["1", "2"]


def test_braces_that_are_no_name_of_the_loop_stay(folder: Path) -> None:
    made = read(
        folder,
        "schema: 1\nsteps:\n- name: a-{n}\n  for: {n: [1]}\n"
        "  tune: {lib: openblas, account: 'x{m}', seed: '{n}'}",
    )
    assert [*made.steps[0].words] == ["--lib", "openblas", "--account", "x{m}", "--seed", "1"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # several steps at once
        ("- {name: a, for: 3, probe: {}}", "3: for: must be a mapping of lists like {size: ["),
        ("- {name: a, for: {}, probe: {}}", "3: for: must be a mapping of lists"),
        ("- {name: a, for: {n: 3}, probe: {}}", "3: n: must be a list of values"),
        ("- name: a\n  for: {n: [[1]]}\n  probe:", "4: for: n: must be texts or numbers"),
        ("- name: a\n  for: {n: [yes]}\n  probe:", "4: for: n: must be texts or numbers"),
        ("- name: a\n  for: {N: [1]}\n  probe:", "4: for: 'N': a name is lower-case letters"),
        (
            "- name: a\n  for:\n  - {n: 1}\n  - {m: 1}\n  probe:",
            "6: for: every entry has the same names: n",
        ),
        (
            "- name: 'a-{n}'\n  for: {n: [1, 2], m: [x, y]}\n  probe:",
            "3: name: a-1 would be the name of several steps: put {m} into it",
        ),
        (
            "- name: 'a-{n}'\n  for: [{n: 1}, {n: 1}]\n  probe:",
            "3: name: a-1 would be the name of several steps: an entry of for stands there twice",
        ),
        ("- name: 'a-{n}'\n  for: {n: [x.y]}\n  probe:", "3: name: 'a-x.y': letters, digits"),
        (
            "- name: 'a-{n}'\n  for: {n: [1]}\n  probe:\n- name: b\n  compare: {runs: '{c-*.run}'}",
            "7: {c-*.run}: no step of that kind is above this one",
        ),
        (
            "- name: 'a-{n}'\n  for: {n: [1, 2]}\n  compare: {runs: '{a-*.run}'}",
            "5: {a-*.run}: no step of that kind is above this one",
        ),
        (
            "- name: 'a-{n}'\n  for: {n: [1]}\n  probe:\n- name: b\n  compare:\n"
            "    runs: ['{a-*.prefix}']",
            "8: {a-1.prefix}: a probe step has run",
        ),
        ("- {name: a, probe: {}}\n- {name: b, needs: ['c*'], probe: {}}", "4: needs: no step 'c*'"),
        (
            "- name: 'a-{part}'\n  for: {part: [x]}\n  probe: {partition: '{prat}'}",
            "3: {prat}: for has no such name; did you mean {part}?",
        ),
        (
            "- {name: a-1, probe: {}}\n- name: b\n  tune: {lib: openblas, workload: '{a-*.run}/x'}",
            "5: {a-*.run}/x: {a-*.run} means several steps: it stands alone",
        ),
        (
            "- name: 'a-{n}-{m}'\n  for: {n: ["
            + ", ".join(map(str, range(30)))
            + "], m: [1, 2, 3, 4, 5, 6, 7]}\n  probe:",
            "3: steps: more than 200",
        ),
    ],
)
def test_what_is_wrong_with_several_at_once_is_told(folder: Path, text: str, told: str) -> None:
    assert refused(folder, f"schema: 1\nsteps:\n{text}").startswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1]", "1: a plan is a mapping with the key 'steps'"),
        ("steps: []", "1: schema: write schema: 1"),
        ("schema: 2\nsteps: []", "1: schema: write schema: 1"),
        ("schema: 1\nsteps: []", "2: steps: must be a list of at least one step"),
        ("schema: 1\nstep: []", "2: step is not known; did you mean steps?"),
        ("schema: 1\ntitle: 5\nsteps: [1]", "2: title: must be text"),
        ("schema: 1\nsteps: [1]", "2: a step is a mapping"),
        ("schema: 1\nsteps:\n- {name: a}", "3: a step has one of probe, doctor, build"),
        (
            "schema: 1\nsteps:\n- {name: a, probe: {}, doctor: {}}",
            "3: a step has one of probe, doctor, build, tune, compare, scale, codegen; here is",
        ),
        ("schema: 1\nsteps:\n- {probe: {}}", "3: name: is missing"),
        ("schema: 1\nsteps:\n- {name: a/b, probe: {}}", "3: name: 'a/b': letters"),
        (
            "schema: 1\nsteps:\n- {name: a, probe: {}}\n- {name: a, probe: {}}",
            "4: name: a is a step above already",
        ),
        ("schema: 1\nsteps:\n- {name: a, porbe: {}}", "3: porbe is not known; did you mean probe?"),
        ("schema: 1\nsteps:\n- {name: a, probe: 3}", "3: options are a mapping"),
        ("schema: 1\nsteps:\n- {name: a, probe: {}, needs: a}", "3: needs: must be a list"),
        (
            "schema: 1\nsteps:\n- {name: lib, probe: {}}\n- {name: a, probe: {}, needs: [lob]}",
            "4: needs: no step 'lob' is above this one; did you mean lib?",
        ),
        (
            "schema: 1\nsteps:\n- name: a\n  tune: {lib: openblas, workload: [1, {b: 2}]}",
            "4: workload: must be a value, or a list of values",
        ),
        # the options of a command
        (
            f"schema: 1\nsteps:\n- name: a\n  tune: {TUNE[:-1]}, bugdet: rounds=1}}",
            "4: bugdet: tune has no such option; did you mean budget?",
        ),
        (
            f"schema: 1\nsteps:\n- name: a\n  tune: {TUNE[:-1]}, run-dir: x}}",
            "4: run-dir: is not for a step of a plan",
        ),
        (
            f"schema: 1\nsteps:\n- name: a\n  tune: {TUNE[:-1]}, json: true}}",
            "4: json: is not for a step of a plan",
        ),
        (
            f"schema: 1\nsteps:\n- name: a\n  tune: {TUNE[:-1]}, no-history: 1}}",
            "4: no-history: must be true or false",
        ),
        (
            f"schema: 1\nsteps:\n- name: a\n  tune: {TUNE[:-1]}, target: 1.2}}",
            "4: target: must be text: put it between quotes",
        ),
        (
            f"schema: 1\nsteps:\n- name: a\n  tune: {TUNE[:-1]}, account: 0123}}",
            "4: account: must be text: put it between quotes",
        ),
        (
            f"schema: 1\nsteps:\n- name: a\n  tune: {TUNE[:-1]}, max-wait: 1:30:00}}",
            "4: max-wait: must be text: put it between quotes",
        ),
        (
            f"schema: 1\nsteps:\n- name: a\n  tune: {TUNE[:-1]}, seed: {'9' * 30}}}",
            "4: seed: the number is too large",
        ),
        (
            f'schema: 1\nsteps:\n- name: a\n  tune: {TUNE[:-1]}, store: "a\\0b"}}',
            "4: store: control characters are not allowed",
        ),
        (
            f"schema: 1\nsteps:\n- name: a\n  tune: {TUNE[:-1]}, target: [a, b]}}",
            "4: target: must be one value, not a list",
        ),
        (
            f"schema: 1\nsteps:\n- name: a\n  tune: {TUNE[:-1]}, budget: []}}",
            "4: budget: the list is empty",
        ),
        (
            "schema: 1\nsteps:\n- name: a\n  tune:\n    lib: openblas\n    challengers: 99",
            "6: step a: Invalid value for '--challengers'",
        ),
        ("schema: 1\nsteps:\n- name: a\n  tune: {}", "3: step a: name what to tune: --lib"),
        ("schema: 1\ndefaults: {lib: a, x: 1}\nsteps: [{name: a, probe: {}}]",
         "2: x: no command has such an option"),
        ("schema: 1\ndefaults: {seed: x}\nsteps: [{name: a, tune: {lib: openblas}}]",
         "3: step a: Invalid value for '--seed'"),
        # what the command itself finds when it is rehearsed
        (
            "schema: 1\nsteps:\n- name: a\n  tune: {lib: openblas, workload: mux.yaml}",
            "3: step a: mux.yaml: cannot be read",
        ),
        (
            "schema: 1\nsteps:\n- name: a\n  tune: {lib: openblas, budget: round=1}",
            "3: step a: --budget",
        ),
        (
            "schema: 1\nsteps:\n- name: a\n  codegen: {task: new}",
            "4: task: new begins no run",
        ),
        (
            "schema: 1\nsteps:\n- name: a\n  codegen: {task: new, name: mine}",
            "4: name: is not for a step of a plan",
        ),
        # references
        (
            "schema: 1\ndefaults: {workload: '{a.run}'}\nsteps:\n- {name: a, probe: {}}",
            "2: {a.run}: no step 'a' is above this one",
        ),
        (
            "schema: 1\nsteps:\n- {name: a, probe: {}}\n- name: b\n  tune: {lib: '{a.prefix}'}",
            "5: {a.prefix}: a probe step has run",
        ),
        (
            "schema: 1\nsteps:\n- name: b\n  compare:\n    runs:\n    - x\n    - '{b.run}'",
            "7: {b.run}: no step 'b' is above this one",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(folder: Path, text: str, told: str) -> None:
    assert refused(folder, text).startswith(told)


def test_a_batch_system_that_is_not_there_is_told_before_anything_begins(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    path = folder / "plan.yaml"
    path.write_text("schema: 1\nsteps: [{name: a, probe: {partition: big}}]\n")
    with pytest.raises(Exception, match=r"plan.yaml:2: step a: --partition needs a batch system"):
        planned(read_plan(path))


_keys = st.sampled_from(
    ["schema", "steps", "defaults", "name", "tune", "probe", "needs", "lib", "x", "for", "{x}"]
)
_leaves = st.none() | st.booleans() | st.integers(-2, 5) | st.floats() | st.text(max_size=6) | _keys
_trees = st.recursive(
    _leaves,
    lambda t: st.lists(t, max_size=3) | st.dictionaries(_keys, t, max_size=4),
    max_leaves=15,
)


@given(_trees, st.booleans())
def test_any_yaml_is_a_plan_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, tree: object, framed: bool
) -> None:
    path = tmp_path_factory.mktemp("any") / "plan.yaml"
    step = {"name": "a", "tune": tree} if framed else tree
    path.write_text(yaml.safe_dump({"schema": 1, "steps": [step]}), encoding="utf-8")
    try:
        made = planned(read_plan(path))
    except UsageError as error:
        assert str(error).startswith(str(path))
        assert "\n" not in str(error)
    else:
        assert all(isinstance(word, str) for step in made.steps for word in step.words)
