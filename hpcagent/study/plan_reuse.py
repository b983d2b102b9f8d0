"""Takes over from an earlier run of a plan what would be done again in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.study import plan
from hpcagent.study.durable import parse_utc
from hpcagent.study.plan_steps import opened_before
from hpcagent.study.rundir import RunDir
from hpcagent.study.session import read_state

# What a command reads besides the files that its words name.
_CONFIGURATION = "hpcagent.toml"
_WRITTEN = ("--store",)  # options whose folder a command writes to


def reusing(wanted: plan.Plan, run: RunDir) -> plan.Plan:
    """The plan, with the ends of steps that `run` has done well and that have not changed since.

    As make does, it looks at times: a step whose words name a file that is newer than the run is
    done again, and so is every step that needs one that is. UsageError for a run that is no plan.
    """
    if run.kind != plan.KIND:
        raise UsageError(f"--reuse: {run.path.name} is a {run.kind} run, not one of a plan")
    state = read_state(run)
    before = {step.name: step for step in plan.Plan.of(state).steps}
    since = parse_utc(state.created_utc).timestamp()
    taken: dict[str, Mapping[str, Any]] = {}
    for step in wanted.steps:
        old, end = before.get(step.name), plan.told(state, plan.END, step.name)
        if old is None or end is None or not plan.ended_well(end):
            continue
        same = (old.command, old.words, old.needs) == (step.command, step.words, step.needs)
        there = opened_before(Path(end["results"][plan.RUN]))
        if same and there and taken.keys() >= set(step.needs) and not _newer(wanted, step, since):
            taken[step.name] = {**end, "reason": f"taken over from {run.path}"}
    return replace(
        wanted, steps=tuple(replace(step, taken=taken.get(step.name)) for step in wanted.steps)
    )


def _newer(wanted: plan.Plan, step: plan.PlanStep, since: float) -> bool:
    """Whether a file that the step reads was changed after this moment (seconds since 1970)."""
    before = ("", *step.words)
    words = [word for word, name in zip(step.words, before, strict=False) if name not in _WRITTEN]
    folder = Path(wanted.folder)
    return any(_changed(folder / word, since) for word in (*words, _CONFIGURATION))


def _changed(path: Path, since: float) -> bool:
    """Whether a file, or one in a folder, is newer; a word that names neither has not changed."""
    try:
        files = path.rglob("*") if path.is_dir() else (path,)
        return any(one.stat().st_mtime > since for one in files if one.is_file())
    except (OSError, ValueError):
        return False
