"""Takes over from an earlier run of a plan what would be done again in the same way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpcagent.apps.application import inputs_beside
from hpcagent.errors import UsageError
from hpcagent.study import plan
from hpcagent.study.durable import parse_utc
from hpcagent.study.rundir import RunDir
from hpcagent.study.session import read_state

# What a command reads besides the files that its words name.
_CONFIGURATION = "hpcagent.toml"
_WRITTEN = ("--store",)  # options whose folder a command writes to


def reusing(wanted: plan.Plan, run: RunDir) -> plan.Plan:
    """The plan, with the ends of steps that `run` has done well and that have not changed since.

    As make does, it looks at times: a step is done again whose words name a file that is newer
    than the run, or a folder with such a file, and so is one whose results are gone, and every
    step that needs one that is. UsageError for a run that is no plan of the same folder.
    """
    if run.kind != plan.KIND:
        raise UsageError(f"--reuse: {run.path.name} is a {run.kind} run, not one of a plan")
    state = read_state(run)
    before = plan.Plan.of(state)
    if before.folder != wanted.folder:
        raise UsageError(
            f"--reuse: {run.path.name} is of a plan in {before.folder}, where its files are; this "
            f"one is in {wanted.folder}"
        )
    steps = {step.name: step for step in before.steps}
    since = parse_utc(state.created_utc).timestamp()
    taken: dict[str, Mapping[str, Any]] = {}
    for step in wanted.steps:
        old, end = steps.get(step.name), plan.told(state, plan.END, step.name)
        if old is None or end is None or not plan.ended_well(end):
            continue
        there = all(Path(path).exists() for path in end["results"].values())
        kept = taken.keys() >= set(step.needs)
        if there and kept and _same(old, step) and not _newer(wanted, step, since):
            taken[step.name] = {**end, "reason": f"taken over from {run.path}"}
    return replace(
        wanted, steps=tuple(replace(step, taken=taken.get(step.name)) for step in wanted.steps)
    )


def _same(old: plan.PlanStep, new: plan.PlanStep) -> bool:
    return replace(old, where="", taken=None) == replace(new, where="", taken=None)


def _newer(wanted: plan.Plan, step: plan.PlanStep, since: float) -> bool:
    """Whether what the step reads was changed after this moment (seconds since 1970)."""
    folder = Path(wanted.folder)
    try:
        return any(_changed(path, since) for path in _read(step, folder))
    except (OSError, ValueError, UsageError):  # it cannot be looked at, so nobody knows
        return True


def _read(step: plan.PlanStep, folder: Path) -> Iterator[Path]:
    """The files and folders that a step's words name, with all that is in them."""
    yield folder / _CONFIGURATION
    for word, name in zip(step.words, ("", *step.words), strict=False):
        path = folder / word
        if name in _WRITTEN or not path.exists():
            continue
        yield path
        if path.is_dir():
            yield from path.rglob("*")
        elif step.command == "codegen":  # a task's reference lies beside it
            yield from (one for one in path.parent.iterdir() if one.is_file())
        elif name == "--app":
            yield from inputs_beside(path)


def _changed(path: Path, since: float) -> bool:
    """By the later of its times: a copy may keep that of the contents."""
    if not path.exists():
        return False
    info = path.stat()
    return max(info.st_mtime, info.st_ctime) > since
