"""Cheats and mistakes of all kinds go through the real gate, and each is caught as what it is.

A source says in its first lines by which stage and as what it is caught, also `without` a stage:
no single look may be all that stands between a cheat and a result. All of them take minutes;
HPCAGENT_FAULTS=long (`bin/test --faults`) runs them all, otherwise some of each kind.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from codegen_gate import Gate
from doctor_scene import BARE

from hpcagent.codegen.attempt import STAGES, Source
from hpcagent.codegen.cases import drawn_sizes
from hpcagent.codegen.rules import rules
from hpcagent.codegen.screen import screen
from hpcagent.codegen.taskfile import parse_task
from hpcagent.errors import UsageError
from hpcagent.toolchain.signatures import catalogue
from hpcagent.yamlfile import load_yaml

HERE = Path(__file__).parent / "codegen_cheats"
LANGUAGES = {".c": "c", ".cpp": "c++", ".f90": "fortran"}
CATCH = re.compile(r"^[ *!/]*(caught|without [a-z, ]+): ([a-z]+) ([a-z]+\.[a-z_]+)$", re.MULTILINE)
LONG = os.environ.get("HPCAGENT_FAULTS") == "long"
# In the short form: one of each way to be caught behind the screen.
SHORT = {
    "smooth-cached.c", "smooth-writes_behind.c-checked", "smooth-machine_code.c-screen",
    "smooth-prints_result.c-screen-symbols", "threads-race.c",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Catch:
    path: Path
    without: tuple[str, ...]
    stage: str
    kind: str

    @property
    def name(self) -> str:
        words = [f"{self.path.parent.name}-{self.path.name}", *self.without]
        return "-".join(words)

    @property
    def language(self) -> str:
        return LANGUAGES[self.path.suffix]


def catches(path: Path) -> Iterator[Catch]:
    for how, stage, kind in CATCH.findall(path.read_text(encoding="utf-8")):
        without = tuple(how.removeprefix("without ").split(", ")) if how != "caught" else ()
        yield Catch(path, without, stage, kind)


SOURCES = sorted(
    path
    for path in HERE.rglob("*")
    if path.suffix in LANGUAGES and path.stem != "reference" and path.is_file()
)
ALL = [catch for path in SOURCES for catch in catches(path)]


def test_every_cheat_says_how_it_is_caught_and_the_kinds_are_listed() -> None:
    assert len(SOURCES) > 60
    assert {catch.name for catch in ALL} >= SHORT
    for path in SOURCES:
        assert any(not catch.without for catch in catches(path)), path
    for catch in ALL:
        assert catalogue().get(catch.kind) is not None, catch.kind
        assert catch.stage in (*STAGES, "measure")
        assert set(catch.without) <= set(STAGES)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_screen_sees_what_it_is_said_to_see(path: Path) -> None:
    """Without a compiler: what only the preprocessed source shows is seen in the unit."""
    language = LANGUAGES[path.suffix]
    rows = screen(path.read_text(encoding="utf-8"), language, rules())
    found = [f"gate.{row['kind']}" for row in rows if row["rejected"]]
    wanted = [c.kind for c in catches(path) if c.stage == "screen" and path.name != "pasted.c"]
    assert found[:1] == wanted


def test_sizes_are_drawn_by_the_source_and_lie_where_the_task_says() -> None:
    task = parse_task(load_yaml(HERE / "smooth" / "task.yaml"))
    one, same, other = (drawn_sizes(task, text) for text in ("a", "a", "b"))
    assert one == same != other
    assert all(2 <= sizes["n"] <= 600 for sizes in one + other)
    assert len(one) == 3


def test_a_range_of_sizes_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    text = (HERE / "smooth" / "task.yaml").read_text(encoding="utf-8")
    for bad in ("{m: [1, 2]}", "{n: [5, 2]}", "{n: [-3, 2]}"):
        path.write_text(text.replace("{n: [2, 600]}", bad))
        with pytest.raises(UsageError, match=r"task\.yaml:\d+: cases\.vary"):
            parse_task(load_yaml(path))


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Gate]:
    made: dict[str, Gate] = {}

    def gate(name: str) -> Gate:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = Gate(folder, HERE / name / "task.yaml", BARE)
        return made[name]

    return gate


@pytest.mark.toolchain
@pytest.mark.parametrize(
    "catch",
    [catch for catch in ALL if LONG or catch.name in SHORT],
    ids=lambda catch: catch.name,
)
def test_each_is_caught_by_the_gate(catch: Catch, gates: Callable[[str], Gate]) -> None:
    gate = gates(catch.path.parent.name)
    text = catch.path.read_text(encoding="utf-8")
    source = Source(catch.language, {f"kernel{catch.path.suffix}": text})
    verdict = gate.attempt(catch.name, source, catch.without)
    if catch.stage == "measure":
        assert not verdict.kind, verdict
        verdict = gate.measure(catch.name)
    assert (verdict.stage, verdict.kind) == (catch.stage, catch.kind), verdict
    assert verdict.evidence.strip()
