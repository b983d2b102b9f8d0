"""What the answers of a model's child process are: replies, rankings or failures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from hpcagent.llm.grammar import violation
from hpcagent.llm.thoughts import parted
from hpcagent.records import Failure, Ranking, Reply


def failure(found: Mapping[str, Any], last_words: str = "") -> Failure:
    """What the child says went wrong; `last_words` are those on its stderr."""
    words = f"; its last words: {last_words}" if last_words else ""
    return Failure("model", str(found.get("kind")), f"{found.get('evidence')}{words}")


def reply(answer: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Reply:
    """Checked against `schema`; what is wrong with it is the reply's failure."""
    thoughts, text = ("", str(answer["text"])) if schema else parted(str(answer["text"]))
    return Reply(
        text=text,
        tokens_in=answer["tokens_in"],
        tokens_out=answer["tokens_out"],
        seconds=answer["seconds"],
        failure=_wrong(answer, schema),
        tokens_cached=answer["tokens_cached"],
        first_token_s=answer["first_token_s"],
        thinking=str(answer["thinking"]) or thoughts,
    )


def ranking(answer: Mapping[str, Any]) -> Ranking:
    """Of a menu; probabilities that are no numbers are its failure."""
    found = tuple(map(float, answer["log_probabilities"]))
    cost = answer["tokens_in"], answer["seconds"]
    if any(map(math.isnan, found)):
        words = "its weights give no probabilities, only NaN"
        return Ranking((), *cost, failure=Failure("model", "nonsense", words))
    return Ranking(
        found,
        *cost,
        tokens_cached=answer["tokens_cached"],
        tokens_out=answer["tokens_out"],
        reason=str(answer["reason"]),
    )


def _wrong(answer: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Failure | None:
    text, stopped = str(answer["text"]), str(answer["stopped"])
    if stopped:
        words = f"stopped after {answer['tokens_out']} tokens, no end: {_shortened(text)}"
        return Failure("model", stopped, words)
    if schema is None:
        if answer["garbled"]:
            words = f"{answer['garbled']} of {len(text)} characters are not UTF-8"
            return Failure("model", "garbled", f"{words}: {_shortened(text)}")
        if not parted(text)[1].strip():
            after = " after its thoughts" if text.strip() else ""
            return Failure("model", "empty", f"it ended its answer at once{after}")
        return None
    try:
        wrong = violation(json.loads(text), schema)
    except ValueError as error:
        wrong = f"not JSON: {error}"
    return Failure("model", "invalid", wrong) if wrong else None


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")
