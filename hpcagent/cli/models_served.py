"""What `hpcagent models show` and `verify` tell of a model behind a server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hpcagent.cli.models_subject import Subject
from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.endpoint import PASSING, Endpoint
from hpcagent.records import Limits, Message, Reply

# Label, its words, and what goes into the JSON.
Line = tuple[str, str, dict[str, Any]]

_MOST_S = 300.0
_LEFT_OUT = ("id", "object", *PASSING)
_WORDS: Mapping[str, str] = {
    "json_schema": "yes: it takes them (response_format json_schema)",
    "json_object": "in part: it keeps to JSON (response_format json_object) and is told the schema",
    "none": "no: it is told the schema in words; answers are checked, and asked for again",
}


def shown(found: Subject) -> Iterator[Line]:
    """What the server says of the model; EnvironmentProblem where it does not."""
    record = found.record()
    yield "server", str(record["endpoint"]), {"endpoint": record["endpoint"]}
    yield "name", str(record["name"]), {"name": record["name"], "served": record["served"]}
    for key, value in sorted(record["served"].items()):
        if key not in _LEFT_OUT and value not in (None, ""):
            yield f"  {key}", value if isinstance(value, str) else json.dumps(value), {}
    yield "digest", f"{record['sha256']} of these", {"sha256": record["sha256"]}


def verified(
    found: Subject, question: tuple[Message, ...], schema: Mapping[str, Any]
) -> Iterator[Line]:
    """What it can do, tried; EnvironmentProblem at the first that fails."""
    yield from shown(found)
    model = found.language_model
    assert isinstance(model, Endpoint)
    limits = Limits(32, _MOST_S)
    first = _answered(found, model.complete(question, schema, limits, seed=0))
    again = _answered(found, model.complete(question, schema, limits, seed=0))
    seconds = min(first.seconds, again.seconds)
    words = f"{again.text} in {seconds:.2f} s"
    yield "answers", words, {"answer": again.text, "answer_s": seconds}
    yield "schemas", _WORDS[model.form], {"schemas": model.form}
    told = f"{again.tokens_in} in, {again.tokens_out} out, {again.tokens_cached} from its cache"
    known = again.tokens_in or again.tokens_out
    yield "tokens", told if known else "it does not tell how many there were", {}
    yield "probabilities", "none: a menu is one answer in JSON, without a ranking", {"ranks": False}


def _answered(found: Subject, reply: Reply) -> Reply:
    if reply.failure is not None:
        said, server = reply.failure.evidence, found.choice.endpoint
        where = "" if said.startswith(server) else f"{server}: "
        raise EnvironmentProblem(f"model endpoint {where}{said}")
    return reply
