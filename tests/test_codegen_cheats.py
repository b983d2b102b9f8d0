"""Cheats and mistakes of all kinds go through the real gate, and each is caught as what it is.

A source says in its first lines by which stage and as what it is caught, also `without` a stage:
no single look may be all that stands between a cheat and a result. All of them take minutes;
HPCAGENT_FAULTS=long (`bin/test --faults`) runs them all, otherwise one of each stage and kind.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from codegen_gate import Attempt, Gate
from doctor_scene import BARE

from hpcagent.codegen import trial
from hpcagent.codegen.attempt import STAGES, Source
from hpcagent.codegen.cases import drawn_sizes
from hpcagent.codegen.rules import rules
from hpcagent.codegen.screen import screen
from hpcagent.codegen.session import Problem, Timed
from hpcagent.codegen.taskfile import parse_task
from hpcagent.errors import UsageError
from hpcagent.toolchain.signatures import catalogue
from hpcagent.yamlfile import load_yaml

HERE = Path(__file__).parent / "codegen_cheats"
LANGUAGES = {".c": "c", ".cpp": "c++", ".f90": "fortran"}
CATCH = re.compile(r"^[ *!/]*(caught|without [a-z, ]+): ([a-z]+) ([a-z]+\.[a-z_]+)$", re.MULTILINE)
LONG = os.environ.get("HPCAGENT_FAULTS") == "long"
ONLY_PREPROCESSED = {"pasted.c", "wraps.c"}
# A measured process looks at one of its calls, drawn by lot.
MOST_PROCESSES = 12
PREFERRED = ("smooth", "threads", "share")


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


def of_each_kind() -> set[str]:
    """One for each way to be caught behind the screen, without ranks where that can be."""
    found: dict[tuple[str, str], Catch] = {}
    for catch in sorted(ALL, key=lambda catch: PREFERRED.index(catch.path.parent.name)):
        if catch.stage != "screen":
            found.setdefault((catch.stage, catch.kind), catch)
    return {catch.name for catch in found.values()} | {"threads-race.c"}


CHOSEN = [catch for catch in ALL if LONG or catch.name in of_each_kind()]


def test_every_cheat_says_how_it_is_caught_and_the_kinds_are_listed() -> None:
    assert len(SOURCES) > 90
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
    wanted = [
        catch.kind
        for catch in catches(path)
        if catch.stage == "screen" and catch.kind.startswith("gate.")
    ]
    if path.name in ONLY_PREPROCESSED:
        wanted = []
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


class Told:
    """A session whose calls take what they take, and tell what they like to."""

    def __init__(self, true_s: float, delays_s: Iterator[float]) -> None:
        self.true_s, self.delays_s = true_s, delays_s

    def prepare(self, case: object, seed: int) -> None:
        pass

    def run(self, calls: int = 1) -> Timed:
        return Timed(0.0, calls * self.true_s + next(self.delays_s))


def test_a_short_time_that_a_row_of_calls_belies_is_not_believed() -> None:
    """40 us that are told as 2 us; a gap of 38 us is less than what a pipe may take."""
    singles = [Timed(2e-6, 40e-6 + 1e-4)] * 5
    told = Told(40e-6, itertools.repeat(1e-4))
    with pytest.raises(Problem, match=r"200 calls took 0\.008"):
        trial._believe_clock(told, {"name": "small"}, singles)


def test_a_busy_node_is_no_false_clock() -> None:
    singles = [Timed(40e-6, 40e-6 + 1e-4)] * 5
    delays = itertools.chain([0.05] * 5, itertools.repeat(2e-4))
    trial._believe_clock(Told(40e-6, delays), {"name": "small"}, singles)


class Ranks(Told):
    """Ranks wait for each other so long after each row; `share`: of the time, what they tell."""

    filtered = False

    def __init__(self, true_s: float, wait_s: float, share: float = 1.0) -> None:
        super().__init__(true_s, itertools.repeat(wait_s))
        self.share = share

    def run(self, calls: int = 1) -> Timed:
        spent = calls * self.true_s
        return Timed(self.share * spent, spent + next(self.delays_s))


def test_ranks_that_wait_for_each_other_have_no_false_clock() -> None:
    """As long as a call: a row of calls, long enough, shows that it is not part of them."""
    ranks = Ranks(0.16, 0.16)
    trial._believe_clock(ranks, {"name": "large"}, [ranks.run() for _ in range(5)])


def test_a_clock_that_tells_half_is_false_however_long_the_row() -> None:
    ranks = Ranks(0.16, 0.01, 0.5)
    with pytest.raises(Problem, match="it told"):
        trial._believe_clock(ranks, {"name": "large"}, [ranks.run() for _ in range(5)])


def test_a_start_that_was_moved_shows_in_a_row_of_calls() -> None:
    moved = [Timed(0.01, 0.16)] * 5
    with pytest.raises(Problem, match=r"told 0\.010000 s of one"):
        trial._believe_clock(Ranks(0.16, 0.001), {"name": "large"}, moved)


class Bench:
    """A gate for each task, and the attempts that were made, whose stages are shared."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._gates: dict[str, Gate] = {}
        self._attempts: dict[tuple[Path, bool], Attempt] = {}

    def gate(self, name: str) -> Gate:
        if name not in self._gates:
            self._gates[name] = Gate(
                self._folder / name,
                HERE / name / "task.yaml",
                BARE,
                {"cpu_s": 10.0, "file_bytes": 2 << 20},
                {"reply_s": 10, "check_s": 170},
            )
        return self._gates[name]

    def attempt(self, catch: Catch) -> Attempt:
        """Sanitizers change what is linked; other stages only look."""
        key = catch.path, "checked" in catch.without
        if key not in self._attempts:
            text = catch.path.read_text(encoding="utf-8")
            source = Source(catch.language, {f"kernel{catch.path.suffix}": text})
            gate = self.gate(catch.path.parent.name)
            self._attempts[key] = gate.begin(catch.name, source, gate.reference)
        return self._attempts[key]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("cheats"))


def stages_to(catch: Catch) -> list[str]:
    """Up to the one that has to catch it; what is instrumented is needed by the checks alone."""
    end = STAGES.index(catch.stage) if catch.stage in STAGES else len(STAGES)
    skipped = {*catch.without, *(("checked",) if catch.stage == "symbols" else ())}
    return [stage for stage in STAGES[: end + 1] if stage not in skipped]


@pytest.mark.toolchain
@pytest.mark.parametrize("catch", CHOSEN, ids=lambda catch: catch.name)
def test_each_is_caught_by_the_gate(catch: Catch, bench: Bench) -> None:
    gate, attempt = bench.gate(catch.path.parent.name), bench.attempt(catch)
    verdict = gate.go(attempt, stages_to(catch))
    if catch.stage == "measure":
        assert not verdict.kind, verdict
        verdict = gate.measure(attempt.unit.name)
        for _ in range(MOST_PROCESSES - 1):
            verdict = verdict if verdict.kind else gate.measure(attempt.unit.name)
    assert (verdict.stage, verdict.kind) == (catch.stage, catch.kind), verdict
    assert verdict.evidence.strip()
