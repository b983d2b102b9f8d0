"""The operation "bench": the speed of this engine and of a bare llama.cpp loop, in turns.

The bare loop is what anybody would write first: llama_decode of the whole prompt, then of one
token after another, each the most probable one; same model, threads and kind of attention.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from hpcagent.llm.child.bare import Bare
from hpcagent.llm.child.decode import Clock, OutOfTime
from hpcagent.llm.child.load import Engine, failed
from hpcagent.llm.child.sampling import Filters, Sampler
from hpcagent.llm.child.vocabulary import Vocabulary
from hpcagent.llm.child.writing import Writer

_TEXT = "The solver waits for its neighbours, sends the halo, and computes the next step. "

_TRIED = 64  # tokens of the short one
_FEWEST = 4  # tokens of an answer
_OF_THE_TIME = 0.7  # other programs may take more of the processors later

_Json = Mapping[str, Any]


def answer(engine: Engine, request: _Json) -> dict[str, Any]:
    """{prompt_tokens, tokens, new_tokens, threads, resident_bytes, repeats} or {failure}.

    `repeats` has the seconds of each repeat: `cold_s` to the first token of a prompt, `warm_s` to
    that of a prompt of which only `new_tokens` are new, `token_s` of a token after it (the median
    of `tokens`), `bare_cold_s` and `bare_token_s` of the bare loop. There are as many as asked for
    and the time allows, one at least; where the time would not do for two, prompt and answer are
    shorter.
    """
    made, count = request["tokens"], request["prompt_tokens"]
    if count + made > engine.context:
        return failed("context_overflow", f"the model's context has {engine.context} tokens")
    clock = Clock(request["timeout_s"])
    try:
        tokens = _prompt(engine, count)
        lines: list[dict[str, float]] = []
        with Bare(engine.llama, count + made) as bare:
            _repeat(engine, bare, tokens[:2], 1, clock)  # pages in what is read for the first time
            share = _share(engine, bare, tokens[:_TRIED], request, clock)
            count, made = _shortened(count, share, _TRIED), _shortened(made, share, _FEWEST)
            while len(lines) < request["repeats"]:
                if lines:
                    clock.check(clock.seconds() / len(lines))
                engine.telling.measured(len(lines), request["repeats"])
                lines.append(_repeat(engine, bare, tokens[:count], made, clock))
    except OutOfTime:
        if not lines:
            return failed("timeout", f"not one repeat in {request['timeout_s']:g} s")
    except (RuntimeError, ValueError) as error:
        return failed("decode", str(error))
    new = count - _kept(count)
    return {
        "prompt_tokens": count,
        "tokens": made,
        "new_tokens": new,
        "threads": engine.llama.n_threads,
        "resident_bytes": _resident_bytes(),
        "repeats": lines,
    }


def _share(
    engine: Engine, bare: Bare, tokens: Sequence[int], request: _Json, clock: Clock
) -> float:
    """Of prompt and answer: what two repeats have time for, by a short one; 1 at most."""
    tried = _repeat(engine, bare, tokens, 1, clock)
    reading = (tried["cold_s"] + tried["bare_cold_s"] + tried["warm_s"]) / len(tokens)
    writing = tried["token_s"] + tried["bare_token_s"]
    needed_s = 2.0 * (request["prompt_tokens"] * reading + request["tokens"] * writing)
    left_s = float(_OF_THE_TIME * request["timeout_s"]) - clock.seconds()
    return min(1.0, left_s / float(needed_s))


def _shortened(count: int, share: float, least: int) -> int:
    return max(min(least, count), round(share * count))


class _Endless(Vocabulary):
    def is_end(self, token: int) -> bool:
        return False


def _repeat(
    engine: Engine, bare: Bare, tokens: Sequence[int], made: int, clock: Clock
) -> dict[str, float]:
    """One token of each in turn: what else the machine does hits both."""
    engine.cache.forget()
    before = time.perf_counter()
    run, _ = engine.cache.read(tokens, clock)
    run.logits()
    cold = time.perf_counter() - before
    bare_cold = _timed(lambda: bare.read(tokens))
    sampler = Sampler(run, Filters(), 1)
    writer = Writer(run, sampler, _Endless(engine.llama), made + 1)
    writer.step()
    own, others = [], []
    for _ in range(made):
        own.append(_timed(writer.step))
        others.append(_timed(bare.step))
    sampler.close()
    return {
        "cold_s": cold,
        "bare_cold_s": bare_cold,
        "token_s": median(own),
        "bare_token_s": median(others),
        "warm_s": _timed(lambda: _read_other(engine, tokens, clock)),
    }


def _read_other(engine: Engine, tokens: Sequence[int], clock: Clock) -> None:
    kept = _kept(len(tokens))
    run, _ = engine.cache.read([*tokens[:kept], *reversed(tokens[kept:])], clock)
    run.logits()


def _timed(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def _kept(count: int) -> int:
    """Of a prompt, in the warm one: four fifths."""
    return count * 4 // 5


def _prompt(engine: Engine, count: int) -> list[int]:
    tokens: list[int] = []
    while len(tokens) < count:
        tokens += engine.vocabulary.spell(_TEXT)
    return tokens[:count]


def _resident_bytes() -> int:
    """Of this process at most, with the weights it has touched; 0 where the kernel does not say."""
    status = Path("/proc/self/status").read_text("utf-8") if Path("/proc").is_dir() else ""
    found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
