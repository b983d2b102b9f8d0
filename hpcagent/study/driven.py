"""The runs whose jobs one agent looks after: its own, or those of a plan's steps under way."""

from __future__ import annotations

from collections.abc import Iterator

from hpcagent.errors import HpcagentError
from hpcagent.study import plan
from hpcagent.study.plan_steps import begun_runs
from hpcagent.study.rundir import RunDir
from hpcagent.study.session import read_state
from hpcagent.study.state import TuneState


def driven(run: RunDir, state: TuneState) -> Iterator[tuple[RunDir, TuneState]]:
    """Each run that has jobs, or will have, with its state; what cannot be read tells of none."""
    if run.kind != plan.KIND:
        yield run, state
        return
    for step, below in begun_runs(run, state):
        if step.taken is None and plan.told(state, plan.END, step.name) is None:
            try:
                its = read_state(below)
            except HpcagentError:
                continue
            yield below, its
