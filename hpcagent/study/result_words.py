"""A paragraph of a report in a model's words, whose figures are the journal's.

The model writes names in braces and never a digit; the names are replaced by what the run measured
whenever the report is drawn, so that no figure in it can be the model's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcagent.errors import HpcagentError
from hpcagent.llm.roles import RESULT
from hpcagent.records import Limits, Message
from hpcagent.study.summary import RunSummary
from hpcagent.templates import render

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hpcagent.llm.log import Call
    from hpcagent.llm.routing import Models

DECISION = "result_words"
TIMEOUT_S = 300.0
_LONGEST = 600
_MOST_CASES = 8
_PROMPTS = Path(__file__).resolve().parent.parent / "llm" / "prompts"
_NAME = re.compile(r"\{([a-z0-9._]+)\}")


def figures(summary: RunSummary) -> dict[str, str]:
    """What a model may speak of: name -> value, as text."""
    found = {
        "application": summary.app,
        "evaluations": str(len(summary.trials)),
        "failures": str(sum(trial.failure is not None for trial in summary.trials)),
        "rounds": str(summary.spent.rounds),
        "core_hours": f"{summary.spent.core_hours:.3g}",
    }
    if summary.library is not None:
        found["library"] = f"OpenBLAS {summary.library.version}"
    if summary.application is not None:
        found["application"] = summary.application.title
    if summary.machine is not None:
        found["processor"] = summary.machine.cpu_model
    if summary.best_environment:
        found["settings"] = " ".join(f"{k}={v}" for k, v in summary.best_environment)
    claim = summary.claim
    if claim is not None:
        found |= {
            "gain": f"{claim.speedup:.3f}x",
            "gain.low": f"{claim.low:.3f}",
            "gain.high": f"{claim.high:.3f}",
            "gain.coverage": f"{100 * claim.coverage:.4g} %",
            "gain.least": f"{100 * claim.minimum_effect:.3g} %",
            "pairs": str(claim.pairs),
        }
    for number, case in enumerate(summary.cases[:_MOST_CASES], 1):
        found[f"routine{number}"] = case.key
        found[f"routine{number}.gain"] = f"{case.speedup:.3f}x"
    return {name: "".join(c if c.isprintable() else " " for c in text)[:300]
            for name, text in found.items()}  # fmt: skip


def worded(
    models: Models, summary: RunSummary, seed: int, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The decision for the journal: {text, model}, or {note} where no usable words came.

    `keep` gets each call as JSON.
    """
    from hpcagent.llm.answering import Refused, ask

    def sink(call: Call) -> None:
        keep(call.as_json())

    known = figures(summary)
    try:
        model = models.recorded(RESULT, sink)
        if model is None:
            return {"note": models.why(RESULT)}
        answer, seconds = _answer_type(), models.answer_s(RESULT, TIMEOUT_S)
        found = ask(
            model, _messages(summary, known), answer, Limits(_LONGEST + 40, seconds), seed,
            check=lambda given: wrong(given.model_dump()["text"], known), tell=model.verdict,
            all_s=seconds,  # the result waits for it
        )  # fmt: skip
    except HpcagentError as error:
        return {"note": f"the report has no words of a model: {error}"}
    model.flush()
    if isinstance(found, Refused):
        words = f"no usable answer in {found.calls}: {found.words}"
        return {"note": f"the report has no words of a model: {words}"}
    return {"text": str(found.model_dump()["text"]), "model": models.label(RESULT)}


def wrong(text: str, known: Mapping[str, str]) -> str:
    """What is wrong with a paragraph, in words for its author; empty where nothing is."""
    names = _NAME.findall(text)
    prose = _NAME.sub("", text)
    unknown = [name for name in names if name not in known]
    if unknown:
        return f"there is no figure {{{unknown[0]}}}"
    if "{" in prose or "}" in prose:
        return "braces are for the names of figures only"
    digits = [char for char in prose if char.isnumeric()]
    if digits:
        return f"the digit {digits[0]}: write the name of a figure in braces instead"
    if not text.isprintable():
        return "only plain text on one line, without control characters"
    return "" if names else "it names no figure in braces"


def resolved(decision: Mapping[str, Any], summary: RunSummary) -> str:
    """The journaled paragraph with its figures put in; empty where there is none, or none fits."""
    text, known = str(decision.get("text", "")), figures(summary)
    if not text or wrong(text, known):
        return ""
    return _NAME.sub(lambda match: known[match[1]], text)


def _answer_type() -> type[BaseModel]:
    from typing import Annotated

    from pydantic import Field, create_model

    return create_model("Answer", text=(Annotated[str, Field(max_length=_LONGEST)], ...))


def _messages(summary: RunSummary, known: Mapping[str, str]) -> tuple[Message, Message]:
    values = {"outcome": _outcome(summary), "figures": list(known.items())}
    system = render(_PROMPTS / "result_system.j2", {})
    return Message("system", system), Message("user", render(_PROMPTS / "result_user.j2", values))


def _outcome(summary: RunSummary) -> str:
    if summary.outcome == "improved":
        return "an improvement over the default was confirmed by fresh measurements"
    return "nothing was shown to be better than the default; no improvement is claimed"
