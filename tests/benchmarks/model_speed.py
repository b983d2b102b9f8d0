"""What the engine of local models costs beside bare llama.cpp, on a made model of 59 M parameters.

Decoding and a bare llama_decode loop take turns, token by token. First tokens are timed of prompts
of which a share is new. Answers confined by a schema and free ones of as many tokens take turns,
after a prompt that is in the cache; every confined answer is validated.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import Options, finish, options, scratch, table, tell

from hpcagent.llm.grammar import longest, violation
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.records import Failure, Limits, Message

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tiny_gguf import MEASURED, TINY, make_tiny_gguf, many_words

SHARES = (0.05, 0.1, 0.2, 0.5)  # ascending, so that each finds the beginning of the one before
SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "maxLength": 160},
        "config": {
            "type": "object",
            "properties": {
                "OPENBLAS_CORETYPE": {"enum": ["Haswell", "Zen", "SkylakeX", "Sapphirerapids"]},
                "OPENBLAS_NUM_THREADS": {"enum": ["1", "2", "4", "8", "16"]},
                "OPENBLAS_THREAD_TIMEOUT": {"enum": ["4", "16", "26", "30"]},
            },
        },
    },
}
LIMIT_S = 600.0
_Ratios = dict[str, list[float]]


def main() -> None:
    chosen = options(
        __doc__,
        ("repeats", int, 7, "repeats of each"),
        ("prompt", int, 1000, "tokens of a prompt, about"),
    )
    repeats = 2 if chosen.quick else chosen.extra["repeats"]
    with scratch() as folder:
        path = make_tiny_gguf(
            folder / "measured.gguf",
            words=many_words(),
            shape=TINY if chosen.quick else MEASURED,
        )
        model = LlamaCpp(path)
        try:
            _measure(model, repeats, chosen)
        finally:
            model.close()


def _measure(model: LlamaCpp, repeats: int, chosen: Options) -> None:
    bench = model.bench(512, 64, repeats, LIMIT_S)
    if isinstance(bench, Failure):
        raise SystemExit(f"{bench.id}: {bench.evidence}")
    tell("loops done")
    ratios = _loops(bench["repeats"])
    for index in range(repeats):
        _first_tokens(model, index, chosen.extra["prompt"], ratios)
        _confined(model, index, ratios)
        tell(f"{index + 1} of {repeats}")
    rows = [(name, statistics.median(v), min(v), max(v), len(v)) for name, v in ratios.items()]
    table(("ratio", "median", "smallest", "largest", "pairs"), rows)
    finish(chosen, {"ratios": ratios, "bench": dict(bench)})


def _loops(lines: Sequence[Mapping[str, float]]) -> _Ratios:
    return {
        "writing, speed over the bare loop": [x["bare_token_s"] / x["token_s"] for x in lines],
        "reading, speed over the bare loop": [x["bare_cold_s"] / x["cold_s"] for x in lines],
    }


def _first_tokens(model: LlamaCpp, index: int, count: int, ratios: _Ratios) -> None:
    words = [f"{index} {place} of it " for place in range(count // 6)]
    cold = _first(model, "".join(words))
    for share in SHARES:
        kept = round(len(words) * (1 - share))
        new = [word.replace("of it", "if at") for word in words[kept:]]  # as many tokens
        warm = _first(model, "".join(words[:kept] + new))
        ratios.setdefault(f"first token, {share:.0%} new, over cold", []).append(warm / cold)


def _first(model: LlamaCpp, text: str) -> float:
    reply = model.complete((Message("user", text),), None, Limits(1, LIMIT_S), 1)
    return reply.first_token_s


def _confined(model: LlamaCpp, index: int, ratios: _Ratios) -> None:
    """Each of a pair reads only the last token of its prompt; the two take turns at being first."""
    question = (Message("user", "Choose, and say why. " * 10),)
    model.complete(question, None, Limits(1, LIMIT_S), 1)
    wanted = model.complete(question, SCHEMA, Limits(longest(SCHEMA), LIMIT_S), index)
    free = model.complete(question, None, Limits(wanted.tokens_out, LIMIT_S), index)
    again = model.complete(question, SCHEMA, Limits(longest(SCHEMA), LIMIT_S), index)
    valid = wanted.failure is None and violation(json.loads(wanted.text), SCHEMA) == ""
    confined = (wanted.seconds + again.seconds) / 2 / wanted.tokens_out
    ratios.setdefault("confined over free, seconds a token", []).append(
        confined / (free.seconds / max(1, free.tokens_out))
    )
    ratios.setdefault("valid answers", []).append(float(valid))


if __name__ == "__main__":
    main()
