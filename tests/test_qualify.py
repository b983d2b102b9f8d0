"""Qualification: models that are right, wrong or worse, interruptions, and a real random model."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_gguf import make_tiny_gguf

from hpcagent.cli.main import group
from hpcagent.codegen.cases import check_rows
from hpcagent.codegen.signature import c_prototype
from hpcagent.errors import EnvironmentProblem, RunInUse, UsageError
from hpcagent.llm.child.prompt import TEMPLATE, prompt
from hpcagent.llm.qualify import diagnosis, invent, kernel, menu, merit
from hpcagent.llm.qualify.answers import Answers
from hpcagent.llm.qualify.ask import _LABEL_TOKENS, SEED, Answer
from hpcagent.llm.qualify.card import DOUBTFUL, FIT, UNFIT, Card, Score, card
from hpcagent.llm.qualify.family import QUALIFICATION, Case, Family
from hpcagent.llm.qualify.run import NAMES, Took, families, missing, run
from hpcagent.records import Failure, Limits, Message, Ranking, Reply
from hpcagent.report.qualify_text import terminal
from hpcagent.study.kernels_task import entry_of, unfit
from hpcagent.toolchain.diagnosis import diagnose
from hpcagent.toolchain.signatures import catalogue

HEADER = {"qualification": QUALIFICATION, "model_sha256": "ab"}
ALL = families(without=["kernel"])
ASKED = [case for family in families() for case in family.cases()]
BY_TEXT = {case.text: case for case in ASKED}
REGEXES = {
    "gflops": "best size: [0-9]+, best ([0-9.]+) GFLOP/s",
    "stream-triad": "Triad: +([0-9.]+)",
    "wall-time": "Total wall time: ([0-9.]+) s",
    "iterations": "converged after ([0-9]+) iterations",
    "nanoseconds-per-day": "Performance: +([0-9.]+)",
    "energy": "^! +total energy += +(-[0-9.]+) Ry",
    "memory": "peak ([0-9]+) MB",
    "latency": "^8 +([0-9.]+)",
    "speed-up": "efficiency ([0-9.]+) %",
    "exponent": "scaled residual ([-0-9.e+]+)",
}


@dataclass
class Scripted:
    """Answers each case by `choose`; it counts what it was asked and stops after `lasts`."""

    choose: Callable[[Case], str]
    lasts: int = 10**6
    asked: list[str] = field(default_factory=list)

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
    ) -> Reply:
        case = BY_TEXT[messages[-1].text]
        if len(self.asked) >= self.lasts:
            raise KeyboardInterrupt
        self.asked.append(case.text)
        answer = self.choose(case)
        return Reply(json.dumps({"choice": answer}) if case.labels else answer, 100, 10, 0.5)


@dataclass
class Ranker(Scripted):
    def rank(self, messages: Sequence[Message], menu: Sequence[str], limits: Limits) -> Ranking:
        best = self.choose(BY_TEXT[messages[-1].text])
        return Ranking(tuple(-0.1 if entry == best else -9.0 for entry in menu), 100, 0.1)


class Failing:
    def __init__(self, failure: Failure) -> None:
        self.failure = failure

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
    ) -> Reply:
        return Reply("", failure=self.failure)


def right(case: Case) -> str:
    if case.labels:
        return max(case.labels, key=lambda label: case.judge(label).score)
    if case.name in REGEXES:
        return json.dumps({"regex": REGEXES[case.name]})
    return json.dumps({"answer": "The facts do not say."})


def wrong(case: Case) -> str:
    if case.labels:
        return min(case.labels, key=lambda label: case.judge(label).score)
    return json.dumps({"regex": "([0-9.]+)", "answer": "It is about 42 of them."})


def same(case: Case) -> str:
    return case.labels[1] if case.labels else wrong(case)


def put_through(model: Any, path: Path, timeout_s: float = 10.0) -> Card:
    answers = Answers(path, HEADER)
    try:
        run(ALL, model, answers, timeout_s, lambda answer, number, count, left_s: None)
    finally:
        answers.close()
    return card(ALL, answers.known, {"name": "m", "sha256": "ab"})


def scores(card: Card) -> dict[str, Score]:
    return {score.family: score for score in card.scores}


def test_a_model_that_is_right_is_fit_for_every_role_that_could_be_tried(tmp_path: Path) -> None:
    found = scores(put_through(Scripted(right), tmp_path / "a"))
    for score in found.values():
        assert (score.verdict, score.mean, score.valid) == (FIT, 1.0, score.cases)
        assert score.low > score.chance
        assert score.luck < 1e-4
    assert found["menu"].words == "better than chance at menu choices: fit for optimise"
    assert found["diagnosis"].tokens_in == 1200
    assert found["diagnosis"].seconds == 6.0


def test_a_model_that_ranks_needs_no_words(tmp_path: Path) -> None:
    model = Ranker(right)
    found = scores(put_through(model, tmp_path / "a"))
    assert all(score.verdict == FIT for score in found.values())
    assert found["menu"].ranked
    assert not found["merit"].ranked
    assert len(model.asked) == sum(not case.labels for one in ALL for case in one.cases())


@pytest.mark.parametrize("choose", [wrong, same, lambda case: "garbage", lambda case: ""])
def test_a_model_that_is_wrong_blind_or_mute_is_fit_for_nothing(
    choose: Callable[[Case], str], tmp_path: Path
) -> None:
    tried = put_through(Scripted(choose), tmp_path / "a").scores
    assert {score.verdict for score in tried} == {UNFIT}
    assert all(score.low <= score.chance for score in tried)
    if choose not in (wrong, same):
        assert sum(score.valid for score in tried) == 0


def test_who_always_refuses_or_never_does_is_not_fit_to_tell_results(tmp_path: Path) -> None:
    def refuses(case: Case) -> str:
        if case.labels and invent.UNKNOWN in case.text:
            line = next(one for one in case.text.splitlines() if one.endswith(invent.UNKNOWN))
            return line[0]
        return right(case)

    found = scores(put_through(Scripted(refuses), tmp_path / "a"))["invent"]
    assert found.verdict == UNFIT
    assert found.groups == {invent.KNOWN_GROUP: 0.0, invent.UNKNOWN_GROUP: 1.0}


def test_what_is_better_than_chance_may_still_be_too_bad(tmp_path: Path) -> None:
    few = {case.name for case in diagnosis.FAMILY.cases()[:6]}
    model = Scripted(lambda case: right(case) if case.name in few else wrong(case))
    found = scores(put_through(model, tmp_path / "a"))["diagnosis"]
    assert found.verdict == DOUBTFUL
    assert "not good enough for debug (50%, 70% wanted)" in found.words


def test_failed_calls_are_counted_and_told(tmp_path: Path) -> None:
    found = put_through(Failing(Failure("model", "timeout", "10 s")), tmp_path / "a")
    assert scores(found)["merit"].failures == {"model.timeout": 10}
    assert "10 calls failed with model.timeout" in " ".join(terminal(found, 80).split())


class Slow(Scripted):
    """Reads a question in `calls` calls of 10 s."""

    calls: int = 3
    so_far: int = 0

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
    ) -> Reply:
        self.so_far += round(limits.timeout_s / 10)
        if self.so_far < self.calls:
            return Reply("", failure=Failure("model", "timeout", "90 of 99 tokens were read"))
        self.so_far = 0
        return super().complete(messages, schema, limits, seed)


def test_a_question_that_takes_long_to_read_is_gone_on_with(tmp_path: Path) -> None:
    """On a slow processor a prompt may take longer than an answer's time: that says nothing of the
    model, and what was read is kept."""
    found = scores(put_through(Slow(right), tmp_path / "a"))
    assert all(score.verdict == FIT and not score.failures for score in found.values())


def test_what_took_too_long_is_asked_again_with_more_time(tmp_path: Path) -> None:
    path, model = tmp_path / "a", Slow(right)
    model.calls = 1000
    found = scores(put_through(model, path))
    assert all(score.failures == {"model.timeout": score.cases} for score in found.values())
    assert put_through(Scripted(right, lasts=0), path)  # kept: nothing is asked
    found = scores(put_through(Scripted(right), path, 50.0))
    assert all(score.verdict == FIT and not score.failures for score in found.values())
    assert scores(put_through(Scripted(right, lasts=0), path, 60.0)) == found


def test_time_left_is_that_of_the_family_where_it_is_known() -> None:
    took = Took(["menu/1", "menu/2", "menu/3", "merit/1", "merit/2"])
    took.note("menu/1", 10.0)
    assert took.left_s == 40.0
    took.note("merit/1", 50.0)
    assert took.left_s == 70.0


def test_a_model_that_is_gone_ends_it_and_counts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with pytest.raises(EnvironmentProblem, match=r"does not answer: model\.unavailable"):
        put_through(Failing(Failure("model", "unavailable", "died 3 times")), path)
    assert Answers(path, HEADER).known == {}


@pytest.mark.parametrize("cut", [0, 7])
def test_an_interrupted_qualification_goes_on(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    first, second = Scripted(right, lasts=30), Scripted(right)
    with pytest.raises(KeyboardInterrupt):
        put_through(first, path)
    if cut:  # a line that was being written
        path.write_bytes(path.read_bytes()[:-cut])
    resumed = put_through(second, path)
    everything = missing(ALL, Answers(tmp_path / "none", HEADER), 10.0)
    assert len(second.asked) == everything - 30 + bool(cut)
    assert resumed == put_through(Scripted(right), tmp_path / "b")


def test_answers_of_another_model_or_no_answers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    Answers(path, HEADER).close()
    with pytest.raises(UsageError, match=r"model_sha256 is 'ab', not 'cd'.*--answers"):
        Answers(path, {**HEADER, "model_sha256": "cd"})
    with path.open("a") as stream:
        stream.write('{"case": "menu/01"}\n')
    with pytest.raises(UsageError, match=f"{path}:2: no answer"):
        Answers(path, HEADER)
    (tmp_path / "b").write_text("my notes")
    with pytest.raises(UsageError, match="no file of answers"):
        Answers(tmp_path / "b", HEADER)
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        Answers(tmp_path / "none" / "a", HEADER)


def test_a_file_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    first = Answers(tmp_path / "a", HEADER)
    with pytest.raises(RunInUse, match="another process"):
        Answers(tmp_path / "a", HEADER)
    first.close()
    Answers(tmp_path / "a", HEADER).close()


def test_a_file_that_was_killed_at_its_first_line_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"qualif')
    answers = Answers(tmp_path / "a", HEADER)
    answers.add(Answer("menu/01", "A", "json"))
    answers.close()
    assert list(Answers(tmp_path / "a", HEADER).known) == ["menu/01"]


@pytest.mark.parametrize("family", families(), ids=NAMES)
def test_each_family_has_enough_cases_that_no_blind_answer_solves(family: Family) -> None:
    cases = family.cases()
    assert len(cases) >= 8
    assert len({case.name for case in cases}) == len(cases)
    for place in range(max(len(case.labels) for case in cases)):
        solved = [
            c.judge(c.labels[place % len(c.labels)]).score if c.labels else 0.0 for c in cases
        ]
        assert sum(solved) / len(cases) <= family.chance + 1e-9


class Templated:
    """As much of a loaded model as its prompts depend on."""

    def __init__(self, template: str) -> None:
        self.metadata = {TEMPLATE: template} if template else {}

    def token_bos(self) -> int:
        return -1

    token_eos = token_bos


NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}"
)
TEMPLATES = ("", "{{ messages }}", "{{ messages }}<|assistant|><think>\n", NO_SYSTEM)


@pytest.mark.llama
def test_what_is_asked_is_that_of_this_qualification() -> None:
    """Whoever changes a case, or how it reaches a model, raises QUALIFICATION with it: cards of
    one number are compared."""
    parts = [
        f"{SEED} {_LABEL_TOKENS} {TEMPLATES}",
        *(
            f"{c.name} {c.labels} {c.schema} {c.max_tokens} {[m.text for m in c.messages]}"
            for c in ASKED
        ),
    ]
    messages = [{"role": m.role, "content": m.text} for m in ASKED[0].messages]
    parts += [str(prompt(Templated(template), messages)) for template in TEMPLATES]
    found = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    assert (QUALIFICATION, found) == (3, "435805dcdfc761f2")


def test_predictions_and_measurements_of_menus_say_something() -> None:
    """The lowest prediction of a menu is a good choice, as it is of a surrogate."""
    gained = []
    for case in menu.FAMILY.cases():
        found = re.findall(r"(?m)^([A-F]): .* -> predicted ([0-9.]+)", case.text)
        if found:
            best = min(found, key=lambda pair: float(pair[1]))[0]
            gained.append(case.judge(best).score)
    assert len(gained) == 9
    assert sum(gained) / len(gained) > 0.75


@pytest.mark.parametrize("row", diagnosis.failures(), ids=lambda row: row.id)
def test_the_failures_are_what_the_diagnosis_names(row: diagnosis.Failed) -> None:
    assert diagnose(row.shown.encode(), 1).causes[0].id == row.id
    known = catalogue().failures
    assert len({row.id, *row.others}) == 6
    assert {row.id, *row.others} <= set(known)
    assert {row.id, *row.others} <= set(diagnosis.meanings())


@pytest.mark.parametrize("row", merit.outputs(), ids=lambda row: row.name)
def test_expressions_are_judged_by_what_they_find(row: merit.Output) -> None:
    def score(regex: str) -> float:
        return merit.judge(row, json.dumps({"regex": regex})).score

    assert score(REGEXES[row.name]) == 1.0
    for bad in ("([0-9.]+)", f"({re.escape(row.figure)})", "[0-9]+", "(", "(a)(b)", "", "(x?)"):
        assert score(bad) == 0.0, bad
    assert not merit.judge(row, '{"regex": 3}').valid


@pytest.mark.parametrize(
    ("answer", "score", "valid"),
    [
        ('{"answer": "The facts do not say."}', 1.0, True),
        ('{"answer": "It is not known."}', 1.0, True),
        ('{"answer": "About 3 W."}', 0.0, True),
        ('{"answer": "Roughly twice as fast."}', 0.0, True),
        ('{"answer": ""}', 0.0, False),
        ('{"answer": "!!"}', 0.0, False),
        ("no", 0.0, False),
    ],
)
def test_words_with_figures_are_inventions(answer: str, score: float, valid: bool) -> None:
    found = invent.judge_words(answer)
    assert (found.score, found.valid) == (score, valid)


@pytest.mark.parametrize("row", kernel.kernels(), ids=lambda row: row.name)
def test_kernels_are_tasks_of_code_generation(row: kernel.Wanted) -> None:
    entry = entry_of(row, row.source)
    assert f"{c_prototype(entry.task, 'c')};" == row.prototype
    assert check_rows(entry.task, "x")  # its expressions can be evaluated
    assert unfit(row.source) is None


@pytest.mark.parametrize(
    "text", ["void f(void);", "```\n```", "```c\n" + "x" * 30_000 + "\n```", ""]
)
def test_an_answer_without_a_block_of_code_is_no_kernel(text: str) -> None:
    assert kernel.source_in(text) == ""


@pytest.mark.parametrize("head", ["```c", "```", "```c kernel.c", "```cpp ", "```c\r"])
def test_a_kernel_is_taken_out_of_its_fence(head: str) -> None:
    assert kernel.source_in(f"Here:\n{head}\nint x;\n```\nDone.") == "int x;\n"


def test_what_cannot_be_written_as_text_is_refused_before_the_gate() -> None:
    found = unfit(kernel.source_in("```c\nint x; // \ud800 \u00e4\n```"))
    assert found is not None
    assert found.id == "model.not_text"


def test_verdicts_of_the_gate_make_the_score(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "a", HEADER)
    for number, row in enumerate(kernel.kernels()):
        answers.add(Answer(f"kernel/{row.name}", f"```c\n{row.source}```", "text"))
        answers.judge(f"kernel/{row.name}", "" if number < 6 else "numerics.wrong_result: y[0]")
    answers.close()
    told = {n.partition("/")[2]: w for n, w in Answers(tmp_path / "a", HEADER).verdicts.items()}
    found = card([kernel.family(told)], answers.known, {"name": "m"}).scores[0]
    assert (found.verdict, found.mean, found.valid) == (FIT, 0.75, 8)
    assert (round(found.low, 3), round(found.high, 3)) == (0.349, 0.968)
    assert [one.words for one in found.outcomes][5:] == ["", *["numerics.wrong_result: y[0]"] * 2]
    text = terminal(card([kernel.family(told)], answers.known, {"name": "m"}), 80)
    assert "\n  smooth, prefix: numerics.wrong_result: y[0]\n" in text
    text = terminal(card([kernel.family({}, "not run: no compiler")], {}, {"name": "m"}), 80)
    assert "codegen      not run: no compiler" in text


def test_the_card_fits_a_terminal(tmp_path: Path) -> None:
    found = put_through(Scripted(right), tmp_path / "a")
    for width in (40, 60, 80):
        assert max(len(line) for line in terminal(found, width).splitlines()) <= width
    text = terminal(found, 80)
    assert re.search(r"menu choices +18 +100 % +100 % +100-100 +50 %", text)


def test_a_random_model_comes_out_as_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_tiny_gguf(tmp_path / "tiny.gguf")
    asked = ["models", "qualify", "tiny.gguf", "--json", "--only", "diagnosis", "--only", "menu"]
    first = CliRunner().invoke(group, asked, standalone_mode=False)
    assert first.exception is None, first.output
    assert "menu/18 (18 of 18)" in first.stderr
    told = json.loads(first.stdout)
    assert told["qualification"] == QUALIFICATION
    assert [score["family"] for score in told["scores"]] == ["menu", "diagnosis"]
    for score in told["scores"]:
        # Blind answers do as well more often than once in a thousand; as badly, too.
        assert 1e-3 < score["luck"] < 1 - 1e-3 or score["mean"] <= score["chance"]
        assert score["mean"] < score["needed"]
        assert score["valid"] == score["cases"]
        assert score["tokens_in"] > 1000
    again = CliRunner().invoke(group, asked, standalone_mode=False)
    assert json.loads(again.stdout) == told
    assert "answers to be had" not in again.stderr
