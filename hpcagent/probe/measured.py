"""What nodebench.c measured, judged: its own check, how much of the CPUs it got, plausibility."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# With less of the CPUs' time than this something else ran on them.
_UNDISTURBED = 0.9


@dataclass(frozen=True)
class Rate:
    """bytes/s (triad) or FLOP/s of all threads together; `busy` is the share of CPU time they had.

    `unbound` threads could not be bound to their CPU. `array_bytes` is the size of one of the
    triad's arrays, `vector_bytes` the width of the vectors used.
    """

    kernel: str
    rate: float
    threads: int
    busy: float
    array_bytes: int = 0
    vector_bytes: int = 0
    unbound: int = 0

    @property
    def disturbed(self) -> bool:
        return self.busy < _UNDISTURBED


def parse_rate(record: Any) -> Rate | str:
    """The rate in one run's record, or why there is none.

    The triad counts three arrays of 8-byte words a repetition, as STREAM does: reads of b and c,
    one write of a (McCalpin, https://www.cs.virginia.edu/stream/).
    """
    if not isinstance(record, Mapping):
        return "it was not run"
    if record.get("problem") == "killed by SIGALRM":
        return "it did not end within its time limit: the CPUs are busy, or memory is very slow"
    if record.get("problem") or record.get("exit") != 0:
        return str(record.get("problem") or f"it ended with exit code {record.get('exit')}")
    line = _object(record.get("stdout"))
    threads, wrong = (line.get(name) for name in ("threads", "wrong"))
    if type(threads) is not int or type(wrong) is not int or threads < 1:
        return "its answer could not be read"
    if wrong:
        return f"{wrong} of {threads} threads gave a wrong answer"
    kernel, size = str(line.get("kernel")), _positive(line.get("array_bytes"))
    best = _positive(line.get("best_s"))
    rate = 3.0 * size / best if kernel == "triad" and best else _positive(line.get("flops"))
    if not rate or not math.isfinite(rate):
        return "its answer could not be read"
    busy = _positive(line.get("busy"))
    width, unbound = (int(_positive(line.get(x))) for x in ("vector_bytes", "unbound"))
    return Rate(kernel, rate, threads, busy, int(size), width, min(unbound, threads))


def _object(text: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _positive(value: Any) -> float:
    fits = type(value) in (int, float) and math.isfinite(value) and 0 < value < 1e24
    return float(value) if fits else 0.0
