from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.apps import card
from hpcagent.apps.card import load_card, own_card, read_card
from hpcagent.apps.placement import place
from hpcagent.apps.space import Knobs, facts_of, find_knobs, whole_space, without_doubles
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.records import Config, Cpu, Library, Machine


def machine(sockets: int = 1, cores: int = 4, smt: int = 1, nodes: int = 1, **changes) -> Machine:
    """CPUs numbered as Linux does: the first threads of all cores, then the second ones."""
    total = sockets * cores
    cpus = tuple(
        Cpu(id=t * total + c, core=c % cores, socket=c // cores, numa_node=c * nodes // total)
        for t in range(smt)
        for c in range(total)
    )
    values = {
        "host": "node1", "architecture": "x86_64", "cpu_model": "a processor",
        "microarchitecture": "haswell", "features": (), "cpus": cpus,
        "cpus_allowed": tuple(range(total * smt)), "cpu_quota_cores": None,
        "threads_per_core": smt, "sockets": sockets, "max_mhz": None, "caches": (),
        "memory_bytes": 2**34, "memory_limit_bytes": None, "huge_pages": "madvise",
        "kernel": "6.1", "glibc": "2.36", "compilers": (), "schedulers": (),
        "tools": {"numactl": "/usr/bin/numactl"}, "missing": {},
    }  # fmt: skip
    return Machine(**{**values, **changes})


def library(threading: str = "pthreads", **changes) -> Library:
    values = {
        "path": "/lib/libopenblas.so.0", "source": "system", "version": "0.3.21", "config": "",
        "dynamic_arch": True, "threading": threading, "max_threads": 64,
        "default_threads": 1 if threading == "serial" else 4, "interface": "lp64",
        "symbol_prefix": "", "symbol_suffix": "", "core": "Haswell", "routines": (),
    }  # fmt: skip
    return Library(**{**values, **changes})


def knobs(of: Machine | None = None, lib: Library | None = None) -> Knobs:
    return find_knobs(load_card("openblas"), of or machine(), lib or library())


def names(found: Knobs) -> set[str]:
    return {dimension.name for dimension, _ in found.active}


def test_each_parameter_is_there_only_where_it_acts() -> None:
    assert names(knobs()) == {"core", "threads", "binding", "huge_pages", "thread_timeout"}
    openmp = knobs(lib=library("openmp"))
    assert names(openmp) == {"core", "threads", "proc_bind", "huge_pages", "wait_policy"}
    assert names(knobs(lib=library("serial"))) == {"core", "binding", "huge_pages"}
    fixed = knobs(lib=library(dynamic_arch=False))
    assert "core" not in names(fixed)
    assert "block_factor" in names(fixed)
    assert "numa" in names(knobs(machine(sockets=2, nodes=2)))
    assert "numa" not in names(knobs(machine(sockets=2, nodes=2, tools={})))


@pytest.mark.parametrize(
    ("glibc", "pages", "there"),
    [("2.34", "madvise", False), ("2.35", "madvise", True), ("2.40", "always", False),
     ("2.40", "never", False), (None, "madvise", False), ("2.36", None, False)],
)  # fmt: skip
def test_huge_pages_need_glibc_2_35_and_madvise(
    glibc: str | None, pages: str | None, there: bool
) -> None:
    found = knobs(machine(glibc=glibc, huge_pages=pages))
    assert ("huge_pages" in names(found)) == there


def test_the_default_sets_nothing() -> None:
    for threading in ("pthreads", "openmp", "serial"):
        found = knobs(lib=library(threading))
        setting = found.setting(whole_space(found).default)
        assert (setting.env, setting.prefix, setting.binding) == ((), (), ())


def test_values_are_set_by_the_right_variable() -> None:
    found = knobs()
    values = {**whole_space(found).default.values, "core": "Zen", "threads": "2"}
    env = dict(found.setting(Config.of(values)).env)
    assert env == {"OPENBLAS_CORETYPE": "Zen", "OPENBLAS_NUM_THREADS": "2"}
    openmp = knobs(lib=library("openmp"))
    values = {**whole_space(openmp).default.values, "threads": "2", "proc_bind": "close"}
    env = dict(openmp.setting(Config.of(values)).env)
    assert env == {"OMP_NUM_THREADS": "2", "OMP_PROC_BIND": "close", "OMP_PLACES": "cores"}


def test_threads_respect_the_build_and_the_quota() -> None:
    found = knobs(machine(cores=128), library(max_threads=64, default_threads=64))
    threads = next(p for p in whole_space(found).params if p.name == "threads")
    assert threads.values[-1] == "64"
    quota = knobs(machine(cores=16, cpu_quota_cores=3.5), library(default_threads=16))
    threads = next(p for p in whole_space(quota).params if p.name == "threads")
    assert threads.values == ("1", "2", "3", "16")


@pytest.mark.parametrize("threading", ["pthreads", "openmp"])
@pytest.mark.parametrize("of", [machine(cores=2, cpu_quota_cores=1.0), machine(cores=1, smt=2)])
def test_threads_are_tuned_where_the_default_is_more_than_the_cores(
    of: Machine, threading: str
) -> None:
    """A quota of one core throttles the two threads that the library starts by itself."""
    found = knobs(of, library(threading, default_threads=2))
    threads = next(p for p in whole_space(found).params if p.name == "threads")
    assert (threads.values, threads.default) == (("1", "2"), "2")


def test_points_that_set_the_same_are_one() -> None:
    found = knobs(machine(cores=2), library(default_threads=2))
    whole = whole_space(found)
    single = without_doubles(whole, found.setting)
    settings = [found.setting(config) for config in single.points()]
    assert len(settings) == len(set(settings))
    assert set(settings) == {found.setting(config) for config in whole.points()}
    assert single.contains(single.default)


def test_the_cores_own_type_is_in_the_space_whatever_its_spelling() -> None:
    found = knobs(machine(architecture="aarch64"), library(core="neoversen1"))
    core = next(p for p in whole_space(found).params if p.name == "core")
    assert core.default == "neoversen1"
    assert [v.casefold() for v in core.values].count("neoversen1") == 1
    unknown = knobs(machine(architecture="riscv64"), library(core="RISCV64_ZVL256B"))
    core = next(p for p in whole_space(unknown).params if p.name == "core")
    assert core.values == ("RISCV64_ZVL256B",)


def test_nothing_to_tune_is_said() -> None:
    with pytest.raises(EnvironmentProblem, match="nothing to tune"):
        find_knobs(_without_block_factor(), machine(cores=1, glibc="2.31"), library("serial"))


def _without_block_factor():
    card = load_card("openblas")
    kept = [d for d in card.space if d.name not in ("core", "block_factor")]
    return card.model_copy(update={"space": kept})


def test_compact_fills_cores_before_hyperthreads_and_spread_uses_both_nodes() -> None:
    two = machine(sockets=2, cores=4, smt=2, nodes=2)
    assert place(two, "compact", 4) == (0, 1, 2, 3)
    assert place(two, "compact", 8) == tuple(range(8))
    assert place(two, "spread", 2) == (0, 4)
    nodes = {cpu.id: cpu.numa_node for cpu in two.cpus}
    assert sorted(nodes[c] for c in place(two, "spread", 6)) == [0, 0, 0, 1, 1, 1]
    assert place(two, "none", 2) == ()
    assert place(two, "compact", 16) == ()


@given(
    st.integers(1, 4), st.integers(1, 8), st.integers(1, 4), st.integers(1, 70),
    st.sampled_from(["compact", "spread"]), st.data(),
)  # fmt: skip
def test_a_binding_has_as_many_allowed_cpus_as_threads(
    sockets: int, cores: int, smt: int, threads: int, policy: str, data: st.DataObject
) -> None:
    whole = machine(sockets, cores, smt, nodes=sockets)
    allowed = data.draw(st.sets(st.sampled_from(whole.cpus_allowed), min_size=1))
    some = machine(sockets, cores, smt, nodes=sockets, cpus_allowed=tuple(sorted(allowed)))
    found = place(some, policy, threads)
    if threads >= len(allowed):
        assert found == ()
    else:
        assert len(set(found)) == threads
        assert set(found) <= allowed


def test_an_unknown_library_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown library 'mkl'; known: .*openblas"):
        load_card("mkl")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("schema: 1", "schema: 9", "schema"),
        ("kind: library", "kind: thing", "kind"),
        ("    kind: categorical\n", "    kind: fuzzy\n", "space.0.kind"),
        ("OPENBLAS_CORETYPE: ", "'A=B; rm': ", "environment variable"),
        ("    binding: true\n", "", "nothing sets this parameter"),
        ("success:", "succes:", "succes"),
        ("(?P<value>", "(?P<valu>", "lacks the group 'value'"),
        ("'^time (?P", "'^time ((?P", "is not a regular expression"),
    ],
)
def test_a_bad_card_names_line_and_field(tmp_path: Path, old: str, new: str, words: str) -> None:
    import hpcagent.apps

    text = (Path(hpcagent.apps.__file__).parent / "openblas.yaml").read_text()
    assert old in text
    path = tmp_path / "card.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(UsageError, match=r"card\.yaml:\d+") as caught:
        read_card(path)
    assert words in str(caught.value)


def one_dimension(folder: Path, dimension: str, restrictions: str = "[]") -> Path:
    """A card of a user's with this one dimension."""
    text = (card._FOLDER / "openblas.yaml").read_text()
    head, rest = text.replace("\nname: openblas\n", "\nname: mine\n").split("space:\n")
    tail = rest[rest.index("figures_of_merit:") :]
    path = folder / "mine.yaml"
    path.write_text(f"{head}space:\n  - {dimension}\nrestrictions: {restrictions}\n{tail}")
    return path


FACTS = frozenset(facts_of(machine(), library()))
SPIN = """name: spin
    kind: ordinal
    meaning: x
    values: {}
    default: {}
    env: {{SPIN: "{{value}}"}}"""


@pytest.mark.parametrize(
    ("values", "default", "restrictions", "words"),
    [
        ("()", '"1"', "[]", r"space: spin: values '\(\)' are no list, or none"),
        ("'7'", '"1"', "[]", "space: spin: values '7' are no list"),
        ('\'("a", "b")\'', "'\"a\"'", "[]", "an ordinal has numbers, in contrast to a, b"),
        ("(1, 2)", '"1"', "['spin > 2']", "no configuration satisfies all restrictions: spin > 2"),
        ("(1, 2)", '"1"', "['1 / (spin - 1) > 0']", "at spin=1: .* division by zero"),
        ("(1, 2)", '"1"', "['spni > 0']", r"mine.yaml:\d+: expression 'spni > 0': unknown name"),
        ("(1, 2)", '"1"', "['open(\"x\")']", r"mine.yaml:\d+: .*'open' is not a function"),
        ("(1, cpu)", '"1"', "[]", r"mine.yaml:\d+: expression '\(1, cpu\)': unknown name 'cpu'"),
        ("ladder(1000000000)", '"1"', "[]", "ladder"),
    ],
)
def test_a_space_that_cannot_be_is_told_in_one_line(
    tmp_path: Path, values: str, default: str, restrictions: str, words: str
) -> None:
    path = one_dimension(tmp_path, SPIN.format(values, default), restrictions)
    with pytest.raises(UsageError, match=words) as told:
        found, _ = own_card(path, FACTS)
        whole_space(find_knobs(found, machine(), library()))
    assert "\n" not in str(told.value)


def test_a_default_of_the_machine_is_one_of_the_values_and_none_is_doubled(tmp_path: Path) -> None:
    """What is known here only joins the values; one of the card's own has to be among them."""
    path = one_dimension(tmp_path, SPIN.format("(6, 1, 6)", "library.default_threads"))
    found, data = own_card(path, FACTS)
    (param,) = whole_space(find_knobs(found, machine(), library())).params
    assert param.values == ("1", "4", "6")
    assert type(found).model_validate(json.loads(json.dumps(data))) == found


def test_the_bound_of_a_check_may_be_written_as_people_write_numbers(tmp_path: Path) -> None:
    path = one_dimension(tmp_path, SPIN.format("(1, 2)", "'\"1\"'"))
    path.write_text(
        path.read_text().replace("max: 30.0", "max: 3e1").replace("title: ", "title: 1e3 #")
    )
    found, _ = own_card(path, FACTS)
    assert (found.check.residual.max, found.title) == (30.0, "1e3")


CATEGORICAL = "kind: ordinal", "kind: categorical"


@pytest.mark.parametrize(
    ("values", "default", "changes", "words"),
    [
        ("(1, 2)", "'\"3\"'", [], r"mine.yaml:41: space.0.default: 3 is none of the values 1, 2"),
        ("(1, 2)", "1 + 1", [], ""),
        ("(1, cpus)", "'\"3\"'", [], ""),
        ("(1, 2)", "cpus", [], ""),
        ("ladder(4)", "5", [], "5 is none of the values 1, 2, 3, 4"),
        ("(1, 2)", "1", [("env:", "hint: '99'\n    env:")], ""),
        ("(1, 2)", "1", [("env:", "hint: '\"x\"'\n    env:")], r"space.0.hint: x is none of"),
        ("(1, 2)", "1", [("env:", "hint: cpus\n    env:")], ""),
        ('\'("a", "b")\'', "'\"a\"'", [CATEGORICAL, ("env:", "hint: '\"c\"'\n    env:")],
         r"mine.yaml:42: space.0.hint: c is none of the values a, b"),
    ],
)  # fmt: skip
def test_a_default_or_a_hint_that_is_none_of_the_values_is_refused(
    tmp_path: Path, values: str, default: str, changes: list[tuple[str, str]], words: str
) -> None:
    """A hint at a number means the nearest value of an ordinal."""
    if "'" not in default:
        default = f"'{default}'"
    dimension = SPIN.format(values, default)
    for old, new in changes:
        dimension = dimension.replace(old, new)
    path = one_dimension(tmp_path, dimension)
    if not words:
        own_card(path, FACTS)
        return
    with pytest.raises(UsageError, match=words):
        own_card(path, FACTS)


def test_a_card_that_ships_and_one_of_another_driver_are_no_card_of_one_s_own(
    tmp_path: Path,
) -> None:
    path = one_dimension(tmp_path, SPIN.format("(1, 2)", '"1"'))
    text = path.read_text()
    for old, new, words in (
        ("name: mine", "name: openblas", "name: openblas is a card that ships"),
        ("template: openblas", "template: fftw", "only what OpenBLAS's driver measures"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(UsageError, match=rf"mine.yaml:\d+: .*{words}"):
            own_card(path, FACTS)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("success: ['^done$']", "success: ['^done(']", "success.0: .* is not a regular expression"),
        (
            "'^threads (\\d+)$'",
            "'^threads (\\d+$'",
            "readback.threads: .* not a regular expression",
        ),
        ("'^threads (\\d+)$'", "'^threads \\d+$'", "readback.threads: .* has no group"),
        (
            "'^residual (?P<key>",
            "'^residual (?P<kee>",
            "check.residual.pattern: .* lacks the group",
        ),
        ('"{driver}"', '"{drvier}"', r"command.argv.0: \{drvier\} stands for nothing"),
        ('"{value}"', '"{valeu}"', r"space.0.env.SPIN: \{valeu\} stands for nothing"),
        ('"{value}"}', '"{value}"}\n    probe: kernel', "space.0.probe: readback has no kernel"),
        ("- GLIBC_TUNABLES", "- GLIBC TUNABLES", "unset.17: .* environment variable"),
        ("nodes: 1,", "nodes: 4,", "resources.nodes: only 1 is possible"),
        ("cpus_per_task: cores", "cpus_per_task: corse", "did you mean 'cores'"),
        ("cpus_per_task: cores", "cpus_per_task: 0", "resources.cpus_per_task: 0 CPUs"),
        ("kind: library", "kind: application", "an application is tuned with --app FILE.yaml"),
        ("restrictions:", "restriction:", "restriction: is not known; did you mean restrictions"),
        ("'\"1\"'", "1", "space.0.default: must be text: put it between quotes"),
        ("title:", "titel:", "titel: is not known; did you mean title"),
    ],
)
def test_a_card_that_no_job_could_use_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = one_dimension(tmp_path, SPIN.format("(1, 2)", "'\"1\"'"))
    text = path.read_text()
    own_card(path, FACTS)
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=rf"mine.yaml:\d+: .*{words}") as told:
        own_card(path, FACTS)
    assert "\n" not in str(told.value)


def test_all_that_is_missing_is_told_at_once_and_braces_of_a_shell_are_let_be(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("schema: 1\nname: mine\nkind: library\ntitle: x\n")
    with pytest.raises(UsageError, match=r"sources, build, .* are missing: begin with a copy"):
        own_card(path, FACTS)
    path = one_dimension(tmp_path, SPIN.format("(1, 2)", "'\"1\"'"))
    argv = '"{value}"}\n    argv: [sh, -c, \'awk {print} <x; exec "$@"\', sh]'
    path.write_text(path.read_text().replace('"{value}"}', argv, 1))
    own_card(path, FACTS)


def test_hints_follow_the_machine() -> None:
    threads = knobs(machine()).hints["threads"]
    assert threads in {p.name: p.values for p in whole_space(knobs()).params}["threads"]
    older = replace(machine(), features=("avx", "avx2", "fma"), microarchitecture="haswell")
    assert knobs(older).hints["core"] == "Haswell"
    newer = replace(older, features=(*older.features, "avx512vl"))
    assert knobs(newer).hints["core"] == "SkylakeX"
    assert knobs(replace(older, features=())).hints["core"] == library().core
    # Two hardware threads a core: as many threads as cores.
    assert knobs(machine(smt=2)).facts["physical_cores"] == 4
