"""What the engine of local models costs beside bare llama.cpp, on a made model of 59 M parameters.

Decoding and a bare llama_decode loop take turns, token by token. First tokens are timed of prompts
of which a share is new. Answers confined by a schema and free ones of as many tokens take turns,
after a prompt that is in the cache; every confined answer is validated. --model measures another
model; --only first measures first tokens alone.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import Options, finish, options, scratch, table, tell
from llama_cpp import Llama

from hpcagent.llm.child.prompt import prompt
from hpcagent.llm.grammar import longest, violation
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.records import Failure, Limits, Message, Reply

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
_PLACE = "\ufdd0"  # of a text in a chat template; no character
_Ratios = dict[str, list[float]]


def main() -> None:
    chosen = options(
        __doc__,
        ("repeats", int, 7, "repeats of each"),
        ("prompt", int, 1200, "tokens of a prompt, about"),
        ("model", Path, None, "a GGUF file to measure instead of a made one"),
        ("only", str, "all", "first: nothing but first tokens"),
    )
    repeats = 2 if chosen.quick else chosen.extra["repeats"]
    with scratch() as folder:
        model = LlamaCpp(
            chosen.extra["model"]
            or make_tiny_gguf(
                folder / "measured.gguf",
                words=many_words(),
                shape=TINY if chosen.quick else MEASURED,
            )
        )
        try:
            _measure(model, repeats, chosen)
        finally:
            model.close()


def _measure(model: LlamaCpp, repeats: int, chosen: Options) -> None:
    ratios: _Ratios = {}
    bench: Mapping[str, Any] = {}
    whole = chosen.extra["only"] == "all"
    if whole:
        found = model.bench(512, 64, repeats, LIMIT_S)
        if isinstance(found, Failure):
            raise SystemExit(f"{found.id}: {found.evidence}")
        bench, ratios = found, _loops(found["repeats"])
        tell("loops done")
    prompts = Prompts(model, chosen.extra["prompt"])
    prompts.cold(98)  # what the first long prompt pays for once is nobody's
    for index in range(repeats):
        _first_tokens(prompts, index, ratios)
        if whole:
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


class Prompts:
    """Prompts of about as many tokens, of which it is known how many are new."""

    def __init__(self, model: LlamaCpp, tokens: int) -> None:
        self._model = model
        self._vocabulary = Llama(str(model.file.path), vocab_only=True, verbose=False)
        framed, _ = prompt(self._vocabulary, [{"role": "user", "content": _PLACE}])
        self._after = len(self._tokens(framed.partition(_PLACE)[2]))
        self._words = round(10 * tokens / len(self._tokens(self._text(99, 10, 10))))

    def cold(self, index: int) -> Reply:
        return self.first(self._text(index, self._words, self._words))

    def warm(self, index: int, share: float) -> tuple[Reply, float]:
        """(reply, the share of tokens that is new, near what was asked for)."""
        kept = round(self._words * (1 - share))
        text, cold = (self._text(index, n, self._words) for n in (kept, self._words))
        pairs = zip(self._tokens(text), self._tokens(cold), strict=False)
        common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        reply = self.first(text)
        return reply, (len(self._tokens(text)) - common + self._after) / reply.tokens_in

    def first(self, text: str) -> Reply:
        return self._model.complete((Message("user", text),), None, Limits(1, LIMIT_S), 1)

    def _tokens(self, text: str) -> list[int]:
        return self._vocabulary.tokenize(text.encode(), add_bos=False, special=True)

    @staticmethod
    def _text(index: int, kept: int, words: int) -> str:
        old = [f"of it {index:02d}{place:04d} " for place in range(kept)]
        return "".join([*old, *(f"if at {index:02d}{place:04d} " for place in range(kept, words))])


def _first_tokens(prompts: Prompts, index: int, ratios: _Ratios) -> None:
    """Warm over cold, each over the share of tokens that is new: 1 is in proportion."""
    cold = prompts.cold(index)
    for share in SHARES:
        warm, new = prompts.warm(index, share)
        name = f"first token, {share:.0%} new, over cold"
        over = warm.first_token_s / cold.first_token_s
        ratios.setdefault(name, []).append(over)
        ratios.setdefault(f"{name}, over the share", []).append(over / new)


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
