"""The tree of attempts, and the choice of what a model writes next. Pure: the choice is code.

Best-first with a bounded share of exploration, as in greedy tree search over programs: drafts
first; what failed is debugged to a bounded depth; then the best is improved.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from hpcagent.records import Failure

DRAFT, DEBUG, IMPROVE, GIVEN, REFERENCE = "draft", "debug", "improve", "given", "reference"
CHECKER = "checker"  # in the reference's place, where a task has none
OPEN, FAILED, CHECKED, MEASURED = "open", "failed", "checked", "measured"
DRAFTS = 3
DEBUG_DEPTH = 3
EXPLORE = 0.25  # the share of choices that do not go to the best
MOST_CHILDREN = 4  # of one attempt: what did not get better four times will not


@dataclass(frozen=True)
class Node:
    """An attempt. `parent` is the number of the one that it came from (None: from nothing).

    `log_ratio` is ln(its time / the reference's), None before it is measured. One without a
    `source` was no usable answer.
    """

    number: int
    operation: str
    parent: int | None
    state: str
    failure: Failure | None = None
    log_ratio: float | None = None
    source: bool = True


@dataclass(frozen=True)
class Choice:
    operation: str
    parent: int | None
    reason: str


def choose(nodes: Sequence[Node], seed: int) -> Choice:
    """What to write next; the same nodes and seed give the same choice."""
    draw = random.Random(f"choice {seed} {len(nodes)}")
    drafts = [node for node in nodes if node.operation == DRAFT]
    broken = [node for node in nodes if _can_be_debugged(nodes, node)]
    good = sorted(
        (node for node in nodes if node.log_ratio is not None and node.operation != REFERENCE),
        key=lambda node: (node.log_ratio, node.number),
    )
    improvable = [node for node in good if len(_children(nodes, node)) < MOST_CHILDREN]
    tried = {node.parent for node in nodes if node.state in (OPEN, CHECKED)}
    free = [node for node in improvable if node.number not in tried]
    exploring = draw.random() < EXPLORE
    if len(drafts) < DRAFTS:  # whatever became of the others: they go out side by side
        return Choice(DRAFT, None, f"draft {len(drafts) + 1} of {DRAFTS}")
    if broken and (not free or exploring):
        newest = broken[-1]
        why = newest.failure.id if newest.failure else ""
        return Choice(DEBUG, newest.number, f"attempt {newest.number} failed: {why}")
    if exploring and len(free) > 1:
        other = draw.choice(free[1:])
        return Choice(IMPROVE, other.number, f"attempt {other.number}, to look elsewhere")
    if free and free[0] is improvable[0]:
        return Choice(IMPROVE, free[0].number, f"attempt {free[0].number} is the best")
    if free:
        words = f"attempt {free[0].number}, while better ones are being improved"
        return Choice(IMPROVE, free[0].number, words)
    return Choice(DRAFT, None, "nothing there can be taken further")


def depth(nodes: Sequence[Node], node: Node) -> int:
    """How many debugging steps led to it without a success between."""
    by_number = {other.number: other for other in nodes}
    count = 0
    while node.operation == DEBUG and node.parent is not None and node.parent in by_number:
        count += 1
        node = by_number[node.parent]
    return count


def _can_be_debugged(nodes: Sequence[Node], node: Node) -> bool:
    return (
        node.state == FAILED
        and node.source
        and (node.failure is None or node.failure.stage != "environment")
        and node.operation in (DRAFT, DEBUG, IMPROVE)
        and not _children(nodes, node)
        and depth(nodes, node) < DEBUG_DEPTH
    )


def _children(nodes: Sequence[Node], node: Node) -> list[Node]:
    return [other for other in nodes if other.parent == node.number]
