"""A choice from a menu over a configuration in free JSON: what the same model takes, in turns.

The model is made, with random weights, of 59 million parameters and 32,000 tokens. A run of some
rounds is told to it, round by round; in each, the same question is answered in every way, with the
same seed and therefore the same reason. What a choice costs is the time beyond that of the reason
alone, which is a short one there, so that the difference is not lost in its scatter. The order of
the ways changes with each round; the question's beginning is in the cache. Time is the
processor's, of the model's one thread: other programs may run here.
"""

from __future__ import annotations

import math
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import finish, options, table, tell

if TYPE_CHECKING:
    from hpcagent.llm.llamacpp import LlamaCpp
    from hpcagent.search.question import Question

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

LIMIT_S = 600.0
SHORT = 8  # characters
REASON, LABEL, TEXT, FREE = "reason alone", "label", "text of the configuration", "JSON"
WAYS = (REASON, LABEL, TEXT, FREE)


def main() -> None:
    from hpcagent.search.question import REASON_LENGTH

    chosen = options(
        __doc__,
        ("rounds", int, 6, "rounds that are told"),
        ("repeats", int, 4, "answers with a short reason in each round"),
    )
    rounds, repeats = (2, 1) if chosen.quick else (chosen.extra["rounds"], chosen.extra["repeats"])
    with tempfile.TemporaryDirectory(prefix="hpcagent-bench-") as folder:
        model = _made(Path(folder))
        whole, short = [], []
        for number in range(rounds):
            whole.append(_round(model, number, REASON_LENGTH, number))
            for n in range(repeats):
                short.append(_round(model, number, SHORT, rounds + repeats * number + n))
            tell(f"round {number + 1} of {rounds}")
        model.close()
    _report(whole, short)
    finish(chosen, {"whole": whole, "short": short})


def _made(folder: Path) -> LlamaCpp:
    from tiny_gguf import MEASURED, make_tiny_gguf, many_words

    from hpcagent.llm.llamacpp import LlamaCpp

    path = make_tiny_gguf(folder / "made.gguf", words=many_words(), shape=MEASURED)
    return LlamaCpp(path)


def _question(number: int) -> Question:
    """What a run asks after `number` rounds of four trials."""
    from hpcagent.records import Param, Trial
    from hpcagent.search.candidate import Candidate
    from hpcagent.search.question import Question
    from hpcagent.search.space import Space

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
    return Question(space, facts, history, waiting, menu, ranked=True)


def _round(model: LlamaCpp, number: int, reason: int, seed: int) -> dict[str, tuple[float, int]]:
    """Seconds of processor and tokens written, of each way to answer."""
    from hpcagent.records import Limits
    from hpcagent.search.dialogue import AROUND
    from hpcagent.search.question import answer_bound

    question = _question(number)
    messages, texts = question.messages(), [str(each.config) for each in question.menu]
    text = {"type": "string", "maxLength": reason}
    alone = {"type": "object", "properties": {"reason": text}}
    config = question.config_schema()["properties"]
    whole = {"type": "object", "properties": {"reason": text, **config}}

    def answered(schema: Mapping[str, Any]) -> tuple[float, int]:
        began = _cpu_s(model)
        reply = model.complete(messages, schema, Limits(answer_bound(schema), LIMIT_S), seed)
        if reply.failure is not None:
            raise SystemExit(f"{reply.failure.id}: {reply.failure.evidence}")
        return _cpu_s(model) - began, reply.tokens_out

    def ranked(menu: Sequence[str]) -> tuple[float, int]:
        limits = Limits(reason + AROUND, LIMIT_S)
        began = _cpu_s(model)
        found = model.rank(messages, menu, limits, reason, seed)
        if found.failure is not None:
            raise SystemExit(f"{found.failure.id}: {found.failure.evidence}")
        return _cpu_s(model) - began, found.tokens_out

    ways: dict[str, Callable[[], tuple[float, int]]] = {
        REASON: lambda: answered(alone),
        LABEL: lambda: ranked(question.labels()),
        TEXT: lambda: ranked(texts),
        FREE: lambda: answered(whole),
    }
    model.rank(messages, question.labels(), Limits(1, LIMIT_S))  # reads what is new of the question
    order = random.Random(seed).sample(WAYS, len(WAYS))
    return {name: ways[name]() for name in order}


def _cpu_s(model: LlamaCpp) -> float:
    """Of the model's process so far."""
    assert model._child is not None
    stat = Path(f"/proc/{model._child._process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def _report(
    whole: Sequence[Mapping[str, tuple[float, int]]],
    short: Sequence[Mapping[str, tuple[float, int]]],
) -> None:
    spread = ("quartile", "quartile")
    shown: list[list[object]] = []
    for name in WAYS:
        ratios = [row[FREE][0] / row[name][0] for row in whole]
        tokens = statistics.median(row[name][1] for row in whole)
        times = [1e3 * row[name][0] for row in whole]
        shown.append([name, tokens, *_quartiles(times), *_quartiles(ratios)])
    print("the whole answer, with its reason")
    table(("answer", "tokens", "ms", *spread, "times faster", *spread), shown)
    rest: list[list[object]] = []
    costs = {n: [1e3 * (row[n][0] - row[REASON][0]) for row in short] for n in WAYS[1:]}
    for name, times in costs.items():
        more = statistics.median(row[name][1] - row[REASON][1] for row in short)
        ratio = statistics.median(costs[FREE]) / statistics.median(times)
        rest.append([name, more, *_quartiles(times), ratio])
    print("the choice, beyond the reason")
    table(("choice", "tokens", "ms", *spread, "times faster than JSON"), rest)


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, first and third quartile."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


if __name__ == "__main__":
    main()
