"""The list of failures: complete, well formed, and wrong entries are told with their line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from diagnosis_cases import blocks
from hypothesis import given
from hypothesis import strategies as st

from hpcagent import regexes
from hpcagent.errors import UsageError
from hpcagent.measure import results
from hpcagent.records import JobState
from hpcagent.toolchain.finder import telling_parts
from hpcagent.toolchain.repairs import (
    MAX_ATTEMPTS,
    Attempt,
    Cause,
    Change,
    GiveUp,
    Repair,
    next_repair,
)
from hpcagent.toolchain.signatures import catalogue, load_catalogue

PACKAGE = Path(__file__).parents[1] / "hpcagent"
GOOD = "meaning: It does not work., cure: Try something else."


def test_every_failure_that_the_code_names_is_listed() -> None:
    named = set()
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named |= set(re.findall(r'Failure\(\s*"([a-z]+)",\s*"([a-z_-]+)"', text))
        stages = "configure|compile|link|load|mpi|numerics|scheduler|environment|gate"
        named |= set(
            re.findall(rf'"({stages})\.(?!json")([a-z_-]+)"', text)
        )  # a file's name is none
        if path.parent.name == "llm":
            kinds = re.findall(r'_fail(?:ed)?\(\s*"([a-z_]+)"', text)
            named |= {("model", kind) for kind in kinds}
    named |= {("run", kind) for kind in results._BY_SIGNAL.values()}
    named |= set(results._BY_STATUS.values())
    named |= {("scheduler", state.value.lower()) for state in JobState if state.terminal}
    missing = {f"{s}.{k}" for s, k in named if catalogue().get(f"{s}.{k}") is None}
    assert len(named) > 40
    assert not missing


def test_stages_are_covered_by_many_signatures() -> None:
    with_patterns = [f for f in catalogue().failures.values() if f.patterns]
    assert len(with_patterns) >= 120
    stages = {f.stage for f in with_patterns}
    assert stages >= {"configure", "compile", "link", "load", "run", "mpi", "numerics"}
    assert stages >= {"scheduler", "environment"}


def test_every_candidate_is_found_by_the_short_patterns() -> None:
    """No text of a documented failure is lost by searching for parts of patterns only."""
    finder = regexes.compiled(catalogue().alternation, "all")
    whole = [regexes.compiled(f"(?m){p.pattern.match}", p.where) for p in catalogue().places]
    for _, text in blocks("documented.txt"):
        for line in text.encode().splitlines():
            if any(pattern.search(line) for pattern in whole):
                assert finder.search(line), line
                typographic = line.replace(b"'", b"\xe2\x80\x99").replace(b"`", b"\xe2\x80\x98")
                assert finder.search(typographic), line


def test_a_mistake_in_the_words_of_survival_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "failures.yaml"
    for words in ("survivable: ['a(b']", "epilogue: ['a(b']", "forgiven: {line: ['a(b']}"):
        file.write_text(f"schema: 1\n{words}\nfailures:\n- {{id: run.x, {GOOD}}}\n")
        with pytest.raises(UsageError, match=r"failures\.yaml:2.*not a pattern"):
            load_catalogue(file)


ATOMS = st.sampled_from(
    ["a", "error: ", r"\[", "[^ ]+", ".*", "[a|)]", "(?:cannot|can not) open", "x{2}", "(?:f|g.*)?"]
)
PATTERNS = st.lists(st.lists(ATOMS, min_size=1, max_size=6).map("".join), min_size=1, max_size=3)


@given(PATTERNS.map("|".join), st.text("aeorcnt pfgx[:)|\n", max_size=60))
def test_parts_are_found_wherever_the_pattern_is(pattern: str, text: str) -> None:
    parts = telling_parts(pattern)
    line = (text + " error: cannot open xx[").encode()
    if regexes.compiled(f"(?m){pattern}", "whole").search(line):
        assert any(regexes.compiled(f"(?m){part}", "part").search(line) for part in parts)


@pytest.mark.parametrize(
    ("entry", "line", "words"),
    [
        (f"{{id: cooking.burnt, {GOOD}}}", 3, "its stage is none of"),
        (f"{{id: run.x, {GOOD}, colour: red}}", 3, "colour"),
        (f"{{id: run.x, {GOOD}, patterns: ['a(b']}}", 3, "not a pattern of RE2"),
        (f"{{id: run.x, {GOOD}, patterns: ['{{nothing}} x']}}", 3, "none of the terms"),
        (f"{{id: run.x, {GOOD}, beats: [run.y]}}", 3, "beats run.y"),
        (f"{{id: run.x, {GOOD}, weight: high}}", 3, "weight"),
        (f"{{id: run.x, {GOOD}, repair: {{change: mind, action: set, name: x}}}}", 3, "change"),
        (f"{{id: run.x, {GOOD}}}\n  - {{id: run.x, {GOOD}}}", 4, "listed twice"),
    ],
)
def test_a_wrong_entry_is_told_with_file_and_line(
    tmp_path: Path, entry: str, line: int, words: str
) -> None:
    path = tmp_path / "failures.yaml"
    path.write_text(f"schema: 1\nfailures:\n  - {entry}\n")
    with pytest.raises(UsageError) as caught:
        load_catalogue(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value)


# --- repairs -------------------------------------------------------------------------------------

ADD = Repair(change="parameter", action="add", name="flags", value="-fPIC")
MORE = Repair(change="resource", action="multiply", name="memory", value="2")


class Flags:
    """An applier whose setting is a list of words."""

    def __init__(self, setting: str) -> None:
        self.setting = setting

    def change(self, repair: Repair, quote: str) -> Change | str:
        if repair.change == "module":
            return "modules are not changed here"
        words = self.setting if repair.value in self.setting else f"{self.setting} {repair.value}"
        if repair.action == "multiply":
            words = f"{self.setting}*"
        return Change(repair, words, repair.words())


def cause(repair: Repair | None, confidence: float = 0.9, name: str = "link.not_pic") -> Cause:
    return Cause(name, confidence, "quote", repair)


def test_a_declared_repair_is_applied_once() -> None:
    change = next_repair(cause(ADD), "-O2", [], Flags("-O2"))
    assert isinstance(change, Change)
    assert change.setting == "-O2 -fPIC"
    again = next_repair(
        cause(ADD), change.setting, [Attempt("-O2", "link.not_pic", ADD)], Flags(change.setting)
    )
    assert isinstance(again, GiveUp)
    assert "came back" in again.reason


def test_going_in_circles_is_noticed() -> None:
    there = Repair(change="parameter", action="set", name="mpi", value="b")

    class Swap:
        def change(self, repair: Repair, quote: str) -> Change | str:
            return Change(repair, "a", "back to a")

    tried = [Attempt("a", "mpi.slots", there)]
    answer = next_repair(cause(ADD), "b", tried, Swap())
    assert isinstance(answer, GiveUp)
    assert "leads back" in answer.reason


def test_growing_repairs_are_bounded() -> None:
    setting, tried = "m", []
    for _ in range(MAX_ATTEMPTS):
        change = next_repair(cause(MORE), setting, tried, Flags(setting))
        assert isinstance(change, Change)
        tried.append(Attempt(setting, "link.not_pic", MORE))
        setting = change.setting
    answer = next_repair(cause(MORE), setting, tried, Flags(setting))
    assert isinstance(answer, GiveUp)
    assert "limit" in answer.reason


@pytest.mark.parametrize(
    ("given_cause", "words"),
    [
        (cause(None), "no repair"),
        (cause(ADD, confidence=0.4), "not sure enough"),
        (cause(Repair(change="module", action="load", name="cmake")), "not changed here"),
    ],
)
def test_what_is_not_sure_or_not_possible_is_left_alone(given_cause: Cause, words: str) -> None:
    answer = next_repair(given_cause, "x", [], Flags("x"))
    assert isinstance(answer, GiveUp)
    assert words in answer.reason
