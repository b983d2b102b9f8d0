"""What a language model makes of the causes that were found for a failure: words beside them.

It picks one of the causes, or none, and explains; it adds no cause, no number and no repair.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcagent.errors import HpcagentError
from hpcagent.llm.roles import DEBUG
from hpcagent.records import Limits, Message
from hpcagent.templates import render
from hpcagent.toolchain.diagnosis import Found

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hpcagent.llm.log import Call
    from hpcagent.llm.routing import Models

NONE_OF_THESE = "none of these"
TIMEOUT_S = 300.0
_MOST_CAUSES = 8  # more are noise in a prompt
_LOG_SHARE_WHEN_SHORT = 4
_PROMPTS = Path(__file__).resolve().parent.parent / "llm" / "prompts"
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class Opinion:
    """A model's words: `cause` is an id that was found or "none of these".

    Without usable words `note` says in one line why, and the other texts are empty. The costs are
    those of all `calls`. `notes` tell what of the model is not as it was asked for.
    """

    model: str
    cause: str = ""
    explanation: str = ""
    suggestion: str = ""
    note: str = ""
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    model_sha256: str = ""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def opinion(models: Models, causes: Sequence[Found], log: str, seed: int = 1) -> Opinion:
    """Asks the model of the role debug; whatever goes wrong with it is the opinion's `note`.

    `log` is the filtered log; where it is too long for the model its first quarter is shown.
    """
    from hpcagent.llm.answering import Refused, ask

    shown = tuple({cause.id: cause for cause in causes}.values())[:_MOST_CAUSES]
    calls: list[Call] = []
    label = models.label(DEBUG)
    try:
        model = models.recorded(DEBUG, calls.append)
        if model is None:
            return Opinion(label, note=models.why(DEBUG))
        messages = _messages(shown, log)
        known = "\n".join(message.text for message in messages)
        found = ask(
            model, messages, _answer_type(shown),
            Limits(2000, models.answer_s(DEBUG, TIMEOUT_S)), seed,
            check=lambda answer: _wrong(answer.model_dump(), known), tell=model.verdict,
            shorter=lambda: _messages(shown, _beginning(log)),
        )  # fmt: skip
    except HpcagentError as error:
        return Opinion(label, note=f"no answer: {error}")
    model.flush()
    costs = _costs(calls)
    if isinstance(found, Refused):
        return Opinion(label, note=f"no usable answer in {found.calls}: {found.words}", **costs)
    said: dict[str, Any] = {name: text.strip() for name, text in found.model_dump().items()}
    return Opinion(label, **said, **costs)


def _answer_type(causes: Sequence[Found]) -> type[BaseModel]:
    """Explanation, cause, suggestion: what is said first can be leant on by what follows."""
    from typing import Annotated, Literal

    from pydantic import Field, create_model

    ids: Any = Literal[(*(cause.id for cause in causes), NONE_OF_THESE)]
    return create_model(
        "Answer",
        explanation=(Annotated[str, Field(max_length=500)], ...),
        cause=(ids, ...),
        suggestion=(Annotated[str, Field(max_length=300)], ...),
    )


def _messages(causes: Sequence[Found], log: str) -> tuple[Message, Message]:
    rows = [{"id": c.id, "quote": c.quote, "meaning": c.meaning} for c in causes]
    user = render(_PROMPTS / "debug_user.j2", {"log": log, "causes": rows})
    return Message("system", render(_PROMPTS / "debug_system.j2", {})), Message("user", user)


def _beginning(log: str) -> str:
    kept = log[: len(log) // _LOG_SHARE_WHEN_SHORT].rpartition("\n")[0]
    return f"{kept}\n[the rest is left out for want of room]"


def _wrong(answer: dict[str, str], shown: str) -> str:
    """What is wrong with the words: a number that was in nothing shown, or no plain text."""
    words = f"{answer['explanation']} {answer['suggestion']}"
    if not words.isprintable():
        return "only plain text on one line, without control characters"
    if not answer["explanation"].strip():
        return "the explanation is empty"
    known = set(_NUMBER.findall(shown))
    made_up = [number for number in _NUMBER.findall(words) if number not in known]
    return f"the number {made_up[0]} is in nothing you were shown" if made_up else ""


def _costs(calls: Sequence[Call]) -> dict[str, Any]:
    return {
        "calls": len(calls),
        "tokens_in": sum(call.tokens_in for call in calls),
        "tokens_out": sum(call.tokens_out for call in calls),
        "seconds": sum(call.seconds for call in calls),
        "model_sha256": calls[-1].model_sha256 if calls else "",
        "notes": tuple(note for call in calls for note in call.notes),
    }
