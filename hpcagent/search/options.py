"""What a strategy may be made with.

A strategy is one file in this folder, found by its name; it has
`create(options: Options) -> Strategy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hpcagent.protocols import LanguageModel
from hpcagent.search.prior import Prior


@dataclass(frozen=True)
class Options:
    """Only the strategies `surrogate` and `model` read more than `seed`.

    `prior` is what is known before anything is measured. `facts` are lines for the model's prompt
    (what -> value: the machine, the library, the workload); `verdict` is told, once after each call
    of the model, what became of the answer.
    """

    seed: int = 0
    model: LanguageModel | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    verdict: Callable[[str], None] | None = None
    timeout_s: float = 300.0
    prior: Prior | None = None
