"""Ranks menus by evaluating every path of every entry, in a process of its own.

JSON lines in and out: {path} loads a model; {messages, menu} gives {log_probabilities}, and
`evaluations`, how many logits rank.answer needs for the same.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from hpcagent.llm.child import rank
from hpcagent.llm.child.cache import Cache, Held
from hpcagent.llm.child.decode import Clock
from hpcagent.llm.child.load import Engine, load
from hpcagent.llm.child.prompt import prompt


def main() -> None:
    first = json.loads(sys.stdin.readline())
    engine = load({"path": first["path"], "context": 4096, "threads": 1, "seed": 0})
    assert isinstance(engine, Engine)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = {"log_probabilities": _ranked(engine, asked), "evaluations": _count(engine, asked)}
        print(json.dumps(answer), flush=True)


def _ranked(engine: Engine, asked: dict[str, Any]) -> list[float]:
    llama = engine.llama
    text, add_bos = prompt(llama, asked["messages"])
    rows = [
        (*llama.tokenize((text + entry).encode(), add_bos=add_bos, special=True), "end")
        for entry in asked["menu"]
    ]
    return [
        math.fsum(_shares(engine, rows, row[:at])[row[at]] for at in range(len(row)))
        for row in rows
    ]


def _shares(engine: Engine, rows: Sequence[Any], before: Sequence[Any]) -> dict[Any, float]:
    """ln of the probability of each token among those that the menu's rows have after `before`."""
    allowed = {row[len(before)] for row in rows if row[: len(before)] == before}
    if len(allowed) == 1:
        return dict.fromkeys(allowed, 0.0)
    run, _ = Cache(engine.cache._decoder, 1).read(before, Clock(60))  # it knows of nothing before
    logits = run.logits()
    value = {t: float(logits[engine.llama.token_eos() if t == "end" else t]) for t in allowed}
    whole = math.log(math.fsum(map(math.exp, value.values())))
    return {token: each - whole for token, each in value.items()}


def _count(engine: Engine, asked: dict[str, Any]) -> int:
    engine.cache._held[:] = [Held() for _ in engine.cache._held]
    decoder, evaluations = engine.cache._decoder, []
    decode = decoder.decode

    def counted(*what: Any, logits: bool) -> None:
        evaluations.append(logits)
        decode(*what, logits=logits)

    decoder.decode = counted  # type: ignore[method-assign]
    rank.answer(engine, {**asked, "timeout_s": 60, "outline": None})
    decoder.decode = decode  # type: ignore[method-assign]
    return evaluations.count(True)


if __name__ == "__main__":
    main()
