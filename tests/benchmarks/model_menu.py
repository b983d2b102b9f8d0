"""A choice from a menu over a configuration in free JSON: seconds of the same model, in turns.

The model is made, with random weights, of 59 million parameters and 32,000 tokens. A run of some
rounds is told to it, round by round; in each, every way of choosing answers the same question, its
beginning in the cache as it is after the reason. The order of the ways changes with each round.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness import finish, options, table, tell

if TYPE_CHECKING:
    from hpcagent.llm.llamacpp import LlamaCpp
    from hpcagent.search.question import Question

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

LIMIT_S = 600.0
LABEL, TEXT, FREE = "label of a menu", "text of a menu", "configuration in JSON"
TOLD_LABEL, TOLD_FREE = "reason, then label", "reason and configuration in JSON"
WAYS = (LABEL, TEXT, FREE, TOLD_LABEL, TOLD_FREE)


def main() -> None:
    chosen = options(__doc__, ("rounds", int, 16, "rounds that are told"))
    rounds = 2 if chosen.quick else int(chosen.extra["rounds"])
    with tempfile.TemporaryDirectory(prefix="hpcagent-bench-") as folder:
        model = _made(Path(folder))
        rows = []
        for number in range(rounds):
            rows.append(_round(model, number))
            tell(f"round {number + 1} of {rounds}")
        model.close()
    _report(rows)
    finish(chosen, {"rounds": rows})


def _made(folder: Path) -> LlamaCpp:
    from tiny_gguf import MEASURED, make_tiny_gguf, many_words

    from hpcagent.llm.llamacpp import LlamaCpp

    path = make_tiny_gguf(folder / "made.gguf", words=many_words(), shape=MEASURED)
    return LlamaCpp(path)


def _question(number: int, ranked: bool) -> Question:
    """What a run asks after `number` rounds of four trials."""
    from hpcagent.records import Param, Trial
    from hpcagent.search.question import Question
    from hpcagent.search.space import Space
    from hpcagent.search.surrogate import Candidate

    cores = ("Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen", "SkylakeX", "Cooperlake")
    space = Space(
        (
            Param("core", "categorical", cores, "SkylakeX", "kernels for this kind of processor"),
            Param("threads", "ordinal", ("1", "2", "4", "8", "16", "32"), "32", "threads"),
            Param(
                "binding", "categorical", ("none", "cores", "spread"), "none", "threads to cores"
            ),
            Param("thread_timeout", "ordinal", ("4", "12", "20", "26", "30"), "26", "busy waiting"),
            Param("hugetlb", "categorical", ("0", "1", "2"), "0", "huge pages of malloc"),
            Param("block_factor", "ordinal", ("50", "100", "200"), "100", "size of blocks in %"),
        )
    )
    points = random.Random(1).sample(list(space.points()), 4 * (number + 1) + 10)
    history = (
        Trial(space.default, 0.0, 0.0, None, 0, "default"),
        *(
            Trial(point, math.log1p(n % 7 / 50 - 0.05), 0.01, None, 1 + n // 4, "surrogate")
            for n, point in enumerate(points[: 4 * number])
        ),
    )
    offered = points[4 * number + 3 : 4 * number + 9]
    menu = tuple(Candidate(p, -0.01 * n, 0.02, 0.01, 1.0) for n, p in enumerate(offered))
    facts = {
        "processor": "a processor of a benchmark", "usable cores": "32", "NUMA nodes": "2",
        "library": "OpenBLAS 0.3.26, pthreads, core SkylakeX", "workload": "dgemm, dgetrf, dpotrf",
    }  # fmt: skip
    waiting = tuple(points[4 * number : 4 * number + 3])
    return Question(space, facts, history, waiting, menu, ranked=ranked)


def _round(model: LlamaCpp, number: int) -> dict[str, float]:
    """Seconds of each way to choose."""
    from hpcagent.records import Limits, Message
    from hpcagent.search.dialogue import ASK_CONFIG, ASK_LABEL
    from hpcagent.search.question import answer_bound

    question, free = _question(number, ranked=True), _question(number, ranked=False)

    def answered(messages: Sequence[Message], schema: Mapping[str, object]) -> float:
        reply = model.complete(messages, schema, Limits(answer_bound(schema), LIMIT_S), number)
        if reply.failure is not None:
            raise SystemExit(f"{reply.failure.id}: {reply.failure.evidence}")
        return reply.seconds

    def ranked(messages: Sequence[Message], menu: Sequence[str]) -> float:
        found = model.rank(messages, menu, Limits(1, LIMIT_S))
        if found.failure is not None:
            raise SystemExit(f"{found.failure.id}: {found.failure.evidence}")
        return found.seconds

    def after(asked: str) -> tuple[Message, ...]:
        said = json.dumps({"reason": "Few threads bound to cores wait less for each other."})
        return (*question.messages(), Message("assistant", said), Message("user", asked))

    texts = [str(candidate.config) for candidate in question.menu]
    ways: dict[str, Callable[[], float]] = {
        LABEL: lambda: ranked(after(ASK_LABEL), question.labels()),
        TEXT: lambda: ranked(after("Now the configuration of your choice."), texts),
        FREE: lambda: answered(after(ASK_CONFIG), question.config_schema()),
        TOLD_LABEL: lambda: (
            answered(question.messages(), question.schema())
            + ranked(after(ASK_LABEL), question.labels())
        ),
        TOLD_FREE: lambda: answered(free.messages(), free.schema()),
    }
    ranked(question.messages(), question.labels())  # what all of them begin with, as after a reason
    order = random.Random(number).sample(WAYS, len(WAYS))
    return {name: ways[name]() for name in order}


def _report(rows: Sequence[Mapping[str, float]]) -> None:
    shown = [
        [name, statistics.median(1e3 * row[name] for row in rows)]
        + _spread([row[FREE if "reason" not in name else TOLD_FREE] / row[name] for row in rows])
        for name in WAYS
    ]
    table(("choice", "ms, median", "times faster than JSON", "least", "most"), shown)


def _spread(ratios: Sequence[float]) -> list[object]:
    return [statistics.median(ratios), min(ratios), max(ratios)]


if __name__ == "__main__":
    main()
