"""One answer of a model to a case, in the form that the case asks for and the model can give."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hpcagent.llm.qualify.family import Case
from hpcagent.protocols import LanguageModel, RankingModel
from hpcagent.records import Limits

SEED = 1
_LABEL_TOKENS = 24  # of {"choice":"A"} in any vocabulary
# After these there is nothing left to ask.
_GONE = ("unavailable", "changed", "load", "unauthorised", "forbidden", "untrusted")
# Of a server, which says them in place of the model.
_OF_THE_SERVER = ("http", "busy", "refused", "died", "nonsense", "too_large")


@dataclass(frozen=True)
class Answer:
    """What a model answered, kept as it came. `how`: ranked, json or text.

    `limit_s` is the time that was not enough, where that is why it failed.
    """

    case: str
    text: str
    how: str
    failure: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    limit_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def gone(self) -> bool:
        """Whether the model cannot answer any more."""
        return self._kind in _GONE

    @property
    def of_the_server(self) -> bool:
        """Whether nothing came of a served model, but words of what stands before it, or none."""
        return self._kind in _OF_THE_SERVER

    @property
    def slow(self) -> bool:
        return self._kind == "timeout"

    @property
    def unread(self) -> bool:
        """Whether the time was over before the question was read; what was read is kept."""
        return self.slow and not self.tokens_in

    @property
    def _kind(self) -> str:
        return self.failure.partition(":")[0].removeprefix("model.")


def ask(model: LanguageModel, case: Case, name: str, timeout_s: float) -> Answer:
    """`name` is that of the answer. A failed call is an answer with its failure."""
    found = _asked(model, case, name, timeout_s)
    return replace(found, limit_s=timeout_s) if found.slow else found


def _asked(model: LanguageModel, case: Case, name: str, timeout_s: float) -> Answer:
    if case.labels and isinstance(model, RankingModel):
        return _ranked(model, case, name, timeout_s)
    schema = _choice(case.labels) if case.labels else case.schema
    limits = Limits(_LABEL_TOKENS if case.labels else case.max_tokens, timeout_s)
    reply = model.complete(case.messages, schema, limits, SEED)
    how = "text" if schema is None else "json"
    failure = "" if reply.failure is None else f"{reply.failure.id}: {reply.failure.evidence}"
    text = _chosen(reply.text) if case.labels and not failure else reply.text
    return Answer(name, text, how, failure, reply.tokens_in, reply.tokens_out, reply.seconds)


def _ranked(model: RankingModel, case: Case, name: str, timeout_s: float) -> Answer:
    """The most probable label; of equal ones the first."""
    found = model.rank(case.messages, case.labels, Limits(1, timeout_s))
    if found.failure is not None:
        words = f"{found.failure.id}: {found.failure.evidence}"
        return Answer(name, "", "ranked", words, found.tokens_in, 0, found.seconds)
    rows = found.log_probabilities
    best = case.labels[max(range(len(rows)), key=lambda index: rows[index])]
    return Answer(name, best, "ranked", "", found.tokens_in, 0, found.seconds)


def _choice(labels: tuple[str, ...]) -> Mapping[str, Any]:
    return {"type": "object", "properties": {"choice": {"enum": list(labels)}}}


def _chosen(text: str) -> str:
    """The label in {"choice": LABEL}; what is none is left as it is, to be judged."""
    try:
        answer = json.loads(text)
    except ValueError:
        return text
    label = answer.get("choice") if isinstance(answer, dict) else None
    return label if isinstance(label, str) else text
