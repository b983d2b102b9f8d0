"""A transcript in the place of the model it is of: the same decisions, or one line why not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated_run import Ranker, Scripted, Simulated

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.log import Call, Recording, recording
from hpcagent.llm.replay import RankingReplay, Replay, replay
from hpcagent.protocols import LanguageModel, RankingModel
from hpcagent.records import Event, Failure, Limits, Message, Ranking, Reply
from hpcagent.study.proposing import Proposer

ASK = (Message("system", "Tune."), Message("user", "Which?"))
CONFIG = {"type": "object", "properties": {"x": {"enum": ["1", "2"]}}}
SCHEMA = {"type": "object", "properties": {"config": CONFIG}}
LIMITS = Limits(20, 60)


class Faulty(Ranker):
    """Fails at every third call."""

    def __init__(self) -> None:
        self.calls = 0

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], limits: Limits, seed: int
    ) -> Reply:
        self.calls += 1
        if self.calls % 3 == 0:
            return Reply("", 7, failure=Failure("model", "died", "killed by SIGABRT"))
        return super().complete(messages, schema, limits, seed)

    def rank(
        self,
        messages: Sequence[Message],
        menu: Sequence[str],
        limits: Limits,
        reason: int = 0,
        seed: int = 0,
    ) -> Ranking:
        self.calls += 1
        if self.calls % 3 == 0:
            return Ranking((), failure=Failure("model", "timeout", "no answer within 300 s"))
        return super().rank(messages, menu, limits, reason, seed)


def run(
    folder: Path, asked: LanguageModel, monkeypatch: pytest.MonkeyPatch, **chosen: Any
) -> list[Event]:
    """A whole run with the model `asked`; its transcript is llm.jsonl in `folder`."""

    def opened(self: Proposer) -> Recording:
        self._recording = recording(asked, "a" * 64, lambda c: self._calls.append(c.as_json()))
        return self._recording

    with monkeypatch.context() as patch:
        patch.setattr(Proposer, "_open_model", opened)
        return Simulated("model", (), folder / "llm.jsonl", **chosen).to_the_end()


def decisions(events: Sequence[Event]) -> list[Any]:
    return [(e.type, e.data) for e in events if e.type in ("proposed", "decision")]


def calls(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "llm.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("make", [Scripted, Ranker, Faulty])
def test_a_transcript_leads_to_the_same_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: type[Scripted]
) -> None:
    whole = run(tmp_path, make(), monkeypatch)
    (tmp_path / "again").mkdir()
    log = tmp_path / "again" / "llm.jsonl"
    again = Simulated("model", (), log, replay=str(tmp_path)).to_the_end()
    assert decisions(again) == decisions(whole)
    makers = {p["proposed_by"] for e in whole if e.type == "proposed" for p in e.data["proposals"]}
    assert makers == {"model", "surrogate"}
    # A replay's transcript is one as well.
    third = Simulated("model", (), tmp_path / "third.jsonl", replay=str(log)).to_the_end()
    assert decisions(third) == decisions(whole)


def test_a_run_whose_model_is_gone_uses_its_own_transcript(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = str(tmp_path / "gone.gguf")
    whole = run(tmp_path, Ranker(), monkeypatch, model=gone)
    first = next(n for n, e in enumerate(whole) if e.type == "proposed")
    resumed = Simulated("model", whole[:first], tmp_path / "llm.jsonl", model=gone)
    assert decisions(resumed.to_the_end()) == decisions(whole)


def test_what_the_transcript_lacks_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, Ranker(), monkeypatch)
    lines = (tmp_path / "llm.jsonl").read_text().splitlines()
    (tmp_path / "short.jsonl").write_text("\n".join(lines[:2]) + '\n{"torn": ')
    log = tmp_path / "again.jsonl"
    events = Simulated("model", (), log, replay=str(tmp_path / "short.jsonl")).to_the_end()
    verdicts = [json.loads(line)["verdict"] for line in log.read_text().splitlines()]
    missing = [v for v in verdicts if "model.not_in_transcript" in v]
    assert missing and "accepted" in verdicts[:2]
    assert all("short.jsonl has no answer to this question" in v for v in missing)
    reasons = [p["reason"] for e in events if e.type == "proposed" for p in e.data["proposals"]]
    assert any("model.not_in_transcript" in reason for reason in reasons)


def test_a_transcript_can_do_what_its_model_could(tmp_path: Path) -> None:
    written: list[Call] = []
    ranks = recording(Ranker(), "b" * 64, written.append)
    assert isinstance(ranks, RankingModel)
    plain = recording(Scripted(), "b" * 64, written.append)
    assert not isinstance(plain, RankingModel)
    reply = ranks.complete(ASK, SCHEMA, LIMITS, 3)
    found = ranks.rank(ASK, ("A", "B"), LIMITS)
    told = ranks.rank(ASK, ("A", "B"), LIMITS, 9, 1)
    ranks.verdict("accepted")
    log = tmp_path / "llm.jsonl"
    log.write_text("".join(json.dumps(call.as_json()) + "\n" for call in written))
    model = replay(tmp_path)
    assert isinstance(model, RankingReplay)
    assert model.complete(ASK, SCHEMA, LIMITS, 3).text == reply.text
    assert model.rank(ASK, ("A", "B"), LIMITS).log_probabilities == found.log_probabilities
    again = model.rank(ASK, ("A", "B"), LIMITS, 9, 1)
    assert (again.log_probabilities, again.reason) == (told.log_probabilities, told.reason)
    for lacking in (
        model.rank(ASK, ("A", "B"), LIMITS, 9, 2),
        model.rank(ASK, ("A", "B"), LIMITS, 10, 1),
        model.complete(ASK, SCHEMA, LIMITS, 4),
        model.complete(ASK, SCHEMA, Limits(21, 60), 3),
        model.complete(ASK, SCHEMA, Limits(20, 60, thinking_tokens=5), 3),
        model.complete(ASK, None, LIMITS, 3),
        model.rank(ASK, ("B", "A"), LIMITS),
    ):
        assert lacking.failure is not None and lacking.failure.kind == "not_in_transcript"
    log.write_text(json.dumps(written[0].as_json()))
    assert type(replay(log)) is Replay


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "no such transcript"), ("", "holds no answer"), ("[]\n{}\n", "holds no answer")],
)
def test_what_is_no_transcript_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "llm.jsonl").write_text(text)
    with pytest.raises(EnvironmentProblem, match=words):
        replay(tmp_path)


@settings(suppress_health_check=[HealthCheck.too_slow])  # which a busy machine sets off
@given(st.lists(st.one_of(st.binary(max_size=30), st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=5)),
    lambda inner: st.dictionaries(
        st.sampled_from(["prompt_sha256", "op", "ranking", "failure", "tokens_in"]), inner),
).map(lambda value: json.dumps(value).encode())), max_size=5))  # fmt: skip
def test_any_file_is_survived(lines: list[bytes]) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as stream:
        stream.write(b"\n".join(lines))
        stream.flush()
        try:
            model = replay(Path(stream.name))
        except EnvironmentProblem:
            return
        for digest, call in model._calls.items():
            assert isinstance(digest, str) and isinstance(call, dict)


# --- prompts that are only added to ---------------------------------------------------------------


@pytest.mark.parametrize("latest_first", [False, True])
def test_each_round_s_prompt_begins_with_what_the_one_before_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, latest_first: bool
) -> None:
    """Also where rounds end in another order than they began, and their figures are fitted anew."""
    monkeypatch.setattr("hpcagent.search.earned.slots", lambda history, pending, k: 1)
    run(tmp_path, Ranker(), monkeypatch, latest_first=latest_first, rounds=7)
    asked = {call["round"]: call["messages"] for call in reversed(calls(tmp_path))}
    rounds = sorted(asked)
    assert len(rounds) >= 4
    assert len({asked[n][0][1] for n in rounds}) == 1
    told = [asked[n][1][1].partition("Waiting")[0].partition("The statistical")[0] for n in rounds]
    assert all(new.startswith(old) for old, new in pairwise(told))
    assert len(set(told)) >= 4
    assert all(told[-1].count(f"x={x} -> ") >= 1 for x in (2, 5))
