"""JSON lines in on stdin, JSON lines out on the first stdout; each request names its operation.

It is a process of its own because llama.cpp aborts on damaged files and on text its vocabulary
cannot spell, which Python cannot catch, and because only a process can be stopped in time. It
ends when its stdin does. The first request loads a model (`load`); every later one has an "op":
the name of a module of this package with `answer(engine, request)`. Lines {"progress": ...} may
come before an answer (`telling`).
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Mapping
from typing import IO, Any

from hpcagent.llm.child import bench, bounds, complete, load, rank, read, score

OPERATIONS = {
    "bench": bench.answer,
    "complete": complete.answer,
    "rank": rank.answer,
    "read": read.answer,
    "score": score.answer,
}

_Json = Mapping[str, Any]


def main() -> None:
    bounds.isolate()
    requests, answers = _pipes()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, lines), daemon=True).start()
    engine = load.load(json.loads(lines.get()), lambda told: _send(answers, {"progress": told}))
    if isinstance(engine, dict):
        _send(answers, engine)
        return
    told = {"context": engine.context, "device": engine.device, "notes": engine.notes}
    needs = {"needs": engine.needs, "paged": engine.paged}
    _send(answers, {"ready": True, **needs, **told})
    while True:
        request = json.loads(lines.get())
        engine.telling.begin()
        _send(answers, OPERATIONS[request["op"]](engine, request))


def _pipes() -> tuple[IO[str], IO[str]]:
    """The protocol's ends, moved away from 0 and 1: llama.cpp prints where it likes."""
    requests = os.fdopen(os.dup(0), "r", encoding="ascii")
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    with open(os.devnull) as nothing:  # noqa: PTH123 (a descriptor is wanted, not a text)
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return requests, answers


def _listen(requests: IO[str], lines: queue.SimpleQueue[str]) -> None:
    """Hand on each line; when the parent is gone, stop at once, even amid a computation."""
    for line in requests:
        lines.put(line)
    os._exit(0)


def _send(answers: IO[str], message: _Json) -> None:
    answers.write(json.dumps(message, ensure_ascii=True) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
