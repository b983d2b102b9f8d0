"""The cases of a task as the driver in the unit takes them: everything is evaluated here."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from typing import Any

from hpcagent.codegen.taskfields import BYTES, Argument, Sizes
from hpcagent.codegen.taskfile import TaskFile
from hpcagent.codegen.taskrules import expression

DRAWN = 3
SUBNORMAL, NOT_A_NUMBER, ALIAS_SHIFT = 1, 2, 8


def case_row(task: TaskFile, name: str, sizes: Mapping[str, int], variant: int) -> dict[str, Any]:
    """A case: `sizes` and, for each array, its number of elements and the bound of its values."""
    pairs = [_count_and_bound(task, argument, sizes) for argument in task.arrays]
    counts = {a.name: pair[0] for a, pair in zip(task.arrays, pairs, strict=True)}
    return {
        "name": name,
        "sizes": [sizes[size] for size in task.sizes],
        "arrays": [list(pair) for pair in pairs],
        "variant": variant,
        "outputs": [f"{a.name}:{a.type}:{counts[a.name]}" for a in task.outputs],
    }


def drawn_sizes(task: TaskFile, drawn_by: str) -> list[Sizes]:
    """Sizes that follow from a text, such as a source's digest, so that it cannot know them."""
    draw = random.Random(drawn_by)
    ends = sorted(task.cases.vary.items())
    return [
        {**task.cases.check[-1], **{name: draw.randint(low, high) for name, (low, high) in ends}}
        for _ in range(DRAWN if ends else 0)
    ]


def check_rows(task: TaskFile, drawn_by: str = "") -> list[dict[str, Any]]:
    """What is checked: every size as it is, sizes that are drawn by a text (drawn_sizes), then what
    the contract allows at the last of those that are given."""
    rows = [case_row(task, _words(sizes), sizes, 0) for sizes in task.cases.check]
    rows += [case_row(task, _words(s), s, 0) for s in drawn_sizes(task, drawn_by)]
    largest = task.cases.check[-1]
    contract = task.contract
    for number, pair in enumerate(contract.aliases, start=1):
        name = f"{_words(largest)}, {pair[0]} and {pair[1]} the same array"
        rows.append(case_row(task, name, largest, number << ALIAS_SHIFT))
    for wanted, variant, words in (
        (contract.subnormals, SUBNORMAL, "subnormal inputs"),
        (contract.nan, NOT_A_NUMBER, "a NaN in each input"),
    ):
        if wanted:
            rows.append(case_row(task, f"{_words(largest)}, {words}", largest, variant))
    return rows


def measure_rows(task: TaskFile) -> list[dict[str, Any]]:
    return [case_row(task, name, sizes, 0) for name, sizes in sorted(task.cases.measure.items())]


def operations(task: TaskFile, name: str) -> float | None:
    """Operations or bytes of one call of a measured case; None where the metric is the time."""
    if not task.metric.count:
        return None
    count = expression(task, task.metric.count).evaluate(task.cases.measure[name])
    return float(count)


def working_set(task: TaskFile, name: str) -> int:
    """Bytes of all arrays of a measured case together."""
    row = case_row(task, name, task.cases.measure[name], 0)
    pairs = zip(task.arrays, row["arrays"], strict=True)
    return sum(BYTES[argument.type] * pair[0] for argument, pair in pairs)


def _count_and_bound(
    task: TaskFile, argument: Argument, sizes: Mapping[str, int]
) -> tuple[int, int]:
    count = 1
    for text in argument.shape:
        count *= int(expression(task, text).evaluate(sizes))
    bound = argument.values.total or argument.values.below
    return count, int(expression(task, bound).evaluate(sizes)) if bound else 0


def _words(sizes: Mapping[str, int]) -> str:
    return " ".join(itertools.chain.from_iterable((f"{n}={v}",) for n, v in sizes.items()))
