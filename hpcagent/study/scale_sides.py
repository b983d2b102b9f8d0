"""From a closed tune run of an application to a comparison of numbers of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hpcagent.errors import Unfit
from hpcagent.records import Failure
from hpcagent.study.compare_plan import Comparison
from hpcagent.study.compare_sides import Source, require_builds, side, source
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.plan import counted
from hpcagent.study.rundir import RunDir
from hpcagent.study.scaling import STRONG, WEAK

COMMAND = "scale"
_LOCAL = "local"


def scalable(run: RunDir) -> Source:
    """The run whose settings are measured on several numbers of nodes. Unfit for one that
    cannot be, EnvironmentProblem where what it ran is gone."""
    found = source(run, COMMAND)
    settings = found.state.settings
    if not settings.of_application:
        raise Unfit(f"scale: {run.id} tuned a library: only an application has nodes to use")
    if found.known.card.figures_of_merit[0].direction == "max":
        raise Unfit(f"scale: {run.id}: the card's first figure is a rate: begin with a time")
    if settings.scheduler == _LOCAL:
        raise Unfit(
            f"scale: {run.id} went to this machine's own queue: tune it by a batch system first "
            "(--scheduler slurm or pbs)"
        )
    return found


def comparison(
    found: Source, nodes: Sequence[int], blocks: int, pairs: int, weak: bool, threshold: float
) -> Comparison:
    """The run's default and its best configuration on each of these numbers of nodes."""
    settings = found.state.settings
    return Comparison(
        what="nodes",
        sides=tuple(side(*_with_nodes(found, count, weak), str(count), pairs) for count in nodes),
        blocks=blocks,
        pairs=pairs,
        workload="",
        workload_source=found.known.workload.source,
        alpha=settings.alpha,
        minimum_effect=settings.minimum_effect,
        application=True,
        scaling=WEAK if weak else STRONG,
        threshold=threshold,
    )


def _with_nodes(found: Source, nodes: int, weak: bool) -> tuple[Source, dict[str, Any]]:
    """The run as if its card had asked for so many nodes, and what is known better than what that
    would tell: fewer nodes take longer, and other work has another result."""
    card = dict(found.state.settings.card or {})
    card["resources"] = {**card.get("resources", {}), "nodes": nodes}
    state = replace(found.state, settings=replace(found.state.settings, card=card))
    known = Knowledge(state)
    _require_valid(found, known, nodes)
    slower = 1.0 if weak else max(1.0, found.known.card.resources.nodes / nodes)
    better: dict[str, Any] = {"repeats": {}, "process_s": found.known.process_s * slower}
    return replace(found, state=state, known=known), better | ({"answers": {}} if weak else {})


def _require_valid(found: Source, known: Knowledge, nodes: int) -> None:
    best = found.summary.best
    if best is not None:
        problem = known.unpruned.validate(best.values)
        if isinstance(problem, Failure):
            where = counted(nodes, "node")
            raise Unfit(
                f"scale: what {found.run.id} tuned is no configuration on {where}: "
                f"{problem.evidence}; let the card tell processes by node (ranks: nodes * per_node)"
            )
    require_builds(known, found.summary, f"scale: {found.run.id}")
