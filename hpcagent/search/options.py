"""What a strategy may be made with.

A strategy is one file in this folder, found by its name; it has
`create(options: Options) -> Strategy`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hpcagent.protocols import LanguageModel, PointModel
from hpcagent.records import Outlook, Trial
from hpcagent.search.prior import Prior

ANSWER_S = 300.0  # that a model may take


def unbounded() -> float:
    return math.inf


@dataclass(frozen=True)
class FunctionCall:
    """One call of a user's function: which try, what was wrong if anything, what it printed.

    `partly`: the rest of its answer was used.
    """

    number: int
    seconds: float
    problem: str
    log: str
    partly: bool = False


@dataclass(frozen=True)
class Options:
    """What a strategy takes of this is its own affair; most need none.

    `facts` are lines for a prompt (what -> value: the machine, the library, the workload);
    `verdict` is told, once after each call of the model, what became of the answer. An answer may
    take `timeout_s`, and all of them no longer than `left_s` says that there is. `function` is the
    path of the user's own file, `told` hears of every call of it. `prior` is what is known before
    anything is measured. `chapters` gives what a prompt has told of the measurements so far, and
    what is new, in the order in which it came. `points` is a model that has learnt to tune,
    `outlook` hears of each question to it.
    """

    seed: int = 0
    model: LanguageModel | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    verdict: Callable[[str], None] | None = None
    timeout_s: float = ANSWER_S
    left_s: Callable[[], float] = unbounded
    prior: Prior | None = None
    function: str = ""
    told: Callable[[FunctionCall], None] | None = None
    chapters: Callable[[], Sequence[Sequence[Trial]]] | None = None
    points: PointModel | None = None
    outlook: Callable[[Outlook], None] | None = None
