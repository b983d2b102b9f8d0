"""What a unit asks the batch system for, as far as the queue can give it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hpcagent.records import Queue, Resources
from hpcagent.study import units
from hpcagent.study.attempts import within_node
from hpcagent.study.confirmations import confirmed_on
from hpcagent.study.state import TuneState, Unit


def as_it_can_be(
    state: TuneState,
    plan: units.Plan,
    tried: Sequence[Unit],
    queues: Callable[[], Sequence[Queue]],
) -> Resources:
    """The wish for another node is kept only where the queue has one.

    `tried` are earlier attempts. The batch system is asked for its queues only where that matters.
    """
    asked, fits = plan.resources, False
    if not asked.avoid_nodes and not tried:
        return asked
    for queue in queues():
        if queue.name == asked.partition if asked.partition else queue.default:
            if queue.nodes - len(asked.avoid_nodes) < asked.nodes:
                asked = replace(asked, avoid_nodes=confirmed_on(state))
            fits = queue.nodes - len(asked.avoid_nodes) >= asked.nodes
            asked = within_node(asked, tried, queue.memory_bytes)
    return asked if fits else replace(asked, avoid_nodes=())
