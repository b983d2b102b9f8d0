from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_gguf import make_tiny_gguf

from hpcagent.errors import UsageError
from hpcagent.llm.gguf import digest
from hpcagent.llm.grammar import longest, violation
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.log import Call, Recording
from hpcagent.records import (
    Config,
    Failure,
    Limits,
    Message,
    Param,
    Proposal,
    Ranking,
    Reply,
    Stop,
    Trial,
)
from hpcagent.search.earned import slots
from hpcagent.search.model import create
from hpcagent.search.options import Options
from hpcagent.search.question import SHORTEST, Question, answer_bound
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate

SPACE = Space(
    (
        Param("threads", "ordinal", ("1", "2", "4", "8"), "4", "OpenBLAS threads"),
        Param("core", "categorical", ("auto", "ZEN", "HASWELL"), "auto"),
    ),
    ("core == 'auto' or threads >= 2",),
)
FACTS = {"machine": "two sockets", "library": "OpenBLAS 0.3.21"}


class Scripted:
    """Answers in turn; texts, or replies as they are. The last one is repeated."""

    def __init__(self, *answers: str | Reply) -> None:
        self.answers = answers
        self.asked: list[tuple[Message, ...]] = []

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], limits: Limits, seed: int
    ) -> Reply:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(tuple(messages))
        return Reply(answer) if isinstance(answer, str) else answer


FAILURES = {
    "?": "context_overflow", "!": "died", "-": "unavailable", "/": "not_in_transcript",
    "~": "timeout",
}  # fmt: skip


class Ranker(Scripted):
    """Ranks as well: the label whose turn it is has nearly all of the probability."""

    def __init__(self, *answers: str | Reply, labels: str = "A") -> None:
        super().__init__(*answers)
        self.labels = labels
        self.menus: list[tuple[tuple[Message, ...], tuple[str, ...]]] = []
        self.reasons: list[int] = []

    def rank(
        self,
        messages: Sequence[Message],
        menu: Sequence[str],
        limits: Limits,
        reason: int = 0,
        seed: int = 0,
    ) -> Ranking:
        label = self.labels[min(len(self.menus), len(self.labels) - 1)]
        self.menus.append((tuple(messages), tuple(menu)))
        self.reasons.append(reason)
        if label in FAILURES:
            return Ranking((), failure=Failure("model", FAILURES[label], "none"))
        rows = tuple(0.0 if entry == label else -9.0 for entry in menu)
        return Ranking(rows, 100, 0.1, reason="more\ncores")


def answer(threads: str, core: str, reason: str = "more cores") -> str:
    return json.dumps({"reason": reason, "config": {"threads": threads, "core": core}})


def config(threads: str, core: str) -> Config:
    return Config.of({"threads": threads, "core": core})


def history(*pairs: tuple[str, str]) -> list[Trial]:
    first = Trial(SPACE.default, 0.0, 0.0, None, 0, "surrogate")
    return [first, *(Trial(config(*p), -0.05, 0.01, None, 1, "surrogate") for p in pairs)]


def proposals(
    model: Scripted, past: Sequence[Trial], k: int = 4, verdicts: list[str] | None = None
) -> tuple[Proposal, ...]:
    tell = None if verdicts is None else verdicts.append
    strategy = create(Options(model=model, facts=FACTS, verdict=tell))
    found = strategy.propose(SPACE, past, [], k, 1)
    assert not isinstance(found, Stop)
    return found


def test_the_model_has_its_share_and_the_surrogate_the_rest() -> None:
    alone = Surrogate().propose(SPACE, history(), [], 4, 1)
    assert not isinstance(alone, Stop)
    taken = [SPACE.default, *(p.config for p in alone)]
    wish = next(point for point in SPACE.points() if point not in taken)
    found = proposals(Scripted(answer(wish.values["threads"], wish.values["core"])), history(), k=4)
    assert [p.config for p in found[:3]] == [p.config for p in alone[:3]]
    assert [p.proposed_by for p in found] == ["surrogate"] * 3 + ["model"]
    assert found[3].config == wish and found[3].reason == "more cores"


def test_the_first_evaluation_is_the_default_whatever_the_model_wants() -> None:
    model = Scripted(answer("8", "ZEN"))
    assert proposals(model, [], k=1)[0].config == SPACE.default
    assert not model.asked


@pytest.mark.parametrize(("k", "count"), [(1, 0), (2, 0), (3, 0), (4, 1), (7, 2), (10, 3)])
def test_the_share_of_a_round(k: int, count: int) -> None:
    assert slots([], [], k) == count


def test_the_share_of_rounds_of_one_is_bounded_too() -> None:
    past: list[Trial] = []
    for number in range(20):
        mine = slots(past, [], 1)
        by = "model" if mine else "surrogate"
        past.append(Trial(config("1", str(number)), 0.0, None, None, number, by))
    assert sum(trial.proposed_by == "model" for trial in past) == 6


def test_a_bad_answer_is_repeated_with_the_validators_words() -> None:
    verdicts: list[str] = []
    bad = [answer("1", "ZEN"), answer("8", "auto"), answer("8", "ZEN")]
    model = Scripted(*bad)
    found = proposals(model, history(("8", "auto")), k=2, verdicts=verdicts)
    assert found[-1].proposed_by == "model" and found[-1].config == config("8", "ZEN")
    assert "breaks the restriction" in verdicts[0]
    assert "was measured already" in verdicts[1]
    assert verdicts[2] == "accepted"
    last = model.asked[2]
    assert [m.role for m in last] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert last[:2] == model.asked[0] and "was measured already" in last[-1].text


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("garbage", "not JSON"),
        ("[]", "no object"),
        ('{"config": {"threads": 4, "core": "ZEN"}}', "has to be a text"),
        (answer("8", "POWER9"), "is not one of"),
        (answer("1", "ZEN"), "breaks the restriction"),
        (Reply("", failure=Failure("model", "died", "SIGABRT")), "model.died: SIGABRT"),
    ],
)
def test_after_three_bad_answers_the_surrogate_chooses(bad: str | Reply, words: str) -> None:
    model = Scripted(bad)
    found = proposals(model, history(), k=8)
    own = Surrogate().propose(SPACE, history(), [], 8, 1)
    assert not isinstance(own, Stop)
    assert [p.config for p in found] == [p.config for p in own]
    assert {p.proposed_by for p in found} == {"surrogate"}
    assert len(model.asked) == 3
    assert "no usable answer in 3" in found[-2].reason and words in found[-2].reason


def test_an_unavailable_model_is_asked_once() -> None:
    model = Scripted(Reply("", failure=Failure("model", "unavailable", "failed 3 times")))
    assert {p.proposed_by for p in proposals(model, history(), k=8)} == {"surrogate"}
    assert len(model.asked) == 1


def test_two_slots_never_hold_the_same_configuration() -> None:
    found = proposals(Scripted(answer("8", "ZEN")), history(), k=8)
    assert len({p.config for p in found}) == len(found) == 8


def test_a_prompt_too_long_is_shortened() -> None:
    overflow = Reply("", failure=Failure("model", "context_overflow", "9000 tokens"))
    illegal = Failure("run", "signal", "SIGILL")
    past = [Trial(config("1", "auto"), None, None, illegal, 1, "surrogate")]
    past += history(*((t, c) for t in ("2", "8") for c in ("auto", "ZEN", "HASWELL")))
    past += [Trial(config("4", "ZEN"), 0.2, None, None, 2, "surrogate")]
    model = Scripted(overflow, answer("4", "HASWELL"))
    found = proposals(model, past, k=2)
    assert [(p.config, p.proposed_by) for p in found] == [(config("4", "HASWELL"), "model")]
    full, short = (asked[1].text for asked in model.asked)
    assert "core=auto threads=1 -> failed (run.signal)" in full
    assert "4 earlier ones, 1 of them failed" in short and "threads=1 ->" not in short


def test_a_model_that_can_rank_gives_a_reason_and_a_label() -> None:
    verdicts: list[str] = []
    model = Ranker(labels="B")
    found = proposals(model, history(("8", "ZEN")), k=4, verdicts=verdicts)
    taken = [p.config for p in found[:3]]
    menu = Surrogate().candidates(SPACE, history(("8", "ZEN")), taken, 6, 1)
    assert (found[3].config, found[3].reason) == (menu[1].config, "more cores")
    assert found[3].proposed_by == "model" and verdicts == ["accepted"]
    ((asked, labels),) = model.menus
    assert not model.asked
    assert f"B: {menu[1].config} -> " in asked[1].text
    assert labels == tuple("ABCDEFG"[: len(menu) + 1])


def test_the_last_label_leads_to_a_configuration_of_its_own() -> None:
    verdicts: list[str] = []
    past = history(("8", "ZEN"))
    taken = [p.config for p in proposals(Ranker(), past, k=4)[:3]]
    last = "ABCDEFG"[len(Surrogate().candidates(SPACE, past, taken, 6, 1))]
    wish = next(p for p in SPACE.points() if p not in (*taken, *(t.config for t in past)))
    own = json.dumps({"config": dict(wish.values)})
    bad = json.dumps({"config": {"threads": "8", "core": "ZEN"}})
    model = Ranker(bad, own, labels=last)
    found = proposals(model, past, k=4, verdicts=verdicts)
    assert (found[3].config, found[3].reason) == (wish, "more cores")
    assert verdicts[0] == "another" and verdicts[2] == "accepted"
    assert "was measured already" in verdicts[1]
    assert len(model.menus) == 1
    said = json.loads(model.asked[0][2].text)
    assert said == {"reason": "more cores", "choice": last}


@pytest.mark.parametrize(("labels", "calls"), [("-", 1), ("/", 1), ("!", 3), ("?", 2)])
def test_a_ranking_that_cannot_be_had_leaves_the_slot_to_the_surrogate(
    labels: str, calls: int
) -> None:
    model = Ranker(labels=labels)
    found = proposals(model, history(), k=8)
    assert {p.proposed_by for p in found} == {"surrogate"}
    assert len(model.menus) == calls and not model.asked
    assert f"model.{FAILURES[labels]}: none" in found[-2].reason


def test_a_run_that_has_no_time_left_asks_no_model() -> None:
    """Each of three calls may take minutes, which a budget of time does not have."""
    left = [10.0, 10.0, 0.0]
    model = Ranker(labels="~")
    options = Options(model=model, facts=FACTS, left_s=lambda: left[min(len(model.menus), 2)])
    found = create(options).propose(SPACE, history(), [], 4, 1)
    assert not isinstance(found, Stop) and {p.proposed_by for p in found} == {"surrogate"}
    assert len(model.menus) == 2 and "model.timeout: none" in found[-1].reason
    options = Options(model=Ranker(), facts=FACTS, left_s=lambda: 0.0)
    found = create(options).propose(SPACE, history(), [], 4, 1)
    assert not isinstance(found, Stop)
    assert "model's choice (the run's time has none left for it)" in found[-1].reason


def test_a_slow_model_goes_on_reading_and_is_then_asked_for_a_short_reason() -> None:
    model = Ranker(labels="~~A")
    found = proposals(model, history(), k=4)
    assert found[-1].proposed_by == "model" and model.reasons == [200, 200, 40]
    assert len({messages for messages, _ in model.menus}) == 1


def test_a_ranking_that_does_not_fit_is_asked_again_with_less_history() -> None:
    model = Ranker(labels="?A")
    points = [p for p in SPACE.points() if p != SPACE.default]
    past = [*history(), *(Trial(p, 0.01, 0.01, None, 1, "surrogate") for p in points[:5])]
    found = proposals(model, past, k=4)
    assert found[-1].proposed_by == "model"
    long, short = (messages for messages, _ in model.menus[:2])
    assert "earlier ones" in short[1].text and len(short[1].text) < len(long[1].text)
    assert short[2:] == long[2:]


def test_a_prompt_is_shortened_in_bounded_steps_and_never_cut() -> None:
    overflow = Reply("", failure=Failure("model", "context_overflow", "9000 tokens"))
    model = Scripted(overflow)
    many = [Trial(point, 0.1, 0.01, None, 1, "surrogate") for point in SPACE.points()]
    past = [t for n in range(4) for t in many if t.config != config("8", "ZEN")]
    found = proposals(model, past, k=4)
    assert {p.proposed_by for p in found} <= {"surrogate"}
    texts = [asked[1].text for asked in model.asked]
    assert len(texts) == SHORTEST + 1
    assert [len(text) for text in texts] == sorted((len(t) for t in texts), reverse=True)
    assert all(text.endswith("every parameter.\n") for text in texts)
    assert "nothing yet" not in texts[-1] and "earlier ones" in texts[-1]


def test_a_summary_stays_as_it_is_while_lines_are_added() -> None:
    def told(count: int) -> str:
        past = (Trial(point, 0.1, 0.01, None, 1, "") for point in (*SPACE.points(),) * 9)
        question = Question(SPACE, FACTS, tuple(past)[:count], (), ())
        text = question.messages(2)[1].text
        return text[: text.index("The statistical")].strip()

    assert all(told(count + 1).startswith(told(count)) for count in range(24, 31))
    assert not told(32).startswith(told(31))


def test_the_static_part_comes_first_and_history_is_appended() -> None:
    def asked(past: list[Trial]) -> tuple[str, str]:
        question = Question(SPACE, FACTS, tuple(past), (), ())
        system, user = question.messages()
        return system.text, user.text

    short, long = asked(history(("8", "ZEN"))), asked(history(("8", "ZEN"), ("2", "ZEN")))
    assert short[0] == long[0]
    for words in ("two sockets", "OpenBLAS threads", "4*", "core == 'auto' or threads >= 2"):
        assert words in short[0]
    measured = short[1][: short[1].index("The statistical")].strip()
    assert "core=ZEN threads=8 -> 0.9512 +- 1.0 %" in measured
    assert long[1].startswith(measured)


def test_the_schema_bounds_the_answer_and_its_length() -> None:
    question = Question(SPACE, FACTS, (), (), ())
    schema = question.schema()
    assert list(schema["properties"]) == ["reason", "config"]
    assert violation(json.loads(answer("8", "ZEN")), schema) == ""
    assert answer_bound(schema) >= longest(schema)


def test_a_hostile_reason_is_one_harmless_line() -> None:
    found = proposals(Scripted(answer("8", "ZEN", "a\n\x1b[31m\u202eb" + "x" * 900)), history())
    reason = found[-1].reason
    assert reason.isprintable() and reason.isascii() and len(reason) <= 200


def test_when_the_surrogate_stops_the_model_is_not_asked() -> None:
    past = [Trial(point, 0.0, 0.0, None, 0, "") for point in SPACE.points()]
    model = Scripted(answer("8", "ZEN"))
    assert isinstance(create(Options(model=model)).propose(SPACE, past, [], 4, 1), Stop)
    assert not model.asked


def test_without_a_model_the_strategy_says_what_to_give() -> None:
    with pytest.raises(UsageError, match="--model"):
        create(Options())


@pytest.mark.llama
def test_a_real_model_with_random_weights_takes_part(tmp_path: Path) -> None:
    path = make_tiny_gguf(tmp_path / "tiny.gguf")
    llama = LlamaCpp(path)
    calls: list[Call] = []
    recording = Recording(llama, digest(path), calls.append)
    strategy = create(Options(model=recording, facts=FACTS, verdict=recording.verdict))
    past = history(("8", "ZEN"))
    found = [strategy.propose(SPACE, past, [], 3, seed) for seed in range(4)]
    llama.close()
    chosen = [batch[-1] for batch in found if not isinstance(batch, Stop)]
    assert len(chosen) == 4
    assert "model" in {proposal.proposed_by for proposal in chosen}
    assert all(SPACE.contains(proposal.config) for proposal in chosen)
    assert all(proposal.config not in {t.config for t in past} for proposal in chosen)
    accepted = [call for call in calls if call.verdict == "accepted"]
    assert len(accepted) == sum(proposal.proposed_by == "model" for proposal in chosen)
    assert all(call.tokens_in > 100 and call.tokens_out > 10 for call in accepted)
    assert all(call.verdict and call.model_sha256 == digest(path) for call in calls)
