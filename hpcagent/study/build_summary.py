"""A target's build as it is shown: plain values, nothing that only rendering needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpcagent.records import Failure
from hpcagent.study.build_task import outcome
from hpcagent.study.state import TuneState
from hpcagent.study.task_plan import Target, Task


@dataclass(frozen=True)
class BuildSummary:
    """`state` is built, found (a finished one was there), failed or open.

    `seconds` maps a step to its time, `log` is the failed step's, below the unit's folder.
    `meaning` and `cure` are those of its cause; `repairs` were made, `gave_up` says why no further
    one was.
    """

    state: str
    name: str
    version: str
    digest: str
    prefix: str
    source: str
    sha256: str
    parameters: Mapping[str, str]
    compilers: tuple[str, ...]
    modules: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    failure: Failure | None
    unit: str
    log: str
    meaning: str = ""
    cure: str = ""
    repairs: tuple[str, ...] = ()
    gave_up: str = ""


def summarise_build(task: Task, state: TuneState, target: Target) -> BuildSummary:
    built = outcome(task, state, target)
    recipe = built.recipe
    compilers = recipe.compilers if recipe else ()
    return BuildSummary(
        state=built.state,
        name=recipe.name if recipe else str(task.request.get("name", "")),
        version=recipe.version if recipe else "",
        digest=recipe.digest if recipe else "",
        prefix=built.prefix,
        source=recipe.source_name if recipe else "",
        sha256=recipe.source_sha256 if recipe else "",
        parameters=dict(recipe.parameters) if recipe else {},
        compilers=tuple(f"{c.path} ({c.family} {c.version})" for c in compilers),
        modules=recipe.modules if recipe else (),
        notes=recipe.notes if recipe else (),
        seconds={run.step: run.seconds for run in built.steps if run.ok},
        failure=built.failure,
        unit=built.unit,
        log=built.step.log if built.step else "",
        meaning=built.cause.meaning if built.cause else "",
        cure=built.cause.cure if built.cause else "",
        repairs=tuple(mend.words for mend in built.mends),
        gave_up=built.gave_up,
    )
